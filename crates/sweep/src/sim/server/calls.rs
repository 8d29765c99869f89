//! What can be asked of the model: lists and counts of its index, stops, Describes, and the server's own batch.

use super::{BATCH_EVERY_MS, Chain, Entry, Happens, Server};
use crate::message::{PassKind, StartRange};
use crate::row::{CallError, CallErrorKind, DescribeReply, PageToken, Pin, Row, StopReply};

/// What a call meets on its way.
enum Way {
    Clear,
    ReplyLost,
    Fails(CallError),
}

impl Server {
    fn row(&self, chain: usize, run: u64, start_ms: u64) -> Row {
        let Chain {
            workflow_id,
            tag,
            parent,
            ..
        } = &self.chains[chain];
        let parent = parent.map(|parent| self.chains[parent].workflow_id.clone());
        Row {
            workflow_id: workflow_id.clone(),
            run_id: format!("{chain}/{run}"),
            workflow_type: workflow_id.split(['-', '.']).next().unwrap_or_default().to_owned(),
            start_ms,
            root_workflow_id: workflow_id.split('.').next().unwrap_or_default().to_owned(),
            parent_workflow_id: parent,
            workload_id: tag.map(str::to_owned),
            ..Row::default()
        }
    }

    /// What the index shows as open in the target, newest first. The filter lets some strangers through, as a filter
    /// that somebody else wrote may.
    fn visible(&self, kind: PassKind, range: StartRange) -> Vec<(usize, &Entry)> {
        let wanted = |entry: &Entry| {
            let shown = entry.visible_ms <= self.now_ms && entry.hidden_ms.is_none_or(|at| at > self.now_ms);
            let kind = match kind {
                PassKind::Roots => self.chains[entry.chain].parent.is_none(),
                PassKind::Open => true,
                PassKind::NewSince(at_ms) => entry.start_ms >= at_ms,
            };
            let from = range.from_ms.is_none_or(|at| entry.start_ms >= at);
            shown && kind && from && range.to_ms.is_none_or(|at| entry.start_ms < at)
        };
        let mut rows: Vec<_> = self
            .index
            .iter()
            .enumerate()
            .filter(|(_, entry)| wanted(entry))
            .collect();
        rows.sort_by_key(|(at, entry)| std::cmp::Reverse((entry.start_ms, *at)));
        rows
    }

    pub(in crate::sim) fn count(&mut self, kind: PassKind, range: StartRange) -> u64 {
        self.calls += 1;
        let rows = self
            .visible(kind, range)
            .into_iter()
            .filter(|(_, entry)| self.in_scope(entry.chain))
            .count();
        u64::try_from(rows).unwrap_or(u64::MAX)
    }

    /// One page, and where to go on. A page begins with the last row of the one before, now and then.
    pub(in crate::sim) fn list(
        &mut self,
        kind: PassKind,
        range: StartRange,
        page: usize,
        token: Option<&PageToken>,
        is_look: bool,
    ) -> Result<(Vec<Row>, Option<PageToken>), CallError> {
        self.calls += 1;
        if let Way::ReplyLost | Way::Fails(_) = self.way() {
            return Err(CallError {
                kind: CallErrorKind::Transient,
                reason: "listing failed".to_owned(),
            });
        }
        let mut blind = self.chance.percent(self.scenario.blind_percent);
        if is_look && token.is_none() {
            blind &= self.blind_looks < 2;
            self.blind_looks = if blind { self.blind_looks + 1 } else { 0 };
        } else if is_look {
            blind = false;
        }
        if blind && token.is_none() && (is_look || self.chance.percent(50)) {
            return Ok((Vec::new(), None));
        }
        let mut from: Option<(u64, u64)> = token.and_then(|token| {
            let (start, at) = token.0.split_at_checked(8)?;
            Some((
                u64::from_be_bytes(start.try_into().ok()?),
                u64::from_be_bytes(at.try_into().ok()?),
            ))
        });
        if self.chance.percent(10) {
            from = from.map(|(start, at)| (start, at + 1));
        }
        let rest: Vec<(u64, u64, Row)> = self
            .visible(kind, range)
            .into_iter()
            .map(|(at, entry)| {
                (
                    entry.start_ms,
                    at as u64,
                    self.row(entry.chain, entry.run, entry.start_ms),
                )
            })
            .filter(|(start, at, _)| from.is_none_or(|from| (*start, *at) < from))
            .collect();
        let next = rest
            .get(page.saturating_sub(1))
            .filter(|_| rest.len() > page)
            .map(|(start, at, _)| PageToken([start.to_be_bytes(), at.to_be_bytes()].concat()));
        let mut rows: Vec<Row> = rest.into_iter().take(page).map(|(_, _, row)| row).collect();
        if blind {
            rows.retain(|_| self.chance.percent(70));
        }
        Ok((rows, next))
    }

