//! What can be asked of the model: lists and counts of its index, stops, Describes, and the server's own batch.

use super::{BATCH_EVERY_MS, Chain, Happens, Server, index::RowKey};
use crate::message::{PassKind, StartRange};
use crate::row::{CallError, CallErrorKind, DescribeReply, PageToken, Pin, Row, StopReply};

/// Pages in a hundred that begin with the last row of the one before.
const DUPLICATE_PERCENT: u64 = 10;
/// Of the pages whose rows come in any order, those in a hundred whose last row is shifted out of the listing. Not all: what
/// no listing ever shows cannot be stopped, and a residue that names it is the truth.
const SHIFTED_PERCENT: u64 = 25;
/// Looks in a row that may be blind.
const BLIND_LOOKS: u32 = 2;

/// What a call meets on its way.
enum Way {
    Clear,
    ReplyLost,
    Fails(CallError),
}

/// Which page is listed.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct Page<'a> {
    pub(in crate::sim) kind: PassKind,
    pub(in crate::sim) range: StartRange,
    pub(in crate::sim) rows: usize,
    pub(in crate::sim) token: Option<&'a PageToken>,
    pub(in crate::sim) is_look: bool,
}

fn error(kind: CallErrorKind, reason: &str) -> CallError {
    let reason = reason.to_owned();
    CallError { kind, reason }
}

fn below(token: &PageToken) -> Option<RowKey> {
    let (start, number) = token.0.split_at_checked(8)?;
    Some((
        u64::from_be_bytes(start.try_into().ok()?),
        u64::from_be_bytes(number.try_into().ok()?),
    ))
}

impl Server {
    pub(in crate::sim) fn count(&mut self, kind: PassKind, range: StartRange) -> u64 {
        self.calls += 1;
        let rows = self
            .visible(kind, range, None)
            .filter(|(_, entry)| self.in_scope(entry.chain))
            .count();
        u64::try_from(rows).unwrap_or(u64::MAX)
    }

    /// One page, and where to go on. A page begins with the last row of the one before, now and then.
    pub(in crate::sim) fn list(&mut self, page: Page<'_>) -> Result<(Vec<Row>, Option<PageToken>), CallError> {
        self.calls += 1;
        let Page {
            kind,
            range,
            token,
            is_look,
            ..
        } = page;
        match self.way(true) {
            Way::Fails(error) => return Err(error),
            Way::ReplyLost => return Err(error(CallErrorKind::Transient, "listing failed")),
            Way::Clear => {}
        }
        let mut blind = self.chance.percent(self.scenario.blind_percent);
        if is_look && token.is_none() {
            blind &= self.blind_looks < BLIND_LOOKS;
            self.blind_looks = if blind { self.blind_looks + 1 } else { 0 };
        } else if is_look {
            blind = false;
        }
        if blind && token.is_none() && (is_look || self.chance.percent(50)) {
            return Ok((Vec::new(), None));
        }
        let mut from = token.and_then(below);
        if self.chance.percent(DUPLICATE_PERCENT) {
            from = from.map(|(start_ms, number)| (start_ms, number + 1));
        }
        let size = page.rows.min(self.scenario.page_rows).max(1);
        let mut found: Vec<_> = self.visible(kind, range, from).take(size + 1).collect();
        let more = found.len() > size;
        let reordered = self.chance.percent(self.scenario.reorder_percent);
        let next = found.get(size - 1).filter(|_| more).map(|(key, _)| token_below(*key));
        if reordered && !is_look && more && self.chance.percent(SHIFTED_PERCENT) {
            // The row that was to begin the next page comes now, and again then; the one before it comes in neither.
            found.swap(size - 1, size);
        }
        found.truncate(size);
        if reordered {
            self.chance.shuffle(&mut found);
        }
        if blind {
            found.retain(|_| self.chance.percent(70));
        }
        let rows = found.into_iter().map(|(key, entry)| self.listed_row(key, entry));
        Ok((rows.collect(), next))
    }

    fn way(&mut self, is_list: bool) -> Way {
        let error_percent = self.scenario.error_percent;
        let dice = self.chance.below(100);
        if !self.load.admits(self.now_ms, is_list) || dice < error_percent {
            Way::Fails(error(CallErrorKind::Throttled, "throttled"))
        } else if dice < 2 * error_percent {
            Way::Fails(error(CallErrorKind::Transient, "unavailable"))
        } else if dice < 3 * error_percent {
            Way::ReplyLost
        } else {
            Way::Clear
        }
    }

