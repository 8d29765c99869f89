//! A simulator: the machines as they are, against a model of Temporal that misbehaves in every way known to us.
//!
//! Everything follows from a [`Scenario`], its seed included, so a run that fails can be run again. What the model does:
//!
//! | of | it models |
//! | --- | --- |
//! | executions | parents that spawn; a cascade to children that drops some; chains that continue as new, faster than a listing takes; cron; retries; paused ones; ones that upsert their tag late; workflow ids that strangers reuse; stops that are refused for good |
//! | the index | shards, each with a lag, one of which may stand still; listings and looks that come back empty or with rows missing, twice or in any order; rows that stay for ever; small pages |
//! | calls | throttling, by chance and by a rate limit; transient errors; lost replies; latency that grows with what is in flight |
//! | sources | clients and schedules that stop, stop late, refuse, slow down, or never end |
//! | us | activities that crash at any step, with some of their calls done and some not; a workflow that is carried over; requests to stop; caps; deadlines |
//!
//! [`run`] runs one, [`judge`] holds it against the truth, [`scale`] models millions.

mod chance;
mod check;
mod driver;
mod many;
mod mutation;
mod report;
pub mod scale;
mod scenario;
mod server;
mod tally;

pub use check::{Invariant, Violation, judge};
pub use driver::run;
pub use many::{FailedRun, Many, Progress, many, run_seed};
pub use mutation::Mutation;
pub use report::{OpenExecution, Report, Stuck};
pub use scenario::{Kept, Scenario, Source, corpus};
pub use tally::Tally;

#[cfg(test)]
mod tests;
