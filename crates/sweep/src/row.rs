//! What the machines know of an execution, and what a call about one can answer.
//!
//! A row is checked here once more before anything is stopped: the query already excludes what is ours, but a query is
//! text, and a receipt that says "nothing outside the scope was stopped" must not hang on text alone.

use serde::{Deserialize, Deserializer, Serialize};

/// Workflow ids that begin so are Quell's own, or the server's own, and are never stopped.
const PROTECTED_PREFIXES: [&str; 3] = ["quell/", "quell-", "temporal-sys-"];

/// One open execution as visibility lists it, or as Describe shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// Workflow id.
    pub workflow_id: String,
    /// Run id of the listed run: not always the first of its chain.
    pub run_id: String,
    /// Workflow type name.
    pub workflow_type: String,
    /// Start of the listed run, in milliseconds since the Unix epoch, by the server's clock.
    pub start_ms: u64,
    /// Workflow id of the root of its tree; its own id, or empty where the server does not say, for a root.
    pub root_workflow_id: String,
    /// Run id of the root; empty where the server does not say.
    pub root_run_id: String,
    /// Workflow id of its parent, where the server says.
    pub parent_workflow_id: Option<String>,
    /// Run id of its parent, where the server says.
    pub parent_run_id: Option<String>,
    /// Value of the search attribute `WorkloadId`, where it has one.
    pub workload_id: Option<String>,
    /// Whether one of its ancestors was found to be in the target, though it is not itself. Whoever lists it finds that out.
    pub descends: bool,
}

impl Row {
    /// Whether the server says that it is the root of its tree. One without a parent may also be one of which the server does not say.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.parent_workflow_id.is_none() && self.root_workflow_id == self.workflow_id
    }
}

/// What a cancellation may stop, as far as a single row can tell. The query narrows further.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// Unless empty, only executions whose `WorkloadId` is one of these. Empty (default): the target is a filter which only
    /// the server can evaluate, and a row's word for it is its presence in the listing.
    #[serde(alias = "workload_id", deserialize_with = "one_or_many")]
    pub workload_ids: Vec<String>,
    /// Whether what descends from the target is in scope, too. Default: no.
    pub descendants: bool,
    /// Workflow types that are never stopped. Default: none.
    pub protected_types: Vec<String>,
    /// Values of `WorkloadId` that are never stopped. Default: none.
    pub protected_workloads: Vec<String>,
}

impl Scope {
    /// Whether this execution may be stopped. Quell's own and the server's own executions never may.
    #[must_use]
    pub fn admits(&self, row: &Row) -> bool {
        let protected = PROTECTED_PREFIXES
            .iter()
            .any(|prefix| row.workflow_id.starts_with(prefix))
            || self.protected_types.contains(&row.workflow_type)
            || row
                .workload_id
                .as_ref()
                .is_some_and(|id| self.protected_workloads.contains(id));
        let tagged = self.workload_ids.is_empty()
            || row
                .workload_id
                .as_ref()
                .is_some_and(|id| self.workload_ids.contains(id));
        let descends = self.descendants && row.descends;
        !protected && !row.workflow_id.is_empty() && (tagged || descends)
    }
}

/// Reads a list from a list, from a single text (as it was recorded when there could be one only), or from nothing.
///
/// # Errors
/// Those of the deserializer.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Recorded {
        Many(Vec<String>),
        One(Option<String>),
    }
    Ok(match Recorded::deserialize(deserializer)? {
        Recorded::Many(many) => many,
        Recorded::One(one) => one.into_iter().collect(),
    })
}

/// Where a listing goes on, as the server gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageToken(pub Vec<u8>);

/// What a stop is aimed at: a chain, all runs of one workflow id from one first run. To be sent with an **empty run
/// id** and `first_execution_run_id` = [`Pin::first_run_id`]: a pin by run id would call a chain closed that continued
/// as new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Workflow id.
    pub workflow_id: String,
    /// First run id of the chain; the listed run is taken for it until the server says otherwise.
    pub first_run_id: String,
}

/// How a call failed, as far as it matters to whether it is worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallErrorKind {
    /// The server refused for load (`RESOURCE_EXHAUSTED`): certainly not done, worth another try later and more slowly.
    Throttled,
    /// Unknown whether it was done (`UNAVAILABLE`, `DEADLINE_EXCEEDED`, `INTERNAL`, a lost reply): worth another try.
    Transient,
    /// Another try would answer the same (`PERMISSION_DENIED`, `INVALID_ARGUMENT`, ...).
    Permanent,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    /// What it means for a retry.
    pub kind: CallErrorKind,
    /// For people; recorded with the failure.
    pub reason: String,
}

/// The server's answer to a stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReply {
    /// Acknowledged.
    Stopped,
    /// "Workflow execution already completed": final for the pinned chain.
    AlreadyCompleted,
    /// "Workflow execution not found": the listed run may not be the first of its chain, so Describe decides.
    NotFound,
    /// The call failed.
    Error(CallError),
}

/// The server's answer to a Describe: of the listed run by a window, of the current run of a workflow id by a confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DescribeReply {
    /// The run is open (Running or Paused); for a window also: it continued as new, so that its chain goes on.
    Open {
        /// The run.
        row: Row,
        /// First run id of its chain.
        first_run_id: String,
    },
    /// The run is closed.
    Closed,
    /// The server knows no such workflow id (deleted, or past retention).
    Absent,
    /// The call failed.
    Error(CallError),
}
