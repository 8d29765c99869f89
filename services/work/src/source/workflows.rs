//! The gate itself: a workflow that does nothing. That it is open is all it says.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination};

/// Why and for whom a gate is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateInput {
    /// WorkloadId whose spawning stops.
    pub workload_id: String,
    /// Why, for people.
    pub reason: String,
}

/// A closed gate. Ends by its execution timeout, by Resume (which terminates it), or by a cancel request: any way of closing it
/// opens the gate.
#[workflow]
pub struct Gate {
    input: GateInput,
}

#[workflow_methods]
impl Gate {
    #[init]
    fn new(_ctx: &WorkflowContextView, input: GateInput) -> Self {
        Self { input }
    }

    /// Waits to be ended.
    #[run(name = "quell.Gate")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        ctx.cancelled().await;
        Err(WorkflowTermination::cancelled())
    }

    /// Why and for whom.
    #[query]
    pub fn gate(&self, _ctx: &WorkflowContextView) -> GateInput {
        self.input.clone()
    }
}
