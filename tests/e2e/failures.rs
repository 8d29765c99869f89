//! Stops that fail for good: each is listed, however many, while the cancellation runs and afterwards.

use crate::{
    cancel::{self, Canceler, check_clean_receipt, millis, spec, start, workload},
    details,
    harness::{Mesh, Own, mesh, unique},
    poll::{LONG, eventually, when},
    refusing::Refusing,
};
use quell_api::canceler::v1::{CancellationSpec, Failure, ListFailuresRequest, Verdict};
use quell_cli::dev::Part;
use std::collections::BTreeSet;
use tonic::Code;

/// More than a receipt names.
const TARGETS: usize = 250;

/// A canceler whose Temporal terminates nothing, and as many targets.
async fn refused(mesh: &Mesh, id: &str) -> (Refusing, Own, Canceler) {
    let refusing = Refusing::in_front_of(&mesh.temporal_address()).await;
    let queue = unique("canceler-queue");
    let temporal = mesh.temporal_address();
    let settings = [
        ("TEMPORAL_MAIN_ADDRESS", refusing.address.as_str()),
        ("TEMPORAL_CANCELER_ADDRESS", temporal.as_str()),
        ("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str()),
    ];
    let own = mesh.own(Part::Canceler, id, &settings).await;
    mesh.start_many("Sleeper", id, TARGETS).await;
    mesh.indexed(id, i64::try_from(TARGETS).unwrap()).await;
    let client = Canceler::new(own.channel());
    (refusing, own, client)
}

async fn all_failures(client: &mut Canceler, id: &str, pass: i32, page_size: i32) -> Result<Vec<Failure>, String> {
    let (mut token, mut all) = (String::new(), Vec::new());
    loop {
        let request = ListFailuresRequest {
            cancellation_id: id.to_owned(),
            page_size,
            page_token: token,
            pass,
        };
        let page = client
            .list_failures(request)
            .await
            .map_err(|status| status.to_string())?;
        let page = page.into_inner();
        assert!(page.failures.len() <= usize::try_from(page_size).unwrap());
        all.extend(page.failures);
        token = page.next_page_token;
        if token.is_empty() {
            return Ok(all);
        }
    }
}

fn ids(failures: &[Failure]) -> BTreeSet<String> {
    let execution = |failure: &Failure| failure.execution.clone().expect("a failure names its execution");
    failures.iter().map(|failure| execution(failure).workflow_id).collect()
}

fn expected(id: &str) -> BTreeSet<String> {
    (0..TARGETS).map(|n| format!("{id}-Sleeper-{n}")).collect()
}

#[tokio::test]
async fn every_failed_stop_is_listed_while_it_runs_and_afterwards() {
    let mesh = mesh().await;
    let id = unique("failures");
    let (refusing, _own, mut client) = refused(&mesh, &id).await;
    let started = start(&mut client, spec(workload(&id))).await;
    let cancellation_id = started.cancellation_id;

    // While it runs: the first pass over the roots meets every one of them.
    eventually(LONG, "the failures of the first pass are listed", async || {
        let failures = all_failures(&mut client, &cancellation_id, 1, 70).await?;
        when(failures.len() == TARGETS, || format!("{} failures", failures.len()))?;
        assert_eq!(ids(&failures), expected(&id));
        Ok(())
    })
    .await;
    refusing.relent();

    let receipt = cancel::eventual_receipt(&mut client, &cancellation_id).await;
    check_clean_receipt(&receipt);
    assert_eq!(mesh.running(&id).await, 0);
    let failures = all_failures(&mut client, &cancellation_id, 0, 1_000).await.unwrap();
    assert!(failures.len() >= TARGETS);
    let first: Vec<_> = failures.iter().filter(|failure| failure.pass == 1).cloned().collect();
    assert_eq!((first.len(), ids(&first)), (TARGETS, expected(&id)));
    for failure in &failures {
        let execution = failure.execution.as_ref().unwrap();
        assert!(
            failure.error.contains("PermissionDenied") || failure.error.contains("credentials"),
            "{failure:?}"
        );
        assert!(
            !execution.run_id.is_empty() && execution.workflow_type == "Sleeper",
            "{failure:?}"
        );
        assert_eq!(failure.attempt, 1, "no worker was lost");
    }
    assert_eq!(
        all_failures(&mut client, &cancellation_id, receipt.passes, 50).await,
        Ok(Vec::new())
    );
}

#[tokio::test]
async fn what_cannot_be_stopped_is_a_residue_and_all_of_it_is_listed() {
    let mesh = mesh().await;
    let id = unique("residue");
    let (refusing, _own, mut client) = refused(&mesh, &id).await;
    let limited = CancellationSpec {
        confirm_timeout: millis(3_000),
        ..spec(workload(&id))
    };
    let started = start(&mut client, limited).await;
    let receipt = cancel::eventual_receipt(&mut client, &started.cancellation_id).await;

    assert_eq!(receipt.verdict(), Verdict::Residue, "{receipt:#?}");
    assert_eq!(
        (receipt.stopped, receipt.failed),
        (0, i64::try_from(TARGETS).unwrap()),
        "{receipt:#?}"
    );
    assert_eq!(receipt.failures.len(), 100, "a receipt names some");
    let last = all_failures(&mut client, &receipt.cancellation_id, receipt.passes, 99)
        .await
        .unwrap();
    assert_eq!((last.len(), ids(&last)), (TARGETS, expected(&id)), "the list has all");

    // A chunk that is gone is told, never left out in silence.
    let chunk = receipt
        .journal
        .iter()
        .find(|chunk| chunk.failed() > 0)
        .expect("a chunk with failures");
    std::fs::remove_file(mesh.payloads().join(&chunk.key)).unwrap();
    let request = ListFailuresRequest {
        cancellation_id: receipt.cancellation_id.clone(),
        ..Default::default()
    };
    let status = client.list_failures(request).await.unwrap_err();
    assert_eq!(
        details::reason("ListFailures", &status, Code::FailedPrecondition),
        "PAYLOAD_MISSING"
    );
    assert_eq!(
        details::unmet("ListFailures", &status),
        *std::slice::from_ref(&chunk.key)
    );

    refusing.relent();
    cancel::check_clean(&cancel::run_to_end(&mut client, spec(workload(&id))).await);
}

#[tokio::test]
async fn a_cancellation_without_failures_lists_none_and_an_unknown_one_is_not_found() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("no-failures");
    mesh.start_many("Sleeper", &id, 12).await;
    let ended = cancel::run_to_end(&mut client, spec(workload(&id))).await;
    assert_eq!(
        all_failures(&mut client, &ended.receipt.cancellation_id, 0, 50).await,
        Ok(Vec::new())
    );
    let request = ListFailuresRequest {
        cancellation_id: id.clone(),
        ..Default::default()
    };
    details::not_found("ListFailures", &client.list_failures(request).await.unwrap_err(), &id);
}
