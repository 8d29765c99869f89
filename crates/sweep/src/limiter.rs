//! How many calls are in flight: TCP Vegas, counted in calls instead of packets.
//!
//! The published algorithm is Vegas: L. Brakmo, L. Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global
//! Internet", IEEE JSAC 13(8), 1995; taken to concurrency limits by Netflix (`VegasLimit` in
//! Netflix/concurrency-limits). A server that answers in `base` when idle and in `latency` under `limit` calls holds
//! `limit * (1 - base / latency)` of them in a queue. The limit grows while that queue is shorter than alpha, shrinks
//! when it is longer than beta, and doubles at the beginning until a queue shows (slow start). So it settles a few
//! calls above the knee, where throughput is whole and more would only wait; throughput itself is too noisy a signal to
//! climb by.
//!
//! Three things differ from the paper, each for a reason:
//! - latency is the median of a window of calls, since a server's latencies have long tails on both sides;
//! - `base` is measured by a probe, at the start and every ten seconds, of a window with four calls in flight (the idea
//!   of ProbeRTT: N. Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016). A
//!   smallest-ever `base` would be out of date when the server changes, and one measured under our own load would let
//!   the limit climb for ever;
//! - alpha and beta are a tenth and a fifth of the limit when that is more than the paper's handful, so that jitter on
//!   a far server, whose knee is at hundreds, does not hold the limit down. It still ends within a quarter above the
//!   knee.
//!
//! A throttled or timed-out call cuts the limit by three tenths, at most once a window, and ends slow start.

use serde::{Deserialize, Serialize};

use crate::spec::LimiterSpec;

/// Calls in flight while `base` is measured: few enough for no queue worth the name, enough to keep two cores busy.
const PROBE_LIMIT: u32 = 4;
/// Time between two measurements of `base`, in milliseconds.
const PROBE_EVERY_MS: u64 = 10_000;
/// Fewest and most samples of a window; between them it is as many as are in flight, which makes it about one latency
/// long.
const WINDOW_SAMPLES: std::ops::RangeInclusive<u32> = 16..=128;

/// One finished call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// It was done, in so many microseconds.
    Done {
        /// Latency of the call.
        took_us: u64,
    },
    /// It was throttled, or timed out.
    Dropped,
}

/// Where the limit stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimiterSnapshot {
    /// Calls in flight at most.
    pub limit: u32,
    /// Latency without a queue, in microseconds; 0 before it is known.
    pub base_us: u64,
    /// Latency now (median of the last window), in microseconds; 0 before it is known.
    pub latency_us: u64,
}

/// An adaptive concurrency limit.
#[derive(Debug, Clone)]
pub struct Limiter {
    max: u32,
    /// The limit outside of probes.
    limit: u32,
    slow_start: bool,
    probing: bool,
    probed_at_ms: Option<u64>,
    base_us: u64,
    latency_us: u64,
    /// Samples of this window.
    samples: Vec<u64>,
    /// Samples to leave out: calls that began before the limit changed for or after a probe.
    stale_samples: u32,
    /// Whether this window was cut already.
    cut: bool,
    /// Most calls in flight in this window: a limit that was not made use of says nothing about a higher one.
    peak_in_flight: u32,
}

impl Limiter {
    /// A limiter that knows nothing yet. A maximum of 0 counts as 1, and an initial limit above the maximum as the
    /// maximum.
    #[must_use]
    pub fn new(spec: &LimiterSpec) -> Self {
        let max = spec.max.max(1);
        Self {
            max,
            limit: spec.initial.clamp(1, max),
            slow_start: true,
            probing: true,
            probed_at_ms: None,
            base_us: 0,
            latency_us: 0,
            samples: Vec::new(),
            stale_samples: 0,
            cut: false,
            peak_in_flight: 0,
        }
    }

    /// Calls in flight at most, now. At the start, and for a moment every ten seconds, four, to measure the idle
    /// latency.
    #[must_use]
    pub fn limit(&self) -> u32 {
        if self.probing {
            self.limit.min(PROBE_LIMIT)
        } else {
            self.limit
        }
    }

