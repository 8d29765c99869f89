//! The model of Temporal: chains of runs, an index that lags behind them, a cascade, sources.

mod calls;

use std::collections::{BTreeMap, BTreeSet};

use super::{Chance, Scenario, Source};

/// Pause between two starts of a client, in milliseconds.
const CLIENT_EVERY_MS: u64 = 50;
/// Stops of the server's batch: one in so many milliseconds.
const BATCH_EVERY_MS: u64 = 20;

#[derive(Debug, Clone)]
struct Chain {
    workflow_id: String,
    runs: u64,
    open: bool,
    start_ms: u64,
    tag: Option<&'static str>,
    parent: Option<usize>,
    children: Vec<usize>,
    /// Children that it still starts.
    to_spawn: u32,
    continue_every_ms: u64,
    lag_ms: u64,
    stale: bool,
    forbidden: bool,
    stopped_by_us: bool,
}

/// One run in the index.
#[derive(Debug, Clone)]
struct Entry {
    chain: usize,
    run: u64,
    start_ms: u64,
    visible_ms: u64,
    hidden_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    ClientStarts,
    Spawns(usize),
    Continues(usize),
    CascadeReaches(usize),
    Completes(usize),
    BatchStops(usize),
}

#[derive(Debug)]
pub(super) struct Server {
    chance: Chance,
    scenario: Scenario,
    now_ms: u64,
    chains: Vec<Chain>,
    /// The newest chain of each workflow id.
    current: BTreeMap<String, usize>,
    index: Vec<Entry>,
    agenda: BTreeMap<(u64, u64), Happens>,
    next_event: u64,
    quiesced: bool,
    batch_left: BTreeSet<usize>,
    /// How many the batch stopped; unset while there was none.
    batch_stopped: Option<u64>,
    blind_looks: u32,
    pub(super) calls: u64,
    pub(super) lost_replies: u64,
}

