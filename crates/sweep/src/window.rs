//! One window of a pass.
mod types;
use crate::{CallError, DescribeReply, LimiterSnapshot, PageToken, Row, StopReply, WindowSpec};
pub use types::{Checkpoint, Counts, Failure, Slot, Step, TargetOutcome, TargetResult, WindowResult};

/// One window of a pass (first commit: the interface; it lists nothing yet).
#[derive(Debug)]
pub struct Window {
    spec: WindowSpec,
    checkpoint: Checkpoint,
}

impl Window {
    /// A window that starts from nothing.
    #[must_use]
    pub fn new(spec: WindowSpec) -> Self {
        Self::resume(spec, Checkpoint::default())
    }
    /// A window that goes on after a crashed attempt: it lists anew, and what that attempt had reserved counts as used.
    #[must_use]
    pub fn resume(spec: WindowSpec, checkpoint: Checkpoint) -> Self {
        Self { spec, checkpoint }
    }
    /// The next thing to do; call until it says [`Step::Wait`] or [`Step::Done`], and again after each reply.
    pub fn next(&mut self, now_ms: u64) -> Step {
        let _ = (now_ms, &self.spec);
        Step::Done(WindowResult::default())
    }
    /// A page came in.
    pub fn on_page(&mut self, now_ms: u64, rows: Vec<Row>, next: Option<PageToken>) {
        let _ = (now_ms, rows, next);
    }
    /// A page could not be listed.
    pub fn on_page_error(&mut self, now_ms: u64, error: CallError) {
        let _ = (now_ms, error);
    }
    /// A stop was answered; `took_us` is the call's own latency in microseconds.
    pub fn on_stop(&mut self, now_ms: u64, slot: Slot, reply: StopReply, took_us: u64) {
        let _ = (now_ms, slot, reply, took_us);
    }
    /// A Describe was answered.
    pub fn on_describe(&mut self, now_ms: u64, slot: Slot, reply: DescribeReply) {
        let _ = (now_ms, slot, reply);
    }
    /// The reservation is recorded.
    pub fn on_reserved(&mut self, upto: u64) {
        let _ = upto;
    }
    /// The reservation could not be recorded: the window ends with what it did.
    pub fn on_reserve_error(&mut self, reason: String) {
        let _ = reason;
    }
    /// End early: nothing new is begun, calls in flight are waited for, then [`Step::Done`].
    pub fn stop(&mut self) {}
    /// Outcomes since the last call, for the journal.
    pub fn take_outcomes(&mut self) -> Vec<TargetOutcome> {
        Vec::new()
    }
    /// For the heartbeat: what the next attempt has to know.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }
    /// For progress: counts so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.checkpoint.counts
    }
    /// For progress: the concurrency limit.
    #[must_use]
    pub fn limiter(&self) -> LimiterSnapshot {
        LimiterSnapshot::default()
    }
}
