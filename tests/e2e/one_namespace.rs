//! Main and canceler as one and the same namespace: the cancellation's own executions live among those that it stops.

use crate::{
    cancel::{self, check_clean, grown, query, snowball, spec, workload},
    harness::{Own, batch_slot, mesh, unique},
    poll::{SOON, eventually, when},
};
use quell_api::{
    canceler::v1::{CancellationSpec, Engine},
    work::v1::SnowballSpec,
};
use quell_cli::dev::Part;

#[tokio::test]
async fn a_cancellation_in_its_own_targets_namespace_ends_clean_and_survives() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let (work_queue, canceler_queue) = (unique("one-work"), unique("one-canceler"));
    // Empty counts as not set: the canceler's namespace then is main's.
    let common = [
        ("TEMPORAL_CANCELER_NAMESPACE", ""),
        ("TEMPORAL_MAIN_TASK_QUEUE", work_queue.as_str()),
        ("TEMPORAL_CANCELER_TASK_QUEUE", canceler_queue.as_str()),
    ];
    let (work, batch): (Own, Own) = tokio::join!(
        mesh.own(Part::Work, "one-namespace", &common),
        mesh.own(Part::Batch, "one-namespace", &common)
    );
    let peers = [
        ("QUELL_WORK_ADDRESS", work.address.as_str()),
        ("QUELL_BATCH_ADDRESS", batch.address.as_str()),
    ];
    let canceler = mesh
        .own(Part::Canceler, "one-namespace", &[&common[..], &peers].concat())
        .await;
    let mut snowballs = cancel::Snowballs::new(work.channel());
    let mut client = cancel::Canceler::new(canceler.channel());

    for engine in [Engine::Sweep, Engine::Both] {
        let id = unique("one-namespace");
        let shape = SnowballSpec {
            width: 10,
            depth: 2,
            workload_id: id.clone(),
            ..Default::default()
        };
        let started = snowball(&mut snowballs, shape).await;
        grown(&mut snowballs, &started.snowball_id, 111).await;
        // The filter matches the cancellation itself, by its queue; the other one tells the source to quiesce.
        let target = match engine {
            Engine::Both => workload(&id),
            _ => query(format!("WorkloadId = '{id}' OR TaskQueue = '{canceler_queue}'")),
        };
        let ended = cancel::run_to_end(
            &mut client,
            CancellationSpec {
                engine: engine.into(),
                ..spec(target)
            },
        )
        .await;
        check_clean(&ended);
        assert_eq!(mesh.running(&id).await, 0, "{engine:?}");
        let own = format!("quell/cancellation/{}", ended.receipt.cancellation_id);
        assert_eq!(
            mesh.status("main", &own).await.as_deref(),
            Some("COMPLETED"),
            "{engine:?}: it was not its own victim"
        );
        if engine == Engine::Both {
            let gate = format!("quell/gate/{id}");
            assert_eq!(
                mesh.status("main", &gate).await.as_deref(),
                Some("RUNNING"),
                "the gate is ours too"
            );
        }
    }
    eventually(SOON, "no execution of ours was ever terminated", async || {
        let ours = mesh
            .count(&format!(
                "TaskQueue=\"{canceler_queue}\" AND ExecutionStatus=\"Completed\""
            ))
            .await;
        when(ours == 2, || format!("{ours} completed"))
    })
    .await;
    assert_eq!(
        mesh.count(&format!(
            "TaskQueue=\"{canceler_queue}\" AND ExecutionStatus=\"Terminated\""
        ))
        .await,
        0
    );
}
