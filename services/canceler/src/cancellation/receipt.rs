//! The receipt: built once, in the workflow, from the machine's outcome and what was gathered beside it; the workflow's
//! result. It is a lasting record: fields have defaults, and names are only ever added.

mod signed;

use quell_api::{canceler::v1 as pb, r#type::v1::ExecutionRef};
use quell_sweep::{BatchState, Outcome, Phase, QuiesceStatus, Starter, Verdict, Why};
use serde::{Deserialize, Serialize};

use super::{
    convert::{count, duration, timestamp, verdict},
    joint::{self, Part},
    messages::{CancelInput, Conclusion, Ledger},
    spec::Spec,
};

pub use signed::{Signed, Unreadable};

/// Residuals and failures that are named.
const NAMED: usize = 100;
/// Blockers that are named.
const BLOCKERS: usize = 20;

/// The lasting proof of a cancellation. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Id of the cancellation.
    pub cancellation_id: String,
    /// What was asked for.
    pub spec: Spec,
    /// The query that listed what was to be stopped.
    pub query: String,
    /// Who asked.
    pub requested_by: String,
    /// Trace id, 32 hex digits; empty when it was not traced.
    pub trace_id: String,
    /// When it ended.
    pub end_ms: u64,
    /// The machine's outcome.
    pub outcome: Outcome,
    /// What was gathered beside it.
    pub ledger: Ledger,
    /// What was looked up at the end.
    pub conclusion: Conclusion,
    /// It signed; none where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// The parts of a joint one, whose receipts have what is named; none otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// A part of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalChunk {
    /// Key in the payload store.
    pub key: String,
    /// SHA-256 of its bytes, 64 hex digits.
    pub sha256: String,
    /// Outcomes in it.
    pub outcomes: u64,
    /// Of those, failed stops; unset where older code wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
}

impl Receipt {
    /// Puts a receipt together.
    #[must_use]
    pub fn build(input: &CancelInput, outcome: Outcome, ledger: Ledger, conclusion: Conclusion, end_ms: u64) -> Self {
        Self {
            cancellation_id: input.cancellation_id.clone(),
            spec: input.spec.clone(),
            query: input.filter.open(),
            requested_by: input.requested_by.clone(),
            trace_id: input.trace_id.clone(),
            end_ms,
            outcome,
            ledger,
            conclusion,
            signed: None,
            parts: Vec::new(),
        }
    }

    /// In one sentence, why it ended so.
    pub(super) fn explanation(&self) -> String {
        if self.parts.is_empty() {
            explanation(&self.outcome)
        } else {
            joint::explanation(&self.parts)
        }
    }

    /// Stops of the last pass that failed for good.
    pub(super) fn failed(&self) -> u64 {
        self.outcome.passes.last().map_or(0, |pass| pass.counts.failed)
    }

    /// Executions closed in scope since the fence that were not stopped by us, at least 0.
    #[must_use]
    pub fn closed_by_others(&self) -> u64 {
        let counts = &self.outcome.totals.counts;
        self.conclusion
            .closed
            .unwrap_or(0)
            .saturating_sub(counts.stopped.saturating_sub(counts.descendants))
    }

    /// What GetReceipt answers: when it was signed what was signed, and nothing that newer code would make of it.
    ///
    /// # Errors
    /// [`Unreadable`] when the signed form in it is not readable.
    pub fn to_answer(&self) -> Result<pb::GetReceiptResponse, Unreadable> {
        let (receipt, signed) = match &self.signed {
            Some(signed) => {
                let (receipt, signed) = signed.open()?;
                (receipt, Some(signed))
            }
            None => (self.to_proto(), None),
        };
        Ok(pb::GetReceiptResponse {
            receipt: Some(receipt),
            signed,
        })
    }

