//! The common cancel signal of a workflow: its state, and what it is asked about itself.
//!
//! A workflow of ours that can be asked to stop keeps a [`CancelState`], sets it in its `cancel` signal handler, answers
//! its `cancel_state` query with a clone, and hands each activity a child of its cancellation token that is cancelled
//! when [`CancelState::requested`] turns true:
//!
//! ```ignore
//! #[signal]
//! pub fn cancel(&mut self, _: &mut SyncWorkflowContext<Self>, reason: String) { self.cancel.request(reason); }
//! #[query]
//! pub fn cancel_state(&self, _: &WorkflowContextView) -> CancelState { self.cancel.clone() }
//! // in run(): the running activity ends when the signal comes
//! let token = ctx.cancellation_token().child_token();
//! let stop = async { ctx.wait_condition(|s| s.cancel.requested).await; token.cancel_with_reason("cancel signal"); };
//! ```
//!
//! Only the first request counts: its reason is what a query shows, whatever comes after.

use serde::{Deserialize, Serialize};

/// Whether a workflow was asked to stop, and why. It is part of a workflow's state: serializable and deterministic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelState {
    /// Whether it was asked to.
    pub requested: bool,
    /// Why, in the words of the first who asked; empty before.
    pub reason: String,
}

impl CancelState {
    /// Records a request. Returns false when there was one before; its reason stays.
    pub fn request(&mut self, reason: impl Into<String>) -> bool {
        if self.requested {
            return false;
        }
        self.requested = true;
        self.reason = reason.into();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let mut state = CancelState::default();
        assert!(state.request("operator"));
        assert!(!state.request("another"));
        assert_eq!(
            state,
            CancelState {
                requested: true,
                reason: "operator".into()
            }
        );
    }
}
