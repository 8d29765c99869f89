//! What an answer of the server means to the machines, and to an activity.

use prost::Message as _;
use quell_mesh::Error;
use quell_sweep::{CallError, CallErrorKind, DescribeReply, StopReply};
use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::ActivityError;
use tonic::{Code, Status};

/// A failed stop. The two ways of NOT_FOUND differ in their message only: "already completed" is final for the pinned chain,
/// "not found" may mean that the listed run was not the first of its chain.
pub(crate) fn stop_error(status: &Status) -> StopReply {
    match status.code() {
        Code::NotFound if is_namespace_missing(status) => StopReply::Error(call_error(status)),
        Code::NotFound if status.message().contains("already completed") => StopReply::AlreadyCompleted,
        Code::NotFound => StopReply::NotFound,
        _ => StopReply::Error(call_error(status)),
    }
}

/// A failed Describe.
pub(crate) fn describe_error(status: &Status) -> DescribeReply {
    match status.code() {
        Code::NotFound if !is_namespace_missing(status) => DescribeReply::Absent,
        _ => DescribeReply::Error(call_error(status)),
    }
}

/// What a failed call means for a retry.
pub(crate) fn call_error(status: &Status) -> CallError {
    let kind = match status.code() {
        Code::ResourceExhausted => CallErrorKind::Throttled,
        // CANCELLED is what a call that ran into its own timeout may say.
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unknown
        | Code::Aborted
        | Code::Cancelled
        | Code::DataLoss => CallErrorKind::Transient,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => CallErrorKind::Permanent,
    };
    CallError {
        kind,
        reason: public_reason(status),
    }
}

/// Whether a try again may soon be answered otherwise: a peer that is overloaded has not refused. One that hangs is not waited for
/// twice.
pub(crate) fn is_passing(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::Aborted)
}

/// Why a call failed, for a receipt: no address and no internal text. The log has the whole of it.
fn public_reason(status: &Status) -> String {
    tracing::debug!(code = ?status.code(), message = status.message(), "a call to Temporal failed");
    format!("{:?}: {}", status.code(), Error::from(status.clone()).public_message())
}

/// Whether it is the namespace that was not found.
fn is_namespace_missing(status: &Status) -> bool {
    tonic_types::pb::Status::decode(status.details()).is_ok_and(|rich| {
        rich.details
            .iter()
            .any(|detail| detail.type_url.ends_with("NamespaceNotFoundFailure"))
    })
}

/// An activity's failure because of a call: tried again, unless another try would answer the same.
pub(crate) fn activity_error(what: &str, status: &Status) -> ActivityError {
    let error = anyhow::anyhow!("{what}: {}", public_reason(status));
    if call_error(status).kind == CallErrorKind::Permanent {
        ActivityError::application(ApplicationFailure::non_retryable(error))
    } else {
        ActivityError::application(ApplicationFailure::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace_missing() -> Status {
        let rich = tonic_types::pb::Status {
            code: Code::NotFound as i32,
            message: "Namespace main is not found.".into(),
            details: vec![prost_types::Any {
                type_url: "type.googleapis.com/temporal.api.errordetails.v1.NamespaceNotFoundFailure".into(),
                value: Vec::new(),
            }],
        };
        Status::with_details(Code::NotFound, rich.message.clone(), rich.encode_to_vec().into())
    }

    #[test]
    fn the_two_ways_of_not_found_are_told_apart() {
        assert_eq!(
            stop_error(&Status::not_found("workflow execution already completed")),
            StopReply::AlreadyCompleted
        );
        assert_eq!(
            stop_error(&Status::not_found("workflow execution not found for ...")),
            StopReply::NotFound
        );
        assert!(matches!(
            stop_error(&namespace_missing()),
            StopReply::Error(CallError {
                kind: CallErrorKind::Permanent,
                ..
            })
        ));
        assert_eq!(
            describe_error(&Status::not_found("sql: no rows in result set")),
            DescribeReply::Absent
        );
        assert!(matches!(describe_error(&namespace_missing()), DescribeReply::Error(_)));
    }

    #[test]
    fn load_lost_replies_and_refusals_mean_different_things() {
        let kind = |code| call_error(&Status::new(code, "x")).kind;
        assert_eq!(kind(Code::ResourceExhausted), CallErrorKind::Throttled);
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Cancelled,
            Code::Internal,
            Code::Unknown,
        ] {
            assert_eq!(kind(code), CallErrorKind::Transient, "{code:?}");
        }
        for code in [Code::PermissionDenied, Code::InvalidArgument, Code::Unauthenticated] {
            assert_eq!(kind(code), CallErrorKind::Permanent, "{code:?}");
        }
    }

    #[test]
    fn only_hopeless_activities_are_not_retried() {
        let retried = |status: &Status| match activity_error("listing", status) {
            ActivityError::Application(failure) => !failure.is_non_retryable(),
            _ => false,
        };
        assert!(retried(&Status::unavailable("x")) && retried(&Status::resource_exhausted("x")));
        assert!(!retried(&Status::invalid_argument("x")));
    }
}
