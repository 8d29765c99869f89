//! What the windows of this process come to, as metrics.

use std::time::Duration;

use quell_mesh::metrics::{
    CANCELLATIONS, Held, SWEEP_DONE, SWEEP_IN_FLIGHT, SWEEP_LIMIT, SWEEP_LISTED, SWEEP_STOP_DURATION, SWEEP_WINDOWS,
};
use quell_sweep::{Counts, StopReply, Verdict, Window};

/// One window's share in the metrics; its gauges are taken back when it is dropped.
#[derive(Debug)]
pub(crate) struct WindowMeter {
    /// What is counted already: of what an attempt before this one did, nothing is ours.
    counted: Counts,
    limit: i64,
    _window: Held,
}

impl WindowMeter {
    /// Counts from where the window stands.
    pub(crate) fn start(window: &Window) -> Self {
        let mut meter = Self {
            counted: *window.counts(),
            limit: 0,
            _window: SWEEP_WINDOWS.hold(),
        };
        // All outcomes are on the page before there is one.
        meter.note(window);
        meter
    }

    /// Takes in what the window has come to since the last time.
    pub(crate) fn note(&mut self, window: &Window) {
        let now = *window.counts();
        let before = std::mem::replace(&mut self.counted, now);
        // What is left to others is counted off in the window, and again when it is listed anew.
        self.counted.listed = now.listed.max(before.listed);
        SWEEP_LISTED.with([]).inc_by(now.listed.saturating_sub(before.listed));
        let outcomes = [
            ("stopped", now.stopped, before.stopped),
            ("asked", now.asked, before.asked),
            ("already_closed", now.already_closed, before.already_closed),
            ("not_found", now.not_found, before.not_found),
            ("failed", now.failed, before.failed),
            ("out_of_scope", now.out_of_scope, before.out_of_scope),
            ("skipped", now.skipped, before.skipped),
        ];
        for (outcome, now, before) in outcomes {
            SWEEP_DONE.with([outcome]).inc_by(now.saturating_sub(before));
        }
        self.set_limit(i64::from(window.limiter().limit));
    }

    fn set_limit(&mut self, limit: i64) {
        SWEEP_LIMIT.with([]).inc_by(limit - self.limit);
        self.limit = limit;
    }
}

impl Drop for WindowMeter {
    fn drop(&mut self) {
        self.set_limit(0);
    }
}

/// Counts a stop as being in flight.
pub(crate) fn stopping() -> Held {
    SWEEP_IN_FLIGHT.hold()
}

/// Notes how long a stop took.
pub(crate) fn stopped(reply: &StopReply, took: Duration) {
    let word = match reply {
        StopReply::Stopped => "stopped",
        StopReply::AlreadyCompleted | StopReply::NotFound => "gone",
        StopReply::Error(_) => "error",
    };
    SWEEP_STOP_DURATION.with([word]).record(took);
}

/// Puts all verdicts on the page: an alert on a bad one needs the zero before it.
pub(crate) fn show_verdicts() {
    for verdict in [Verdict::Clean, Verdict::Residue, Verdict::Aborted, Verdict::Blocked] {
        drop(CANCELLATIONS.with([word(verdict)]));
    }
}

/// A verdict in one word.
pub(crate) const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::Residue => "residue",
        Verdict::Aborted => "aborted",
        Verdict::Blocked => "blocked",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use quell_sweep::{Row, Scope, Step, WindowSpec};

    use super::*;

    /// One test at a time: the metrics are the process's.
    static METRICS: Mutex<()> = Mutex::new(());

    #[test]
    fn what_is_left_to_others_and_listed_anew_is_counted_once() {
        let _metrics = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
        let leaf = |n: u64| Row {
            workflow_id: format!("w-{n}"),
            run_id: format!("r-{n}"),
            workload_id: Some("1".to_owned()),
            parent_workflow_id: Some("gone".to_owned()),
            ..Row::default()
        };
        let mut window = Window::new(WindowSpec {
            cap: 1_000,
            scope: Scope {
                workload_ids: vec!["1".to_owned()],
                ..Scope::default()
            },
            ..WindowSpec::default()
        });
        let mut meter = WindowMeter::start(&window);
        let before = SWEEP_LISTED.with([]).get();
        let (mut now_ms, mut shown, mut lowest) = (0, [100, 90].into_iter(), u64::MAX);
        loop {
            match window.next(now_ms) {
                Step::List { .. } => {
                    let Some(rows) = shown.next() else { break };
                    window.on_page(now_ms, (0..rows).map(leaf).collect(), None);
                }
                Step::Reserve { upto } => window.on_reserved(upto),
                Step::Wait { until_ms } => {
                    lowest = lowest.min(window.counts().listed);
                    now_ms = until_ms.expect("a time to wait for");
                }
                Step::Stop { .. } => break,
                other => panic!("{other:?}"),
            }
            meter.note(&window);
        }
        assert_eq!(
            (lowest, window.counts().listed),
            (0, 90),
            "counted off, and listed anew"
        );
        assert_eq!(SWEEP_LISTED.with([]).get() - before, 100);
    }

    #[test]
    fn a_window_that_ends_takes_its_limit_back() {
        let _metrics = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
        let window = Window::new(WindowSpec::default());
        let mut meter = WindowMeter::start(&window);
        meter.note(&window);
        let limit = i64::from(window.limiter().limit);
        assert!(limit > 0);
        assert_eq!(SWEEP_LIMIT.with([]).get(), limit);
        drop(meter);
        assert_eq!(SWEEP_LIMIT.with([]).get(), 0);
    }
}
