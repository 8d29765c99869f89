//! The whole cancellation: phases, passes, fence, cap, verdict.
//!
//! It is driven by events alone. Commands go out through [`Campaign::next`], each once; whatever happens comes back
//! through [`Campaign::apply`], in any order, and an event that fits nothing outstanding changes nothing. So there is
//! always either a command outstanding or an outcome: a campaign cannot hang by itself, only with an activity that
//! never answers.
//!
//! ```text
//! FENCING      quiesce, fence
//!    | (refused or unreachable, and required: BLOCKED)
//! ASKING       unless the mode is to terminate: all that is open is asked to end, until the grace is over
//!    | (mode to cancel only: straight to CONFIRMING, where what is alive is a RESIDUE)
//! STRIKING     sweep: one pass over the roots          both: count, start the server's batch
//!    |                                                    | passes over what is new, until the batch ends
//! SWEEPING     passes over all that is open, until one stops nothing
//!    |    ^
//!    v    | alive: sweep anew
//! CONFIRMING   K empty looks, each more than the lag apart: CLEAN; rounds that stop nothing: RESIDUE
//! ```
//! From everywhere: a stop or the cap leads to ABORTED, the deadline to BLOCKED, a part of ours that fails for good to
//! ABORTED; what is running then is cancelled and its answer still counted, before the outcome is given.

mod asking;
mod ending;
mod pass;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::message::{
    BatchReport, BatchState, Command, CommandId, Confirmed, Event, PassKind, QuiesceStatus, Quiesced, Reply, Starter,
};
use crate::outcome::{Outcome, PassSummary, Phase, Progress, Totals, Verdict, Why};
use crate::seen::Seen;
use crate::spec::{CampaignSpec, ConfirmSpec, Engine, Mode};
use crate::window::Asked;
use pass::Pass;

/// How many times more fruitless rounds are borne when no stop failed.
const UNLISTED_PATIENCE: u32 = 4;

/// A campaign that cannot be begun or carried on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CampaignError {
    /// Its version is newer than this code.
    #[error("campaign version {found} is newer than this code ({known})")]
    Version {
        /// As found.
        found: u32,
        /// The newest that this code knows.
        known: u32,
    },
    /// A setting is out of range.
    #[error("{field} must be {rule}")]
    Spec {
        /// Which.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

/// The whole cancellation. Serialisable whole: continue-as-new carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    version: u32,
    spec: CampaignSpec,
    phase: Phase,
    next_id: u32,
    /// Made, not handed out.
    ready: VecDeque<CommandId>,
    /// Made, not answered.
    outstanding: BTreeMap<CommandId, Command>,
    quiesced: Option<Quiesced>,
    /// Whether the server's batch may be running: from the moment at which it is asked for.
    batch_running: bool,
    batch: Option<BatchReport>,
    /// What the batch may stop, charged against the cap until it tells what it did.
    #[serde(default)]
    batch_charge: u64,
    /// What came of asking so far.
    #[serde(default)]
    asked: Option<Asked>,
    pass: Option<Pass>,
    pass_count: u32,
    /// The pass to begin when the running [`Command::Wait`] is over.
    after_wait: Option<PassKind>,
    /// The pass to begin when the running [`Command::StopBatch`] is answered.
    #[serde(default)]
    after_batch: Option<PassKind>,
    passes: VecDeque<PassSummary>,
    /// Passes in a row whose listing failed.
    failed_passes: u32,
    /// Passes in a row that were small: the next one waits a little.
    small_passes: u32,
    /// By the last Count or confirmation.
    open: u64,
    rounds: u32,
    confirmed: Option<Confirmed>,
    /// Stops when the last confirmation ended.
    stopped_before: u64,
    /// Confirmations in a row that found something though nothing was stopped before them.
    fruitless: u32,
    totals: Totals,
    failures: Vec<crate::window::Failure>,
    starters: Vec<Starter>,
    /// What the target's rows had in common.
    #[serde(default)]
    seen: Seen,
    warnings: Vec<String>,
    ending: Option<(Verdict, Why)>,
    outcome: Option<Outcome>,
}

