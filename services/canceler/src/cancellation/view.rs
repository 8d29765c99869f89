//! One cancellation as it can be seen from outside: one raw Describe, without asking the workflow itself.
//!
//! The memo says what was asked for and where the workflow is, as of its last step; the heartbeats of pending activities say
//! what has happened since. Both are put together here. Nothing of this needs a worker: a cancellation whose worker is gone
//! can still be watched.

use quell_api::{canceler::v1 as pb, ids::cancellation_workflow};
use quell_mesh::{Described, Error, NamespaceClient};
use quell_sweep::{Counts, Phase, Verdict};
use temporalio_common::protos::temporal::api::enums::v1::WorkflowExecutionStatus;

use super::{
    convert::{count, duration, parts_ms, phase, timestamp, verdict},
    joint,
    messages::{About, Beat, MEMO_ABOUT, MEMO_STANDING, Standing},
};

/// A cancellation, as last seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Its id.
    pub(crate) id: String,
    /// What was asked for.
    pub(crate) about: About,
    /// Where the workflow is, as of its last step.
    pub(crate) standing: Standing,
    /// Sum of what its windows at work counted.
    pub(crate) at_work: Counts,
    /// Their concurrency limits, summed.
    pub(crate) limit: u32,
    /// Longest latency of a stop without a queue among them, in microseconds; 0 when none is known.
    pub(crate) base_us: u64,
    /// Longest latency of a stop now, in microseconds; 0 when none is known.
    pub(crate) latency_us: u64,
    /// Executions gone a second.
    pub(crate) rate: f64,
    /// Open executions by the newest look or count.
    pub(crate) open: Option<u64>,
    /// Whether the workflow has ended.
    pub(crate) ended: bool,
    /// When its first run started, in milliseconds since the epoch.
    pub(crate) start_ms: u64,
    /// When it ended; 0 until then.
    pub(crate) end_ms: u64,
    /// Its parts, where it works in several namespaces.
    pub(crate) parts: Vec<View>,
}

impl View {
    /// Reads one, with its parts where it works in several namespaces.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no cancellation of that id, or whatever keeps Temporal from answering.
    pub(crate) async fn read(canceler: &NamespaceClient, id: &str) -> Result<Self, Error> {
        let mut view = Self::read_one(canceler, id).await?;
        joint::view::fill(canceler, &mut view).await?;
        Ok(view)
    }

    /// Reads one without its parts.
    pub(super) async fn read_one(canceler: &NamespaceClient, id: &str) -> Result<Self, Error> {
        let described = canceler.describe(cancellation_workflow(id)).await;
        let described = described.map_err(|error| error.named("cancellation", id))?;
        let mut view = Self::of(id, &described)?;
        // Heartbeats of the batch service's activities are of another kind: they say nothing here.
        described.beats().for_each(|beat| view.add_beat(&beat));
        Ok(view)
    }

    /// What a listing row or a description says by itself.
    pub(crate) fn of(id: &str, described: &Described) -> Result<Self, Error> {
        let info = &described.info;
        let about = described.memo::<About>(MEMO_ABOUT)?.unwrap_or_default();
        let standing = described.memo::<Standing>(MEMO_STANDING)?.unwrap_or_default();
        let ended = !matches!(
            WorkflowExecutionStatus::try_from(info.status),
            Ok(WorkflowExecutionStatus::Running
                | WorkflowExecutionStatus::Paused
                | WorkflowExecutionStatus::ContinuedAsNew)
        );
        let run_start_ms = info.start_time.map_or(0, |time| parts_ms(time.seconds, time.nanos));
        let close_ms = info.close_time.map_or(0, |time| parts_ms(time.seconds, time.nanos));
        let mut view = Self {
            id: id.to_owned(),
            open: standing.open,
            start_ms: if standing.start_ms > 0 {
                standing.start_ms
            } else {
                run_start_ms
            },
            end_ms: if !ended {
                0
            } else if standing.end_ms > 0 {
                standing.end_ms
            } else {
                close_ms
            },
            ended,
            about,
            standing,
            ..Self::default()
        };
        if ended {
            view.standing.phase = Phase::Done;
            // Somebody ended the workflow itself: it could not write a verdict any more.
            view.standing.verdict = view.standing.verdict.or(Some(Verdict::Aborted));
        } else if view.standing.phase == Phase::Done {
            // The machine is done, its receipt is still being put together: done is what has one.
            view.standing.phase = Phase::Confirming;
        }
        Ok(view)
    }

    fn add_beat(&mut self, beat: &Beat) {
        self.at_work.add(&beat.counts);
        self.limit = self.limit.saturating_add(beat.limit);
        self.base_us = self.base_us.max(beat.base_us);
        self.latency_us = self.latency_us.max(beat.latency_us);
        self.rate += beat.rate;
        self.open = beat.open.or(self.open);
    }

