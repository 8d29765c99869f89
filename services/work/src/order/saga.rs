//! The saga of one order: steps forward, and what was begun undone in reverse.

use std::{cell::Cell, time::Duration};

use futures::pin_mut;
use temporalio_common::{ActivityDefinition, MemoValue, RetryPolicy, error::IncomingError};
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, ActivityOptions, WorkflowCancellationToken, WorkflowContext,
    workflows::select,
};

use super::{
    activities::OrderActivities,
    messages::{Action, Failure, OrderInput, OrderState, Phase, STEPS, StepInput, StepOutput, StepState},
    workflows::OrderWorkflow,
};

/// Memo key of the state.
pub const MEMO_STATE: &str = "state";

/// An activity beats every two seconds; a worker that is gone is noticed after this time.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest pause between two tries to undo a step: an order waits for nothing else then.
const UNDO_PAUSE: Duration = Duration::from_secs(30);

/// Who wants an order to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The cancel signal.
    Signal,
    /// A cancel request of Temporal's.
    Request,
    /// The order's own timeout.
    Timeout,
}

/// How a saga ended.
#[derive(Debug)]
pub enum Ended {
    /// All steps are done; the tracking number.
    Completed(String),
    /// What was begun is undone; the phase, and why.
    Undone(Phase, Failure),
    /// Something could not be undone.
    Stuck(Failure),
}

/// The saga of an order.
pub struct Saga<'a> {
    ctx: WorkflowContext<OrderWorkflow>,
    input: &'a OrderInput,
    stop: &'a WorkflowCancellationToken,
    stopped_by: Cell<Option<Stop>>,
}

impl std::fmt::Debug for Saga<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saga")
            .field("stopped_by", &self.stopped_by)
            .finish_non_exhaustive()
    }
}

impl<'a> Saga<'a> {
    /// A saga that stops when `stop` is cancelled.
    pub fn new(
        ctx: &WorkflowContext<OrderWorkflow>,
        input: &'a OrderInput,
        stop: &'a WorkflowCancellationToken,
    ) -> Self {
        Self {
            ctx: ctx.clone(),
            input,
            stop,
            stopped_by: Cell::new(None),
        }
    }

    /// Makes it stop: no further step is begun, the running one is cancelled.
    pub fn stop(&self, by: Stop) {
        self.stopped_by.set(Some(by));
        self.stop.cancel();
    }

    /// Who made it stop.
    pub fn stopped_by(&self) -> Option<Stop> {
        self.stopped_by.get()
    }

    /// Runs it to its end.
    pub async fn run(&self) -> Ended {
        let mut begun = Vec::new();
        let mut why = None;
        for step in STEPS {
            if self.stop.is_cancelled() {
                why = Some(self.stopped_at(None));
                break;
            }
            begun.push(step);
            self.set(step, StepState::Running, None);
            self.publish();
            match self.forward(step).await {
                Ok(done) => self.set(step, StepState::Done, Some(&done.reference)),
                Err(error) => {
                    self.set(step, StepState::Failed, None);
                    why = Some(if self.stop.is_cancelled() {
                        self.stopped_at(Some(step))
                    } else {
                        (Phase::Failed, failure(step, &error))
                    });
                    break;
                }
            }
        }
        let Some((phase, why)) = why else {
            // Too late to stop: it is on its way.
            self.change(|state| state.phase = Phase::Completed);
            self.publish();
            let tracking = self
                .ctx
                .state(|order| order.state.steps.last().map(|step| step.reference.clone()));
            return Ended::Completed(tracking.unwrap_or_default());
        };
        self.change(|state| {
            state.phase = Phase::Compensating;
            state.failure = Some(why.clone());
        });
        for step in begun.into_iter().rev() {
            self.set(step, StepState::Undoing, None);
            self.publish();
            if let Err(error) = self.backward(step).await {
                let failure = failure(step.undo(), &error);
                self.change(|state| state.failure = Some(failure.clone()));
                self.publish();
                return Ended::Stuck(failure);
            }
            self.set(step, StepState::Undone, None);
        }
        self.change(|state| state.phase = phase);
        self.publish();
        Ended::Undone(phase, why)
    }

    /// Runs a step, and cancels it when the order is to stop.
    async fn forward(&self, step: Action) -> Result<StepOutput, ActivityExecutionError> {
        let request = &self.input.request;
        match step {
            Action::ChargePayment => {
                self.cancellable(OrderActivities::charge_payment, step, request.payment.clone())
                    .await
            }
            Action::ReserveInventory => {
                self.cancellable(OrderActivities::reserve_inventory, step, request.items.clone())
                    .await
            }
            // The only other step.
            _ => {
                self.cancellable(OrderActivities::schedule_shipment, step, request.address.clone())
                    .await
            }
        }
    }

