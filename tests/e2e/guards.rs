//! What keeps a cancellation from stopping what nobody meant, and from going on for ever.

use crate::{
    cancel::{self, check_clean, millis, query, run_to_end, spec, start, workload},
    details,
    harness::{Mesh, mesh, unique},
    outside::start_one,
};
use quell_api::canceler::v1::{CancellationSpec, StartCancellationRequest, Verdict};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tonic::Code;

/// A client that heeds no gate: it goes on starting workflows until it is told to end.
async fn unstoppable(mesh: &Mesh, id: &str, end: &AtomicBool) {
    let client = mesh.plain_client().await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for n in 0.. {
        if end.load(Ordering::Relaxed) {
            break;
        }
        start_one(&client, "Unstoppable", format!("{id}-late-{n}"), id)
            .await
            .expect("Temporal starts it");
        pace.tick().await;
    }
}

#[tokio::test]
async fn more_than_max_affected_is_refused_before_anything_is_stopped() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("too-many");
    mesh.start_many("Sleeper", &id, 20).await;
    mesh.indexed(&id, 20).await;
    for validate_only in [true, false] {
        let request = StartCancellationRequest {
            spec: Some(CancellationSpec {
                max_affected: 19,
                ..spec(workload(&id))
            }),
            request_id: id.clone(),
            validate_only,
            confirmation_token: String::new(),
        };
        let status = client.start_cancellation(request).await.unwrap_err();
        details::unmet("StartCancellation", &status);
        assert_eq!(
            details::reason("StartCancellation", &status, Code::FailedPrecondition),
            "MAX_AFFECTED_EXCEEDED"
        );
        assert!(
            status.message().contains("20") && status.message().contains("19"),
            "{}",
            status.message()
        );
    }
    assert_eq!(mesh.status("canceler", &format!("quell/cancellation/{id}")).await, None);
    assert_eq!(mesh.running(&id).await, 20);

    // The limit itself is allowed.
    let ended = run_to_end(
        &mut client,
        CancellationSpec {
            max_affected: 20,
            ..spec(workload(&id))
        },
    )
    .await;
    check_clean(&ended);
    assert_eq!(ended.receipt.stopped, 20);
}

#[tokio::test]
async fn a_growing_target_is_never_stopped_beyond_max_affected() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("cap");
    mesh.start_many("Sleeper", &id, 30).await;
    mesh.indexed(&id, 30).await;
    let over = AtomicBool::new(false);
    let cancellation = async {
        let ended = run_to_end(
            &mut client,
            CancellationSpec {
                max_affected: 60,
                ..spec(workload(&id))
            },
        )
        .await;
        over.store(true, Ordering::Relaxed);
        ended
    };
    let (ended, ()) = tokio::join!(cancellation, unstoppable(&mesh, &id, &over));
    assert_eq!(ended.receipt.verdict(), Verdict::Aborted, "{:#?}", ended.receipt);
    assert!(
        ended.receipt.explanation.contains("max_affected"),
        "{}",
        ended.receipt.explanation
    );
    let terminated = mesh
        .count(&format!("WorkloadId=\"{id}\" AND ExecutionStatus=\"Terminated\""))
        .await;
    assert!(
        terminated <= 60 && ended.receipt.stopped <= 60,
        "{terminated} terminated, {} told",
        ended.receipt.stopped
    );
    assert!(ended.receipt.stopped >= 30, "{:#?}", ended.receipt);

    check_clean(&run_to_end(&mut client, spec(workload(&id))).await);
}

#[tokio::test]
async fn an_unstoppable_source_ends_blocked_at_the_deadline_and_is_named() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("blocked");
    mesh.start_many("Sleeper", &id, 10).await;
    mesh.indexed(&id, 10).await;
    let over = AtomicBool::new(false);
    let cancellation = async {
        let limited = CancellationSpec {
            deadline: millis(12_000),
            confirm_timeout: millis(2_000),
            ..spec(workload(&id))
        };
        let ended = run_to_end(&mut client, limited).await;
        over.store(true, Ordering::Relaxed);
        ended
    };
    let (ended, ()) = tokio::join!(cancellation, unstoppable(&mesh, &id, &over));
    assert_eq!(ended.receipt.verdict(), Verdict::Blocked, "{:#?}", ended.receipt);
    assert!(
        ended
            .receipt
            .blockers
            .iter()
            .any(|blocker| blocker.contains("Unstoppable")),
        "{:?}",
        ended.receipt.blockers
    );

    // Once it has ended by itself, the same target is cleaned up.
    check_clean(&run_to_end(&mut client, spec(workload(&id))).await);
    assert_eq!(mesh.running(&id).await, 0);
}

#[tokio::test]
async fn a_source_that_must_quiesce_and_cannot_be_reached_blocks_before_anything_is_stopped() {
    let mesh = mesh().await;
    let id = unique("no-source");
    mesh.start_many("Sleeper", &id, 5).await;
    mesh.indexed(&id, 5).await;
    // A canceler whose work service is not there: nothing listens on that port.
    let nowhere = format!("http://127.0.0.1:{}", quell_cli::ports::free(1).unwrap()[0]);
    let queue = unique("canceler-queue");
    let settings = [
        ("QUELL_WORK_ADDRESS", nowhere.as_str()),
        ("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str()),
    ];
    let own = mesh.own(quell_cli::dev::Part::Canceler, "no-source", &settings).await;
    let mut client = cancel::Canceler::new(own.channel());

    let strict = CancellationSpec {
        require_quiesce: true,
        ..spec(workload(&id))
    };
    let ended = run_to_end(&mut client, strict).await;
    assert_eq!(
        (ended.receipt.verdict(), ended.receipt.stopped),
        (Verdict::Blocked, 0),
        "{:#?}",
        ended.receipt
    );
    assert_eq!(ended.receipt.quiesce, "unreachable");
    assert_eq!(mesh.running(&id).await, 5);

    // Without that demand it is a warning.
    let ended = run_to_end(&mut client, spec(workload(&id))).await;
    check_clean(&ended);
    assert_eq!(ended.receipt.quiesce, "unreachable");
    assert!(!ended.receipt.warnings.is_empty());
    assert_eq!(mesh.running(&id).await, 0);
}

/// A filter so wide that it matches our own executions and the server's: they are excluded, twice.
#[tokio::test]
async fn our_own_executions_survive_a_filter_that_matches_them() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("wide");
    mesh.start_by_cli(&format!("{id}-target"), &id).await;
    // By name one of ours, by tag one of theirs.
    let own = format!("quell-{id}");
    mesh.start_by_cli(&own, &id).await;
    let own_too = format!("quell/{id}");
    mesh.start_by_cli(&own_too, &id).await;
    mesh.indexed(&id, 3).await;
    let filter = format!("WorkloadId = '{id}' OR WorkflowId = '{own}' OR WorkflowId = '{own_too}'");
    let started = start(&mut client, spec(query(filter))).await;
    let ended = cancel::to_the_end(&mut client, started).await;
    check_clean(&ended);
    assert_eq!(ended.receipt.stopped, 1, "{:#?}", ended.receipt);
    assert_eq!(
        mesh.status("main", &format!("{id}-target")).await.as_deref(),
        Some("TERMINATED")
    );
    for survivor in [own, own_too] {
        assert_eq!(
            mesh.status("main", &survivor).await.as_deref(),
            Some("RUNNING"),
            "{survivor}"
        );
    }
}
