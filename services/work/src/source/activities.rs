//! What a spawner asks before it spawns, as local activities.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quell_mesh::metrics::SNOWBALL_GATE;
use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{admission::Admission, gates::Gates};

/// A question at the gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GateQuestion {
    /// WorkloadId of what is to be started.
    pub workload_id: String,
    /// Who asks: its run id.
    pub spawner: String,
    /// Starts in flight that it has use for.
    pub want: u32,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum GateAnswer {
    /// The gate was open just now.
    Go {
        /// Starts that may be in flight until the spawner asks again.
        permits: u32,
        /// How long the answer took, in milliseconds: workflow time stood still meanwhile.
        waited_ms: u64,
    },
    /// Not now.
    Wait {
        /// Why.
        because: Because,
        /// When to ask again, in milliseconds from now.
        retry_ms: u64,
    },
}

/// Why a spawner has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The gate is closed.
    Closed,
    /// Others are spawning.
    Busy,
    /// The gate cannot be read; to be on the safe side it counts as closed.
    Unreadable,
}

/// The local activities of a source.
#[derive(Debug)]
pub struct SourceActivities {
    gates: Gates,
    admission: Admission,
}

impl SourceActivities {
    /// Activities that read these gates.
    #[must_use]
    pub fn new(gates: Gates) -> Self {
        Self {
            gates,
            admission: Admission::default(),
        }
    }

    async fn answer(&self, question: &GateQuestion) -> GateAnswer {
        let asked = Instant::now();
        // Before the line, so that nobody stands in it at a closed gate, and after it, since the wait may have been long.
        match self.gates.is_closed(&question.workload_id).await {
            Some(false) => {}
            closed => return self.turned_away(question, closed),
        }
        match self.admission.enter(&question.spawner, question.want).await {
            Err(later) => GateAnswer::Wait {
                because: Because::Busy,
                retry_ms: millis(later),
            },
            Ok(permits) => match self.gates.is_closed(&question.workload_id).await {
                Some(false) => GateAnswer::Go {
                    permits,
                    waited_ms: millis(asked.elapsed()),
                },
                closed => self.turned_away(question, closed),
            },
        }
    }

    fn turned_away(&self, question: &GateQuestion, closed: Option<bool>) -> GateAnswer {
        self.admission.leave(&question.spawner);
        let because = if closed.is_some() {
            Because::Closed
        } else {
            Because::Unreadable
        };
        GateAnswer::Wait {
            because,
            retry_ms: millis(self.admission.turn_at_closed_gate()),
        }
    }
}

#[activities]
impl SourceActivities {
    /// Asks whether, and how much, a spawner may spawn now. Never fails: what cannot be read is a wait.
    #[activity(name = "read_gate")]
    pub async fn read_gate(
        self: Arc<Self>,
        _ctx: ActivityContext,
        question: GateQuestion,
    ) -> Result<GateAnswer, ActivityError> {
        let answer = self.answer(&question).await;
        let word = match answer {
            GateAnswer::Go { .. } => "go",
            GateAnswer::Wait { .. } => "wait",
        };
        SNOWBALL_GATE.with([word]).inc();
        Ok(answer)
    }

    /// A spawner says that it has no start in flight any more.
    #[activity(name = "leave_gate")]
    pub async fn leave_gate(self: Arc<Self>, _ctx: ActivityContext, spawner: String) -> Result<(), ActivityError> {
        self.admission.leave(&spawner);
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
