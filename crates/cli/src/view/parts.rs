//! Parts of a cancellation in several namespaces.

use super::{phase_name, verdict_name};
use quell_api::canceler::v1::{CancellationPart, ReceiptPart};
use serde_json::{Value, json};

pub(super) fn of_cancellation(part: &CancellationPart) -> Value {
    json!({
        "cancellation_id": part.cancellation_id,
        "namespace": part.namespace,
        "phase": phase_name(part.phase()),
        "verdict": verdict_name(part.verdict()),
    })
}

pub(super) fn of_receipt(part: &ReceiptPart) -> Value {
    json!({
        "cancellation_id": part.cancellation_id,
        "namespace": part.namespace,
        "verdict": verdict_name(part.verdict()),
        "explanation": part.explanation,
        "stopped": part.stopped,
        "closed_by_others": part.closed_by_others,
        "failed": part.failed,
    })
}

/// What a receipt says of a part, in one line.
pub(super) fn line(part: &ReceiptPart) -> String {
    format!(
        "{} {} in {}: {} stopped, {} closed otherwise, {} failed; quell receipt {}",
        part.cancellation_id,
        verdict_name(part.verdict()),
        part.namespace,
        part.stopped,
        part.closed_by_others,
        part.failed,
        part.cancellation_id
    )
}
