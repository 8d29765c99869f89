//! The workflows of a snowball: `CancelableWorkflow`, the root, and `ChildWorkflow`, everything below it.
//!
//! All of them carry WorkloadId from their start *and* upsert it in their first task, as the document has it. At start, or
//! the newest executions, which nobody has worked on yet, would be invisible to a query by WorkloadId, and those are the
//! ones that a cancellation is after. A child upserts only when the attribute is not what it was told (somebody started it
//! without): an upsert of the same value costs an event and a visibility write per leaf, for nothing. The root always does.
//!
//! With late tagging nothing is tagged at its start, and each upserts its tag after a while: executions that a query by WorkloadId
//! does not show yet. What a spec asks for beyond the plain tree is in the input only, so that runs from before it replay.

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
    ApplicationFailure, ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView,
    WorkflowResult, WorkflowTermination, workflows::select,
};

use super::{
    life::{End, Fate},
    plan::Node,
    producer,
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
        // A client's root stands for a program outside, which has no tag.
        if node.client.is_none() && !node.is_tagged_late() {
            ctx.upsert_search_attributes([WORKLOAD.value_set(node.workload_id.clone())]);
        }
        let Some(order) = node.order.clone() else {
            return Ok(SnowballResult::default());
        };
        let stop = ctx.cancellation_token().child_token();
        let report = |tally| ctx.state_mut(|state| state.tally = tally);
        let spawner = Spawner::new(ctx, &node, &stop, &report);
        let spawn = async {
            match node.client {
                Some(client) => producer::run(ctx, &node, order, client, &stop, &report).await,
                None => spawner.run(order).await,
            }
        };
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
            never = tag_late(ctx, &node).fuse() => match never {},
            ended = spawn.fuse() => ended?,
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
        if !node.is_tagged_late() && !is_tagged(ctx, &node) {
            ctx.upsert_search_attributes([WORKLOAD.value_set(node.workload_id.clone())]);
        }
        select! {
            never = tag_late(ctx, &node).fuse() => match never {},
            ended = child(ctx, &node).fuse() => ended,
        }
    }
}

async fn child(ctx: &WorkflowContext<ChildWorkflow>, node: &Node) -> WorkflowResult<Option<Tally>> {
    let Some(order) = node.order.clone() else {
        return leaf(ctx, node).await;
    };
    let stop = ctx.cancellation_token();
    match Spawner::new(ctx, node, &stop, &|_| {}).run(order).await? {
        Ended::Complete(tally) => Ok(Some(tally)),
        Ended::Stopped(_) => Err(WorkflowTermination::cancelled()),
        Ended::Continue(order) => {
            match ctx.continue_as_new(node.clone().going_on(order), ContinueAsNewOptions::default())? {}
        }
    }
}

/// One timer, or none.
async fn leaf(ctx: &WorkflowContext<ChildWorkflow>, node: &Node) -> WorkflowResult<Option<Tally>> {
    let plain = Fate {
        lifetime_ms: node.lifetime_ms,
        end: End::Complete,
    };
    let fate = node.nature.as_ref().map_or(plain, |nature| {
        nature.fate(ctx.workflow_id(), node.turn, node.lifetime_ms)
    });
    if fate.lifetime_ms > 0 {
        let lifetime = Duration::from_millis(fate.lifetime_ms);
        if !wait::elapsed(ctx, lifetime, &ctx.cancellation_token()).await {
            return Err(WorkflowTermination::cancelled());
        }
    }
    match fate.end {
        End::Complete => Ok(None),
        End::Fail => Err(ApplicationFailure::builder(anyhow::anyhow!("this leaf was to fail"))
            .type_name("LeafFailed".to_owned())
            .non_retryable(true)
            .build()
            .into()),
        // A cancel that came with the end of the lifetime would be lost with this run.
        End::Continue if ctx.cancellation_token().is_cancelled() => Err(WorkflowTermination::cancelled()),
        End::Continue => match ctx.continue_as_new(node.clone().next_turn(), ContinueAsNewOptions::default())? {},
    }
}

fn is_tagged<W>(ctx: &WorkflowContext<W>, node: &Node) -> bool {
    ctx.search_attributes().get(&WORKLOAD).as_ref() == Some(&node.workload_id)
}

/// Upserts the tag when it is due. Never ends: how the workflow ends is for others to say.
async fn tag_late<W>(ctx: &WorkflowContext<W>, node: &Node) -> Infallible {
    if let Some(after_ms) = node.tag_after_ms()
        && node.client.is_none()
        && !is_tagged(ctx, node)
    {
        let due = after_ms == 0 || wait::elapsed(ctx, Duration::from_millis(after_ms), &ctx.cancellation_token()).await;
        if due {
            ctx.upsert_search_attributes([WORKLOAD.value_set(node.workload_id.clone())]);
        }
    }
    std::future::pending().await
}
