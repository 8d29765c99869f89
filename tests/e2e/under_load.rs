//! Each service in turn is asked to end while it works: no task is lost, calls fail in no way but one that is worth another try, and
//! it ends with exit code 0. What it did not finish its successor does.

use crate::{
    cancel::{self, Canceler, Snowballs, check_clean_receipt, snowball, spec, workload},
    harness::{Mesh, Own, batch_slot, mesh, unique},
    poll::{LONG, SOON, eventually, when},
    probe::{self, Probes},
};
use nix::sys::signal::Signal;
use quell_api::{
    batch::v1::{ListBatchOperationsRequest, batch_operation_service_client::BatchOperationServiceClient},
    canceler::v1::{CancellationSpec, Engine, ListCancellationsRequest},
    work::v1::{ProbeSpec, SnowballSpec, StartSnowballRequest},
};
use quell_cli::dev::Part;
use std::{collections::HashMap, error::Error as _, time::Duration};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

/// Between two calls: a hundred a second.
const CALL_EVERY: Duration = Duration::from_millis(10);

/// Calls that go on until they are told to stop, and how they ended: `Ok` calls, and the codes of the others.
struct Calls {
    stop: CancellationToken,
    running: JoinHandle<HashMap<Code, u32>>,
}

impl Calls {
    /// Calls `one` a hundred times a second, each over the connection that all share.
    fn begin<F, Fut>(channel: Channel, one: F) -> Self
    where
        F: Fn(Channel) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let told = stop.clone();
        let running = tokio::spawn(async move {
            let mut tick = interval(CALL_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut calls = JoinSet::new();
            let mut ended: HashMap<Code, u32> = HashMap::new();
            loop {
                tokio::select! {
                    () = told.cancelled() => break,
                    _ = tick.tick() => { calls.spawn(one(channel.clone())); }
                    Some(call) = calls.join_next() => {
                        *ended.entry(code(call.expect("a call does not panic"))).or_default() += 1;
                    }
                }
            }
            while let Some(call) = calls.join_next().await {
                *ended.entry(code(call.expect("a call does not panic"))).or_default() += 1;
            }
            ended
        });
        Self { stop, running }
    }

    /// Ends them. All that failed must be worth another try.
    async fn end(self, name: &str) {
        self.stop.cancel();
        let ended = timeout(LONG, self.running)
            .await
            .unwrap_or_else(|_| panic!("{name}: calls hang"))
            .expect("they do not panic");
        let answered = ended.get(&Code::Ok).copied().unwrap_or(0);
        assert!(answered > 0, "{name}: {ended:?}");
        let cut: Vec<_> = ended
            .keys()
            .filter(|code| ![Code::Ok, Code::Unavailable].contains(code))
            .collect();
        assert!(cut.is_empty(), "{name}: calls failed for good: {ended:?}");
    }
}

fn code(ended: Result<(), Status>) -> Code {
    let Err(status) = ended else {
        return Code::Ok;
    };
    // A call that waited for its turn on a connection that closed was never sent; tonic's client calls that CANCELLED.
    let mut source = status.source();
    while let Some(error) = source {
        if error.downcast_ref().is_some_and(hyper::Error::is_canceled) {
            return Code::Unavailable;
        }
        source = error.source();
    }
    status.code()
}

/// Ends a service by SIGTERM in the middle of its work, checks how it ends, and starts it again.
async fn ends_well(own: &Own, calls: Calls, name: &str) {
    own.process.signal(Signal::SIGTERM).expect("it runs");
    let status = timeout(LONG, own.process.wait())
        .await
        .unwrap_or_else(|_| panic!("{name} hangs\n{}", own.process.log_tail(40)))
        .expect("it ran");
    calls.end(name).await;
    let log = own.process.log_tail(60);
    assert_eq!(status.code(), Some(0), "{name}: {status}\n{log}");
    own.process.start().expect("it can be started again");
    own.ready().await;
}

/// The work service, while a snowball grows and a probe runs on it.
#[tokio::test]
async fn work_under_load_loses_nothing() {
    let mesh = mesh().await;
    let (queue, probes) = (unique("load-work"), unique("load-probes"));
    let settings = [
        ("TEMPORAL_MAIN_TASK_QUEUE", queue.as_str()),
        ("QUELL_PROBE_TASK_QUEUE", probes.as_str()),
    ];
    let own = mesh.own(Part::Work, "load", &settings).await;
    let id = unique("load");
    let shape = SnowballSpec {
        width: 12,
        depth: 2,
        workload_id: id.clone(),
        ..SnowballSpec::default()
    };
    let mut snowballs = Snowballs::new(own.channel());
    let growing = snowball(&mut snowballs, shape).await;
    let mut client = Probes::new(own.channel());
    let shape = ProbeSpec {
        workflows: 300,
        ..ProbeSpec::default()
    };
    let started = probe::start(&mut client, &id, shape).await;
    eventually(SOON, "the probe runs", async || {
        let probe = probe::get(&mut client, &started.probe_id).await?;
        when(probe.completed > 0, || format!("{probe:?}"))
    })
    .await;

    let calls = Calls::begin(own.channel(), |channel| async {
        let request = StartSnowballRequest {
            validate_only: true,
            ..StartSnowballRequest::default()
        };
        Snowballs::new(channel).start_snowball(request).await.map(drop)
    });
    let before = probe::get(&mut client, &started.probe_id).await.expect("it answers");
    assert!(!before.finished, "it was too fast for this test: {before:?}");
    ends_well(&own, calls, "work").await;

    // One attempt each: what had been lost would stay lost.
    let ended = probe::finished(&mut client, &started.probe_id).await;
    assert_eq!((ended.completed, ended.lost, ended.failed), (300, 0, 0), "{ended:?}");
    cancel::grown(&mut snowballs, &growing.snowball_id, 12 + 144 + 1).await;
    clear(&mesh, &id).await;
}

