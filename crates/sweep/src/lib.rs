//! The cancellation of a runaway workload, as pure state machines.
//!
//! Nothing here does I/O, reads a clock, draws a random number or awaits: time, replies and failures come in as data,
//! commands go out as data. So the same code runs inside a Temporal workflow (which must be deterministic), inside an
//! activity, and in a simulator that drives it through millions of ill-behaved servers. `README.md` beside this crate
//! has the properties first, then the abstract problem, then the algorithm.
//!
//! | machine | driven in | decides |
//! | --- | --- | --- |
//! | [`Campaign`] | the workflow, by activity results and signals | phases, passes, fence, cap, verdict |
//! | [`Window`] | the activity `bulk_cancel_workflows` | pages, pins, retries, concurrency, one outcome for each target |
//! | [`Confirm`] | the activity `confirm_all_canceled` | looks, their distance, what is alive and what is stale |
//! | [`Limiter`] | [`Window`] | how many calls are in flight |
//!
//! # Driving a campaign
//! ```text
//! let mut campaign = Campaign::new(spec)?;                   // or deserialised: continue-as-new carries it whole
//! loop {
//!     for (id, command) in campaign.next() { running.push((id, start_activity(command))); }
//!     if campaign.outcome().is_some() { break }
//!     for (id, call) in &running { if campaign.should_cancel(*id) { call.cancel() } }   // windows answer with what they did
//!     let (id, result) = first_of(&mut running).await;       // polled in order; signals and timers are events as well
//!     campaign.apply(match result { Ok(reply) => Event::Completed { id, reply }, Err(e) => Event::Failed { id, reason } });
//! }
//! ```
//! Replies may come in any order, so running each group with a `join_all` works too; only the server's batch is then
//! waited for before the next pass begins.

mod campaign;
mod confirm;
mod limiter;
mod message;
mod outcome;
mod row;
mod seen;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod spec;
mod tries;
mod window;

pub use campaign::{Campaign, CampaignError};
pub use confirm::{Confirm, ConfirmStep};
pub use limiter::{Limiter, LimiterSnapshot, Sample};
pub use message::{
    AliveExecution, BatchReport, BatchState, Command, CommandId, Confirmed, Event, Look, PassKind, Planned,
    QuiesceStatus, Quiesced, Reply, StaleExecution, StartRange, Starter,
};
pub use outcome::{Outcome, PassSummary, Phase, Progress, Totals, Verdict, Why};
pub use row::{CallError, CallErrorKind, DescribeReply, PageToken, Pin, Row, Scope, StopReply, one_or_many};
pub use seen::Seen;
pub use spec::{
    AskSpec, CampaignSpec, ConfirmSpec, Engine, LimiterSpec, Mode, RetrySpec, WindowLimits, WindowSettings, WindowSpec,
};
pub use window::{
    Asked, AskedRun, Checkpoint, Counts, Failure, Slot, Step, TargetOutcome, TargetResult, Window, WindowResult,
};

/// The newest version of the machines' behaviour. A campaign in flight keeps the version it was started with
/// ([`CampaignSpec::version`], recorded in the workflow's input), because its history is replayed by newer code. 1: executions are
/// terminated. 2: they may be asked first ([`Mode`]); code of version 1 refuses such a campaign, where it would terminate.
pub const VERSION: u32 = 2;
