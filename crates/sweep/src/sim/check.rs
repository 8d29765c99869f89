//! The properties, as checks of a report against the truth.

use super::{Report, Scenario, Source};
use crate::outcome::{Verdict, Why};

/// What is wrong with this report; empty when nothing is.
#[must_use]
pub fn violations(scenario: &Scenario, report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    let outcome = &report.outcome;
    let counts = &outcome.totals.counts;
    let mut must = |holds: bool, text: &str| {
        if !holds {
            found.push(text.to_owned());
        }
    };

    // Three looks, each more than the lag apart, show whatever was open before the first of them; when up to two of
    // them may have been blind, the first may have been the only one to see, and then only what was visible by then.
    let first_look = outcome
        .looks
        .iter()
        .rev()
        .nth(2)
        .map_or(report.ended_ms, |look| look.at_ms);
    let unseen_ms = if scenario.blind_percent > 0 { scenario.lag_ms } else { 0 };
    let knowable_ms = first_look.saturating_sub(unseen_ms);
    let missed = report.open.iter().any(|(_, start_ms)| *start_ms < knowable_ms);
    must(
        !(outcome.verdict == Verdict::Clean && missed),
        "CLEAN while something in scope is open",
    );

    must(report.strangers_stopped == 0, "something outside the scope was stopped");
    must(
        report.stopped_by_us <= scenario.max_affected,
        "more was stopped than the cap allows",
    );
    // The batch is held against the cap by a count: what the index does not show yet is not in it.
    if scenario.lag_ms == 0 {
        must(
            report.stopped_by_us + report.stopped_by_batch <= scenario.max_affected,
            "the batch and we stopped more than the cap allows",
        );
    }
    must(
        outcome.totals.charged <= scenario.max_affected,
        "more was charged than the cap allows",
    );

    must(counts.listed == counts.settled(), "a target has no outcome, or two");
    must(
        counts.stopped <= report.stopped_by_us,
        "more stops are counted than were done",
    );
    must(
        report.stopped_by_us <= outcome.totals.charged,
        "a stop was done and not charged",
    );
    if report.crashes == 0 {
        must(
            report.journaled == counts.listed,
            "the journal lacks a target, or has it twice",
        );
        must(
            outcome.totals.uncounted == 0,
            "stops are called uncounted though no window crashed",
        );
        if report.lost_replies == 0 {
            must(counts.stopped == report.stopped_by_us, "the stops do not add up");
        }
    }

    let room = outcome.totals.charged < scenario.max_affected || outcome.totals.charged == 0;
    let capped = matches!(outcome.why, Why::CapReached { open, .. } if open > 0 || !room || report.crashes > 0);
    let undisturbed = scenario.stop_at_ms.is_none() && !capped;
    match scenario.source {
        Source::None | Source::Quiescible | Source::Until(_) if undisturbed && scenario.forbidden == 0 => {
            must(
                outcome.verdict == Verdict::Clean,
                "it did not end CLEAN though the sources stopped",
            );
        }
        // A source that starts something between a look that saw and two that were blind may go unnoticed.
        Source::Forever if undisturbed && scenario.blind_percent == 0 => {
            let blocked = outcome.verdict == Verdict::Blocked && matches!(outcome.why, Why::DeadlineReached { .. });
            must(blocked, "it did not end BLOCKED though a source goes on");
            let named = outcome.starters.iter().any(|starter| starter.workflow_type == "client");
            must(named, "what keeps starting is not named");
        }
        _ => {
            must(
                outcome.verdict != Verdict::Clean || scenario.forbidden == 0,
                "CLEAN though a stop was refused for good",
            );
        }
    }
    found
}
