//! Adaptive concurrency.
use crate::LimiterSpec;
use serde::{Deserialize, Serialize};

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
    /// Latency now (median of the last samples), in microseconds; 0 before it is known.
    pub latency_us: u64,
}
/// Adaptive concurrency limit.
#[derive(Debug, Clone)]
pub struct Limiter {
    spec: LimiterSpec,
}
impl Limiter {
    /// A limiter that knows nothing yet.
    #[must_use]
    pub fn new(spec: LimiterSpec) -> Self {
        Self { spec }
    }
    /// Calls in flight at most, now.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.spec.initial
    }
}
