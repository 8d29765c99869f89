//! What callers are refused, and how.

use super::{job::Job, record::Record, store::RESOURCE};
use quell_mesh::error::{Error, Reason};
use std::time::Duration;

/// Executions a second that the server's batch works at, unless an operator changed it (`worker.batcherRPS`).
const SERVER_RATE: i64 = 50;
/// Bounds of the wait that a caller is told when the slot is taken.
const RETRY_AFTER: std::ops::RangeInclusive<i64> = 2..=60;

/// Another request under an id that was used.
pub(crate) fn reused(id: &str) -> Error {
    let text = format!("{RESOURCE} {id:?} was started by another request");
    Error::precondition(Reason::RequestIdReused, "request_id", text)
}

/// A call that comes too early, or too late.
pub(crate) fn wrong_state(record: &Record, text: &str) -> Error {
    Error::precondition(Reason::WrongState, format!("{RESOURCE}/{}", record.job_id), text)
}

/// The refusal while another job has the slot, with a guess of how long it will.
pub(crate) fn slot_taken(holder: &Job) -> Error {
    let left = (holder.total - holder.done - holder.failed).max(0) / SERVER_RATE;
    busy(
        format!("batch operation {:?} holds the namespace's slot", holder.id),
        left.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end()),
    )
}

fn busy(message: String, seconds: i64) -> Error {
    Error::ResourceExhausted {
        reason: Reason::BatchSlotTaken,
        message,
        retry_after: Some(Duration::from_secs(seconds.unsigned_abs())),
    }
}

/// The refusal while one of ours is about to take the slot.
pub(crate) fn about_to_be_taken(job_id: &str) -> Error {
    let text = format!("batch operation {job_id:?} is about to take the namespace's slot");
    busy(text, *RETRY_AFTER.start())
}

/// The refusal while so many wait that no more may.
pub(crate) fn full(waiting: usize) -> Error {
    busy(format!("{waiting} operations wait for the slot"), *RETRY_AFTER.end())
}
