//! The activities of the batch service on `batch-queue`, for any workflow of the canceler namespace. Input and output are
//! JSON, so that workers in other languages can call them by name.

#![allow(
    missing_docs,
    unused_variables,
    clippy::unimplemented,
    clippy::needless_pass_by_value,
    unreachable_pub,
    reason = "the macro wants bodies that are never run, and generates items of its own"
)]

use serde::{Deserialize, Serialize};
use temporalio_macros::activity_definitions;
use temporalio_sdk::activities::ActivityError;

/// The task queue on which the batch service serves them.
pub const BATCH_QUEUE: &str = "batch-queue";

/// Input of `batch_cancel_workflows`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchCancelInput {
    /// Visibility query of what is terminated, complete with status and exclusions.
    pub query: String,
    /// Why; stored on every stopped execution.
    pub reason: String,
    /// Job id; decided by the caller's workflow so that a retried activity finds its own job instead of starting a second.
    /// Empty: derived from workflow id, run id and activity id.
    #[serde(default)]
    pub job_id: String,
}

/// Output of `batch_cancel_workflows`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchCancelOutput {
    /// Job id, for `track_batch`.
    pub job_id: String,
    /// Server time at which the job started, in milliseconds since the epoch.
    pub start_time_ms: i64,
}

/// Input of `track_batch`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrackBatchInput {
    /// Job id.
    pub job_id: String,
}

/// Output of `track_batch`, and its heartbeat while the job runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrackBatchOutput {
    /// Whether the job went through its whole list; false when it failed or was stopped.
    pub completed: bool,
    /// Executions it found when it began.
    pub total: i64,
    /// Executions it calls done.
    pub done: i64,
    /// Executions it calls failed.
    pub failed: i64,
}

/// The definitions as types, for `#[activity(definition = ...)]`: the macro's own module is private to this crate.
pub use batch_activity_definitions::{BatchCancelWorkflows, TrackBatch};

/// Names and types; the batch service implements them.
pub struct BatchActivityDefinitions;

#[activity_definitions]
impl BatchActivityDefinitions {
    /// Starts a server-side batch termination, once, and returns when the server has taken it. Waits (heartbeating) while
    /// another job holds the namespace's slot.
    #[activity(name = "batch_cancel_workflows")]
    pub fn batch_cancel_workflows(input: BatchCancelInput) -> Result<BatchCancelOutput, ActivityError> {
        unimplemented!()
    }

    /// Watches a job until it ends, heartbeating its figures.
    #[activity(name = "track_batch")]
    pub fn track_batch(input: TrackBatchInput) -> Result<TrackBatchOutput, ActivityError> {
        unimplemented!()
    }
}
