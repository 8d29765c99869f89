//! Messages of the services, for people and as JSON.
//!
//! JSON keeps the field names of the protos; times are RFC 3339, durations seconds, enums their names without prefix.

mod parts;
mod preview;
mod restoration;

pub use preview::{preview_json, preview_lines};
pub use restoration::{restoration_json, restoration_lines, restoration_phase};

use crate::ui::human_duration;
use quell_api::canceler::v1::{
    Adjustment, Cancellation, CancellationSpec, Engine, Failure as StopFailure, Limits, Mode, OutcomeCounts, Phase,
    Receipt, Verdict,
};
use quell_api::r#type::v1::target::Selector;
use quell_api::r#type::v1::{ExecutionRef, Target};
use quell_api::work::v1::Snowball;
use serde_json::{Value, json};
use std::time::Duration;

/// "SWEEPING" for `PHASE_SWEEPING`.
#[must_use]
pub fn phase_name(phase: Phase) -> &'static str {
    phase.as_str_name().trim_start_matches("PHASE_")
}

/// "CLEAN" for `VERDICT_CLEAN`.
#[must_use]
pub fn verdict_name(verdict: Verdict) -> &'static str {
    verdict.as_str_name().trim_start_matches("VERDICT_")
}

fn mode_name(mode: Mode) -> &'static str {
    mode.as_str_name().trim_start_matches("MODE_")
}

fn engine_name(engine: Engine) -> &'static str {
    engine.as_str_name().trim_start_matches("ENGINE_")
}

/// A duration of the wire; negative ones, which no service sends, count as zero.
#[must_use]
pub fn duration(wire: Option<&prost_types::Duration>) -> Option<Duration> {
    wire.map(|wire| Duration::try_from(*wire).unwrap_or_default())
}

fn seconds(wire: Option<&prost_types::Duration>) -> Value {
    duration(wire).map_or(Value::Null, |duration| json!(duration.as_secs_f64()))
}

/// A time of the wire as RFC 3339, to the millisecond.
#[must_use]
pub fn time(wire: Option<&prost_types::Timestamp>) -> Option<String> {
    let wire = wire?;
    let time = jiff::Timestamp::new(wire.seconds, wire.nanos).ok()?;
    Some(format!("{time:.3}"))
}

/// What a target selects, in one line.
#[must_use]
pub fn target(target: Option<&Target>) -> String {
    match target.and_then(|target| target.selector.as_ref()) {
        Some(Selector::WorkloadId(id)) => format!("WorkloadId {id:?}"),
        Some(Selector::Query(query)) => format!("query {query}"),
        Some(Selector::AnyOf(any)) => {
            let parts: Vec<_> = any.targets.iter().map(|one| self::target(Some(one))).collect();
            parts.join(", or ")
        }
        None => "nothing".to_owned(),
    }
}

/// What a cancellation is about, in one line: its target, and the namespace where it is told.
#[must_use]
pub fn wanted(spec: &CancellationSpec) -> String {
    let target = target(spec.target.as_ref());
    if spec.namespaces.is_empty() {
        return target;
    }
    format!("{target} in {}", spec.namespaces.join(", "))
}

fn target_json(target: Option<&Target>) -> Value {
    match target.and_then(|target| target.selector.as_ref()) {
        Some(Selector::WorkloadId(id)) => json!({ "workload_id": id }),
        Some(Selector::Query(query)) => json!({ "query": query }),
        Some(Selector::AnyOf(any)) => {
            let parts: Vec<_> = any.targets.iter().map(|one| target_json(Some(one))).collect();
            json!({ "any_of": parts })
        }
        None => Value::Null,
    }
}

fn spec_json(spec: &CancellationSpec) -> Value {
    json!({
        "target": target_json(spec.target.as_ref()),
        "namespaces": spec.namespaces,
        "reason": spec.reason,
        "engine": engine_name(spec.engine()),
        "mode": mode_name(spec.mode()),
        "grace": seconds(spec.grace.as_ref()),
        "max_affected": spec.max_affected,
        "concurrency": spec.concurrency,
        "quiesce": spec.quiesce,
        "require_quiesce": spec.require_quiesce,
        "deadline": seconds(spec.deadline.as_ref()),
        "looks": spec.looks,
        "confirm_timeout": seconds(spec.confirm_timeout.as_ref()),
        "confirm_poll": seconds(spec.confirm_poll.as_ref()),
        "include_descendants": spec.include_descendants,
    })
}

