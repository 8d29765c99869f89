//! Exit codes and failures of the command.
//!
//! | code | means |
//! | --- | --- |
//! | 0 | done; for a cancellation: CLEAN |
//! | 1 | it failed: a service cannot be reached, a request was refused, a check of `doctor` failed |
//! | 2 | RESIDUE: something is open that could not be stopped |
//! | 3 | BLOCKED: something went on starting executions until the deadline |
//! | 4 | ABORTED |
//! | 5 | `receipt verify`: something does not match |
//! | 64 | the command line, or a value in it, is wrong |

use crate::error::Error;
use quell_api::canceler::v1::Verdict;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Done.
pub const OK: u8 = 0;
/// Failed.
pub const FAILED: u8 = 1;
/// The verdict RESIDUE.
pub const RESIDUE: u8 = 2;
/// The verdict BLOCKED.
pub const BLOCKED: u8 = 3;
/// The verdict ABORTED.
pub const ABORTED: u8 = 4;
/// A receipt does not hold.
pub const MISMATCH: u8 = 5;
/// The command line is wrong.
pub const USAGE: u8 = 64;

/// The exit code of a cancellation.
#[must_use]
pub fn of_verdict(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Clean => OK,
        Verdict::Residue => RESIDUE,
        Verdict::Blocked => BLOCKED,
        Verdict::Aborted => ABORTED,
        Verdict::Unspecified => FAILED,
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A mesh could not be put together.
    #[error(transparent)]
    Mesh(#[from] Error),
    /// A service could not be reached.
    #[error(
        "the {service} service does not answer at {address}: {reason}\n`quell dev` starts a mesh; `quell doctor` tells what is wrong with one"
    )]
    Unreachable {
        /// Which service.
        service: &'static str,
        /// Where it was looked for.
        address: String,
        /// Why not.
        reason: String,
    },
    /// A service refused a request.
    #[error("{}", describe(.0))]
    Rpc(Box<Status>),
    /// The command line is wrong in a way that only showed later.
    #[error("{0}")]
    Usage(String),
    /// Anything else, in one sentence.
    #[error("{0}")]
    Other(String),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Rpc(Box::new(status))
    }
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Rpc(status) if status.code() == Code::InvalidArgument => USAGE,
            Self::Mesh(_) | Self::Unreachable { .. } | Self::Rpc(_) | Self::Other(_) => FAILED,
        }
    }

    /// The last line of `--json`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut error = json!({ "message": self.to_string() });
        if let Self::Rpc(status) = self {
            error["code"] = json!(format!("{:?}", status.code()));
            error["message"] = json!(status.message());
            let details = status.get_error_details();
            if let Some(info) = details.error_info() {
                error["reason"] = json!(info.reason);
            }
            let violations = violations(status);
            if !violations.is_empty() {
                error["violations"] = json!(violations);
            }
            if let Some(request) = details.request_info() {
                error["trace_id"] = json!(request.request_id);
            }
        }
        json!({ "error": error })
    }
}

/// A refused request for people: the message, and every violation on a line of its own.
fn describe(status: &Status) -> String {
    let reason = status
        .get_error_details()
        .error_info()
        .map_or_else(String::new, |info| format!(" [{}]", info.reason));
    let details = status.get_error_details();
    let mut text = format!("{:?}{reason}: {}", status.code(), status.message());
    for violation in violations(status) {
        text.push_str("\n  - ");
        text.push_str(&violation);
    }
    if let Some(request) = details.request_info() {
        text.push_str(&format!("\n  trace {}", request.request_id));
    }
    if let Some(link) = details.help().and_then(|help| help.links.first()) {
        text.push_str(&format!(
            "\n  see docs/errors/{}.md",
            link.url.rsplit('/').next().unwrap_or_default()
        ));
    }
    text
}

fn violations(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let fields = details
        .bad_request()
        .map(|bad| &bad.field_violations[..])
        .unwrap_or_default();
    let fields = fields
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description));
    let conditions = details
        .precondition_failure()
        .map(|failure| &failure.violations[..])
        .unwrap_or_default();
    let conditions = conditions
        .iter()
        .map(|violation| format!("{}: {}", violation.subject, violation.description));
    fields.chain(conditions).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn refused() -> Failure {
        let mut details = ErrorDetails::with_bad_request_violation("spec.reason", "is required");
        details.add_bad_request_violation("spec.target", "is empty");
        details.set_error_info("INVALID_FIELDS", "quell.dev", std::collections::HashMap::new());
        details.set_request_info("4bf92f3577b34da6a3ce929d0e0e4736", "");
        Failure::from(Status::with_error_details(
            Code::InvalidArgument,
            "2 fields are wrong",
            details,
        ))
    }

    #[test]
    fn every_wrong_field_is_shown() {
        let text = refused().to_string();
        assert!(text.contains("[INVALID_FIELDS]: 2 fields are wrong"), "{text}");
        assert!(
            text.contains("spec.reason: is required") && text.contains("spec.target: is empty"),
            "{text}"
        );
        assert!(text.contains("\n  trace 4bf92f3577b34da6a3ce929d0e0e4736"), "{text}");
    }

    #[test]
    fn programs_get_the_reason_and_the_fields() {
        let json = refused().json();
        assert_eq!(json["error"]["reason"], "INVALID_FIELDS");
        assert_eq!(json["error"]["violations"][1], "spec.target: is empty");
        assert_eq!(json["error"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn exit_codes() {
        assert_eq!(refused().code(), USAGE);
        assert_eq!(Failure::from(Status::unavailable("x")).code(), FAILED);
        let codes = [Verdict::Clean, Verdict::Residue, Verdict::Blocked, Verdict::Aborted].map(of_verdict);
        assert_eq!(codes, [0, 2, 3, 4]);
    }
}
