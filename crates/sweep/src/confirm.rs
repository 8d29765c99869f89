//! Whether anything is left: looks at the index, each more than its lag apart, and describes whatever it still shows.
//!
//! One empty look says little: the index may not have what was started a moment ago, or may answer empty for no good
//! reason (facts: a cancellation waited for ever on one look that came too early). So a zero is K empty looks in a row,
//! each more than the measured lag after the one before. A row that the index shows is described: an execution that is
//! alive ends the confirmation at once (there is more to sweep); a closed one is stale, named, and does not spoil the
//! look.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::message::{AliveExecution, Confirmed, Look, StaleExecution};
use crate::row::{CallError, DescribeReply, PageToken, Row};
use crate::spec::ConfirmSpec;
use crate::tries::Tries;
use crate::window::Slot;

/// Alive executions that are named; when so many are known, no more are looked for.
const NAMED_ALIVE: usize = 20;
/// Looks that are kept.
const KEPT_LOOKS: usize = 64;
/// Describes in flight.
const DESCRIBES_AT_ONCE: usize = 8;
/// Rows of a page once there is something to describe.
const FULL_PAGE: u32 = 1_000;
/// Shortest pause between two looks, in milliseconds.
const SHORTEST_PAUSE_MS: u64 = 250;

/// What the shell of a confirmation does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfirmStep {
    /// Measure the index lag (canaries, and the lag of our own acknowledged stops); answer by [`Confirm::on_lag`] or
    /// [`Confirm::on_lag_error`].
    MeasureLag,
    /// List one page of what is open in the target; answer by [`Confirm::on_look`] or [`Confirm::on_look_error`]. At
    /// most one is asked for at a time.
    Look {
        /// Rows asked for: 1 for the first page, more once there is something to describe. A token goes on whatever the
        /// size of the page was that it came with.
        page_size: u32,
        /// Where to go on; unset for the first page.
        token: Option<PageToken>,
    },
    /// Describe the current run of a workflow id; answer by [`Confirm::on_describe`].
    Describe {
        /// To be given back.
        slot: Slot,
        /// Workflow id; with an empty run id.
        workflow_id: String,
    },
    /// Nothing to do before a reply comes in or, when set, this time.
    Wait {
        /// In milliseconds, on the clock that [`Confirm::next`] is given.
        until_ms: Option<u64>,
    },
    /// Over.
    Done(Confirmed),
}

/// A call that is made one at a time: the lag measurement, or a page of a look.
#[derive(Debug, Default)]
struct Turn {
    asked: bool,
    not_before_ms: u64,
    tries: Tries,
}

/// Whether anything is left.
#[derive(Debug)]
pub struct Confirm {
    spec: ConfirmSpec,
    started_ms: Option<u64>,
    lag_ms: Option<u64>,
    turn: Turn,
    /// The look being made: its first page's time and the rows of it so far. Unset between looks.
    look: Option<Look>,
    token: Option<PageToken>,
    /// Whether the look is read from the start again, up to a row that it began with: what a chain became while a look of several
    /// pages was read (its old run gone from a later page, its new one above the first) would be seen by neither.
    rereading: bool,
    /// Pages of the look so far, the runs on its first, and those of its runs that are in scope.
    pages: u32,
    first_page: BTreeSet<String>,
    shown: BTreeSet<String>,
    /// Whether pages of more than one row are asked for.
    full_pages: bool,
    to_describe: VecDeque<Described>,
    in_flight: BTreeMap<Slot, Described>,
    next_slot: u64,
    /// Runs that are known to be closed.
    closed: BTreeSet<String>,
    /// Stale rows of the look being made, or of the last.
    stale: Vec<StaleExecution>,
    looks: Vec<Look>,
    alive: BTreeMap<String, AliveExecution>,
    error: Option<String>,
}

#[derive(Debug)]
struct Described {
    row: Row,
    tries: Tries,
    not_before_ms: u64,
}

impl Confirm {
    /// A confirmation that has seen nothing yet.
    #[must_use]
    pub fn new(spec: ConfirmSpec) -> Self {
        Self {
            spec,
            started_ms: None,
            lag_ms: None,
            turn: Turn::default(),
            look: None,
            token: None,
            rereading: false,
            pages: 0,
            first_page: BTreeSet::new(),
            shown: BTreeSet::new(),
            full_pages: false,
            to_describe: VecDeque::new(),
            in_flight: BTreeMap::new(),
            next_slot: 0,
            closed: BTreeSet::new(),
            stale: Vec::new(),
            looks: Vec::new(),
            alive: BTreeMap::new(),
            error: None,
        }
    }

