//! Recorded histories replay: an operation in the queue survives a deploy of newer code. A change that breaks this test breaks operations
//! in flight; it needs a patch, not a new recording. Histories were recorded from a dev server 1.29.1 by
//! `temporal workflow show --output json`, of the end-to-end tests' operations; record new ones beside the old.

use crate::operation::workflows::{BatchOperationWorkflow, BatchQueueWorkflow};
use std::path::{Path, PathBuf};
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

fn replayer() -> WorkflowReplayer {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<BatchOperationWorkflow>()
        .unwrap()
        .register_workflow::<BatchQueueWorkflow>()
        .unwrap();
    WorkflowReplayer::new(options.build()).unwrap()
}

fn histories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_histories_replay() {
    let files = histories();
    assert!(files.len() >= 5, "histories are missing: {files:?}");
    for file in files {
        let history = WorkflowHistory::from_json(&std::fs::read(&file).unwrap()).unwrap();
        let replayed = replayer().replay_workflow(history).await;
        assert!(replayed.is_ok(), "{}: {replayed:?}", file.display());
    }
}

/// The check itself works: a history in which another activity ran does not replay.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_history_does_not_replay() {
    let file = histories()
        .into_iter()
        .find(|file| file.ends_with("operation-completed.json"))
        .unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let changed = text.replace("\"run_batch_operation\"", "\"another_activity\"");
    assert_ne!(changed, text);
    let history = WorkflowHistory::from_json(changed.as_bytes()).unwrap();
    assert!(replayer().replay_workflow(history).await.is_err());
}
