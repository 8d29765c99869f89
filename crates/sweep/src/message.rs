//! What passes between the campaign and the activities that serve it.

use serde::{Deserialize, Serialize};

use crate::spec::{ConfirmSpec, WindowSpec};
use crate::window::WindowResult;

/// Names one command of one campaign; replies carry it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub u32);

/// Which open executions a pass is about. Always open (`CloseTime IS NULL`), in the target, and not our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassKind {
    /// Without a parent, or with a parent outside the scope: those that spawn the rest.
    Roots,
    /// All.
    Open,
    /// Started at or after the fence, in milliseconds by the server's clock.
    NewSince(u64),
}

/// A range of start times, in milliseconds by the server's clock; both unset means all, without any bound in the query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartRange {
    /// Started at or after.
    pub from_ms: Option<u64>,
    /// Started before.
    pub to_ms: Option<u64>,
}

impl StartRange {
    /// No bound.
    pub const ALL: Self = Self {
        from_ms: None,
        to_ms: None,
    };
}

/// What the workflow is to run; each but [`Command::Wait`] is an activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Take the fence by a canary; tell the sources to stop first when asked to. Reply: [`Reply::Quiesced`].
    QuiesceSources {
        /// Whether to tell the sources.
        quiesce: bool,
    },
    /// Start the server's batch operation over what is open and started before the fence. Without an answer it may run all
    /// the same: then [`Command::StopBatch`] follows. Reply: [`Reply::BatchStarted`].
    StartBatch {
        /// Job id that it is to have.
        job_id: String,
        /// The fence, in milliseconds by the server's clock.
        fence_ms: u64,
    },
    /// Wait for the batch operation to end; cancelling ends the waiting only. Reply: [`Reply::BatchEnded`].
    TrackBatch {
        /// Job id as [`Reply::BatchStarted`] gave it.
        job_id: String,
    },
    /// Stop the batch operation, which is fine when it has ended, or was never started. Comes when its start was not
    /// answered, and after all else when a campaign ends while a batch may be running; not to be cancelled with the rest.
    /// Reply: [`Reply::BatchEnded`].
    StopBatch {
        /// Job id as [`Command::StartBatch`] gave it.
        job_id: String,
    },
    /// Count what a pass is about and cut it into windows, oldest first. Reply: [`Reply::Planned`].
    PlanPass {
        /// Number of the pass, from 1; 0 only to count before the server's batch is started.
        pass: u32,
        /// What it is about.
        kind: PassKind,
    },
    /// Run one [`crate::Window`]; when cancelled, [`crate::Window::stop`] it and answer with what it did. Reply:
    /// [`Reply::WindowDone`].
    RunWindow {
        /// Number of the pass.
        pass: u32,
        /// Number of the window in the pass, from 0.
        window: u32,
        /// What the pass is about.
        kind: PassKind,
        /// Start times of this window.
        range: StartRange,
        /// What the window is told.
        spec: WindowSpec,
    },
    /// Run one [`crate::Confirm`]. Reply: [`Reply::Confirmed`].
    Confirm {
        /// Number of the round, from 1.
        round: u32,
        /// What it is told.
        spec: ConfirmSpec,
    },
    /// A timer of the workflow. Reply: [`Reply::Waited`].
    Wait {
        /// Milliseconds.
        ms: u64,
    },
}

/// What an activity answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Command::QuiesceSources`].
    Quiesced(Quiesced),
    /// To [`Command::StartBatch`].
    BatchStarted {
        /// The operation's job id.
        job_id: String,
    },
    /// To [`Command::TrackBatch`] and [`Command::StopBatch`].
    BatchEnded(BatchReport),
    /// To [`Command::PlanPass`].
    Planned(Planned),
    /// To [`Command::RunWindow`].
    WindowDone(WindowResult),
    /// To [`Command::Confirm`].
    Confirmed(Confirmed),
    /// To [`Command::Wait`].
    Waited,
}

/// What happens to a campaign.
#[expect(clippy::large_enum_variant, reason = "one at a time, and never kept")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A command was carried out.
    Completed {
        /// Which.
        id: CommandId,
        /// Its answer.
        reply: Reply,
    },
    /// A command failed for good (its activity's retries are over), or was cancelled without an answer.
    Failed {
        /// Which.
        id: CommandId,
        /// For people.
        reason: String,
    },
    /// Somebody asked to stop the cancellation.
    StopRequested {
        /// For people.
        reason: String,
    },
    /// The cancellation's deadline has come.
    DeadlineReached {
        /// What is known to keep starting, beyond what windows and confirmations reported; may be empty.
        starters: Vec<Starter>,
    },
}

