//! Guards that look at what a target holds: the token of a preview, what is protected, who else is at it. When one refuses, nothing is
//! stopped.

use crate::{
    cancel::{check_clean, run_to_end, shown_as_running, spec, start, stop, to_the_end, workload},
    details,
    harness::{Mesh, mesh, unique},
    outside::json,
    tree::node,
};
use quell_api::canceler::v1::{
    CancellationSpec, PreviewCancellationRequest, PreviewCancellationResponse, StartCancellationRequest,
    cancellation_service_client::CancellationServiceClient,
};
use quell_cli::dev::Part;
use quell_mesh::confirmation::Token;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

type Canceler = CancellationServiceClient<Channel>;

async fn preview(client: &mut Canceler, id: &str) -> PreviewCancellationResponse {
    let request = PreviewCancellationRequest {
        target: workload(id),
        ..Default::default()
    };
    client
        .preview_cancellation(request)
        .await
        .expect("a preview")
        .into_inner()
}

fn few(id: &str, token: &str) -> StartCancellationRequest {
    StartCancellationRequest {
        spec: Some(CancellationSpec {
            max_affected: 5,
            ..spec(workload(id))
        }),
        confirmation_token: token.to_owned(),
        ..Default::default()
    }
}

/// The token of a preview, as if it had been given long ago.
fn aged(preview: &PreviewCancellationResponse) -> String {
    let id = preview.confirmation_token.split('.').nth(1).expect("an id");
    let old = Token {
        id: id.parse().expect("a UUID"),
        matched: u64::try_from(preview.open).expect("a count"),
        at_ms: 1,
    };
    old.write(&format!("Terminate.main.{}", preview.query))
}

fn check_reason(status: &Status, reason: &str) {
    let details = status.get_error_details();
    assert!(
        details.request_info().is_some_and(|info| !info.request_id.is_empty()),
        "no trace id"
    );
    details::unmet(reason, status);
    let what = "StartCancellation";
    assert_eq!(
        details::reason(what, status, Code::FailedPrecondition),
        reason,
        "{status:?}"
    );
}

#[tokio::test]
async fn whoever_has_seen_the_count_may_go_above_max_affected() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let (id, other) = (unique("token"), unique("token-other"));
    mesh.start_many("Sleeper", &id, 20).await;
    mesh.indexed(&id, 20).await;
    let seen = preview(&mut client, &id).await;
    let token = seen.confirmation_token.clone();
    let elsewhere = preview(&mut client, &other).await.confirmation_token;

    let status = client.start_cancellation(few(&id, "")).await.unwrap_err();
    check_reason(&status, "MAX_AFFECTED_EXCEEDED");
    let old = aged(&seen);
    for bad in [elsewhere.as_str(), "nonsense", &token.replace(".20.", ".90."), &old] {
        let status = client.start_cancellation(few(&id, bad)).await.unwrap_err();
        check_reason(&status, "CONFIRMATION_TOKEN_MISMATCH");
    }
    let both = StartCancellationRequest {
        request_id: unique("both"),
        ..few(&id, &token)
    };
    let status = client.start_cancellation(both).await.unwrap_err();
    assert_eq!(details::bad_fields("a token and a request id", &status), ["request_id"]);
    assert_eq!(mesh.running(&id).await, 20);

    let started = client
        .start_cancellation(few(&id, &token))
        .await
        .expect("it starts")
        .into_inner();
    assert_eq!(started.spec.as_ref().map(|spec| spec.max_affected), Some(40));
    // A repeated call is the same cancellation, however late it comes; another one cannot be started by it.
    for token in [&token, &old] {
        let again = client.start_cancellation(few(&id, token)).await.expect("the first");
        assert_eq!(again.into_inner().cancellation_id, started.cancellation_id);
    }
    let mut changed = few(&id, &token);
    changed.spec.as_mut().expect("a spec").reason = "another".to_owned();
    let status = client.start_cancellation(changed).await.unwrap_err();
    check_reason(&status, "CONFIRMATION_TOKEN_MISMATCH");
    let ended = to_the_end(&mut client, started).await;
    check_clean(&ended);
    assert_eq!(ended.receipt.stopped, 20);
}

#[tokio::test]
async fn what_has_grown_since_the_preview_needs_another_look() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("outgrown");
    mesh.start_many("Sleeper", &id, 10).await;
    mesh.indexed(&id, 10).await;
    let token = preview(&mut client, &id).await.confirmation_token;
    // Half as many again and a hundred are borne.
    mesh.start_many("More", &id, 106).await;
    mesh.indexed(&id, 116).await;
    let status = client.start_cancellation(few(&id, &token)).await.unwrap_err();
    check_reason(&status, "CONFIRMATION_TOKEN_MISMATCH");
    assert_eq!(mesh.running(&id).await, 116);
    check_clean(&run_to_end(&mut client, spec(workload(&id))).await);
}

