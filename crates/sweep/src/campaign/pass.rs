//! Passes: planned, run window by window, and what comes after.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Campaign;
use crate::message::{Command, PassKind, Planned, StartRange};
use crate::outcome::{PassSummary, Phase, Verdict, Why};
use crate::spec::{AskSpec, WindowSpec};
use crate::window::{Counts, WindowResult};

/// Passes that the outcome shows.
const KEPT_PASSES: usize = 32;
/// Failures that the outcome names.
const NAMED_FAILURES: usize = 100;
/// Passes in a row whose listing may fail before the campaign ends.
const MAX_FAILED_PASSES: u32 = 3;
/// Longest pause between two small passes, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 1_000;

/// The pass that is running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pass {
    summary: PassSummary,
    /// Windows to come.
    ranges: VecDeque<StartRange>,
    next_window: u32,
    cap_reached: bool,
    error: Option<String>,
}

/// The most chains that a window may stop; asking stops none.
pub(super) fn stops(spec: &WindowSpec) -> u64 {
    if spec.ask.is_some() { 0 } else { spec.cap }
}

impl Campaign {
    /// Begins a pass after a pause, or at once when it is none.
    pub(super) fn begin_pass_after(&mut self, ms: u64, kind: PassKind) {
        if ms == 0 {
            return self.begin_pass(kind);
        }
        self.after_wait = Some(kind);
        self.issue(Command::Wait { ms });
    }

    pub(super) fn begin_pass(&mut self, kind: PassKind) {
        self.pass_count += 1;
        self.failures.clear();
        self.issue(Command::PlanPass {
            pass: self.pass_count,
            kind,
        });
        self.pass = Some(Pass {
            summary: PassSummary {
                pass: self.pass_count,
                kind,
                planned: 0,
                counts: Counts::default(),
                complete: true,
            },
            ranges: VecDeque::new(),
            next_window: 0,
            cap_reached: false,
            error: None,
        });
    }

    pub(super) fn on_planned(&mut self, number: u32, planned: Planned) {
        self.open = planned.open;
        if self.ending.is_some() {
            return;
        }
        // Held against the cap only while nothing was stopped: later the count has rows of what we stopped, and windows
        // know.
        let max_affected = self.spec.max_affected;
        if self.totals.charged == 0 && planned.open.max(planned.count) > max_affected {
            let open = planned.open.max(planned.count);
            return self.end(
                Verdict::Aborted,
                Why::CapReached {
                    max_affected,
                    charged: 0,
                    open,
                },
            );
        }
        if number == 0 {
            self.batch_charge = planned.open.max(planned.count);
            self.totals.charged = self.totals.charged.saturating_add(self.batch_charge);
            self.batch_running = true;
            // What it stops is listed by nobody.
            self.seen.more = true;
            return self.issue(Command::StartBatch {
                job_id: self.spec.batch_job_id.clone(),
                fence_ms: self.fence_ms(),
            });
        }
        let asks = self.phase == Phase::Asking;
        let Some(pass) = &mut self.pass else { return };
        pass.summary.planned = planned.count;
        // Windows only distribute: a pass ends with the query without bounds, which alone decides what is left. One that asks goes on for as
        // long as the grace does.
        if planned.windows.len() > 1 && !asks {
            pass.ranges.extend(planned.windows);
        }
        pass.ranges.push_back(StartRange::ALL);
        self.run_windows();
    }

    /// Starts as many windows as may run, each with its share of what is left of the cap.
    fn run_windows(&mut self) {
        loop {
            let running = self.running_windows();
            let cap_left = self.cap_left();
            let Some(pass) = &mut self.pass else { return };
            let to_come = u64::try_from(pass.ranges.len()).unwrap_or(u64::MAX);
            // The last one, without bounds, runs alone.
            let is_last = to_come == 1;
            let free = u64::from(self.spec.window_concurrency)
                .saturating_sub(running)
                .min(to_come.max(2) - 1);
            let must_wait = free == 0 || (running > 0 && (is_last || cap_left == 0));
            if must_wait {
                return;
            }
            let Some(range) = pass.ranges.pop_front() else { return };
            let window = pass.next_window;
            pass.next_window += 1;
            let (number, kind) = (pass.summary.pass, pass.summary.kind);
            let ask = (self.phase == Phase::Asking).then_some(AskSpec {
                grace_ms: self.spec.grace_ms,
                until_ms: self.asked.and_then(|asked| asked.until_ms),
            });
            let cap = match ask {
                Some(_) => self.spec.max_affected.saturating_sub(self.charged_and_gone()),
                None => cap_left.div_ceil(free),
            };
            let spec = WindowSpec {
                cap,
                ask,
                fence_ms: self.fence_ms(),
                scope: self.spec.scope.clone(),
                settings: self.spec.window.clone(),
            };
            self.issue(Command::RunWindow {
                pass: number,
                window,
                kind,
                range,
                spec,
            });
        }
    }

