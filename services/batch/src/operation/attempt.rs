//! The activity attempt in which a loop runs, as far as the loop needs it: heartbeats and cancellation. A trait, so that
//! the loops are tested without a worker.

use serde::Serialize;
use std::{future::Future, sync::Mutex, time::Duration};
use temporalio_sdk::activities::ActivityContext;

/// Pause between two heartbeats. Well under the 10 s that our workflows allow, and apart from the server's answers: a slow
/// answer must not look like a dead worker.
const BEAT: Duration = Duration::from_secs(1);

/// One attempt of an activity.
#[async_trait::async_trait]
pub(crate) trait Attempt: Send + Sync {
    /// Whether it has been told to stop, for whatever reason: asked for, shutdown, timeout.
    fn is_stopped(&self) -> bool;
    /// Waits, or not even that when it is told to stop. True when it was.
    async fn pause(&self, time: Duration) -> bool;
    /// Heartbeat.
    async fn beat<D: Serialize + Send + Sync + 'static>(&self, details: D);
}

#[async_trait::async_trait]
impl Attempt for ActivityContext {
    fn is_stopped(&self) -> bool {
        self.is_cancelled()
    }

    async fn pause(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.cancelled()).await.is_ok()
    }

    async fn beat<D: Serialize + Send + Sync + 'static>(&self, details: D) {
        if let Err(error) = self.record_heartbeat(details).await {
            // The next one tells more; an attempt that never gets one through is timed out by the server.
            tracing::warn!(%error, "heartbeat not recorded");
        }
    }
}

/// What an attempt tells by heartbeats; written by the loop, read by the beat.
#[derive(Debug)]
pub(crate) struct Details<D>(Mutex<D>);

impl<D: Clone> Details<D> {
    /// With a first value.
    pub(crate) fn new(value: D) -> Self {
        Self(Mutex::new(value))
    }

    /// The value now.
    pub(crate) fn get(&self) -> D {
        self.lock().clone()
    }

    /// Changes the value.
    pub(crate) fn set(&self, value: D) {
        *self.lock() = value;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, D> {
        // A value is replaced whole: one that a panicking thread left behind is as good as any.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Runs `work` to its end, with a heartbeat at once and then every second.
pub(crate) async fn beating<A, D, T>(attempt: &A, details: &Details<D>, work: impl Future<Output = T>) -> T
where
    A: Attempt,
    D: Clone + Serialize + Send + Sync + 'static,
{
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            _ = ticks.tick() => attempt.beat(details.get()).await,
        }
    }
}
