//! One window of a pass: lists what is open, stops it parents first, and gives every target exactly one outcome.
//!
//! - **Parents first.** A child that is killed first fails its parent, which cannot be undone; but visibility lists newest
//!   first. So rows are buffered until the listing ends; then whatever has children goes, the oldest first, and after it
//!   the leaves, the newest first, so that the server's cascade and we do not chase the same ones. A root need
//!   not wait for the listing, since it is nobody's child. When the buffer fills up, its oldest go while listing
//!   waits for room: then the order holds within the buffer only, and it is for the plan to cut windows small enough.
//! - **Chain pins.** A stop is aimed at all runs from one first run. A row does not tell the first run, so the listed
//!   run is taken for it, which is right unless it continued as new; if not the server says "not found", and Describe
//!   tells.
//! - **The cap.** A chain is charged when its stop is first asked for, and refunded only when the server says for
//!   certain that the stop did nothing. Charges never exceed what was durably reserved ([`Step::Reserve`]), and a new
//!   attempt takes all that an earlier one had reserved for used. With nothing left of the cap, rows are described
//!   instead of stopped: only one that is really open makes the cap "reached".
//! - **Asking** ([`crate::WindowSpec::ask`]): the same, with requests to end in place of stops, and listing goes on until the grace is
//!   over or nothing is open any more.
//! - **Others** who close what is listed, above all the server's cascade, have the first word, and are left to it while they are faster than we are.
//! - **Retries** are per target, with growing delay. A failure is reported once, when there are no more tries.

mod ask;
mod flow;
mod others;
mod pace;
mod queue;
mod types;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::limiter::{Limiter, LimiterSnapshot, Sample};
use crate::message::Starter;
use crate::row::{CallError, CallErrorKind, DescribeReply, PageToken, Pin, Row, StopReply};
use crate::seen::Seen;
use crate::spec::{WindowLimits, WindowSpec};
use crate::tries::Tries;
use ask::Ask;
use flow::{Call, Listing, Target};
use others::Others;
use pace::Pace;
use queue::Queue;
pub use types::{Asked, AskedRun, Checkpoint, Counts, Failure, Slot, Step, TargetOutcome, TargetResult, WindowResult};

/// Failures that a result names.
const NAMED_FAILURES: usize = 100;
/// Starters that a result names, and that are told apart at all.
const NAMED_STARTERS: usize = 32;
const KNOWN_STARTERS: usize = 1_024;
/// Describes of one target before it is left to the next pass: each but the first means that it changed under our
/// hands.
const MAX_DESCRIBES: u32 = 3;

/// One window of a pass.
#[derive(Debug)]
pub struct Window {
    spec: WindowSpec,
    limiter: Limiter,
    pace: Pace,
    listing: Listing,
    /// Whether the buffer ever met its bound: from then on all stops go on while listing does, not those of roots only.
    overflowed: bool,
    /// Listed, not begun.
    buffer: Queue,
    /// To be tried again, by time.
    retries: BTreeMap<(u64, Slot), Target>,
    in_flight: BTreeMap<Slot, Target>,
    next_slot: u64,
    /// Run ids listed of late, and in which order, to drop duplicates; those in the buffer are found there.
    recent: BTreeSet<String>,
    recent_order: VecDeque<String>,
    /// Whether one of them was dropped to make room.
    forgot: bool,
    /// Stops charged against the cap by this attempt, those in flight included.
    charged: u64,
    /// What earlier attempts had reserved: taken for used.
    carried: u64,
    /// What is durably reserved, all attempts together.
    reserved: u64,
    /// What is asked to be reserved.
    reserving: Option<u64>,
    /// Stops of earlier attempts that their counts may not know.
    uncounted: u64,
    cap_reached: bool,
    stopping: bool,
    error: Option<String>,
    counts: Counts,
    outcomes: Vec<TargetOutcome>,
    failures: Vec<Failure>,
    starters: BTreeMap<(String, Option<String>), u64>,
    seen: Box<Seen>,
    /// Set when it asks.
    ask: Option<Ask>,
    others: Others,
}

impl Window {
    /// A window that starts from nothing.
    #[must_use]
    pub fn new(spec: WindowSpec) -> Self {
        Self::resume(spec, Checkpoint::default())
    }

