//! The main job: a workload that is still growing is stopped to zero, a receipt says so, and nobody has to take its word.

use crate::{
    cancel::{self, Ended, check_clean, check_journal, grown, run_to_end, snowball, spec, workload},
    harness::{Mesh, batch_slot, mesh, unique},
    outside,
    poll::{SOON, eventually, holds, when},
};
use quell_api::{
    canceler::v1::{CancellationSpec, Engine, Phase},
    work::v1::SnowballSpec,
};
use std::time::Duration;

/// 3,660 workflows in a minute or more: each spawner starts so many a second that it is far from done when it is stopped.
fn growing(workload_id: &str) -> SnowballSpec {
    SnowballSpec {
        width: 60,
        depth: 2,
        rate_per_second: 4.0,
        workload_id: workload_id.to_owned(),
        ..Default::default()
    }
}

/// The independent proof: the operator's own question says 0, and goes on saying so.
async fn stays_at_zero(mesh: &Mesh, id: &str) {
    assert_eq!(
        mesh.running(id).await,
        0,
        "`temporal workflow count` disagrees with the receipt"
    );
    holds(Duration::from_secs(10), "nothing runs any more", async || {
        let running = mesh.running(id).await;
        when(running == 0, || format!("{running} running"))
    })
    .await;
}

/// Every execution that ever carried the tag is closed, and those in the receipt are all of them.
async fn totals_add_up(mesh: &Mesh, id: &str, ended: &Ended) {
    let receipt = &ended.receipt;
    let total = mesh.count(&format!("WorkloadId=\"{id}\"")).await;
    let terminated = mesh
        .count(&format!("WorkloadId=\"{id}\" AND ExecutionStatus=\"Terminated\""))
        .await;
    assert!(
        receipt.stopped <= terminated,
        "{} stopped, {terminated} terminated",
        receipt.stopped
    );
    assert_eq!(
        receipt.stopped + receipt.closed_by_others,
        total,
        "nothing had closed before the fence, so what was stopped and what others closed is all: {receipt:#?}"
    );
}

#[tokio::test]
async fn a_snowball_that_still_spawns_is_stopped_to_zero() {
    let mesh = mesh().await;
    let (mut work, mut canceler) = (mesh.snowballs(), mesh.cancellations());
    let id = unique("main-job");
    let started = snowball(&mut work, growing(&id)).await;
    let before = grown(&mut work, &started.snowball_id, 400).await;
    assert!(
        before.total < started.planned_workflows,
        "it must still be growing: {before:?}"
    );

    // Everything at its default, the pause between looks included.
    let plain = CancellationSpec {
        confirm_poll: None,
        ..spec(workload(&id))
    };
    let ended = run_to_end(&mut canceler, plain).await;

    check_clean(&ended);
    check_journal(&ended.receipt, &mesh.payloads());
    assert!(ended.started.matched >= 300, "{:?}", ended.started);
    assert!(ended.receipt.stopped > 0);
    assert_eq!(ended.receipt.batch_claimed, 0);
    assert!(
        ["effective", "accepted"].contains(&ended.receipt.quiesce.as_str()),
        "{}",
        ended.receipt.quiesce
    );
    let phases: Vec<_> = ended
        .watched
        .iter()
        .map(quell_api::canceler::v1::Cancellation::phase)
        .collect();
    assert!(
        phases.contains(&Phase::Confirming),
        "a watcher sees it work: {phases:?}"
    );
    stays_at_zero(&mesh, &id).await;
    totals_add_up(&mesh, &id, &ended).await;
}

#[tokio::test]
async fn a_source_that_is_not_told_is_stopped_as_well() {
    let mesh = mesh().await;
    let (mut work, mut canceler) = (mesh.snowballs(), mesh.cancellations());
    let id = unique("not-told");
    let started = snowball(&mut work, growing(&id)).await;
    grown(&mut work, &started.snowball_id, 300).await;

    let ended = run_to_end(
        &mut canceler,
        CancellationSpec {
            quiesce: Some(false),
            ..spec(workload(&id))
        },
    )
    .await;

    check_clean(&ended);
    assert_eq!(ended.receipt.quiesce, "not asked");
    stays_at_zero(&mesh, &id).await;
    totals_add_up(&mesh, &id, &ended).await;
}

