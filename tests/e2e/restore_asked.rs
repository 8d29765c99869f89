//! A cancellation undone that only asked: what was alone goes back to before the request, and a restoration can be ended.

use crate::{
    cancel::{Canceler, check_clean, millis, run_to_end, snowball, spec, workload},
    details,
    harness::{Mesh, mesh, unique},
    poll::{SOON, eventually, when},
    restore::{get, left, of, watched},
};
use quell_api::{
    canceler::v1::{
        CancellationSpec, Mode, NotRestoredReason, PreviewCancellationRequest, RestorationVerdict,
        RestoreCancellationRequest, StartCancellationRequest, StopRestorationRequest,
    },
    work::v1::{SnowballProducer, SnowballSpec},
};
use quell_cli::dev::Part;
use tonic::Code;

/// Executions without a parent, each at work until it is asked to end.
async fn alone(mesh: &Mesh, workload_id: &str, count: u32) {
    let spec = SnowballSpec {
        width: count,
        depth: 1,
        producer: SnowballProducer::Client.into(),
        workload_id: workload_id.to_owned(),
        ..Default::default()
    };
    snowball(&mut mesh.snowballs(), spec).await;
    mesh.indexed(workload_id, count.into()).await;
}

fn asking(workload_id: &str) -> CancellationSpec {
    CancellationSpec {
        mode: Mode::Cancel.into(),
        grace: millis(60_000),
        ..spec(workload(workload_id))
    }
}

async fn stop(client: &mut Canceler, id: &str, reason: &str) -> Result<(), tonic::Status> {
    let request = StopRestorationRequest {
        cancellation_id: id.to_owned(),
        reason: reason.to_owned(),
    };
    client.stop_restoration(request).await.map(drop)
}

/// The canceler that restores is killed at once, so that what is asked of its restoration meanwhile comes while it runs.
#[tokio::test]
async fn what_ended_when_it_was_asked_runs_on_unless_the_restoration_is_stopped() {
    const ALL: u32 = 40;
    let mesh = mesh().await;
    let id = unique("asked-alone");
    let queue = unique("canceler-queue");
    let own = mesh
        .own(Part::Canceler, &id, &[("TEMPORAL_CANCELER_TASK_QUEUE", &queue)])
        .await;
    let mut client = Canceler::new(own.channel());
    alone(&mesh, &id, ALL).await;
    let ended = run_to_end(&mut client, asking(&id)).await;
    check_clean(&ended);
    assert_eq!((ended.receipt.asked, ended.receipt.stopped), (ALL.into(), 0));
    let cancellation_id = ended.receipt.cancellation_id.as_str();
    let other_one = run_to_end(&mut client, spec(workload(&id))).await;
    let other_one = other_one.receipt.cancellation_id;
    let nobody = unique("nobody");
    let status = stop(&mut client, &nobody, "").await.unwrap_err();
    details::not_found("StopRestoration", &status, &nobody);

    let slowly = RestoreCancellationRequest {
        concurrency: 1,
        ..of(cancellation_id)
    };
    client.restore_cancellation(slowly).await.unwrap();
    own.process.kill().await.expect("it can be killed");
    let mut others = mesh.cancellations();
    let caught = get(&mut others, cancellation_id).await.unwrap();
    assert_eq!(
        caught.verdict(),
        RestorationVerdict::Unspecified,
        "it was too fast for this test"
    );
    let again = StartCancellationRequest {
        spec: Some(asking(&id)),
        ..Default::default()
    };
    let status = others.start_cancellation(again).await.unwrap_err();
    assert_eq!(
        details::reason("StartCancellation", &status, Code::FailedPrecondition),
        "RESTORATION_RUNNING"
    );
    assert!(status.message().contains(cancellation_id), "{status}");
    let look = PreviewCancellationRequest {
        target: workload(&id),
        ..Default::default()
    };
    let preview = others.preview_cancellation(look).await.expect("a preview").into_inner();
    let warned = |warning: &String| warning.contains(cancellation_id) && warning.contains("is being restored");
    assert!(preview.warnings.iter().any(warned), "{:?}", preview.warnings);
    let other_one = others.restore_cancellation(of(&other_one)).await;
    assert_eq!(
        details::reason("RestoreCancellation", &other_one.unwrap_err(), Code::FailedPrecondition),
        "RESTORATION_RUNNING"
    );
    stop(&mut others, cancellation_id, "not those").await.unwrap();
    own.process.start().expect("it can be started again");
    own.ready().await;
    let (seen, report) = watched(&mut client, cancellation_id).await;
    assert_eq!(
        seen.last().unwrap().verdict(),
        RestorationVerdict::Aborted,
        "{report:#?}"
    );
    assert!(report.explanation.contains("not those"), "{}", report.explanation);
    assert_eq!(report.resumed, "not asked", "{report:#?}");
    stop(&mut others, cancellation_id, "")
        .await
        .expect("it has ended already");

    client.restore_cancellation(of(cancellation_id)).await.unwrap();
    let (seen, report) = watched(&mut client, cancellation_id).await;
    assert_eq!(
        seen.last().unwrap().verdict(),
        RestorationVerdict::Restored,
        "{report:#?}"
    );
    assert_eq!(
        (report.ended_when_asked, report.stopped),
        (ALL.into(), 0),
        "{report:#?}"
    );
    mesh.indexed(&id, ALL.into()).await;
    check_clean(&run_to_end(&mut client, spec(workload(&id))).await);
}

/// The root of a tree has heard that its children were cancelled, and ended because of it: that cannot be taken back.
#[tokio::test]
async fn what_has_heard_of_its_childrens_end_is_named_and_left() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("asked-tree");
    let ball = SnowballSpec {
        workload_id: id.clone(),
        width: 3,
        depth: 1,
        ..Default::default()
    };
    let root = snowball(&mut mesh.snowballs(), ball).await.snowball_id;
    mesh.indexed(&id, 4).await;
    let ended = run_to_end(&mut client, asking(&id)).await;
    check_clean(&ended);
    let cancellation_id = ended.receipt.cancellation_id.as_str();
    client.restore_cancellation(of(cancellation_id)).await.unwrap();
    let (seen, report) = watched(&mut client, cancellation_id).await;
    assert_eq!(
        seen.last().unwrap().verdict(),
        RestorationVerdict::Partial,
        "{report:#?}"
    );
    assert_eq!(report.restored, 0, "{report:#?}");
    assert_eq!(
        left(&report),
        [(NotRestoredReason::EndedWhenAsked, report.ended_when_asked)].into()
    );
    let named = report.named.iter().find(|named| {
        let execution = named.execution.as_ref().expect("it names one");
        execution.workflow_id == root
    });
    assert_eq!(named.expect("the root is named").detail, "it ended as CANCELED");
    eventually(SOON, "nothing runs", async || {
        let running = mesh.running(&id).await;
        when(running == 0, || format!("{running} running"))
    })
    .await;
}
