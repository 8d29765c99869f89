//! An order as the contract shows it, from what Temporal says of its workflow and from its memo.

use quell_api::work::v1::{Order, OrderFailure, OrderStatus, OrderStep, OrderStepState};
use quell_mesh::{Error, NamespaceClient};

use super::{
    messages::{Failure, OrderRequest, OrderState, Phase, StepState},
    saga::MEMO_STATE,
    spec, workflow_id,
};
use crate::visibility::{self, Execution};

/// Workflow type of orders.
pub const ORDER_TYPE: &str = "OrderWorkflow";

/// Memo key of the request.
pub const MEMO_REQUEST: &str = "request";

/// The workflow of an order.
///
/// # Errors
/// `NotFound` when no order of that id is known; Temporal's, translated.
pub async fn describe(main: &NamespaceClient, order_id: &str) -> Result<Execution, Error> {
    visibility::describe(main, &workflow_id(order_id))
        .await?
        .filter(|execution| execution.workflow_type == ORDER_TYPE)
        .ok_or_else(|| Error::not_found("order", order_id))
}

/// Whether an order has a start delay and has not begun, as far as its memo tells.
#[must_use]
pub fn is_delayed(execution: &Execution) -> bool {
    let delayed = execution
        .memo::<OrderRequest>(MEMO_REQUEST)
        .is_some_and(|request| request.start_delay_ms > 0);
    delayed && execution.memo::<OrderState>(MEMO_STATE).is_none()
}

/// An order.
#[must_use]
pub fn order(execution: Execution) -> Order {
    let state: OrderState = execution.memo(MEMO_STATE).unwrap_or_default();
    let status = status(execution.open, state.phase);
    let tracking = if status == OrderStatus::Completed {
        state.steps.last().map(|step| step.reference.clone())
    } else {
        None
    };
    Order {
        order_id: execution
            .workflow_id
            .strip_prefix("order-")
            .unwrap_or(&execution.workflow_id)
            .to_owned(),
        spec: execution.memo::<OrderRequest>(MEMO_REQUEST).map(spec::wire),
        run_id: execution.run_id,
        status: status.into(),
        workflow_status: execution.status.to_owned(),
        steps: state
            .steps
            .into_iter()
            .map(|step| OrderStep {
                action: step.action.wire().into(),
                state: step_state(step.state).into(),
                reference: step.reference,
            })
            .collect(),
        tracking: tracking.unwrap_or_default(),
        cancel_requested: state.cancel.requested,
        cancel_reason: state.cancel.reason,
        failure: state.failure.map(failure),
        start_time: execution.start_time,
        close_time: execution.close_time,
        ledger: Vec::new(),
    }
}

/// The last thing that the workflow says, unless it was ended before it said it.
fn status(open: bool, phase: Phase) -> OrderStatus {
    match (open, phase) {
        (true, Phase::Compensating | Phase::Cancelled | Phase::Failed | Phase::TimedOut) => OrderStatus::Compensating,
        (true, Phase::Running | Phase::Completed) => OrderStatus::Running,
        (false, Phase::Completed) => OrderStatus::Completed,
        (false, Phase::Cancelled) => OrderStatus::Cancelled,
        (false, Phase::Failed) => OrderStatus::Failed,
        (false, Phase::TimedOut) => OrderStatus::TimedOut,
        (false, Phase::Running | Phase::Compensating) => OrderStatus::Unsettled,
    }
}

fn step_state(state: StepState) -> OrderStepState {
    match state {
        StepState::Waiting => OrderStepState::Unspecified,
        StepState::Running => OrderStepState::Running,
        StepState::Done => OrderStepState::Done,
        StepState::Failed => OrderStepState::Failed,
        StepState::Undoing => OrderStepState::Undoing,
        StepState::Undone => OrderStepState::Undone,
    }
}

fn failure(failure: Failure) -> OrderFailure {
    OrderFailure {
        action: failure.action.map_or(0, |action| action.wire().into()),
        r#type: failure.kind,
        message: failure.message,
    }
}
