//! Temporal's own server-side batch operations, used safely.
//!
//! The server's interface has edges that hurt (read in its source and measured, server 1.29.1):
//! - One slot a namespace, guarded by a *count in visibility*: a second Start is refused with the same words whether the
//!   slot is held by a stranger or by one's own job, and two Starts within the index lag may both get in.
//! - A query is not checked at the start: a malformed one makes a job that fails and retries for ever, and holds the slot.
//! - A job id is a workflow id. Describe answers for *any* workflow, and Stop terminates *any* workflow of that id.
//! - A job that failed or was stopped no longer tells its figures.
//! - Its list is made of Running executions only: a Paused one (servers from 1.30) is never part of it.
//! - It counts whole pages of 1,000: how far a smaller job is it does not tell. What failed it only logs.
//!
//! So here: operations wait for the slot in a queue of ours, one at a time, whoever asks for them; Describe of the own job comes before
//! every Start and every wait; a query is counted, and by that proven, before a job exists; what has no batch operation's reason is no
//! batch operation and is neither shown nor stopped; progress is measured; what a job did not get done is looked for and named; and the
//! figures that were seen last are kept.
//!
//! | module | concern |
//! | --- | --- |
//! | [`server`], [`executions`] | speak to Temporal's main namespace, and to nobody else |
//! | [`store`], [`record`] | operations and their queue as workflows of the canceler namespace |
//! | [`workflows`], [`messages`] | those workflows, and what passes between them and their activities |
//! | [`own_activities`] | the activities of those workflows |
//! | [`activities`] | the activities for everybody's workflows |
//! | [`api`], [`view`] | the gRPC face |
//! | [`loops`], [`turns`] | what activities do, over traits, so that it is tested without a worker |
//! | [`progress`], [`survivors`], [`support`] | measured progress; what was not done; what the server can do |

mod action;
pub(crate) mod activities;
pub(crate) mod api;
mod attempt;
mod executions;
mod guards;
mod identity;
mod job;
mod loops;
mod messages;
pub(crate) mod own_activities;
mod owner;
mod page_token;
mod progress;
mod record;
mod refusals;
pub(crate) mod server;
mod spec;
pub(crate) mod store;
mod support;
mod survivors;
#[cfg(test)]
mod tests;
mod turns;
mod view;
pub(crate) mod workflows;
