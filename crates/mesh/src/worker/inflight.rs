//! Counts the activities that run on a queue, so that a drain can say what it finished and what it left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use temporalio_sdk::interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next};

/// Running activities by type, and how many have ended so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    running: BTreeMap<String, u64>,
    ended: u64,
}

impl InFlight {
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

    fn begin(&self, activity: &str) -> Running {
        *self.lock().running.entry(activity.to_owned()).or_default() += 1;
        Running {
            counts: self.clone(),
            activity: activity.to_owned(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Counters stay true whatever panicked beside them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One running activity; its end is counted however it comes: result, panic, or a dropped future.
struct Running {
    counts: InFlight,
    activity: String,
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
    }
}

impl ActivityInboundInterceptor for InFlight {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let running = self.begin(&input.activity_info().activity_type);
        let activity = next.run(input);
        Box::pin(async move {
            let _running = running;
            activity.await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_however_they_come() {
        let inflight = InFlight::default();
        let a = inflight.begin("a");
        let b = inflight.begin("a");
        let c = inflight.begin("c");
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
