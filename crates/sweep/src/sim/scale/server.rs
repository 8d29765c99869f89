//! The modelled server: executions as bits, a queue of calls, an index with a lag, a cascade.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use super::{ScaleSpec, Shape};
use crate::message::PassKind;
use crate::row::{DescribeReply, PageToken, Pin, Row, StopReply};

/// Way to the server and back, in microseconds.
const WAY_US: u64 = 1_000;
/// What a page takes, and each row of it, in microseconds.
const PAGE_US: u64 = 10_000;
const ROW_US: u64 = 20;
/// Cascade tasks that the server works on at the same time: its system workers are few.
const CASCADE_AT_ONCE: usize = 4;
/// Children in a hundred that the cascade forgets.
const FORGOTTEN_PERCENT: u64 = 2;
/// When the first execution started, in milliseconds; then two in each millisecond.
const FIRST_START_MS: u64 = 1_000_000_000;

/// A set of small numbers, a bit each.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn full(len: u64) -> Self {
        let words = usize::try_from(len.div_ceil(64)).unwrap_or(usize::MAX);
        let mut bits = vec![u64::MAX; words];
        if let Some(last) = bits.last_mut().filter(|_| !len.is_multiple_of(64)) {
            *last = (1 << (len % 64)) - 1;
        }
        Self(bits)
    }

    fn word(at: u64) -> usize {
        usize::try_from(at / 64).unwrap_or(usize::MAX)
    }

    fn has(&self, at: u64) -> bool {
        self.0
            .get(Self::word(at))
            .is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Takes it out; whether it was in.
    fn remove(&mut self, at: u64) -> bool {
        let had = self.has(at);
        if let Some(word) = self.0.get_mut(Self::word(at)) {
            *word &= !(1 << (at % 64));
        }
        had
    }

    /// The largest below a bound.
    fn last_below(&self, bound: u64) -> Option<u64> {
        let mut at = Self::word(bound.checked_sub(1)?);
        let within = bound - u64::try_from(at).ok()? * 64;
        let mut word = *self.0.get(at)? & (u64::MAX >> (64 - within.min(64)));
        while word == 0 {
            at = at.checked_sub(1)?;
            word = *self.0.get(at)?;
        }
        Some(u64::try_from(at).ok()? * 64 + u64::from(word.ilog2()))
    }
}

#[derive(Debug)]
pub(super) struct Server {
    spec: ScaleSpec,
    /// In truth.
    open: Bits,
    open_count: u64,
    /// By the index.
    shown: Bits,
    shown_count: u64,
    /// What leaves the index, and when.
    leaving: VecDeque<(u64, u64)>,
    /// When each of the calls that are worked on is done, in microseconds.
    free_us: Vec<u64>,
    work_us: u64,
    /// Children whose parent is closed.
    orphans: VecDeque<Range<u64>>,
    /// Cascade tasks that are worked on.
    cascade: BTreeSet<(u64, u64)>,
    cascaded: u64,
    stopped: u64,
    last_close_us: u64,
}

fn number(workflow_id: &str) -> Option<u64> {
    workflow_id.strip_prefix("w-")?.parse().ok()
}

impl Server {
    pub(super) fn new(spec: &ScaleSpec) -> Self {
        let at_once = usize::try_from(spec.at_once).unwrap_or(1);
        Self {
            spec: *spec,
            open: Bits::full(spec.executions),
            open_count: spec.executions,
            shown: Bits::full(spec.executions),
            shown_count: spec.executions,
            leaving: VecDeque::new(),
            free_us: vec![0; at_once],
            work_us: (u64::from(spec.at_once) * 1_000_000 / spec.stops_per_second).max(1),
            orphans: VecDeque::new(),
            cascade: BTreeSet::new(),
            cascaded: 0,
            stopped: 0,
            last_close_us: 0,
        }
    }

    pub(super) fn open(&self) -> u64 {
        self.open_count
    }

    /// What it holds in memory, in bytes; its queues never give any back.
    pub(super) fn bytes(&self) -> u64 {
        let bits = size_of_val(&*self.open.0) + size_of_val(&*self.shown.0);
        let leaving = self.leaving.capacity() * size_of::<(u64, u64)>();
        let orphans = self.orphans.capacity() * size_of::<Range<u64>>();
        u64::try_from(bits + leaving + orphans).unwrap_or(u64::MAX)
    }

    pub(super) fn stopped(&self) -> u64 {
        self.stopped
    }

    pub(super) fn cascaded(&self) -> u64 {
        self.cascaded
    }

    pub(super) fn last_close_us(&self) -> u64 {
        self.last_close_us
    }

    /// After all starts.
    pub(super) fn fence_ms(&self) -> u64 {
        FIRST_START_MS + self.spec.executions / 2 + 1
    }

    pub(super) fn count(&self, kind: PassKind) -> u64 {
        match (kind, self.spec.shape) {
            (PassKind::NewSince(_), _) => 0,
            (PassKind::Roots, Shape::Tree { .. }) => u64::from(self.shown.has(0)),
            (PassKind::Roots, Shape::Flat) | (PassKind::Open, _) => self.shown_count,
        }
    }

    fn row(&self, at: u64) -> Row {
        let parent = self.parent(at);
        let mut row = Row {
            workflow_id: format!("w-{at}"),
            run_id: format!("00000000-0000-7000-8000-{at:012}"),
            workflow_type: if parent.is_some() { "Child" } else { "Root" }.to_owned(),
            start_ms: FIRST_START_MS + at / 2,
            root_workflow_id: if parent.is_some() {
                "w-0".to_owned()
            } else {
                format!("w-{at}")
            },
            workload_id: Some("1".to_owned()),
            ..Row::default()
        };
        row.parent_workflow_id = parent.map(|parent| format!("w-{parent}"));
        row
    }

