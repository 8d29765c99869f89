//! The model of Temporal: chains of runs, an index that lags behind them, a cascade, sources.

mod calls;
mod index;
mod life;
mod load;

pub(super) use calls::Page;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Scenario, Source, chance::Chance, report::OpenExecution};
use index::{Entry, RowKey};
use load::Load;

/// When the simulation's clock begins, in milliseconds.
const BEGIN_MS: u64 = 10_000;
/// Stops of the server's batch: one in so many milliseconds.
const BATCH_EVERY_MS: u64 = 20;
/// The target's tag.
const TAG: &str = "1";

/// What follows when a run of a chain ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    Never,
    ContinuesAsNew { every_ms: u64 },
    Cron { every_ms: u64 },
    Retries { every_ms: u64, left: u32 },
}

#[derive(Debug, Clone)]
struct Chain {
    workflow_id: String,
    runs: u64,
    open: bool,
    /// Start of the chain.
    start_ms: u64,
    tag: Option<&'static str>,
    /// Since when it has that tag.
    tagged_ms: u64,
    /// When the index showed it first, with its tag.
    visible_ms: u64,
    parent: Option<usize>,
    children: Vec<usize>,
    /// Children that it still starts.
    to_spawn: u32,
    renewal: Renewal,
    shard: usize,
    /// Its current run's row in the index.
    row: RowKey,
    stale: bool,
    forbidden: bool,
    paused: bool,
    stopped_by_us: bool,
    /// Whether we have asked it to end, ever, and its current run.
    asked_by_us: bool,
    asked: bool,
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    SourceStarts,
    Tagged(usize),
    Spawns(usize),
    Renews(usize),
    CascadeReaches(usize),
    Completes(usize),
    Obliges(usize, u64),
    BatchStops(usize),
    Unlisted(RowKey),
}

#[derive(Debug)]
pub(super) struct Server {
    chance: Chance,
    scenario: Scenario,
    now_ms: u64,
    chains: Vec<Chain>,
    /// The newest chain of each workflow id.
    current: HashMap<String, usize>,
    /// What the index shows as open, or will show soon, by start time.
    index: BTreeMap<RowKey, Entry>,
    shard_lags_ms: Vec<u64>,
    agenda: BTreeMap<(u64, u64), Happens>,
    next_event: u64,
    next_row: u64,
    /// From when on sources that obey keep still.
    quiesced_ms: Option<u64>,
    source_starts: u64,
    batch_left: BTreeSet<usize>,
    /// How many the batch stopped; unset while there was none.
    batch_stopped: Option<u64>,
    blind_looks: u32,
    load: Load,
    pub(super) calls: u64,
    pub(super) lost_replies: u64,
}

