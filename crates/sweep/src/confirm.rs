//! Whether anything is left.
use crate::{CallError, ConfirmSpec, Confirmed, DescribeReply, Row, Slot};

/// What the shell of a confirmation does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfirmStep {
    /// Measure the index lag (canaries, and the lag of our own acknowledged stops); answer by [`Confirm::on_lag`] or
    /// [`Confirm::on_lag_error`].
    MeasureLag,
    /// List one page of what is open in the target; answer by [`Confirm::on_look`] or [`Confirm::on_look_error`].
    Look {
        /// Rows asked for: 1, or more when there is something to describe.
        page_size: u32,
    },
    /// Describe the current run of a workflow id; answer by [`Confirm::on_describe`].
    Describe {
        /// To be given back.
        slot: Slot,
        /// Workflow id; with an empty run id.
        workflow_id: String,
    },
    /// Nothing to do before a reply comes in or, when set, this time.
    Wait {
        /// In milliseconds, on the clock that [`Confirm::next`] is given.
        until_ms: Option<u64>,
    },
    /// Over.
    Done(Confirmed),
}

/// Whether anything is left (first commit: the interface).
#[derive(Debug)]
pub struct Confirm {
    spec: ConfirmSpec,
}
impl Confirm {
    /// A confirmation that has seen nothing yet.
    #[must_use]
    pub fn new(spec: ConfirmSpec) -> Self {
        Self { spec }
    }
    /// The next thing to do; call until it says [`ConfirmStep::Wait`] or [`ConfirmStep::Done`], and again after each reply.
    pub fn next(&mut self, now_ms: u64) -> ConfirmStep {
        let _ = (now_ms, &self.spec);
        ConfirmStep::Done(Confirmed::default())
    }
    /// The lag was measured, in milliseconds: the largest of all measurements.
    pub fn on_lag(&mut self, now_ms: u64, lag_ms: u64) {
        let _ = (now_ms, lag_ms);
    }
    /// The lag could not be measured.
    pub fn on_lag_error(&mut self, now_ms: u64, error: CallError) {
        let _ = (now_ms, error);
    }
    /// A page was listed; `at_ms` is when the call was sent, on the same clock as `now_ms`; `more` says that a next page exists.
    pub fn on_look(&mut self, now_ms: u64, at_ms: u64, rows: Vec<Row>, more: bool) {
        let _ = (now_ms, at_ms, rows, more);
    }
    /// A page could not be listed.
    pub fn on_look_error(&mut self, now_ms: u64, error: CallError) {
        let _ = (now_ms, error);
    }
    /// A Describe was answered.
    pub fn on_describe(&mut self, now_ms: u64, slot: Slot, reply: DescribeReply) {
        let _ = (now_ms, slot, reply);
    }
}
