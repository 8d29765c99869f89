//! One simulated cancellation, from which everything follows; drawn at random from a seed, or kept in the corpus.

use serde::{Deserialize, Serialize};

use super::{Mutation, chance::Chance};
use crate::spec::{Engine, Mode};

/// Keeps the draws of a scenario apart from those of its run, which has the same seed.
const DRAW: u64 = 0x5CEA_A210_0D1A_0001;

/// What goes on starting executions of the target from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nothing.
    #[default]
    None,
    /// A client that stops when it is told to, [`Scenario::quiesce_takes_ms`] later.
    Quiescible,
    /// A schedule, which starts a few at a time; it is paused when the sources are told to stop.
    Schedule,
    /// A client that refuses to stop, and ends at this time (milliseconds; the simulation's clock begins at 10,000).
    Until(u64),
    /// A client that refuses to stop, and starts more and more slowly.
    Slowing,
    /// A client that refuses to stop.
    Forever,
}

/// One simulated cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Decides every chance.
    pub seed: u64,
    /// Who strikes.
    pub engine: Engine,
    /// What becomes of what is open.
    pub mode: Mode,
    /// How long what was asked to end may take, in milliseconds.
    pub grace_ms: u64,
    /// Executions in a hundred that end when they are asked to.
    pub obliging_percent: u64,

    /// Parents at the start.
    pub roots: u32,
    /// Children that each of them starts in its life; every fifth child starts three of its own.
    pub children: u32,
    /// Executions without parent or children at the start.
    pub flat: u32,
    /// Three executions at the start, besides, continue as new every so many milliseconds; 0 for none.
    pub continue_every_ms: u64,
    /// Two executions at the start run by cron: every so many milliseconds a run completes, and the chain's next one is
    /// there; 0 for none.
    pub cron_every_ms: u64,
    /// Executions at the start that fail now and then; a retry policy starts the chain's next run, three times.
    pub retrying: u32,
    /// Executions at the start that are paused: open, and not Running.
    pub paused: u32,
    /// Executions at the start that must not be stopped.
    pub strangers: u32,
    /// Executions at the start whose stop is refused for good.
    pub forbidden: u32,
    /// Executions in a hundred that are started without the tag, and upsert it themselves.
    pub late_percent: u64,
    /// The latest that they do, in milliseconds.
    pub late_ms: u64,
    /// Whether the target is a filter that only the server can evaluate, instead of a tag that rows show.
    pub filter_target: bool,

    /// What goes on starting executions.
    pub source: Source,
    /// Pause between two starts of it, in milliseconds.
    pub source_every_ms: u64,
    /// How long a source that was told to stop goes on, in milliseconds.
    pub quiesce_takes_ms: u64,
    /// Whether a source that refuses is to block the cancellation.
    pub require_quiesce: bool,

    /// Shards of the index, each with its own lag; at least 1.
    pub shards: u32,
    /// Longest visibility lag of a shard, in milliseconds.
    pub lag_ms: u64,
    /// When a shard of the index stands still (from, for how long; milliseconds, the simulation's clock).
    pub stall: Option<(u64, u64)>,
    /// Rows in a hundred that stay in the index for ever.
    pub stale_percent: u64,
    /// Listings in a hundred that come back empty, or lack rows. Looks: never more than two in a row.
    pub blind_percent: u64,
    /// Pages in a hundred whose rows come in any order, some of them a page late or twice.
    pub reorder_percent: u64,
    /// Most rows of a page that the server gives.
    pub page_rows: usize,

    /// Calls in a hundred that are throttled, fail, or are done while their reply is lost; each. The batch's start and stop
    /// are among them.
    pub error_percent: u64,
    /// Calls that the server takes in a second before it answers RESOURCE_EXHAUSTED; 0 for no limit.
    pub rps: u64,
    /// The same for lists and counts.
    pub list_rps: u64,
    /// Calls that the server works on at the same time; more wait, so that latency grows. 0: it is always idle.
    pub cores: u32,
    /// Children in a hundred that the server's cascade forgets.
    pub drop_percent: u64,

    /// Steps of an activity in a thousand at which its process crashes.
    pub crash_permille: u64,
    /// Answers in a hundred after which a window's heartbeat is recorded.
    pub beat_percent: u64,
    /// The cap.
    pub max_affected: u64,
    /// Windows at a time.
    pub windows: u32,
    /// Rows that a window buffers; more than a page has, since it knows a row again that comes twice only within twice as
    /// many.
    pub buffer_rows: usize,
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
            mode: Mode::Terminate,
            grace_ms: 2_000,
            obliging_percent: 50,
            roots: 2,
            children: 10,
            flat: 10,
            continue_every_ms: 0,
            cron_every_ms: 0,
            retrying: 0,
            paused: 0,
            strangers: 3,
            forbidden: 0,
            late_percent: 0,
            late_ms: 500,
            filter_target: false,
            source: Source::None,
            source_every_ms: 50,
            quiesce_takes_ms: 0,
            require_quiesce: false,
            shards: 4,
            lag_ms: 100,
            stall: None,
            stale_percent: 0,
            blind_percent: 0,
            reorder_percent: 0,
            page_rows: 7,
            error_percent: 0,
            rps: 0,
            list_rps: 0,
            cores: 0,
            drop_percent: 0,
            crash_permille: 0,
            beat_percent: 20,
            max_affected: 10_000,
            windows: 1,
            buffer_rows: 60,
            stop_at_ms: None,
            deadline_ms: 600_000,
            mutation: None,
        }
    }
}

