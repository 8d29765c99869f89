//! How a campaign ends: what is running is cancelled and its answer counted, then the outcome is given.

use super::{Campaign, pass::stops};
use crate::message::{Command, Confirmed, PassKind, QuiesceStatus, Quiesced, Starter};
use crate::outcome::{Outcome, Phase, Verdict, Why};
use crate::spec::Mode;

/// Warnings, and starters, that an outcome holds.
const NAMED: usize = 32;
/// Starters that are told apart.
const KNOWN_STARTERS: usize = 256;

impl Campaign {
    /// A command failed for good, or was cancelled without an answer.
    pub(super) fn on_failure(&mut self, command: &Command, reason: String) {
        if let Command::RunWindow { spec, .. } = command {
            // What it did is not known: all that it might have done is taken for done.
            self.totals.lost_windows += 1;
            self.seen.more = true;
            self.totals.charged = self.totals.charged.saturating_add(stops(spec));
            self.warn(format!("a window's result was lost: {reason}"));
        }
        if matches!(command, Command::StopBatch { .. }) {
            self.batch_running = false;
            self.warn(format!("the server's batch may still be running: {reason}"));
        }
        if self.ending.is_some() {
            return;
        }
        let name = command.name();
        match command {
            // Without the fence the sweep still covers everything; only the batch cannot be bounded.
            Command::QuiesceSources { .. } if !self.spec.require_quiesce => {
                self.warn(format!("{name} failed: {reason}; going on without a fence"));
                self.quiesced = Some(Quiesced {
                    status: QuiesceStatus::Unreachable,
                    fence_ms: 0,
                    detail: reason,
                });
                if self.spec.mode == Mode::Terminate {
                    self.strike_roots();
                } else {
                    self.begin_asking(0);
                }
            }
            Command::QuiesceSources { .. } => {
                self.warn(format!("{name} failed: {reason}"));
                self.end(
                    Verdict::Blocked,
                    Why::NotQuiesced {
                        status: QuiesceStatus::Unreachable,
                    },
                );
            }
            // The batch is a help, not a need: our own sweep does all of it. It may have been started all the same.
            Command::StartBatch { job_id, .. } => {
                self.warn(format!("{name} failed: {reason}; sweeping without the server's batch"));
                self.issue(Command::StopBatch { job_id: job_id.clone() });
                self.begin_pass(PassKind::Roots);
            }
            Command::TrackBatch { .. } => self.warn(format!("{name} failed: {reason}")),
            Command::StopBatch { .. } => self.begin_pass_after_batch(),
            Command::PlanPass { .. } | Command::RunWindow { .. } | Command::Confirm { .. } | Command::Wait { .. } => {
                self.end(
                    Verdict::Aborted,
                    Why::ActivityFailed {
                        command: name.to_owned(),
                        reason,
                    },
                );
            }
        }
    }

    /// Begins to end; the first reason stands.
    pub(super) fn end(&mut self, verdict: Verdict, why: Why) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some((verdict, why));
        self.after_wait = None;
        self.after_batch = None;
        for id in std::mem::take(&mut self.ready) {
            self.outstanding.remove(&id);
        }
    }

    /// Gives the outcome once nothing is outstanding.
    pub(super) fn finish_when_quiet(&mut self) {
        if !self.outstanding.is_empty() {
            return;
        }
        let Some((verdict, why)) = self.ending.clone() else {
            return;
        };
        if self.batch_running {
            let job_id = match &self.batch {
                Some(batch) => batch.job_id.clone(),
                None => self.spec.batch_job_id.clone(),
            };
            return self.issue(Command::StopBatch { job_id });
        }
        self.file_pass();
        self.phase = Phase::Done;
        let mut starters = std::mem::take(&mut self.starters);
        starters.sort_by(|a, b| b.seen.cmp(&a.seen).then_with(|| a.cmp(b)));
        starters.truncate(NAMED);
        let Confirmed {
            looks,
            lag_ms,
            alive,
            alive_named,
            stale,
            ..
        } = self.confirmed.clone().unwrap_or_default();
        self.outcome = Some(Outcome {
            verdict,
            why,
            totals: self.totals.clone(),
            passes: self.passes.iter().cloned().collect(),
            pass_count: self.pass_count,
            rounds: self.rounds,
            fence_ms: self
                .quiesced
                .as_ref()
                .map(|quiesced| quiesced.fence_ms)
                .filter(|fence_ms| *fence_ms > 0),
            quiesce: self
                .quiesced
                .as_ref()
                .map(|quiesced| quiesced.status)
                .unwrap_or_default(),
            batch: self.batch.clone(),
            asked: self.asked,
            looks,
            lag_ms,
            alive,
            alive_named,
            stale,
            failures: self.failures.clone(),
            starters,
            seen: self.seen.clone(),
            warnings: self.warnings.clone(),
        });
    }

    pub(super) fn fence_ms(&self) -> u64 {
        self.quiesced.as_ref().map_or(0, |quiesced| quiesced.fence_ms)
    }

    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.len() < NAMED && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Adds to what is known of those that keep starting executions.
    pub(super) fn note_starter(&mut self, starter: Starter) {
        let same = |known: &&mut Starter| {
            known.workflow_type == starter.workflow_type
                && known.parent_workflow_id == starter.parent_workflow_id
                && known.identity == starter.identity
        };
        if let Some(known) = self.starters.iter_mut().find(same) {
            known.seen = known.seen.saturating_add(starter.seen);
        } else if self.starters.len() < KNOWN_STARTERS {
            self.starters.push(starter);
        }
    }
}
