//! The whole cancellation.
use crate::{CampaignSpec, Command, CommandId, Event, Outcome, Phase, Progress};
use serde::{Deserialize, Serialize};

/// A campaign that cannot be begun or carried on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CampaignError {
    /// Its version is newer than this code.
    #[error("campaign version {found} is newer than this code ({known})")]
    Version {
        /// As found.
        found: u32,
        /// The newest that this code knows.
        known: u32,
    },
    /// A setting is out of range.
    #[error("{field} must be {rule}")]
    Spec {
        /// Which.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

/// The whole cancellation (first commit: the interface).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    version: u32,
    spec: CampaignSpec,
    outcome: Option<Outcome>,
}
impl Campaign {
    /// A campaign that has done nothing yet.
    pub fn new(spec: CampaignSpec) -> Result<Self, CampaignError> {
        Ok(Self {
            version: spec.version,
            spec,
            outcome: None,
        })
    }
    /// Commands that can be started now and were not handed out before; may be empty while others are outstanding.
    pub fn next(&mut self) -> Vec<(CommandId, Command)> {
        Vec::new()
    }
    /// Takes in what happened.
    pub fn apply(&mut self, event: Event) {
        let _ = event;
    }
    /// Whether outstanding commands should be cancelled (a stop or the deadline came); their answers are still waited for.
    #[must_use]
    pub fn wants_cancel(&self) -> bool {
        false
    }
    /// Whether nothing is outstanding: the moment to continue as new.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        true
    }
    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::Fencing
    }
    /// Where it is, in numbers.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress::default()
    }
    /// How it ended, once it has.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }
    /// Its version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }
    /// Its spec.
    #[must_use]
    pub fn spec(&self) -> &CampaignSpec {
        &self.spec
    }
}
