//! Who else closes what a window lists: above all the server, whose cascade takes the children of what was stopped.
//!
//! A stop of what is closed already costs the server about as much as one that does something; and one that comes before the cascade
//! is no gain either, since the cascade still asks for each child. So in a tree every stop of ours comes on top (measured: 5,086
//! terminations where the cascade alone takes 3,028). Therefore leaves are let be for a moment before they are stopped, and listed
//! anew: a listing is cheap, and shows what the others have left. As long as they close them at twice the rate that we would come to,
//! by Little's law what is in flight over its latency, they are let be again; twice, because a limiter that has only begun would come
//! to more than it knows. What they do not get on with we stop, until a quarter of our stops of late came too late: then so much of what
//! was listed has closed that another look is worth it, and the others have their turn again.

use std::collections::VecDeque;

use super::{Listing, Target, Window};
use crate::limiter::LimiterSnapshot;
use crate::tries::Tries;

/// How long the others are let be, in milliseconds: a quarter of what they will need at their rate, within these bounds.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;
/// How often a window does so: what nobody else finishes in that time it finishes itself.
const MOST: u32 = 120;
/// How many times faster than we they must be.
const FASTER: u64 = 2;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Of each of the last stops, whether it came too late.
    late: VecDeque<bool>,
    /// When they were let be, and with how many leaves; until that is compared with what they left.
    left: Option<(u64, u64)>,
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
        self.late.len() >= sample && late > sample / 4
    }

    /// For how long to let them be, with so many leaves to go; not at all when we are faster.
    fn pause(&mut self, now_ms: u64, leaves: u64, ours: LimiterSnapshot, sample: usize) -> Option<u64> {
        if self.times == MOST {
            return None;
        }
        let left = self.left.take();
        let closed = left.map_or(0, |(_, before)| before.saturating_sub(leaves));
        let took_ms = left.map_or(0, |(at_ms, _)| now_ms.saturating_sub(at_ms)).max(1);
        // closed / took_ms against limit / latency_us, in whole numbers.
        let theirs = closed.saturating_mul(ours.latency_us);
        let own = u64::from(ours.limit).saturating_mul(took_ms).saturating_mul(1_000);
        let outpace_us = closed > 0 && ours.latency_us > 0 && theirs >= own.saturating_mul(FASTER);
        if self.times > 0 && !outpace_us && !self.are_at_it(sample) {
            return None;
        }
        let quarter_ms = leaves.saturating_mul(took_ms).checked_div(closed).unwrap_or(0) / 4;
        Some(quarter_ms.clamp(*PAUSE_MS.start(), *PAUSE_MS.end()))
    }
}

impl Window {
    /// Whether it lists more than once: it asks, or it has left something to others.
    pub(super) fn lists_again(&self) -> bool {
        self.ask.is_some() || self.others.times > 0
    }

    /// Leaves what is left to the others for a moment: at first, and as long as they are faster.
    pub(super) fn leave_to_others(&mut self, now_ms: u64) {
        let sample = self.spec.settings.late_sample;
        let leaves = self.buffer.leaves();
        let worth_it = self.listing == Listing::Ended && leaves > sample && self.buffer.heads() == 0;
        // What was listed and forgotten already would come twice.
        if !worth_it || self.forgot || self.error.is_some() || self.ask.is_some() {
            return;
        }
        let leaves = u64::try_from(leaves).unwrap_or(u64::MAX);
        let Some(pause_ms) = self.others.pause(now_ms, leaves, self.limiter.snapshot(), sample) else {
            return;
        };
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
        // There is room again, so the next listing, too, is to end before leaves are told from others.
        self.overflowed = false;
        self.others.late.clear();
        self.others.left = Some((now_ms, leaves));
        self.others.times += 1;
        self.listing = Listing::Ready {
            token: None,
            not_before_ms: now_ms.saturating_add(pause_ms),
            tries: Tries::default(),
        };
    }
}
