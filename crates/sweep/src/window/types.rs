//! What a window asks for, counts and answers.

use serde::{Deserialize, Serialize};

use crate::limiter::LimiterSnapshot;
use crate::message::Starter;
use crate::row::{PageToken, Pin};
use crate::seen::Seen;

/// Names one call in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u64);

/// What the shell of a window does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// List one page, newest first as visibility does; answer by [`crate::Window::on_page`] or
    /// [`crate::Window::on_page_error`]. At most one is asked for at a time.
    List {
        /// Where to go on; unset for the first page.
        token: Option<PageToken>,
    },
    /// Stop a chain, or, when [`crate::WindowSpec::ask`] is set, ask it to end; answer by [`crate::Window::on_stop`].
    Stop {
        /// To be given back.
        slot: Slot,
        /// What to stop: with an empty run id and this first run id.
        pin: Pin,
    },
    /// Describe the run that was listed; answer by [`crate::Window::on_describe`]: open, too, when it continued as new, since its
    /// chain then goes on. Never the current run of the workflow id: that may be somebody else's by now.
    Describe {
        /// To be given back.
        slot: Slot,
        /// Workflow id.
        workflow_id: String,
        /// The listed run.
        run_id: String,
    },
    /// Record durably, outside this process, that this window (all its attempts together) may have stopped up to this
    /// many chains; then call [`crate::Window::on_reserved`]. No stop beyond the recorded number is ever asked for, so
    /// that a crash cannot carry the window beyond its cap. At most one is asked for at a time, and stops go on
    /// meanwhile.
    Reserve {
        /// The number to record.
        upto: u64,
    },
    /// Nothing to do before a reply comes in or, when set, this time.
    Wait {
        /// In milliseconds, on the clock that [`crate::Window::next`] is given.
        until_ms: Option<u64>,
    },
    /// Over. [`crate::Window::take_outcomes`] may still hold outcomes.
    Done(Box<WindowResult>),
}

/// What a window counted. The first block adds up: `listed` is the sum of all below it in that block once the window is
/// done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Targets listed, each once.
    pub listed: u64,
    /// Stops acknowledged.
    pub stopped: u64,
    /// Requests to end acknowledged.
    pub asked: u64,
    /// Chains that were closed already (or closed by a stop of ours whose reply was lost).
    pub already_closed: u64,
    /// Chains that the server does not know (any more).
    pub not_found: u64,
    /// Targets whose stop failed for good, or ran out of tries.
    pub failed: u64,
    /// Rows that must not be stopped.
    pub out_of_scope: u64,
    /// Targets left alone because of the cap, a request to stop, or a lost reservation.
    pub skipped: u64,

    /// Of the stopped: without the target's tag, in scope by descent.
    pub descendants: u64,
    /// Rows that were listed twice; not in `listed`.
    pub duplicates: u64,
    /// Pages listed.
    pub pages: u64,
    /// Describes answered.
    pub describes: u64,
    /// Calls that were throttled.
    pub throttled: u64,
    /// Calls that failed transiently.
    pub transient: u64,
}

impl Counts {
    /// Targets that have their outcome.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.stopped
            + self.asked
            + self.already_closed
            + self.not_found
            + self.failed
            + self.out_of_scope
            + self.skipped
    }

    /// Adds another window's counts.
    pub fn add(&mut self, other: &Self) {
        self.listed += other.listed;
        self.stopped += other.stopped;
        self.asked += other.asked;
        self.already_closed += other.already_closed;
        self.not_found += other.not_found;
        self.failed += other.failed;
        self.out_of_scope += other.out_of_scope;
        self.skipped += other.skipped;
        self.descendants += other.descendants;
        self.duplicates += other.duplicates;
        self.pages += other.pages;
        self.describes += other.describes;
        self.throttled += other.throttled;
        self.transient += other.transient;
    }
}

/// How one target ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetResult {
    /// Our stop was acknowledged.
    Stopped,
    /// Our request to end was acknowledged: whether it ended, no later line, or a stop, tells.
    Asked,
    /// It was closed already.
    AlreadyClosed,
    /// The server does not know it (any more).
    NotFound,
    /// It could not be stopped.
    Failed {
        /// For people.
        reason: String,
    },
    /// It must not be stopped.
    OutOfScope,
    /// It was left alone.
    Skipped,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetOutcome {
    /// Workflow id.
    pub workflow_id: String,
    /// First run id of the chain that was aimed at.
    pub first_run_id: String,
    /// The run that was listed.
    pub run_id: String,
    /// Workflow type name.
    pub workflow_type: String,
    /// Root of its tree, as listed.
    pub root_workflow_id: String,
    /// Parent, where the server said.
    pub parent_workflow_id: Option<String>,
    /// How it ended.
    pub result: TargetResult,
}

/// A stop that failed, as results carry it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// Workflow id.
    pub workflow_id: String,
    /// The run that was listed.
    pub run_id: String,
    /// For people.
    pub reason: String,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Chains that were asked.
    pub chains: u64,
    /// What was held against the cap: those, chains that may have been asked without our knowing, and of earlier attempts all that
    /// they had reserved.
    pub charged: u64,
    /// Of those, the ones that the last listing still showed.
    pub left: u64,
    /// When the grace is over, in milliseconds; unset when it never began.
    pub until_ms: Option<u64>,
    /// Whether it is.
    pub over: bool,
}

/// What a window answers. Small whatever the size: outcomes go to the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowResult {
    /// What it counted, earlier attempts included as far as their checkpoint tells.
    pub counts: Counts,
    /// Chains charged against the cap: stops acknowledged, or possibly done; earlier attempts with all that they had
    /// reserved.
    pub charged: u64,
    /// Of those, stops that earlier attempts may have done and `counts` does not know, at most.
    pub uncounted: u64,
    /// What came of asking, where [`crate::WindowSpec::ask`] was set; then nothing is charged.
    pub asked: Option<Asked>,
    /// Whether something open was left alone because of the cap.
    pub cap_reached: bool,
    /// Whether it listed to the end, and gave every target its outcome.
    pub complete: bool,
    /// Why it ended early: listing or a reservation failed.
    pub error: Option<String>,
    /// Failures, each target once; at most 100.
    pub failures: Vec<Failure>,
    /// What was seen to start after the fence, most frequent first; at most 32.
    pub starters: Vec<Starter>,
    /// What the rows of the target had in common; those of its descendants not.
    pub seen: Box<Seen>,
    /// Where the concurrency limit ended.
    pub limiter: LimiterSnapshot,
}

/// A run that an earlier attempt of a window asked to end, out of its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedRun {
    /// First run id of its chain.
    pub first_run_id: String,
    /// Its own.
    pub run_id: String,
}

/// What the next attempt of a window has to know of this one; small enough for a heartbeat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// Counts of targets that have their outcome.
    pub counts: Counts,
    /// The largest number ever asked to be reserved. When resuming, the largest number that was recorded durably, if
    /// larger.
    pub reserved: u64,
    /// When the grace of a window that asks is over, once it has begun, in milliseconds.
    pub grace_until_ms: Option<u64>,
}
