//! The workflows of a probe: `ProbeRun`, which starts them, and `ProbeWorkflow`, of which there are many.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporalio_common::{RetryPolicy, error::ApplicationFailure};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityExecutionError, ActivityOptions, WorkflowContext, WorkflowResult, WorkflowTermination};

use super::{
    activities::{ProbeActivities, ProbeDone, ProbeStarter, Sign},
    spec::{ProbeOrder, RunOrder},
};
use crate::visibility::WORKLOAD;

/// Silence after which the worker that starts workflows counts as lost.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long starting all of them may take: 100,000 at 20 a second.
const STARTING: Duration = Duration::from_secs(2 * 3_600);

/// What became of an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It came to its end.
    Completed,
    /// It came to its end, and had begun at an earlier attempt as well.
    RunTwice,
    /// It began and ran into a timeout.
    TimedOut,
    /// It was handed out and never began.
    Lost,
    /// It failed in another way.
    Failed,
}

impl Fate {
    /// How it is written behind the probe's id.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::RunTwice => "run-twice",
            Self::TimedOut => "timed-out",
            Self::Lost => "lost",
            Self::Failed => "failed",
        }
    }

    fn of(order: &ProbeOrder, ended: &Result<ProbeDone, ActivityExecutionError>) -> Self {
        match ended {
            Ok(done) if done.begun_before => Self::RunTwice,
            Ok(_) => Self::Completed,
            Err(error) => match error.as_timeout() {
                None => Self::Failed,
                Some(timeout) => {
                    // The sign of the last attempt; those before it may have left one too.
                    let sign: Option<Sign> = timeout.last_heartbeat_details().ok().flatten();
                    if sign.is_some_and(|sign| sign.attempt == order.attempts) {
                        Self::TimedOut
                    } else {
                        Self::Lost
                    }
                }
            },
        }
    }
}

/// Starts the workflows of a probe.
#[workflow]
#[derive(Default)]
pub struct ProbeRun;

#[workflow_methods]
impl ProbeRun {
    /// The result is the number of workflows that were started.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, run: RunOrder) -> WorkflowResult<u32> {
        let options = ActivityOptions::with_start_to_close_timeout(STARTING)
            .heartbeat_timeout(HEARTBEAT)
            .build();
        let started = ctx
            .execute_activity(ProbeStarter::start_probe_workflows, run, options)
            .await;
        started.map_err(|error| match error {
            ActivityExecutionError::Cancelled(_) => WorkflowTermination::cancelled(),
            error => ApplicationFailure::non_retryable(anyhow::Error::new(error)).into(),
        })
    }
}

/// One activity.
#[workflow]
#[derive(Default)]
pub struct ProbeWorkflow;

#[workflow_methods]
impl ProbeWorkflow {
    /// Runs the activity. Completes when the activity does; fails otherwise, after its fate was written down.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, order: ProbeOrder) -> WorkflowResult<Fate> {
        let mut options = ActivityOptions::with_start_to_close_timeout(Duration::from_millis(order.timeout_ms))
            .retry_policy(
                RetryPolicy::builder()
                    .initial_interval(Duration::from_millis(100))
                    .maximum_attempts(order.attempts)
                    .build(),
            )
            .build();
        options.task_queue = Some(order.task_queue.clone());
        options.heartbeat_timeout = (order.heartbeat_ms > 0).then(|| Duration::from_millis(order.heartbeat_ms));
        let ended = ctx
            .execute_activity(ProbeActivities::probe, order.clone(), options)
            .await;
        let fate = Fate::of(&order, &ended);
        if fate != Fate::Completed {
            ctx.upsert_search_attributes([WORKLOAD.value_set(format!("{}/{}", order.probe_id, fate.name()))]);
        }
        match ended {
            Ok(_) => Ok(fate),
            Err(error) => Err(ApplicationFailure::non_retryable(
                anyhow::Error::new(error).context(format!("probe {}", fate.name())),
            )
            .into()),
        }
    }
}
