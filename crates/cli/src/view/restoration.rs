//! Restorations, for people and as JSON.

use super::{execution_json, execution_line, time};
use quell_api::canceler::v1::{
    NotRestored, NotRestoredReason, Restoration, RestorationPhase, RestorationReport, RestorationVerdict,
};
use serde_json::{Value, json};

/// "SURVEYING" for `RESTORATION_PHASE_SURVEYING`.
#[must_use]
pub fn restoration_phase(phase: RestorationPhase) -> &'static str {
    phase.as_str_name().trim_start_matches("RESTORATION_PHASE_")
}

fn verdict_name(verdict: RestorationVerdict) -> &'static str {
    verdict.as_str_name().trim_start_matches("RESTORATION_VERDICT_")
}

fn reason_name(reason: NotRestoredReason) -> &'static str {
    reason.as_str_name().trim_start_matches("NOT_RESTORED_REASON_")
}

/// A restoration as JSON.
#[must_use]
pub fn restoration_json(restoration: &Restoration) -> Value {
    json!({
        "cancellation_id": restoration.cancellation_id,
        "phase": restoration_phase(restoration.phase()),
        "verdict": verdict_name(restoration.verdict()),
        "start_time": time(restoration.start_time.as_ref()),
        "end_time": time(restoration.end_time.as_ref()),
        "surveyed": restoration.surveyed,
        "planned": restoration.planned,
        "done": restoration.done,
        "restored": restoration.report.as_ref().map(|report| report.restored),
        "report": restoration.report.as_ref().map(report_json),
    })
}

fn report_json(report: &RestorationReport) -> Value {
    let counts = report.not_restored.iter();
    let not_restored: serde_json::Map<_, _> = counts
        .map(|count| (reason_name(count.reason()).to_owned(), json!(count.count)))
        .collect();
    json!({
        "reason": report.reason,
        "requested_by": report.requested_by,
        "max_affected": report.max_affected,
        "explanation": report.explanation,
        "stopped": report.stopped,
        "cascade": report.cascade,
        "found": report.found,
        "ended_when_asked": report.ended_when_asked,
        "restored": report.restored,
        "levels": report.levels,
        "not_restored": not_restored,
        "named": report.named.iter().map(named_json).collect::<Vec<_>>(),
        "resumed": report.resumed,
        "warnings": report.warnings,
    })
}

fn named_json(named: &NotRestored) -> Value {
    json!({
        "execution": named.execution.as_ref().map(execution_json),
        "reason": reason_name(named.reason()),
        "detail": named.detail,
    })
}

/// A restoration that has ended, line by line.
#[must_use]
pub fn restoration_lines(restoration: &Restoration) -> Vec<String> {
    let mut lines = vec![format!(
        "restoration {}: {}",
        restoration.cancellation_id,
        verdict_name(restoration.verdict())
    )];
    let Some(report) = &restoration.report else {
        lines.push("its workflow was ended from outside: there is no report".to_owned());
        return lines;
    };
    lines.push(format!("because     {}", report.explanation));
    lines.push(format!(
        "stopped     {}, {} by the server's cascade, {} more found in the index, {} ended when they were asked to",
        report.stopped, report.cascade, report.found, report.ended_when_asked
    ));
    lines.push(format!("restored    {} in {} levels", report.restored, report.levels));
    for count in &report.not_restored {
        lines.push(format!("left        {} {}", count.count, reason_name(count.reason())));
    }
    for named in &report.named {
        let execution = named.execution.as_ref().map(execution_line).unwrap_or_default();
        let detail = if named.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", named.detail)
        };
        lines.push(format!("  {} {execution}{detail}", reason_name(named.reason())));
    }
    lines.push(format!("source      {}", report.resumed));
    lines.extend(report.warnings.iter().map(|warning| format!("warning     {warning}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use quell_api::canceler::v1::NotRestoredCount;

    #[test]
    fn what_was_left_is_counted_and_named() {
        let reason = NotRestoredReason::NoWorkflowTask.into();
        let restoration = Restoration {
            cancellation_id: "c".into(),
            verdict: RestorationVerdict::Partial.into(),
            report: Some(RestorationReport {
                restored: 7,
                levels: 2,
                not_restored: vec![NotRestoredCount { reason, count: 3 }],
                named: vec![NotRestored {
                    execution: None,
                    reason,
                    detail: "why".into(),
                }],
                ..RestorationReport::default()
            }),
            ..Restoration::default()
        };
        let lines = restoration_lines(&restoration).join("\n");
        for part in ["c: PARTIAL", "7 in 2 levels", "3 NO_WORKFLOW_TASK", ": why"] {
            assert!(lines.contains(part), "{part} is missing in {lines}");
        }
        let json = restoration_json(&restoration);
        assert_eq!(json["report"]["not_restored"]["NO_WORKFLOW_TASK"], 3);
        assert_eq!((&json["verdict"], &json["restored"]), (&json!("PARTIAL"), &json!(7)));
    }
}
