//! Modes that ask: who ends by itself, who does not, and what becomes of those.

use crate::{
    cancel::{check_clean, grown, millis, run_to_end, snowball, spec, workload},
    command, details,
    harness::{mesh, unique},
    outside,
    poll::{SOON, eventually, when},
};
use quell_api::canceler::v1::{
    CancellationSpec, Mode, Phase, PreviewCancellationRequest, Receipt, StartCancellationRequest, Verdict,
};
use quell_api::work::v1::SnowballSpec;
use quell_cli::dev::Part;
use tonic::Code;

/// Executions that nobody works on, so that they never hear the request.
const DEAF: usize = 5;

/// The same target twice: a snowball that ends when it is asked to, beside executions that do not.
#[tokio::test]
async fn what_is_asked_ends_by_itself_or_is_left_or_terminated() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("asked");
    let ball = SnowballSpec {
        workload_id: id.clone(),
        width: 4,
        depth: 2,
        ..Default::default()
    };
    let ball = snowball(&mut mesh.snowballs(), ball).await.snowball_id;
    grown(&mut mesh.snowballs(), &ball, 21).await;
    mesh.start_many("Deaf", &id, DEAF).await;
    mesh.indexed(&id, 26).await;

    let asking = |mode: Mode, seconds: i64| CancellationSpec {
        mode: mode.into(),
        grace: millis(seconds * 1_000),
        ..spec(workload(&id))
    };
    let ended = run_to_end(&mut client, asking(Mode::Cancel, 10)).await;
    let receipt = &ended.receipt;
    assert_eq!(receipt.verdict(), Verdict::Residue, "{receipt:#?}");
    assert!(
        receipt.explanation.contains("did not end within the grace"),
        "{}",
        receipt.explanation
    );
    assert_eq!(receipt.stopped, 0, "nothing is terminated");
    assert!((6..=26).contains(&receipt.asked), "{receipt:#?}");
    assert_eq!(receipt.residuals.len(), DEAF, "{:?}", receipt.residuals);
    assert!(
        ended.watched.iter().any(|look| look.phase() == Phase::Asking),
        "{:?}",
        ended.watched
    );
    assert_eq!(mesh.status("main", &ball).await.as_deref(), Some("CANCELED"));
    let deaf = format!("{id}-Deaf-0");
    assert_eq!(mesh.status("main", &deaf).await.as_deref(), Some("RUNNING"));
    eventually(SOON, "only those are left", async || {
        let left = mesh.running(&id).await;
        when(left == 5, || format!("{left} running"))
    })
    .await;
    verified(receipt).await;

    let ended = run_to_end(&mut client, asking(Mode::CancelThenTerminate, 2)).await;
    check_clean(&ended);
    let receipt = &ended.receipt;
    assert_eq!(
        (receipt.asked, receipt.ended_when_asked, receipt.stopped),
        (5, 0, 5),
        "{receipt:#?}"
    );
    assert_eq!(mesh.status("main", &deaf).await.as_deref(), Some("TERMINATED"));
    verified(receipt).await;
}

/// `quell receipt verify` counts the journal, line by line.
async fn verified(receipt: &Receipt) {
    let mesh = mesh().await;
    let ran = outside::run(&mut command::prepared(
        &mesh,
        &["receipt", "verify", &receipt.cancellation_id],
    ))
    .await;
    assert!(ran.out.contains("the journal adds up"), "{}{}", ran.out, ran.err);
}

/// Whoever has previewed a request to end has not seen what terminating does.
#[tokio::test]
async fn a_token_is_good_for_one_mode() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("asked-token");
    mesh.start_many("Deaf", &id, 3).await;
    mesh.indexed(&id, 3).await;
    let preview = PreviewCancellationRequest {
        target: workload(&id),
        mode: Mode::Cancel.into(),
        ..Default::default()
    };
    let preview = client.preview_cancellation(preview).await.unwrap().into_inner();
    let start = |mode: Mode| StartCancellationRequest {
        spec: Some(CancellationSpec {
            mode: mode.into(),
            max_affected: 1,
            ..spec(workload(&id))
        }),
        confirmation_token: preview.confirmation_token.clone(),
        validate_only: true,
        ..Default::default()
    };
    let status = client.start_cancellation(start(Mode::Terminate)).await.unwrap_err();
    let reason = details::reason("StartCancellation", &status, Code::FailedPrecondition);
    assert_eq!(reason, "CONFIRMATION_TOKEN_MISMATCH");
    client
        .start_cancellation(start(Mode::Cancel))
        .await
        .expect("the token fits");

    // From outside, with names in place of numbers.
    let request = format!(
        r#"{{"spec":{{"target":{{"workloadId":"{id}"}},"reason":"x","mode":"MODE_CANCEL","engine":"ENGINE_BOTH","grace":"2s","deadline":"1s"}}}}"#
    );
    let method = "quell.canceler.v1.CancellationService/StartCancellation";
    let ran = mesh.grpcurl(Part::Canceler, &["-d", &request], &[method]).await;
    assert_ne!(ran.code, 0);
    for field in ["spec.engine", "spec.deadline"] {
        assert!(ran.err.contains(field), "{field}: {}", ran.err);
    }
    check_clean(&run_to_end(&mut client, spec(workload(&id))).await);
}
