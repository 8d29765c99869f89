//! When a drain begins, by when it must be over, and what it did.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::polls::PollTally;
use crate::config::WorkerSettings;

/// The shortest time that a poll may be told to wait: the server refuses polls with less than two seconds.
const SHORTEST_POLL: Duration = Duration::from_millis(1500);

/// What a drain did on one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueReport {
    /// The queue.
    pub queue: String,
    /// Activities in flight that finished in time.
    pub finished: u64,
    /// Activities by type that were still running when the drain timeout passed.
    pub left: BTreeMap<String, u64>,
    /// Polls that were still open when the drain timeout passed, and tasks that had come and not begun: each may have cost a task.
    pub polls_left: u64,
    /// Whether the worker itself stopped.
    pub stopped: bool,
    /// What its polls brought, since it was last started.
    pub polls: PollTally,
}

/// What a drain did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// One entry a queue that had a worker.
    pub queues: Vec<QueueReport>,
}

impl DrainReport {
    /// Whether nothing was left behind.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.queues
            .iter()
            .all(|queue| queue.stopped && queue.left.is_empty() && queue.polls_left == 0)
    }
}

/// When to drain, and by when it must be over. A plain token means: as soon as it fires, within the drain timeout from then.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    pub(super) begun: CancellationToken,
    pub(super) by: Arc<OnceLock<Instant>>,
}

impl From<CancellationToken> for Drain {
    fn from(begun: CancellationToken) -> Self {
        Self {
            begun,
            by: Arc::default(),
        }
    }
}

impl Drain {
    /// Begins it. Activities may take until `by`.
    pub fn begin(&self, by: Instant) {
        // The first word counts.
        let _ = self.by.set(by);
        self.begun.cancel();
    }
}

/// How long a poll is told to wait: as set, but so that a drain can wait for it.
pub(super) fn poll_timeout(settings: &WorkerSettings) -> Duration {
    settings
        .poll_timeout
        .min(settings.drain_timeout.mul_f64(0.75))
        .max(SHORTEST_POLL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_ends_within_the_drain_unless_the_server_refuses_it() {
        let poll = |poll: u64, drain: u64| {
            poll_timeout(&WorkerSettings {
                drain_timeout: Duration::from_secs(drain),
                stop_timeout: Duration::from_secs(5),
                poll_timeout: Duration::from_secs(poll),
                tuning: Default::default(),
            })
        };
        assert_eq!(poll(10, 30), Duration::from_secs(10));
        assert_eq!(poll(60, 8), Duration::from_secs(6));
        assert_eq!(poll(10, 1), SHORTEST_POLL);
    }
}
