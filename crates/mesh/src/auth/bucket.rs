//! Calls a second, by the token bucket: so many a second, and twice as many at once after a rest.

use std::time::{Duration, Instant};

/// A bucket that fills at a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    level: f64,
    per_second: u32,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn full(per_second: u32, now: Instant) -> Self {
        Self {
            level: capacity(per_second),
            per_second,
            at: now,
        }
    }

    /// Takes one out, or says after what time there will be one. The rate may be another than before.
    pub(crate) fn take(&mut self, per_second: u32, now: Instant) -> Result<(), Duration> {
        self.per_second = per_second;
        self.level = self.level_at(now);
        self.at = now;
        if self.level >= 1.0 {
            self.level -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64(
            (1.0 - self.level) / f64::from(per_second.max(1)),
        ))
    }

    /// Whether nobody would notice if it were another, full one.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.level_at(now) >= capacity(self.per_second)
    }

    fn level_at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        passed
            .mul_add(f64::from(self.per_second), self.level)
            .min(capacity(self.per_second))
    }
}

fn capacity(per_second: u32) -> f64 {
    2.0 * f64::from(per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_rate_at_once_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10, start);
        assert!((0..20).all(|_| bucket.take(10, start).is_ok()));
        let wait = bucket.take(10, start).unwrap_err();
        assert!(
            wait > Duration::from_millis(90) && wait <= Duration::from_millis(101),
            "{wait:?}"
        );
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| bucket.take(10, later).is_ok()).count(), 10);
        let rested = later + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| bucket.take(10, rested).is_ok()).count(), 20);
    }
}