/// Limits as JSON.
#[must_use]
pub fn limits_json(limits: &Limits) -> Value {
    json!({
        "concurrency": limits.concurrency,
        "stops_per_second": limits.stops_per_second,
        "deadline": seconds(limits.deadline.as_ref()),
    })
}

/// Limits in one line.
#[must_use]
pub fn limits_line(limits: &Limits) -> String {
    let concurrency = limits.concurrency.map(|n| format!("at most {n} at a time"));
    let rate = limits.stops_per_second.map(|n| match n {
        0 => "any number a second".to_owned(),
        n => format!("at most {n} a second"),
    });
    let deadline = duration(limits.deadline.as_ref()).map(|time| format!("deadline after {}", human_duration(time)));
    let parts: Vec<_> = [concurrency, rate, deadline].into_iter().flatten().collect();
    parts.join(", ")
}

/// A cancellation as JSON.
#[must_use]
pub fn cancellation_json(cancellation: &Cancellation) -> Value {
    let progress = cancellation.progress.as_ref().map(|progress| {
        json!({
            "passes": progress.passes,
            "stopped": progress.stopped,
            "asked": progress.asked,
            "already_closed": progress.already_closed,
            "failed": progress.failed,
            "open": progress.open,
            "rate_per_second": progress.rate_per_second,
            "eta": seconds(progress.eta.as_ref()),
            "concurrency_limit": progress.concurrency_limit,
            "base_latency": seconds(progress.base_latency.as_ref()),
            "latency": seconds(progress.latency.as_ref()),
        })
    });
    json!({
        "cancellation_id": cancellation.cancellation_id,
        "phase": phase_name(cancellation.phase()),
        "verdict": verdict_name(cancellation.verdict()),
        "start_time": time(cancellation.start_time.as_ref()),
        "end_time": time(cancellation.end_time.as_ref()),
        "spec": cancellation.spec.as_ref().map(spec_json),
        "progress": progress,
        "limits": cancellation.limits.as_ref().map(limits_json),
        "parts": cancellation.parts.iter().map(parts::of_cancellation).collect::<Vec<_>>(),
    })
}

/// A cancellation in one line.
#[must_use]
pub fn cancellation_line(cancellation: &Cancellation) -> String {
    let target = cancellation.spec.as_ref().map(wanted).unwrap_or_default();
    let started = time(cancellation.start_time.as_ref()).unwrap_or_default();
    let verdict = verdict_name(cancellation.verdict());
    let state = if cancellation.verdict() == Verdict::Unspecified {
        phase_name(cancellation.phase())
    } else {
        verdict
    };
    format!("{:24} {state:10} {started:24} {target}", cancellation.cancellation_id)
}

fn execution_json(execution: &ExecutionRef) -> Value {
    json!({
        "workflow_id": execution.workflow_id,
        "run_id": execution.run_id,
        "workflow_type": execution.workflow_type,
        "start_time": time(execution.start_time.as_ref()),
        "root_workflow_id": execution.root_workflow_id,
    })
}

fn execution_line(execution: &ExecutionRef) -> String {
    format!(
        "{} ({}, run {})",
        execution.workflow_id, execution.workflow_type, execution.run_id
    )
}

/// A failed stop as JSON.
#[must_use]
pub fn stop_failure_json(failure: &StopFailure) -> Value {
    json!({
        "execution": failure.execution.as_ref().map(execution_json),
        "error": failure.error,
        "pass": failure.pass,
        "attempt": failure.attempt,
    })
}

/// A failed stop in one line.
#[must_use]
pub fn stop_failure_line(failure: &StopFailure) -> String {
    let execution = failure.execution.as_ref().map(execution_line).unwrap_or_default();
    format!("pass {:<3} {execution}: {}", failure.pass, failure.error)
}

fn outcomes_json(outcomes: &OutcomeCounts) -> Value {
    json!({
        "stopped": outcomes.stopped,
        "asked": outcomes.asked,
        "already_closed": outcomes.already_closed,
        "not_found": outcomes.not_found,
        "failed": outcomes.failed,
        "out_of_scope": outcomes.out_of_scope,
        "skipped": outcomes.skipped,
    })
}

fn adjustment_json(change: &Adjustment) -> Value {
    json!({ "time": time(change.time.as_ref()), "limits": change.limits.as_ref().map(limits_json) })
}

