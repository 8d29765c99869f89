//! How fast executions go.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Over how long the rate is averaged.
const RATE_SPAN: Duration = Duration::from_secs(3);

/// How many a second, over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    pub(super) fn note(&mut self, gone: u64) {
        let now = Instant::now();
        self.0.push_back((now, gone));
        while self.0.len() > 2
            && self
                .0
                .front()
                .is_some_and(|(at, _)| now.duration_since(*at) > RATE_SPAN)
        {
            self.0.pop_front();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(super) fn per_second(&self) -> f64 {
        match (self.0.front(), self.0.back()) {
            (Some((from, before)), Some((to, after))) if to > from => {
                after.saturating_sub(*before) as f64 / to.duration_since(*from).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_two_points() {
        let mut rate = Rate::default();
        assert!(rate.per_second().abs() < f64::EPSILON);
        rate.note(0);
        assert!(rate.per_second().abs() < f64::EPSILON);
        std::thread::sleep(Duration::from_millis(20));
        rate.note(10);
        assert!(rate.per_second() > 0.0 && rate.per_second() <= 500.0);
    }
}
