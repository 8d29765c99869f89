//! The activities on `batch-queue`, by which workflows of the canceler namespace use the server's batch.
//!
//! Both are safe to kill at any step. The job's id is decided before the first attempt and does not change; there is one operation of
//! an id, and the server refuses a second job of one id for as long as it keeps the first; and a new attempt looks for its job before
//! it does anything else. So a job is started once, whatever number of attempts it takes, and watched to its end.

use super::{
    action::{Action, Selection},
    attempt::{Details, beating},
    loops::{Stop, track},
    messages::OperationInput,
    own_activities::{interrupted, told},
    owner,
    server::JobServer,
    spec::Spec,
    store::Records,
    turns::until_started,
};
use quell_api::{
    batch_activities::{
        BatchCancelInput, BatchCancelOutput, BatchCancelWorkflows, TrackBatch, TrackBatchInput, TrackBatchOutput,
    },
    ids::OWN_PREFIXES,
    validate::Checker,
};
use quell_mesh::{
    activity::earlier,
    error::{Error, Reason},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError, ActivityInfo};

/// Longest job id, in bytes: with our prefix it is a workflow id, which may have 1,000.
const MAX_JOB_ID: usize = 900;

/// The implementation of [`quell_api::batch_activities::BatchActivityDefinitions`].
pub(crate) struct BatchActivities {
    server: Arc<dyn JobServer>,
    records: Arc<dyn Records>,
    namespace: String,
}

impl BatchActivities {
    /// Over the batch interface of the main namespace, of that name, and the records in the canceler's.
    pub(crate) fn new(server: Arc<dyn JobServer>, records: Arc<dyn Records>, namespace: &str) -> Self {
        Self {
            server,
            records,
            namespace: namespace.to_owned(),
        }
    }
}

/// Heartbeat of `batch_cancel_workflows`: what it is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartProgress {
    /// Job id.
    pub(crate) job_id: String,
    /// Looks at which it had not started yet.
    pub(crate) refused: u32,
    /// Who holds the slot: a job id; empty when nobody is waited for, or when that is not known.
    pub(crate) waiting_for: String,
}

#[activities]
impl BatchActivities {
    /// See the definition.
    #[allow(dead_code, reason = "the macro's constant is for callers in the same crate")]
    #[activity(definition = BatchCancelWorkflows)]
    pub(crate) async fn batch_cancel_workflows(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: BatchCancelInput,
    ) -> Result<BatchCancelOutput, ActivityError> {
        let request = Request::new(input, ctx.info()).map_err(|error| failure(&error))?;
        let job_id = request.job_id.clone();
        let operation = request.operation(&self.namespace);
        let progress = Details::new(StartProgress {
            job_id: job_id.clone(),
            ..StartProgress::default()
        });
        let started = until_started(&*self.server, &*self.records, &ctx, &operation, &progress);
        match beating(&ctx, &progress, started).await {
            Ok(output) => {
                tracing::info!(job_id, attempt = ctx.info().attempt, "batch operation is the server's");
                Ok(output)
            }
            Err(Stop::Failed(error)) => Err(failure(&error)),
            Err(Stop::Told) => {
                self.give_up(&ctx, &job_id).await;
                Err(told(&ctx).await)
            }
        }
    }

    /// See the definition.
    #[allow(dead_code, reason = "the macro's constant is for callers in the same crate")]
    #[activity(definition = TrackBatch)]
    pub(crate) async fn track_batch(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: TrackBatchInput,
    ) -> Result<TrackBatchOutput, ActivityError> {
        let mut check = Checker::new();
        check.required_id("job_id", &input.job_id);
        let job_id = check
            .finish(input.job_id)
            .map_err(|violations| failure(&Error::InvalidArgument(violations)))?;
        // What the attempt before saw: a job that fails no longer tells it.
        let seen: TrackBatchOutput = earlier(&ctx);
        let figures = Details::new(seen);
        let result = beating(
            &ctx,
            &figures,
            track(&*self.server, &*self.records, &ctx, &job_id, &figures),
        )
        .await;
        match result {
            Ok(output) => {
                tracing::info!(
                    job_id,
                    completed = output.completed,
                    done = output.done,
                    failed = output.failed,
                    "batch operation ended"
                );
                Ok(output)
            }
            Err(Stop::Failed(error)) => Err(failure(&error)),
            Err(Stop::Told) if self.give_up(&ctx, &job_id).await => {
                Err(ActivityError::cancelled_with_details(figures.get()))
            }
            Err(Stop::Told) => Err(interrupted()),
        }
    }
}

