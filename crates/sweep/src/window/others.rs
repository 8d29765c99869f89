//! Who else closes what a window lists: above all the server, whose cascade takes the children of what was stopped.
//!
//! A stop of what is closed already costs the server about as much as one that does something; and one that comes before the cascade
//! is no gain either, since the cascade still asks for each child. So in a tree every stop of ours comes on top (measured: 5,086
//! terminations where the cascade alone takes 3,028). Therefore leaves are let be for a moment before they are stopped, and listed
//! anew: a listing is cheap, and shows what the others have left. As long as they close them at twice the rate that we would come to,
//! by Little's law what is in flight over its latency, or a pace that somebody has set, they are let be again; twice, because a limiter
//! that has only begun would come to more than it knows. What they do not get on with we stop, until a quarter of our stops of late came
//! too late: then so much of what was listed has closed that another look is worth it, and the others have their turn again. Others who
//! close next to nothing three times in a row have no turn any more.

use std::collections::{VecDeque, btree_map::Entry};

use super::{Listing, Target, Window};
use crate::limiter::LimiterSnapshot;
use crate::tries::Tries;

/// How long the others are let be, in milliseconds: a quarter of what they will need at their rate, within these bounds. A page of a
/// thousand rows costs the dev server 50 ms of processor, as much as it needs to close four or five leaves.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 1_000..=10_000;
/// How often a window does so: what nobody else finishes in that time it finishes itself.
const MOST: u32 = 120;
/// How often in a row they may be idle; then they have no turn any more, since stops that come too late only show an old index. Each time
/// they get twice as long as the time before, so that an index that lags by a few seconds is not taken for that.
const MOST_IDLE: u32 = 3;
/// How many times faster than we they must be.
const FASTER: u64 = 2;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Of each of the last stops, whether it came too late.
    late: VecDeque<bool>,
    /// When they were let be, and with how many leaves; until those are listed anew.
    left: Option<(u64, u64)>,
    /// What they did then; until it is judged.
    did: Option<Deed>,
    times: u32,
    /// How often in a row they closed next to nothing.
    idle: u32,
}

/// What others did while they were let be.
#[derive(Debug, Clone, Copy, Default)]
struct Deed {
    /// Leaves fewer than before: net of those that came.
    closed: u64,
    took_ms: u64,
    /// Whether there were more than before. Then how many they closed is unknown.
    grew: bool,
}

/// How fast we would be: what is in flight over its latency, and no more than somebody has set.
#[derive(Debug, Clone, Copy)]
struct Ours {
    limiter: LimiterSnapshot,
    /// Stops a second; 0 is no limit.
    pace: u64,
}

impl Ours {
    /// Whether others were so much faster, in whole numbers.
    fn are_outpaced(self, Deed { closed, took_ms, .. }: Deed) -> bool {
        let LimiterSnapshot { limit, latency_us, .. } = self.limiter;
        let share = FASTER.saturating_mul(took_ms);
        let than_limiter =
            closed.saturating_mul(latency_us) >= share.saturating_mul(u64::from(limit)).saturating_mul(1_000);
        let than_pace = closed.saturating_mul(1_000) >= share.saturating_mul(self.pace);
        closed > 0 && (latency_us > 0 && than_limiter || self.pace > 0 && than_pace)
    }

    fn are_unknown(self) -> bool {
        self.limiter.latency_us == 0 && self.pace == 0
    }
}

impl Others {
    /// A stop was answered for good.
    pub(super) fn note(&mut self, too_late: bool, sample: usize) {
        self.late.push_back(too_late);
        if self.late.len() > sample {
            self.late.pop_front();
        }
    }

    /// A listing has ended, with so many leaves.
    pub(super) fn listed(&mut self, now_ms: u64, leaves: usize) {
        let leaves = u64::try_from(leaves).unwrap_or(u64::MAX);
        self.did = self.left.take().map(|(at_ms, before)| Deed {
            closed: before.saturating_sub(leaves),
            took_ms: now_ms.saturating_sub(at_ms).max(1),
            grew: leaves > before,
        });
    }

    fn are_at_it(&self, sample: usize) -> bool {
        let late = self.late.iter().filter(|late| **late).count();
        self.late.len() >= sample && late > sample / 4
    }

    /// For how long to let them be, with so many leaves to go; not at all when we are faster.
    fn pause(&mut self, leaves: u64, ours: Ours, sample: usize) -> Option<u64> {
        let did = self.did.take();
        let Deed { closed, took_ms, grew } = did.unwrap_or_default();
        let they_are_faster = did.is_some_and(|did| ours.are_outpaced(did));
        // As many stops that come too late are no sign of them either.
        let next_to_nothing = closed <= u64::try_from(sample / 4).unwrap_or(u64::MAX);
        if did.is_some() && !grew {
            self.idle = if next_to_nothing && !they_are_faster {
                self.idle + 1
            } else {
                0
            };
        }
        if self.times == MOST || self.idle == MOST_IDLE {
            return None;
        }
        if self.times > 0 && !they_are_faster && !self.are_at_it(sample) {
            return None;
        }
        let (least_ms, most_ms) = PAUSE_MS.into_inner();
        let least_ms = least_ms << self.idle;
        if !they_are_faster && !ours.are_unknown() {
            return Some(least_ms);
        }
        let quarter_ms = leaves.saturating_mul(took_ms).checked_div(closed).unwrap_or(0) / 4;
        Some(quarter_ms.clamp(least_ms, most_ms))
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
        let ours = Ours {
            limiter: self.limiter.snapshot(),
            pace: self.pace.per_second(),
        };
        let Some(pause_ms) = self.others.pause(leaves, ours, sample) else {
            return;
        };
        for Target { row, .. } in self.buffer.drain() {
            // Listed again, it counts again.
            if let Some(key) = self.starter_key(&row)
                && let Entry::Occupied(mut starter) = self.starters.entry(key)
            {
                *starter.get_mut() = starter.get().saturating_sub(1);
                if *starter.get() == 0 {
                    starter.remove();
                }
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
