//! The rate of one spawner: how many starts are due now, and when the next one is. Integers and workflow time only.

use std::time::Duration;

use super::{plan::Order, tide::Tide};

/// Starts that may be made up for at once after a pause, in microseconds of the rate: a spawner that was held back
/// goes on at its rate, it does not catch up.
pub const SLACK_US: u64 = 500_000;

/// Shortest pause between two groups of starts: at high rates starts come in groups, or each would cost a timer.
pub const MIN_PAUSE: Duration = Duration::from_millis(200);

/// The pace of a spawner: a steady one, or one that follows a curve.
#[derive(Clone, Debug)]
pub enum Pacer {
    /// At one rate.
    Steady(Pace),
    /// Along a curve.
    Tide(Tide),
}

impl Pacer {
    /// The pace that an order tells.
    #[must_use]
    pub fn new(order: &Order, now_us: u64) -> Self {
        match order.relay.as_ref().and_then(|relay| relay.tide.clone()) {
            Some(tide) => Self::Tide(tide),
            None => Self::Steady(Pace::new(order.interval_us, now_us)),
        }
    }

    /// Starts that are due now, at most `want`.
    #[must_use]
    pub fn due(&mut self, now_us: u64, want: u32) -> u32 {
        match self {
            Self::Steady(pace) => pace.due(now_us, want),
            Self::Tide(tide) => tide.due(now_us, want),
        }
    }

    /// Notes starts.
    pub fn started(&mut self, count: u32) {
        match self {
            Self::Steady(pace) => pace.started(count),
            Self::Tide(tide) => tide.started(count),
        }
    }

    /// How long to wait until a start is due.
    #[must_use]
    pub fn pause(&self, now_us: u64) -> Duration {
        match self {
            Self::Steady(pace) => pace.pause(now_us),
            Self::Tide(tide) => tide.pause(now_us),
        }
    }

    /// Most starts worth asking for at once.
    #[must_use]
    pub fn group(&self) -> u32 {
        match self {
            Self::Steady(pace) => pace.group(),
            // What is due is all that may come.
            Self::Tide(_) => u32::MAX,
        }
    }

    /// What the next spawner of a relay has to know.
    #[must_use]
    pub fn tide(&self) -> Option<Tide> {
        match self {
            Self::Steady(_) => None,
            Self::Tide(tide) => Some(tide.clone()),
        }
    }
}

/// Paces the starts of a spawner.
#[derive(Clone, Debug)]
pub struct Pace {
    interval_us: u64,
    /// Workflow time at which the next start is due, in microseconds.
    due_us: u64,
}

impl Pace {
    /// One start every `interval_us` from `now_us` on; 0 = no limit.
    #[must_use]
    pub fn new(interval_us: u64, now_us: u64) -> Self {
        Self {
            interval_us,
            due_us: now_us,
        }
    }

    /// Starts that are due now, at most `want`.
    #[must_use]
    pub fn due(&mut self, now_us: u64, want: u32) -> u32 {
        if self.interval_us == 0 {
            return want;
        }
        self.due_us = self.due_us.max(now_us.saturating_sub(SLACK_US));
        if now_us < self.due_us {
            return 0;
        }
        let due = (now_us - self.due_us) / self.interval_us + 1;
        u32::try_from(due).unwrap_or(u32::MAX).min(want)
    }

    /// Notes starts.
    pub fn started(&mut self, count: u32) {
        self.due_us = self
            .due_us
            .saturating_add(self.interval_us.saturating_mul(u64::from(count)));
    }

    /// How long to wait until a start is due.
    #[must_use]
    pub fn pause(&self, now_us: u64) -> Duration {
        Duration::from_micros(self.due_us.saturating_sub(now_us)).max(MIN_PAUSE)
    }

    /// Most starts worth asking for at once: what half a second of the rate brings.
    #[must_use]
    pub fn group(&self) -> u32 {
        let group = SLACK_US.checked_div(self.interval_us).unwrap_or(u64::MAX).max(1);
        u32::try_from(group).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Over any run of looks, starts never exceed the rate by more than the slack.
        #[test]
        fn the_rate_holds(interval_us in 1_u64..5_000_000, pauses in prop::collection::vec(0_u64..2_000_000, 1..50)) {
            let mut pace = Pace::new(interval_us, 1_000_000);
            let (mut now, mut started) = (1_000_000, 0_u64);
            for pause in pauses {
                now += pause;
                let due = pace.due(now, 1_000);
                pace.started(due);
                started += u64::from(due);
                prop_assert!(started <= (now - 1_000_000) / interval_us + 1);
            }
        }
    }

    #[test]
    fn no_limit_means_all() {
        let mut pace = Pace::new(0, 5);
        assert_eq!(pace.due(5, 70), 70);
        assert_eq!(pace.group(), u32::MAX);
    }

    #[test]
    fn a_pause_is_not_caught_up() {
        let mut pace = Pace::new(100_000, 0);
        assert_eq!(pace.due(0, 100), 1);
        pace.started(1);
        assert_eq!(pace.due(50_000, 100), 0);
        assert_eq!(pace.pause(50_000), MIN_PAUSE);
        // An hour later: half a second's worth, not an hour's.
        assert_eq!(pace.due(3_600_000_000, 1_000_000), 6);
    }
}
