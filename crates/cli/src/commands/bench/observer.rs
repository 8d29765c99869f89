//! The one observer for all contenders: a listing of one row at a fixed interval, until it is empty.

use super::server::{self, Server};
use crate::exit::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

/// Looks until nothing of a workload is open. It ends with the value.
pub(super) struct Observer {
    zero: watch::Receiver<Option<Duration>>,
    failed: Arc<AtomicU32>,
    _task: JoinSet<()>,
}

impl Observer {
    /// Begins to look, one interval after `since`. A look that fails (the server's limit for listings, say) is no evidence and is
    /// not repeated before its turn.
    pub(super) fn start(server: Server, workload_id: &str, every: Duration, since: Instant) -> Self {
        let (found, zero) = watch::channel(None);
        let failed = Arc::new(AtomicU32::new(0));
        let (query, failures) = (server::open(workload_id), Arc::clone(&failed));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ticks = interval_at((since + every).into(), every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                match server.is_empty(query.clone()).await {
                    Ok(true) => {
                        found.send_replace(Some(since.elapsed()));
                        return;
                    }
                    Ok(false) => {}
                    Err(_) => {
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Self {
            zero,
            failed,
            _task: task,
        }
    }

    /// When the first empty look was answered, counted from the start; none before.
    pub(super) fn zero(&self) -> Option<Duration> {
        *self.zero.borrow()
    }

    /// A wait for the first empty look.
    pub(super) fn waiter(&self) -> Waiter {
        Waiter(self.zero.clone())
    }

    /// Looks without an answer.
    pub(super) fn failed_looks(&self) -> u32 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Waits for the first empty look.
#[derive(Debug, Clone)]
pub(super) struct Waiter(watch::Receiver<Option<Duration>>);

impl Waiter {
    pub(super) async fn zero(&mut self) -> Result<(), Failure> {
        let seen = self.0.wait_for(Option::is_some).await;
        seen.map(drop)
            .map_err(|_| Failure::Other("the observer broke off".to_owned()))
    }
}
