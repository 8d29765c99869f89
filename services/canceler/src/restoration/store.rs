//! Restorations as workflows of the canceler namespace: started, joined, and seen by one Describe.

use quell_api::{canceler::v1 as pb, ids::restoration_workflow};
use quell_mesh::{Error, NamespaceClient, error::from_temporal, no_retry};
use temporalio_client::{
    WorkflowGetResultOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions,
    errors::{WorkflowGetResultError, WorkflowStartError},
};
use temporalio_common::{
    Memo,
    data_converters::{
        ActivitySerializationContext, DecodablePayloads, SerializationContextData, WorkflowSerializationContext,
    },
    payload_visitor::decode_payloads,
    protos::temporal::api::{
        common::v1::WorkflowExecution, enums::v1::WorkflowExecutionStatus,
        workflowservice::v1::DescribeWorkflowExecutionRequest,
    },
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
        let client = canceler.client().await?;
        let request = DescribeWorkflowExecutionRequest {
            namespace: canceler.namespace().to_owned(),
            execution: Some(WorkflowExecution {
                workflow_id: restoration_workflow(id),
                run_id: String::new(),
            }),
        };
        let mut stub = client.connection().workflow_service();
        let described = stub.describe_workflow_execution(no_retry(request)).await;
        let mut described = described
            .map_err(|status| from_temporal(status).named(KIND, id))?
            .into_inner();
        let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
        let converter = &client.options().data_converter;
        decode_payloads(&mut described, converter.codec(), &context).await?;
        let info = described.workflow_execution_info.unwrap_or_default();
        let ended = !matches!(
            info.status(),
            WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused
        );
        let start_ms = info.start_time.map_or(0, |time| parts_ms(time.seconds, time.nanos));
        let close_ms = info.close_time.map_or(0, |time| parts_ms(time.seconds, time.nanos));
        let memo = Memo::from_raw(info.memo, converter.payload_converter().clone(), context);
        let standing = memo
            .get::<Standing>(MEMO_STANDING)
            .map_err(|error| Error::internal(anyhow::Error::new(error).context("memo of a restoration")))?;
        let mut view = Self {
            id: id.to_owned(),
            ended,
            standing: standing.unwrap_or_default(),
            ..Self::default()
        };
        if view.standing.start_ms == 0 {
            view.standing.start_ms = start_ms;
        }
        for activity in described.pending_activities {
            let Some(details) = activity.heartbeat_details else {
                continue;
            };
            let context = SerializationContextData::Activity(ActivitySerializationContext::new());
            let details = DecodablePayloads::new(details.payloads, converter.payload_converter().clone(), context);
            if let Ok(beat) = details.deserialize::<Beat>() {
                view.surveyed_now += beat.surveyed;
                view.done_now += beat.done;
            }
        }
        if ended {
            view.report = report(canceler, id).await?;
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

/// The report of one that has ended; `None` when it was ended from outside.
async fn report(canceler: &NamespaceClient, id: &str) -> Result<Option<Report>, Error> {
    let handle = canceler
        .client()
        .await?
        .get_workflow_handle::<RestoreWorkflow>(restoration_workflow(id));
    match handle.get_result(WorkflowGetResultOptions::default()).await {
        Ok(report) => Ok(Some(report)),
        Err(
            error @ (WorkflowGetResultError::Failed(_)
            | WorkflowGetResultError::Cancelled { .. }
            | WorkflowGetResultError::Terminated { .. }
            | WorkflowGetResultError::TimedOut),
        ) => {
            tracing::warn!(cancellation_id = id, error = %error, "a restoration ended without a report");
            Ok(None)
        }
        Err(error) => Err(Error::from(error).named(KIND, id)),
    }
}
