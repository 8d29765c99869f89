//! Histories of real runs replay with today's code: a change that would break workflows in flight fails here.
//!
//! The histories were recorded by `tests/live.rs` (`record_histories`) from a dev server 1.29.1. Record new ones beside
//! the old when workflow code changes on purpose (and is patched); never replace them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by failing"
)]

use std::path::Path;

use quell_work::{
    batch_processing::BatchProcessingWorkflow,
    order::OrderWorkflow,
    probe::{ProbeRun, ProbeWorkflow},
    snowball::{CancelableWorkflow, ChildWorkflow},
    source::Gate,
};
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

fn replayer() -> WorkflowReplayer {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<CancelableWorkflow>()
        .unwrap()
        .register_workflow::<ChildWorkflow>()
        .unwrap()
        .register_workflow::<Gate>()
        .unwrap()
        .register_workflow::<ProbeRun>()
        .unwrap()
        .register_workflow::<ProbeWorkflow>()
        .unwrap()
        .register_workflow::<BatchProcessingWorkflow>()
        .unwrap()
        .register_workflow::<OrderWorkflow>()
        .unwrap();
    WorkflowReplayer::new(options.build()).unwrap()
}

fn histories() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(path).unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_history_replays() {
    let histories = histories();
    assert!(histories.len() >= 39, "{}", histories.len());
    for (name, json) in histories {
        let history = WorkflowHistory::from_json(json.as_bytes()).unwrap();
        let replayed = replayer().replay_workflow(history).await;
        assert!(replayed.is_ok(), "{name}: {replayed:?}");
    }
}

/// The check itself works: a history in which another child was started does not replay.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_history_does_not_replay() {
    let (_, json) = histories()
        .into_iter()
        .find(|(name, _)| name == "root-completed")
        .unwrap();
    let changed = json.replace("-0\"", "-7\"");
    assert_ne!(changed, json);
    let history = WorkflowHistory::from_json(changed.as_bytes()).unwrap();
    assert!(replayer().replay_workflow(history).await.is_err());
}

/// The same for the other workloads: a chunk of another size, and a step of another type.
#[tokio::test(flavor = "multi_thread")]
async fn changed_histories_of_batches_and_orders_do_not_replay() {
    for (name, from, to) in [
        ("batch-root", "b10-c5-c0\"", "b10-c5-c9\""),
        ("order-completed", "reserve_inventory", "refund_payment"),
        // The next link of a relay, and the patched way to cancel.
        ("root-of-a-relay", "-9\"", "-8\""),
        ("root-cancelled-by-id", "core_patch", "core_other"),
    ] {
        let (_, json) = histories().into_iter().find(|(found, _)| found == name).unwrap();
        let changed = json.replace(from, to);
        assert_ne!(changed, json, "{name}");
        let history = WorkflowHistory::from_json(changed.as_bytes()).unwrap();
        assert!(replayer().replay_workflow(history).await.is_err(), "{name}");
    }
}