/// A receipt as JSON, whole.
#[must_use]
pub fn receipt_json(receipt: &Receipt) -> Value {
    let looks = receipt
        .looks
        .iter()
        .map(|look| json!({ "time": time(look.time.as_ref()), "empty": look.empty }));
    let residuals = receipt.residuals.iter().map(
        |residual| json!({ "execution": residual.execution.as_ref().map(execution_json), "state": residual.state }),
    );
    let journal = receipt.journal.iter();
    let journal = journal.map(
        |chunk| json!({ "key": chunk.key, "sha256": chunk.sha256, "outcomes": chunk.outcomes, "failed": chunk.failed }),
    );
    json!({
        "cancellation_id": receipt.cancellation_id,
        "verdict": verdict_name(receipt.verdict()),
        "explanation": receipt.explanation,
        "spec": receipt.spec.as_ref().map(spec_json),
        "query": receipt.query,
        "requested_by": receipt.requested_by,
        "start_time": time(receipt.start_time.as_ref()),
        "end_time": time(receipt.end_time.as_ref()),
        "fence_time": time(receipt.fence_time.as_ref()),
        "quiesce": receipt.quiesce,
        "passes": receipt.passes,
        "stopped": receipt.stopped,
        "asked": receipt.asked,
        "ended_when_asked": receipt.ended_when_asked,
        "already_closed": receipt.already_closed,
        "closed_by_others": receipt.closed_by_others,
        "batch_claimed": receipt.batch_claimed,
        "failed": receipt.failed,
        "failures": receipt.failures.iter().map(stop_failure_json).collect::<Vec<_>>(),
        "looks": looks.collect::<Vec<_>>(),
        "lag": seconds(receipt.lag.as_ref()),
        "residuals": residuals.collect::<Vec<_>>(),
        "blockers": receipt.blockers,
        "warnings": receipt.warnings,
        "trace_id": receipt.trace_id,
        "journal": journal.collect::<Vec<_>>(),
        "outcomes": receipt.outcomes.as_ref().map(outcomes_json),
        "journal_lacks": receipt.journal_lacks,
        "adjustments": receipt.adjustments.iter().map(adjustment_json).collect::<Vec<_>>(),
        "quiesced_until": time(receipt.quiesced_until.as_ref()),
        "time_to_first_zero": seconds(receipt.time_to_first_zero.as_ref()),
        "schedules": receipt.schedules,
        "descendants": receipt.descendants,
        "suspects": receipt.suspects.iter().map(execution_json).collect::<Vec<_>>(),
        "suspect_count": receipt.suspect_count,
        "engine_reason": receipt.engine_reason,
        "parts": receipt.parts.iter().map(parts::of_receipt).collect::<Vec<_>>(),
    })
}

