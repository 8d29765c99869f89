//! A budget for visibility calls in one namespace, shared by everything in this process.
//!
//! A real server lets a namespace make 10 List and Count calls a second in all (`frontend.namespaceRPS.visibility`), and
//! answers the rest with RESOURCE_EXHAUSTED. The sweep lives on List, so watchers and previews must not starve it: every
//! such call takes a token here first, and waits its turn.

use std::{sync::Arc, time::Duration};

use quell_mesh::metrics::VISIBILITY_WAIT;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

/// Calls that may be made at once after a pause.
const BURST: u32 = 5;

/// Hands out turns at an even pace, with a small burst. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    interval: Duration,
    /// When the bucket would be full again.
    full_at: Arc<Mutex<Instant>>,
}

impl Budget {
    /// A budget of `per_second` calls (at least 1).
    #[must_use]
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            full_at: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self) {
        let wait_until = {
            let mut full_at = self.full_at.lock().await;
            let now = Instant::now();
            let next = (*full_at).max(now) + self.interval;
            *full_at = next;
            // Up to `BURST` calls ahead of the pace go at once.
            next.checked_sub(self.interval * BURST)
        };
        let asked = Instant::now();
        if let Some(until) = wait_until {
            sleep_until(until).await;
        }
        VISIBILITY_WAIT.with([]).record(asked.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_passes_and_the_rest_is_paced() {
        let budget = Budget::new(100);
        let start = Instant::now();
        for _ in 0..BURST + 10 {
            budget.turn().await;
        }
        // The burst is free; each of the ten others waits for its hundredth of a second.
        assert!(start.elapsed() >= Duration::from_millis(99), "{:?}", start.elapsed());
    }
}
