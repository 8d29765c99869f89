//! Many runs, on as many threads as there are to use.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Invariant, Report, Scenario, Stuck, Tally, Violation, judge, run};

/// Seeds that a thread takes at a time.
const CHUNK: u64 = 32;
/// Failed runs that are kept.
const KEPT_FAILURES: usize = 1_000;

/// A run that broke an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRun {
    /// The seed that it follows from.
    pub seed: u64,
    /// What was broken.
    pub violations: Vec<Violation>,
}

/// What came of many runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Many {
    /// In numbers.
    pub tally: Tally,
    /// Runs that broke an invariant, by seed; at most 1,000.
    pub failed: Vec<FailedRun>,
}

/// How far [`many`] is, to be read by another thread, and stopped.
#[derive(Debug, Default)]
pub struct Progress {
    /// Runs done.
    pub done: AtomicU64,
    /// Of those, runs that broke an invariant.
    pub failed: AtomicU64,
    /// Set it, and no more runs are begun.
    pub stop: AtomicBool,
}

/// Runs the scenario that a seed draws. A panic of the machines is a violation like any other.
#[must_use]
pub fn run_seed(seed: u64) -> (Scenario, Option<Result<Report, Stuck>>, Vec<Violation>) {
    let scenario = Scenario::random(seed);
    match catch_unwind(AssertUnwindSafe(|| run(&scenario))) {
        Ok(ended) => {
            let violations = judge(&scenario, &ended);
            (scenario, Some(ended), violations)
        }
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            let violation = Violation {
                invariant: Invariant::NeverStuck,
                text: format!("it panicked: {}", said.unwrap_or("without a word")),
            };
            (scenario, None, vec![violation])
        }
    }
}

/// Runs the scenarios of `runs` seeds from `first_seed` on, on `jobs` threads.
#[must_use]
pub fn many(first_seed: u64, runs: u64, jobs: usize, progress: &Progress) -> Many {
    let next = AtomicU64::new(0);
    let work = || {
        let mut done = Many::default();
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= runs || progress.stop.load(Ordering::Relaxed) {
                return done;
            }
            for at in from..runs.min(from.saturating_add(CHUNK)) {
                let seed = first_seed.wrapping_add(at);
                let (scenario, ended, violations) = run_seed(seed);
                done.tally.add(&scenario, ended.as_ref(), &violations);
                progress.done.fetch_add(1, Ordering::Relaxed);
                if !violations.is_empty() {
                    progress.failed.fetch_add(1, Ordering::Relaxed);
                    done.failed.push(FailedRun { seed, violations });
                }
            }
        }
    };
    let mut all = Many::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            // Machines that panic are caught run by run; what is left is a bug here, and must not pass for a good end.
            match thread.join() {
                Ok(done) => {
                    all.tally.merge(&done.tally);
                    all.failed.extend(done.failed);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all.failed.sort_by_key(|failed| failed.seed);
    all.failed.truncate(KEPT_FAILURES);
    all
}
