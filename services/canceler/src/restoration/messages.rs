//! What passes between the workflow and its activities. All of it is recorded in histories that newer code will read: fields have
//! defaults, and names are only ever added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Executions that are named in a report.
pub(crate) const NAMED: usize = 100;
/// Warnings that are kept.
const WARNINGS: usize = 32;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Id of the cancellation.
    pub cancellation_id: String,
    /// The namespace that it worked in; empty means main's.
    pub namespace: String,
    /// Why.
    pub reason: String,
    /// Who asked.
    pub requested_by: String,
    /// The most executions that may be reset.
    pub max_affected: u64,
    /// Calls in flight at once.
    pub concurrency: u32,
    /// Workloads whose sources are told to go on at the end; none: nobody is told.
    #[serde(deserialize_with = "quell_sweep::one_or_many")]
    pub resume: Vec<String>,
}

/// Input of the workflow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreInput {
    /// What was asked for.
    pub asked: Asked,
}

/// Input of `survey_restoration`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SurveyInput {
    /// What was asked for.
    pub asked: Asked,
    /// Run of the restoration's workflow: names its plan.
    pub run_id: String,
}

/// A part of the plan, in the payload store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanChunk {
    /// Key.
    pub key: String,
    /// SHA-256 of its bytes, 64 hex digits.
    pub sha256: String,
    /// Executions in it.
    pub items: u64,
}

/// Why an execution was not reset. The order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It was reset before, and has run on since.
    AlreadyRestored,
    /// Something else was started under its workflow id.
    StartedAnew,
    /// It never had a workflow task: nothing to go back to.
    NoWorkflowTask,
    /// It ended in another way.
    NotTerminated,
    /// Somebody else terminated it.
    TerminatedByOthers,
    /// The server does not know it any more.
    Gone,
    /// The parent's new run starts it anew.
    StartedByParent,
    /// Its parent was not restored, or runs on without it.
    ParentNotRestored,
    /// The server refused, or kept failing.
    Refused,
    /// The restoration ended first.
    NotTried,
    /// It ended because it was asked to, and cannot go back to before.
    EndedWhenAsked,
}

/// One that was not reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Named {
    /// Workflow id.
    pub workflow_id: String,
    /// The run that was terminated, where it is known; otherwise the first of its chain.
    pub run_id: String,
    /// Workflow type; empty where it is not known.
    pub workflow_type: String,
    /// Why.
    pub why: Option<Why>,
    /// More about it.
    pub detail: String,
}

/// Those that were not reset: counted all, named some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Left {
    /// How many for which reason.
    pub counts: BTreeMap<Why, u64>,
    /// Up to [`NAMED`] of them, none that were restored before.
    pub named: Vec<Named>,
}

impl Left {
    /// Notes one.
    pub(crate) fn note(&mut self, why: Why, named: impl FnOnce() -> Named) {
        *self.counts.entry(why).or_default() += 1;
        if why != Why::AlreadyRestored && self.named.len() < NAMED {
            self.named.push(Named {
                why: Some(why),
                ..named()
            });
        }
    }

    /// Adds those of another part.
    pub(crate) fn add(&mut self, other: Self) {
        for (why, count) in other.counts {
            *self.counts.entry(why).or_default() += count;
        }
        let room = NAMED.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
    }

    /// How many there are.
    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Output of `survey_restoration`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Surveyed {
    /// Chains that the journal has as stopped.
    pub stopped: u64,
    /// Chains that the server's cascade ended.
    pub cascade: u64,
    /// Chains that the journal lacks and the index has.
    pub found: u64,
    /// Chains that the journal has as asked to end, not as stopped, and that have ended.
    pub ended_when_asked: u64,
    /// Chains that are to be reset.
    pub planned: u64,
    /// Levels among them.
    pub levels: u32,
    /// The plan, in order; empty when more than `max_affected` would be reset.
    pub plan: Vec<PlanChunk>,
    /// Those that cannot be, or need not be.
    pub left: Left,
    /// For an operator.
    pub warnings: Vec<String>,
}

/// Input of `reset_workflows`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetInput {
    /// What was asked for.
    pub asked: Asked,
    /// The part of the plan.
    pub chunk: PlanChunk,
    /// Workflow ids of parents, in parts before this one, that were not restored; some thousands at most.
    pub lost_parents: Vec<String>,
}