/// How the sources answered; the worst answer of all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuiesceStatus {
    /// No source is configured, or quiesce is off.
    #[default]
    NotConfigured,
    /// All sources accepted.
    Accepted,
    /// A source refused.
    Refused,
    /// A source could not be reached.
    Unreachable,
}

/// The fence, and how the sources answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quiesced {
    /// The worst answer.
    pub status: QuiesceStatus,
    /// Start time of the canary that was started after the sources had answered, in milliseconds by the server's clock.
    pub fence_ms: u64,
    /// For people: who refused, and why. Becomes a warning of the outcome when not empty.
    pub detail: String,
}

/// How the server's batch operation stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// It ran to its end.
    #[default]
    Completed,
    /// It failed.
    Failed,
    /// It was stopped.
    Stopped,
    /// There is none: it was never started.
    Absent,
}

/// What the server's batch operation claims. Its figures are its own: NotFound counts there as a success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchReport {
    /// Job id.
    pub job_id: String,
    /// How it ended.
    pub state: BatchState,
    /// Operations in all.
    pub total: u64,
    /// Operations that it calls completed.
    pub completed: u64,
    /// Operations that it calls failed.
    pub failed: u64,
}

/// A pass as planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Planned {
    /// Executions that the pass is about, by Count: for people, decides nothing.
    pub count: u64,
    /// All open executions in the target now, by Count: held against `max_affected` before the first stop.
    pub open: u64,
    /// Windows, oldest first, each of at most [`crate::WindowSettings::buffer_rows`] rows. Empty: one window over all.
    pub windows: Vec<StartRange>,
}

/// One look at the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Look {
    /// When, in milliseconds.
    pub at_ms: u64,
    /// Rows that it showed (a look ends at one page).
    pub open_seen: u64,
    /// Those of them which Describe calls closed or unknown.
    pub stale: u64,
}

impl Look {
    /// Whether nothing alive, and nothing undescribed, was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open_seen == self.stale
    }
}

/// An execution that is alive after a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AliveExecution {
    /// Workflow id.
    pub workflow_id: String,
    /// Current run.
    pub run_id: String,
    /// Workflow type name.
    pub workflow_type: String,
    /// Parent, where it has one.
    pub parent_workflow_id: Option<String>,
    /// Start of the current run, in milliseconds.
    pub start_ms: u64,
}

/// An execution that the index calls open and Describe does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StaleExecution {
    /// Workflow id.
    pub workflow_id: String,
    /// The run that the index shows.
    pub run_id: String,
}

/// What a confirmation saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confirmed {
    /// Looks in order of time; the last ones are kept when there were many.
    pub looks: Vec<Look>,
    /// The largest index lag measured, in milliseconds.
    pub lag_ms: u64,
    /// Executions described as open and in scope; at least this many.
    pub alive: u64,
    /// Some of those, named.
    pub alive_named: Vec<AliveExecution>,
    /// Rows of the last look that are stale, named; at most a page.
    pub stale: Vec<StaleExecution>,
    /// Whether the last looks make a zero. The campaign checks it against the looks.
    pub zero: bool,
    /// Whether the time ran out before a decision.
    pub timed_out: bool,
    /// Why looks or Describes failed, when they did.
    pub error: Option<String>,
}

/// Something that keeps starting executions of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Starter {
    /// Workflow type that is started.
    pub workflow_type: String,
    /// Its parent, where there is one; unset means a client or a schedule.
    pub parent_workflow_id: Option<String>,
    /// Identity of the caller that started it, where known.
    pub identity: Option<String>,
    /// How many were seen to start after the fence.
    pub seen: u64,
}

impl Command {
    /// Whether it is cancelled when the campaign ends early: all but the stop of the batch, which is part of the
    /// ending.
    #[must_use]
    pub fn is_cancellable(&self) -> bool {
        !matches!(self, Self::StopBatch { .. })
    }

    /// Whether it may be begun anew without harm, so that a campaign can be carried over while it runs.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        matches!(self, Self::TrackBatch { .. })
    }

    /// Its name, as failures carry it: that of the activity which runs it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::QuiesceSources { .. } => "quiesce_sources",
            Self::StartBatch { .. } => "batch_cancel_workflows",
            Self::TrackBatch { .. } => "track_batch",
            Self::StopBatch { .. } => "stop_batch",
            Self::PlanPass { .. } => "query_new_wf_executions",
            Self::RunWindow { .. } => "bulk_cancel_workflows",
            Self::Confirm { .. } => "confirm_all_canceled",
            Self::Wait { .. } => "wait",
        }
    }
}
