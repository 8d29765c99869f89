//! A small closed set of failures, and the one mapping from it to `google.rpc.Status`.
//!
//! Services return [`Error`]; nobody builds a `tonic::Status` by hand. That keeps three promises in one place:
//! every failure has a code, a stable [`Reason`] and the standard `google.rpc` details; every bad field is reported
//! at once; and no internal text leaves the process. [`Error::Internal`] carries the cause for the log, where it
//! is written once, at the conversion; the caller gets a fixed sentence and finds the rest by its trace id.
//!
//! Statuses of *other* servers are not passed on as they are: Temporal's are translated by [`from_temporal`]
//! and those of our own services by [`Error::from_peer`], since a NOT_FOUND of a callee seldom is a NOT_FOUND of ours.

mod reason;
mod temporal;

pub use reason::Reason;
pub(crate) use temporal::connect_reason;
pub use temporal::from_temporal;

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// `google.rpc.ErrorInfo.domain` of every error that a Quell service makes.
pub const DOMAIN: &str = "quell.dev";

/// Where the page of a reason is: docs/errors/ of the repository, published under the domain.
const PAGES: &str = "https://quell.dev/errors";

/// How long a caller should wait before it tries again when nothing better is known.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// Everything that a call of a Quell service can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// INVALID_ARGUMENT with `BadRequest`: every bad field at once. Retrying is useless.
    #[error("invalid argument: {}", fields(.0))]
    InvalidArgument(Vec<FieldViolation>),
    /// NOT_FOUND with `ResourceInfo`.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// What kind of thing, for instance `cancellation`.
        kind: &'static str,
        /// Its name, as the caller gave it.
        name: String,
    },
    /// ALREADY_EXISTS with `ResourceInfo`.
    #[error("{kind} {name:?} already exists")]
    AlreadyExists {
        /// What kind of thing, for instance `snowball`.
        kind: &'static str,
        /// Its name, as the caller gave it.
        name: String,
    },
    /// FAILED_PRECONDITION with `PreconditionFailure`: the state must change before a retry makes sense.
    #[error("{reason}: {}", preconditions(.violations))]
    FailedPrecondition {
        /// The stable reason.
        reason: Reason,
        /// Type, subject and description of each violation.
        violations: Vec<(String, String, String)>,
    },
    /// RESOURCE_EXHAUSTED with `QuotaFailure` and, when known, `RetryInfo`.
    #[error("{reason}: {message}")]
    ResourceExhausted {
        /// The stable reason.
        reason: Reason,
        /// What ran out, for people.
        message: String,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// UNAUTHENTICATED: who calls is not known.
    #[error("{reason}: {message}")]
    Unauthenticated {
        /// The stable reason.
        reason: Reason,
        /// What is wrong with the credentials, for people; never the credentials.
        message: String,
    },
    /// PERMISSION_DENIED: who calls is known, and may not.
    #[error("{reason}: {message}")]
    PermissionDenied {
        /// The stable reason.
        reason: Reason,
        /// What is not allowed, for people.
        message: String,
    },
    /// UNAVAILABLE with `RetryInfo`: the same call may succeed later.
    #[error("{reason}: {message}")]
    Unavailable {
        /// The stable reason.
        reason: Reason,
        /// What is not there, for people; without addresses or secrets.
        message: String,
    },
    /// DEADLINE_EXCEEDED.
    #[error("deadline exceeded: {message}")]
    DeadlineExceeded {
        /// What was not done in time.
        message: String,
    },
    /// ABORTED: a concurrent change; the caller may start over.
    #[error("{reason}: {message}")]
    Aborted {
        /// The stable reason.
        reason: Reason,
        /// What collided, for people.
        message: String,
    },
    /// CANCELLED: the caller, or a shutdown, gave the call up.
    #[error("cancelled: {message}")]
    Cancelled {
        /// What was given up.
        message: String,
    },
    /// INTERNAL: logged when it becomes a status, never shown.
    #[error("internal: {0:#}")]
    Internal(anyhow::Error),
}