    /// Changes the maximum; 0 counts as 1. A limit that only the old maximum held down doubles again until a queue shows.
    pub fn set_max(&mut self, max: u32) {
        let max = max.max(1);
        if max > self.max && self.limit == self.max {
            self.slow_start = true;
        }
        self.max = max;
        self.limit = self.limit.min(max);
    }

    /// For people.
    #[must_use]
    pub fn snapshot(&self) -> LimiterSnapshot {
        LimiterSnapshot {
            limit: self.limit,
            base_us: self.base_us,
            latency_us: self.latency_us,
        }
    }

    /// Takes in a finished call; `in_flight` counts it and those beside it.
    pub fn on_sample(&mut self, now_ms: u64, in_flight: u32, sample: Sample) {
        self.peak_in_flight = self.peak_in_flight.max(in_flight);
        match sample {
            Sample::Dropped if !self.cut => {
                self.limit = (self.limit.saturating_mul(7) / 10).max(1);
                self.slow_start = false;
                self.cut = true;
                self.samples.clear();
            }
            Sample::Dropped => self.next_window_after_drops(),
            Sample::Done { .. } if self.stale_samples > 0 => self.stale_samples -= 1,
            Sample::Done { took_us } => {
                self.samples.push(took_us.max(1));
                if self.samples.len() >= self.window_len() {
                    self.end_window(now_ms);
                }
            }
        }
    }

    fn window_len(&self) -> usize {
        let len = self.limit().clamp(*WINDOW_SAMPLES.start(), *WINDOW_SAMPLES.end());
        usize::try_from(len).unwrap_or(usize::MAX)
    }

    /// When everything is dropped there are no samples to end a window by: then drops end it, half a window each.
    fn next_window_after_drops(&mut self) {
        self.stale_samples = 0;
        self.samples.push(u64::MAX);
        if self.samples.len() >= self.window_len() {
            self.samples.clear();
            self.cut = false;
        }
    }

    fn end_window(&mut self, now_ms: u64) {
        let window = &mut self.samples;
        window.sort_unstable();
        let median = window.get(window.len() / 2).copied().unwrap_or(1);
        window.clear();
        let was_used = self.peak_in_flight.saturating_mul(2) >= self.limit;
        let was_cut = std::mem::take(&mut self.cut);
        self.peak_in_flight = 0;
        if median == u64::MAX {
            return; // mostly drops: not a latency
        }
        self.latency_us = median;

        if self.probing {
            self.base_us = median;
            self.probed_at_ms = Some(now_ms);
            self.probing = false;
            self.stale_samples = self.limit.min(PROBE_LIMIT);
            return;
        }
        self.base_us = self.base_us.min(median);
        if was_used && !was_cut {
            self.adjust(median);
        }
        if self
            .probed_at_ms
            .is_none_or(|at| now_ms.saturating_sub(at) >= PROBE_EVERY_MS)
        {
            self.probing = true;
            self.stale_samples = self.limit;
        }
    }

