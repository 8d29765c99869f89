//! `OrderWorkflow`: an order from its placement to its end.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use std::{convert::Infallible, time::Duration};

use futures::{FutureExt as _, pin_mut};
use quell_mesh::CancelState;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, SyncWorkflowContext, TimerOptions, WorkflowCancellationToken, WorkflowContext,
    WorkflowContextView, WorkflowResult, WorkflowTermination, workflows::select,
};

use super::{
    messages::{OrderInput, OrderOutput, OrderState, Phase},
    saga::{Ended, Saga, Stop},
};

/// The reason of a cancel request that came without one.
const REQUESTED: &str = "cancel requested";

/// One order.
#[workflow]
#[derive(Default)]
pub struct OrderWorkflow {
    pub(super) state: OrderState,
}

#[workflow_methods]
impl OrderWorkflow {
    /// Runs the saga.
    ///
    /// A failed order and one that timed out end as Failed, one that was cancelled by a cancel request of Temporal's as Canceled, one
    /// that was cancelled by the signal as Completed with the output `cancelled`: it did what it was told.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: OrderInput) -> WorkflowResult<OrderOutput> {
        let stop = WorkflowCancellationToken::new();
        let saga = Saga::new(ctx, &input, &stop);
        // Never ends: it passes on who wants the order to stop, and how the order ends is the saga's to say.
        let watch = async {
            let own = WorkflowCancellationToken::new();
            let timeout = TimerOptions::builder(Duration::from_millis(input.request.timeout_ms));
            let timer = ctx.timer(timeout.cancellation_token(own).build());
            pin_mut!(timer);
            // A cancel request comes first: it ends the wait for the signal, too.
            let stopped = select! {
                reason = ctx.cancelled().fuse() => {
                    let reason = reason.filter(|reason| !reason.is_empty());
                    let reason = reason.unwrap_or_else(|| REQUESTED.to_owned());
                    ctx.state_mut(|order| { order.state.cancel.request(reason); });
                    Stop::Request
                }
                _ = ctx.wait_condition(|order| order.state.cancel.requested).fuse() => Stop::Signal,
                _ = timer => Stop::Timeout,
            };
            saga.stop(stopped);
            std::future::pending::<Infallible>().await
        };
        // In this order: a token that is cancelled while the workflow is polled wakes nobody, so whoever listens to it comes after.
        let ended = select! {
            never = watch.fuse() => match never {},
            ended = saga.run().fuse() => ended,
        };
        match ended {
            Ended::Completed(tracking) => Ok(OrderOutput {
                status: "completed".to_owned(),
                tracking: Some(tracking),
            }),
            Ended::Undone(Phase::Cancelled, _) if saga.stopped_by() == Some(Stop::Request) => {
                Err(WorkflowTermination::cancelled())
            }
            Ended::Undone(Phase::Cancelled, _) => Ok(OrderOutput {
                status: "cancelled".to_owned(),
                tracking: None,
            }),
            Ended::Undone(_, failure) | Ended::Stuck(failure) => {
                let step = failure.action.map_or("the order", super::messages::Action::name);
                Err(
                    ApplicationFailure::builder(anyhow::anyhow!("{step}: {}", failure.message))
                        .type_name(failure.kind)
                        .non_retryable(true)
                        .build()
                        .into(),
                )
            }
        }
    }

    /// Asks the order to stop: running activities are cancelled, and what was begun is undone.
    #[signal]
    pub fn cancel(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) {
        self.state.cancel.request(reason);
    }

    /// Whether it was asked to stop, and why.
    #[query]
    pub fn cancel_state(&self, _ctx: &WorkflowContextView) -> CancelState {
        self.state.cancel.clone()
    }

    /// Where it is.
    #[query]
    pub fn order_state(&self, _ctx: &WorkflowContextView) -> OrderState {
        self.state.clone()
    }
}
