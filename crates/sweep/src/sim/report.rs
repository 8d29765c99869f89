//! What came of a run, by our word and in truth.

use crate::outcome::Outcome;

/// An execution in scope that is open in truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenExecution {
    /// Workflow id.
    pub workflow_id: String,
    /// Since when it is open and in scope, in milliseconds: the start of its chain, or when it was tagged.
    pub since_ms: u64,
    /// From when on the index shows it, in milliseconds.
    pub visible_ms: u64,
    /// Whether its stop is refused for good.
    pub forbidden: bool,
}

/// What came of it, by our word and in truth.
#[derive(Debug, Clone)]
pub struct Report {
    /// By our word.
    pub outcome: Outcome,
    /// When it began, in milliseconds.
    pub began_ms: u64,
    /// When it ended, in milliseconds.
    pub ended_ms: u64,
    /// Executions in scope that are open in truth.
    pub open: Vec<OpenExecution>,
    /// Chains that calls of ours asked to end, in truth.
    pub asked_by_us: u64,
    /// Chains that calls of ours stopped, in truth.
    pub stopped_by_us: u64,
    /// Chains that the server's batch stopped, in truth.
    pub stopped_by_batch: u64,
    /// What the server's batch has not come to yet.
    pub batch_left: u64,
    /// Of ours, chains outside the scope.
    pub strangers_stopped: u64,
    /// The lag that the last measurement found, in milliseconds; a mutation may have hidden it.
    pub measured_lag_ms: u64,
    /// Outcomes that windows gave to the journal.
    pub journaled: u64,
    /// Of those, targets that one attempt of a window gave more than one outcome.
    pub journaled_twice: u64,
    /// Rows of the client, started after the fence, that windows listed whose answer came.
    pub new_seen: u64,
    /// Activities' attempts that crashed.
    pub crashes: u64,
    /// Replies that were lost after the call was done.
    pub lost_replies: u64,
    /// Calls made.
    pub calls: u64,
}

/// A run that has no report: the machines are stuck, which is a bug by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// The spec was refused.
    #[error("the campaign could not be begun: {0}")]
    Refused(String),
    /// It went on long after its deadline.
    #[error("no outcome {0} ms after the deadline: {1}")]
    TooLong(u64, String),
    /// It went round and round.
    #[error("no outcome after {0} steps: {1}")]
    TooManySteps(u64, String),
    /// Nothing is outstanding, and there is no outcome.
    #[error("nothing to wait for, and no outcome: {0}")]
    Idle(String),
    /// There is an outcome while commands run.
    #[error("an outcome while {0} commands run")]
    EndedTooEarly(usize),
    /// It did not survive serialisation.
    #[error("a campaign could not be carried over: {0}")]
    Lost(String),
}
