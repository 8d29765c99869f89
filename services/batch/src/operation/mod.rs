//! Temporal's own server-side batch operations, used safely.
//!
//! The server's interface has edges that hurt (read in its source and measured, server 1.29.1):
//! - One slot a namespace, guarded by a *count in visibility*: a second Start is refused with the same words whether the
//!   slot is held by a stranger or by one's own job, and two Starts within the index lag may both get in.
//! - A query is not checked at the start: a malformed one makes a job that fails and retries for ever, and holds the slot.
//! - A job id is a workflow id. Describe answers for *any* workflow, and Stop terminates *any* workflow of that id.
//! - A job that failed or was stopped no longer tells its figures.
//! - Its list is made of Running executions only: a Paused one (servers from 1.30) is never part of it.
//!
//! So here: Describe of the own job comes before every Start and every wait; a query is counted, and by that proven, before
//! a job exists; what has no batch operation's reason is no batch operation and is neither shown nor stopped; and the
//! figures that were seen last are kept.
//!
//! [`server`] speaks to Temporal and to nobody else; [`api`] (gRPC) and [`activities`] (Temporal) stand on it.

pub(crate) mod activities;
pub(crate) mod api;
mod attempt;
mod identity;
mod job;
mod loops;
mod owner;
mod page_token;
pub(crate) mod server;
#[cfg(test)]
mod tests;
