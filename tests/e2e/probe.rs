//! Probes: what became of activities is counted as Temporal itself has it.

use crate::{
    cancel::millis,
    details,
    harness::{Mesh, mesh, unique},
    poll::{LONG, SOON, eventually, when},
};
use quell_api::work::v1::{
    GetProbeRequest, Probe, ProbeSpec, StartProbeRequest, StartProbeResponse, probe_service_client::ProbeServiceClient,
};
use quell_cli::dev::Part;
use temporalio_common::protos::temporal::api::{
    taskqueue::v1::TaskQueue, workflowservice::v1::PollActivityTaskQueueRequest,
};
use tonic::{Code, transport::Channel};

/// A client of a work service's probes.
pub(crate) type Probes = ProbeServiceClient<Channel>;

/// Client of the shared work service's probes.
pub(crate) fn probes(mesh: &Mesh) -> Probes {
    Probes::new(crate::harness::channel(&mesh.address(Part::Work)))
}

/// Starts a probe.
pub(crate) async fn start(client: &mut Probes, request_id: &str, spec: ProbeSpec) -> StartProbeResponse {
    let request = StartProbeRequest {
        spec: Some(spec),
        request_id: request_id.to_owned(),
        validate_only: false,
    };
    client
        .start_probe(request)
        .await
        .expect("the probe is started")
        .into_inner()
}

/// A probe as it is now.
pub(crate) async fn get(client: &mut Probes, probe_id: &str) -> Result<Probe, String> {
    let request = GetProbeRequest {
        probe_id: probe_id.to_owned(),
    };
    let answer = client.get_probe(request).await.map_err(|status| status.to_string())?;
    answer.into_inner().probe.ok_or_else(|| "no probe".to_owned())
}

/// A probe when all of it has ended.
pub(crate) async fn finished(client: &mut Probes, probe_id: &str) -> Probe {
    eventually(LONG, "the probe is finished", async || {
        let probe = get(client, probe_id).await?;
        when(probe.finished, || format!("{probe:?}")).map(|()| probe)
    })
    .await
}

#[tokio::test]
async fn a_probe_is_counted_as_temporal_has_it() {
    let mesh = mesh().await;
    let mut client = probes(&mesh);
    let request_id = unique("probe");
    let spec = ProbeSpec {
        workflows: 30,
        activity_sleep: millis(0),
        ..ProbeSpec::default()
    };
    let started = start(&mut client, &request_id, spec.clone()).await;
    assert_eq!(started.probe_id, format!("probe-{request_id}"));
    let filled = started.spec.clone().expect("the spec with its defaults");
    assert_eq!((filled.workflows, filled.attempts, filled.concurrency), (30, 1, 50));
    assert_eq!(filled.activity_timeout, millis(10_000));
    assert_eq!(filled.activity_task_queue, "probe-task-queue");

    let probe = finished(&mut client, &started.probe_id).await;
    let counts = [probe.started, probe.completed, probe.open, probe.lost, probe.timed_out];
    assert_eq!(counts, [30, 30, 0, 0, 0], "{probe:?}");
    assert_eq!((probe.run_twice, probe.failed, probe.otherwise), (0, 0, 0), "{probe:?}");
    assert_eq!(probe.spec, started.spec);
    let completed = format!(
        "WorkflowType=\"ProbeWorkflow\" AND WorkloadId=\"{}\" AND ExecutionStatus=\"Completed\"",
        started.probe_id
    );
    assert_eq!(mesh.count(&completed).await, 30);

    // Asked again it is the same one; anything else under its id is refused.
    let again = start(&mut client, &request_id, spec).await;
    assert_eq!(again.run_id, started.run_id);
    let other = StartProbeRequest {
        spec: None,
        request_id,
        validate_only: false,
    };
    let status = client.start_probe(other).await.unwrap_err();
    let reason = details::reason("another probe of the same id", &status, Code::FailedPrecondition);
    assert_eq!(reason, "REQUEST_ID_REUSED");
    let nobody = GetProbeRequest {
        probe_id: unique("probe-nobody"),
    };
    assert_eq!(client.get_probe(nobody).await.unwrap_err().code(), Code::NotFound);
}

/// A worker that takes a task and is never seen again, beside activities that run into their timeouts by themselves.
#[tokio::test]
async fn what_was_lost_is_told_from_what_took_too_long() {
    let mesh = mesh().await;
    let mut client = probes(&mesh);
    let queue = unique("stolen");
    let lost = ProbeSpec {
        workflows: 3,
        activity_timeout: millis(1_000),
        activity_task_queue: queue.clone(),
        ..ProbeSpec::default()
    };
    let late = ProbeSpec {
        workflows: 3,
        activity_sleep: millis(5_000),
        activity_timeout: millis(1_000),
        ..ProbeSpec::default()
    };
    let lost = start(&mut client, &unique("lost"), lost).await.probe_id;
    let late = start(&mut client, &unique("late"), late).await.probe_id;
    let mut stolen = 0;
    eventually(SOON, "all tasks are stolen", async || {
        let task = mesh
            .plain_client()
            .await
            .connection()
            .workflow_service()
            .poll_activity_task_queue(tonic::Request::new(PollActivityTaskQueueRequest {
                namespace: "main".to_owned(),
                task_queue: Some(TaskQueue {
                    name: queue.clone(),
                    ..TaskQueue::default()
                }),
                identity: "a thief".to_owned(),
                ..PollActivityTaskQueueRequest::default()
            }))
            .await
            .expect("the server answers")
            .into_inner();
        stolen += u32::from(!task.task_token.is_empty());
        when(stolen == 3, || format!("{stolen}"))
    })
    .await;
    let lost = finished(&mut client, &lost).await;
    assert_eq!((lost.lost, lost.timed_out, lost.completed), (3, 0, 0), "{lost:?}");
    let late = finished(&mut client, &late).await;
    assert_eq!((late.lost, late.timed_out, late.completed), (0, 3, 0), "{late:?}");
}
