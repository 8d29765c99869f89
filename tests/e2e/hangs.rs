//! A worker that is asked to stop stops, whatever its activities do, and says what it left.
//!
//! The document's five cases run in a work service of the test's own, with its activities on a queue that only it polls; the
//! workflows are the shared service's, so that somebody can tell what became of them. The four others are activities that
//! no service has: they run in this process, in the worker that every service has.

#![allow(missing_docs, reason = "the SDK's macros generate items without docs")]

use crate::{
    cancel::millis,
    harness::{Mesh, mesh, unique},
    poll::{LONG, SOON, eventually, when},
    probe,
};
use nix::sys::signal::Signal;
use quell_api::work::v1::{Probe, ProbeSpec};
use quell_cli::dev::Part;
use quell_mesh::{
    Home, NamespaceClient, PayloadStore, QueueTuning, Registry,
    config::{self, Sources},
    worker::manager::{Drain, DrainReport, Manager, QueueState},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use temporalio_client::WorkflowStartOptions;
use temporalio_common::RetryPolicy;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, timeout},
};

/// One of the document's cases: sleep, start-to-close timeout and heartbeat timeout in seconds, a grace of 10 s.
struct Case {
    sleep: i64,
    timeout: i64,
    heartbeat: i64,
    /// Exit code of the service.
    exit: i32,
    /// What became of the activity.
    fate: fn(&Probe) -> i64,
}

#[tokio::test]
async fn the_five_cases_of_the_document_end() {
    let mesh = mesh().await;
    let cases = [
        Case {
            sleep: 8,
            timeout: 5,
            heartbeat: 0,
            exit: 0,
            fate: |probe| probe.timed_out,
        },
        // It takes longer than it is given: it is cut, and the service says so.
        Case {
            sleep: 11,
            timeout: 15,
            heartbeat: 0,
            exit: 2,
            fate: |probe| probe.failed,
        },
        // Python SDK before 1.18.1 hangs here for ever ...
        Case {
            sleep: 11,
            timeout: 5,
            heartbeat: 0,
            exit: 0,
            fate: |probe| probe.timed_out,
        },
        Case {
            sleep: 8,
            timeout: 9,
            heartbeat: 2,
            exit: 0,
            fate: |probe| probe.completed,
        },
        // ... and here.
        Case {
            sleep: 8,
            timeout: 7,
            heartbeat: 2,
            exit: 0,
            fate: |probe| probe.timed_out,
        },
    ];
    futures::future::join_all(cases.iter().map(|case| ends(&mesh, case))).await;
}

async fn ends(mesh: &Mesh, case: &Case) {
    let name = format!("case-{}-{}-{}", case.sleep, case.timeout, case.heartbeat);
    let (queue, others) = (unique(&name), unique("nobodys"));
    let settings = [
        ("QUELL_PROBE_TASK_QUEUE", queue.as_str()),
        ("TEMPORAL_MAIN_TASK_QUEUE", others.as_str()),
        ("QUELL_DRAIN_TIMEOUT_SECONDS", "10"),
    ];
    let own = mesh.own(Part::Work, &name, &settings).await;
    let mut client = probe::probes(mesh);
    let spec = ProbeSpec {
        workflows: 1,
        activity_sleep: millis(1_000 * case.sleep),
        activity_timeout: millis(1_000 * case.timeout),
        heartbeat_timeout: millis(1_000 * case.heartbeat),
        activity_task_queue: queue,
        ..ProbeSpec::default()
    };
    let started = probe::start(&mut client, &unique(&name), spec).await;
    begun(mesh, &format!("{}/0", started.probe_id)).await;
    own.process.signal(Signal::SIGTERM).expect("it runs");
    let status = timeout(LONG, own.process.wait())
        .await
        .unwrap_or_else(|_| panic!("{name} hangs\n{}", own.process.log_tail(40)))
        .expect("it ran");
    let log = own.process.log_tail(40);
    assert_eq!(status.code(), Some(case.exit), "{name}: {status}\n{log}");
    assert_eq!(log.contains("left={\"probe\": 1}"), case.exit == 2, "{name}\n{log}");
    let ended = probe::finished(&mut client, &started.probe_id).await;
    assert_eq!((case.fate)(&ended), 1, "{name}: {ended:?}");
    assert_eq!(ended.lost, 0, "{name}: {ended:?}");
}

/// Waits until the activity of a workflow runs.
async fn begun(mesh: &Mesh, workflow_id: &str) {
    eventually(SOON, &format!("the activity of {workflow_id} runs"), async || {
        let ran = mesh
            .temporal_in("main", &["workflow", "describe", "--workflow-id", workflow_id])
            .await;
        when(
            ran.out.contains("PENDING_ACTIVITY_STATE_STARTED") || ran.out.contains("\"STARTED\""),
            || format!("{}{}", ran.out, ran.err),
        )
    })
    .await;
}

/// What an activity of [`Awkward`] does.
const KINDS: [&str; 4] = ["never", "block", "panic", "work"];

struct Awkward {
    begun: Arc<AtomicU32>,
    /// Released by the test: what was told to end does.
    ended: tokio::sync::watch::Receiver<bool>,
}

#[activities]
impl Awkward {
    #[activity(name = "awkward")]
    async fn awkward(self: Arc<Self>, _ctx: ActivityContext, kind: String) -> Result<(), ActivityError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut ended = self.ended.clone();
        match kind.as_str() {
            "never" => std::future::pending().await,
            "block" => loop {
                std::thread::park();
            },
            "panic" => {
                ended.wait_for(|ended| *ended).await.ok();
                panic!("this activity panics, as it was told to");
            }
            _ => {
                ended.wait_for(|ended| *ended).await.ok();
                Ok(())
            }
        }
    }
}

