//! Canaries: executions of our own in the main namespace, by which its clock is read and the lag of its index measured.
//!
//! The fence must be a time by the *server's* clock, since the server compares it with start times; a canary's start time is
//! one. The lag of the index is measured both ways, from start to seen and from stop to unseen, because both can make a look
//! lie: the first hides what has started, the second shows what has ended.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use quell_api::ids::canary_workflow;
use quell_sweep::{Pin, StopReply};
use tonic::{Code, Status};

use super::{namespace::Namespace, query};

/// Canaries of one measurement.
const CANARIES: usize = 32;
/// Their own WorkloadId: never a target's.
const CANARY_WORKLOAD: &str = "quell-canary";
/// The longest lag that is waited for, each way.
const MAX_LAG: Duration = Duration::from_secs(30);
/// Pause between two looks for a canary; the visibility budget may make it longer.
const POLL: Duration = Duration::from_millis(25);

/// Reads the server's clock, in milliseconds since the epoch.
pub(crate) async fn server_time(main: &Namespace, cancellation_id: &str) -> Result<u64, Status> {
    let id = start(main, cancellation_id).await?;
    let start_ms = main.start_ms(id.clone()).await?;
    end(main, id).await;
    start_ms.ok_or_else(|| Status::internal("the canary has no start time"))
}

/// Measures the lag of the index: the largest of all canaries, both ways, in milliseconds. Each is taken from before its
/// call to after the look that showed it, so it is never too small.
pub(crate) async fn measure_lag(main: &Namespace, cancellation_id: &str) -> Result<u64, Status> {
    let query = query::canaries(cancellation_id);
    let started = Instant::now();
    let ids = try_join_all((0..CANARIES).map(|_| start(main, cancellation_id))).await?;
    let shown = until(main, &query, started, |seen| ids.iter().all(|id| seen.contains(id))).await;
    let stopped = Instant::now();
    futures::future::join_all(ids.iter().map(|id| end(main, id.clone()))).await;
    let appeared = shown?;
    let gone = until(main, &query, stopped, |seen| !ids.iter().any(|id| seen.contains(id))).await?;
    Ok(appeared.max(gone))
}

/// Milliseconds from `since` until a look shows what `done` waits for.
async fn until(main: &Namespace, query: &str, since: Instant, done: impl Fn(&[String]) -> bool) -> Result<u64, Status> {
    loop {
        let page = main.list(query.to_owned(), 100, None).await?;
        let seen: Vec<_> = page.rows.into_iter().map(|row| row.workflow_id).collect();
        if done(&seen) {
            return Ok(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
        if since.elapsed() > MAX_LAG {
            return Err(Status::deadline_exceeded(format!(
                "the index lags more than {} s behind",
                MAX_LAG.as_secs()
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn start(main: &Namespace, cancellation_id: &str) -> Result<String, Status> {
    let id = canary_workflow(cancellation_id, uuid::Uuid::new_v4().as_fields().0);
    match main.start_canary(id.clone(), Some(CANARY_WORKLOAD)).await {
        // Not every namespace has the search attribute.
        Err(status) if status.code() == Code::InvalidArgument => main.start_canary(id.clone(), None).await?,
        result => result?,
    }
    Ok(id)
}

/// Ends a canary. One that cannot be ended now ends by its own timeout.
async fn end(main: &Namespace, workflow_id: String) {
    let pin = Pin {
        workflow_id,
        first_run_id: String::new(),
    };
    if let StopReply::Error(error) = main.stop(pin, "canary".to_owned()).await {
        tracing::debug!(reason = error.reason, "canary not ended; it ends by itself");
    }
}