impl Server {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut chance = Chance::new(scenario.seed);
        let shards = scenario.shards.max(1);
        let mut shard_lags_ms: Vec<u64> = (0..shards).map(|_| chance.below(scenario.lag_ms + 1)).collect();
        // One of them lags as much as is said.
        if let Some(last) = shard_lags_ms.last_mut() {
            *last = scenario.lag_ms;
        }
        let mut server = Self {
            chance,
            scenario: scenario.clone(),
            now_ms: BEGIN_MS,
            chains: Vec::new(),
            current: HashMap::new(),
            index: BTreeMap::new(),
            shard_lags_ms,
            agenda: BTreeMap::new(),
            next_event: 0,
            next_row: 0,
            quiesced_ms: None,
            source_starts: 0,
            batch_left: BTreeSet::new(),
            batch_stopped: None,
            blind_looks: 0,
            load: Load::new(scenario),
            calls: 0,
            lost_replies: 0,
        };
        server.populate();
        let grown_ms = BEGIN_MS + 1_000 + server.chance.below(1_500);
        server.advance(grown_ms);
        server
    }

    fn populate(&mut self) {
        let scenario = self.scenario.clone();
        for n in 0..scenario.roots {
            let root = self.start(format!("root-{n}"), Some(TAG), None);
            self.chains[root].to_spawn = scenario.children;
            self.happens_in(10, Happens::Spawns(root));
        }
        for n in 0..scenario.flat {
            let flat = self.start(format!("flat-{n}"), Some(TAG), None);
            if n % 7 == 3 {
                let at = self.chance.below(3_000);
                self.happens_in(at, Happens::Completes(flat));
            }
        }
        for n in 0..if scenario.continue_every_ms > 0 { 3 } else { 0 } {
            let every_ms = scenario.continue_every_ms;
            self.start_renewing(format!("eternal-{n}"), Renewal::ContinuesAsNew { every_ms });
        }
        for n in 0..if scenario.cron_every_ms > 0 { 2 } else { 0 } {
            let every_ms = scenario.cron_every_ms;
            self.start_renewing(format!("cron-{n}"), Renewal::Cron { every_ms });
        }
        for n in 0..scenario.retrying {
            let every_ms = 200 + self.chance.below(2_000);
            self.start_renewing(format!("retry-{n}"), Renewal::Retries { every_ms, left: 3 });
        }
        for n in 0..scenario.paused {
            let chain = self.start(format!("paused-{n}"), Some(TAG), None);
            self.chains[chain].paused = true;
        }
        for n in 0..scenario.forbidden {
            let chain = self.start(format!("forbidden-{n}"), Some(TAG), None);
            self.chains[chain].forbidden = true;
        }
        for n in 0..scenario.strangers {
            // The last kind carries the target's tag and is listed, but it is ours.
            let (id, tag) = match n % 3 {
                0 => (format!("stranger-{n}"), Some("2")),
                1 => (format!("untagged-{n}"), None),
                _ => (format!("quell-canary/x/{n}"), Some(TAG)),
            };
            self.start(id, tag, None);
        }
        if scenario.source != Source::None {
            self.happens_in(1, Happens::SourceStarts);
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Lets the time go on, and happen what happens by itself.
    pub(super) fn advance(&mut self, to_ms: u64) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= to_ms) {
            let ((at_ms, _), happens) = entry.remove_entry();
            self.now_ms = self.now_ms.max(at_ms);
            self.happen(happens);
        }
        self.now_ms = self.now_ms.max(to_ms);
    }

    fn happens_in(&mut self, ms: u64, happens: Happens) {
        self.next_event += 1;
        self.agenda
            .insert((self.now_ms.saturating_add(ms), self.next_event), happens);
    }

    /// Tells the sources to stop; whether they accept.
    pub(super) fn quiesce(&mut self) -> bool {
        let still_ms = self.now_ms + self.scenario.quiesce_takes_ms;
        self.quiesced_ms.get_or_insert(still_ms);
        self.scenario.source_obeys()
    }

    fn in_scope(&self, chain: usize) -> bool {
        let Chain { tag, workflow_id, .. } = &self.chains[chain];
        *tag == Some(TAG) && !workflow_id.starts_with("quell")
    }

    pub(super) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// Open in truth and in scope.
    pub(super) fn open(&self) -> Vec<OpenExecution> {
        let open = (0..self.chains.len()).filter(|chain| self.chains[*chain].open && self.in_scope(*chain));
        open.map(|chain| {
            let Chain {
                workflow_id,
                start_ms,
                tagged_ms,
                visible_ms,
                forbidden,
                ..
            } = &self.chains[chain];
            OpenExecution {
                workflow_id: workflow_id.clone(),
                since_ms: *start_ms.max(tagged_ms),
                visible_ms: *visible_ms,
                forbidden: *forbidden,
            }
        })
        .collect()
    }

    /// Chains that we asked to end in truth.
    pub(super) fn asked_by_us(&self) -> u64 {
        u64::try_from(self.chains.iter().filter(|chain| chain.asked_by_us).count()).unwrap_or(u64::MAX)
    }

    /// Chains that we stopped in truth, and strangers that we stopped, or asked to end.
    pub(super) fn stopped_by_us(&self) -> (u64, u64) {
        let ours = |chain: &usize| self.chains[*chain].stopped_by_us;
        let touched = |chain: &usize| self.chains[*chain].stopped_by_us || self.chains[*chain].asked_by_us;
        let stopped = (0..self.chains.len()).filter(ours).count();
        let strangers = (0..self.chains.len())
            .filter(touched)
            .filter(|chain| !self.in_scope(*chain))
            .count();
        (
            u64::try_from(stopped).unwrap_or(u64::MAX),
            u64::try_from(strangers).unwrap_or(u64::MAX),
        )
    }
}