#[workflow]
#[derive(Default)]
struct RunAwkward;

#[workflow_methods]
impl RunAwkward {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, kind: String) -> WorkflowResult<()> {
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(600))
            .retry_policy(RetryPolicy::builder().maximum_attempts(1).build())
            .build();
        Ok(ctx.execute_activity(Awkward::awkward, kind, options).await?)
    }
}

/// Longer than the server keeps a poll (`quell dev`: 5 s), also by the share of it that the worker's own polls get.
const DRAIN: Duration = Duration::from_secs(8);

/// A worker in this process, in which one awkward activity runs.
struct Worker {
    drain: Drain,
    run: JoinHandle<DrainReport>,
    ended: tokio::sync::watch::Sender<bool>,
    states: tokio::sync::watch::Receiver<BTreeMap<String, QueueState>>,
}

impl Worker {
    /// Starts it against `address`, and the activity in it. The workflow is started on the server itself.
    async fn with(mesh: &Mesh, address: &str, kind: &str) -> Self {
        let env = [
            ("TEMPORAL_MAIN_ADDRESS", address.to_owned()),
            ("TEMPORAL_MAIN_NAMESPACE", "main".to_owned()),
            ("QUELL_PAYLOAD_URL", mesh.payloads().display().to_string()),
            ("QUELL_DRAIN_TIMEOUT_SECONDS", DRAIN.as_secs().to_string()),
            ("QUELL_STOP_TIMEOUT_SECONDS", "2".to_owned()),
        ];
        let sources = Sources {
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            ..Sources::default()
        };
        let settings = config::load(&sources, 0).expect("the settings are valid").settings;
        let payloads = PayloadStore::open(&settings.payload).expect("the store can be opened");
        let client = NamespaceClient::new(settings.main.clone(), "e2e-hangs", payloads.codec());
        let (queue, begun) = (unique(kind), Arc::new(AtomicU32::new(0)));
        let ended = tokio::sync::watch::Sender::new(false);
        let awkward = Awkward {
            begun: begun.clone(),
            ended: ended.subscribe(),
        };
        let registry = Registry::new()
            .queue(queue.clone(), Home::Main, QueueTuning::default())
            .workflow::<RunAwkward>(&queue)
            .activities(&queue, awkward);
        let identity = unique("e2e-hangs");
        let manager = Manager::new(registry, &[], &client, &client, &identity, &settings.worker).expect("no mistakes");
        let states = manager.states();
        let drain = Drain::default();
        let run = manager.run(drain.clone());
        let run = tokio::spawn(async { run.await.expect("the runtimes can be made") });
        let options = WorkflowStartOptions::new(queue.clone(), queue.clone()).build();
        let started = mesh
            .plain_client()
            .await
            .start_workflow(RunAwkward::run, kind.to_owned(), options)
            .await;
        started.expect("the workflow is started");
        eventually(SOON, "the activity has begun", async || {
            when(begun.load(Ordering::SeqCst) == 1, || "it has not".to_owned())
        })
        .await;
        Self {
            drain,
            run,
            ended,
            states,
        }
    }

    /// Drains it. It must end; how, the report says.
    async fn drained(mut self, kind: &str) -> DrainReport {
        self.drain.begin(Instant::now() + DRAIN);
        let draining = |states: &BTreeMap<_, _>| states.values().all(|state| *state == QueueState::Draining);
        let begun = timeout(SOON, self.states.wait_for(draining)).await;
        begun.expect("the drain begins").expect("the manager lives");
        // What ends at all ends in the middle of the drain.
        self.ended.send_replace(true);
        let report = timeout(LONG, self.run)
            .await
            .unwrap_or_else(|_| panic!("the drain hangs on {kind:?}"));
        let report = report.expect("the worker's task does not panic");
        assert_eq!(report.queues.len(), 1, "{kind}: {report:?}");
        report
    }
}

#[tokio::test]
async fn activities_that_never_end_block_or_panic_hold_nobody_up() {
    let mesh = mesh().await;
    let drained = KINDS.map(|kind| {
        let mesh = &mesh;
        async move {
            let worker = Worker::with(mesh, &mesh.temporal_address(), kind).await;
            worker.drained(kind).await
        }
    });
    let reports = futures::future::join_all(drained).await;
    for (kind, report) in KINDS.iter().zip(reports) {
        let queue = &report.queues[0];
        if ["never", "block"].contains(kind) {
            assert_eq!(queue.left.get("awkward"), Some(&1), "{kind}: {report:?}");
            assert!(!queue.stopped && !report.is_clean(), "{kind}: {report:?}");
        } else {
            assert_eq!((queue.finished, report.is_clean()), (1, true), "{kind}: {report:?}");
        }
        assert_eq!(queue.polls_left, 0, "{kind}: {report:?}");
    }
}

/// Between the worker and Temporal, until it is cut.
struct Wire {
    address: String,
    carrying: JoinHandle<()>,
}

impl Wire {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it has a port"));
        let carrying = tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let server = server.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Self { address, carrying }
    }

    async fn cut(self) {
        self.carrying.abort();
        // Ended by us, so this is no fault.
        let _ = self.carrying.await;
    }
}

/// The activity's result cannot be delivered, and the report says that the worker did not come to its end.
#[tokio::test]
async fn a_server_that_is_away_during_the_drain_holds_nobody_up() {
    let mesh = mesh().await;
    let wire = Wire::to(mesh.temporal()).await;
    let worker = Worker::with(&mesh, &wire.address, "work").await;
    wire.cut().await;
    let report = worker.drained("work, with the server away").await;
    let queue = &report.queues[0];
    assert_eq!(
        (queue.finished, queue.left.len(), queue.polls_left),
        (1, 0, 0),
        "{report:?}"
    );
}
