//! Batch operations for people and as JSON: field names of the protos, enums without prefix.

use crate::view::{duration, time};
use quell_api::batch::v1::{BatchOperation, BatchOperationState, ProgressSource, Survivor};
use serde_json::{Value, json};

/// "COMPLETED" for `BATCH_OPERATION_STATE_COMPLETED`.
pub(super) fn state_name(operation: &BatchOperation) -> &'static str {
    operation
        .state()
        .as_str_name()
        .trim_start_matches("BATCH_OPERATION_STATE_")
}

fn kind_name(operation: &BatchOperation) -> &'static str {
    operation
        .kind()
        .as_str_name()
        .trim_start_matches("BATCH_OPERATION_KIND_")
}

/// Whom a queued one waits for.
pub(super) fn waiting(operation: &BatchOperation) -> String {
    let place = operation.queue_position;
    match &operation.holder {
        Some(holder) if holder.ours => format!("number {place} in line; {} has the slot", holder.job_id),
        Some(holder) => format!(
            "number {place} in line; {} of somebody else's has the slot",
            holder.job_id
        ),
        None => format!("number {place} in line"),
    }
}

/// Stands before figures that come from a sample.
pub(super) fn estimated(operation: &BatchOperation) -> &'static str {
    match operation.progress_source() {
        ProgressSource::Sampled => "about ",
        _ => "",
    }
}

/// One line of a list.
pub(super) fn line(operation: &BatchOperation) -> String {
    let when = time(operation.start_time.as_ref()).unwrap_or_else(|| "-".to_owned());
    let mut line = format!("{:10} {when:24} {}", state_name(operation), operation.job_id);
    if operation.state() == BatchOperationState::Queued {
        line.push_str(&format!("  ({})", waiting(operation)));
    }
    line
}

/// All of one.
pub(super) fn lines(operation: &BatchOperation) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {}: {}{} of {} done, {} failed",
        operation.job_id,
        state_name(operation),
        estimated(operation),
        operation.completed,
        operation.total,
        operation.failed
    )];
    if operation.state() == BatchOperationState::Queued {
        lines.push(waiting(operation));
    }
    if operation.survivors_complete || operation.survivors > 0 {
        let more = if operation.survivors_complete {
            ""
        } else {
            " at least; not all could be looked at"
        };
        lines.push(format!("{} survived it{more}", operation.survivors));
    }
    if !operation.problem.is_empty() {
        lines.push(operation.problem.clone());
    }
    lines
}

/// All of one.
pub(super) fn json(operation: &BatchOperation) -> Value {
    let source = operation.progress_source().as_str_name();
    json!({
        "job_id": operation.job_id,
        "state": state_name(operation),
        "kind": kind_name(operation),
        "reason": operation.reason,
        "query": operation.query,
        "identity": operation.identity,
        "queue_time": time(operation.queue_time.as_ref()),
        "queue_position": operation.queue_position,
        "holder": operation.holder.as_ref().map(|holder| json!({ "job_id": holder.job_id, "ours": holder.ours })),
        "start_time": time(operation.start_time.as_ref()),
        "close_time": time(operation.close_time.as_ref()),
        "total": operation.total,
        "completed": operation.completed,
        "failed": operation.failed,
        "progress_source": source.trim_start_matches("PROGRESS_SOURCE_"),
        "rate_per_second": operation.rate_per_second,
        "eta": duration(operation.eta.as_ref()).map(|eta| eta.as_secs_f64()),
        "survivors": operation.survivors,
        "survivors_complete": operation.survivors_complete,
        "problem": operation.problem,
    })
}

fn survivor_state(survivor: &Survivor) -> &'static str {
    survivor.state().as_str_name().trim_start_matches("SURVIVOR_STATE_")
}

/// One survivor.
pub(super) fn survivor_line(survivor: &Survivor) -> String {
    let execution = survivor.execution.clone().unwrap_or_default();
    format!(
        "{:16} {} {}",
        survivor_state(survivor),
        execution.workflow_id,
        execution.run_id
    )
}

/// One survivor.
pub(super) fn survivor_json(survivor: &Survivor) -> Value {
    let execution = survivor.execution.clone().unwrap_or_default();
    json!({
        "state": survivor_state(survivor),
        "workflow_id": execution.workflow_id,
        "run_id": execution.run_id,
        "workflow_type": execution.workflow_type,
        "start_time": time(execution.start_time.as_ref()),
        "root_workflow_id": execution.root_workflow_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quell_api::batch::v1::SlotHolder;

    #[test]
    fn a_queued_one_says_whom_it_waits_for() {
        let operation = BatchOperation {
            job_id: "a".to_owned(),
            state: BatchOperationState::Queued.into(),
            queue_position: 2,
            holder: Some(SlotHolder {
                job_id: "theirs".to_owned(),
                ours: false,
            }),
            ..BatchOperation::default()
        };
        assert_eq!(
            line(&operation).split_once("  (").map(|(_, rest)| rest),
            Some("number 2 in line; theirs of somebody else's has the slot)")
        );
        assert_eq!(json(&operation)["holder"]["ours"], false);
        assert_eq!(json(&operation)["state"], "QUEUED");
    }
}
