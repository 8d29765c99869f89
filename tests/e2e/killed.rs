//! A service that is killed (SIGKILL: no drain, no word) in the middle of its work. Its state lives in Temporal and in the
//! payload store, so whoever comes next ends the work, and the receipt is true.

use crate::{
    cancel::{self, check_clean_receipt, check_journal_after_a_kill, spec, start, workload},
    harness::{Mesh, Own, batch_slot, mesh, unique},
    poll::{LONG, SOON, eventually, when},
    trace,
};
use quell_api::{
    batch::v1::{
        BatchOperation, BatchOperationState, ListBatchOperationsRequest,
        batch_operation_service_client::BatchOperationServiceClient,
    },
    canceler::v1::{CancellationSpec, Engine, Phase, Receipt},
};
use quell_cli::dev::Part;
use tonic::transport::Channel;

#[tokio::test]
async fn a_canceler_killed_in_the_middle_of_a_sweep_ends_clean_after_its_restart() {
    let mesh = mesh().await;
    let id = unique("killed");
    // A queue of its own: no other replica can help.
    let queue = unique("canceler-queue");
    let collector = mesh.address(Part::Jaeger);
    let settings = [
        ("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector),
    ];
    let own = mesh.own(Part::Canceler, "killed", &settings).await;
    let mut client = cancel::Canceler::new(own.channel());
    mesh.start_many("Sleeper", &id, 1_000).await;
    mesh.indexed(&id, 1_000).await;

    let started = start(
        &mut client,
        CancellationSpec {
            concurrency: 1,
            ..spec(workload(&id))
        },
    )
    .await;
    let caught = eventually(LONG, "it is caught in the middle of its sweep", async || {
        let cancellation = cancel::get(&mut client, &started.cancellation_id).await?;
        let stopped = cancellation.progress.as_ref().map_or(0, |progress| progress.stopped);
        assert_ne!(
            cancellation.phase(),
            Phase::Done,
            "it was too fast for this test: {cancellation:?}"
        );
        if stopped >= 50 {
            Ok(cancellation)
        } else {
            Err(format!("{:?}, {stopped} stopped", cancellation.phase()))
        }
    })
    .await;
    own.process.kill().await.expect("it can be killed");
    let left = mesh.running(&id).await;
    assert!(left > 0, "killed too late: {caught:?}");

    own.process.start().expect("it can be started again");
    own.ready().await;
    let receipt = cancel::eventual_receipt(&mut client, &started.cancellation_id).await;

    check_clean_receipt(&receipt);
    check_journal_after_a_kill(&receipt, &mesh.payloads());
    assert_eq!(mesh.running(&id).await, 0);
    assert_eq!(receipt.spec, started.spec);
    let terminated = mesh
        .count(&format!("WorkloadId=\"{id}\" AND ExecutionStatus=\"Terminated\""))
        .await;
    assert_eq!(terminated, 1_000);
    // Stops whose acknowledgement died with the process come back as already closed, never as stopped twice.
    assert!(receipt.stopped <= 1_000, "{receipt:#?}");
    assert_eq!(receipt.stopped + receipt.closed_by_others, 1_000, "{receipt:#?}");

    // Whatever began before the kill, nothing hangs in the air after it.
    let spans = trace::whole(&mesh, &receipt.trace_id, None, "CompleteWorkflow:BulkCancelWorkflow").await;
    trace::check_edges(&spans, trace::OF_A_CANCELLATION);
}

#[tokio::test]
async fn another_replica_takes_over_from_a_killed_one() {
    let mesh = mesh().await;
    let id = unique("taken-over");
    let queue = unique("canceler-queue");
    let settings = [("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str())];
    let first = mesh.own(Part::Canceler, "taken-over-first", &settings).await;
    mesh.start_many("Sleeper", &id, 600).await;
    let mut client = cancel::Canceler::new(first.channel());
    let started = start(
        &mut client,
        CancellationSpec {
            concurrency: 1,
            ..spec(workload(&id))
        },
    )
    .await;
    eventually(LONG, "its sweep has begun", async || {
        let cancellation = cancel::get(&mut client, &started.cancellation_id).await?;
        let stopped = cancellation.progress.as_ref().map_or(0, |progress| progress.stopped);
        when(stopped >= 20, || {
            format!("{:?}, {stopped} stopped", cancellation.phase())
        })
    })
    .await;
    let second = mesh.own(Part::Canceler, "taken-over-second", &settings).await;
    first.process.kill().await.expect("it can be killed");

    // Any replica answers for any cancellation: nothing is kept in a process.
    let mut client = cancel::Canceler::new(second.channel());
    let watched = cancel::watch_to_end(&mut client, &started.cancellation_id).await;
    assert!(!watched.is_empty());
    let receipt = cancel::receipt(&mut client, &started.cancellation_id).await;
    check_clean_receipt(&receipt);
    check_journal_after_a_kill(&receipt, &mesh.payloads());
    assert_eq!(mesh.running(&id).await, 0);
}

/// A batch service that is killed while its batch runs: `track_batch` goes on in the next process, by the job's id, and nothing
/// is started twice.
#[tokio::test]
async fn a_batch_service_killed_while_its_batch_runs_takes_it_up_again() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let (batch, receipt) = kill_batch_service(&mesh, true).await;

    check_clean_receipt(&receipt);
    assert!(receipt.batch_claimed > 0, "{receipt:#?}");
    let jobs = operations(&batch.channel()).await.expect("it answers again");
    let own = format!("quell-batch/{}", receipt.cancellation_id);
    assert_eq!(jobs.iter().filter(|job| job.job_id == own).count(), 1, "{jobs:#?}");
}

/// The batch is a help, not a need: without its service the sweep ends the work, and the receipt says what is not known.
#[tokio::test]
async fn a_batch_service_that_never_comes_back_does_not_hold_up_a_cancellation() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let (_batch, receipt) = kill_batch_service(&mesh, false).await;

    check_clean_receipt(&receipt);
    let told = |what: &str| receipt.warnings.iter().any(|warning| warning.contains(what));
    // It runs as soon as the server has it, which may be before the activity that has asked for it has said so.
    let failed = ["batch_cancel_workflows failed", "track_batch failed"];
    assert!(failed.into_iter().any(told), "{receipt:#?}");
    assert!(told("the server's batch may still be running"), "{receipt:#?}");
}

/// A cancellation by engine BOTH whose batch service is killed while the batch runs, and started again or not.
async fn kill_batch_service(mesh: &Mesh, restart: bool) -> (Own, Receipt) {
    let id = unique("batch-killed");
    let queue = unique("canceler-queue");
    // In main, `batch-queue` is served by nobody else: no other replica can help.
    let common = [
        ("TEMPORAL_CANCELER_NAMESPACE", ""),
        ("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str()),
    ];
    let batch = mesh.own(Part::Batch, &id, &common).await;
    let peers = [("QUELL_BATCH_ADDRESS", batch.address.as_str())];
    let canceler = mesh.own(Part::Canceler, &id, &[&common[..], &peers].concat()).await;
    mesh.start_many("Sleeper", &id, 200).await;
    mesh.indexed(&id, 200).await;

    let mut client = cancel::Canceler::new(canceler.channel());
    let both = CancellationSpec {
        engine: Engine::Both.into(),
        ..spec(workload(&id))
    };
    let started = start(&mut client, both).await;
    let job_id = format!("quell-batch/{}", started.cancellation_id);
    eventually(SOON, "the batch runs", async || {
        let jobs = operations(&batch.channel()).await?;
        let runs = jobs
            .iter()
            .any(|job| job.job_id == job_id && job.state() == BatchOperationState::Running);
        when(runs, || format!("{jobs:?}"))
    })
    .await;
    batch.process.kill().await.expect("it can be killed");
    assert!(mesh.running(&id).await > 0, "killed too late");
    if restart {
        batch.process.start().expect("it can be started again");
        batch.ready().await;
    }
    let receipt = cancel::eventual_receipt(&mut client, &started.cancellation_id).await;
    assert_eq!(mesh.running(&id).await, 0);
    (batch, receipt)
}

/// Batch operations as the batch service lists them.
pub(crate) async fn operations(channel: &Channel) -> Result<Vec<BatchOperation>, String> {
    let answer = BatchOperationServiceClient::new(channel.clone())
        .list_batch_operations(ListBatchOperationsRequest::default())
        .await;
    Ok(answer.map_err(|status| status.to_string())?.into_inner().operations)
}
