//! Waiting for a condition, never for a time.
//!
//! What the tests look at is eventually consistent and shares two cores with servers, so nothing here says how fast
//! something must be: a deadline only tells a test that will never pass from one that has not passed yet. Each failure shows
//! what was seen last instead of what was wanted.

use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Between two looks. The dev server takes a hundred visibility requests a second for a namespace, and tests share it.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest that one look may take, so that a hanging call shows as such and not as a silent test.
const ONE_LOOK: Duration = Duration::from_secs(30);

/// For what usually takes moments.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// For what moves hundreds of workflows on a slow machine.
pub(crate) const LONG: Duration = Duration::from_secs(180);
/// For what moves thousands of workflows, or waits again and again until a server notices a dead worker.
pub(crate) const VERY_LONG: Duration = Duration::from_secs(600);

/// Looks until `look` gives a value, and returns it. An `Err` says what was seen instead.
///
/// # Panics
/// When the deadline passes first: with `what` and the last look.
pub(crate) async fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        let seen = match timeout(ONE_LOOK, look()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(seen)) => seen,
            Err(_) => format!("no answer within {ONE_LOOK:?}"),
        };
        assert!(
            Instant::now() < end,
            "not within {deadline:?}: {what}; seen last: {seen}"
        );
        sleep(PAUSE).await;
    }
}

/// Looks again and again for as long as `period`, and fails at the first look that gives an `Err`. For what must *not*
/// happen any more: the period is how hard we look, nothing is measured by it.
///
/// # Panics
/// With `what` and the look that failed.
pub(crate) async fn holds(period: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let end = Instant::now() + period;
    let mut looks = 0_u32;
    while looks < 3 || Instant::now() < end {
        if let Err(seen) = look().await {
            panic!("did not hold: {what}; look {looks} saw: {seen}");
        }
        looks += 1;
        sleep(PAUSE).await;
    }
}

/// A sentence for an `Err`, unless the condition holds.
pub(crate) fn when(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}
