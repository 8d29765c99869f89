//! Restorations as callers see them.

use quell_api::{canceler::v1 as pb, r#type::v1::ExecutionRef};

use super::messages::{Named, Phase, Report, Verdict, Why};
use crate::cancellation::convert::count;

pub(super) fn phase(phase: Phase) -> pb::RestorationPhase {
    match phase {
        Phase::Surveying => pb::RestorationPhase::Surveying,
        Phase::Resetting => pb::RestorationPhase::Resetting,
        Phase::Resuming => pb::RestorationPhase::Resuming,
        Phase::Done => pb::RestorationPhase::Done,
    }
}

pub(super) fn verdict(verdict: Verdict) -> pb::RestorationVerdict {
    match verdict {
        Verdict::Restored => pb::RestorationVerdict::Restored,
        Verdict::Partial => pb::RestorationVerdict::Partial,
        Verdict::Refused => pb::RestorationVerdict::Refused,
        Verdict::Aborted => pb::RestorationVerdict::Aborted,
    }
}

fn why(why: Why) -> pb::NotRestoredReason {
    match why {
        Why::AlreadyRestored => pb::NotRestoredReason::AlreadyRestored,
        Why::StartedAnew => pb::NotRestoredReason::StartedAnew,
        Why::NoWorkflowTask => pb::NotRestoredReason::NoWorkflowTask,
        Why::NotTerminated => pb::NotRestoredReason::NotTerminated,
        Why::TerminatedByOthers => pb::NotRestoredReason::TerminatedByOthers,
        Why::Gone => pb::NotRestoredReason::Gone,
        Why::StartedByParent => pb::NotRestoredReason::StartedByParent,
        Why::ParentNotRestored => pb::NotRestoredReason::ParentNotRestored,
        Why::Refused => pb::NotRestoredReason::Refused,
        Why::NotTried => pb::NotRestoredReason::NotTried,
        Why::EndedWhenAsked => pb::NotRestoredReason::EndedWhenAsked,
    }
}

/// A report as callers see it.
pub(super) fn report(report: &Report) -> pb::RestorationReport {
    pb::RestorationReport {
        reason: report.asked.reason.clone(),
        requested_by: report.asked.requested_by.clone(),
        max_affected: count(report.asked.max_affected),
        explanation: report.explanation.clone(),
        stopped: count(report.stopped),
        cascade: count(report.cascade),
        found: count(report.found),
        ended_when_asked: count(report.ended_when_asked),
        restored: count(report.restored),
        levels: i32::try_from(report.levels).unwrap_or(i32::MAX),
        not_restored: report
            .left
            .counts
            .iter()
            .map(|(reason, n)| pb::NotRestoredCount {
                reason: why(*reason).into(),
                count: count(*n),
            })
            .collect(),
        named: report.left.named.iter().map(named).collect(),
        resumed: report.resumed.clone(),
        warnings: report.warnings.clone(),
    }
}

fn named(named: &Named) -> pb::NotRestored {
    pb::NotRestored {
        execution: Some(ExecutionRef {
            workflow_id: named.workflow_id.clone(),
            run_id: named.run_id.clone(),
            workflow_type: named.workflow_type.clone(),
            ..ExecutionRef::default()
        }),
        reason: named.why.map_or(pb::NotRestoredReason::Unspecified, why).into(),
        detail: named.detail.clone(),
    }
}

/// How it ended and why, in one sentence.
pub(super) fn explanation(report: &Report, stop_reason: &str) -> String {
    let already = report.left.counts.get(&Why::AlreadyRestored).copied().unwrap_or(0);
    let left = report.left.total() - already;
    match report.verdict {
        Some(Verdict::Restored) => format!("{} restored, {already} ran on already", report.restored),
        Some(Verdict::Partial) => format!(
            "{} restored, {already} ran on already, {left} could not be restored",
            report.restored
        ),
        Some(Verdict::Refused) => format!(
            "{} would have been reset, and max_affected is {}: nothing was",
            report.left.counts.get(&Why::NotTried).copied().unwrap_or(0),
            report.asked.max_affected
        ),
        Some(Verdict::Aborted) if stop_reason.is_empty() => {
            format!("a part of it failed for good, after {} were restored", report.restored)
        }
        Some(Verdict::Aborted) => format!("asked to end ({stop_reason}), after {} were restored", report.restored),
        None => String::new(),
    }
}
