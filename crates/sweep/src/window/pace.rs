//! How many stops may begin a second: a bucket that fills evenly and holds a tenth of a second's worth.
//!
//! The concurrency limit finds what the server bears; this one is a person's wish, and off unless somebody sets it.

/// One stop. The bucket is counted in thousandths, so that a rate times milliseconds is exact.
const STOP: u64 = 1_000;
/// How much of a second the bucket holds, in milliseconds; at least one stop.
const BURST_MS: u64 = 100;

/// The pace of a window's stops. Without a rate everything may begin at once.
#[derive(Debug, Default)]
pub(super) struct Pace {
    per_second: u64,
    credit: u64,
    at_ms: u64,
}

impl Pace {
    /// Sets the rate; 0 is none. What is in the bucket stays, as far as it fits.
    pub(super) fn set(&mut self, per_second: u32) {
        self.per_second = per_second.into();
        self.credit = self.credit.min(self.size());
    }

    /// The rate; 0 is none.
    pub(super) fn per_second(&self) -> u64 {
        self.per_second
    }

    fn size(&self) -> u64 {
        self.per_second.saturating_mul(BURST_MS).max(STOP)
    }

    /// Whether a stop may begin now.
    pub(super) fn allows(&mut self, now_ms: u64) -> bool {
        let gained = now_ms.saturating_sub(self.at_ms).saturating_mul(self.per_second);
        self.credit = self.credit.saturating_add(gained).min(self.size());
        self.at_ms = self.at_ms.max(now_ms);
        self.per_second == 0 || self.credit >= STOP
    }

    /// A stop begins.
    pub(super) fn spend(&mut self) {
        self.credit = self.credit.saturating_sub(STOP);
    }

    /// When the next stop may begin, if it may not yet.
    pub(super) fn next_at(&self, now_ms: u64) -> Option<u64> {
        let lacking = STOP.saturating_sub(self.credit);
        let wait = lacking.div_ceil(self.per_second.max(1));
        (self.per_second > 0 && lacking > 0).then(|| now_ms.saturating_add(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stops in so many milliseconds when every one that is allowed begins.
    fn stops(pace: &mut Pace, from_ms: u64, ms: u64) -> u64 {
        let (mut now, mut begun) = (from_ms, 0);
        while now < from_ms + ms {
            while pace.allows(now) && begun < 1_000_000 {
                pace.spend();
                begun += 1;
            }
            now = pace.next_at(now).unwrap_or(now + 1);
        }
        begun
    }

    #[test]
    fn the_rate_holds_whatever_it_is() {
        for rate in [1, 7, 333, 2_500] {
            let mut pace = Pace::default();
            pace.set(rate);
            pace.allows(0);
            let begun = stops(&mut pace, 0, 10_000);
            let even = u64::from(rate) * 10;
            assert!(
                begun <= even + u64::from(rate) / 10 + 1 && begun + u64::from(rate) / 100 + 1 >= even,
                "{rate}: {begun}"
            );
        }
    }

    #[test]
    fn none_is_no_limit_and_it_can_come_and_go() {
        let mut pace = Pace::default();
        assert!(pace.allows(5) && pace.next_at(5).is_none());
        pace.set(10);
        pace.allows(1_000_000);
        assert!(
            stops(&mut pace, 1_000_000, 1_000) <= 12,
            "a long pause does not fill it beyond its size"
        );
        pace.set(0);
        assert!(pace.allows(1_000_001));
    }
}