/// A receipt for people.
#[must_use]
pub fn receipt_lines(receipt: &Receipt) -> Vec<String> {
    let spec = receipt.spec.as_ref();
    let mut lines = vec![
        format!("receipt     {}", receipt.cancellation_id),
        format!(
            "verdict     {}: {}",
            verdict_name(receipt.verdict()),
            receipt.explanation
        ),
        format!("target      {}", spec.map(wanted).unwrap_or_default()),
        format!("reason      {}", spec.map_or("", |spec| spec.reason.as_str())),
        format!("asked by    {}", receipt.requested_by),
    ];
    let mut known = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push(format!("{name:11} {value}"));
        }
    };
    known("started", time(receipt.start_time.as_ref()));
    known("fence", time(receipt.fence_time.as_ref()));
    known("ended", time(receipt.end_time.as_ref()));
    known(
        "first zero",
        duration(receipt.time_to_first_zero.as_ref()).map(|time| format!("after {}", human_duration(time))),
    );
    let until = time(receipt.quiesced_until.as_ref())
        .map(|until| format!(", until {until} or SourceService.Resume"))
        .unwrap_or_default();
    known("sources", Some(format!("{}{until}", receipt.quiesce)));
    known("schedules", Some(receipt.schedules.join(", ")));
    let descendants = match receipt.descendants {
        0 => String::new(),
        n => format!(", {n} of them by descent"),
    };
    known(
        "stopped",
        Some(format!("{} acknowledged by the server{descendants}", receipt.stopped)),
    );
    known(
        "asked",
        (receipt.asked > 0).then(|| {
            let (asked, ended) = (receipt.asked, receipt.ended_when_asked);
            format!("{asked} to end, of which {ended} did within the grace (estimate)")
        }),
    );
    known(
        "others",
        Some(format!(
            "{} closed meanwhile by the server's cascade or by themselves (estimate)",
            receipt.closed_by_others
        )),
    );
    known(
        "batch",
        (receipt.batch_claimed > 0).then(|| format!("the server's batch claims {}", receipt.batch_claimed)),
    );
    known("failed", (receipt.failed > 0).then(|| receipt.failed.to_string()));
    known("passes", Some(receipt.passes.to_string()));
    let times = receipt.looks.iter().map(|look| {
        let at = time(look.time.as_ref()).unwrap_or_default();
        format!("{at} {}", if look.empty { "empty" } else { "not empty" })
    });
    known("looks", Some(times.collect::<Vec<_>>().join(", ")));
    known(
        "index lag",
        duration(receipt.lag.as_ref()).map(|lag| format!("{} ms at most", lag.as_millis())),
    );
    for part in &receipt.parts {
        known("part", Some(parts::line(part)));
    }
    for residual in &receipt.residuals {
        let execution = residual.execution.as_ref().map(execution_line).unwrap_or_default();
        known("residual", Some(format!("{execution}: {}", residual.state)));
    }
    for failure in receipt.failures.iter().take(10) {
        let execution = failure.execution.as_ref().map(execution_line).unwrap_or_default();
        known("not stopped", Some(format!("{execution}: {}", failure.error)));
    }
    for change in &receipt.adjustments {
        let at = time(change.time.as_ref()).unwrap_or_default();
        let limits = change.limits.as_ref().map(limits_line).unwrap_or_default();
        known("adjusted", Some(format!("{at}: {limits}")));
    }
    for suspect in &receipt.suspects {
        known(
            "suspect",
            Some(format!("{}: no WorkloadId, not stopped", execution_line(suspect))),
        );
    }
    known(
        "suspects",
        (receipt.suspect_count > 0).then(|| {
            format!(
                "{} open, of the target's types and without a WorkloadId",
                receipt.suspect_count
            )
        }),
    );
    for blocker in &receipt.blockers {
        known("blocker", Some(blocker.clone()));
    }
    for warning in &receipt.warnings {
        known("warning", Some(warning.clone()));
    }
    let outcomes: i64 = receipt.journal.iter().map(|chunk| chunk.outcomes).sum();
    let chunks = receipt.journal.len();
    // The parts have a journal each.
    known(
        "journal",
        receipt
            .parts
            .is_empty()
            .then(|| format!("{chunks} chunks with {outcomes} outcomes in the payload store")),
    );
    known("trace", Some(receipt.trace_id.clone()));
    lines
}

/// A snowball as JSON.
#[must_use]
pub fn snowball_json(snowball: &Snowball) -> Value {
    let counts = snowball
        .counts
        .iter()
        .map(|count| (count.status.clone(), json!(count.count)));
    json!({
        "snowball_id": snowball.snowball_id,
        "run_id": snowball.run_id,
        "workload_id": snowball.workload_id,
        "root_status": snowball.root_status,
        "start_time": time(snowball.start_time.as_ref()),
        "counts": counts.collect::<serde_json::Map<_, _>>(),
        "open": snowball.open,
        "total": snowball.total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quell_api::canceler::v1::Look;

    fn receipt() -> Receipt {
        Receipt {
            cancellation_id: "c1".into(),
            verdict: Verdict::Clean.into(),
            explanation: "none visible in 3 looks".into(),
            stopped: 5,
            start_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 5_000_000,
            }),
            time_to_first_zero: Some(prost_types::Duration {
                seconds: 2,
                nanos: 500_000_000,
            }),
            looks: vec![Look {
                time: None,
                empty: true,
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_receipt_in_json_keeps_the_names_of_the_protos() {
        let json = receipt_json(&receipt());
        assert_eq!(json["verdict"], "CLEAN");
        assert_eq!(json["time_to_first_zero"], 2.5);
        assert_eq!(json["start_time"], "2023-11-14T22:13:20.005Z");
        assert_eq!(json["end_time"], Value::Null);
        assert_eq!(json["looks"][0]["empty"], true);
    }

    #[test]
    fn a_receipt_for_people_leaves_out_what_is_not_there() {
        let text = receipt_lines(&receipt()).join("\n");
        assert!(text.contains("verdict     CLEAN: none visible in 3 looks"), "{text}");
        assert!(text.contains("first zero  after 2.5 s"), "{text}");
        assert!(
            !text.contains("fence") && !text.contains("blocker") && !text.contains("trace"),
            "{text}"
        );
    }

    #[test]
    fn names_lose_their_prefix() {
        assert_eq!(phase_name(Phase::Sweeping), "SWEEPING");
        assert_eq!(engine_name(Engine::Both), "BOTH");
    }
}
