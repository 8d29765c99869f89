//! A batch operation in our words, and its translation from the server's and to the contract's.

use super::{
    action::{Action, Kind, Selection},
    identity::Identity,
};
use quell_api::batch::v1::{self as pb, BatchOperationState};
use serde::{Deserialize, Serialize};
use temporalio_common::protos::temporal::api::{
    batch::v1::BatchOperationInfo, enums::v1::BatchOperationState as ServerState,
    workflowservice::v1::DescribeBatchOperationResponse,
};

/// State of a job. The server knows no more than these three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// At work.
    Running,
    /// Went through its list.
    Completed,
    /// Ended by an error or a stop.
    Failed,
}

/// An instant of the server's clock. The SDK's protos and ours name two types for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// Whole seconds since the epoch.
    pub(crate) seconds: i64,
    /// And nanoseconds.
    pub(crate) nanos: i32,
}

/// A job that is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewJob {
    /// Its id; the same for every attempt to start it.
    pub(crate) id: String,
    /// Which executions.
    pub(crate) selection: Selection,
    /// What is done to them.
    pub(crate) action: Action,
    /// Why; stored on every stopped execution.
    pub(crate) reason: String,
    /// Who starts it, with what the server does not keep otherwise.
    pub(crate) identity: Identity,
}

/// A job as Describe tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) state: State,
    /// `None` for kinds that are not ours.
    pub(crate) kind: Option<Kind>,
    pub(crate) start_time: Option<Moment>,
    pub(crate) close_time: Option<Moment>,
    /// Executions found at its beginning; 0 until the server's first heartbeat, and 0 when it failed.
    pub(crate) total: i64,
    pub(crate) done: i64,
    pub(crate) failed: i64,
    pub(crate) identity: String,
    pub(crate) reason: String,
}

/// A job as List tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) start_time: Option<Moment>,
    pub(crate) close_time: Option<Moment>,
}

impl Moment {
    pub(crate) fn new(seconds: i64, nanos: i32) -> Self {
        Self { seconds, nanos }
    }

    /// In milliseconds since the epoch.
    pub(crate) fn ms(self) -> i64 {
        self.seconds * 1_000 + i64::from(self.nanos) / 1_000_000
    }

    /// As the contract has it.
    pub(crate) fn proto(self) -> prost_types::Timestamp {
        prost_types::Timestamp {
            seconds: self.seconds,
            nanos: self.nanos,
        }
    }
}

impl State {
    /// From the server's number. What is unknown counts as running: it is looked at again.
    fn of(number: i32) -> Self {
        match ServerState::try_from(number) {
            Ok(ServerState::Completed) => Self::Completed,
            Ok(ServerState::Failed) => Self::Failed,
            Ok(ServerState::Running | ServerState::Unspecified) | Err(_) => Self::Running,
        }
    }

    /// As the contract names it.
    pub(crate) fn proto(self) -> BatchOperationState {
        match self {
            Self::Running => BatchOperationState::Running,
            Self::Completed => BatchOperationState::Completed,
            Self::Failed => BatchOperationState::Failed,
        }
    }
}

impl Job {
    /// From the server's answer; `None` when it describes a workflow that is not a batch operation. The server refuses a
    /// batch operation without a reason, and keeps the reason where an ordinary workflow has none.
    pub(crate) fn of(answer: DescribeBatchOperationResponse) -> Option<Self> {
        if answer.reason.is_empty() {
            return None;
        }
        Some(Self {
            state: State::of(answer.state),
            kind: Kind::of_server(answer.operation_type),
            id: answer.job_id,
            start_time: answer.start_time.map(|time| Moment::new(time.seconds, time.nanos)),
            close_time: answer.close_time.map(|time| Moment::new(time.seconds, time.nanos)),
            total: answer.total_operation_count,
            done: answer.complete_operation_count,
            failed: answer.failure_operation_count,
            identity: answer.identity,
            reason: answer.reason,
        })
    }

    /// Whether it still works.
    pub(crate) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Server time of its start, in milliseconds since the epoch; 0 when it was not told.
    pub(crate) fn start_time_ms(&self) -> i64 {
        self.start_time.map_or(0, Moment::ms)
    }
}

impl Listed {
    /// From a row of the server's list.
    pub(crate) fn of(row: BatchOperationInfo) -> Self {
        Self {
            state: State::of(row.state),
            id: row.job_id,
            start_time: row.start_time.map(|time| Moment::new(time.seconds, time.nanos)),
            close_time: row.close_time.map(|time| Moment::new(time.seconds, time.nanos)),
        }
    }

    /// As the contract shows it.
    pub(crate) fn proto(self) -> pb::BatchOperation {
        pb::BatchOperation {
            job_id: self.id,
            state: self.state.proto().into(),
            start_time: self.start_time.map(Moment::proto),
            close_time: self.close_time.map(Moment::proto),
            ..pb::BatchOperation::default()
        }
    }
}
