//! The workflows of a snowball: `CancelableWorkflow`, the root, and `ChildWorkflow`, everything below it.
//!
//! All of them carry WorkloadId from their start *and* upsert it in their first task, as the document has it. At start, or
//! the newest executions, which nobody has worked on yet, would be invisible to a query by WorkloadId, and those are the
//! ones that a cancellation is after. A child upserts only when the attribute is not what it was told (somebody started it
//! without): an upsert of the same value costs an event and a visibility write per leaf, for nothing. The root always does.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use std::{convert::Infallible, time::Duration};

use futures::FutureExt;
use quell_mesh::CancelState;
use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
    WorkflowTermination, workflows::select,
};

use super::{
    plan::Node,
    spawner::{Ended, Spawner, Tally},
    wait,
};
use crate::visibility::WORKLOAD;

/// What became of a snowball.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnowballResult {
    /// The root's own children.
    pub children: Tally,
    /// Whether it was asked to stop by the cancel signal, and why.
    pub cancel: CancelState,
}

/// The root of a snowball.
#[workflow]
#[derive(Default)]
pub struct CancelableWorkflow {
    cancel: CancelState,
    tally: Tally,
}

#[workflow_methods]
impl CancelableWorkflow {
    /// Spawns, waits for all children, and tells what became of them.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, node: Node) -> WorkflowResult<SnowballResult> {
        ctx.upsert_search_attributes([WORKLOAD.value_set(node.workload_id.clone())]);
        let Some(order) = node.order.clone() else {
            return Ok(SnowballResult::default());
        };
        let stop = ctx.cancellation_token().child_token();
        let report = |tally| ctx.state_mut(|state| state.tally = tally);
        let spawner = Spawner::new(ctx, &node, &stop, &report);
        // Never ends: it passes the signal on, and how the workflow ends is the spawner's to say.
        let signal = async {
            if ctx.wait_condition(|state| state.cancel.requested).await.is_ok() {
                stop.cancel_with_reason(ctx.state(|state| state.cancel.reason.clone()));
            }
            std::future::pending::<Infallible>().await
        };
        // In this order: a token that is cancelled while the workflow is polled wakes nobody, so whoever listens to it comes after.
        let ended = select! {
            never = signal.fuse() => match never {},
            ended = spawner.run(order).fuse() => ended?,
        };
        match ended {
            Ended::Complete(children) => Ok(SnowballResult {
                children,
                cancel: ctx.state(|state| state.cancel.clone()),
            }),
            // By the signal: done as told. By a cancel request: that is how it ends.
            Ended::Stopped(_) if ctx.cancellation_token().is_cancelled() => Err(WorkflowTermination::cancelled()),
            Ended::Stopped(children) => Ok(SnowballResult {
                children,
                cancel: ctx.state(|state| state.cancel.clone()),
            }),
            Ended::Continue(order) => {
                match ctx.continue_as_new(node.going_on(order), ContinueAsNewOptions::default())? {}
            }
        }
    }

    /// Asks the snowball to stop: it spawns no more, cancels its own children (who pass it on), and ends.
    #[signal]
    pub fn cancel(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) {
        self.cancel.request(reason);
    }

    /// Whether it was asked to stop, and why.
    #[query]
    pub fn cancel_state(&self, _ctx: &WorkflowContextView) -> CancelState {
        self.cancel.clone()
    }

    /// What became of the root's own children so far.
    #[query]
    pub fn progress(&self, _ctx: &WorkflowContextView) -> Tally {
        self.tally
    }
}

/// Everything below the root: a spawner when it has an order, a leaf when not.
#[workflow]
#[derive(Default)]
pub struct ChildWorkflow;

#[workflow_methods]
impl ChildWorkflow {
    /// Spawns and waits for its children, or waits for its lifetime.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, node: Node) -> WorkflowResult<Option<Tally>> {
        if ctx.search_attributes().get(&WORKLOAD).as_ref() != Some(&node.workload_id) {
            ctx.upsert_search_attributes([WORKLOAD.value_set(node.workload_id.clone())]);
        }
        let Some(order) = node.order.clone() else {
            return leaf(ctx, node.lifetime_ms).await;
        };
        let stop = ctx.cancellation_token();
        match Spawner::new(ctx, &node, &stop, &|_| {}).run(order).await? {
            Ended::Complete(tally) => Ok(Some(tally)),
            Ended::Stopped(_) => Err(WorkflowTermination::cancelled()),
            Ended::Continue(order) => {
                match ctx.continue_as_new(node.going_on(order), ContinueAsNewOptions::default())? {}
            }
        }
    }
}

/// One timer, or none.
async fn leaf(ctx: &WorkflowContext<ChildWorkflow>, lifetime_ms: u64) -> WorkflowResult<Option<Tally>> {
    if lifetime_ms == 0 {
        return Ok(None);
    }
    if wait::elapsed(ctx, Duration::from_millis(lifetime_ms), &ctx.cancellation_token()).await {
        Ok(None)
    } else {
        Err(WorkflowTermination::cancelled())
    }
}
