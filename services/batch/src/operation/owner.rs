//! Whose word ends a job.
//!
//! **The workflow that started a job owns it**, not the activity that watches it. An activity's cancellation token says only
//! "stop"; behind it may stand a cancellation that the workflow asked for, or a worker that shuts down, a heartbeat that
//! came late, a paused or reset activity. In all but the first case another attempt takes over, and stopping the server's job
//! would lose half of a termination in silence. So a stopped attempt asks the owner's own execution:
//!
//! | the owner's latest run | the job is |
//! | --- | --- |
//! | is this run, and has asked for the cancellation of this activity | stopped |
//! | is this run, and was terminated or cancelled, so that nobody waits for the job any more | stopped |
//! | is this run, and anything else (shutdown, late heartbeat, pause) | left alone |
//! | is a later run (reset, continued as new), which tracks the job itself | left alone |
//! | cannot be read | left alone |
//!
//! That is the quick way, and it cannot be the only one: a cancellation that is asked for while no batch worker lives reaches
//! no attempt at all. An owner that must be certain calls `BatchOperationService.StopBatchOperation` as well, which is
//! idempotent.

use std::time::Duration;
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution,
    enums::v1::{PendingActivityState, WorkflowExecutionStatus},
    workflowservice::v1::{DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse},
};
use temporalio_sdk::activities::ActivityContext;
use tonic::Request;

/// Longest time for the question.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the owner of this attempt wants its job stopped.
pub(crate) async fn wants_stop(ctx: &ActivityContext) -> bool {
    let info = ctx.info();
    let (Some(workflow_id), Some(run_id)) = (&info.workflow_id, &info.workflow_run_id) else {
        // A standalone activity has no execution to ask.
        return false;
    };
    let mut request = Request::new(DescribeWorkflowExecutionRequest {
        namespace: info.namespace.clone(),
        execution: Some(WorkflowExecution {
            workflow_id: workflow_id.clone(),
            run_id: String::new(),
        }),
    });
    request.set_timeout(ASK_TIMEOUT);
    match ctx
        .client()
        .connection()
        .workflow_service()
        .describe_workflow_execution(request)
        .await
    {
        Ok(answer) => decide(answer.get_ref(), run_id, &info.activity_id),
        Err(status) => {
            tracing::warn!(code = ?status.code(), workflow_id, "owner not readable, its batch operation is left alone");
            false
        }
    }
}

fn decide(owner: &DescribeWorkflowExecutionResponse, run_id: &str, activity_id: &str) -> bool {
    let Some(execution) = &owner.workflow_execution_info else {
        return false;
    };
    if execution
        .execution
        .as_ref()
        .is_none_or(|latest| latest.run_id != run_id)
    {
        return false;
    }
    match execution.status() {
        WorkflowExecutionStatus::Terminated | WorkflowExecutionStatus::Canceled => true,
        WorkflowExecutionStatus::Running => owner.pending_activities.iter().any(|activity| {
            activity.activity_id == activity_id && activity.state() == PendingActivityState::CancelRequested
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_common::protos::temporal::api::workflow::v1::{PendingActivityInfo, WorkflowExecutionInfo};

    fn owner(
        run: &str,
        status: WorkflowExecutionStatus,
        state: PendingActivityState,
    ) -> DescribeWorkflowExecutionResponse {
        DescribeWorkflowExecutionResponse {
            workflow_execution_info: Some(WorkflowExecutionInfo {
                execution: Some(WorkflowExecution {
                    workflow_id: "w".into(),
                    run_id: run.into(),
                }),
                status: status.into(),
                ..Default::default()
            }),
            pending_activities: vec![PendingActivityInfo {
                activity_id: "7".into(),
                state: state.into(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn only_the_owners_word_stops_a_job() {
        use PendingActivityState::{CancelRequested, Paused, Scheduled, Started};
        use WorkflowExecutionStatus::{Canceled, Completed, ContinuedAsNew, Running, Terminated};
        for (run, status, state, stop) in [
            ("r1", Running, CancelRequested, true),
            ("r1", Running, Started, false),
            ("r1", Running, Scheduled, false),
            ("r1", Running, Paused, false),
            ("r1", Terminated, Started, true),
            ("r1", Canceled, Started, true),
            ("r1", Completed, Started, false),
            ("r1", ContinuedAsNew, Started, false),
            ("r2", Running, CancelRequested, false),
            ("r2", Terminated, CancelRequested, false),
        ] {
            assert_eq!(
                decide(&owner(run, status, state), "r1", "7"),
                stop,
                "{run} {status:?} {state:?}"
            );
        }
        assert!(
            !decide(&owner("r1", Running, CancelRequested), "r1", "8"),
            "another activity's cancellation"
        );
        assert!(!decide(&DescribeWorkflowExecutionResponse::default(), "r1", "7"));
    }
}
