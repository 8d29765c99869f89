//! Rates that change: how many starts are due since a beginning, as a curve. Integers only, so that a replay computes the same.
//!
//! A [`Tide`] is a curve, the time at which it began, and how much of it is done. It travels from one spawner of a relay to the
//! next, which goes on where the one before stopped. What a closed gate or a busy server held back is forgiven but for half a
//! second of the curve (or one burst): a spawner goes on at its rate, it does not catch up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pace::{MIN_PAUSE, SLACK_US};

/// Microseconds of a thousand seconds: rates are in starts per thousand seconds.
const PER: u128 = 1_000_000_000;

/// Starts due over time. Rates are in starts per 1,000 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "curve")]
pub enum Curve {
    /// From one rate to another within `over_us`; then it stays.
    Ramp {
        /// At the beginning.
        from: u64,
        /// In the end.
        to: u64,
        /// How long the rate changes.
        over_us: u64,
    },
    /// So many at once, after each `every_us`.
    Bursts {
        /// Starts of one burst.
        size: u32,
        /// From one burst to the next.
        every_us: u64,
    },
    /// Up from `low` to `high` and down again in each period.
    Ebb {
        /// At ebb.
        low: u64,
        /// At flow.
        high: u64,
        /// From ebb to ebb.
        period_us: u64,
    },
}

impl Curve {
    /// Starts that are due by so many microseconds after the beginning; the first one at once.
    #[must_use]
    pub fn due_by(&self, elapsed_us: u64) -> u64 {
        let due = match *self {
            Self::Ramp { from, to, over_us } => area(from, to, over_us, elapsed_us) / PER + 1,
            Self::Bursts { size, every_us } => u128::from(size) * (u128::from(elapsed_us / every_us.max(1)) + 1),
            Self::Ebb { low, high, period_us } => {
                let half = (period_us / 2).max(1);
                let (halves, rest) = (elapsed_us / half, elapsed_us % half);
                let whole = u128::from(halves) * area(low, high, half, half);
                let (from, to) = if halves % 2 == 0 { (low, high) } else { (high, low) };
                (whole + area(from, to, half, rest)) / PER + 1
            }
        };
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// Starts that may be made up for at once, after a time in which none were possible.
    fn slack(&self, elapsed_us: u64) -> u64 {
        match *self {
            Self::Bursts { size, .. } => u64::from(size),
            _ => self.due_by(elapsed_us) - self.due_by(elapsed_us.saturating_sub(SLACK_US)) + 1,
        }
    }
}

/// The integral of a rate that goes from one value to another within `over_us` and then stays.
fn area(from: u64, to: u64, over_us: u64, elapsed_us: u64) -> u128 {
    let (from, to) = (u128::from(from), u128::from(to));
    let over = u128::from(over_us.max(1));
    let rising = u128::from(elapsed_us).min(over);
    let steady = u128::from(elapsed_us) - rising;
    // Both at their largest, a day in microseconds squared and ten million, are far below 2^128.
    let change = from.abs_diff(to) * rising * rising / (2 * over);
    let changing = if to >= from {
        from * rising + change
    } else {
        from * rising - change
    };
    changing + to * steady
}

/// A curve on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tide {
    #[serde(flatten)]
    curve: Curve,
    /// Time of the beginning, in microseconds; none before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch_us: Option<u64>,
    /// Starts of the curve that were made, or forgiven.
    #[serde(default)]
    done: u64,
}

impl Tide {
    /// A curve that begins at the first look.
    #[must_use]
    pub fn new(curve: Curve) -> Self {
        Self {
            curve,
            epoch_us: None,
            done: 0,
        }
    }

    /// Starts that are due now, at most `want`.
    pub fn due(&mut self, now_us: u64, want: u32) -> u32 {
        let elapsed = self.elapsed(now_us);
        let by_now = self.curve.due_by(elapsed);
        self.done = self.done.max(by_now.saturating_sub(self.curve.slack(elapsed)));
        u32::try_from(by_now.saturating_sub(self.done))
            .unwrap_or(u32::MAX)
            .min(want)
    }

    /// Notes starts.
    pub fn started(&mut self, count: u32) {
        self.done = self.done.saturating_add(u64::from(count));
    }

    /// How long to wait until a start is due.
    #[must_use]
    pub fn pause(&self, now_us: u64) -> Duration {
        let elapsed = now_us.saturating_sub(self.epoch_us.unwrap_or(now_us));
        // The curve never falls: bisect the first moment at which more is due than is done.
        let (mut early, mut late) = (elapsed, elapsed.saturating_add(LONGEST_US));
        while early < late {
            let middle = early + (late - early) / 2;
            if self.curve.due_by(middle) > self.done {
                late = middle;
            } else {
                early = middle + 1;
            }
        }
        Duration::from_micros(early - elapsed).max(MIN_PAUSE)
    }

