//! A simulator: the machines as they are, against a model of Temporal that misbehaves in every way known to us.
//!
//! Everything follows from a [`Scenario`], its seed included, so a run that fails can be run again. What the model
//! does: visibility with a lag per execution, looks and listings that come back empty or with rows missing or twice,
//! rows that stay in the index for ever; a cascade to children that drops some; chains that continue as new, faster
//! than a listing takes; workflow ids that strangers reuse; throttling, transient errors, lost replies; sources that
//! stop, ignore us, or never end; and windows of ours that crash at any step, with some of their calls done and some
//! not.

mod check;
mod driver;
mod server;

pub use check::violations;
pub use driver::run;

use crate::outcome::Outcome;
use crate::spec::Engine;

/// A way in which the machines, or what drives them, could be wrong. The properties must notice each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// One look less than the server can be blind.
    LookTooFew,
    /// The lag is taken for zero.
    LagIgnored,
    /// Stops are aimed at the listed run, not at its chain.
    PinByRunId,
    /// Count is believed instead of a list: a row that is there but stale or alive is not looked at.
    DescribeSaysClosed,
    /// A new attempt of a window forgets what the last had reserved.
    ReservationForgotten,
    /// Rows are not checked again.
    RowsUnchecked,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::LookTooFew,
        Self::LagIgnored,
        Self::PinByRunId,
        Self::DescribeSaysClosed,
        Self::ReservationForgotten,
        Self::RowsUnchecked,
    ];
}

/// What goes on starting executions of the target from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    None,
    /// A client that stops when it is told to.
    Quiescible,
    /// A client that refuses to stop, and ends at this time (milliseconds).
    Until(u64),
    /// A client that refuses to stop.
    Forever,
}

/// One simulated cancellation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Decides every chance.
    pub seed: u64,
    /// Who strikes.
    pub engine: Engine,
    /// Parents at the start.
    pub roots: u32,
    /// Children that each of them starts in its life; every fifth child starts three of its own.
    pub children: u32,
    /// Executions without parent or children at the start.
    pub flat: u32,
    /// Executions at the start, besides, that continue as new every so many milliseconds; 0 for none.
    pub continue_every_ms: u64,
    /// Executions at the start that must not be stopped.
    pub strangers: u32,
    /// Executions at the start whose stop is refused for good.
    pub forbidden: u32,
    /// What goes on starting executions.
    pub source: Source,
    /// Longest visibility lag, in milliseconds.
    pub lag_ms: u64,
    /// Rows in a hundred that stay in the index for ever.
    pub stale_percent: u64,
    /// Listings in a hundred that come back empty, or lack rows. Looks: never more than two in a row.
    pub blind_percent: u64,
    /// Calls in a hundred that are throttled, fail, or are done while their reply is lost; each. The batch's start and stop
    /// are among them.
    pub error_percent: u64,
    /// Steps of a window in a thousand at which it crashes.
    pub crash_permille: u64,
    /// Children in a hundred that the server's cascade forgets.
    pub drop_percent: u64,
    /// The cap.
    pub max_affected: u64,
    /// Windows at a time.
    pub windows: u32,
    /// When somebody asks to stop, in milliseconds.
    pub stop_at_ms: Option<u64>,
    /// The deadline, in milliseconds.
    pub deadline_ms: u64,
    /// What is wrong with us.
    pub mutation: Option<Mutation>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 0,
            engine: Engine::Sweep,
            roots: 2,
            children: 10,
            flat: 10,
            continue_every_ms: 0,
            strangers: 3,
            forbidden: 0,
            source: Source::None,
            lag_ms: 100,
            stale_percent: 0,
            blind_percent: 0,
            error_percent: 0,
            crash_permille: 0,
            drop_percent: 0,
            max_affected: 10_000,
            windows: 1,
            stop_at_ms: None,
            deadline_ms: 600_000,
            mutation: None,
        }
    }
}

/// What came of it, by our word and in truth.
#[derive(Debug, Clone)]
pub struct Report {
    /// By our word.
    pub outcome: Outcome,
    /// When it ended, in milliseconds.
    pub ended_ms: u64,
    /// Executions in scope that are open in truth: workflow id and start of the chain.
    pub open: Vec<(String, u64)>,
    /// Chains that calls of ours stopped, in truth.
    pub stopped_by_us: u64,
    /// Chains that the server's batch stopped, in truth.
    pub stopped_by_batch: u64,
    /// Of ours, chains outside the scope.
    pub strangers_stopped: u64,
    /// Outcomes that windows gave to the journal.
    pub journaled: u64,
    /// Window attempts that crashed.
    pub crashes: u64,
    /// Replies that were lost after the call was done.
    pub lost_replies: u64,
    /// Calls made.
    pub calls: u64,
}

/// Splitmix64: G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`; 0 when that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).checked_rem(bound).unwrap_or_default()
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests;