impl Campaign {
    /// A campaign that has done nothing yet.
    ///
    /// # Errors
    /// [`CampaignError`] when the spec's version is newer than this code, or a number in it must not be zero.
    pub fn new(spec: CampaignSpec) -> Result<Self, CampaignError> {
        let counts = [
            ("max_affected", spec.max_affected),
            ("looks", spec.looks.into()),
            ("window_concurrency", spec.window_concurrency.into()),
            ("fruitless_rounds", spec.fruitless_rounds.into()),
            ("confirm_timeout_ms", spec.confirm_timeout_ms),
        ];
        if let Some((field, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(CampaignError::Spec {
                field,
                rule: "at least 1",
            });
        }
        if spec.mode != Mode::Terminate {
            let refused = |field, rule| Err(CampaignError::Spec { field, rule });
            match spec {
                CampaignSpec { version: 0..2, .. } => {
                    return refused("version", "at least 2 where executions are asked");
                }
                CampaignSpec { grace_ms: 0, .. } => return refused("grace_ms", "at least 1"),
                CampaignSpec {
                    engine: Engine::Both, ..
                } => return refused("engine", "the sweep where executions are asked first"),
                _ => {}
            }
        }
        let quiesce = spec.quiesce;
        let mut campaign = Self {
            version: spec.version,
            spec,
            phase: Phase::Fencing,
            next_id: 0,
            ready: VecDeque::new(),
            outstanding: BTreeMap::new(),
            quiesced: None,
            batch_running: false,
            batch: None,
            batch_charge: 0,
            asked: None,
            pass: None,
            pass_count: 0,
            after_wait: None,
            after_batch: None,
            passes: VecDeque::new(),
            failed_passes: 0,
            small_passes: 0,
            open: 0,
            rounds: 0,
            confirmed: None,
            stopped_before: 0,
            fruitless: 0,
            totals: Totals::default(),
            failures: Vec::new(),
            starters: Vec::new(),
            seen: Seen::default(),
            warnings: Vec::new(),
            ending: None,
            outcome: None,
        };
        campaign.issue(Command::QuiesceSources { quiesce });
        campaign.resume()
    }

    /// To be called on a campaign that was deserialised, before anything else. What [`Campaign::is_quiet`] lets be outstanding
    /// is handed out again.
    ///
    /// # Errors
    /// [`CampaignError::Version`] when it was written by newer code, whose behaviour this code does not know.
    pub fn resume(mut self) -> Result<Self, CampaignError> {
        if self.version > crate::VERSION {
            return Err(CampaignError::Version {
                found: self.version,
                known: crate::VERSION,
            });
        }
        let unanswered =
            |(id, command): (&CommandId, &Command)| (command.is_resumable() && !self.ready.contains(id)).then_some(*id);
        let again: Vec<CommandId> = self.outstanding.iter().filter_map(unanswered).collect();
        self.ready.extend(again);
        Ok(self)
    }

    /// Commands that can be started now and were not handed out before; may be empty while others are outstanding.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: empty now does not mean over"
    )]
    pub fn next(&mut self) -> Vec<(CommandId, Command)> {
        let ready = std::mem::take(&mut self.ready);
        ready
            .into_iter()
            .filter_map(|id| self.outstanding.get(&id).map(|command| (id, command.clone())))
            .collect()
    }

    /// Takes in what happened.
    pub fn apply(&mut self, event: Event) {
        if self.outcome.is_some() {
            return;
        }
        match event {
            Event::Completed { id, reply } => {
                if let Some(command) = self.outstanding.remove(&id) {
                    self.on_reply(command, reply);
                }
            }
            Event::Failed { id, reason } => {
                if let Some(command) = self.outstanding.remove(&id) {
                    self.on_failure(&command, reason);
                }
            }
            Event::StopRequested { reason } => self.end(Verdict::Aborted, Why::StopRequested { reason }),
            Event::DeadlineReached { starters } => {
                for starter in starters {
                    self.note_starter(starter);
                }
                self.end(Verdict::Blocked, Why::DeadlineReached { phase: self.phase });
            }
        }
        self.finish_when_quiet();
    }

    /// Whether it is ending while commands run: each of them that [`Campaign::should_cancel`] names is to be cancelled.
    /// Their answers are still waited for: [`Event::Completed`] with what was done, or [`Event::Failed`].
    #[must_use]
    pub fn wants_cancel(&self) -> bool {
        self.ending.is_some() && self.outstanding.values().any(Command::is_cancellable)
    }

    /// Whether this command is to be cancelled now.
    #[must_use]
    pub fn should_cancel(&self, id: CommandId) -> bool {
        self.ending.is_some() && self.outstanding.get(&id).is_some_and(Command::is_cancellable)
    }

    /// Whether nothing that was handed out is unanswered, but for what [`Campaign::resume`] hands out again: the moment to
    /// continue as new.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let unanswered = |(id, command): (&CommandId, &Command)| !command.is_resumable() && !self.ready.contains(id);
        !self.outstanding.iter().any(unanswered)
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Where it is, in numbers.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            phase: self.phase,
            pass: self.pass_count,
            rounds: self.rounds,
            open: self.open,
            totals: self.totals.clone(),
            outstanding: u32::try_from(self.outstanding.len()).unwrap_or(u32::MAX),
        }
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// The version of its behaviour.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What it was told at the start.
    #[must_use]
    pub fn spec(&self) -> &CampaignSpec {
        &self.spec
    }

    fn issue(&mut self, command: Command) {
        let id = CommandId(self.next_id);
        self.next_id += 1;
        self.outstanding.insert(id, command);
        self.ready.push_back(id);
    }

    fn on_reply(&mut self, command: Command, reply: Reply) {
        match (command, reply) {
            (Command::QuiesceSources { .. }, Reply::Quiesced(quiesced)) => self.on_quiesced(quiesced),
            (Command::StartBatch { .. }, Reply::BatchStarted { job_id }) => self.on_batch_started(job_id),
            (Command::TrackBatch { .. } | Command::StopBatch { .. }, Reply::BatchEnded(report)) => {
                self.on_batch_ended(report);
            }
            (Command::PlanPass { pass, .. }, Reply::Planned(planned)) => self.on_planned(pass, planned),
            (Command::RunWindow { pass, .. }, Reply::WindowDone(result)) => self.on_window(pass, result),
            (Command::Confirm { .. }, Reply::Confirmed(confirmed)) => self.on_confirmed(confirmed),
            (Command::Wait { .. }, Reply::Waited) => {
                if let Some(kind) = self.after_wait.take() {
                    self.begin_pass(kind);
                }
            }
            (command, _) => self.on_failure(&command, "it answered with another command's reply".to_owned()),
        }
    }

    fn on_quiesced(&mut self, quiesced: Quiesced) {
        let status = quiesced.status;
        let unheard = matches!(status, QuiesceStatus::Refused | QuiesceStatus::Unreachable);
        if unheard || !quiesced.detail.is_empty() {
            self.warn(format!("sources: {status:?} {}", quiesced.detail));
        }
        self.quiesced = Some(quiesced);
        if self.ending.is_some() {
            return;
        }
        if unheard && self.spec.require_quiesce {
            return self.end(Verdict::Blocked, Why::NotQuiesced { status });
        }
        self.begin();
    }

    /// Begins with the executions, the fence taken or not.
    fn begin(&mut self) {
        if self.spec.mode != Mode::Terminate {
            return self.begin_asking(0);
        }
        match self.spec.engine {
            Engine::Sweep => self.strike_roots(),
            // The batch knows no cap: what is open is counted and held against it first.
            Engine::Both => {
                self.phase = Phase::Striking;
                self.issue(Command::PlanPass {
                    pass: 0,
                    kind: PassKind::Open,
                });
            }
        }
    }

    /// Begins to terminate: the roots first.
    fn strike_roots(&mut self) {
        self.phase = Phase::Striking;
        self.begin_pass(PassKind::Roots);
    }

    fn on_batch_started(&mut self, job_id: String) {
        self.batch = Some(BatchReport {
            job_id: job_id.clone(),
            ..BatchReport::default()
        });
        if self.ending.is_some() {
            return;
        }
        self.issue(Command::TrackBatch { job_id });
        self.begin_pass(PassKind::NewSince(self.fence_ms()));
    }

    fn on_batch_ended(&mut self, report: BatchReport) {
        self.batch_running = false;
        // One that was stopped, or only given up, may go on for a while: then all of its charge stands.
        if matches!(report.state, BatchState::Completed | BatchState::Absent) {
            let unused = self.batch_charge.saturating_sub(report.completed);
            self.batch_charge -= unused;
            self.totals.charged = self.totals.charged.saturating_sub(unused);
        }
        match report.state {
            BatchState::Absent => self.batch = None,
            BatchState::Completed => self.batch = Some(report),
            BatchState::Failed | BatchState::Stopped => {
                self.warn(format!("the server's batch ended {:?}", report.state));
                self.batch = Some(report);
            }
        }
        self.begin_pass_after_batch();
    }

    /// Begins the pass that waited for it to be known whether the batch runs.
    fn begin_pass_after_batch(&mut self) {
        if let Some(kind) = self.after_batch.take() {
            self.begin_pass(kind);
        }
    }

    fn begin_confirm(&mut self) {
        self.phase = Phase::Confirming;
        self.issue(Command::Confirm {
            round: self.rounds + 1,
            spec: ConfirmSpec {
                looks: self.spec.looks,
                timeout_ms: self.spec.confirm_timeout_ms,
                poll_ms: self.spec.confirm_poll_ms,
                names_alive: self.spec.mode == Mode::Cancel,
                scope: self.spec.scope.clone(),
                retry: self.spec.window.retry.clone(),
            },
        });
    }

    fn on_confirmed(&mut self, confirmed: Confirmed) {
        self.rounds += 1;
        let alive = confirmed.alive;
        let believes = confirmed.zero && confirmed.error.is_none() && alive == 0;
        let zero = believes && crate::confirm::proves_zero(&confirmed.looks, confirmed.lag_ms, self.spec.looks);
        if let Some(error) = &confirmed.error {
            self.warn(format!("confirming: {error}"));
        }
        self.open = alive;
        self.confirmed = Some(confirmed);
        if self.ending.is_some() {
            return;
        }
        if zero {
            return self.end(Verdict::Clean, Why::Confirmed);
        }
        if self.spec.mode == Mode::Cancel {
            return self.ask_again_or_end(alive);
        }

        let stopped = self.totals.counts.stopped;
        self.fruitless = if stopped > self.stopped_before {
            0
        } else {
            self.fruitless + 1
        };
        self.stopped_before = stopped;
        let failed = self.passes.back().map_or(0, |pass| pass.counts.failed);
        // Where no stop failed, listings lacked what is alive: the index may yet come round.
        let patience = if failed > 0 { 1 } else { UNLISTED_PATIENCE };
        if self.fruitless >= self.spec.fruitless_rounds.saturating_mul(patience) {
            let why = if failed > 0 {
                Why::FailuresRemain { failed, alive }
            } else {
                Why::Unconfirmed { alive }
            };
            return self.end(Verdict::Residue, why);
        }
        self.phase = Phase::Sweeping;
        let pause_ms = u64::from(self.fruitless)
            .saturating_mul(1_000)
            .min(self.spec.confirm_poll_ms);
        self.begin_pass_after(pause_ms, PassKind::Open);
    }
}

#[cfg(test)]
mod tests;
