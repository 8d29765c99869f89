//! What happens by itself: starts, children, renewals, endings, the cascade, the server's batch.

use super::{Chain, Happens, Renewal, Server, Source, TAG};

/// Executions that a schedule starts at a time.
const SCHEDULED_AT_ONCE: u64 = 3;

impl Server {
    pub(super) fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::SourceStarts => self.source_starts(),
            Happens::Tagged(chain) => self.tag(chain),
            Happens::Spawns(parent) if self.chains[parent].open && self.chains[parent].to_spawn > 0 => {
                self.spawn(parent);
            }
            Happens::Renews(chain) if self.chains[chain].open => self.renew(chain),
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
            Happens::Obliges(chain, run) if self.chains[chain].open && self.chains[chain].runs == run => {
                self.close(chain);
            }
            Happens::Unlisted(row) => {
                self.index.remove(&row);
            }
            Happens::Spawns(_) | Happens::Renews(_) | Happens::Completes(_) | Happens::Obliges(..) => {}
        }
    }

    fn source_starts(&mut self) {
        let now_ms = self.now_ms;
        let still = self.quiesced_ms.is_some_and(|still_ms| now_ms >= still_ms);
        let every_ms = self.scenario.source_every_ms.max(1);
        let (kind, at_once, next_ms) = match self.scenario.source {
            Source::None => return,
            Source::Quiescible if still => return,
            Source::Schedule if still => return,
            Source::Until(end_ms) if now_ms >= end_ms => return,
            Source::Schedule => ("scheduled", SCHEDULED_AT_ONCE, every_ms * SCHEDULED_AT_ONCE),
            Source::Slowing => ("client", 1, every_ms * (1 + self.source_starts / 4)),
            Source::Quiescible | Source::Until(_) | Source::Forever => ("client", 1, every_ms),
        };
        for _ in 0..at_once {
            let id = format!("{kind}-{}", self.chains.len());
            self.start(id, Some(TAG), None);
        }
        self.source_starts += 1;
        self.happens_in(next_ms, Happens::SourceStarts);
    }

    fn spawn(&mut self, parent: usize) {
        let left = self.chains[parent].to_spawn - 1;
        self.chains[parent].to_spawn = left;
        let id = format!("{}.{left}", self.chains[parent].workflow_id);
        let child = self.start(id, Some(TAG), Some(parent));
        self.chains[parent].children.push(child);
        if self.chains[parent].parent.is_none() && left.is_multiple_of(5) {
            self.chains[child].to_spawn = 3;
            self.happens_in(15, Happens::Spawns(child));
        }
        self.happens_in(30, Happens::Spawns(parent));
    }

    pub(super) fn start_renewing(&mut self, workflow_id: String, renewal: Renewal) {
        let chain = self.start(workflow_id, Some(TAG), None);
        self.chains[chain].renewal = renewal;
        self.renews_later(chain);
    }

    fn renews_later(&mut self, chain: usize) {
        match self.chains[chain].renewal {
            Renewal::Never => {}
            Renewal::ContinuesAsNew { every_ms } | Renewal::Cron { every_ms } | Renewal::Retries { every_ms, .. } => {
                self.happens_in(every_ms, Happens::Renews(chain));
            }
        }
    }

    /// A run ends by itself, continued as new, completed or failed, and the next of its chain begins; or, after the last
    /// retry, none does.
    fn renew(&mut self, chain: usize) {
        if let Renewal::Retries { every_ms, left } = self.chains[chain].renewal {
            let Some(left) = left.checked_sub(1) else {
                return self.close(chain);
            };
            self.chains[chain].renewal = Renewal::Retries { every_ms, left };
        }
        self.hide(chain, false);
        self.chains[chain].runs += 1;
        self.chains[chain].asked = false;
        self.show(chain);
        self.renews_later(chain);
    }

    pub(super) fn start(&mut self, workflow_id: String, tag: Option<&'static str>, parent: Option<usize>) -> usize {
        let number = self.chains.len();
        let shards = u64::try_from(self.shard_lags_ms.len()).unwrap_or(1);
        let shard = usize::try_from(self.chance.below(shards)).unwrap_or_default();
        let stale = self.chance.percent(self.scenario.stale_percent);
        let is_late = tag == Some(TAG) && self.chance.percent(self.scenario.late_percent);
        self.chains.push(Chain {
            workflow_id: workflow_id.clone(),
            runs: 0,
            open: true,
            start_ms: self.now_ms,
            tag: tag.filter(|_| !is_late),
            tagged_ms: self.now_ms,
            visible_ms: u64::MAX,
            parent,
            children: Vec::new(),
            to_spawn: 0,
            renewal: Renewal::Never,
            shard,
            row: (0, 0),
            stale,
            forbidden: false,
            paused: false,
            stopped_by_us: false,
            asked_by_us: false,
            asked: false,
        });
        self.current.insert(workflow_id, number);
        if is_late {
            let in_ms = 1 + self.chance.below(self.scenario.late_ms);
            self.happens_in(in_ms, Happens::Tagged(number));
        }
        self.show(number);
        number
    }

    /// The workflow's code upserts the tag.
    fn tag(&mut self, chain: usize) {
        if !self.chains[chain].open {
            return;
        }
        self.chains[chain].tag = Some(TAG);
        self.chains[chain].tagged_ms = self.now_ms;
        self.retag(chain);
    }

    /// Asks the current run to end: it does so in a while, or not at all. A second request changes nothing.
    pub(super) fn ask(&mut self, chain: usize) {
        self.chains[chain].asked_by_us = true;
        if std::mem::replace(&mut self.chains[chain].asked, true) || self.chains[chain].paused {
            return;
        }
        if self.chance.percent(self.scenario.obliging_percent) {
            let in_ms = self.chance.below(self.scenario.grace_ms.saturating_mul(2).max(1));
            let run = self.chains[chain].runs;
            self.happens_in(in_ms, Happens::Obliges(chain, run));
        }
    }

    /// Closes a chain, and lets the cascade go to its children; some it forgets.
    pub(super) fn close(&mut self, chain: usize) {
        if !std::mem::take(&mut self.chains[chain].open) {
            return;
        }
        self.hide(chain, true);
        for child in std::mem::take(&mut self.chains[chain].children) {
            let dropped = self.chance.percent(self.scenario.drop_percent);
            if !dropped {
                let delay_ms = self.chance.below(200);
                self.happens_in(delay_ms, Happens::CascadeReaches(child));
            }
        }
    }
}
