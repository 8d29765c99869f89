//! A timer that ends early when the workflow is told to stop.
//!
//! Not the SDK's own cancellation: with temporalio-workflow 1.1.1 a timer that is bound to a cancellation token, as every
//! timer is by default to the workflow's, is cancelled while a task's events are applied. Is its firing among the same
//! events, after the cancel request, then the task panics ("Command Timer(1) not found to unblock"), and as history never
//! changes it does so for ever: the workflow hangs (ran: 2 of 45 spawners when a busy snowball was cancelled). So the timer has a
//! token of its own, and it is cancelled only after all events of the task have been applied.

use std::time::Duration;

use futures::pin_mut;
use temporalio_sdk::{
    CancellableFuture as _, TimerOptions, WorkflowCancellationToken, WorkflowContext, workflows::select,
};

/// Waits for `time`. Returns false when `stop` was cancelled first.
pub async fn elapsed<W>(ctx: &WorkflowContext<W>, time: Duration, stop: &WorkflowCancellationToken) -> bool {
    let own = WorkflowCancellationToken::new();
    let timer = ctx.timer(TimerOptions::builder(time).cancellation_token(own).build());
    pin_mut!(timer);
    select! {
        _ = timer => true,
        () = stop.cancelled() => {
            timer.cancel();
            false
        }
    }
}