/// A canceler of its own, whose configuration protects something.
async fn protecting(mesh: &Mesh, id: &str, setting: (&str, &str)) -> (crate::harness::Own, Canceler) {
    let queue = format!("{id}-queue");
    let own = mesh
        .own(Part::Canceler, id, &[("TEMPORAL_CANCELER_TASK_QUEUE", &queue), setting])
        .await;
    let client = CancellationServiceClient::new(own.channel());
    (own, client)
}

#[tokio::test]
async fn what_is_protected_is_not_stopped() {
    let mesh = mesh().await;
    let id = unique("protected");
    let settings = format!("{id}-Payments,Other");
    let (_own, mut client) = protecting(&mesh, &id, ("QUELL_PROTECTED_TYPES", &settings)).await;
    mesh.start_many("Sleeper", &id, 3).await;
    mesh.indexed(&id, 3).await;
    let payments = format!("{id}-Payments");
    let plain = mesh.plain_client().await;
    let kept = node(&format!("{id}-kept"), &payments, Some(&id));
    kept.start(&plain).await;
    mesh.indexed(&id, 4).await;
    let request = StartCancellationRequest {
        spec: Some(spec(workload(&id))),
        ..Default::default()
    };
    let status = client.start_cancellation(request).await.unwrap_err();
    check_reason(&status, "PROTECTED_TARGET");
    assert!(
        status.message().contains("1 executions whose WorkflowType"),
        "{}",
        status.message()
    );
    assert_eq!(mesh.running(&id).await, 4);

    // Nor when it only descends from the target.
    mesh.tidy(&[&kept]).await;
    mesh.indexed(&id, 3).await;
    let root = node(&format!("{id}-root"), "Tree", Some(&id));
    let child = node(&format!("{id}-child"), &payments, None);
    root.start(&plain).await;
    root.spawn(&plain, &[&child]).await;
    mesh.wait_open(&[&root.id, &child.id]).await;
    let ended = run_to_end(&mut client, spec(workload(&id))).await;
    check_clean(&ended);
    assert_eq!((ended.receipt.stopped, ended.receipt.descendants), (4, 0));
    assert_eq!(mesh.status("main", &child.id).await.as_deref(), Some("RUNNING"));
    mesh.tidy(&[&child]).await;
}

#[tokio::test]
async fn protected_workloads_and_queues_are_refused() {
    let mesh = mesh().await;
    let id = unique("protected-id");
    mesh.start_by_cli(&format!("{id}-1"), &id).await;
    mesh.indexed(&id, 1).await;
    let described = mesh
        .temporal_in("main", &["workflow", "describe", "--workflow-id", &format!("{id}-1")])
        .await
        .ok();
    let queue = json(&described)["executionConfig"]["taskQueue"]["name"]
        .as_str()
        .expect("a queue")
        .to_owned();
    for (n, setting) in [
        ("QUELL_PROTECTED_WORKLOADS", id.as_str()),
        ("QUELL_PROTECTED_QUEUES", &queue),
    ]
    .into_iter()
    .enumerate()
    {
        let (_own, mut client) = protecting(&mesh, &format!("{id}-{n}"), setting).await;
        let request = StartCancellationRequest {
            spec: Some(spec(workload(&id))),
            ..Default::default()
        };
        let status = client.start_cancellation(request).await.unwrap_err();
        check_reason(&status, "PROTECTED_TARGET");
    }
    assert_eq!(mesh.running(&id).await, 1);
    check_clean(&run_to_end(&mut mesh.cancellations(), spec(workload(&id))).await);
}

#[tokio::test]
async fn a_target_is_stopped_by_one_cancellation_at_a_time() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("twice");
    // Enough looks that it is still at it.
    let long = CancellationSpec {
        looks: 20,
        confirm_poll: crate::cancel::millis(10_000),
        ..spec(workload(&id))
    };
    let first = start(&mut client, long).await;
    shown_as_running(&mut client, &id, &first.cancellation_id).await;
    let request = StartCancellationRequest {
        spec: Some(spec(workload(&id))),
        ..Default::default()
    };
    let status = client.start_cancellation(request.clone()).await.unwrap_err();
    check_reason(&status, "CANCELLATION_RUNNING");
    assert!(
        status.message().contains(&first.cancellation_id),
        "{}",
        status.message()
    );
    stop(&mut client, &first, "enough").await;
    to_the_end(&mut client, first).await;
    // Over: now another one may begin, as soon as the index knows.
    crate::poll::eventually(crate::poll::SOON, "the next one starts", async || {
        let answer = mesh.cancellations().start_cancellation(request.clone()).await;
        answer.map(drop).map_err(|status| status.to_string())
    })
    .await;
}
