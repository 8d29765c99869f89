//! Asking executions to end, in place of terminating them: all that is open, and what starts meanwhile, until the grace is over or nothing
//! is open any more.
//!
//! The grace begins when all that was open has been asked, so that each has all of it. A request does not outlive a run: what
//! continues as new is listed as another run, and asked again.

use std::collections::BTreeSet;

use super::{Asked, Listing, Target, TargetResult, Window};
use crate::row::Row;
use crate::spec::AskSpec;
use crate::tries::Tries;

/// Pause between two listings, in milliseconds.
const PAUSE_MS: u64 = 1_000;
/// Listings in a row that show nothing open, after which it ends before the grace is over. Whether nothing is left, a confirmation tells.
const EMPTY_LISTINGS: u32 = 2;

/// What a window knows that asks.
#[derive(Debug)]
pub(super) struct Ask {
    spec: AskSpec,
    /// First run ids of the chains that were asked.
    chains: BTreeSet<String>,
    /// Runs that were asked and are not the first of their chain.
    later_runs: BTreeSet<String>,
    /// Executions that the listing has shown so far, and those of them that had been asked.
    shown: u64,
    left: u64,
    /// The same of the last whole listing.
    left_before: u64,
    empty_listings: u32,
    over: bool,
}

impl Ask {
    pub(super) fn new(spec: AskSpec, until_ms: Option<u64>) -> Self {
        Self {
            spec: AskSpec {
                until_ms: spec.until_ms.or(until_ms),
                ..spec
            },
            chains: BTreeSet::new(),
            later_runs: BTreeSet::new(),
            shown: 0,
            left: 0,
            left_before: 0,
            empty_listings: 0,
            over: false,
        }
    }

    pub(super) fn until_ms(&self) -> Option<u64> {
        self.spec.until_ms
    }

    /// What came of it; `whole` when the last listing came to its end.
    pub(super) fn result(&self, charged: u64, whole: bool) -> Asked {
        Asked {
            charged,
            chains: u64::try_from(self.chains.len()).unwrap_or(u64::MAX),
            left: if whole {
                self.left
            } else {
                self.left.max(self.left_before)
            },
            until_ms: self.spec.until_ms,
            over: self.over,
        }
    }

    /// All that was listed has been asked: when to list again, unless that is enough.
    fn next_listing(&mut self, now_ms: u64) -> Option<u64> {
        let until_ms = *self
            .spec
            .until_ms
            .get_or_insert(now_ms.saturating_add(self.spec.grace_ms));
        self.over = now_ms >= until_ms;
        self.empty_listings = if self.shown == 0 { self.empty_listings + 1 } else { 0 };
        if self.over || self.empty_listings >= EMPTY_LISTINGS {
            return None;
        }
        self.left_before = self.left;
        (self.shown, self.left) = (0, 0);
        Some(now_ms.saturating_add(PAUSE_MS).min(until_ms))
    }
}

impl Window {
    /// A row came in, known or not.
    pub(super) fn note_shown(&mut self, row: &Row) {
        if let Some(ask) = &mut self.ask
            && self.spec.scope.admits(row)
        {
            let run = &row.run_id;
            ask.shown += 1;
            ask.left += u64::from(ask.chains.contains(run) || ask.later_runs.contains(run));
        }
    }

    /// The server took a stop, or a request to end.
    pub(super) fn acknowledged(&mut self, target: Target) {
        let Some(ask) = &mut self.ask else {
            return self.settle(target, TargetResult::Stopped);
        };
        if target.first_run_id != target.row.run_id {
            ask.later_runs.insert(target.row.run_id.clone());
        }
        // Shown by this listing, and not known to have ended.
        ask.left += 1;
        if !ask.chains.insert(target.first_run_id.clone()) {
            self.charged = self.charged.saturating_sub(1);
        }
        self.settle(target, TargetResult::Asked);
    }

    /// Aims at a chain that was asked before: another run of it is the same execution to the cap, so it is charged whatever is left,
    /// until it is acknowledged.
    pub(super) fn was_asked(&mut self, target: &mut Target, first_run_id: &str) -> bool {
        let known = self.ask.as_ref().is_some_and(|ask| ask.chains.contains(first_run_id));
        if known {
            target.aim_at(first_run_id.to_owned());
            self.charged += u64::from(!std::mem::replace(&mut target.charged, true));
        }
        known
    }

    /// Begins to list anew, when it asks and that is not over; whether it did.
    pub(super) fn asks_again(&mut self, now_ms: u64) -> bool {
        let Some(ask) = self.ask.as_mut().filter(|_| self.error.is_none() && !self.cap_reached) else {
            return false;
        };
        let Some(not_before_ms) = ask.next_listing(now_ms) else {
            return false;
        };
        self.listing = Listing::Ready {
            token: None,
            not_before_ms,
            tries: Tries::default(),
        };
        true
    }
}
