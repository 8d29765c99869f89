//! Counts the activities that run on a queue, so that a drain can say what it finished and what it left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use temporalio_sdk::interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next};
use tokio::sync::watch;

use super::polls::Polls;
use crate::metrics::{Held, WORKER_ACTIVITIES, WORKER_ACTIVITY_DURATION};

/// Running activities by type, and how many have ended so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight {
    counts: Arc<Mutex<Counts>>,
    /// Activities that run and came by a poll, not from a workflow of this worker.
    remote: watch::Sender<u64>,
    /// The polls of the worker that runs now: each begin is told to them.
    polls: Arc<Mutex<Option<Polls>>>,
    /// The queue, for the metrics.
    queue: Arc<str>,
}

#[derive(Debug, Default)]
struct Counts {
    running: BTreeMap<String, u64>,
    ended: u64,
}

impl InFlight {
    /// The activities of a queue.
    pub(crate) fn of_queue(queue: &str) -> Self {
        Self {
            queue: queue.into(),
            ..Self::default()
        }
    }

    /// Activities running now, by type.
    pub(crate) fn running(&self) -> BTreeMap<String, u64> {
        self.lock().running.clone()
    }

    /// Activities running now.
    pub(crate) fn count(&self) -> u64 {
        self.lock().running.values().sum()
    }

    /// Activities that have ended since the start, well or not.
    pub(crate) fn ended(&self) -> u64 {
        self.lock().ended
    }

    /// Waits until no activity runs. Local ones are left out: a workflow may begin one after the other, and the SDK waits for them.
    pub(crate) async fn idle(&self) {
        // The sender lives in `self`.
        let _ = self.remote.subscribe().wait_for(|remote| *remote == 0).await;
    }

    /// Tells begins to these polls from now on.
    pub(crate) fn follow(&self, polls: &Polls) {
        *self.polls.lock().unwrap_or_else(PoisonError::into_inner) = Some(polls.clone());
    }

    fn begin(&self, activity: &str, local: bool) -> Running {
        *self.lock().running.entry(activity.to_owned()).or_default() += 1;
        if !local {
            self.remote.send_modify(|remote| *remote += 1);
        }
        Running {
            counts: self.clone(),
            activity: activity.to_owned(),
            local,
            _held: Held::new(WORKER_ACTIVITIES.with([&self.queue, activity])),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Counters stay true whatever panicked beside them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One running activity; its end is counted however it comes: result, panic, or a dropped future.
struct Running {
    counts: InFlight,
    activity: String,
    local: bool,
    _held: Held,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.ended += 1;
        if let Some(n) = counts.running.get_mut(&self.activity) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                counts.running.remove(&self.activity);
            }
        }
        drop(counts);
        if !self.local {
            self.counts
                .remote
                .send_modify(|remote| *remote = remote.saturating_sub(1));
        }
    }
}

impl ActivityInboundInterceptor for InFlight {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let info = input.activity_info();
        let running = self.begin(&info.activity_type, info.is_local);
        // After it counts as running: in between it would be neither on its way nor there.
        if let Some(polls) = &*self.polls.lock().unwrap_or_else(PoisonError::into_inner) {
            polls.begun(&info.task_token);
        }
        let activity = next.run(input);
        let since = Instant::now();
        Box::pin(async move {
            let result = activity.await;
            let word = if result.is_ok() { "ok" } else { "failed" };
            WORKER_ACTIVITY_DURATION
                .with([&running.counts.queue, &running.activity, word])
                .record(since.elapsed());
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_however_they_come() {
        let inflight = InFlight::default();
        let a = inflight.begin("a", false);
        let b = inflight.begin("a", false);
        let c = inflight.begin("c", true);
        assert_eq!((inflight.count(), inflight.ended()), (3, 0));
        drop(a);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _b = b;
            panic!("inside the activity");
        }));
        assert!(caught.is_err());
        assert_eq!(inflight.running(), BTreeMap::from([("c".to_owned(), 1)]));
        drop(c);
        assert_eq!((inflight.count(), inflight.ended()), (0, 3));
    }
}
