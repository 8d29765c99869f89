//! How targets move through a window: listed, begun, tried again, settled.

use super::{
    CallError, CallErrorKind, Failure, KNOWN_STARTERS, NAMED_FAILURES, PageToken, Pin, Row, Slot, Starter, Step,
    TargetOutcome, TargetResult, Tries, Window,
};

/// The part of what is left of the cap that is reserved at a time, as a divisor.
const RESERVED_SHARE: u64 = 20;

/// What is asked about a target next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Stop,
    Describe,
}

/// One listed execution on its way to its outcome.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) row: Row,
    /// First run of the chain, as far as known: the listed run until Describe says otherwise.
    pub(super) first_run_id: String,
    pub(super) call: Call,
    /// Failed tries of this call.
    pub(super) tries: Tries,
    pub(super) describes: u32,
    /// Whether it is charged against the cap.
    pub(super) charged: bool,
    /// Whether a stop of it may have been done without our knowing.
    pub(super) ambiguous: bool,
    /// Whether it is described because the cap is used up.
    pub(super) at_cap: bool,
    /// How often there were no more tries for it.
    pub(super) given_up: u32,
}

impl Target {
    /// Aims at the chain that Describe found. When a stop of another chain may have been done, the charge stays with
    /// that one.
    pub(super) fn aim_at(&mut self, first_run_id: String) {
        if self.first_run_id != first_run_id {
            self.first_run_id = first_run_id;
            self.charged &= !self.ambiguous;
            self.ambiguous = false;
        }
        self.call = Call::Stop;
        self.tries = Tries::default();
    }
}

/// Where the listing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listing {
    /// The next page may be asked for from this time on.
    Ready {
        token: Option<PageToken>,
        not_before_ms: u64,
        tries: Tries,
    },
    /// A page was asked for.
    Asked { token: Option<PageToken>, tries: Tries },
    /// There are no more pages, or listing was given up.
    Ended,
}

pub(super) fn starter(((workflow_type, parent), seen): (&(String, Option<String>), &u64)) -> Starter {
    Starter {
        workflow_type: workflow_type.clone(),
        parent_workflow_id: parent.clone(),
        identity: None,
        seen: *seen,
    }
}

