//! What a campaign says of itself: where it is, and how it ended.

use serde::{Deserialize, Serialize};

use crate::message::{AliveExecution, BatchReport, Look, PassKind, QuiesceStatus, StaleExecution, Starter};
use crate::seen::Seen;
use crate::window::{Asked, Counts, Failure};

/// Where a campaign is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Telling the sources to stop, taking the fence.
    #[default]
    Fencing,
    /// Asking executions to end by themselves.
    Asking,
    /// Stopping the roots, or starting the server's batch.
    Striking,
    /// Stopping all that is open, pass by pass.
    Sweeping,
    /// Looking whether anything is left.
    Confirming,
    /// Over: [`crate::Campaign::outcome`] has it.
    Done,
}

/// How a campaign ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// None visible in K looks, each more than the lag apart. Stale rows may remain in the index; they are named.
    Clean,
    /// Something is, or may be, alive that could not be stopped, or did not end when it was asked to; named as far as known.
    Residue,
    /// Ended before it was done: asked to, at the cap, or because a part of ours failed.
    Aborted,
    /// Something keeps starting, or the sources had to be quiesced and could not.
    Blocked,
}

/// Why it ended so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Clean: K looks in a row were empty.
    Confirmed,
    /// Residue: some are alive whose stop failed.
    FailuresRemain {
        /// Stops that failed in the last pass.
        failed: u64,
        /// Alive, at least.
        alive: u64,
    },
    /// Residue: some are alive though no stop failed, or the index could not be confirmed empty.
    Unconfirmed {
        /// Alive, at least.
        alive: u64,
    },
    /// Residue: some did not end within the grace, and were not to be terminated.
    GraceOver {
        /// Alive, at least.
        alive: u64,
    },
    /// Aborted: on request.
    StopRequested {
        /// As given with the request.
        reason: String,
    },
    /// Aborted: `max_affected` would be exceeded.
    CapReached {
        /// The cap.
        max_affected: u64,
        /// Chains charged against it.
        charged: u64,
        /// Open when it was held against the cap; 0 when a window met the cap on its way.
        open: u64,
    },
    /// Aborted: an activity failed for good.
    ActivityFailed {
        /// Which command, by name.
        command: String,
        /// As reported.
        reason: String,
    },
    /// Blocked: the deadline came first.
    DeadlineReached {
        /// Phase in which it came.
        phase: Phase,
    },
    /// Blocked: the sources had to be quiesced, and nothing was stopped.
    NotQuiesced {
        /// How they answered.
        status: QuiesceStatus,
    },
}

/// Sums over all windows. `stopped` counts chains, each once. The others count what was met pass by pass: a row that
/// two passes listed closed is in `already_closed` twice, so they say how much work was done, not how many executions
/// there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// What windows counted.
    pub counts: Counts,
    /// Charged against `max_affected`: stops acknowledged, or possibly done.
    pub charged: u64,
    /// Stops of crashed window attempts that may have been done and are not in `counts`, at most.
    pub uncounted: u64,
    /// Windows whose result was lost: then `counts` is a lower bound.
    pub lost_windows: u32,
}

/// One pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassSummary {
    /// Number, from 1.
    pub pass: u32,
    /// What it was about.
    pub kind: PassKind,
    /// By Count, when it was planned.
    pub planned: u64,
    /// What its windows counted.
    pub counts: Counts,
    /// Whether all its windows ran to the end of their listing.
    pub complete: bool,
}

/// Where a campaign is, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Phase.
    pub phase: Phase,
    /// Number of the running or last pass; 0 before the first.
    pub pass: u32,
    /// Confirmations so far.
    pub rounds: u32,
    /// Open in the target, by the last Count or confirmation.
    pub open: u64,
    /// Sums over finished windows.
    pub totals: Totals,
    /// Commands handed out and not answered.
    pub outstanding: u32,
}

/// How a campaign ended, with the evidence. Lists of named things are bounded; their counts are exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub verdict: Verdict,
    /// Why.
    pub why: Why,
    /// Sums over all windows.
    pub totals: Totals,
    /// The last passes, oldest first; at most 32.
    pub passes: Vec<PassSummary>,
    /// Passes in all.
    pub pass_count: u32,
    /// Confirmations in all.
    pub rounds: u32,
    /// The fence, in milliseconds by the server's clock; unset when it was never taken.
    pub fence_ms: Option<u64>,
    /// How the sources answered.
    pub quiesce: QuiesceStatus,
    /// What the server's batch claims, where one ran.
    pub batch: Option<BatchReport>,
    /// What came of asking, where that was done.
    #[serde(default)]
    pub asked: Option<Asked>,
    /// Looks of the last confirmation.
    pub looks: Vec<Look>,
    /// Index lag of the last confirmation, in milliseconds.
    pub lag_ms: u64,
    /// Alive in the last confirmation, at least.
    pub alive: u64,
    /// Some of those.
    pub alive_named: Vec<AliveExecution>,
    /// Stale rows of the last confirmation.
    pub stale: Vec<StaleExecution>,
    /// Failures of the last pass, each target once; at most 100 named.
    pub failures: Vec<Failure>,
    /// What was seen to start after the fence, most frequent first; at most 32.
    pub starters: Vec<Starter>,
    /// What the target's rows had in common.
    #[serde(default)]
    pub seen: Seen,
    /// What somebody should know: refused sources, a batch that failed, lost windows. At most 32.
    pub warnings: Vec<String>,
}
