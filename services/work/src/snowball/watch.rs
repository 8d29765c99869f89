//! One look at a snowball, and the stream of looks.

use std::{pin::Pin, time::Duration};

use futures::{Stream, stream};
use quell_api::{
    r#type::v1::StatusCount,
    work::v1::{Snowball, WatchSnowballResponse},
};
use quell_mesh::{Error, NamespaceClient, Reason};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::visibility::{self, Execution};

/// Workflow type of every root.
pub const ROOT_TYPE: &str = "CancelableWorkflow";

/// How long looks may fail before a watcher is told. Shorter hiccups are none of its business.
const PATIENCE: Duration = Duration::from_secs(15);

/// Memo key of the spec, by which a repeated request is told from another one with the same id.
pub const SPEC: &str = "spec";

/// What of the spec a look needs.
#[derive(Deserialize)]
struct Workload {
    workload_id: String,
}

/// The stream of a watch.
pub type Watch = Pin<Box<dyn Stream<Item = Result<WatchSnowballResponse, Status>> + Send>>;

/// The root of a snowball.
///
/// # Errors
/// `NotFound` when no root of that id is known; Temporal's, translated.
pub async fn root(main: &NamespaceClient, snowball_id: &str) -> Result<Execution, Error> {
    visibility::describe(main, snowball_id)
        .await?
        .filter(|root| root.workflow_type == ROOT_TYPE)
        .ok_or_else(|| Error::not_found("snowball", snowball_id))
}

/// A snowball with its counts.
///
/// # Errors
/// As for [`root`].
pub async fn look(main: &NamespaceClient, snowball_id: &str) -> Result<(Snowball, bool), Error> {
    let root = root(main, snowball_id).await?;
    let (root_open, mut snowball) = (root.open, without_counts(root));
    let query = format!("WorkloadId = \"{}\"", snowball.workload_id);
    let counts = visibility::count_by_status(main, &query).await?;
    snowball.total = counts.iter().map(|(_, count)| count).sum();
    snowball.open = counts
        .iter()
        .filter(|(status, _)| is_open(status))
        .map(|(_, count)| count)
        .sum();
    snowball.counts = counts
        .into_iter()
        .map(|(status, count)| StatusCount { status, count })
        .collect();
    let over = !root_open && snowball.open == 0;
    Ok((snowball, over))
}

fn is_open(status: &str) -> bool {
    matches!(status, "Running" | "Paused")
}

/// A snowball as a list shows it.
#[must_use]
pub fn without_counts(root: Execution) -> Snowball {
    // A root that carries no tag, or not yet: its memo knows.
    let planned = || root.memo::<Workload>(SPEC).map(|spec| spec.workload_id);
    let workload_id = Some(root.workload_id.clone()).filter(|tag| !tag.is_empty());
    Snowball {
        workload_id: workload_id.or_else(planned).unwrap_or_default(),
        snowball_id: root.workflow_id,
        run_id: root.run_id,
        root_status: root.status.to_owned(),
        start_time: root.start_time,
        counts: Vec::new(),
        open: 0,
        total: 0,
    }
}

struct Watcher {
    main: NamespaceClient,
    snowball_id: String,
    interval: Duration,
    told: CancellationToken,
    next: Instant,
    before: Option<(i64, Instant)>,
    over: bool,
}

/// Looks every `interval`. Ends after the look that shows nothing open, with an error that lasts, when the stream is dropped,
/// or, with UNAVAILABLE and SHUTTING_DOWN, when the service drains: an ordinary end would mean that nothing is open.
pub fn watch(main: NamespaceClient, snowball_id: String, interval: Duration, told: CancellationToken) -> Watch {
    let watcher = Watcher {
        main,
        snowball_id,
        interval,
        told,
        next: Instant::now(),
        before: None,
        over: false,
    };
    Box::pin(stream::unfold(watcher, |mut watcher| async move {
        watcher.step().await.map(|item| (item, watcher))
    }))
}

impl Watcher {
    async fn step(&mut self) -> Option<Result<WatchSnowballResponse, Status>> {
        if self.over {
            return None;
        }
        let mut failing_since = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.next) => {}
                () = self.told.cancelled() => {
                    self.over = true;
                    return Some(Err(Error::unavailable(Reason::ShuttingDown, "this replica shuts down; watch again").into()));
                }
            }
            let now = Instant::now();
            self.next = now + self.interval;
            match look(&self.main, &self.snowball_id).await {
                Ok((snowball, over)) => {
                    self.over = over;
                    let growth_per_second = self
                        .before
                        .map_or(0.0, |(total, at)| growth(snowball.total - total, now - at));
                    self.before = Some((snowball.total, now));
                    return Some(Ok(WatchSnowballResponse {
                        snowball: Some(snowball),
                        growth_per_second,
                    }));
                }
                Err(error) => {
                    let since = *failing_since.get_or_insert(now);
                    if !error.is_retryable() || now - since > PATIENCE {
                        self.over = true;
                        return Some(Err(error.into()));
                    }
                    tracing::debug!(snowball_id = self.snowball_id, %error, "no look at a watched snowball");
                }
            }
        }
    }
}

/// Starts per second; never negative, though visibility may lose rows to retention.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn growth(more: i64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 {
        more.max(0) as f64 / seconds
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_a_rate() {
        assert!((growth(50, Duration::from_millis(500)) - 100.0).abs() < 1e-9);
        assert!(growth(-5, Duration::from_secs(1)).abs() < 1e-9);
        assert!(growth(5, Duration::ZERO).abs() < 1e-9);
    }
}
