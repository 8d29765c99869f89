//! The workflow: starts a cancellation in each namespace, passes on what it is told, and joins their receipts.
//!
//! It decides nothing: each part has its own deadline, cap and proof. When it is ended from outside its parts are asked to end,
//! and write their receipts.

#![allow(missing_docs, reason = "the macro generates undocumented items")]

use futures::FutureExt as _;
use quell_api::ids::cancellation_workflow;
use quell_mesh::CancelState;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ChildWorkflowOptions, MemoValue, ParentClosePolicy, SignalWorkflowOptions, SyncWorkflowContext, WorkflowContext,
    WorkflowContextView, WorkflowIdReusePolicy, WorkflowResult,
};

use super::{JointInput, receipt};
use crate::cancellation::{
    commands,
    convert::epoch_ms,
    limits::Limits,
    messages::{CancelInput, MEMO_STANDING, Standing},
    receipt::Receipt,
    workflows::BulkCancelWorkflow,
};

/// Stops a workload in several namespaces and proves it.
#[workflow]
#[derive(Default)]
pub struct JointCancelWorkflow {
    stop: CancelState,
    /// Changes of limits that were signalled, in order.
    adjustments: Vec<Limits>,
}

#[workflow_methods]
impl JointCancelWorkflow {
    /// Runs the parts; the result is their receipts as one.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: JointInput) -> WorkflowResult<Receipt> {
        let ctx = &*ctx;
        let start_ms = now_ms(ctx);
        let standing = Standing {
            start_ms,
            ..Standing::default()
        };
        publish(ctx, standing)?;
        let parts = input.parts.iter().map(|part| part_of(ctx, part.clone()));
        let ended = temporalio_sdk::workflows::join_all(parts).await;
        let mut joint = receipt::join(&input, ended, start_ms, now_ms(ctx));
        commands::sign(ctx, &mut joint).await;
        publish(ctx, receipt::standing(&joint))?;
        Ok(joint)
    }

    /// Asks all parts to end: nothing more is stopped, and the receipts tell what was.
    #[signal]
    pub fn stop(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) {
        self.stop.request(reason);
    }

    /// Changes limits of all parts.
    #[signal]
    pub fn adjust(&mut self, _ctx: &mut SyncWorkflowContext<Self>, limits: Limits) {
        self.adjustments.push(limits);
    }

    /// Whether it was asked to stop, and why.
    #[query]
    pub fn cancel_state(&self, _ctx: &WorkflowContextView) -> CancelState {
        self.stop.clone()
    }
}

type Context = WorkflowContext<JointCancelWorkflow>;

/// What a part was told.
#[derive(Clone, Copy, Default)]
struct Told {
    stop: bool,
    adjustments: usize,
}

/// One part from its start to its end: its receipt, or why it left none. A cancelled workflow cancels it by itself.
async fn part_of(ctx: &Context, input: CancelInput) -> Result<Receipt, String> {
    let workflow_id = cancellation_workflow(&input.cancellation_id);
    let options = ChildWorkflowOptions::builder()
        .workflow_id(workflow_id.clone())
        .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
        .parent_close_policy(ParentClosePolicy::RequestCancel)
        .build();
    let started = ctx.start_child_workflow(BulkCancelWorkflow::run, input, options).await;
    let child = started.map_err(|error| format!("its workflow could not be started: {error}"))?;
    let mut ended = child.result().boxed_local().fuse();
    let mut told = Told::default();
    loop {
        let mut news = news(ctx, told).boxed_local().fuse();
        temporalio_sdk::workflows::select! {
            ended = ended => {
                return ended.map_err(|error| format!("its workflow was ended from outside, or failed: {error}"));
            },
            () = news => {}
        }
        drop(news);
        let (stop, adjustments) = ctx.state(|state| {
            let stop = state.stop.requested.then(|| state.stop.reason.clone());
            (
                stop,
                state.adjustments.get(told.adjustments..).unwrap_or_default().to_vec(),
            )
        });
        let part = ctx.external_workflow(workflow_id.clone(), None);
        // One that has ended meanwhile need not hear it.
        for limits in adjustments {
            told.adjustments += 1;
            let options = SignalWorkflowOptions::default();
            let _ = part.signal(BulkCancelWorkflow::adjust, limits, options).await;
        }
        if let Some(reason) = stop.filter(|_| !told.stop) {
            told.stop = true;
            let options = SignalWorkflowOptions::default();
            let _ = part.signal(BulkCancelWorkflow::stop, reason, options).await;
        }
    }
}

/// Returns when there is something that a part was not told.
async fn news(ctx: &Context, told: Told) {
    let is_new = |state: &JointCancelWorkflow| {
        (state.stop.requested && !told.stop) || state.adjustments.len() > told.adjustments
    };
    if ctx.wait_condition(is_new).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn publish(ctx: &Context, standing: Standing) -> WorkflowResult<()> {
    ctx.upsert_memo([(MEMO_STANDING, Some(MemoValue::new(standing)))])?;
    Ok(())
}

fn now_ms(ctx: &Context) -> u64 {
    ctx.workflow_time().map_or(0, epoch_ms)
}
