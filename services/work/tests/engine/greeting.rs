//! Greetings: one activity, cancelled when the workflow is asked to stop.
#![allow(missing_docs, reason = "the SDK's macros generate items without docs")]

use std::convert::Infallible;

use futures::FutureExt as _;
use quell_mesh::{CancelState, Limits, activity};
use serde::{Deserialize, Serialize};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    SyncWorkflowContext, WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult,
    activities::{ActivityContext, ActivityError},
    workflows::select,
};

/// The task queue of greetings.
pub const QUEUE: &str = "greetings";

/// What is to be greeted. The limits are the central timeouts and retries at the time of the start; left out, the defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GreetingInput {
    pub name: String,
    #[serde(default)]
    pub limits: Limits,
}

#[derive(Debug)]
pub struct GreetingActivities;

#[activities]
impl GreetingActivities {
    /// The work itself: here effects are allowed. It may be run more than once, so it has to be idempotent.
    #[activity(name = "greet")]
    pub async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("Hello, {name}!"))
    }
}

#[workflow]
#[derive(Default)]
pub struct GreetingWorkflow {
    cancel: CancelState,
}

#[workflow_methods]
impl GreetingWorkflow {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: GreetingInput) -> WorkflowResult<String> {
        let (stop, own) = (ctx.cancellation_token().child_token(), WorkflowCancellationToken::new());
        let options = input.limits.activity(own.clone());
        let running = ctx.execute_activity(GreetingActivities::greet, input.name, options);
        // Passes the signal on, and never ends: how the workflow ends is the activity's to say.
        let signal = async {
            if ctx.wait_condition(|state| state.cancel.requested).await.is_ok() {
                stop.cancel_with_reason(ctx.state(|state| state.cancel.reason.clone()));
            }
            std::future::pending::<Infallible>().await
        };
        select! {
            never = signal.fuse() => match never {},
            greeting = activity::until_stopped(running, &own, &stop).fuse() => Ok(greeting?),
        }
    }

    /// The common cancel signal: the running activity is cancelled.
    #[signal]
    pub fn cancel(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) {
        self.cancel.request(reason);
    }

    /// Whether it was asked to stop, and why.
    #[query]
    pub fn cancel_state(&self, _ctx: &WorkflowContextView) -> CancelState {
        self.cancel.clone()
    }
}