#[tokio::test]
async fn the_order_of_the_document_batch_and_sweep_ends_clean() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let (mut work, mut canceler) = (mesh.snowballs(), mesh.cancellations());
    let id = unique("both");
    let shape = SnowballSpec {
        width: 20,
        rate_per_second: 8.0,
        workload_id: id.clone(),
        ..Default::default()
    };
    let started = snowball(&mut work, shape).await;
    grown(&mut work, &started.snowball_id, 250).await;

    let both = CancellationSpec {
        engine: Engine::Both.into(),
        ..spec(workload(&id))
    };
    let ended = run_to_end(&mut canceler, both).await;

    check_clean(&ended);
    check_journal(&ended.receipt, &mesh.payloads());
    assert!(
        ended.receipt.batch_claimed > 0,
        "the server's batch has done a part: {:#?}",
        ended.receipt
    );
    stays_at_zero(&mesh, &id).await;
    totals_add_up(&mesh, &id, &ended).await;
}

/// Nothing depends on our own worker, on our own client, or on the moment: workflows of a Go program under the same tag are
/// stopped, those that it starts while the sweep runs too. A neighbour's workflows are not touched.
#[tokio::test]
async fn foreign_workflows_under_the_tag_are_stopped_and_neighbours_are_not() {
    let mesh = mesh().await;
    let (mut work, mut canceler) = (mesh.snowballs(), mesh.cancellations());
    let (id, neighbour) = (unique("foreign"), unique("neighbour"));
    for n in 0..3 {
        mesh.start_by_cli(&format!("{id}-early-{n}"), &id).await;
        mesh.start_by_cli(&format!("{neighbour}-{n}"), &neighbour).await;
    }
    let next_door = snowball(
        &mut work,
        SnowballSpec {
            width: 5,
            depth: 1,
            workload_id: neighbour.clone(),
            ..Default::default()
        },
    )
    .await;
    grown(&mut work, &next_door.snowball_id, 9).await;
    let own = snowball(
        &mut work,
        SnowballSpec {
            width: 300,
            depth: 1,
            workload_id: id.clone(),
            ..Default::default()
        },
    )
    .await;
    grown(&mut work, &own.snowball_id, 200).await;

    // One stop at a time makes the sweep long enough for a newcomer, and many looks make the end late enough to see it.
    let slow = CancellationSpec {
        concurrency: 1,
        looks: 10,
        ..spec(workload(&id))
    };
    let started = cancel::start(&mut canceler, slow).await;
    let newcomer = async {
        eventually(SOON, "the sweep has begun", async || {
            let cancellation = cancel::get(&mut mesh.cancellations(), &started.cancellation_id).await?;
            let stopped = cancellation.progress.as_ref().map_or(0, |progress| progress.stopped);
            when(stopped > 0, || format!("{:?}", cancellation.phase()))
        })
        .await;
        mesh.start_by_cli(&format!("{id}-late"), &id).await;
    };
    let (ended, ()) = tokio::join!(cancel::to_the_end(&mut canceler, started.clone()), newcomer);

    check_clean(&ended);
    for workflow in [
        format!("{id}-early-0"),
        format!("{id}-early-1"),
        format!("{id}-early-2"),
        format!("{id}-late"),
    ] {
        assert_eq!(
            mesh.status("main", &workflow).await.as_deref(),
            Some("TERMINATED"),
            "{workflow}"
        );
    }
    stays_at_zero(&mesh, &id).await;
    for n in 0..3 {
        let workflow = format!("{neighbour}-{n}");
        assert_eq!(
            mesh.status("main", &workflow).await.as_deref(),
            Some("RUNNING"),
            "{workflow}"
        );
    }
    assert_eq!(
        mesh.status("main", &next_door.snowball_id).await.as_deref(),
        Some("RUNNING")
    );
    assert_eq!(mesh.running(&neighbour).await, 9, "none of the neighbour's is gone");

    // The reason is on what was stopped, where its owner will look for it.
    let history = mesh
        .temporal_in("main", &["workflow", "show", "--workflow-id", &format!("{id}-late")])
        .await
        .ok();
    let events = outside::json(&history);
    let last = events["events"]
        .as_array()
        .and_then(|events| events.last())
        .expect("a history has events");
    let reason = &last["workflowExecutionTerminatedEventAttributes"]["reason"];
    assert!(
        reason
            .as_str()
            .is_some_and(|reason| reason.contains("an end-to-end test")),
        "{last}"
    );
}
