//! The invariants, as checks of a report against the truth.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Report, Scenario, Source, Stuck};
use crate::outcome::{Verdict, Why};
use crate::spec::Mode;

/// How long an ending may take, in milliseconds: calls in flight are waited for, a batch is stopped.
const ENDING_MS: u64 = 5_000;

/// What must hold, whatever the server, the network and our own processes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// No CLEAN while an execution in scope is open.
    NoFalseClean,
    /// Nothing outside the scope is ever stopped.
    NothingOutsideScope,
    /// Where executions are to be asked only, nothing is stopped; and asking is what happens.
    OnlyAsked,
    /// Nothing beyond `max_affected` is stopped.
    CapHolds,
    /// Every failure is reported once.
    FailuresReportedOnce,
    /// Totals add up.
    TotalsAddUp,
    /// With sources that stop it ends CLEAN; with executions that cannot be stopped, never so.
    EndsWhenSourcesStop,
    /// With an unstoppable source it ends BLOCKED at its deadline, naming what is started.
    EndsBlockedAtDeadline,
    /// Sources that must obey and do not: BLOCKED before anything is stopped.
    QuiesceRequired,
    /// After the outcome nothing of ours goes on.
    NothingRunsOn,
    /// It does not hang.
    NeverStuck,
}

/// Something that should not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What does not hold.
    pub invariant: Invariant,
    /// How it shows.
    pub text: String,
}

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn must(&mut self, invariant: Invariant, holds: bool, text: &str) {
        if !holds {
            let text = text.to_owned();
            self.0.push(Violation { invariant, text });
        }
    }
}

/// What is wrong with a run; empty when nothing is.
#[must_use]
pub fn judge(scenario: &Scenario, ended: &Result<Report, Stuck>) -> Vec<Violation> {
    let mut found = Found::default();
    match ended {
        Ok(report) => {
            clean(scenario, report, &mut found);
            scope_and_cap(scenario, report, &mut found);
            totals(report, &mut found);
            failures(scenario, report, &mut found);
            end(scenario, report, &mut found);
        }
        Err(stuck) => {
            let invariant = match (stuck, scenario.source_stops()) {
                (Stuck::TooLong(..), false) => Invariant::EndsBlockedAtDeadline,
                _ => Invariant::NeverStuck,
            };
            found.must(invariant, false, &stuck.to_string());
        }
    }
    found.0
}

impl Report {
    /// When the first of the looks was taken that made the zero, in milliseconds.
    fn first_look_ms(&self) -> u64 {
        let looks = &self.outcome.looks;
        looks.iter().rev().nth(2).map_or(self.ended_ms, |look| look.at_ms)
    }

    /// Open in truth though it is CLEAN, and though the looks could have told.
    fn missed(&self, scenario: &Scenario) -> bool {
        let last_ms = self.outcome.looks.last().map_or(self.ended_ms, |look| look.at_ms);
        // When up to two of the three looks may have been blind, the first may have been the only one to see.
        let seeing_ms = if scenario.blind_percent > 0 {
            self.first_look_ms()
        } else {
            last_ms
        };
        let unseen_ms = if scenario.blind_percent > 0 {
            self.measured_lag_ms
        } else {
            0
        };
        let before_ms = self.first_look_ms().saturating_sub(unseen_ms);
        self.open.iter().any(|open| {
            let lag_ms = open.visible_ms.saturating_sub(open.since_ms);
            open.visible_ms <= seeing_ms || (open.since_ms < before_ms && lag_ms <= self.measured_lag_ms)
        })
    }

    /// Whether something was open before the looks of a CLEAN that no look could show: in a part of the index that lagged
    /// more than any measurement had found.
    #[must_use]
    pub fn is_beyond_measurement(&self, scenario: &Scenario) -> bool {
        let before_ms = self.first_look_ms();
        self.outcome.verdict == Verdict::Clean
            && !self.missed(scenario)
            && self.open.iter().any(|open| {
                open.since_ms < before_ms && open.visible_ms > before_ms.saturating_add(self.measured_lag_ms)
            })
    }
}

/// Three looks, each more than the lag apart, show whatever was visible by one that was not blind, and whatever was open
/// before the first of them in a part of the index that lags no more than was measured.
fn clean(scenario: &Scenario, report: &Report, found: &mut Found) {
    let is_false = report.outcome.verdict == Verdict::Clean && report.missed(scenario);
    found.must(
        Invariant::NoFalseClean,
        !is_false,
        "CLEAN while something in scope is open",
    );
}

fn scope_and_cap(scenario: &Scenario, report: &Report, found: &mut Found) {
    let charged = report.outcome.totals.charged;
    let cap = scenario.max_affected;
    found.must(
        Invariant::NothingOutsideScope,
        report.strangers_stopped == 0,
        "something outside the scope was stopped",
    );
    if scenario.mode == Mode::Cancel {
        found.must(
            Invariant::OnlyAsked,
            report.stopped_by_us == 0,
            "something was stopped that was only to be asked",
        );
    }
    let mut cap_holds = |holds, text| found.must(Invariant::CapHolds, holds, text);
    cap_holds(report.stopped_by_us <= cap, "more was stopped than the cap allows");
    // The batch is held against the cap by a count: what the index does not show yet is not in it.
    let count_is_true = scenario.lag_ms == 0 && scenario.stall.is_none() && scenario.late_percent == 0;
    if count_is_true {
        let both = report.stopped_by_us + report.stopped_by_batch;
        cap_holds(both <= cap, "the batch and we stopped more than the cap allows");
    }
    // What an earlier window had asked and is still there, only the index tells.
    let index_is_true = count_is_true && scenario.stale_percent == 0 && scenario.blind_percent == 0;
    if scenario.mode == Mode::CancelThenTerminate && index_is_true {
        cap_holds(report.asked_by_us <= cap, "more was asked than the cap allows");
    }
    cap_holds(charged <= cap, "more was charged than the cap allows");
}

