//! One operation as its workflow's record shows it: one raw Describe, without asking the workflow itself.
//!
//! The memo says what was asked for and where the workflow is, as of its last step; the heartbeat of its pending activity says what has
//! happened since, and outlives the worker that wrote it. So an operation whose worker is gone can still be seen.

use super::{
    job::{Job, Moment, State},
    messages::{About, Beat, Figures, Holder, MEMO_ABOUT, MEMO_STANDING, Source, Stage, Standing, Verdict},
    progress::joined,
};
use quell_api::batch::v1 as pb;
use quell_mesh::{Described, error::Error};
use std::time::Duration;
use temporalio_common::protos::temporal::api::enums::v1::WorkflowExecutionStatus;

/// A time to the end beyond this is not told.
const LONGEST_ETA: f64 = 30.0 * 86_400.0;

/// An operation, as last seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// Job id.
    pub(crate) job_id: String,
    /// What was asked for.
    pub(crate) about: About,
    /// Where the workflow is.
    pub(crate) standing: Standing,
    /// What its activity at work told last.
    pub(crate) beat: Beat,
    /// Whether the workflow has ended.
    pub(crate) ended: bool,
    /// When it was queued.
    pub(crate) queued: Option<Moment>,
    /// When the workflow ended.
    pub(crate) closed: Option<Moment>,
}

impl Record {
    /// From a description.
    pub(crate) fn of(job_id: &str, described: &Described) -> Result<Self, Error> {
        let info = &described.info;
        let ended = !matches!(
            info.status(),
            WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused
        );
        Ok(Self {
            job_id: job_id.to_owned(),
            about: described.memo(MEMO_ABOUT)?.unwrap_or_default(),
            standing: described.memo(MEMO_STANDING)?.unwrap_or_default(),
            // Only what the newest activity told: there is one at a time.
            beat: described.beats().last().unwrap_or_default(),
            ended,
            queued: info.start_time.map(|time| Moment::new(time.seconds, time.nanos)),
            closed: info.close_time.map(|time| Moment::new(time.seconds, time.nanos)),
        })
    }

    /// Whether the server has its job, or had it.
    pub(crate) fn has_started(&self) -> bool {
        self.figures().start.is_some()
    }

    /// Whether the server is done with it, so that the next may have the slot.
    pub(crate) fn is_through(&self) -> bool {
        self.ended || matches!(self.standing.stage, Stage::Checking | Stage::Ended)
    }

    /// Whether it waits: for its turn, or for somebody else's job.
    pub(crate) fn is_queued(&self) -> bool {
        !self.is_through() && !self.has_started()
    }

    /// The newest figures.
    pub(crate) fn figures(&self) -> &Figures {
        if self.standing.figures.start.is_some() {
            &self.standing.figures
        } else {
            &self.beat.figures
        }
    }

    /// As the contract shows it. `job` is the server's word, where it was asked for.
    pub(crate) fn proto(&self, job: Option<&Job>) -> pb::BatchOperation {
        let figures = match job {
            Some(job) => joined(self.figures(), job),
            None => self.figures().clone(),
        };
        let state = self.state(job);
        let running = state == pb::BatchOperationState::Running;
        pb::BatchOperation {
            job_id: self.job_id.clone(),
            state: state.into(),
            kind: self
                .about
                .kind
                .map_or(pb::BatchOperationKind::Unspecified, |kind| kind.proto())
                .into(),
            close_time: figures
                .close
                .or(self.closed.filter(|_| self.ended))
                .filter(|_| !running)
                .map(Moment::proto),
            identity: job.map_or_else(|| self.identity(), |job| job.identity.clone()),
            reason: self.about.reason.clone(),
            queue_time: self.queued.map(Moment::proto),
            checking: running && self.standing.stage == Stage::Checking,
            survivors: self.standing.survivors,
            survivors_complete: self.standing.complete,
            problem: self.problem(job),
            query: self.about.query.clone(),
            ..shown(&figures, running)
        }
    }

    fn state(&self, job: Option<&Job>) -> pb::BatchOperationState {
        use pb::BatchOperationState as Shown;
        match (self.ended, self.standing.verdict) {
            (true, Some(Verdict::Completed)) => Shown::Completed,
            (true, Some(Verdict::Failed)) => Shown::Failed,
            (true, Some(Verdict::Stopped)) => Shown::Stopped,
            // Its record was ended from outside: what the server says counts.
            (true, None) => job.map_or(Shown::Failed, |job| job.state.proto()),
            (false, _) if job.is_some() || !self.is_queued() => Shown::Running,
            (false, _) => Shown::Queued,
        }
    }

