//! What passes between the workflows and their activities, and what is kept in memos. All of it is recorded in histories that newer
//! code will read: fields have defaults, and names are only ever added.

use super::{action::Kind, job::Moment, spec::Spec};
use serde::{Deserialize, Serialize};

/// Memo key of [`About`].
pub(crate) const MEMO_ABOUT: &str = "quell.batch.about";
/// Memo key of [`Standing`].
pub(crate) const MEMO_STANDING: &str = "quell.batch.standing";
/// Memo key of [`Line`].
pub(crate) const MEMO_LINE: &str = "quell.batch.line";

/// Input of an operation's workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperationInput {
    /// Job id.
    pub(crate) job_id: String,
    /// The main namespace, whose slot it needs.
    pub(crate) namespace: String,
    /// What was asked for.
    pub(crate) spec: Spec,
    /// Executions that matched when it was asked for.
    #[serde(default)]
    pub(crate) matched: i64,
    /// Workflow id of the caller; empty for a gRPC call.
    #[serde(default)]
    pub(crate) caller: String,
}

/// What an operation is about; written into the memo when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct About {
    /// What is done.
    pub(crate) kind: Option<Kind>,
    /// The query; empty for a list.
    pub(crate) query: String,
    /// Why.
    pub(crate) reason: String,
    /// Executions that matched when it was asked for.
    pub(crate) matched: i64,
    /// Digest of the whole request.
    pub(crate) digest: String,
    /// Workflow id of the caller; empty for a gRPC call.
    pub(crate) caller: String,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// In the queue.
    #[default]
    Queued,
    /// Its turn has come: it waits for somebody else's job, or runs.
    Granted,
    /// The server is done with it; survivors are looked for.
    Checking,
    /// Ended.
    Ended,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// The server went through its list.
    Completed,
    /// Ended by an error, or stopped by somebody else.
    Failed,
    /// Stopped by request.
    Stopped,
}

/// Where an operation is, as of the workflow's last step; kept in the memo.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Standing {
    /// Where it is.
    pub(crate) stage: Stage,
    /// How it ended; known from [`Stage::Checking`] on.
    pub(crate) verdict: Option<Verdict>,
    /// The job's figures when it ended.
    pub(crate) figures: Figures,
    /// Survivors that were named.
    pub(crate) survivors: i64,
    /// Whether all that could be one was looked at.
    pub(crate) complete: bool,
    /// Why it failed, for people.
    pub(crate) problem: String,
}

/// Who told what is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    /// Nobody yet.
    #[default]
    Nobody,
    /// The server.
    Server,
    /// The index.
    Counted,
    /// A sample.
    Sampled,
}

/// Figures of a job. They never go back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// When the server started it; absent before.
    pub(crate) start: Option<Moment>,
    /// When it ended.
    pub(crate) close: Option<Moment>,
    /// Executions it found when it began.
    pub(crate) total: i64,
    /// Executions done.
    pub(crate) done: i64,
    /// Executions that the server calls failed.
    pub(crate) failed: i64,
    /// Who told `done`.
    pub(crate) source: Source,
    /// Done a second.
    pub(crate) rate: f64,
}

/// Who has the slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Job id.
    pub(crate) job_id: String,
    /// Whether it is one of ours.
    pub(crate) ours: bool,
}

/// Heartbeat of an operation's activities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Beat {
    /// Place in the queue, from 1; 0 when that is not known.
    pub(crate) position: u32,
    /// Who is waited for.
    pub(crate) holder: Option<Holder>,
    /// The job, once it has started.
    pub(crate) figures: Figures,
}

/// Names the operation that an activity works for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Job id.
    pub(crate) job_id: String,
    /// The main namespace.
    pub(crate) namespace: String,
    /// What is done.
    pub(crate) kind: Kind,
}

/// What became of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ran {
    /// Whether it went through its list; false when it failed or was stopped.
    pub(crate) completed: bool,
    /// Its last figures; without a start when it was never started.
    pub(crate) figures: Figures,
}

/// Input of the look for survivors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SurveyInput {
    /// Job id.
    pub(crate) job_id: String,
    /// What was asked for.
    pub(crate) spec: Spec,
    /// When the job started.
    pub(crate) start: Moment,
}

/// State of a survivor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Fate {
    /// Open and untouched.
    Open,
    /// Open; its cancellation was requested.
    CancelRequested,
    /// Open and newer than the job.
    StartedAfter,
    /// Closed; the index calls it open.
    Stale,
    /// Closed and still there.
    Closed,
    /// Could not be described.
    Unknown,
}

/// An execution that an operation did not get done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Survivor {
    pub(crate) workflow_id: String,
    pub(crate) run_id: String,
    #[serde(default)]
    pub(crate) workflow_type: String,
    #[serde(default)]
    pub(crate) start: Option<Moment>,
    #[serde(default)]
    pub(crate) root_workflow_id: String,
    pub(crate) fate: Fate,
}

/// What a look for survivors found; the result of an operation's workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Survey {
    /// Named.
    pub(crate) survivors: Vec<Survivor>,
    /// Executions that were looked at.
    pub(crate) looked_at: i64,
    /// Whether these were all.
    pub(crate) complete: bool,
}

/// An operation in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    /// Job id.
    pub(crate) job_id: String,
    /// What it does.
    pub(crate) kind: Kind,
}

/// The queue: kept in the memo of its workflow, and handed on by continue-as-new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    /// Whose turn it is.
    pub(crate) holder: Option<Waiting>,
    /// Who waits, the first first.
    pub(crate) waiting: Vec<Waiting>,
}

impl Line {
    /// Puts an operation at the end, unless it is in the queue or has its turn. True when it was put there.
    pub(crate) fn enter(&mut self, new: Waiting) -> bool {
        let known = self.has(&new.job_id);
        if !known {
            self.waiting.push(new);
        }
        !known
    }

    /// Takes a waiting operation out; whoever has its turn is left alone. True when it was there.
    pub(crate) fn leave(&mut self, job_id: &str) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.job_id != job_id);
        self.waiting.len() < before
    }

    /// Gives the turn to the first in line; false when there is none.
    pub(crate) fn advance(&mut self) -> bool {
        self.holder = if self.waiting.is_empty() {
            None
        } else {
            Some(self.waiting.remove(0))
        };
        self.holder.is_some()
    }

    /// Whether it is its turn.
    pub(crate) fn is_turn_of(&self, job_id: &str) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.job_id == job_id)
    }

    /// Place of a waiting operation, from 1.
    pub(crate) fn position(&self, job_id: &str) -> Option<u32> {
        let at = self.waiting.iter().position(|waiting| waiting.job_id == job_id)?;
        u32::try_from(at + 1).ok()
    }

    fn has(&self, job_id: &str) -> bool {
        self.is_turn_of(job_id) || self.position(job_id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(job_id: &str) -> Waiting {
        Waiting {
            job_id: job_id.to_owned(),
            kind: Kind::Terminate,
        }
    }

    #[test]
    fn first_come_first_served_and_nobody_twice() {
        let mut line = Line::default();
        for id in ["a", "b", "a", "c"] {
            line.enter(waiting(id));
        }
        assert_eq!(line.waiting.len(), 3);
        assert!(line.advance() && line.is_turn_of("a"));
        assert!(!line.enter(waiting("a")), "it has its turn already");
        assert_eq!((line.position("b"), line.position("c")), (Some(1), Some(2)));
        assert!(line.leave("b") && !line.leave("b"));
        assert!(!line.leave("a"), "a turn ends otherwise");
        assert!(line.advance() && line.is_turn_of("c"));
        assert!(!line.advance() && line.holder.is_none());
    }
}
