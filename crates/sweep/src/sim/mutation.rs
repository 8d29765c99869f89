//! Mistakes, put in on purpose one at a time: the properties must notice each.
//!
//! They are made where a machine meets the world, in what it is told at the start, asks for, or hears, so that the machines
//! themselves carry no code for tests. That loses nothing: whatever a machine decides wrongly shows in what it asks for.

use serde::{Deserialize, Serialize};

use super::{Invariant, Scenario, Source};
use crate::row::{CallError, CallErrorKind, Scope, StopReply};
use crate::spec::{CampaignSpec, Engine, Mode};

/// A way in which the machines, or what drives them, could be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mutation {
    /// One look less than the index can be blind.
    LookTooFew,
    /// Looks closer together than the lag, which is taken for zero.
    LagIgnored,
    /// Only the first page of a look is read.
    LookAtFirstPageOnly,
    /// A look is a Count: what it counts is taken for alive.
    CountForList,
    /// What Describe calls alive is taken for stale.
    AliveTakenForStale,
    /// What Describe calls closed is taken for alive.
    StaleTakenForAlive,
    /// Open is asked for as Running.
    RunningOnly,
    /// The server's cascade is trusted: only roots are swept and looked for.
    CascadeTrusted,
    /// The fence bounds the sweep and the looks, as it does the server's batch.
    FenceBoundsSweep,
    /// Stops are aimed at the listed run, not at its chain.
    PinByRunId,
    /// Where the listed run is not known any more, the current run of its workflow id is taken for it.
    CurrentRunDescribed,
    /// Rows are not checked again.
    RowsUnchecked,
    /// There is no cap.
    CapIgnored,
    /// A new attempt of a window forgets what the last had reserved.
    ReservationForgotten,
    /// Stops go out before their reservation is recorded: it is lost with the process.
    ReservationNotDurable,
    /// A stop whose reply was lost is not tried again.
    LostReplyGivenUp,
    /// A stop whose reply was lost is taken for not done.
    LostReplyRefunded,
    /// A call that failed is taken for done.
    LostReplyTakenForDone,
    /// A refused stop is taken for one of an execution that is closed already.
    RefusalForgotten,
    /// The deadline does not come.
    DeadlineIgnored,
    /// The server's batch runs on after the end.
    BatchLeftRunning,
    /// Sources that refuse are only warned of, though they must obey.
    QuiesceNotRequired,
    /// What is to be asked to end is terminated.
    AskTerminates,
    /// What did not end within the grace is not terminated.
    GraceEndsNothing,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::LookTooFew,
        Self::LagIgnored,
        Self::LookAtFirstPageOnly,
        Self::CountForList,
        Self::AliveTakenForStale,
        Self::StaleTakenForAlive,
        Self::RunningOnly,
        Self::CascadeTrusted,
        Self::FenceBoundsSweep,
        Self::PinByRunId,
        Self::CurrentRunDescribed,
        Self::RowsUnchecked,
        Self::CapIgnored,
        Self::ReservationForgotten,
        Self::ReservationNotDurable,
        Self::LostReplyGivenUp,
        Self::LostReplyRefunded,
        Self::LostReplyTakenForDone,
        Self::RefusalForgotten,
        Self::DeadlineIgnored,
        Self::BatchLeftRunning,
        Self::QuiesceNotRequired,
        Self::AskTerminates,
        Self::GraceEndsNothing,
    ];

    /// The invariant that does not hold with it.
    #[must_use]
    pub fn breaks(self) -> Invariant {
        match self {
            Self::LookTooFew
            | Self::LagIgnored
            | Self::LookAtFirstPageOnly
            | Self::AliveTakenForStale
            | Self::RunningOnly
            | Self::CascadeTrusted
            | Self::FenceBoundsSweep => Invariant::NoFalseClean,
            Self::CountForList
            | Self::StaleTakenForAlive
            | Self::PinByRunId
            | Self::LostReplyGivenUp
            | Self::GraceEndsNothing => Invariant::EndsWhenSourcesStop,
            Self::CurrentRunDescribed | Self::RowsUnchecked => Invariant::NothingOutsideScope,
            Self::CapIgnored | Self::ReservationForgotten | Self::ReservationNotDurable => Invariant::CapHolds,
            Self::LostReplyRefunded | Self::LostReplyTakenForDone => Invariant::TotalsAddUp,
            Self::RefusalForgotten => Invariant::FailuresReportedOnce,
            Self::DeadlineIgnored => Invariant::EndsBlockedAtDeadline,
            Self::BatchLeftRunning => Invariant::NothingRunsOn,
            Self::QuiesceNotRequired => Invariant::QuiesceRequired,
            Self::AskTerminates => Invariant::OnlyAsked,
        }
    }

    /// A scenario that is likely to show it.
    #[must_use]
    pub fn provoked(self, seed: u64) -> Scenario {
        let scenario = Scenario {
            seed,
            mutation: Some(self),
            drop_percent: 50,
            ..Scenario::default()
        };
        let blind = Scenario {
            blind_percent: 40,
            ..scenario
        };
        // At first the index shows fewer than the cap.
        let capped = Scenario {
            max_affected: 40,
            roots: 0,
            flat: 60,
            lag_ms: 4_000,
            ..scenario
        };
        match self {
            Self::LookTooFew => Scenario { forbidden: 1, ..blind },
            Self::LagIgnored => Scenario {
                lag_ms: 6_000,
                roots: 0,
                flat: 2,
                ..scenario
            },
            Self::LookAtFirstPageOnly => Scenario {
                forbidden: 1,
                stale_percent: 60,
                ..scenario
            },
            Self::CountForList | Self::StaleTakenForAlive => Scenario {
                stale_percent: 20,
                ..scenario
            },
            Self::AliveTakenForStale => Scenario {
                continue_every_ms: 50,
                ..blind
            },
            Self::RunningOnly => Scenario { paused: 2, ..scenario },
            Self::CascadeTrusted | Self::RowsUnchecked => Scenario {
                strangers: 6,
                ..scenario
            },
            Self::FenceBoundsSweep => Scenario {
                source: Source::Until(13_000),
                ..scenario
            },
            Self::PinByRunId => Scenario {
                continue_every_ms: 10,
                ..scenario
            },
            Self::CurrentRunDescribed => Scenario {
                filter_target: true,
                flat: 40,
                lag_ms: 3_000,
                ..scenario
            },
            Self::CapIgnored => capped,
            Self::ReservationForgotten => Scenario {
                crash_permille: 20,
                ..capped
            },
            Self::ReservationNotDurable => Scenario {
                crash_permille: 20,
                beat_percent: 0,
                ..capped
            },
            Self::LostReplyGivenUp => Scenario {
                error_percent: 25,
                ..scenario
            },
            Self::LostReplyRefunded | Self::LostReplyTakenForDone => Scenario {
                error_percent: 10,
                ..scenario
            },
            Self::RefusalForgotten => Scenario {
                forbidden: 2,
                ..scenario
            },
            Self::DeadlineIgnored => Scenario {
                source: Source::Forever,
                deadline_ms: 10_000,
                ..scenario
            },
            Self::BatchLeftRunning => Scenario {
                engine: Engine::Both,
                stop_at_ms: Some(150),
                flat: 60,
                ..scenario
            },
            Self::AskTerminates => Scenario {
                mode: Mode::Cancel,
                ..scenario
            },
            Self::GraceEndsNothing => Scenario {
                mode: Mode::CancelThenTerminate,
                ..scenario
            },
            Self::QuiesceNotRequired => Scenario {
                source: Source::Until(13_000),
                require_quiesce: true,
                ..scenario
            },
        }
    }

    pub(super) fn mutate_spec(self, spec: &mut CampaignSpec) {
        match self {
            Self::LookTooFew => spec.looks -= 1,
            Self::RowsUnchecked => spec.scope = Scope::default(),
            Self::CapIgnored => spec.max_affected = u64::MAX,
            Self::LostReplyGivenUp => spec.window.retry.max_attempts = 1,
            Self::QuiesceNotRequired => spec.require_quiesce = false,
            Self::GraceEndsNothing => spec.mode = Mode::Cancel,
            _ => {}
        }
    }

    pub(super) fn mutate_stop(self, reply: StopReply) -> StopReply {
        match (self, &reply) {
            (Self::RefusalForgotten, StopReply::Error(error)) if error.kind == CallErrorKind::Permanent => {
                StopReply::AlreadyCompleted
            }
            (Self::LostReplyRefunded, StopReply::Error(error)) if error.kind == CallErrorKind::Transient => {
                StopReply::Error(CallError {
                    kind: CallErrorKind::Throttled,
                    reason: error.reason.clone(),
                })
            }
            (Self::LostReplyTakenForDone, StopReply::Error(error)) if error.kind == CallErrorKind::Transient => {
                StopReply::Stopped
            }
            _ => reply,
        }
    }
}