    fn running_windows(&self) -> u64 {
        let windows = self
            .outstanding
            .values()
            .filter(|command| matches!(command, Command::RunWindow { .. }))
            .count();
        u64::try_from(windows).unwrap_or(u64::MAX)
    }

    /// What is left of the cap, with all that running windows may use taken for used.
    fn cap_left(&self) -> u64 {
        let lent: u64 = self
            .outstanding
            .values()
            .map(|command| match command {
                Command::RunWindow { spec, .. } => stops(spec),
                _ => 0,
            })
            .sum();
        self.spec
            .max_affected
            .saturating_sub(self.totals.charged.saturating_add(lent))
    }

    pub(super) fn on_window(&mut self, number: u32, result: WindowResult) {
        self.totals.counts.add(&result.counts);
        self.totals.charged = self.totals.charged.saturating_add(result.charged);
        self.totals.uncounted = self.totals.uncounted.saturating_add(result.uncounted);
        for starter in result.starters {
            self.note_starter(starter);
        }
        if let Some(asked) = result.asked {
            self.note_asked(asked);
        }
        self.seen.merge(&result.seen);
        for failure in result.failures {
            // A window with bounds and the one without may both have met it.
            let is_new = self.failures.iter().all(|known| known.run_id != failure.run_id);
            if is_new && self.failures.len() < NAMED_FAILURES {
                self.failures.push(failure);
            }
        }
        if let Some(pass) = self.pass.as_mut().filter(|pass| pass.summary.pass == number) {
            pass.summary.counts.add(&result.counts);
            pass.summary.complete &= result.complete;
            pass.cap_reached |= result.cap_reached;
            pass.error = pass.error.take().or(result.error);
        }
        if self.ending.is_none() {
            self.run_windows();
            if self.running_windows() == 0 {
                self.end_pass();
            }
        }
    }

    /// Takes the running pass to the record; what of it is left undone is not.
    pub(super) fn file_pass(&mut self) -> Option<Pass> {
        let mut pass = self.pass.take()?;
        pass.summary.complete &= pass.ranges.is_empty() && pass.next_window > 0;
        if self.passes.len() >= KEPT_PASSES {
            self.passes.pop_front();
        }
        self.passes.push_back(pass.summary.clone());
        Some(pass)
    }

    fn end_pass(&mut self) {
        let Some(Pass {
            summary,
            cap_reached,
            error,
            ..
        }) = self.file_pass()
        else {
            return;
        };
        let asks = self.phase == Phase::Asking;
        let asked = self.asked.map_or(0, |asked| asked.charged);
        let used_up = if asks {
            asked >= self.spec.max_affected
        } else {
            self.cap_left() == 0
        };
        if cap_reached && used_up {
            let Self { spec, totals, .. } = self;
            let why = Why::CapReached {
                max_affected: spec.max_affected,
                charged: if asks { asked } else { totals.charged },
                open: 0,
            };
            return self.end(Verdict::Aborted, why);
        }
        if let Some(reason) = error {
            self.warn(format!("pass {}: {reason}", summary.pass));
            self.failed_passes += 1;
            if self.failed_passes >= MAX_FAILED_PASSES {
                let command = "bulk_cancel_workflows".to_owned();
                return self.end(Verdict::Aborted, Why::ActivityFailed { command, reason });
            }
            return self.begin_pass_after(LONGEST_PAUSE_MS, summary.kind);
        }
        self.failed_passes = 0;
        let is_small = summary.counts.listed < u64::from(self.spec.window.page_size);
        self.small_passes = if is_small { self.small_passes + 1 } else { 0 };
        let idle = summary.counts.stopped == 0;
        match summary.kind {
            _ if asks => self.end_asking(cap_reached),
            PassKind::Roots => {
                self.phase = Phase::Sweeping;
                // Until it is known whether the batch runs, its charge would take the cap from the sweep.
                if self.is_running(|command| matches!(command, Command::StopBatch { .. })) {
                    self.after_batch = Some(PassKind::Open);
                } else {
                    self.begin_pass(PassKind::Open);
                }
            }
            PassKind::NewSince(_) => {
                self.phase = Phase::Sweeping;
                if self.is_running(|command| matches!(command, Command::TrackBatch { .. })) {
                    self.begin_pass_after(self.pause_ms(idle), summary.kind);
                } else {
                    self.begin_pass(PassKind::Open);
                }
            }
            PassKind::Open if idle => self.begin_confirm(),
            PassKind::Open => self.begin_pass_after(self.pause_ms(idle), PassKind::Open),
        }
    }

    fn is_running(&self, which: impl Fn(&Command) -> bool) -> bool {
        self.outstanding.values().any(which)
    }

    /// Passes that find little must not chase each other: a source that goes on would be swept a few executions at a
    /// time, at the price of a workflow history that grows without bound.
    fn pause_ms(&self, idle: bool) -> u64 {
        let growing = 100 * u64::from(self.small_passes.saturating_sub(1));
        if idle {
            LONGEST_PAUSE_MS
        } else {
            growing.min(LONGEST_PAUSE_MS)
        }
    }
}