    /// The next thing to do; call until it says [`ConfirmStep::Wait`] or [`ConfirmStep::Done`], and again after each
    /// reply.
    pub fn next(&mut self, now_ms: u64) -> ConfirmStep {
        let started_ms = *self.started_ms.get_or_insert(now_ms);
        let ends_ms = started_ms.saturating_add(self.spec.timeout_ms);
        let zero = self.alive.is_empty()
            && self
                .lag_ms
                .is_some_and(|lag| proves_zero(&self.looks, lag, self.spec.looks));
        let read = self.look.is_none() || !self.spec.names_alive;
        let found =
            !self.alive.is_empty() && ((self.to_describe.is_empty() && read) || self.alive.len() >= NAMED_ALIVE);
        let timed_out = now_ms >= ends_ms;
        if zero || found || timed_out || self.error.is_some() {
            if !self.in_flight.is_empty() || self.turn.asked {
                return ConfirmStep::Wait { until_ms: None };
            }
            return ConfirmStep::Done(self.result(zero, timed_out));
        }

        if self.in_flight.len() < DESCRIBES_AT_ONCE
            && self
                .to_describe
                .front()
                .is_some_and(|next| next.not_before_ms <= now_ms)
            && let Some(described) = self.to_describe.pop_front()
        {
            let slot = Slot(self.next_slot);
            self.next_slot += 1;
            let workflow_id = described.row.workflow_id.clone();
            self.in_flight.insert(slot, described);
            return ConfirmStep::Describe { slot, workflow_id };
        }
        let describing = !self.in_flight.is_empty() || !self.to_describe.is_empty();
        let may_ask = !self.turn.asked && now_ms >= self.turn.not_before_ms;
        if may_ask && self.lag_ms.is_none() {
            self.turn.asked = true;
            return ConfirmStep::MeasureLag;
        }
        if may_ask && !describing {
            self.turn.asked = true;
            let page_size = if self.full_pages { FULL_PAGE } else { 1 };
            return ConfirmStep::Look {
                page_size,
                token: self.token.clone(),
            };
        }

        let describe_at = self.to_describe.front().map(|next| next.not_before_ms);
        let turn_at = (!self.turn.asked && !describing).then_some(self.turn.not_before_ms);
        let next_ms = [describe_at, turn_at]
            .into_iter()
            .flatten()
            .filter(|at| *at > now_ms)
            .min();
        ConfirmStep::Wait {
            until_ms: Some(next_ms.unwrap_or(ends_ms).min(ends_ms)),
        }
    }

    /// The lag was measured, in milliseconds: the largest of all measurements.
    pub fn on_lag(&mut self, now_ms: u64, lag_ms: u64) {
        self.lag_ms = Some(lag_ms);
        self.turn = Turn {
            not_before_ms: now_ms,
            ..Turn::default()
        };
    }

    /// The lag could not be measured.
    pub fn on_lag_error(&mut self, now_ms: u64, error: CallError) {
        self.turn_failed(now_ms, "measuring the index lag failed", error);
    }

    /// A page was listed; `at_ms` is when the call was sent, on the same clock as `now_ms`.
    pub fn on_look(&mut self, now_ms: u64, at_ms: u64, rows: Vec<Row>, next: Option<PageToken>) {
        if !std::mem::take(&mut self.turn.asked) {
            return;
        }
        self.turn.tries = Tries::default();
        if self.look.is_none() {
            self.stale.clear();
            self.shown.clear();
            self.rereading = false;
            self.pages = 0;
            self.first_page = rows.iter().map(|row| row.run_id.clone()).collect();
        }
        self.pages = self.pages.saturating_add(1);
        let Some(next) = self.goes_on(&rows, next) else {
            return self.discard_look(now_ms);
        };
        let look = self.look.get_or_insert(Look {
            at_ms,
            ..Look::default()
        });
        for row in rows.into_iter().filter(|row| self.spec.scope.admits(row)) {
            // What is read again counts once.
            if !self.shown.insert(row.run_id.clone()) {
                continue;
            }
            look.open_seen += 1;
            if self.closed.contains(&row.run_id) {
                look.stale += 1;
                self.stale.push(StaleExecution {
                    workflow_id: row.workflow_id,
                    run_id: row.run_id,
                });
            } else {
                self.to_describe.push_back(Described {
                    row,
                    tries: Tries::default(),
                    not_before_ms: now_ms,
                });
            }
        }
        self.full_pages |= look.open_seen > 0 || next.is_some();
        self.token = next;
        self.turn.not_before_ms = now_ms;
        self.end_look(now_ms);
    }

    /// Where the look goes on after these rows: at a token, from the start again (`rereading`), or nowhere, so that it ends. Unset: what
    /// it began with is not met again, so that it cannot be told what came above it meanwhile.
    fn goes_on(&mut self, rows: &[Row], next: Option<PageToken>) -> Option<Option<PageToken>> {
        if !self.rereading {
            self.rereading = next.is_none() && self.pages > 1;
            return Some(next);
        }
        let met = if self.first_page.is_empty() {
            rows.is_empty() || next.is_none()
        } else {
            rows.iter().any(|row| self.first_page.contains(&row.run_id))
        };
        self.rereading = !met;
        (met || next.is_some()).then_some(next.filter(|_| !met))
    }