    fn parent(&self, at: u64) -> Option<u64> {
        match self.spec.shape {
            Shape::Flat => None,
            Shape::Tree { fan_out } => Some(at.checked_sub(1)? / fan_out.max(1)),
        }
    }

    /// Newest first.
    pub(super) fn list(&self, kind: PassKind, token: Option<&PageToken>, rows: u32) -> (Vec<Row>, Option<PageToken>) {
        let bytes = token.and_then(|token| <[u8; 8]>::try_from(&*token.0).ok());
        let is_tree = matches!(self.spec.shape, Shape::Tree { .. });
        let mut below = match (bytes, kind) {
            (Some(bytes), _) => u64::from_be_bytes(bytes),
            (None, PassKind::Roots) if is_tree => 1,
            (None, PassKind::NewSince(_)) => 0,
            (None, PassKind::Roots | PassKind::Open) => self.spec.executions,
        };
        let mut found = Vec::new();
        for _ in 0..rows {
            let Some(at) = self.shown.last_below(below) else { break };
            found.push(self.row(at));
            below = at;
        }
        let more = self.shown.last_below(below).is_some();
        (found, more.then(|| PageToken(below.to_be_bytes().to_vec())))
    }

    pub(super) fn list_us(&self, rows: u32) -> u64 {
        WAY_US + PAGE_US + u64::from(rows) * ROW_US
    }

    /// When a call is done that is made now, and works for so long.
    fn worked_us(&mut self, now_us: u64, work_us: u64) -> u64 {
        let Some(free) = self.free_us.iter_mut().min() else {
            return now_us + work_us;
        };
        *free = now_us.max(*free) + work_us;
        *free
    }

    /// When a stop is done; one of what is closed writes nothing, and is half the work.
    pub(super) fn stop_us(&mut self, now_us: u64, pin: &Pin) -> u64 {
        let is_open = number(&pin.workflow_id).is_some_and(|at| self.open.has(at));
        let work_us = if is_open { self.work_us } else { self.work_us / 2 };
        self.worked_us(now_us, work_us) + WAY_US
    }

    pub(super) fn describe_us(&mut self, now_us: u64) -> u64 {
        self.worked_us(now_us, self.work_us / 2) + WAY_US
    }

    /// A stop, and whether it came too late.
    pub(super) fn stop(&mut self, now_us: u64, pin: &Pin) -> (StopReply, bool) {
        let Some(at) = number(&pin.workflow_id) else {
            return (StopReply::NotFound, false);
        };
        if self.close(now_us, at) {
            self.stopped += 1;
            (StopReply::Stopped, false)
        } else {
            (StopReply::AlreadyCompleted, true)
        }
    }

    pub(super) fn describe(&self, workflow_id: &str) -> DescribeReply {
        match number(workflow_id) {
            Some(at) if self.open.has(at) => {
                let row = self.row(at);
                let first_run_id = row.run_id.clone();
                DescribeReply::Open { row, first_run_id }
            }
            Some(_) => DescribeReply::Closed,
            None => DescribeReply::Absent,
        }
    }

    fn close(&mut self, now_us: u64, at: u64) -> bool {
        if !self.open.remove(at) {
            return false;
        }
        self.open_count -= 1;
        self.last_close_us = now_us;
        self.leaving.push_back((now_us + self.spec.lag_ms * 1_000, at));
        if let Shape::Tree { fan_out } = self.spec.shape {
            let first = at.saturating_mul(fan_out).saturating_add(1).min(self.spec.executions);
            let end = first.saturating_add(fan_out).min(self.spec.executions);
            if first < end {
                self.orphans.push_back(first..end);
            }
            self.cascade_on(now_us);
        }
        true
    }

    /// Gives the system workers something to do.
    fn cascade_on(&mut self, now_us: u64) {
        while self.cascade.len() < CASCADE_AT_ONCE {
            let Some(children) = self.orphans.front_mut() else {
                return;
            };
            let Some(child) = children.next() else {
                self.orphans.pop_front();
                continue;
            };
            // A hash (Knuth's multiplicative one) decides which are forgotten.
            let is_forgotten = (child.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % 100 < FORGOTTEN_PERCENT;
            if !is_forgotten && self.open.has(child) {
                let done_us = self.worked_us(now_us, self.work_us);
                self.cascade.insert((done_us, child));
            }
        }
    }

    /// When something happens next by itself.
    pub(super) fn next_us(&self) -> Option<u64> {
        self.cascade.first().map(|(at_us, _)| *at_us)
    }

    /// Lets the time go on.
    pub(super) fn advance(&mut self, to_us: u64) {
        while let Some((at_us, child)) = self.cascade.first().copied() {
            if at_us > to_us {
                break;
            }
            self.cascade.remove(&(at_us, child));
            if self.close(at_us, child) {
                self.cascaded += 1;
            }
            self.cascade_on(at_us);
        }
        while let Some((_, at)) = self.leaving.front().copied().filter(|(at_us, _)| *at_us <= to_us) {
            self.leaving.pop_front();
            self.shown.remove(at);
            self.shown_count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_found_from_above() {
        let mut bits = Bits::full(130);
        assert_eq!(bits.last_below(1_000), None, "no such word");
        assert_eq!(bits.last_below(130), Some(129));
        assert!(bits.remove(129) && !bits.remove(129));
        for at in 64..129 {
            bits.remove(at);
        }
        assert_eq!(bits.last_below(130), Some(63));
        assert_eq!(bits.last_below(63), Some(62));
        assert_eq!(bits.last_below(0), None);
    }
}
