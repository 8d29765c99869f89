//! The audit: who tried to change what, from where, why, and what became of it.
//!
//! Everything that an operator may do and every refusal is an [`Event`]. It goes to two places: to the log at once, as one
//! structured line of the target `quell_audit`, whatever the log's filter says; and to the payload store, which all services share and which outlives them, as
//! lines of JSON in objects under `audit/<day>/`. Events are gathered for a moment and written together, so that an attack costs
//! a few objects a second, not one for every attempt; what a process that is killed had not written yet is in its log only.
//! The answer to a call does not wait for the store: a store that is gone must not keep anybody from stopping a runaway.
//!
//! Refusals are cheap to cause: `refusals` says which of them are kept.

mod event;
mod read;
mod refusals;
mod write;

pub use event::Event;
pub use read::{Page, Wanted, list};
pub use refusals::{OF_STRANGERS, PER_ACCOUNT};
pub use write::AuditLog;

/// Target of its lines in the log.
pub(crate) const TARGET: &str = "quell_audit";
/// Folder of the payload store.
const FOLDER: &str = "audit";