/// A checked input of `batch_cancel_workflows`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Id of the job, the same for all attempts.
    pub(crate) job_id: String,
    /// Terminate what the query matches, our own executions excluded once more.
    pub(crate) spec: Spec,
    /// Workflow id of the caller.
    pub(crate) caller: String,
}

impl Request {
    /// As an operation for the slot of a namespace.
    fn operation(self, namespace: &str) -> OperationInput {
        OperationInput {
            job_id: self.job_id,
            namespace: namespace.to_owned(),
            spec: self.spec,
            matched: 0,
            caller: self.caller,
        }
    }

    fn new(input: BatchCancelInput, info: &ActivityInfo) -> Result<Self, Error> {
        let run = info
            .workflow_run_id
            .as_deref()
            .or(info.activity_run_id.as_deref())
            .unwrap_or_default();
        Self::checked(
            input,
            run,
            &info.activity_id,
            info.workflow_id.as_deref().unwrap_or_default(),
        )
    }

    /// `run` and `activity` name the activity, `caller` its workflow.
    pub(crate) fn checked(input: BatchCancelInput, run: &str, activity: &str, caller: &str) -> Result<Self, Error> {
        let mut check = Checker::new();
        if input.query.trim().is_empty() {
            check.reject("query", "must not be empty: an empty query would match everything");
        } else if input.query.to_ascii_lowercase().contains("temporalnamespacedivision") {
            check.reject(
                "query",
                "must not name TemporalNamespaceDivision: those are the server's own workflows",
            );
        }
        check.reason("reason", &input.reason, true);
        let job_id = if input.job_id.is_empty() {
            // A run id is unique over all workflow ids, and an activity id within its run. The run must be part of it: a
            // workflow that continued as new means a new job, not the closed one of its last run.
            format!("quell-batch/{run}/{activity}")
        } else {
            input.job_id
        };
        check.required_id("job_id", &job_id);
        if job_id.len() > MAX_JOB_ID {
            check.reject("job_id", format!("must have at most {MAX_JOB_ID} bytes"));
        }
        let mut query = format!("({})", input.query.trim());
        for prefix in OWN_PREFIXES {
            // The caller has excluded them. A caller in another language may have forgotten.
            query.push_str(&format!(" AND NOT WorkflowId STARTS_WITH \"{prefix}\""));
        }
        check
            .finish(Self {
                job_id,
                spec: Spec {
                    action: Action::Terminate,
                    selection: Selection::Query(query),
                    reason: input.reason,
                    // Whoever calls an activity guards itself: the canceler counts what it is about to stop.
                    max_affected: 0,
                },
                caller: caller.to_owned(),
            })
            .map_err(Error::InvalidArgument)
    }
}

impl BatchActivities {
    /// Stops the operation of an attempt that was told to stop, if its owner wants that. True when it does.
    async fn give_up(&self, ctx: &ActivityContext, job_id: &str) -> bool {
        if !owner::wants_stop(ctx).await {
            tracing::info!(job_id, "attempt stopped, the batch operation goes on");
            return false;
        }
        let why = "the workflow that started it was cancelled";
        // The record first, so that it knows why its job ends; it may have been told while the server was taking the job.
        let told = self.records.stop(job_id, why).await;
        match told.and(self.server.stop_running(job_id, why).await) {
            Ok(_) => tracing::info!(job_id, "batch operation stopped on its owner's word"),
            Err(error) => tracing::warn!(job_id, %error, "batch operation could not be stopped; its owner must do so"),
        }
        true
    }
}

/// An error as an activity's failure: its type is the stable reason, and what no retry can cure is not retried.
pub(crate) fn failure(error: &Error) -> ActivityError {
    let hopeless = match error {
        Error::InvalidArgument(_) | Error::NotFound { .. } | Error::AlreadyExists { .. } => true,
        // A namespace may still be created; an old server stays old, and what ended stays ended.
        Error::FailedPrecondition { reason, .. } => matches!(
            reason,
            Reason::TemporalUnsupported | Reason::MaxAffectedExceeded | Reason::ProtectedTarget | Reason::WrongState
        ),
        Error::ResourceExhausted { .. }
        | Error::Unauthenticated { .. }
        | Error::PermissionDenied { .. }
        | Error::Unavailable { .. }
        | Error::DeadlineExceeded { .. }
        | Error::Aborted { .. }
        | Error::Cancelled { .. }
        | Error::Internal(_) => false,
    };
    if let Error::Internal(cause) = error {
        tracing::error!(cause = format!("{cause:#}"), "internal error in an activity");
    }
    ActivityError::application(
        ApplicationFailure::builder(error.public_message())
            .type_name(error.reason().as_str().to_owned())
            .non_retryable(hopeless)
            .build(),
    )
}