impl Server {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut server = Self {
            chance: Chance::new(scenario.seed),
            scenario: scenario.clone(),
            now_ms: 10_000,
            chains: Vec::new(),
            current: BTreeMap::new(),
            index: Vec::new(),
            agenda: BTreeMap::new(),
            next_event: 0,
            quiesced: false,
            batch_left: BTreeSet::new(),
            batch_stopped: None,
            blind_looks: 0,
            calls: 0,
            lost_replies: 0,
        };
        for n in 0..scenario.roots {
            let root = server.start(format!("root-{n}"), Some("1"), None);
            server.chains[root].to_spawn = scenario.children;
            server.happens_in(10, Happens::Spawns(root));
        }
        for n in 0..scenario.flat {
            let flat = server.start(format!("flat-{n}"), Some("1"), None);
            if n % 7 == 3 {
                let at = server.chance.below(3_000);
                server.happens_in(at, Happens::Completes(flat));
            }
        }
        for n in 0..if scenario.continue_every_ms > 0 { 3 } else { 0 } {
            let chain = server.start(format!("eternal-{n}"), Some("1"), None);
            server.chains[chain].continue_every_ms = scenario.continue_every_ms;
            server.happens_in(scenario.continue_every_ms, Happens::Continues(chain));
        }
        for n in 0..scenario.forbidden {
            let chain = server.start(format!("forbidden-{n}"), Some("1"), None);
            server.chains[chain].forbidden = true;
        }
        for n in 0..scenario.strangers {
            // The last kind carries the target's tag and is listed, but it is ours.
            let (id, tag) = match n % 3 {
                0 => (format!("stranger-{n}"), Some("2")),
                1 => (format!("untagged-{n}"), None),
                _ => (format!("quell-canary/x/{n}"), Some("1")),
            };
            server.start(id, tag, None);
        }
        if scenario.source != Source::None {
            server.happens_in(1, Happens::ClientStarts);
        }
        let grown_ms = 11_000 + server.chance.below(1_500);
        server.advance(grown_ms);
        server
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
        self.agenda.insert((self.now_ms + ms, self.next_event), happens);
    }

    fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::ClientStarts => {
                let goes_on = match self.scenario.source {
                    Source::None => false,
                    Source::Quiescible => !self.quiesced,
                    Source::Until(end_ms) => self.now_ms < end_ms,
                    Source::Forever => true,
                };
                if goes_on {
                    let id = format!("client-{}", self.chains.len());
                    self.start(id, Some("1"), None);
                    self.happens_in(CLIENT_EVERY_MS, Happens::ClientStarts);
                }
            }
            Happens::Spawns(parent) if self.chains[parent].open && self.chains[parent].to_spawn > 0 => {
                self.chains[parent].to_spawn -= 1;
                let id = format!("{}.{}", self.chains[parent].workflow_id, self.chains[parent].to_spawn);
                let child = self.start(id, Some("1"), Some(parent));
                self.chains[parent].children.push(child);
                if self.chains[parent].parent.is_none() && self.chains[parent].to_spawn.is_multiple_of(5) {
                    self.chains[child].to_spawn = 3;
                    self.happens_in(15, Happens::Spawns(child));
                }
                self.happens_in(30, Happens::Spawns(parent));
            }
            Happens::Continues(chain) if self.chains[chain].open => {
                self.hide(chain, false);
                self.chains[chain].runs += 1;
                self.show(chain);
                self.happens_in(self.chains[chain].continue_every_ms, Happens::Continues(chain));
            }
            Happens::CascadeReaches(chain) => {
                self.batch_left.remove(&chain);
                self.close(chain);
            }
            Happens::BatchStops(chain) => {
                if self.batch_left.remove(&chain) && self.chains[chain].open {
                    self.batch_stopped = self.batch_stopped.map(|stopped| stopped + 1);
                    self.close(chain);
                }
            }
            // Its workflow id is then taken by somebody else.
            Happens::Completes(chain) if self.chains[chain].open => {
                self.close(chain);
                let id = self.chains[chain].workflow_id.clone();
                self.start(id, Some("2"), None);
            }
            Happens::Spawns(_) | Happens::Continues(_) | Happens::Completes(_) => {}
        }
    }

    fn start(&mut self, workflow_id: String, tag: Option<&'static str>, parent: Option<usize>) -> usize {
        let number = self.chains.len();
        let lag_ms = self.chance.below(self.scenario.lag_ms + 1);
        let stale = self.chance.percent(self.scenario.stale_percent);
        self.chains.push(Chain {
            workflow_id: workflow_id.clone(),
            runs: 0,
            open: true,
            start_ms: self.now_ms,
            tag,
            parent,
            children: Vec::new(),
            to_spawn: 0,
            continue_every_ms: 0,
            lag_ms,
            stale,
            forbidden: false,
            stopped_by_us: false,
        });
        self.current.insert(workflow_id, number);
        self.show(number);
        number
    }

    fn show(&mut self, chain: usize) {
        let Chain { runs, lag_ms, .. } = self.chains[chain];
        let visible_ms = self.now_ms + lag_ms;
        self.index.push(Entry {
            chain,
            run: runs,
            start_ms: self.now_ms,
            visible_ms,
            hidden_ms: None,
        });
    }

    /// Takes the current run from the index; only the last one of a chain may stay there for ever.
    fn hide(&mut self, chain: usize, is_last: bool) {
        let Chain {
            runs, lag_ms, stale, ..
        } = self.chains[chain];
        let hidden_ms = self.now_ms + lag_ms;
        if let Some(entry) = self
            .index
            .iter_mut()
            .rev()
            .find(|entry| entry.chain == chain && entry.run == runs)
            && !(stale && is_last)
        {
            entry.hidden_ms = Some(hidden_ms);
        }
    }

    fn close(&mut self, chain: usize) {
        if !std::mem::take(&mut self.chains[chain].open) {
            return;
        }
        self.hide(chain, true);
        for child in self.chains[chain].children.clone() {
            let dropped = self.chance.percent(self.scenario.drop_percent);
            if !dropped {
                let delay_ms = self.chance.below(200);
                self.happens_in(delay_ms, Happens::CascadeReaches(child));
            }
        }
    }

    /// Tells the sources to stop; whether they accept.
    pub(super) fn quiesce(&mut self) -> bool {
        self.quiesced = true;
        matches!(self.scenario.source, Source::None | Source::Quiescible)
    }

    fn in_scope(&self, chain: usize) -> bool {
        let Chain { tag, workflow_id, .. } = &self.chains[chain];
        *tag == Some("1") && !workflow_id.starts_with("quell")
    }

    pub(super) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// Open in truth and in scope: workflow id and start of the chain.
    pub(super) fn open(&self) -> Vec<(String, u64)> {
        let open = (0..self.chains.len()).filter(|chain| self.chains[*chain].open && self.in_scope(*chain));
        open.map(|chain| (self.chains[chain].workflow_id.clone(), self.chains[chain].start_ms))
            .collect()
    }

    /// Chains that we stopped in truth, and those of them that are strangers.
    pub(super) fn stopped_by_us(&self) -> (u64, u64) {
        let ours: Vec<usize> = (0..self.chains.len())
            .filter(|chain| self.chains[*chain].stopped_by_us)
            .collect();
        let strangers = ours.iter().filter(|chain| !self.in_scope(**chain)).count();
        (
            u64::try_from(ours.len()).unwrap_or(u64::MAX),
            u64::try_from(strangers).unwrap_or(u64::MAX),
        )
    }
}