    /// The activity has a token of its own, which is cancelled here and not where the order is stopped: a cancel that meets the
    /// activity's result in one workflow task must come after it (see [`crate::snowball::wait`]).
    async fn cancellable<A, T>(
        &self,
        activity: A,
        step: Action,
        details: T,
    ) -> Result<StepOutput, ActivityExecutionError>
    where
        A: ActivityDefinition<Input = StepInput<T>, Output = StepOutput>,
    {
        let own = WorkflowCancellationToken::new();
        let options = self.options(&own, self.input.limits.retries());
        let running = self
            .ctx
            .execute_activity(activity, self.step_input(step, details), options);
        pin_mut!(running);
        select! {
            done = running => done,
            () = self.stop.cancelled() => {
                own.cancel_with_reason("the order was stopped".to_owned());
                self.publish();
                running.await
            }
        }
    }

    /// Undoes a step, for as long as it takes: nothing cancels it, and only success ends it.
    async fn backward(&self, step: Action) -> Result<StepOutput, ActivityExecutionError> {
        let own = WorkflowCancellationToken::new();
        let retries = RetryPolicy::builder()
            .initial_interval(Duration::from_millis(self.input.limits.initial_interval_ms))
            .backoff_coefficient(self.input.limits.backoff_coefficient)
            .maximum_interval(UNDO_PAUSE.min(Duration::from_millis(self.input.limits.maximum_interval_ms)))
            .build();
        let options = self.options(&own, retries);
        let input = self.step_input(step.undo(), ());
        match step {
            Action::ChargePayment => {
                self.ctx
                    .execute_activity(OrderActivities::refund_payment, input, options)
                    .await
            }
            Action::ReserveInventory => {
                self.ctx
                    .execute_activity(OrderActivities::release_inventory, input, options)
                    .await
            }
            _ => {
                self.ctx
                    .execute_activity(OrderActivities::cancel_shipment, input, options)
                    .await
            }
        }
    }

    /// A cancelled activity is waited for: whether it took effect should be known, and a worker that is gone is noticed soon.
    fn options(&self, token: &WorkflowCancellationToken, retries: RetryPolicy) -> ActivityOptions {
        let start_to_close = Duration::from_millis(self.input.limits.start_to_close_ms);
        ActivityOptions::with_start_to_close_timeout(start_to_close)
            .heartbeat_timeout(HEARTBEAT_TIMEOUT)
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .cancellation_token(token.clone())
            .retry_policy(retries)
            .build()
    }

    fn step_input<T>(&self, action: Action, details: T) -> StepInput<T> {
        let fault = self.input.request.faults.iter().find(|fault| fault.action == action);
        StepInput {
            order: self.ctx.workflow_id().to_owned(),
            details,
            fault: fault.cloned(),
        }
    }

    /// Why it stops, though no step failed by itself.
    fn stopped_at(&self, action: Option<Action>) -> (Phase, Failure) {
        let (phase, kind, message) = if self.stopped_by() == Some(Stop::Timeout) {
            let timeout = Duration::from_millis(self.input.request.timeout_ms);
            (Phase::TimedOut, "OrderTimeout", format!("not done within {timeout:?}"))
        } else {
            let reason = self.ctx.state(|order| order.state.cancel.reason.clone());
            (Phase::Cancelled, "Cancelled", reason)
        };
        let failure = Failure {
            action,
            kind: kind.to_owned(),
            message,
        };
        (phase, failure)
    }

    fn change(&self, change: impl FnOnce(&mut OrderState)) {
        self.ctx.state_mut(|order| change(&mut order.state));
    }

    fn set(&self, action: Action, to: StepState, reference: Option<&str>) {
        self.change(|state| {
            for step in state.steps.iter_mut().filter(|step| step.action == action) {
                step.state = to;
                if let Some(reference) = reference {
                    reference.clone_into(&mut step.reference);
                }
            }
        });
    }

    /// Writes the state into the memo, where it can be read without this workflow.
    fn publish(&self) {
        let state = self.ctx.state(|order| order.state.clone());
        // It is plain data, whose conversion cannot fail; if it did, the order is worth more than its display.
        if let Err(error) = self.ctx.upsert_memo([(MEMO_STATE, Some(MemoValue::new(state)))])
            && !self.ctx.is_replaying()
        {
            tracing::error!(order = self.ctx.workflow_id(), %error, "the state of an order cannot be shown");
        }
    }
}

/// What a step failed with: the type and the words of its cause.
fn failure(action: Action, error: &ActivityExecutionError) -> Failure {
    let kind = match error.cause() {
        Some(IncomingError::Application(failure)) => failure.type_name().unwrap_or("Application"),
        Some(IncomingError::Timeout(_)) => "Timeout",
        Some(IncomingError::Cancelled(_)) => "Cancelled",
        _ => "Unknown",
    };
    Failure {
        action: Some(action),
        kind: kind.to_owned(),
        message: error.cause().map_or_else(|| error.to_string(), ToString::to_string),
    }
}
