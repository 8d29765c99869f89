//! What a campaign and its parts are told at the start. Every field has a default, so that a spec written by older code
//! is still read by newer code.

use serde::{Deserialize, Serialize};

use crate::row::Scope;

/// Who stops the executions that are open at the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Our own sweep: roots first, then everything, until a fixpoint.
    #[default]
    Sweep,
    /// The server's batch operation for what is older than the fence, our sweep beside it for what is newer, then our
    /// sweep over everything.
    Both,
}

/// What becomes of what is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It is terminated.
    #[default]
    Terminate,
    /// It is asked to end by itself, within the grace. What does not is left running, and named.
    Cancel,
    /// It is asked to end by itself, within the grace. What does not is terminated.
    CancelThenTerminate,
}

/// What a campaign is told at the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CampaignSpec {
    /// Version of the machines' behaviour; 1 by default; 2, at least, with a [`Mode`] that asks. It must come from the workflow's recorded
    /// input.
    pub version: u32,
    /// Who stops what is open at the start. Default: sweep.
    pub engine: Engine,
    /// What becomes of what is open. Default: it is terminated. Whatever else needs the engine [`Engine::Sweep`].
    pub mode: Mode,
    /// How long what was asked to end may take, in milliseconds, from when all that was open had been asked; 60,000 by default, at least
    /// 1. Not used by [`Mode::Terminate`].
    pub grace_ms: u64,
    /// What may be stopped, checked row by row. Default: no check beyond the query and our own prefixes.
    pub scope: Scope,
    /// The most chains that this campaign may stop by calls of its own; 10,000 by default. More than that open at the
    /// start aborts before anything is stopped. What the server's cascade and batch do is bounded by that first count
    /// only.
    pub max_affected: u64,
    /// Whether the sources are told to stop; true by default. The fence is taken in any case.
    pub quiesce: bool,
    /// Whether a source that refuses or cannot be reached blocks the campaign before anything is stopped; false by
    /// default: then it is a warning.
    pub require_quiesce: bool,
    /// Empty looks in a row, each more than the index lag apart, that make a zero; 3 by default, at least 1.
    pub looks: u32,
    /// How long to confirm before sweeping anew, in milliseconds; 240,000 by default.
    pub confirm_timeout_ms: u64,
    /// The longest pause between two looks, in milliseconds (the index lag may force a longer one); 5,000 by default.
    pub confirm_poll_ms: u64,
    /// Windows that run at the same time; 1 by default, since listing is never the limit.
    pub window_concurrency: u32,
    /// Rounds (pass and confirmation) in a row that stop nothing while something is alive, before the campaign ends
    /// with a residue; 3 by default, at least 1. Four times as many when no stop failed, so that listings lack what is
    /// alive.
    pub fruitless_rounds: u32,
    /// Job id of the server's batch operation (engine BOTH), known before it is started: so that one whose start was never
    /// answered can be stopped.
    pub batch_job_id: String,
    /// Handed to every window.
    pub window: WindowSettings,
}

impl Default for CampaignSpec {
    fn default() -> Self {
        Self {
            version: 1,
            engine: Engine::Sweep,
            mode: Mode::Terminate,
            grace_ms: 60_000,
            scope: Scope::default(),
            max_affected: 10_000,
            quiesce: true,
            require_quiesce: false,
            looks: 3,
            confirm_timeout_ms: 240_000,
            confirm_poll_ms: 5_000,
            window_concurrency: 1,
            fruitless_rounds: 3,
            batch_job_id: String::new(),
            window: WindowSettings::default(),
        }
    }
}

/// Limits of a window, the same for all windows of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowSettings {
    /// Rows of a page, as asked for; 1,000 by default (the server's maximum).
    pub page_size: u32,
    /// Least time between two List calls, in milliseconds; 100 by default (10 a second, a real server's visibility
    /// budget).
    pub list_interval_ms: u64,
    /// Rows held in memory before stopping must make room; 50,000 by default.
    pub buffer_rows: usize,
    /// Most stops that are reserved durably at a time ([`crate::Step::Reserve`]); 1,000 by default. Close to the cap fewer
    /// are, so that an attempt that is lost does not take what is left of it.
    pub reserve_chunk: u64,
    /// How many of the last stops tell whether somebody else is at it, and how many leaves must be left for it to be worth another
    /// listing; 64 by default.
    pub late_sample: usize,
    /// Concurrency.
    pub limiter: LimiterSpec,
    /// Retries.
    pub retry: RetrySpec,
}

