//! What passes between the workflow and its activities, and what the workflow keeps. All of it is recorded in histories that
//! newer code will read: fields have defaults, and names are only ever added.

use quell_api::target::Filter;
use quell_sweep::{
    BatchReport, Campaign, CampaignSpec, Checkpoint, ConfirmSpec, Confirmed, Counts, PassKind, Phase, Planned,
    Quiesced, Row, StartRange, Starter, Verdict, WindowResult, WindowSpec,
};
use serde::{Deserialize, Serialize};

use super::{
    limits::{Adjustment, Limits},
    receipt::JournalChunk,
    schedules::Paused,
    spec::Spec,
};

/// Input of the workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CancelInput {
    /// Id of the cancellation.
    pub cancellation_id: String,
    /// What was asked for, with all defaults filled in.
    pub spec: Spec,
    /// The target's filter.
    pub filter: Filter,
    /// Open executions that matched at the start.
    #[serde(default)]
    pub matched: u64,
    /// Who asked.
    #[serde(default)]
    pub requested_by: String,
    /// Trace id of the request, 32 hex digits; empty when it was not traced.
    #[serde(default)]
    pub trace_id: String,
    /// What the machine is told.
    #[serde(default)]
    pub campaign: CampaignSpec,
    /// Set by continue-as-new: what the run before had come to.
    #[serde(default)]
    pub carried: Option<Box<Carried>>,
    /// Whether it is a part of a joint one: then it writes its own memo, since a child workflow cannot be given one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_part: bool,
}

/// What one run of the workflow hands to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Carried {
    /// The machine.
    pub campaign: Campaign,
    /// What was gathered beside it.
    pub ledger: Ledger,
}

/// What the workflow gathers beside the machine, for the receipt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// When the first run started, in milliseconds since the epoch.
    pub start_ms: u64,
    /// What the sources answered.
    pub quiesce: String,
    /// Until when they keep still unless they are told to go on, in milliseconds since the epoch; 0 when they do not.
    pub quiesced_until_ms: u64,
    /// Schedules that were paused with the fence, to be given back at the end.
    pub schedules: Vec<Paused>,
    /// Whether others may be paused, too: what became of them was not answered.
    pub schedules_unsure: bool,
    /// Largest index lag measured, in milliseconds.
    pub lag_ms: u64,
    /// When a look first saw nothing open.
    pub first_zero_ms: Option<u64>,
    /// The journal, in order of writing.
    pub journal: Vec<JournalChunk>,
    /// Outcomes that it lacks.
    pub journal_lacks: u64,
    /// Limits as they were changed.
    pub limits: Limits,
    /// Each change; bounded.
    pub adjustments: Vec<Adjustment>,
    /// For an operator; bounded.
    pub warnings: Vec<String>,
}

/// Most warnings that are kept.
const MAX_WARNINGS: usize = 32;
/// Most changes of limits that are kept; the last ones.
const MAX_ADJUSTMENTS: usize = 100;

impl Ledger {
    /// Takes in a change of limits.
    pub fn adjust(&mut self, at_ms: u64, limits: Limits) {
        self.limits = self.limits.with(limits);
        if self.adjustments.len() >= MAX_ADJUSTMENTS {
            self.adjustments.remove(0);
        }
        self.adjustments.push(Adjustment { at_ms, limits });
    }

    /// Notes a warning, once.
    pub fn warn(&mut self, warning: String) {
        if !warning.is_empty() && self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// What every activity is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Id of the cancellation.
    pub cancellation_id: String,
    /// The target's filter.
    pub filter: Filter,
    /// When the cancellation began, in milliseconds since the epoch.
    #[serde(default)]
    pub since_ms: u64,
    /// The namespace that it works in; empty means main's.
    #[serde(default)]
    pub namespace: String,
}

/// Input of `quiesce_sources`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FenceInput {
    /// The cancellation.
    pub task: Task,
    /// The workloads whose sources are told to stop; none: nobody is told.
    #[serde(alias = "workload_id", deserialize_with = "quell_sweep::one_or_many")]
    pub workload_ids: Vec<String>,
    /// Why, for the source.
    pub reason: String,
    /// How long the source is to keep still, in milliseconds.
    pub ttl_ms: u64,
}

/// Output of `quiesce_sources`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FenceOutput {
    /// For the machine.
    pub quiesced: Quiesced,
    /// What the source answered: effective, accepted, refused, unreachable, or not asked.
    pub answer: String,
    /// Until when it keeps still unless it is told to go on, in milliseconds since the epoch; 0 when it does not.
    #[serde(default)]
    pub until_ms: u64,
    /// Schedules of the target that were paused.
    #[serde(default)]
    pub schedules: Vec<Paused>,
    /// Whether another one may be paused, too: the server did not answer.
    #[serde(default)]
    pub schedules_unsure: bool,
}

/// Input of `give_back_schedules`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GiveBackInput {
    /// Id of the cancellation that paused them.
    pub cancellation_id: String,
    /// Which.
    pub schedules: Vec<Paused>,
    /// The workloads whose schedules are searched for more that carry our note; none when there cannot be more.
    #[serde(default, deserialize_with = "quell_sweep::one_or_many")]
    pub search: Vec<String>,
    /// The namespace that they are in; empty means main's.
    #[serde(default)]
    pub namespace: String,
}

/// Input of `query_new_wf_executions`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanInput {
    /// The cancellation.
    pub task: Task,
    /// Number of the pass.
    pub pass: u32,
    /// What it is about.
    pub kind: PassKind,
}