    fn adjust(&mut self, latency_us: u64) {
        let queue_share = u64::from(self.limit).saturating_mul(latency_us.saturating_sub(self.base_us)) / latency_us;
        let queue = u32::try_from(queue_share).unwrap_or(u32::MAX);
        let alpha = (self.limit / 10).max(3);
        let beta = (self.limit / 5).max(6);
        let step = (self.limit / 16).max(1);
        let wanted = if self.slow_start && queue < alpha {
            self.limit.saturating_mul(2)
        } else if self.slow_start {
            self.slow_start = false;
            // The doubling overshot: what is queued beyond beta goes at once.
            self.limit - queue.saturating_sub(beta)
        } else if queue < alpha {
            self.limit.saturating_add(step)
        } else if queue > beta {
            self.limit.saturating_sub(step)
        } else {
            self.limit
        };
        self.limit = wanted.clamp(1, self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of `cores` that serves a call in `service_us` and queues what is beyond: latency by Little's law, with
    /// a little noise. Returns the limits after each second.
    fn run(spec: &LimiterSpec, service_us: u64, cores: u64, seconds: u64) -> Vec<u32> {
        let mut limiter = Limiter::new(spec);
        let (mut now_us, mut noise, mut limits) = (0_u64, 12_345_u64, Vec::new());
        while now_us < seconds * 1_000_000 {
            let in_flight = u64::from(limiter.limit());
            let latency = service_us * in_flight.max(cores) / cores;
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let jitter = (noise >> 33) % (latency / 5);
            limiter.on_sample(
                now_us / 1_000,
                limiter.limit(),
                Sample::Done {
                    took_us: latency + jitter,
                },
            );
            now_us += latency / in_flight;
            if now_us / 1_000_000 > u64::try_from(limits.len()).unwrap() {
                limits.push(limiter.snapshot().limit);
            }
        }
        limits
    }

    #[test]
    fn a_small_server_is_kept_at_a_few_calls() {
        // 2 cores, 4 ms a call: 500 a second, which the dev server does.
        let limits = run(&LimiterSpec::default(), 4_000, 2, 60);
        assert!(limits.iter().all(|limit| (3..=16).contains(limit)), "{limits:?}");
    }

    #[test]
    fn a_large_server_far_away_is_filled_and_not_more() {
        // 200 at a time, 50 ms a call: 4,000 a second.
        let limits = run(&LimiterSpec::default(), 50_000, 200, 60);
        assert!(
            limits.iter().skip(2).all(|limit| (180..=270).contains(limit)),
            "{limits:?}"
        );
    }

    #[test]
    fn the_maximum_holds() {
        let limits = run(&LimiterSpec { initial: 8, max: 50 }, 50_000, 2_000, 10);
        assert_eq!(limits.last(), Some(&50));
    }

    #[test]
    fn the_maximum_can_be_changed_on_the_way() {
        let mut limiter = Limiter::new(&LimiterSpec { initial: 8, max: 50 });
        let run = |limiter: &mut Limiter, calls: u32| {
            for _ in 0..calls {
                limiter.on_sample(0, limiter.limit(), Sample::Done { took_us: 1_000 });
            }
            limiter.snapshot().limit
        };
        assert_eq!(run(&mut limiter, 2_000), 50);
        limiter.set_max(3);
        assert_eq!(
            (limiter.limit(), run(&mut limiter, 500)),
            (3, 3),
            "at once, and for good"
        );
        limiter.set_max(40);
        assert_eq!(run(&mut limiter, 500), 40);
        limiter.set_max(0);
        assert_eq!(limiter.limit(), 1);
    }

    #[test]
    fn throttling_shrinks_it_down_to_one_and_never_to_none() {
        let mut limiter = Limiter::new(&LimiterSpec { initial: 64, max: 750 });
        limiter.on_sample(0, 1, Sample::Dropped);
        assert_eq!(limiter.snapshot().limit, 44);
        limiter.on_sample(0, 1, Sample::Dropped);
        assert_eq!(limiter.snapshot().limit, 44, "once a window");
        for _ in 0..2_000 {
            limiter.on_sample(0, 1, Sample::Dropped);
        }
        assert_eq!(limiter.limit(), 1);
    }

    #[test]
    fn it_recovers_after_throttling() {
        let mut limiter = Limiter::new(&LimiterSpec { initial: 64, max: 750 });
        for _ in 0..500 {
            limiter.on_sample(0, 1, Sample::Dropped);
        }
        for _ in 0..2_000 {
            limiter.on_sample(0, limiter.limit(), Sample::Done { took_us: 1_000 });
        }
        assert!(limiter.limit() > 16, "{}", limiter.limit());
    }

    #[test]
    fn an_unused_limit_does_not_grow() {
        let mut limiter = Limiter::new(&LimiterSpec { initial: 64, max: 750 });
        for _ in 0..10_000 {
            limiter.on_sample(0, 2, Sample::Done { took_us: 1_000 });
        }
        assert_eq!(limiter.snapshot().limit, 64);
    }
}