    /// A look that proves nothing: neither it nor those before it count for a run of empty ones.
    fn discard_look(&mut self, now_ms: u64) {
        self.look = None;
        self.token = None;
        self.to_describe.clear();
        self.looks.clear();
        self.turn.not_before_ms = now_ms.saturating_add(SHORTEST_PAUSE_MS);
    }

    /// A page could not be listed.
    pub fn on_look_error(&mut self, now_ms: u64, error: CallError) {
        self.turn_failed(now_ms, "listing failed", error);
    }

    /// A Describe was answered.
    pub fn on_describe(&mut self, now_ms: u64, slot: Slot, reply: DescribeReply) {
        let Some(mut described) = self.in_flight.remove(&slot) else {
            return;
        };
        let reply = match reply {
            // The current run of that workflow id: the same ancestors only if it has the same parent.
            DescribeReply::Open { row, first_run_id } => {
                let descends = described.row.descends && row.parent_run_id == described.row.parent_run_id;
                DescribeReply::Open {
                    row: Row { descends, ..row },
                    first_run_id,
                }
            }
            reply => reply,
        };
        match reply {
            DescribeReply::Open { row, .. } if self.spec.scope.admits(&row) => {
                let alive = AliveExecution {
                    workflow_id: row.workflow_id,
                    run_id: row.run_id,
                    workflow_type: row.workflow_type,
                    parent_workflow_id: row.parent_workflow_id.or(described.row.parent_workflow_id),
                    start_ms: row.start_ms,
                };
                self.alive.insert(alive.workflow_id.clone(), alive);
            }
            DescribeReply::Open { .. } | DescribeReply::Closed | DescribeReply::Absent => {
                let Row {
                    workflow_id, run_id, ..
                } = described.row;
                self.closed.insert(run_id.clone());
                self.stale.push(StaleExecution { workflow_id, run_id });
                if let Some(look) = &mut self.look {
                    look.stale += 1;
                }
            }
            DescribeReply::Error(error) => {
                if let Some(delay_ms) = described.tries.failed(error.kind, &self.spec.retry) {
                    described.not_before_ms = now_ms.saturating_add(delay_ms);
                    self.to_describe.push_back(described);
                } else {
                    self.error = Some(format!(
                        "describing {:?} failed: {}",
                        described.row.workflow_id, error.reason
                    ));
                }
            }
        }
        self.end_look(now_ms);
    }

    /// Ends a look once it is listed to its end and all it showed is described.
    fn end_look(&mut self, now_ms: u64) {
        let open_ended =
            self.rereading || self.token.is_some() || !self.to_describe.is_empty() || !self.in_flight.is_empty();
        let Some(look) = self.look.take_if(|_| !open_ended) else {
            return;
        };
        self.full_pages = look.open_seen > 0;
        let lag_ms = self.lag_ms.unwrap_or_default();
        let pause_ms = lag_ms
            .saturating_mul(2)
            .max(SHORTEST_PAUSE_MS)
            .min(self.spec.poll_ms)
            .max(lag_ms.saturating_add(1));
        self.turn.not_before_ms = look.at_ms.saturating_add(pause_ms).max(now_ms);
        if self.looks.len() >= KEPT_LOOKS.max(usize::try_from(self.spec.looks).unwrap_or(usize::MAX)) {
            self.looks.remove(0);
        }
        self.looks.push(look);
    }

    fn turn_failed(&mut self, now_ms: u64, what: &str, error: CallError) {
        let CallError { kind, reason } = error;
        self.turn.asked = false;
        if let Some(delay_ms) = self.turn.tries.failed(kind, &self.spec.retry) {
            self.turn.not_before_ms = now_ms.saturating_add(delay_ms);
        } else {
            self.error = Some(format!("{what}: {reason}"));
        }
    }

    fn result(&mut self, zero: bool, timed_out: bool) -> Confirmed {
        // A look cut short by what it found is evidence; one cut short by an error or by the time is none, least of all
        // of a zero.
        self.looks.extend(self.look.take().filter(|look| !look.is_empty()));
        Confirmed {
            looks: self.looks.clone(),
            lag_ms: self.lag_ms.unwrap_or_default(),
            alive: u64::try_from(self.alive.len()).unwrap_or(u64::MAX),
            alive_named: self.alive.values().take(NAMED_ALIVE).cloned().collect(),
            stale: self.stale.clone(),
            zero,
            timed_out: timed_out && !zero,
            error: self.error.clone(),
        }
    }
}

/// Whether the last `wanted` looks are empty, each more than `lag_ms` after the one before.
pub(crate) fn proves_zero(looks: &[Look], lag_ms: u64, wanted: u32) -> bool {
    let wanted = usize::try_from(wanted.max(1)).unwrap_or(usize::MAX);
    let Some(last) = looks.len().checked_sub(wanted).and_then(|from| looks.get(from..)) else {
        return false;
    };
    let apart = last
        .iter()
        .zip(last.iter().skip(1))
        .all(|(a, b)| b.at_ms > a.at_ms.saturating_add(lag_ms));
    last.iter().all(Look::is_empty) && apart
}

#[cfg(test)]
mod tests;
