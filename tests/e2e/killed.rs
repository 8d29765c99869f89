//! A canceler that is killed (SIGKILL: no drain, no word) in the middle of a sweep. Its state lives in Temporal and in the
//! payload store, so whoever comes next ends the work, and the receipt is true.

use crate::{
    cancel::{self, check_clean_receipt, check_journal_after_a_kill, spec, start, workload},
    harness::{mesh, unique},
    poll::{LONG, SOON, eventually, when},
};
use quell_api::canceler::v1::{CancellationSpec, Phase};
use quell_cli::dev::Part;

#[tokio::test]
async fn a_canceler_killed_in_the_middle_of_a_sweep_ends_clean_after_its_restart() {
    let mesh = mesh().await;
    let id = unique("killed");
    // A queue of its own: no other replica can help.
    let queue = unique("canceler-queue");
    let own = mesh
        .own(Part::Canceler, "killed", &[("TEMPORAL_CANCELER_TASK_QUEUE", &queue)])
        .await;
    let mut client = cancel::Canceler::new(own.channel());
    mesh.start_many("Sleeper", &id, 1_000).await;
    eventually(SOON, "all of them are in the index", async || {
        let running = mesh.running(&id).await;
        when(running == 1_000, || format!("{running} running"))
    })
    .await;

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
