//! Small conversions between clocks, protos and counts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quell_api::canceler::v1 as pb;
use quell_sweep::{Phase, Verdict};

/// Milliseconds as a proto duration.
#[must_use]
pub(crate) fn duration(ms: u64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1_000 * 1_000_000).unwrap_or(0),
    }
}

/// Milliseconds since the epoch as a proto timestamp.
#[must_use]
pub(crate) fn timestamp(ms: u64) -> prost_types::Timestamp {
    let duration = duration(ms);
    prost_types::Timestamp {
        seconds: duration.seconds,
        nanos: duration.nanos,
    }
}

/// A point in time as milliseconds since the epoch; 0 before it.
#[must_use]
pub(crate) fn epoch_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Seconds and nanoseconds of a server's timestamp as milliseconds since the epoch; 0 before it.
#[must_use]
pub(crate) fn parts_ms(seconds: i64, nanos: i32) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds
        .saturating_mul(1_000)
        .saturating_add(u64::try_from(nanos).unwrap_or(0) / 1_000_000)
}

/// Milliseconds since the epoch as a visibility query writes a time, quoted.
#[must_use]
pub(crate) fn query_time(ms: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX);
    format!("\"{time:.3}\"")
}

/// A count as protos carry it.
#[must_use]
pub(crate) fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A clock in milliseconds since the epoch that never goes back: wall time at its start, monotonic from there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall_ms: u64,
    since: std::time::Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self {
            wall_ms: epoch_ms(SystemTime::now()),
            since: std::time::Instant::now(),
        }
    }

    /// Now.
    #[must_use]
    pub(crate) fn now_ms(&self) -> u64 {
        self.wall_ms
            .saturating_add(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// How long until `ms`; zero when it is past.
    #[must_use]
    pub(crate) fn until(&self, ms: u64) -> Duration {
        Duration::from_millis(ms.saturating_sub(self.now_ms()))
    }
}

/// A phase as callers see it.
#[must_use]
pub(crate) fn phase(phase: Phase) -> pb::Phase {
    match phase {
        Phase::Fencing => pb::Phase::Fencing,
        Phase::Asking => pb::Phase::Asking,
        Phase::Striking => pb::Phase::Striking,
        Phase::Sweeping => pb::Phase::Sweeping,
        Phase::Confirming => pb::Phase::Confirming,
        Phase::Done => pb::Phase::Done,
    }
}

/// A verdict as callers see it.
#[must_use]
pub(crate) fn verdict(verdict: Verdict) -> pb::Verdict {
    match verdict {
        Verdict::Clean => pb::Verdict::Clean,
        Verdict::Residue => pb::Verdict::Residue,
        Verdict::Aborted => pb::Verdict::Aborted,
        Verdict::Blocked => pb::Verdict::Blocked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_milliseconds() {
        assert_eq!(
            timestamp(1_700_000_000_123),
            prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 123_000_000
            }
        );
        assert_eq!(parts_ms(1_700_000_000, 123_999_999), 1_700_000_000_123);
        assert_eq!(parts_ms(-1, 0), 0);
        assert_eq!(query_time(1_700_000_000_123), "\"2023-11-14T22:13:20.123Z\"");
        assert_eq!(query_time(1_700_000_000_000), "\"2023-11-14T22:13:20.000Z\"");
    }
}