impl Window {
    /// Takes a listed row in: a duplicate is dropped, one that must not be stopped settled, any other buffered.
    pub(super) fn take_row(&mut self, row: Row) {
        self.note_shown(&row);
        if self.buffer.contains(row.start_ms, &row.run_id) || !self.recent.insert(row.run_id.clone()) {
            self.counts.duplicates += 1;
            return;
        }
        self.recent_order.push_back(row.run_id.clone());
        // One that lists again is shown again what it has settled: all of it is remembered.
        if !self.lists_again()
            && self.recent_order.len() > self.spec.settings.buffer_rows.max(1).saturating_mul(2)
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
            self.forgot = true;
        }
        self.counts.listed += 1;
        let first_run_id = row.run_id.clone();
        let target = Target {
            row,
            first_run_id,
            call: Call::Stop,
            tries: Tries::default(),
            describes: 0,
            charged: false,
            ambiguous: false,
            at_cap: false,
            given_up: 0,
        };
        if !self.spec.scope.admits(&target.row) {
            return self.settle(target, TargetResult::OutOfScope);
        }
        self.note_starter(&target.row);
        if !target.row.descends {
            self.seen.note(&target.row);
        }
        let known_parents = self.spec.settings.buffer_rows.max(1).saturating_mul(2);
        self.buffer.push(target, known_parents);
    }

    /// By what a starter is known, for a row that was started after the fence.
    pub(super) fn starter_key(&self, row: &Row) -> Option<(String, Option<String>)> {
        let fence_ms = self.spec.fence_ms;
        (fence_ms > 0 && row.start_ms >= fence_ms).then(|| (row.workflow_type.clone(), row.parent_workflow_id.clone()))
    }

    fn note_starter(&mut self, row: &Row) {
        let Some(key) = self.starter_key(row) else { return };
        if self.starters.len() < KNOWN_STARTERS || self.starters.contains_key(&key) {
            *self.starters.entry(key).or_default() += 1;
        }
    }

    /// Cap left for new charges.
    pub(super) fn room(&self) -> u64 {
        self.spec.cap.saturating_sub(self.carried.saturating_add(self.charged))
    }

    /// Reserves ahead, so that stops need not wait for the record: when less than half a chunk is left of the last one.
    pub(super) fn reserve_step(&mut self) -> Option<Step> {
        let used = self.carried.saturating_add(self.charged);
        let chunk = self.chunk();
        let ahead = self.reserved.saturating_sub(used);
        let waiting = self.buffer.len().saturating_add(self.retries.len());
        let needed = ahead < u64::try_from(waiting).unwrap_or(u64::MAX);
        if self.reserving.is_some() || self.reserved >= self.spec.cap || !needed || ahead > chunk / 2 {
            return None;
        }
        let upto = self.reserved.saturating_add(chunk).min(self.spec.cap);
        self.reserving = Some(upto);
        Some(Step::Reserve { upto })
    }

    /// How much to reserve at a time. What a lost attempt had reserved counts as used, so it is a small part of what is left
    /// of the cap; but twice what may be in flight, or stops would wait for the record.
    fn chunk(&self) -> u64 {
        let in_flight = u64::from(self.limiter.limit());
        (self.room() / RESERVED_SHARE)
            .max(in_flight.saturating_mul(2))
            .min(self.spec.settings.reserve_chunk)
            .max(1)
    }

    /// The page to ask for now, if any.
    pub(super) fn list_step(&mut self, now_ms: u64) -> Option<Option<PageToken>> {
        // What waits for another try is held as well.
        let held = self.buffer.len().saturating_add(self.retries.len());
        let full = held >= self.spec.settings.buffer_rows.max(1);
        self.overflowed |= full;
        let Listing::Ready {
            token,
            not_before_ms,
            tries,
        } = &mut self.listing
        else {
            return None;
        };
        if full || now_ms < *not_before_ms {
            return None;
        }
        let token = token.take();
        self.listing = Listing::Asked {
            token: token.clone(),
            tries: *tries,
        };
        Some(token)
    }

    /// The call to make now, if any: what is due again first, then the next of the buffer.
    pub(super) fn call_step(&mut self, now_ms: u64) -> Option<Step> {
        let limit = usize::try_from(self.limiter.limit()).unwrap_or(usize::MAX);
        if self.in_flight.len() >= limit {
            return None;
        }
        let due = self
            .retries
            .first_key_value()
            .filter(|((at_ms, _), _)| *at_ms <= now_ms)
            .map(|(_, target)| target);
        let is_due = due.is_some();
        let in_order = self.listing == Listing::Ended || self.overflowed;
        // Nothing that is still to be listed comes before a root. One that asks lists again, and counts what it is shown.
        let asks = self.ask.is_some();
        let may_begin = |target: &&Target| in_order || (!asks && target.row.is_root());
        let candidate = due.or_else(|| self.buffer.peek().filter(may_begin))?;
        let is_stop = candidate.call == Call::Stop;
        let needs_charge = is_stop && !candidate.charged;
        let room = self.room();
        if needs_charge && room > 0 && self.carried.saturating_add(self.charged) >= self.reserved {
            return None; // until the reservation is recorded
        }

        let at_cap = needs_charge && room == 0;
        if is_stop && !at_cap {
            if !self.pace.allows(now_ms) {
                return None;
            }
            self.pace.spend();
        }
        let mut target = if is_due {
            self.retries.pop_first().map(|(_, t)| t)
        } else {
            self.buffer.pop()
        }?;
        if at_cap {
            target.call = Call::Describe;
            target.at_cap = true;
        } else if needs_charge {
            target.charged = true;
            self.charged += 1;
        }
        let slot = Slot(self.next_slot);
        self.next_slot += 1;
        let workflow_id = target.row.workflow_id.clone();
        let step = match target.call {
            Call::Stop => Step::Stop {
                slot,
                pin: Pin {
                    workflow_id,
                    first_run_id: target.first_run_id.clone(),
                },
            },
            Call::Describe => Step::Describe {
                slot,
                workflow_id,
                run_id: target.row.run_id.clone(),
            },
        };
        self.in_flight.insert(slot, target);
        Some(step)
    }

    /// When there is something to do without a reply.
    pub(super) fn wake_at(&self, now_ms: u64) -> Option<u64> {
        let retry = self.retries.first_key_value().map(|((at_ms, _), _)| *at_ms);
        let page = match &self.listing {
            Listing::Ready { not_before_ms, .. } => Some(*not_before_ms),
            Listing::Asked { .. } | Listing::Ended => None,
        };
        // What is due already waits for a reply (a slot, or a reservation), not for a time.
        let waiting = !self.retries.is_empty() || !self.buffer.is_empty();
        let pace = self.pace.next_at(now_ms).filter(|_| waiting);
        [retry, page, pace]
            .into_iter()
            .flatten()
            .filter(|at_ms| *at_ms > now_ms)
            .min()
    }

    /// After a request to stop: waits for what is in flight, then leaves the rest alone.
    pub(super) fn wind_down(&mut self) -> Step {
        if !self.in_flight.is_empty() || matches!(self.listing, Listing::Asked { .. }) {
            return Step::Wait { until_ms: None };
        }
        let failed = self.failed_requests();
        let rest: Vec<Target> = self
            .buffer
            .drain()
            .chain(std::mem::take(&mut self.retries).into_values())
            .chain(failed.map(|(target, _)| target))
            .collect();
        for target in rest {
            self.settle(target, TargetResult::Skipped);
        }
        Step::Done(Box::new(self.result()))
    }

    /// Gives the cap back what the server says for certain was not stopped.
    pub(super) fn refund(&mut self, target: &mut Target) {
        if target.charged && !target.ambiguous {
            target.charged = false;
            self.charged = self.charged.saturating_sub(1);
        }
    }

    /// Tries a failed call again later, or settles the target as failed.
    pub(super) fn retry(&mut self, now_ms: u64, slot: Slot, mut target: Target, error: CallError) {
        self.count_error(error.kind);
        if let Some(delay_ms) = target.tries.failed(error.kind, &self.spec.settings.retry) {
            self.retries.insert((now_ms.saturating_add(delay_ms), slot), target);
        } else {
            self.refund(&mut target);
            self.give_up(now_ms, slot, target, error.reason);
        }
    }

    pub(super) fn count_error(&mut self, kind: CallErrorKind) {
        match kind {
            CallErrorKind::Throttled => self.counts.throttled += 1,
            CallErrorKind::Transient => self.counts.transient += 1,
            CallErrorKind::Permanent => {}
        }
    }

    /// Gives a target its one outcome.
    pub(super) fn settle(&mut self, target: Target, result: TargetResult) {
        match &result {
            TargetResult::Stopped => {
                self.counts.stopped += 1;
                self.counts.descendants += u64::from(target.row.descends);
            }
            TargetResult::Asked => self.counts.asked += 1,
            TargetResult::AlreadyClosed => self.counts.already_closed += 1,
            TargetResult::NotFound => self.counts.not_found += 1,
            TargetResult::OutOfScope => self.counts.out_of_scope += 1,
            TargetResult::Skipped => self.counts.skipped += 1,
            TargetResult::Failed { reason } => {
                self.counts.failed += 1;
                if self.failures.len() < NAMED_FAILURES {
                    self.failures.push(Failure {
                        workflow_id: target.row.workflow_id.clone(),
                        run_id: target.row.run_id.clone(),
                        reason: reason.clone(),
                    });
                }
            }
        }
        self.outcomes.push(TargetOutcome {
            workflow_id: target.row.workflow_id,
            first_run_id: target.first_run_id,
            run_id: target.row.run_id,
            workflow_type: target.row.workflow_type,
            root_workflow_id: target.row.root_workflow_id,
            parent_workflow_id: target.row.parent_workflow_id,
            result,
        });
    }
}