    /// A window that goes on after a crashed attempt: it lists anew, and what that attempt had reserved counts as used. One that asks is
    /// told by [`Window::take_over`] what that attempt asked.
    #[must_use]
    pub fn resume(spec: WindowSpec, checkpoint: Checkpoint) -> Self {
        let mut counts = checkpoint.counts;
        counts.listed = counts.settled();
        let ask = spec.ask.map(|ask| Ask::new(ask, checkpoint.grace_until_ms));
        let (carried, reserved) = (checkpoint.reserved, checkpoint.reserved);
        Self {
            limiter: Limiter::new(&spec.settings.limiter),
            pace: Pace::default(),
            listing: Listing::Ready {
                token: None,
                not_before_ms: 0,
                tries: Tries::default(),
            },
            overflowed: false,
            buffer: Queue::default(),
            retries: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_slot: 0,
            recent: BTreeSet::new(),
            recent_order: VecDeque::new(),
            forgot: false,
            charged: 0,
            carried,
            reserved,
            reserving: None,
            uncounted: match ask {
                Some(_) => 0,
                None => carried.saturating_sub(counts.stopped),
            },
            cap_reached: false,
            stopping: false,
            error: None,
            counts,
            outcomes: Vec::new(),
            failures: Vec::new(),
            starters: BTreeMap::new(),
            seen: Box::new(Seen {
                // What that attempt had listed is known to nobody.
                more: counts.listed > 0 || checkpoint.reserved > 0,
                ..Seen::default()
            }),
            ask,
            others: Others::default(),
            spec,
        }
    }

    /// The next thing to do; call until it says [`Step::Wait`] or [`Step::Done`], and again after each reply.
    pub fn next(&mut self, now_ms: u64) -> Step {
        if self.stopping {
            return self.wind_down();
        }
        if let Some(step) = self.reserve_step() {
            return step;
        }
        self.leave_to_others(now_ms);
        if let Some(token) = self.list_step(now_ms) {
            return Step::List { token };
        }
        if let Some(step) = self.call_step(now_ms) {
            return step;
        }
        let idle = self.in_flight.is_empty() && self.retries.is_empty() && self.buffer.is_empty();
        if idle && self.listing == Listing::Ended && !self.asks_again(now_ms) {
            return Step::Done(Box::new(self.result()));
        }
        Step::Wait {
            until_ms: self.wake_at(now_ms),
        }
    }

    /// A page came in.
    pub fn on_page(&mut self, now_ms: u64, rows: Vec<Row>, next: Option<PageToken>) {
        if !matches!(self.listing, Listing::Asked { .. }) {
            return;
        }
        self.counts.pages += 1;
        for row in rows {
            self.take_row(row);
        }
        self.listing = match next {
            Some(token) => Listing::Ready {
                token: Some(token),
                not_before_ms: now_ms.saturating_add(self.spec.settings.list_interval_ms),
                tries: Tries::default(),
            },
            None => self.listing_ended(now_ms),
        };
    }

    fn listing_ended(&mut self, now_ms: u64) -> Listing {
        self.buffer.complete();
        self.others.listed(now_ms, self.buffer.leaves());
        Listing::Ended
    }

    /// A page could not be listed. When the tries are over, what is buffered is still stopped, and the window ends with
    /// the error.
    pub fn on_page_error(&mut self, now_ms: u64, error: CallError) {
        let Listing::Asked { token, mut tries } = std::mem::replace(&mut self.listing, Listing::Ended) else {
            return;
        };
        let CallError { kind, reason } = error;
        self.count_error(kind);
        if let Some(delay_ms) = tries.failed(kind, &self.spec.settings.retry) {
            self.listing = Listing::Ready {
                token,
                not_before_ms: now_ms.saturating_add(delay_ms),
                tries,
            };
        } else {
            self.error = Some(format!("listing failed: {reason}"));
            self.listing = self.listing_ended(now_ms);
        }
    }

    /// A stop was answered; `took_us` is the call's own latency in microseconds.
    pub fn on_stop(&mut self, now_ms: u64, slot: Slot, reply: StopReply, took_us: u64) {
        let in_flight = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        let Some(mut target) = self.in_flight.remove(&slot) else {
            return;
        };
        match reply {
            StopReply::Stopped => {
                self.limiter.on_sample(now_ms, in_flight, Sample::Done { took_us });
                self.others.note(false, self.spec.settings.late_sample);
                self.acknowledged(target);
            }
            StopReply::AlreadyCompleted => {
                self.others.note(!target.ambiguous, self.spec.settings.late_sample);
                self.refund(&mut target);
                self.settle(target, TargetResult::AlreadyClosed);
            }
            StopReply::NotFound => {
                self.refund(&mut target);
                target.call = Call::Describe;
                target.tries = Tries::default();
                self.retries.insert((now_ms, slot), target);
            }
            StopReply::Error(error) => {
                if error.kind != CallErrorKind::Permanent {
                    self.limiter.on_sample(now_ms, in_flight, Sample::Dropped);
                }
                target.ambiguous |= error.kind == CallErrorKind::Transient;
                self.retry(now_ms, slot, target, error);
            }
        }
    }

