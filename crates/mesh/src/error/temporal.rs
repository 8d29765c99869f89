//! Temporal's failures in our words.
//!
//! The server attaches a typed detail to most failures (`temporal.api.errordetails.v1`), which is looked at before
//! the code: a NOT_FOUND for a missing namespace is a fault of the set-up, one for a workflow is an answer.
//! Texts of the server pass to the caller only where they speak about the caller's own input (a query).

use prost::Message as _;
use temporalio_client::errors::{
    ClientConnectError, ClientError, WorkflowGetResultError, WorkflowInteractionError, WorkflowQueryError,
    WorkflowStartError, WorkflowUpdateError,
};
use temporalio_common::data_converters::PayloadConversionError;
use tonic::{Code, Status};
use tonic_types::FieldViolation;

use super::{DEFAULT_RETRY, Error, Reason};
use crate::payload::CodecError;

/// Translates the status of a Temporal rpc. A missing execution comes without its name: add it by
/// [`Error::named`].
#[must_use]
pub fn from_temporal(status: Status) -> Error {
    let detail = detail_name(&status);
    match status.code() {
        Code::InvalidArgument => Error::InvalidArgument(vec![FieldViolation::new("", status.message())]),
        Code::NotFound if detail.ends_with("NamespaceNotFoundFailure") => Error::precondition(
            Reason::NamespaceNotFound,
            "namespace",
            "the Temporal server does not know the namespace",
        ),
        Code::NotFound => Error::not_found("workflow execution", ""),
        Code::AlreadyExists => Error::AlreadyExists {
            kind: "workflow execution",
            name: String::new(),
        },
        Code::ResourceExhausted => Error::ResourceExhausted {
            reason: Reason::TemporalRateLimited,
            message: "Temporal's rate limit was met".to_owned(),
            retry_after: Some(DEFAULT_RETRY),
        },
        Code::PermissionDenied | Code::Unauthenticated => {
            tracing::warn!(code = ?status.code(), detail = status.message(), "temporal refused our credentials");
            Error::unavailable(Reason::TemporalDenied, "Temporal refused the service's credentials")
        }
        Code::Unimplemented => Error::precondition(
            Reason::TemporalUnsupported,
            "temporal",
            "the Temporal server does not offer this call",
        ),
        Code::FailedPrecondition => Error::precondition(Reason::WrongState, "workflow execution", status.message()),
        Code::Unavailable => {
            tracing::debug!(detail = status.message(), "temporal unavailable");
            Error::unavailable(Reason::TemporalUnreachable, "Temporal does not answer")
        }
        // CANCELLED is what tonic calls a call that ran into its own timeout.
        Code::DeadlineExceeded | Code::Cancelled => Error::DeadlineExceeded {
            message: "Temporal took too long".to_owned(),
        },
        Code::Aborted => Error::Aborted {
            reason: Reason::Conflict,
            message: "a concurrent change of the same execution".to_owned(),
        },
        Code::Ok | Code::Unknown | Code::OutOfRange | Code::Internal | Code::DataLoss => {
            Error::Internal(anyhow::Error::new(status).context("temporal"))
        }
    }
}

/// The type name of the first detail, or "".
fn detail_name(status: &Status) -> String {
    tonic_types::pb::Status::decode(status.details())
        .ok()
        .and_then(|rich| rich.details.into_iter().next())
        .map(|any| any.type_url)
        .unwrap_or_default()
}

/// What came of a payload: the store's own error, or what is wrong with what it holds.
impl From<PayloadConversionError> for Error {
    fn from(error: PayloadConversionError) -> Self {
        match error {
            PayloadConversionError::EncodingError(cause) => match cause.downcast::<CodecError>() {
                Ok(error) => (*error).into(),
                Err(other) => Error::Internal(anyhow::Error::from_boxed(other)),
            },
            other => Error::Internal(other.into()),
        }
    }
}

impl From<WorkflowStartError> for Error {
    fn from(error: WorkflowStartError) -> Self {
        match error {
            WorkflowStartError::AlreadyStarted { .. } => Error::AlreadyExists {
                kind: "workflow execution",
                name: String::new(),
            },
            WorkflowStartError::Rpc(status) => from_temporal(status),
            WorkflowStartError::PayloadConversion(error) => error.into(),
            other => Error::Internal(other.into()),
        }
    }
}

impl From<WorkflowInteractionError> for Error {
    fn from(error: WorkflowInteractionError) -> Self {
        match error {
            WorkflowInteractionError::NotFound(status) | WorkflowInteractionError::Rpc(status) => from_temporal(status),
            WorkflowInteractionError::PayloadConversion(error) => error.into(),
            other => Error::Internal(other.into()),
        }
    }
}

impl From<WorkflowQueryError> for Error {
    fn from(error: WorkflowQueryError) -> Self {
        match error {
            WorkflowQueryError::NotFound(status) | WorkflowQueryError::Rpc(status) => from_temporal(status),
            WorkflowQueryError::Rejected { status } => Error::precondition(
                Reason::WrongState,
                "workflow execution",
                format!("its state is {status:?}"),
            ),
            WorkflowQueryError::PayloadConversion(error) => error.into(),
            other => Error::Internal(other.into()),
        }
    }
}

impl From<WorkflowUpdateError> for Error {
    fn from(error: WorkflowUpdateError) -> Self {
        match error {
            WorkflowUpdateError::NotFound(status) | WorkflowUpdateError::Rpc(status) => from_temporal(status),
            WorkflowUpdateError::PayloadConversion(error) => error.into(),
            other => Error::Internal(other.into()),
        }
    }
}

impl From<WorkflowGetResultError> for Error {
    fn from(error: WorkflowGetResultError) -> Self {
        match error {
            WorkflowGetResultError::NotFound(status) | WorkflowGetResultError::Rpc(status) => from_temporal(status),
            WorkflowGetResultError::Cancelled { .. } => {
                Error::precondition(Reason::WrongState, "workflow execution", "it was cancelled")
            }
            WorkflowGetResultError::Terminated { .. } => {
                Error::precondition(Reason::WrongState, "workflow execution", "it was terminated")
            }
            WorkflowGetResultError::TimedOut => {
                Error::precondition(Reason::WrongState, "workflow execution", "it timed out")
            }
            WorkflowGetResultError::PayloadConversion(error) => error.into(),
            other => Error::Internal(other.into()),
        }
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Rpc(status) => from_temporal(status),
            other => Error::Internal(other.into()),
        }
    }
}

/// In a few words why a connection failed, for logs and health; never an address or a secret.
pub(crate) fn connect_reason(error: &ClientConnectError) -> String {
    match error {
        ClientConnectError::SystemInfoCallError(status) => match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => "temporal refused the credentials".to_owned(),
            Code::Unavailable => "temporal does not answer".to_owned(),
            code => format!("temporal answered {code:?} to GetSystemInfo"),
        },
        ClientConnectError::TonicTransportError(_) => "no connection to temporal".to_owned(),
        ClientConnectError::DnsResolutionError { .. } => "the host name of temporal does not resolve".to_owned(),
        ClientConnectError::InvalidUri(_)
        | ClientConnectError::InvalidHeaders(_)
        | ClientConnectError::InvalidConfig(_) => "the connection settings are not valid".to_owned(),
        _ => "the client could not be made".to_owned(),
    }
}