    fn problem(&self, job: Option<&Job>) -> String {
        if self.ended && self.standing.verdict.is_none() {
            let goes_on = job.is_some_and(Job::is_running);
            return if goes_on {
                "its record was ended from outside; the server's job goes on"
            } else {
                "its record was ended from outside"
            }
            .to_owned();
        }
        self.standing.problem.clone()
    }

    fn identity(&self) -> String {
        let caller = &self.about.caller;
        if caller.is_empty() {
            super::identity::NAME.to_owned()
        } else {
            format!("{} for={caller}", super::identity::NAME)
        }
    }
}

impl Holder {
    /// As the contract shows it.
    pub(crate) fn proto(self) -> pb::SlotHolder {
        pb::SlotHolder {
            job_id: self.job_id,
            ours: self.ours,
        }
    }
}

/// The figures of a running or ended operation.
fn shown(figures: &Figures, running: bool) -> pb::BatchOperation {
    let left = figures
        .total
        .saturating_sub(figures.done)
        .saturating_sub(figures.failed);
    pb::BatchOperation {
        start_time: figures.start.map(Moment::proto),
        total: figures.total,
        completed: figures.done,
        failed: figures.failed,
        progress_source: match figures.source {
            Source::Nobody => pb::ProgressSource::Unspecified,
            Source::Server => pb::ProgressSource::Server,
            Source::Counted => pb::ProgressSource::Counted,
            Source::Sampled => pb::ProgressSource::Sampled,
        }
        .into(),
        rate_per_second: figures.rate,
        eta: if running { eta(left, figures.rate) } else { None },
        ..pb::BatchOperation::default()
    }
}

/// A job that is not one of ours, as the contract shows it.
pub(crate) fn foreign(job: &Job) -> pb::BatchOperation {
    let figures = joined(&Figures::default(), job);
    pb::BatchOperation {
        job_id: job.id.clone(),
        state: job.state.proto().into(),
        kind: job
            .kind
            .map_or(pb::BatchOperationKind::Unspecified, |kind| kind.proto())
            .into(),
        close_time: job.close_time.map(Moment::proto),
        identity: job.identity.clone(),
        reason: job.reason.clone(),
        ..shown(&figures, job.state == State::Running)
    }
}

/// Time for what is left at that rate, where it can be told.
#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
fn eta(left: i64, rate: f64) -> Option<prost_types::Duration> {
    if left <= 0 || rate <= 0.0 {
        return None;
    }
    let seconds = left as f64 / rate;
    let time = Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|_| seconds < LONGEST_ETA)?;
    prost_types::Duration::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Record {
        Record {
            standing: Standing {
                stage: Stage::Granted,
                ..Standing::default()
            },
            beat: Beat {
                figures: Figures {
                    start: Some(Moment::new(100, 0)),
                    total: 200,
                    done: 50,
                    rate: 25.0,
                    ..Figures::default()
                },
                ..Beat::default()
            },
            ..Record::default()
        }
    }

    #[test]
    fn what_the_heartbeat_told_counts_until_the_workflow_knows_better() {
        let mut record = running();
        let shown = record.proto(None);
        assert_eq!((shown.state(), shown.completed), (pb::BatchOperationState::Running, 50));
        assert_eq!(shown.eta.unwrap().seconds, 6);
        assert!(!record.is_through() && !record.is_queued());

        record.standing.figures = Figures {
            done: 200,
            ..record.beat.figures.clone()
        };
        record.standing.stage = Stage::Checking;
        let shown = record.proto(None);
        assert!(shown.checking && shown.close_time.is_none() && shown.completed == 200);
        assert!(record.is_through(), "the next may begin");
    }

    #[test]
    fn it_is_queued_until_the_server_has_its_job() {
        let mut record = Record::default();
        for stage in [Stage::Queued, Stage::Granted] {
            record.standing.stage = stage;
            assert_eq!(record.proto(None).state(), pb::BatchOperationState::Queued);
        }
        record.ended = true;
        assert_eq!(record.proto(None).state(), pb::BatchOperationState::Failed);
        assert!(record.proto(None).problem.contains("from outside"));
    }

    #[test]
    fn an_eta_is_given_only_where_it_can_be_told() {
        assert_eq!(eta(100, 50.0).unwrap().seconds, 2);
        for (left, rate) in [(0, 50.0), (100, 0.0), (i64::MAX, 1e-9)] {
            assert_eq!(eta(left, rate), None);
        }
    }
}