/// Output of `reset_workflows`, and its checkpoint on the way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetOutput {
    /// Items dealt with, from the first on without a gap.
    pub done: u64,
    /// Executions that were reset.
    pub restored: u64,
    /// Those that were not.
    pub left: Left,
    /// Workflow ids of those of them that children may wait for.
    pub lost_parents: Vec<String>,
}

/// Heartbeat of an activity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Beat {
    /// Executions described so far, when a survey is at work.
    pub surveyed: u64,
    /// Executions dealt with so far, when a reset is at work.
    pub done: u64,
    /// For the next attempt of a reset.
    pub checkpoint: ResetOutput,
}

/// Input of `resume_source`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResumeInput {
    /// The workloads.
    #[serde(alias = "workload_id", deserialize_with = "quell_sweep::one_or_many")]
    pub workload_ids: Vec<String>,
    /// Whose restoration it is.
    pub cancellation_id: String,
    /// The namespace that it is in; empty means main's.
    pub namespace: String,
}

/// Output of `resume_source`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resumed {
    /// resumed, refused, unreachable.
    pub answer: String,
    /// For an operator; empty when there is nothing to say.
    pub detail: String,
}

/// Where a restoration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Everything is described.
    #[default]
    Surveying,
    /// The plan is carried out.
    Resetting,
    /// The source is told to go on.
    Resuming,
    /// Over.
    Done,
}

/// How a restoration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All runs on.
    Restored,
    /// Something could not be restored.
    Partial,
    /// More than `max_affected`: nothing was reset.
    Refused,
    /// Ended before it was done.
    Aborted,
}

/// What the workflow writes into its memo: Describe shows it without the workflow being asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// When it started, in milliseconds since the epoch.
    pub start_ms: u64,
    /// When it ended; 0 until then.
    pub end_ms: u64,
    /// Where it is.
    pub phase: Phase,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Executions described.
    pub surveyed: u64,
    /// Executions that are to be reset.
    pub planned: u64,
    /// Of those, dealt with.
    pub done: u64,
}

/// The workflow's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// What was asked for.
    pub asked: Asked,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Why, in one sentence.
    pub explanation: String,
    /// Chains that the journal has as stopped.
    pub stopped: u64,
    /// Chains that the server's cascade ended.
    pub cascade: u64,
    /// Chains that the journal lacks and the index has.
    pub found: u64,
    /// Chains that the journal has as asked to end, not as stopped, and that have ended.
    pub ended_when_asked: u64,
    /// Chains that were reset.
    pub restored: u64,
    /// Levels.
    pub levels: u32,
    /// The others.
    pub left: Left,
    /// What the source answered.
    pub resumed: String,
    /// For an operator.
    pub warnings: Vec<String>,
}

impl Report {
    /// Notes a warning, once.
    pub(crate) fn warn(&mut self, warning: String) {
        if !warning.is_empty() && self.warnings.len() < WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Memo key of [`Standing`].
pub(crate) const MEMO_STANDING: &str = "quell.restoration";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_some_are_named_and_what_runs_on_is_not() {
        let mut left = Left::default();
        for n in 0..150 {
            let named = || Named {
                workflow_id: n.to_string(),
                ..Named::default()
            };
            left.note(Why::AlreadyRestored, named);
            left.note(Why::NoWorkflowTask, named);
        }
        let mut sum = left.clone();
        sum.add(left);
        assert_eq!(sum.total(), 600);
        assert_eq!(sum.counts[&Why::NoWorkflowTask], 300);
        assert_eq!(sum.named.len(), NAMED);
        assert!(sum.named.iter().all(|named| named.why == Some(Why::NoWorkflowTask)));
        let written = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<Left>(&written).unwrap(), sum);
    }

    #[test]
    fn what_older_code_wrote_is_still_read() {
        assert_eq!(serde_json::from_str::<Report>("{}").unwrap(), Report::default());
        assert_eq!(serde_json::from_str::<Standing>("{}").unwrap(), Standing::default());
        assert_eq!(serde_json::from_str::<Beat>(r#"{"new":1}"#).unwrap(), Beat::default());
    }
}