    /// How long a call takes that is made now, in milliseconds.
    pub(in crate::sim) fn latency_ms(&mut self) -> u64 {
        self.load.latency_ms(self.now_ms, &mut self.chance)
    }

    /// A stop, or a request to end, aimed at a chain, or at one run when `by_run` (which is a mutation).
    pub(in crate::sim) fn stop(&mut self, pin: &Pin, by_run: bool, asks: bool) -> StopReply {
        self.calls += 1;
        let lost = match self.way(false) {
            Way::Fails(error) => return StopReply::Error(error),
            Way::ReplyLost => true,
            Way::Clear => false,
        };
        let reply = self.end_now(pin, by_run, asks);
        if lost {
            self.lost_replies += 1;
            return StopReply::Error(error(CallErrorKind::Transient, "reply lost"));
        }
        reply
    }

    pub(in crate::sim) fn end_now(&mut self, pin: &Pin, by_run: bool, asks: bool) -> StopReply {
        let Some(&chain) = self.current.get(&pin.workflow_id) else {
            return StopReply::NotFound;
        };
        let Chain {
            runs, open, forbidden, ..
        } = self.chains[chain];
        if forbidden {
            return StopReply::Error(error(CallErrorKind::Permanent, "permission denied"));
        }
        // A request to end is taken wherever nothing runs any more, whichever chain that was.
        if asks && !open {
            return StopReply::Stopped;
        }
        let aimed = run_of(&pin.first_run_id).filter(|(of, _)| *of == chain);
        match aimed {
            Some((_, run)) if by_run && run != runs => return StopReply::AlreadyCompleted,
            Some((_, run)) if by_run || run == 0 => {}
            _ => return StopReply::NotFound,
        }
        if !open {
            return StopReply::AlreadyCompleted;
        }
        if asks {
            self.ask(chain);
            return StopReply::Stopped;
        }
        self.chains[chain].stopped_by_us = true;
        self.close(chain);
        StopReply::Stopped
    }

    /// Describes the current run of a workflow id.
    pub(in crate::sim) fn describe(&mut self, workflow_id: &str) -> DescribeReply {
        let current = self.current.get(workflow_id);
        let current = current.map(|chain| (*chain, self.chains[*chain].runs));
        self.describe_run(current)
    }

    /// Describes the run that was listed, whose chain may have gone on.
    pub(in crate::sim) fn describe_listed(&mut self, run_id: &str) -> DescribeReply {
        self.describe_run(run_of(run_id))
    }

    fn describe_run(&mut self, asked: Option<(usize, u64)>) -> DescribeReply {
        self.calls += 1;
        match self.way(false) {
            Way::Fails(error) => return DescribeReply::Error(error),
            Way::ReplyLost => return DescribeReply::Error(error(CallErrorKind::Transient, "reply lost")),
            Way::Clear => {}
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
        let visible = self.visible(PassKind::Open, range, None);
        let found: Vec<usize> = visible.map(|(_, entry)| entry.chain).collect();
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
        self.batch_stopped
    }

    pub(in crate::sim) fn stopped_by_batch(&self) -> u64 {
        self.batch_stopped.unwrap_or_default()
    }

    pub(in crate::sim) fn batch_left(&self) -> u64 {
        u64::try_from(self.batch_left.len()).unwrap_or(u64::MAX)
    }

    /// Whether a call is refused, and whether its reply is lost.
    pub(in crate::sim) fn meets_errors(&mut self) -> (bool, bool) {
        match self.way(false) {
            Way::Fails(_) => (true, false),
            Way::ReplyLost => (false, true),
            Way::Clear => (false, false),
        }
    }
}

/// Where a listing goes on that ended with this row.
fn token_below((start_ms, number): RowKey) -> PageToken {
    PageToken([start_ms.to_be_bytes(), number.to_be_bytes()].concat())
}

/// Chain and run that a run id names.
fn run_of(run_id: &str) -> Option<(usize, u64)> {
    let (chain, run) = run_id.split_once('/')?;
    Some((chain.parse().ok()?, run.parse().ok()?))
}
