//! Asking executions to end, in place of terminating them: all that is open, and what starts meanwhile, until the grace is over or nothing
//! is open any more. A request that fails for good is made again while the grace lasts, less and less often.
//!
//! The grace begins when all that was open has been asked, so that each has all of it. A request does not outlive a run: what
//! continues as new is listed as another run, and asked again.

use std::collections::{BTreeMap, BTreeSet};

use super::{Asked, AskedRun, Listing, Slot, Target, TargetResult, Window};
use crate::row::Row;
use crate::spec::AskSpec;
use crate::tries::Tries;

/// Pause between two listings, in milliseconds.
const PAUSE_MS: u64 = 1_000;
/// Listings in a row that show nothing open, after which it ends before the grace is over. Whether nothing is left, a confirmation tells.
const EMPTY_LISTINGS: u32 = 2;
/// Pause before a request that failed is made again, in milliseconds: it doubles each time, up to the longest.
const FAILED_PAUSE_MS: u64 = 2_000;
const LONGEST_FAILED_PAUSE_MS: u64 = 60_000;

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
    /// Requests that failed, by when they are made again, each with why it failed.
    failed: BTreeMap<(u64, Slot), (Target, String)>,
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
            failed: BTreeMap::new(),
        }
    }

    fn note(&mut self, first_run_id: String, run_id: &str) -> bool {
        if first_run_id != run_id {
            self.later_runs.insert(run_id.to_owned());
        }
        self.chains.insert(first_run_id)
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
    /// Takes over what earlier attempts asked: it is neither asked nor charged again. To be called first of all.
    pub fn take_over(&mut self, asked: impl IntoIterator<Item = AskedRun>) {
        let Some(ask) = &mut self.ask else { return };
        for AskedRun { first_run_id, run_id } in asked {
            if ask.note(first_run_id, &run_id) {
                self.carried = self.carried.saturating_sub(1);
                self.charged += 1;
            }
            self.recent.insert(run_id);
        }
    }

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
        // Shown by this listing, and not known to have ended.
        ask.left += 1;
        if !ask.note(target.first_run_id.clone(), &target.row.run_id) {
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

    /// There are no more tries for a target: it has failed, unless it can be asked again later.
    pub(super) fn give_up(&mut self, now_ms: u64, slot: Slot, mut target: Target, reason: String) {
        match &mut self.ask {
            Some(ask) if !ask.over && !self.stopping => {
                let pause_ms = FAILED_PAUSE_MS.saturating_mul(1 << target.given_up.min(16));
                target.given_up += 1;
                let at_ms = now_ms.saturating_add(pause_ms.min(LONGEST_FAILED_PAUSE_MS));
                ask.failed.insert((at_ms, slot), (target, reason));
            }
            _ => self.settle(target, TargetResult::Failed { reason }),
        }
    }

    /// Requests that failed and would be made again, each with why it failed; none are left.
    pub(super) fn failed_requests(&mut self) -> impl Iterator<Item = (Target, String)> + use<> {
        let failed = self.ask.as_mut().map(|ask| std::mem::take(&mut ask.failed));
        failed.unwrap_or_default().into_values()
    }

    /// Begins to list anew, when it asks and that is not over; whether it did.
    pub(super) fn asks_again(&mut self, now_ms: u64) -> bool {
        let ask = self.ask.as_mut().filter(|_| self.error.is_none() && !self.cap_reached);
        let Some((ask, not_before_ms)) = ask.and_then(|ask| ask.next_listing(now_ms).map(|at_ms| (ask, at_ms))) else {
            for (target, reason) in self.failed_requests() {
                self.settle(target, TargetResult::Failed { reason });
            }
            return false;
        };
        while let Some(entry) = ask.failed.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let ((_, slot), (mut target, _)) = entry.remove_entry();
            target.tries = Tries::default();
            self.retries.insert((now_ms, slot), target);
        }
        self.listing = Listing::Ready {
            token: None,
            not_before_ms,
            tries: Tries::default(),
        };
        true
    }
}