impl Error {
    /// One bad field. Collect several with [`Error::InvalidArgument`].
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidArgument(vec![FieldViolation::new(field, description)])
    }

    /// A thing that is not there.
    pub fn not_found(kind: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound {
            kind,
            name: name.into(),
        }
    }

    /// One unmet precondition.
    pub fn precondition(reason: Reason, subject: impl Into<String>, description: impl Into<String>) -> Self {
        Self::FailedPrecondition {
            reason,
            violations: vec![(reason.as_str().to_owned(), subject.into(), description.into())],
        }
    }

    /// Something this service needs is not there now.
    pub fn unavailable(reason: Reason, message: impl Into<String>) -> Self {
        Self::Unavailable {
            reason,
            message: message.into(),
        }
    }

    /// A fault of ours; the cause is logged, never shown.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(cause.into())
    }

    /// The same error, with the name by which the *caller* knows the thing: Temporal knows our workflow ids,
    /// our callers know cancellations and snowballs.
    #[must_use]
    pub fn named(self, kind: &'static str, name: impl Into<String>) -> Self {
        match self {
            Self::NotFound { .. } => Self::NotFound {
                kind,
                name: name.into(),
            },
            Self::AlreadyExists { .. } => Self::AlreadyExists {
                kind,
                name: name.into(),
            },
            other => other,
        }
    }

    /// Translates the status of another Quell service. Its reason and details are kept where the caller can act on
    /// them; a peer that does not answer is [`Reason::PeerUnavailable`], and its faults become ours.
    #[must_use]
    pub fn from_peer(peer: &'static str, status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| Reason::ALL.iter().copied().find(|r| r.as_str() == info.reason));
        match (status.code(), reason) {
            (Code::FailedPrecondition, Some(reason)) => Self::FailedPrecondition {
                reason,
                violations: details.precondition_failure().map_or_else(Vec::new, |failure| {
                    failure
                        .violations
                        .iter()
                        .map(|v| (v.r#type.clone(), v.subject.clone(), v.description.clone()))
                        .collect()
                }),
            },
            (Code::ResourceExhausted, Some(reason)) => Self::ResourceExhausted {
                reason,
                message: status.message().to_owned(),
                retry_after: details.retry_info().and_then(|info| info.retry_delay),
            },
            (Code::Unavailable, Some(reason)) => Self::Unavailable {
                reason,
                message: status.message().to_owned(),
            },
            (Code::Unavailable, None) => {
                tracing::debug!(peer, detail = status.message(), "peer unavailable");
                Self::unavailable(Reason::PeerUnavailable, format!("the {peer} service does not answer"))
            }
            // Ours, not our caller's: he cannot do anything about them.
            (Code::Unauthenticated | Code::PermissionDenied, _) => {
                tracing::warn!(peer, code = ?status.code(), detail = status.message(), "a peer refused our credentials");
                Self::unavailable(
                    Reason::PeerDenied,
                    format!("the {peer} service refused this service's credentials"),
                )
            }
            (Code::NotFound, Some(_)) => {
                let name = details
                    .resource_info()
                    .map_or_else(String::new, |info| info.resource_name.clone());
                Self::NotFound { kind: "resource", name }
            }
            (Code::AlreadyExists, Some(_)) => {
                let name = details
                    .resource_info()
                    .map_or_else(String::new, |info| info.resource_name.clone());
                Self::AlreadyExists { kind: "resource", name }
            }
            (Code::InvalidArgument, Some(_)) => Self::InvalidArgument(
                details
                    .bad_request()
                    .map_or_else(Vec::new, |bad| bad.field_violations.clone()),
            ),
            (Code::DeadlineExceeded, _) => Self::DeadlineExceeded {
                message: format!("the {peer} service took too long"),
            },
            (Code::Cancelled, _) => Self::Cancelled {
                message: format!("the call of the {peer} service"),
            },
            (Code::Aborted, Some(reason)) => Self::Aborted {
                reason,
                message: status.message().to_owned(),
            },
            _ => Self::Internal(anyhow::anyhow!(
                "{peer} service: {:?}: {}",
                status.code(),
                status.message()
            )),
        }
    }

    /// The gRPC code it becomes.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::InvalidArgument(_) => Code::InvalidArgument,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::FailedPrecondition { .. } => Code::FailedPrecondition,
            Self::ResourceExhausted { .. } => Code::ResourceExhausted,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::PermissionDenied { .. } => Code::PermissionDenied,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::DeadlineExceeded { .. } => Code::DeadlineExceeded,
            Self::Aborted { .. } => Code::Aborted,
            Self::Cancelled { .. } => Code::Cancelled,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The stable reason.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::InvalidArgument(_) => Reason::InvalidArgument,
            Self::NotFound { .. } => Reason::NotFound,
            Self::AlreadyExists { .. } => Reason::AlreadyExists,
            Self::FailedPrecondition { reason, .. }
            | Self::ResourceExhausted { reason, .. }
            | Self::Unauthenticated { reason, .. }
            | Self::PermissionDenied { reason, .. }
            | Self::Unavailable { reason, .. }
            | Self::Aborted { reason, .. } => *reason,
            Self::DeadlineExceeded { .. } => Reason::DeadlineExceeded,
            Self::Cancelled { .. } => Reason::Cancelled,
            Self::Internal(_) => Reason::Internal,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::ResourceExhausted { .. }
                | Self::Unavailable { .. }
                | Self::DeadlineExceeded { .. }
                | Self::Aborted { .. }
        )
    }

    /// What the caller reads. For an internal error a fixed sentence.
    #[must_use]
    pub fn public_message(&self) -> String {
        match self {
            Self::Internal(_) => "internal error; its trace id leads to the log".to_owned(),
            other => other.to_string(),
        }
    }

    fn details(&self) -> ErrorDetails {
        let reason = self.reason();
        let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, HashMap::new());
        details.add_help_link(
            format!("What {reason} means and what to do"),
            format!("{PAGES}/{reason}"),
        );
        let trace_id = crate::telemetry::trace_id();
        if !trace_id.is_empty() {
            details.set_request_info(trace_id, "");
        }
        match self {
            Self::InvalidArgument(violations) => {
                details.set_bad_request(violations.clone());
            }
            Self::NotFound { kind, name } | Self::AlreadyExists { kind, name } => {
                details.set_resource_info(*kind, name.clone(), "", self.to_string());
            }
            Self::FailedPrecondition { violations, .. } => {
                for (kind, subject, description) in violations {
                    details.add_precondition_failure_violation(kind, subject, description);
                }
            }
            Self::ResourceExhausted {
                reason,
                message,
                retry_after,
            } => {
                details.add_quota_failure_violation(reason.as_str(), message);
                details.set_retry_info(Some(retry_after.unwrap_or(DEFAULT_RETRY)));
            }
            Self::Unavailable { .. } => {
                details.set_retry_info(Some(DEFAULT_RETRY));
            }
            Self::Unauthenticated { .. }
            | Self::PermissionDenied { .. }
            | Self::DeadlineExceeded { .. }
            | Self::Aborted { .. }
            | Self::Cancelled { .. }
            | Self::Internal(_) => {}
        }
        details
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        if let Error::Internal(cause) = &error {
            tracing::error!(cause = format!("{cause:#}"), "internal error");
        }
        Status::with_error_details(error.code(), error.public_message(), error.details())
    }
}

/// A status reaches our code by `?` only from Temporal's stubs: our own services' are translated by name, with
/// [`Error::from_peer`].
impl From<Status> for Error {
    fn from(status: Status) -> Self {
        from_temporal(status)
    }
}

impl From<anyhow::Error> for Error {
    fn from(cause: anyhow::Error) -> Self {
        Self::Internal(cause)
    }
}

fn fields(violations: &[FieldViolation]) -> String {
    violations
        .iter()
        .map(|v| {
            if v.field.is_empty() {
                v.description.clone()
            } else {
                format!("{}: {}", v.field, v.description)
            }
        })
        .collect::<Vec<_>>()
        .join("; ")
}

fn preconditions(violations: &[(String, String, String)]) -> String {
    violations
        .iter()
        .map(|(_, subject, text)| format!("{subject}: {text}"))
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests;
