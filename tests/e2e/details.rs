//! What callers can rely on in an error: a code and `google.rpc` details, read from the wire.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every `ErrorInfo` of ours.
const DOMAIN: &str = "quell.dev";

/// The details of a refusal with this code. Also checks what holds for every error: an `ErrorInfo` of our domain.
pub(crate) fn refused(what: &str, status: &Status, code: Code) -> ErrorDetails {
    assert_eq!(status.code(), code, "{what}: {status:?}");
    let details = status.get_error_details();
    let Some(info) = details.error_info() else {
        panic!("{what}: no ErrorInfo in {status:?}")
    };
    assert_eq!(info.domain, DOMAIN, "{what}");
    assert!(!info.reason.is_empty(), "{what}");
    let page = format!("https://quell.dev/errors/{}", info.reason);
    let links = details.help().map(|help| help.links.clone()).unwrap_or_default();
    assert_eq!(
        links.iter().map(|link| link.url.as_str()).collect::<Vec<_>>(),
        [page],
        "{what}"
    );
    let trace = details.request_info().map(|info| info.request_id.clone());
    // A stream that ends with an error later does so outside the call's span.
    assert!(
        trace.is_none_or(|id| crate::cancel::is_hex(&id, 32)),
        "{what}: a wrong trace id"
    );
    details
}

/// The stable reason of a refusal with this code.
pub(crate) fn reason(what: &str, status: &Status, code: Code) -> String {
    refused(what, status, code)
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

/// The fields that an INVALID_ARGUMENT names, sorted.
pub(crate) fn bad_fields(what: &str, status: &Status) -> Vec<String> {
    let details = refused(what, status, Code::InvalidArgument);
    let Some(bad) = details.bad_request() else {
        panic!("{what}: no BadRequest in {status:?}")
    };
    for violation in &bad.field_violations {
        assert!(
            !violation.description.is_empty(),
            "{what}: {} without a description",
            violation.field
        );
    }
    let mut fields: Vec<_> = bad
        .field_violations
        .iter()
        .map(|violation| violation.field.clone())
        .collect();
    fields.sort();
    fields
}

/// Checks a NOT_FOUND that names what was asked for, as the caller asked for it.
pub(crate) fn not_found(what: &str, status: &Status, name: &str) {
    let details = refused(what, status, Code::NotFound);
    let Some(info) = details.resource_info() else {
        panic!("{what}: no ResourceInfo in {status:?}")
    };
    assert_eq!(info.resource_name, name, "{what}");
    assert!(!info.resource_type.is_empty(), "{what}");
}

/// The subjects of a FAILED_PRECONDITION's violations.
pub(crate) fn unmet(what: &str, status: &Status) -> Vec<String> {
    let details = refused(what, status, Code::FailedPrecondition);
    let Some(failure) = details.precondition_failure() else {
        panic!("{what}: no PreconditionFailure in {status:?}")
    };
    assert!(!failure.violations.is_empty(), "{what}: {status:?}");
    failure
        .violations
        .iter()
        .map(|violation| violation.subject.clone())
        .collect()
}