impl Scenario {
    /// A scenario drawn at random: the same seed, the same scenario, and so the same run.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let c = &mut Chance::new(seed ^ DRAW);
        let engine = if c.percent(30) { Engine::Both } else { Engine::Sweep };
        let mut scenario = Self {
            seed,
            engine,
            roots: c.count(0, 5),
            children: c.count(0, 20),
            flat: c.count(0, 40),
            strangers: c.count(0, 7),
            drop_percent: c.below(100),
            windows: c.count(1, 4),
            shards: c.count(1, 9),
            page_rows: usize::try_from(c.between(1, 20)).unwrap_or(1),
            ..Self::default()
        };
        scenario.buffer_rows = scenario.page_rows + usize::try_from(c.between(1, 60)).unwrap_or(1);
        scenario.draw_executions(c);
        scenario.draw_sources(c);
        scenario.draw_server(c);
        scenario.draw_end(c);
        scenario.draw_mode(c);
        scenario
    }

    fn draw_executions(&mut self, c: &mut Chance) {
        if c.percent(40) {
            self.continue_every_ms = if c.percent(50) {
                c.between(5, 80)
            } else {
                c.between(200, 2_000)
            };
        }
        if c.percent(25) {
            self.cron_every_ms = c.between(50, 3_000);
        }
        if c.percent(25) {
            self.retrying = c.count(1, 6);
        }
        if c.percent(25) {
            self.paused = c.count(1, 6);
        }
        if c.percent(10) {
            self.forbidden = c.count(1, 4);
        }
        if c.percent(30) {
            self.late_percent = c.between(5, 100);
            self.late_ms = c.between(1, 3_000);
        }
        self.filter_target = c.percent(20);
    }

    fn draw_sources(&mut self, c: &mut Chance) {
        self.source = match c.below(16) {
            0..5 => Source::None,
            5..8 => Source::Quiescible,
            8..10 => Source::Schedule,
            10..13 => Source::Until(c.between(12_000, 20_000)),
            13 => Source::Slowing,
            _ => Source::Forever,
        };
        self.source_every_ms = c.between(20, 200);
        self.quiesce_takes_ms = if c.percent(50) { c.below(1_500) } else { 0 };
        self.require_quiesce = c.percent(5);
    }

    fn draw_server(&mut self, c: &mut Chance) {
        self.lag_ms = match c.below(3) {
            0 => 0,
            1 => c.between(1, 200),
            _ => c.between(1_000, 3_000),
        };
        if c.percent(20) {
            self.stall = Some((c.between(10_000, 16_000), c.between(100, 5_000)));
        }
        if c.percent(50) {
            self.stale_percent = c.below(20);
        }
        if c.percent(40) {
            self.blind_percent = c.below(60);
        }
        if c.percent(50) {
            self.reorder_percent = c.below(100);
        }
        if c.percent(50) {
            self.error_percent = c.below(15);
        }
        if c.percent(20) {
            self.rps = c.between(50, 400);
        }
        if c.percent(20) {
            self.list_rps = c.between(5, 50);
        }
        if c.percent(40) {
            self.cores = c.count(1, 12);
        }
        if c.percent(50) {
            self.crash_permille = c.below(20);
            self.beat_percent = c.below(40);
        }
    }

    fn draw_end(&mut self, c: &mut Chance) {
        if c.percent(20) {
            self.max_affected = c.between(1, 60);
        }
        if c.percent(10) {
            self.stop_at_ms = Some(c.below(10_000));
        }
        if matches!(self.source, Source::Forever | Source::Slowing) {
            self.deadline_ms = c.between(5_000, 20_000);
        }
    }

    fn draw_mode(&mut self, c: &mut Chance) {
        if self.engine == Engine::Sweep && c.percent(25) {
            self.mode = if c.percent(30) {
                Mode::Cancel
            } else {
                Mode::CancelThenTerminate
            };
            self.grace_ms = c.between(1, 5_000);
            self.obliging_percent = c.below(101);
        }
    }

    /// Whether what starts executions ends, by itself or because it is told to.
    #[must_use]
    pub fn source_stops(&self) -> bool {
        match self.source {
            Source::None | Source::Quiescible | Source::Schedule | Source::Until(_) => true,
            Source::Slowing | Source::Forever => false,
        }
    }

    /// Whether the sources do as they are told.
    #[must_use]
    pub fn source_obeys(&self) -> bool {
        matches!(self.source, Source::None | Source::Quiescible | Source::Schedule)
    }
}

/// A scenario that is kept, because a mistake was found by it once, or would have been.
#[derive(Debug, Clone, Deserialize)]
pub struct Kept {
    /// What it is kept for.
    pub note: String,
    /// Itself.
    pub scenario: Scenario,
}

/// Every kept scenario (`corpus/scenarios.jsonl`): replayed before anything is drawn at random.
///
/// # Errors
/// When a line of the file cannot be read, which a test would have told.
pub fn corpus() -> Result<Vec<Kept>, serde_json::Error> {
    include_str!("../../corpus/scenarios.jsonl")
        .lines()
        .map(serde_json::from_str)
        .collect()
}
