//! Recorded histories replay: a cancellation in flight survives a deploy of newer code. A change that breaks this test breaks
//! running cancellations; it needs a patch or a new version of the machine, not a new recording.

use std::path::Path;

use quell_canceler::{
    cancellation::{BulkCancelWorkflow, JointCancelWorkflow},
    restoration::RestoreWorkflow,
};
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

#[tokio::test]
async fn recorded_histories_replay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(files.len() >= 15, "histories are missing");
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<BulkCancelWorkflow>()
        .unwrap()
        .register_workflow::<JointCancelWorkflow>()
        .unwrap()
        .register_workflow::<RestoreWorkflow>()
        .unwrap()
        .build();
    let replayer = WorkflowReplayer::new(options).unwrap();
    for file in files {
        let history = WorkflowHistory::from_json(&std::fs::read(&file).unwrap()).unwrap();
        let replayed = replayer.replay_workflow(history).await;
        assert!(replayed.is_ok(), "{}: {replayed:?}", file.display());
    }
}
