//! Who else closes what a window lists: above all the server, whose cascade takes the children of what was stopped.
//!
//! A stop of what is closed already costs the server about as much as one that does something, and takes it from the cascade. So
//! when most of the stops of late came too late, what is left of the listing is let be for a moment and listed anew: a listing is
//! cheap, and shows what the others have left. (Measured: three of four stops in a tree of 5,000 came too late without this.)

use std::collections::VecDeque;

use super::{Listing, Target, Window};
use crate::tries::Tries;

/// How long the others are let be, in milliseconds.
const PAUSE_MS: u64 = 1_000;
/// How often a window does so: what nobody else finishes in that time it finishes itself.
const MOST: u32 = 120;

/// The last stops of a window.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Of each, whether it came too late.
    late: VecDeque<bool>,
    times: u32,
}

impl Others {
    /// A stop was answered for good.
    pub(super) fn note(&mut self, too_late: bool, sample: usize) {
        self.late.push_back(too_late);
        if self.late.len() > sample {
            self.late.pop_front();
        }
    }

    fn are_at_it(&self, sample: usize) -> bool {
        let late = self.late.iter().filter(|late| **late).count();
        self.times < MOST && self.late.len() >= sample && late > sample / 2
    }
}

impl Window {
    /// Whether it lists more than once: it asks, or it has left something to others.
    pub(super) fn lists_again(&self) -> bool {
        self.ask.is_some() || self.others.times > 0
    }

    /// Leaves what is left to the others for a moment, when they are faster.
    pub(super) fn leave_to_others(&mut self, now_ms: u64) {
        let sample = self.spec.settings.late_sample;
        let worth_it = self.listing == Listing::Ended && self.buffer.leaves() > sample && self.buffer.heads() == 0;
        // What was listed and forgotten already would come twice.
        if !worth_it || self.forgot || self.error.is_some() || self.ask.is_some() || !self.others.are_at_it(sample) {
            return;
        }
        for Target { row, .. } in self.buffer.drain() {
            // Listed again, it counts again.
            if let Some(key) = self.starter_key(&row)
                && let Some(seen) = self.starters.get_mut(&key)
            {
                *seen = seen.saturating_sub(1);
            }
            self.recent.remove(&row.run_id);
            self.counts.listed = self.counts.listed.saturating_sub(1);
        }
        self.recent_order.retain(|run_id| self.recent.contains(run_id));
        self.others.late.clear();
        self.others.times += 1;
        self.listing = Listing::Ready {
            token: None,
            not_before_ms: now_ms.saturating_add(PAUSE_MS),
            tries: Tries::default(),
        };
    }
}