impl Default for WindowSettings {
    fn default() -> Self {
        Self {
            page_size: 1_000,
            list_interval_ms: 100,
            buffer_rows: 50_000,
            reserve_chunk: 1_000,
            late_sample: 64,
            limiter: LimiterSpec::default(),
            retry: RetrySpec::default(),
        }
    }
}

/// Bounds of the adaptive concurrency limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimiterSpec {
    /// Calls in flight to begin with; 8 by default.
    pub initial: u32,
    /// Calls in flight at most; 750 by default (CANCEL_CONCURRENCY).
    pub max: u32,
}

impl Default for LimiterSpec {
    fn default() -> Self {
        Self { initial: 8, max: 750 }
    }
}

/// Limits that may be changed while a window runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowLimits {
    /// Calls in flight at most; 0: as [`LimiterSpec::max`] has it.
    pub concurrency: u32,
    /// Stops that begin a second at most; 0: no such limit.
    pub stops_per_second: u32,
}

/// How a failed call is tried again: after `first_delay_ms`, doubling up to `max_delay_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetrySpec {
    /// Delay before the first retry, in milliseconds; 100 by default.
    pub first_delay_ms: u64,
    /// Longest delay, in milliseconds; 10,000 by default.
    pub max_delay_ms: u64,
    /// Tries of one call in all when it fails transiently; 8 by default.
    pub max_attempts: u32,
    /// Tries of one call in all when it is throttled; 30 by default (minutes, at the longest delay).
    pub max_throttled: u32,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self {
            first_delay_ms: 100,
            max_delay_ms: 10_000,
            max_attempts: 8,
            max_throttled: 30,
        }
    }
}

impl RetrySpec {
    /// The delay before the next try, after `failures` (at least 1) failed ones, in milliseconds.
    #[must_use]
    pub fn delay_ms(&self, failures: u32) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        self.first_delay_ms
            .saturating_mul(1 << doublings)
            .min(self.max_delay_ms)
    }
}

/// What a window is told that asks executions to end, instead of terminating them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AskSpec {
    /// How long they may take, in milliseconds, from when all that was open had been asked.
    pub grace_ms: u64,
    /// When that is over, once it has begun, in milliseconds on the clock that [`crate::Window::next`] is given.
    pub until_ms: Option<u64>,
}

/// What one window is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowSpec {
    /// The most chains that this window may stop, or ask.
    pub cap: u64,
    /// Ask instead of terminating: until the grace is over or nothing is open, whatever starts meanwhile included. Unset: terminate.
    pub ask: Option<AskSpec>,
    /// The fence, in milliseconds by the server's clock: rows that started later are counted as new, by type and
    /// parent.
    pub fence_ms: u64,
    /// What may be stopped.
    pub scope: Scope,
    /// Limits.
    pub settings: WindowSettings,
}

/// What one confirmation is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfirmSpec {
    /// Empty looks in a row that make a zero; 3 by default.
    pub looks: u32,
    /// When to give up, in milliseconds after the first step; 240,000 by default.
    pub timeout_ms: u64,
    /// The longest pause between two looks, in milliseconds, unless the lag is longer; 5,000 by default.
    pub poll_ms: u64,
    /// Whether a look that meets something alive is read to its end, so that more of it is named; false by default: then one is enough,
    /// since there is more to sweep.
    pub names_alive: bool,
    /// What is in scope.
    pub scope: Scope,
    /// Retries of a failed look or Describe.
    pub retry: RetrySpec,
}

impl Default for ConfirmSpec {
    fn default() -> Self {
        Self {
            looks: 3,
            timeout_ms: 240_000,
            poll_ms: 5_000,
            names_alive: false,
            scope: Scope::default(),
            retry: RetrySpec::default(),
        }
    }
}
