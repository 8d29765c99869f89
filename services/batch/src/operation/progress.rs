//! How far a job is, measured where the server does not tell.
//!
//! The server counts whole pages of 1,000 (read, server 1.29.1): at 50 a second its figure stands still for 20 s, and with fewer than
//! 1,000 executions it says nothing until the end. So what is done is measured beside it, and the largest figure counts:
//! - Where what was done to an execution takes it out of the query (terminate, delete, and cancel as far as it is heeded), the
//!   query is counted again, bounded by the start of the job: what came later is not the job's.
//! - Elsewhere (signal, reset, lists) up to [`SAMPLE`] executions, spread over the first page, are described one by one; the share of
//!   those that were touched, of one page. With larger numbers the server's own pages are good enough.

use super::{
    action::{Action, Execution, Selection},
    executions::Seen,
    job::{Job, Moment, State},
    messages::{Figures, Source},
    server::JobServer,
    spec::Spec,
};
use std::time::{Duration, SystemTime};

/// Executions of a sample.
const SAMPLE: usize = 20;
/// Executions of one of the server's pages.
const PAGE: i32 = 1_000;
/// Pause between two measurements: a count takes one of the ten visibility calls a second that a namespace has.
const EVERY: Duration = Duration::from_secs(2);

/// Measures one job.
pub(crate) struct Meter {
    /// What matched just before the start.
    matched: i64,
    sample: Vec<Seen>,
    measured: Option<tokio::time::Instant>,
}

/// Whether the index tells what is done.
fn is_countable(spec: &Spec) -> bool {
    matches!(spec.selection, Selection::Query(_))
        && matches!(spec.action, Action::Terminate | Action::Cancel | Action::Delete)
}

impl Meter {
    /// For a job that is about to start. `matched` was just counted.
    pub(crate) async fn before(server: &dyn JobServer, spec: &Spec, matched: i64) -> Self {
        let mut meter = Self {
            matched,
            sample: Vec::new(),
            measured: None,
        };
        if !is_countable(spec) {
            // Without a sample there is less to tell, and nothing to fail for.
            for execution in candidates(server, spec).await {
                if let Ok(Some(seen)) = server.look(&execution).await {
                    meter.sample.push(seen);
                }
            }
        }
        meter
    }

    /// For a job that runs already: its start was not seen.
    pub(crate) fn late() -> Self {
        Self {
            matched: 0,
            sample: Vec::new(),
            measured: None,
        }
    }

    /// The figures now: those of before, the server's, and what is measured.
    pub(crate) async fn read(&mut self, server: &dyn JobServer, spec: &Spec, job: &Job, before: &Figures) -> Figures {
        let mut now = joined(before, job);
        now.total = now.total.max(self.matched);
        let due = self.measured.is_none_or(|at| at.elapsed() >= EVERY);
        if job.is_running() && due {
            self.measured = Some(tokio::time::Instant::now());
            if let Some((done, source)) = self.measure(server, spec, &now).await
                && done > now.done
            {
                (now.done, now.source) = (done, source);
            }
        }
        now.done = now.done.min(now.total.saturating_sub(now.failed)).max(before.done);
        now.rate = rate(&now);
        now
    }

    async fn measure(&self, server: &dyn JobServer, spec: &Spec, now: &Figures) -> Option<(i64, Source)> {
        let start = now.start?;
        if is_countable(spec) {
            let query = format!("{} AND StartTime <= \"{}\"", spec.query(), start.proto());
            // A count that fails is a measurement less.
            let left = server.count(&query).await.ok()?;
            return Some((now.total.saturating_sub(left).max(0), Source::Counted));
        }
        if self.sample.is_empty() {
            return None;
        }
        let mut touched = 0_i64;
        for before in &self.sample {
            let after = server.look(&before.row.execution).await.ok()?;
            if is_touched(&spec.action, before, after.as_ref()) {
                touched += 1;
            }
        }
        let size = i64::try_from(self.sample.len()).unwrap_or(1);
        Some((now.total.min(i64::from(PAGE)) * touched / size, Source::Sampled))
    }
}

/// Executions for a sample, spread evenly over the first page, in the order in which the server takes them.
async fn candidates(server: &dyn JobServer, spec: &Spec) -> Vec<Execution> {
    let all: Vec<Execution> = match &spec.selection {
        Selection::Executions(list) => list.clone(),
        Selection::Query(query) => match server.rows(query, PAGE, Vec::new()).await {
            Ok((rows, _)) => rows.into_iter().map(|row| row.execution).collect(),
            Err(error) => {
                tracing::debug!(%error, "no sample of a batch operation's executions");
                Vec::new()
            }
        },
    };
    let step = all.len().div_ceil(SAMPLE).max(1);
    all.into_iter().step_by(step).collect()
}

/// Whether the job has been at an execution.
fn is_touched(action: &Action, before: &Seen, after: Option<&Seen>) -> bool {
    let Some(after) = after else {
        return true;
    };
    let closed = before.open && !after.open;
    match action {
        Action::Terminate => closed,
        Action::Cancel => closed || after.cancel_requested,
        // Deleted is gone, and on its way there it is terminated.
        Action::Delete => closed,
        Action::Signal(_) => closed || after.history_length > before.history_length,
        Action::Reset(_) => after.was_reset || closed,
    }
}

/// The server's figures, where they are better than those of before: a job that failed no longer tells them.
pub(crate) fn joined(before: &Figures, job: &Job) -> Figures {
    let mut now = Figures {
        start: job.start_time.or(before.start),
        close: job.close_time,
        ..before.clone()
    };
    match job.state {
        State::Completed => {
            (now.total, now.done, now.failed) = (job.total, job.done, job.failed);
            now.source = Source::Server;
        }
        State::Running | State::Failed => {
            now.total = now.total.max(job.total);
            now.failed = now.failed.max(job.failed);
            if job.done > now.done {
                (now.done, now.source) = (job.done, Source::Server);
            }
        }
    }
    now.rate = rate(&now);
    now
}

/// Done a second, over the whole of its time. The clocks of this process and of the server are two: below a second there is none.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(figures: &Figures) -> f64 {
    let Some(start) = figures.start else { return 0.0 };
    let now_ms = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    };
    let end_ms = figures.close.map_or_else(now_ms, Moment::ms);
    let seconds = end_ms.saturating_sub(start.ms()) as f64 / 1_000.0;
    if figures.done > 0 && seconds > 0.0 {
        figures.done as f64 / seconds.max(1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::action::Signal;

    fn seen(open: bool, history_length: i64) -> Seen {
        Seen {
            open,
            history_length,
            ..Seen::default()
        }
    }

    #[test]
    fn what_was_done_shows_on_an_execution() {
        let before = seen(true, 2);
        let signal = Action::Signal(Signal {
            name: "s".to_owned(),
            input: Vec::new(),
        });
        for action in [&Action::Terminate, &Action::Cancel, &Action::Delete, &signal] {
            assert!(!is_touched(action, &before, Some(&before)), "{action:?}");
            assert!(is_touched(action, &before, Some(&seen(false, 2))), "{action:?}");
            assert!(is_touched(action, &before, None), "{action:?}");
        }
        assert!(is_touched(&signal, &before, Some(&seen(true, 4))));
        assert!(!is_touched(&Action::Terminate, &before, Some(&seen(true, 4))));
        let asked = Seen {
            cancel_requested: true,
            ..before.clone()
        };
        assert!(is_touched(&Action::Cancel, &before, Some(&asked)));
    }
}