/// SIGKILL: no drain, no word. Attempts are lost with the process, and tried again; the work is not.
#[tokio::test]
async fn a_killed_worker_loses_attempts_and_no_work() {
    let mesh = mesh().await;
    let (queue, probes) = (unique("kill-work"), unique("kill-probes"));
    let settings = [
        ("TEMPORAL_MAIN_TASK_QUEUE", queue.as_str()),
        ("QUELL_PROBE_TASK_QUEUE", probes.as_str()),
    ];
    let own = mesh.own(Part::Work, "kill", &settings).await;
    let mut client = Probes::new(own.channel());
    let shape = ProbeSpec {
        workflows: 150,
        activity_sleep: cancel::millis(500),
        activity_timeout: cancel::millis(5_000),
        attempts: 20,
        ..ProbeSpec::default()
    };
    let started = probe::start(&mut client, &unique("kill"), shape).await;
    let at_work = eventually(SOON, "the probe runs", async || {
        let probe = probe::get(&mut client, &started.probe_id).await?;
        when(probe.completed > 0, || format!("{probe:?}")).map(|()| probe)
    })
    .await;
    assert!(!at_work.finished, "it was too fast for this test: {at_work:?}");
    own.process.kill().await.expect("it can be killed");
    own.process.start().expect("it can be started again");
    own.ready().await;
    let ended = probe::finished(&mut client, &started.probe_id).await;
    assert_eq!((ended.completed, ended.lost, ended.failed), (150, 0, 0), "{ended:?}");
    assert!(ended.run_twice > 0, "nothing ran when it was killed: {ended:?}");
}

/// The canceler, in the middle of a sweep.
#[tokio::test]
async fn a_canceler_under_load_loses_nothing() {
    let mesh = mesh().await;
    let (id, queue) = (unique("load"), unique("load-canceler"));
    let own = mesh
        .own(Part::Canceler, "load", &[("TEMPORAL_CANCELER_TASK_QUEUE", &queue)])
        .await;
    mesh.start_many("Sleeper", &id, 800).await;
    mesh.indexed(&id, 800).await;
    let mut client = Canceler::new(own.channel());
    let slow = CancellationSpec {
        concurrency: 1,
        ..spec(workload(&id))
    };
    let started = cancel::start(&mut client, slow).await;
    eventually(LONG, "the sweep is in its middle", async || {
        let cancellation = cancel::get(&mut client, &started.cancellation_id).await?;
        let stopped = cancellation.progress.as_ref().map_or(0, |progress| progress.stopped);
        when(stopped > 20, || format!("{stopped} stopped"))
    })
    .await;
    let calls = Calls::begin(own.channel(), |channel| async {
        Canceler::new(channel)
            .list_cancellations(ListCancellationsRequest {
                page_size: -1,
                ..ListCancellationsRequest::default()
            })
            .await
            .map(drop)
            .or_else(refused)
    });
    ends_well(&own, calls, "canceler").await;
    let receipt = cancel::eventual_receipt(&mut client, &started.cancellation_id).await;
    check_clean_receipt(&receipt);
    assert_eq!(mesh.running(&id).await, 0);
    assert_eq!(receipt.stopped + receipt.closed_by_others, 800, "{receipt:#?}");
}

/// The batch service, while it watches a batch operation for a cancellation.
#[tokio::test]
async fn a_batch_service_under_load_loses_nothing() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let id = unique("load");
    let own = mesh.own(Part::Batch, "load", &[]).await;
    mesh.start_many("Sleeper", &id, 300).await;
    mesh.indexed(&id, 300).await;
    let mut client = mesh.cancellations();
    let both = CancellationSpec {
        engine: Engine::Both.into(),
        ..spec(workload(&id))
    };
    let started = cancel::start(&mut client, both).await;
    let calls = Calls::begin(own.channel(), |channel| async {
        BatchOperationServiceClient::new(channel)
            .list_batch_operations(ListBatchOperationsRequest {
                page_size: -1,
                ..ListBatchOperationsRequest::default()
            })
            .await
            .map(drop)
            .or_else(refused)
    });
    eventually(SOON, "calls are answered and the batch has begun", async || {
        let running = mesh.running(&id).await;
        when(running < 300, || format!("{running} running"))
    })
    .await;
    ends_well(&own, calls, "batch").await;
    let receipt = cancel::eventual_receipt(&mut client, &started.cancellation_id).await;
    check_clean_receipt(&receipt);
    assert_eq!(mesh.running(&id).await, 0);
}

/// A refusal is an answer: asking nothing of Temporal, such calls leave its few visibility requests to others.
fn refused(status: Status) -> Result<(), Status> {
    if status.code() == Code::InvalidArgument {
        Ok(())
    } else {
        Err(status)
    }
}

/// Stops what a test leaves running.
async fn clear(mesh: &Mesh, workload_id: &str) {
    let mut client = mesh.cancellations();
    let started = cancel::start(&mut client, spec(workload(workload_id))).await;
    check_clean_receipt(&cancel::eventual_receipt(&mut client, &started.cancellation_id).await);
}
