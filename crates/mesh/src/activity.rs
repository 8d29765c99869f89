//! Options of activities that workflows of ours run, what an attempt finds of the one before, and why one failed.

use std::time::Duration;

use futures::{FutureExt as _, pin_mut};
use serde::de::DeserializeOwned;
use temporalio_common::RetryPolicy;
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, ActivityOptions, WorkflowCancellationToken,
    activities::ActivityContext, workflows::select,
};

/// Silence after which a worker counts as lost.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// Longest text of [`reason`], in characters.
const LONGEST_REASON: usize = 500;

/// What the attempt before this one had come to, by its last heartbeat; one that cannot be read is as good as none.
pub fn earlier<B: DeserializeOwned + Default + 'static>(ctx: &ActivityContext) -> B {
    ctx.heartbeat_details().deserialize().ok().flatten().unwrap_or_default()
}

/// For what is tried until it is done, each attempt for at most `limit`: what is hopeless says so itself.
#[must_use]
pub fn persistent(
    limit: Duration,
    token: WorkflowCancellationToken,
    cancellation: ActivityCancellationType,
) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(limit)
        .heartbeat_timeout(HEARTBEAT)
        .cancellation_type(cancellation)
        .cancellation_token(token)
        .retry_policy(
            RetryPolicy::builder()
                .initial_interval(Duration::from_millis(500))
                .backoff_coefficient(2.0)
                .maximum_interval(Duration::from_secs(10))
                .build(),
        )
        .build()
}

/// For what must come to an end within `limit`, all its attempts together.
#[must_use]
pub fn within(limit: Duration, token: WorkflowCancellationToken) -> ActivityOptions {
    ActivityOptions::with_schedule_to_close_timeout(limit)
        .heartbeat_timeout(HEARTBEAT)
        .cancellation_token(token)
        .build()
}

/// Runs an activity that was started with the token `own`, and cancels it when the workflow is to stop. It is then waited for: how it
/// ended should be known.
///
/// A token of its own, cancelled here and not where the workflow is stopped: with temporalio-workflow 1.1.1 a cancel that meets the
/// activity's result in one workflow task fails the task for ever, unless it comes after it.
pub async fn until_stopped<T>(
    running: impl Future<Output = T>,
    own: &WorkflowCancellationToken,
    stop: &WorkflowCancellationToken,
) -> T {
    let running = running.fuse();
    pin_mut!(running);
    select! {
        done = running => done,
        () = stop.cancelled() => {
            own.cancel_with_reason(stop.reason().unwrap_or_default());
            running.await
        }
    }
}

/// Why an activity failed, for people: the innermost message, which is the one that says something.
#[must_use]
pub fn reason(error: &ActivityExecutionError) -> String {
    let mut failure = error.failure();
    let mut text = error.to_string();
    while let Some(inner) = failure {
        if !inner.message.is_empty() {
            text.clone_from(&inner.message);
        }
        failure = inner.cause.as_deref();
    }
    text.chars().take(LONGEST_REASON).collect()
}