    /// Executions stopped, closed and failed so far.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.standing.counts;
        counts.add(&self.at_work);
        counts
    }

    /// Between the end of a window and the workflow's next step its counts are nowhere to be seen: they never go back.
    pub(crate) fn not_before(&mut self, earlier: &Self) {
        let (now, before) = (self.counts(), earlier.counts());
        self.at_work.stopped += before.stopped.saturating_sub(now.stopped);
        self.at_work.already_closed += before.already_closed.saturating_sub(now.already_closed);
        self.at_work.asked += before.asked.saturating_sub(now.asked);
        self.at_work.not_found += before.not_found.saturating_sub(now.not_found);
        if self.open.is_none() {
            self.open = earlier.open;
        }
    }

    /// As callers see it, with or without progress.
    pub(crate) fn to_proto(&self, with_progress: bool) -> pb::Cancellation {
        pb::Cancellation {
            cancellation_id: self.id.clone(),
            spec: Some(self.about.spec.to_proto()),
            phase: phase(self.standing.phase).into(),
            verdict: self.standing.verdict.map_or(pb::Verdict::Unspecified, verdict).into(),
            start_time: Some(timestamp(self.start_ms)),
            end_time: (self.end_ms > 0).then(|| timestamp(self.end_ms)),
            progress: with_progress.then(|| self.progress()),
            limits: Some(self.standing.limits.in_force(&self.about.spec)),
            parts: self.parts.iter().map(Self::to_part).collect(),
        }
    }

    fn to_part(&self) -> pb::CancellationPart {
        pb::CancellationPart {
            cancellation_id: self.id.clone(),
            namespace: self.about.spec.namespace().to_owned(),
            phase: phase(self.standing.phase).into(),
            verdict: self.standing.verdict.map_or(pb::Verdict::Unspecified, verdict).into(),
        }
    }

    fn progress(&self) -> pb::Progress {
        let counts = self.counts();
        pb::Progress {
            passes: i32::try_from(self.standing.passes).unwrap_or(i32::MAX),
            stopped: count(counts.stopped),
            already_closed: count(counts.already_closed + counts.not_found),
            failed: count(counts.failed),
            open: self.open.map_or(-1, count),
            rate_per_second: self.rate,
            eta: eta(self.open, self.rate),
            concurrency_limit: i32::try_from(self.limit).unwrap_or(i32::MAX),
            base_latency: latency(self.base_us),
            latency: latency(self.latency_us),
            asked: count(counts.asked),
        }
    }
}

/// A latency, where it is known.
fn latency(us: u64) -> Option<prost_types::Duration> {
    let latency = std::time::Duration::from_micros(us);
    (us > 0)
        .then(|| prost_types::Duration::try_from(latency).ok())
        .flatten()
}

/// Time to zero at that rate, where there is one.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate, of at most a day"
)]
fn eta(open: Option<u64>, rate: f64) -> Option<prost_types::Duration> {
    const DAY_S: f64 = 86_400.0;
    let open = open.filter(|open| *open > 0)?;
    let seconds = open as f64 / rate;
    (seconds.is_finite() && seconds < DAY_S).then(|| duration((seconds * 1_000.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(stopped: u64) -> Counts {
        Counts {
            stopped,
            ..Counts::default()
        }
    }

    #[test]
    fn figures_never_go_back_between_a_window_and_the_next_step() {
        let earlier = View {
            at_work: counts(40),
            open: Some(7),
            ..View::default()
        };
        let mut now = View::default();
        now.not_before(&earlier);
        assert_eq!((now.counts().stopped, now.open), (40, Some(7)));
        let mut later = View {
            standing: Standing {
                counts: counts(45),
                ..Standing::default()
            },
            ..View::default()
        };
        later.not_before(&now);
        assert_eq!(later.counts().stopped, 45);
    }

    #[test]
    fn an_eta_is_given_only_where_it_can_be_told() {
        assert_eq!(eta(Some(100), 50.0), Some(duration(2_000)));
        assert_eq!(eta(Some(100), 0.0), None);
        assert_eq!(eta(Some(0), 50.0), None);
        assert_eq!(eta(None, 50.0), None);
    }

    #[test]
    fn a_workflow_that_was_ended_from_outside_counts_as_aborted() {
        let mut described = Described::default();
        described.info.set_status(WorkflowExecutionStatus::Terminated);
        let view = View::of("c", &described).unwrap();
        let shown = view.to_proto(true);
        assert_eq!(
            (shown.verdict(), shown.phase()),
            (pb::Verdict::Aborted, pb::Phase::Done)
        );
        assert_eq!(shown.progress.unwrap().open, -1);
    }
}