    /// A Describe was answered.
    pub fn on_describe(&mut self, now_ms: u64, slot: Slot, reply: DescribeReply) {
        let Some(mut target) = self.in_flight.remove(&slot) else {
            return;
        };
        if !matches!(reply, DescribeReply::Error(_)) {
            self.counts.describes += 1;
            target.describes += 1;
        }
        let reply = match reply {
            // The listed run itself, so the same ancestors.
            DescribeReply::Open { row, first_run_id } => DescribeReply::Open {
                row: Row {
                    descends: target.row.descends,
                    ..row
                },
                first_run_id,
            },
            reply => reply,
        };
        match reply {
            // Somebody else's chain under the same workflow id is not the chain that was listed.
            DescribeReply::Open { row, .. } if !self.spec.scope.admits(&row) => {
                self.settle(target, TargetResult::NotFound);
            }
            DescribeReply::Open { first_run_id, .. }
                if target.describes <= MAX_DESCRIBES && self.was_asked(&mut target, &first_run_id) =>
            {
                self.retries.insert((now_ms, slot), target);
            }
            DescribeReply::Open { .. } if target.at_cap && self.room() == 0 => {
                self.cap_reached = true;
                self.settle(target, TargetResult::Skipped);
            }
            DescribeReply::Open { .. } if target.describes > MAX_DESCRIBES => {
                let reason = format!("its chain changed {MAX_DESCRIBES} times while it was being stopped");
                self.refund(&mut target);
                self.settle(target, TargetResult::Failed { reason });
            }
            DescribeReply::Open { first_run_id, .. } => {
                target.aim_at(first_run_id);
                self.retries.insert((now_ms, slot), target);
            }
            DescribeReply::Closed => self.settle(target, TargetResult::AlreadyClosed),
            DescribeReply::Absent => self.settle(target, TargetResult::NotFound),
            DescribeReply::Error(error) => self.retry(now_ms, slot, target, error),
        }
    }

    /// The reservation is recorded.
    pub fn on_reserved(&mut self, upto: u64) {
        if self.reserving.take_if(|asked| *asked <= upto).is_some() {
            self.reserved = self.reserved.max(upto.min(self.spec.cap));
        }
    }

    /// The reservation could not be recorded: the window ends with what it did.
    pub fn on_reserve_error(&mut self, reason: impl Into<String>) {
        self.error = Some(format!("reservation failed: {}", reason.into()));
        self.stop();
    }

    /// Changes the limits, from the next call on; what is in flight is left alone.
    pub fn set_limits(&mut self, limits: WindowLimits) {
        self.limiter.set_max(match limits.concurrency {
            0 => self.spec.settings.limiter.max,
            max => max,
        });
        self.pace.set(limits.stops_per_second);
    }

    /// End early: nothing new is begun, calls in flight are waited for, then [`Step::Done`].
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Outcomes since the last call, for the journal.
    pub fn take_outcomes(&mut self) -> Vec<TargetOutcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// For the heartbeat: what the next attempt has to know.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            counts: self.counts,
            reserved: self.reserving.unwrap_or(self.reserved),
            grace_until_ms: self.ask.as_ref().and_then(Ask::until_ms),
        }
    }

    /// For progress: counts so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// For progress: the concurrency limit.
    #[must_use]
    pub fn limiter(&self) -> LimiterSnapshot {
        self.limiter.snapshot()
    }

    fn result(&self) -> WindowResult {
        let mut starters: Vec<Starter> = self.starters.iter().map(flow::starter).collect();
        starters.sort_by(|a, b| b.seen.cmp(&a.seen).then_with(|| a.cmp(b)));
        starters.truncate(NAMED_STARTERS);
        WindowResult {
            counts: self.counts,
            charged: match self.ask {
                Some(_) => 0,
                None => self.carried.saturating_add(self.charged),
            },
            asked: self
                .ask
                .as_ref()
                .map(|ask| ask.result(self.carried.saturating_add(self.charged), self.error.is_none())),
            uncounted: self.uncounted,
            cap_reached: self.cap_reached,
            complete: self.error.is_none() && self.counts.skipped == 0 && !self.stopping,
            error: self.error.clone(),
            failures: self.failures.clone(),
            starters,
            seen: self.seen.clone(),
            limiter: self.limiter.snapshot(),
        }
    }
}

#[cfg(test)]
mod tests;