    fn elapsed(&mut self, now_us: u64) -> u64 {
        now_us.saturating_sub(*self.epoch_us.get_or_insert(now_us))
    }
}

/// Longest pause; who waited so long looks again.
const LONGEST_US: u64 = 24 * 3_600 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000;

    fn curves() -> impl Strategy<Value = Curve> {
        let (rates, times) = (0_u64..=10_000_000, 100_000_u64..=86_400 * SECOND);
        prop_oneof![
            (rates.clone(), 1_u64..=10_000_000, times.clone()).prop_map(|(from, to, over_us)| Curve::Ramp {
                from,
                to,
                over_us
            }),
            (1_u32..=100_000, times.clone()).prop_map(|(size, every_us)| Curve::Bursts { size, every_us }),
            (rates, 1_u64..=10_000_000, times).prop_map(|(low, more, period_us)| Curve::Ebb {
                low,
                high: low + more,
                period_us
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_curve_never_falls(curve in curves(), at in 0_u64..=30 * 86_400 * SECOND, more in 0_u64..=86_400 * SECOND) {
            prop_assert!(curve.due_by(at) <= curve.due_by(at + more));
            prop_assert!(curve.due_by(0) >= 1);
        }

        /// Whatever the looks, no more is started than the curve says, and after a pause something is due.
        #[test]
        fn the_curve_holds(curve in curves(), pauses in prop::collection::vec(0_u64..=3_600 * SECOND, 1..30)) {
            let mut tide = Tide::new(curve);
            let (epoch, mut now, mut started) = (SECOND, SECOND, 0_u64);
            for pause in pauses {
                now += pause;
                let due = tide.due(now, 1_000);
                prop_assert!(u64::from(due) <= 1_000);
                tide.started(due);
                started += u64::from(due);
                prop_assert!(started <= curve.due_by(now - epoch));
                if tide.due(now, 1) == 0 {
                    let pause = tide.pause(now);
                    if pause < Duration::from_micros(LONGEST_US) {
                        let then = now + u64::try_from(pause.as_micros()).unwrap();
                        prop_assert!(tide.clone().due(then, 1) == 1, "{tide:?} {pause:?}");
                    }
                }
            }
        }

        /// What travels to the next spawner of a relay goes on where it was.
        #[test]
        fn a_tide_survives_its_journey(curve in curves(), after in 0_u64..=3_600 * SECOND) {
            let mut tide = Tide::new(curve);
            tide.due(7, 5);
            tide.started(1);
            let mut arrived: Tide = serde_json::from_str(&serde_json::to_string(&tide).unwrap()).unwrap();
            prop_assert_eq!(&arrived, &tide);
            prop_assert_eq!(arrived.due(7 + after, 100), tide.due(7 + after, 100));
        }
    }

    #[test]
    fn a_ramp_adds_up() {
        // From 0 to 10 a second within 10 s: 50 by then, and ten more in each second after.
        let ramp = Curve::Ramp {
            from: 0,
            to: 10_000,
            over_us: 10 * SECOND,
        };
        let due: Vec<_> = [0, 2, 10, 11].map(|s| ramp.due_by(s * SECOND)).into();
        assert_eq!(due, [1, 3, 51, 61]);
        let down = Curve::Ramp {
            from: 10_000,
            to: 1_000,
            over_us: 10 * SECOND,
        };
        assert_eq!([10, 20].map(|s| down.due_by(s * SECOND)), [56, 66]);
    }

    #[test]
    fn bursts_come_whole_and_a_missed_one_is_not_made_up_for() {
        let mut tide = Tide::new(Curve::Bursts {
            size: 10,
            every_us: 5 * SECOND,
        });
        assert_eq!(tide.due(0, 100), 10);
        tide.started(10);
        assert_eq!(tide.due(4 * SECOND, 100), 0);
        assert_eq!(tide.pause(4 * SECOND), Duration::from_secs(1));
        assert_eq!(tide.due(60 * SECOND, 100), 10);
    }

    #[test]
    fn ebb_and_flow_are_alike_in_each_period() {
        let ebb = Curve::Ebb {
            low: 0,
            high: 10_000,
            period_us: 10 * SECOND,
        };
        assert_eq!([0, 5, 10, 15, 20].map(|s| ebb.due_by(s * SECOND)), [1, 26, 51, 76, 101]);
        // At flow, not at ebb, most is started.
        let within = |from: u64, to: u64| ebb.due_by(to * SECOND) - ebb.due_by(from * SECOND);
        assert!(within(4, 6) > 4 * within(9, 11), "{} {}", within(4, 6), within(9, 11));
    }
}
