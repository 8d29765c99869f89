//! Who may spawn, in this process: a budget of starts in flight, shared fairly, and turns for those who must wait.
//!
//! Wanted:
//! - starts in flight never exceed [`BUDGET`] per process, so that a gate takes effect soon (Little's law: 64 in flight at 150
//!   starts a second are 0.43 s of backlog; at 1,000 a second 0.06 s, while 64 is still enough to keep a server busy);
//! - nobody starves: whoever comes back stands behind those who wait;
//! - whoever waits costs little: each look of a waiting spawner is a workflow task, and ten thousand spawners at a closed
//!   gate must not load the server that is being cleaned. Looks are spread over time, at most [`Pacer`]'s rate of them a second.
//!
//! A lease ends when its holder comes back, says that it is done, or does not come back in time (it was terminated).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Starts in flight at once in this process.
pub const BUDGET: u32 = 64;

/// Most of them for one spawner: two at work overlap, so that the end of one's burst leaves no gap.
pub const SHARE: u32 = 32;

/// A lease whose holder was not heard of for so long is free again. A burst is a tenth of it.
const LEASE: Duration = Duration::from_secs(5);

/// How long a spawner waits in line. Far below the task timeout, since a workflow task waits with it.
const IN_LINE: Duration = Duration::from_secs(3);

/// Spawners in line at once; the others come back later. Each holds a workflow task and a local activity.
const LINE: usize = 16;

/// Leases and turns of one process.
#[derive(Debug)]
pub struct Admission {
    budget: Arc<Semaphore>,
    line: Semaphore,
    leases: Mutex<HashMap<String, Lease>>,
    busy: Mutex<Pacer>,
    closed: Mutex<Pacer>,
}

#[derive(Debug)]
struct Lease {
    _permits: OwnedSemaphorePermit,
    until: Instant,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            budget: Arc::new(Semaphore::new(BUDGET as usize)),
            line: Semaphore::new(LINE),
            leases: Mutex::default(),
            busy: Mutex::new(Pacer::new(Duration::from_millis(500), Duration::from_millis(40))),
            closed: Mutex::new(Pacer::new(Duration::from_secs(2), Duration::from_millis(50))),
        }
    }
}

impl Admission {
    /// Waits in line for a lease of `want` starts in flight (at most [`SHARE`]). An earlier lease of the spawner ends.
    ///
    /// # Errors
    /// When to ask again, if there was none in time.
    pub async fn enter(&self, spawner: &str, want: u32) -> Result<u32, Duration> {
        self.leave(spawner);
        let Ok(_in_line) = self.line.try_acquire() else {
            return Err(lock(&self.busy).turn(Instant::now()));
        };
        let permits = want.clamp(1, SHARE);
        match tokio::time::timeout(IN_LINE, self.budget.clone().acquire_many_owned(permits)).await {
            Ok(Ok(held)) => {
                let until = Instant::now() + LEASE;
                lock(&self.leases).insert(spawner.to_owned(), Lease { _permits: held, until });
                Ok(permits)
            }
            // The budget is never closed, so an error is a timeout like the other.
            Ok(Err(_)) | Err(_) => Err(lock(&self.busy).turn(Instant::now())),
        }
    }

    /// Ends the lease of a spawner, and those whose holders are gone.
    pub fn leave(&self, spawner: &str) {
        let now = Instant::now();
        lock(&self.leases).retain(|holder, lease| holder != spawner && lease.until > now);
    }

    /// When a spawner at a closed gate looks again.
    pub fn turn_at_closed_gate(&self) -> Duration {
        lock(&self.closed).turn(Instant::now())
    }
}

/// Nothing here can be left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spreads looks over time: each gets a turn of its own, `spacing` after the one before.
#[derive(Debug)]
struct Pacer {
    least: Duration,
    spacing: Duration,
    last: Option<Instant>,
}

/// No look is put off for longer than this, however many wait: so late a Resume may be noticed by the last of 6,000.
const LATEST: Duration = Duration::from_secs(300);

impl Pacer {
    fn new(least: Duration, spacing: Duration) -> Self {
        Self {
            least,
            spacing,
            last: None,
        }
    }

    fn turn(&mut self, now: Instant) -> Duration {
        let first = now + self.least;
        let turn = self
            .last
            .map_or(first, |last| (last + self.spacing).max(first))
            .min(now + LATEST);
        self.last = Some(turn);
        turn - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_budget_is_never_exceeded_and_comes_back() {
        let admission = Admission::default();
        assert_eq!(admission.enter("a", 500).await, Ok(SHARE));
        assert_eq!(admission.enter("b", 500).await, Ok(SHARE));
        assert_eq!(admission.budget.available_permits(), 0);
        admission.leave("a");
        assert_eq!(admission.enter("c", 3).await, Ok(3));
        // Whoever comes back gives up what it had.
        assert_eq!(admission.enter("b", 1).await, Ok(1));
        assert_eq!(admission.budget.available_permits(), BUDGET as usize - 4);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_is_told_when_to_come_back() {
        let admission = Admission::default();
        for holder in ["a", "b"] {
            admission.enter(holder, SHARE).await.unwrap();
        }
        let later = admission.enter("c", 1).await.unwrap_err();
        assert!(
            later >= Duration::from_millis(500) && later < Duration::from_secs(1),
            "{later:?}"
        );
    }

    #[test]
    fn turns_are_spread_and_bounded() {
        let mut pacer = Pacer::new(Duration::from_secs(2), Duration::from_millis(50));
        let now = Instant::now();
        let turns: Vec<_> = (0..10_000).map(|_| pacer.turn(now)).collect();
        assert_eq!(turns[0], Duration::from_secs(2));
        assert_eq!(turns[100], Duration::from_secs(7));
        assert_eq!(turns[9_999], LATEST);
        // A minute after a quiet time the first turn is the least again.
        assert_eq!(pacer.turn(now + Duration::from_secs(400)), Duration::from_secs(2));
    }
}
