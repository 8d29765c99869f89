//! What came of many runs.

use std::collections::BTreeMap;

use super::{Invariant, Report, Scenario, Stuck, Violation};
use crate::outcome::Verdict;

/// What came of many runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Runs with one violation at least.
    pub failed: u64,
    /// Runs in which each invariant was broken.
    pub broken: BTreeMap<Invariant, u64>,
    /// Runs by verdict: CLEAN, RESIDUE, ABORTED, BLOCKED.
    pub verdicts: [u64; 4],
    /// CLEAN while something was open in a part of the index that lagged more than had been measured: what no algorithm
    /// that reads the index can know.
    pub beyond_measurement: u64,
    /// Chains that calls of ours stopped.
    pub stopped: u64,
    /// Attempts of ours that crashed.
    pub crashes: u64,
    /// Replies that were lost.
    pub lost_replies: u64,
    /// Calls made.
    pub calls: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
}

impl Tally {
    /// Counts one run; one that panicked has no ending.
    pub fn add(&mut self, scenario: &Scenario, ended: Option<&Result<Report, Stuck>>, violations: &[Violation]) {
        self.runs += 1;
        self.failed += u64::from(!violations.is_empty());
        let mut broken: Vec<Invariant> = violations.iter().map(|violation| violation.invariant).collect();
        broken.sort_unstable();
        broken.dedup();
        for invariant in broken {
            *self.broken.entry(invariant).or_default() += 1;
        }
        if let Some(Ok(report)) = ended {
            let at = match report.outcome.verdict {
                Verdict::Clean => 0,
                Verdict::Residue => 1,
                Verdict::Aborted => 2,
                Verdict::Blocked => 3,
            };
            self.verdicts[at] += 1;
            self.beyond_measurement += u64::from(report.is_beyond_measurement(scenario));
            self.stopped += report.stopped_by_us;
            self.crashes += report.crashes;
            self.lost_replies += report.lost_replies;
            self.calls += report.calls;
            self.simulated_ms += report.ended_ms.saturating_sub(report.began_ms);
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        self.failed += other.failed;
        for (invariant, runs) in &other.broken {
            *self.broken.entry(*invariant).or_default() += runs;
        }
        for (ours, theirs) in self.verdicts.iter_mut().zip(other.verdicts) {
            *ours += theirs;
        }
        self.beyond_measurement += other.beyond_measurement;
        self.stopped += other.stopped;
        self.crashes += other.crashes;
        self.lost_replies += other.lost_replies;
        self.calls += other.calls;
        self.simulated_ms += other.simulated_ms;
    }

    /// Runs in which this was broken.
    #[must_use]
    pub fn broken(&self, invariant: Invariant) -> u64 {
        self.broken.get(&invariant).copied().unwrap_or_default()
    }
}