    fn way(&mut self) -> Way {
        let error = self.scenario.error_percent;
        let dice = self.chance.below(100);
        if dice < error {
            Way::Fails(CallError {
                kind: CallErrorKind::Throttled,
                reason: "throttled".to_owned(),
            })
        } else if dice < 2 * error {
            Way::Fails(CallError {
                kind: CallErrorKind::Transient,
                reason: "unavailable".to_owned(),
            })
        } else if dice < 3 * error {
            Way::ReplyLost
        } else {
            Way::Clear
        }
    }

    /// A stop, aimed at a chain, or at one run when `by_run` (which is the mutation).
    pub(in crate::sim) fn stop(&mut self, pin: &Pin, by_run: bool) -> StopReply {
        self.calls += 1;
        let lost = match self.way() {
            Way::Fails(error) => return StopReply::Error(error),
            Way::ReplyLost => true,
            Way::Clear => false,
        };
        let reply = self.stop_now(pin, by_run);
        if lost {
            self.lost_replies += 1;
            return StopReply::Error(CallError {
                kind: CallErrorKind::Transient,
                reason: "reply lost".to_owned(),
            });
        }
        reply
    }

    pub(in crate::sim) fn stop_now(&mut self, pin: &Pin, by_run: bool) -> StopReply {
        let Some(&chain) = self.current.get(&pin.workflow_id) else {
            return StopReply::NotFound;
        };
        let Chain {
            runs, open, forbidden, ..
        } = self.chains[chain];
        let aimed = pin.first_run_id == format!("{chain}/{}", if by_run { runs } else { 0 });
        if by_run && !aimed && pin.first_run_id.starts_with(&format!("{chain}/")) {
            return StopReply::AlreadyCompleted;
        }
        if !aimed {
            return StopReply::NotFound;
        }
        if forbidden {
            let reason = "permission denied".to_owned();
            return StopReply::Error(CallError {
                kind: CallErrorKind::Permanent,
                reason,
            });
        }
        if !open {
            return StopReply::AlreadyCompleted;
        }
        self.chains[chain].stopped_by_us = true;
        self.close(chain);
        StopReply::Stopped
    }

    /// Describes the current run of a workflow id.
    pub(in crate::sim) fn describe(&mut self, workflow_id: &str) -> DescribeReply {
        let current = self
            .current
            .get(workflow_id)
            .map(|chain| (*chain, self.chains[*chain].runs));
        self.describe_run(current)
    }

    /// Describes the run that was listed, whose chain may have gone on.
    pub(in crate::sim) fn describe_listed(&mut self, run_id: &str) -> DescribeReply {
        let listed = run_id
            .split_once('/')
            .and_then(|(chain, run)| Some((chain.parse().ok()?, run.parse().ok()?)));
        self.describe_run(listed)
    }

    fn describe_run(&mut self, asked: Option<(usize, u64)>) -> DescribeReply {
        self.calls += 1;
        if let Way::Fails(error) = self.way() {
            return DescribeReply::Error(error);
        }
        let Some((chain, run)) = asked else {
            return DescribeReply::Absent;
        };
        let Chain {
            open, runs, start_ms, ..
        } = self.chains[chain];
        // A run that continued as new counts as open: whether its chain is, a stop tells.
        if !open && run == runs {
            return DescribeReply::Closed;
        }
        DescribeReply::Open {
            row: self.row(chain, run, start_ms),
            first_run_id: format!("{chain}/0"),
        }
    }

    /// The server's own batch: what is visible now and older than the fence, one after the other.
    pub(in crate::sim) fn start_batch(&mut self, fence_ms: u64) {
        let range = StartRange {
            from_ms: None,
            to_ms: Some(fence_ms),
        };
        let found: Vec<usize> = self
            .visible(PassKind::Open, range)
            .into_iter()
            .map(|(_, entry)| entry.chain)
            .collect();
        let mut delay_ms = 0;
        self.batch_stopped = Some(0);
        for chain in found {
            if self.in_scope(chain) && !self.chains[chain].forbidden && self.batch_left.insert(chain) {
                delay_ms += BATCH_EVERY_MS;
                self.happens_in(delay_ms, Happens::BatchStops(chain));
            }
        }
    }

    /// How many it stopped, once it has ended.
    pub(in crate::sim) fn batch_ended(&self) -> Option<u64> {
        self.batch_stopped.filter(|_| self.batch_left.is_empty())
    }

    /// How many it had stopped; nothing when there is none.
    pub(in crate::sim) fn stop_batch(&mut self) -> Option<u64> {
        self.batch_left.clear();
        self.agenda
            .retain(|_, happens| !matches!(happens, Happens::BatchStops(_)));
        self.batch_stopped
    }

    pub(in crate::sim) fn stopped_by_batch(&self) -> u64 {
        self.batch_stopped.unwrap_or_default()
    }

    /// Whether a call is refused, and whether its reply is lost.
    pub(in crate::sim) fn meets_errors(&mut self) -> (bool, bool) {
        match self.way() {
            Way::Fails(_) => (true, false),
            Way::ReplyLost => (false, true),
            Way::Clear => (false, false),
        }
    }
}
