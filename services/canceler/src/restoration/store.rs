//! Restorations as workflows of the canceler namespace: started, joined, and seen by one Describe.

use quell_api::{canceler::v1 as pb, ids::restoration_workflow, target::OPEN};
use quell_mesh::{Error, NamespaceClient};
use temporalio_client::{
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions, errors::WorkflowStartError,
};
use temporalio_common::protos::temporal::api::{
    enums::v1::WorkflowExecutionStatus, workflow::v1::WorkflowExecutionInfo,
};

use super::{
    convert,
    messages::{Asked, Beat, MEMO_STANDING, Phase, Report, RestoreInput, Standing, Verdict},
    workflows::RestoreWorkflow,
};
use crate::cancellation::convert::{count, parts_ms, timestamp};

const KIND: &str = "restoration";

/// Starts one. Returns false when one of the same cancellation runs already: then nothing happened.
pub(super) async fn start(canceler: &NamespaceClient, asked: Asked) -> Result<bool, Error> {
    let client = canceler.client().await?;
    let workflow_id = restoration_workflow(&asked.cancellation_id);
    let options = WorkflowStartOptions::new(canceler.task_queue(), workflow_id)
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
        .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
        .static_summary(format!("restoration of cancellation {}", asked.cancellation_id))
        .build();
    let input = RestoreInput { asked };
    match client.start_workflow(RestoreWorkflow::run, input, options).await {
        Ok(_) => Ok(true),
        Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Asks the last one of a cancellation to end. One that has ended is left as it is.
pub(super) async fn stop(canceler: &NamespaceClient, id: &str, reason: String) -> Result<(), Error> {
    if View::read(canceler, id).await?.ended {
        return Ok(());
    }
    // It may end between the two calls.
    let told = canceler.tell::<RestoreWorkflow, _>(restoration_workflow(id), RestoreWorkflow::stop, reason);
    told.await.map(drop)
}

/// The ids of cancellations that are being undone; at most a page of them.
pub(crate) async fn running(canceler: &NamespaceClient) -> Result<Vec<String>, Error> {
    let prefix = restoration_workflow("");
    let query = format!("WorkflowType = \"RestoreWorkflow\" AND WorkflowId STARTS_WITH \"{prefix}\" AND {OPEN}");
    let (rows, _) = canceler.list(query, 1_000, Vec::new()).await?;
    let mut running = Vec::new();
    for row in rows {
        let id = row.workflow_id();
        let id = id.strip_prefix(&prefix).unwrap_or(id);
        // The index may not know yet that it has ended, or that it is gone. What cannot be read runs: only its status matters here.
        let ended = match canceler.describe(row.workflow_id()).await {
            Ok(described) => has_ended(&described.info),
            Err(Error::NotFound { .. }) => true,
            Err(Error::FailedPrecondition { .. } | Error::Internal(_)) => false,
            Err(error) => return Err(error),
        };
        if !ended {
            running.push(id.to_owned());
        }
    }
    Ok(running)
}

fn has_ended(info: &WorkflowExecutionInfo) -> bool {
    !matches!(
        info.status(),
        WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused
    )
}

/// A restoration, as last seen.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    id: String,
    pub(super) ended: bool,
    standing: Standing,
    surveyed_now: u64,
    done_now: u64,
    report: Option<Report>,
}

impl View {
    /// Reads the last one of a cancellation, and its report when it has ended.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, or whatever keeps Temporal from answering.
    pub(super) async fn read(canceler: &NamespaceClient, id: &str) -> Result<Self, Error> {
        let described = canceler.describe(restoration_workflow(id)).await;
        let described = described.map_err(|error| error.named(KIND, id))?;
        let info = &described.info;
        let ended = has_ended(info);
        let start_ms = info.start_time.map_or(0, |time| parts_ms(time.seconds, time.nanos));
        let close_ms = info.close_time.map_or(0, |time| parts_ms(time.seconds, time.nanos));
        let mut view = Self {
            id: id.to_owned(),
            ended,
            standing: described.memo(MEMO_STANDING)?.unwrap_or_default(),
            ..Self::default()
        };
        if view.standing.start_ms == 0 {
            view.standing.start_ms = start_ms;
        }
        for beat in described.beats::<Beat>() {
            view.surveyed_now += beat.surveyed;
            view.done_now += beat.done;
        }
        if ended {
            let report = canceler.result::<RestoreWorkflow>(restoration_workflow(id)).await;
            view.report = report.map_err(|error| error.named(KIND, id))?;
            view.standing.phase = Phase::Done;
            // Somebody ended the workflow itself: it could not write a verdict any more.
            view.standing.verdict = view.standing.verdict.or(Some(Verdict::Aborted));
            if view.standing.end_ms == 0 {
                view.standing.end_ms = close_ms;
            }
        } else if view.standing.phase == Phase::Done {
            // Done is what has a report.
            view.standing.phase = Phase::Resuming;
            view.standing.verdict = None;
            view.standing.end_ms = 0;
        }
        Ok(view)
    }

    /// Between the end of an activity and the workflow's next step its figures are nowhere to be seen: they never go back.
    pub(super) fn not_before(&mut self, earlier: &Self) {
        if self.standing.start_ms != earlier.standing.start_ms {
            return;
        }
        let behind = |now: u64, before: u64| before.saturating_sub(now);
        self.surveyed_now += behind(self.surveyed(), earlier.surveyed());
        self.done_now += behind(self.done(), earlier.done());
    }

    fn surveyed(&self) -> u64 {
        self.standing.surveyed.max(self.surveyed_now)
    }

    fn done(&self) -> u64 {
        (self.standing.done + self.done_now).min(self.standing.planned)
    }

    /// As callers see it.
    pub(super) fn to_proto(&self) -> pb::Restoration {
        let standing = &self.standing;
        pb::Restoration {
            cancellation_id: self.id.clone(),
            phase: convert::phase(standing.phase).into(),
            verdict: standing
                .verdict
                .map_or(pb::RestorationVerdict::Unspecified, convert::verdict)
                .into(),
            start_time: Some(timestamp(standing.start_ms)),
            end_time: (standing.end_ms > 0).then(|| timestamp(standing.end_ms)),
            surveyed: count(self.surveyed()),
            planned: count(standing.planned),
            done: count(self.done()),
            report: self.report.as_ref().map(convert::report),
        }
    }
}