    /// As callers see it.
    #[must_use]
    pub fn to_proto(&self) -> pb::Receipt {
        let outcome = &self.outcome;
        let counts = &outcome.totals.counts;
        let asked = outcome.asked.unwrap_or_default();
        pb::Receipt {
            cancellation_id: self.cancellation_id.clone(),
            verdict: verdict(outcome.verdict).into(),
            explanation: self.explanation(),
            spec: Some(self.spec.to_proto()),
            query: self.query.clone(),
            requested_by: self.requested_by.clone(),
            start_time: Some(timestamp(self.ledger.start_ms)),
            end_time: Some(timestamp(self.end_ms)),
            fence_time: outcome.fence_ms.map(timestamp),
            quiesce: if self.ledger.quiesce.is_empty() {
                "not asked".to_owned()
            } else {
                self.ledger.quiesce.clone()
            },
            quiesced_until: (self.ledger.quiesced_until_ms > 0).then(|| timestamp(self.ledger.quiesced_until_ms)),
            passes: i32::try_from(outcome.pass_count).unwrap_or(i32::MAX),
            stopped: count(counts.stopped),
            already_closed: count(counts.already_closed + counts.not_found),
            closed_by_others: count(self.closed_by_others()),
            batch_claimed: count(outcome.batch.as_ref().map_or(0, |batch| batch.completed)),
            failed: count(self.failed()),
            failures: outcome
                .failures
                .iter()
                .take(NAMED)
                .map(|failure| pb::Failure {
                    execution: Some(reference(&failure.workflow_id, &failure.run_id)),
                    error: failure.reason.clone(),
                    ..pb::Failure::default()
                })
                .collect(),
            looks: outcome
                .looks
                .iter()
                .map(|look| pb::Look {
                    time: Some(timestamp(look.at_ms)),
                    empty: look.is_empty(),
                })
                .collect(),
            lag: Some(duration(self.ledger.lag_ms.max(outcome.lag_ms))),
            residuals: self.residuals(),
            blockers: self.blockers(),
            warnings: self.warnings(),
            trace_id: self.trace_id.clone(),
            journal: self
                .ledger
                .journal
                .iter()
                .map(|chunk| pb::JournalChunk {
                    key: chunk.key.clone(),
                    sha256: chunk.sha256.clone(),
                    outcomes: count(chunk.outcomes),
                    failed: chunk.failed.map(count),
                })
                .collect(),
            descendants: count(counts.descendants),
            suspects: self
                .conclusion
                .suspects
                .iter()
                .map(|suspect| ExecutionRef {
                    workflow_type: suspect.workflow_type.clone(),
                    start_time: (suspect.start_ms > 0).then(|| timestamp(suspect.start_ms)),
                    ..reference(&suspect.workflow_id, &suspect.run_id)
                })
                .collect(),
            suspect_count: count(self.conclusion.suspect_count),
            engine_reason: self.spec.engine_reason().to_owned(),
            schedules: self
                .ledger
                .schedules
                .iter()
                .map(|paused| paused.schedule_id.clone())
                .collect(),
            time_to_first_zero: self
                .ledger
                .first_zero_ms
                .map(|at| duration(at.saturating_sub(self.ledger.start_ms))),
            outcomes: Some(pb::OutcomeCounts {
                stopped: count(counts.stopped),
                already_closed: count(counts.already_closed),
                not_found: count(counts.not_found),
                failed: count(counts.failed),
                out_of_scope: count(counts.out_of_scope),
                skipped: count(counts.skipped),
                asked: count(counts.asked),
            }),
            asked: count(asked.chains),
            ended_when_asked: count(asked.chains.saturating_sub(asked.left)),
            journal_lacks: count(self.ledger.journal_lacks),
            adjustments: self.ledger.adjustments.iter().map(|change| change.to_proto()).collect(),
            parts: self.parts.iter().map(Part::to_proto).collect(),
        }
    }

    fn residuals(&self) -> Vec<pb::Residual> {
        let alive = self.outcome.alive_named.iter().map(|alive| pb::Residual {
            execution: Some(ExecutionRef {
                workflow_type: alive.workflow_type.clone(),
                start_time: (alive.start_ms > 0).then(|| timestamp(alive.start_ms)),
                ..reference(&alive.workflow_id, &alive.run_id)
            }),
            state: "alive".to_owned(),
        });
        let stale = self.outcome.stale.iter().map(|stale| pb::Residual {
            execution: Some(reference(&stale.workflow_id, &stale.run_id)),
            state: "stale".to_owned(),
        });
        alive.chain(stale).take(NAMED).collect()
    }