/// Output of `query_new_wf_executions`.
pub(crate) type PlanOutput = Planned;

/// Input of `bulk_cancel_workflows`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WindowInput {
    /// The cancellation.
    pub task: Task,
    /// Why; stored on every stopped execution.
    pub reason: String,
    /// Number of the pass.
    pub pass: u32,
    /// Number of the window in the pass.
    pub window: u32,
    /// What the pass is about.
    pub kind: PassKind,
    /// Start times of this window.
    pub range: StartRange,
    /// What the machine is told.
    pub spec: WindowSpec,
    /// Limits as they were changed by the time it was scheduled.
    #[serde(default)]
    pub limits: Limits,
}

/// Output of `bulk_cancel_workflows`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowOutput {
    /// For the machine.
    pub result: WindowResult,
    /// Chunks of the journal that this window wrote, earlier attempts included.
    pub journal: Vec<JournalChunk>,
    /// Outcomes that are counted and not in the journal.
    pub journal_lacks: u64,
    /// For an operator.
    pub warnings: Vec<String>,
}

/// Input of `confirm_all_canceled`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfirmInput {
    /// The cancellation.
    pub task: Task,
    /// Number of the round.
    pub round: u32,
    /// What the machine is told.
    pub spec: ConfirmSpec,
}

/// Output of `confirm_all_canceled`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfirmOutput {
    /// For the machine.
    pub confirmed: Confirmed,
    /// When the first empty look was sent, in milliseconds since the epoch.
    pub first_empty_ms: Option<u64>,
}

/// Input of `conclude_cancellation`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConcludeInput {
    /// The cancellation.
    pub task: Task,
    /// Since when closed executions are counted, in milliseconds by the server's clock.
    pub since_ms: u64,
    /// Whether to find out who keeps starting.
    pub blockers: bool,
    /// Types of the target's executions; empty: no suspects are looked for.
    #[serde(default)]
    pub types: Vec<String>,
    /// Start of the oldest of them.
    #[serde(default)]
    pub first_start_ms: u64,
}

/// Output of `conclude_cancellation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conclusion {
    /// Executions in scope that closed since then, ours included.
    pub closed: Option<u64>,
    /// Executions in scope that are open.
    pub open: Option<u64>,
    /// Who started executions since then, most frequent first.
    pub starters: Vec<Starter>,
    /// Open ones that may belong to the target and do not carry its tag; some of them.
    pub suspects: Vec<Row>,
    /// How many there are.
    pub suspect_count: u64,
}

/// Input of `stop_batch`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StopBatchInput {
    /// Job id of the server's batch operation.
    pub job_id: String,
    /// Why.
    pub reason: String,
}

/// Output of `stop_batch`: how far the operation had come.
pub(crate) type StopBatchOutput = BatchReport;

/// Heartbeat of an activity that is at work: what Watch shows of it, and what its next attempt has to know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Beat {
    /// What a window counted so far.
    pub counts: Counts,
    /// Its concurrency limit now; 0 when no window is at work.
    pub limit: u32,
    /// Latency of a stop without a queue, in microseconds; 0 before it is known.
    pub base_us: u64,
    /// Latency of a stop now, in microseconds; 0 before it is known.
    pub latency_us: u64,
    /// Executions gone a second, over the last seconds.
    pub rate: f64,
    /// Open executions seen by the last look, when a confirmation is at work.
    pub open: Option<u64>,
    /// For the window's next attempt.
    pub checkpoint: Checkpoint,
    /// Chunks of the journal written so far.
    pub journal: Vec<JournalChunk>,
}

/// Memo key of [`About`].
pub(crate) const MEMO_ABOUT: &str = "quell.cancellation";
/// Memo key of [`Standing`].
pub(crate) const MEMO_STANDING: &str = "quell.standing";

/// What the memo says of a cancellation from its start: enough for Get and List without its history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// What was asked for.
    pub spec: Spec,
    /// Open executions that matched at the start.
    pub matched: u64,
}

/// What the workflow writes into its memo whenever it has news: Describe shows it without the workflow being asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// When it started, in milliseconds since the epoch; 0 before its first step.
    pub start_ms: u64,
    /// When it ended; 0 until then.
    pub end_ms: u64,
    /// Where it is.
    pub phase: Phase,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Rounds over the target so far.
    pub passes: u32,
    /// Sums over finished windows.
    pub counts: Counts,
    /// Open by the last count or confirmation; unset before the first.
    pub open: Option<u64>,
    /// When a look first saw nothing open.
    pub first_zero_ms: Option<u64>,
    /// Limits as they were changed.
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_bounded_and_not_repeated() {
        let mut ledger = Ledger::default();
        for n in 0..100 {
            ledger.warn(format!("{}", n / 2));
        }
        ledger.warn(String::new());
        assert_eq!(ledger.warnings.len(), MAX_WARNINGS);
        assert_eq!(ledger.warnings[..2], ["0", "1"]);
    }

    #[test]
    fn what_older_code_wrote_is_still_read() {
        assert_eq!(serde_json::from_str::<Ledger>("{}").unwrap(), Ledger::default());
        assert_eq!(serde_json::from_str::<Standing>("{}").unwrap(), Standing::default());
        assert_eq!(
            serde_json::from_str::<Beat>(r#"{"from_the_future":1}"#).unwrap(),
            Beat::default()
        );
    }
}