fn totals(report: &Report, found: &mut Found) {
    let totals = &report.outcome.totals;
    let counts = &totals.counts;
    let mut must = |holds, text| found.must(Invariant::TotalsAddUp, holds, text);
    must(counts.listed == counts.settled(), "a target has no outcome, or two");
    must(
        counts.stopped <= report.stopped_by_us,
        "more stops are counted than were done",
    );
    must(
        report.stopped_by_us <= totals.charged,
        "a stop was done and not charged",
    );
    must(report.journaled_twice == 0, "the journal has a target twice");
    if report.crashes == 0 {
        must(
            report.journaled == counts.listed,
            "the journal lacks a target, or has one too many",
        );
        must(
            totals.uncounted == 0,
            "stops are called uncounted though no window crashed",
        );
        if report.lost_replies == 0 {
            must(counts.stopped == report.stopped_by_us, "the stops do not add up");
        }
    }
}

fn failures(scenario: &Scenario, report: &Report, found: &mut Found) {
    let outcome = &report.outcome;
    let mut must = |holds, text| found.must(Invariant::FailuresReportedOnce, holds, text);
    let named: BTreeSet<&str> = outcome.failures.iter().map(|failure| &*failure.run_id).collect();
    must(named.len() == outcome.failures.len(), "a failure is reported twice");
    let failed = outcome.passes.last().map_or(0, |pass| pass.counts.failed);
    let reported = u64::try_from(named.len()).unwrap_or(u64::MAX);
    must(reported <= failed, "more failures are named than were counted");
    // A residue is named: what refuses to be stopped is among the failures of the last pass, unless that pass did not see it, or left it
    // alone because calls in flight had taken the rest of the cap.
    let skipped = outcome.passes.last().map_or(0, |pass| pass.counts.skipped);
    let sees = scenario.blind_percent == 0 && scenario.reorder_percent == 0 && report.crashes == 0 && skipped == 0;
    if outcome.verdict == Verdict::Residue && sees && scenario.mode != Mode::Cancel {
        let forbidden = report.open.iter().filter(|open| open.forbidden);
        let mut named = forbidden.map(|open| {
            let mut failures = outcome.failures.iter();
            failures.any(|failure| failure.workflow_id == open.workflow_id)
        });
        must(
            named.all(|is_named| is_named),
            "what refused to be stopped is not named",
        );
    }
}

fn end(scenario: &Scenario, report: &Report, found: &mut Found) {
    let outcome = &report.outcome;
    found.must(
        Invariant::NothingRunsOn,
        report.batch_left == 0,
        "the server's batch runs on after the end",
    );

    let refused = !scenario.source_obeys();
    if scenario.require_quiesce && refused {
        let blocked = outcome.verdict == Verdict::Blocked || scenario.stop_at_ms.is_some();
        let untouched = report.stopped_by_us == 0 && report.stopped_by_batch == 0;
        found.must(
            Invariant::QuiesceRequired,
            blocked && untouched,
            "it went on though a source that must obey refused",
        );
        return;
    }

    let charged = match outcome.why {
        Why::CapReached { charged, .. } => charged,
        _ => outcome.totals.charged,
    };
    let room = charged < scenario.max_affected || charged == 0;
    let capped = matches!(outcome.why, Why::CapReached { open, .. } if open > 0 || !room || report.crashes > 0);
    let undisturbed = scenario.stop_at_ms.is_none() && !capped;
    let stale_and_reused = scenario.filter_target && scenario.stale_percent > 0;
    if scenario.forbidden == 0 && scenario.source_stops() && undisturbed {
        // Where the index answers with nothing half of the time, all passes of all rounds may have been told nothing: then what the
        // confirmation found alive is named, and the residue is true.
        let blinded = scenario.blind_percent >= 40 && matches!(outcome.why, Why::Unconfirmed { alive: 1.. });
        // What does not end when it is asked to is left.
        let left_running = scenario.mode == Mode::Cancel && outcome.verdict == Verdict::Residue;
        // A row without a tag that is stale for ever, while its workflow id is somebody else's by now, cannot be told from
        // one that is alive: that errs on the safe side.
        found.must(
            Invariant::EndsWhenSourcesStop,
            outcome.verdict == Verdict::Clean || stale_and_reused || blinded || left_running,
            "it did not end CLEAN though the sources stopped",
        );
    }
    let late_ms = report.ended_ms.saturating_sub(report.began_ms + scenario.deadline_ms);
    found.must(
        Invariant::EndsBlockedAtDeadline,
        late_ms <= ENDING_MS,
        "it ended long after its deadline",
    );
    // A source that starts something between a look that saw and two that were blind, or where the index stands still, or
    // without its tag, may go unnoticed.
    let is_seen = scenario.blind_percent == 0 && scenario.stall.is_none() && scenario.late_percent == 0;
    let is_fast = scenario.source_every_ms <= 200;
    let ends_by_itself = scenario.mode == Mode::Cancel;
    if scenario.source == Source::Forever
        && !ends_by_itself
        && undisturbed
        && is_seen
        && is_fast
        && scenario.forbidden == 0
    {
        let at_deadline = outcome.verdict == Verdict::Blocked && matches!(outcome.why, Why::DeadlineReached { .. });
        let mut must = |holds, text| found.must(Invariant::EndsBlockedAtDeadline, holds, text);
        must(at_deadline, "it did not end BLOCKED though a source goes on");
        let named = outcome.starters.iter().any(|starter| starter.workflow_type == "client");
        must(named || report.new_seen == 0, "what keeps starting is not named");
    }
}