    /// Who keeps starting; only where that is why the cancellation ended.
    fn blockers(&self) -> Vec<String> {
        if self.outcome.verdict != Verdict::Blocked {
            return Vec::new();
        }
        // What was looked up at the end knows identities; what the windows saw is the fallback.
        let starters = if self.conclusion.starters.is_empty() {
            &self.outcome.starters
        } else {
            &self.conclusion.starters
        };
        starters.iter().take(BLOCKERS).map(blocker).collect()
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.outcome.warnings.clone();
        warnings.extend(
            self.ledger
                .warnings
                .iter()
                .filter(|warning| !self.outcome.warnings.contains(warning))
                .cloned(),
        );
        let totals = &self.outcome.totals;
        if totals.uncounted > 0 {
            warnings.push(format!(
                "a worker was lost in the middle of a window: up to {} stops that were done are not counted in stopped",
                totals.uncounted
            ));
        }
        if self
            .outcome
            .batch
            .as_ref()
            .is_some_and(|batch| batch.state == BatchState::Stopped)
        {
            warnings.push(
                "the server's batch was stopped; what its worker had at hand may still end for some seconds".to_owned(),
            );
        }
        if self.outcome.seen.more {
            warnings.push("not all types of the target are known: suspects were looked for by some of them".to_owned());
        }
        let stale = self.outcome.stale.len();
        if stale > 0 {
            warnings.push(format!(
                "visibility still calls {stale} executions open that are closed"
            ));
        }
        warnings
    }
}

fn reference(workflow_id: &str, run_id: &str) -> ExecutionRef {
    ExecutionRef {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
        ..ExecutionRef::default()
    }
}

fn blocker(starter: &Starter) -> String {
    let mut text = format!("{} of type {:?}", starter.seen, starter.workflow_type);
    match &starter.parent_workflow_id {
        Some(parent) => text.push_str(&format!(", children of {parent:?}")),
        None => text.push_str(", started by a client or a schedule"),
    }
    if let Some(identity) = &starter.identity {
        text.push_str(&format!(", identity {identity:?}"));
    }
    text
}

/// In one sentence, why it ended so.
fn explanation(outcome: &Outcome) -> String {
    match &outcome.why {
        Why::Confirmed => {
            let looks = outcome.looks.iter().rev().take_while(|look| look.is_empty()).count();
            format!(
                "none visible in {looks} looks in a row, each more than the measured index lag ({} ms) apart",
                outcome.lag_ms
            )
        }
        Why::FailuresRemain { failed, alive } => {
            format!("{failed} stops failed for good in the last pass, and at least {alive} executions are alive")
        }
        Why::Unconfirmed { alive: 0 } => "the index could not be confirmed to be empty".to_owned(),
        Why::Unconfirmed { alive } => format!("at least {alive} executions are alive though no stop failed"),
        Why::GraceOver { alive } => {
            format!("at least {alive} executions did not end within the grace, and were not to be terminated")
        }
        Why::StopRequested { reason } => format!("aborted on request: {reason}"),
        Why::CapReached {
            max_affected,
            charged,
            open,
        } => {
            let beside = if *open > 0 {
                format!(", and {open} were open beside")
            } else {
                String::new()
            };
            format!("aborted at max_affected: {max_affected} may be stopped, {charged} were or may have been{beside}")
        }
        Why::ActivityFailed { command, reason } => format!("aborted: {command} failed for good: {reason}"),
        Why::DeadlineReached { phase } => format!("the deadline came while {}", doing(*phase)),
        Why::NotQuiesced { status } => format!(
            "the source {}, and require_quiesce is set: nothing was stopped",
            match status {
                QuiesceStatus::Refused => "refused to stop",
                QuiesceStatus::Unreachable => "could not be reached",
                QuiesceStatus::NotConfigured => "was not asked",
                QuiesceStatus::Accepted => "accepted",
            }
        ),
    }
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Fencing => "the source was told to stop",
        Phase::Asking => "executions were asked to end",
        Phase::Striking => "roots were stopped",
        Phase::Sweeping => "executions were still being stopped",
        Phase::Confirming => "it was looked whether anything is left",
        Phase::Done => "the cancellation ended",
    }
}

#[cfg(test)]
mod tests;
