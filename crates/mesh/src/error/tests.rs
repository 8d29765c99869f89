use super::*;
use tonic_types::pb;

fn round_trip(error: Error) -> (Status, ErrorDetails) {
    // Through the wire form, not only through memory: the bytes of grpc-status-details-bin are what callers get.
    let status: Status = error.into();
    let again = Status::with_details(status.code(), status.message(), status.details().to_vec().into());
    let details = again.get_error_details();
    (again, details)
}

#[test]
fn every_bad_field_travels_at_once() {
    let (status, details) = round_trip(Error::InvalidArgument(vec![
        FieldViolation::new("width", "must be 1 to 2000"),
        FieldViolation::new("depth", "must be 1 to 5"),
    ]));
    assert_eq!(status.code(), Code::InvalidArgument);
    let bad = details.bad_request().unwrap();
    assert_eq!(bad.field_violations.len(), 2);
    assert_eq!(bad.field_violations[1].field, "depth");
    assert!(status.message().contains("width: must be 1 to 2000; depth"));
}

#[test]
fn every_error_has_code_reason_and_domain() {
    let all = vec![
        (Error::invalid("a", "b"), Code::InvalidArgument),
        (Error::not_found("cancellation", "c1"), Code::NotFound),
        (
            Error::AlreadyExists {
                kind: "snowball",
                name: "s1".into(),
            },
            Code::AlreadyExists,
        ),
        (
            Error::precondition(Reason::MaxAffectedExceeded, "max_affected", "12 > 10"),
            Code::FailedPrecondition,
        ),
        (
            Error::ResourceExhausted {
                reason: Reason::Overloaded,
                message: "calls".into(),
                retry_after: Some(Duration::from_secs(3)),
            },
            Code::ResourceExhausted,
        ),
        (
            Error::Unauthenticated {
                reason: Reason::CredentialsMissing,
                message: "x".into(),
            },
            Code::Unauthenticated,
        ),
        (
            Error::PermissionDenied {
                reason: Reason::RoleInsufficient,
                message: "x".into(),
            },
            Code::PermissionDenied,
        ),
        (
            Error::unavailable(Reason::TemporalUnreachable, "gone"),
            Code::Unavailable,
        ),
        (Error::DeadlineExceeded { message: "x".into() }, Code::DeadlineExceeded),
        (
            Error::Aborted {
                reason: Reason::Conflict,
                message: "x".into(),
            },
            Code::Aborted,
        ),
        (Error::Cancelled { message: "x".into() }, Code::Cancelled),
        (Error::Internal(anyhow::anyhow!("secret")), Code::Internal),
    ];
    for (error, code) in all {
        let reason = error.reason();
        let (status, details) = round_trip(error);
        assert_eq!(status.code(), code);
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.as_str(), DOMAIN));
    }
}

#[test]
fn details_fit_the_error() {
    let (_, details) = round_trip(Error::not_found("cancellation", "c1"));
    let info = details.resource_info().unwrap();
    assert_eq!(
        (info.resource_type.as_str(), info.resource_name.as_str()),
        ("cancellation", "c1")
    );

    let (_, details) = round_trip(Error::ResourceExhausted {
        reason: Reason::TemporalRateLimited,
        message: "rps".into(),
        retry_after: Some(Duration::from_secs(7)),
    });
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(7)));
    assert_eq!(details.quota_failure().unwrap().violations[0].description, "rps");

    let (_, details) = round_trip(Error::precondition(Reason::QuiesceRefused, "work", "no"));
    assert_eq!(details.precondition_failure().unwrap().violations[0].subject, "work");
}

#[test]
fn an_internal_cause_never_leaves() {
    let (status, _) = round_trip(Error::Internal(anyhow::anyhow!("password=hunter2 at 10.0.0.1")));
    assert!(!status.message().contains("hunter2") && !status.message().contains("10.0.0.1"));
    assert!(!String::from_utf8_lossy(status.details()).contains("hunter2"));
}

#[test]
fn reasons_are_unique_and_documented() {
    let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
    assert!(Reason::ALL.iter().all(|r| r.doc().len() > 20));
}

#[test]
fn a_peers_reason_survives_the_hop() {
    let status: Status = Error::precondition(Reason::QuiesceRefused, "gate", "closed for good").into();
    let Error::FailedPrecondition { reason, violations } = Error::from_peer("work", &status) else {
        panic!("wrong variant")
    };
    assert_eq!((reason, violations[0].1.as_str()), (Reason::QuiesceRefused, "gate"));

    let gone = Error::from_peer("work", &Status::unavailable("tcp connect error 127.0.0.1:1"));
    assert_eq!(gone.reason(), Reason::PeerUnavailable);
    assert!(!gone.to_string().contains("127.0.0.1"));
}

#[test]
fn a_missing_namespace_is_not_a_missing_workflow() {
    use prost::Message as _;
    let rich = pb::Status {
        code: Code::NotFound as i32,
        message: "Namespace x is not found.".into(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/temporal.api.errordetails.v1.NamespaceNotFoundFailure".into(),
            value: vec![],
        }],
    };
    let status = Status::with_details(Code::NotFound, "Namespace x is not found.", rich.encode_to_vec().into());
    assert_eq!(from_temporal(status).reason(), Reason::NamespaceNotFound);
    assert_eq!(
        from_temporal(Status::not_found("workflow"))
            .named("snowball", "s")
            .to_string(),
        "snowball \"s\" not found"
    );
}

#[test]
fn every_reason_has_a_page_and_every_page_a_reason() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    let mut pages: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let mut reasons: Vec<String> = Reason::ALL.iter().map(|reason| format!("{reason}.md")).collect();
    reasons.sort();
    assert_eq!(pages, reasons);
    for page in pages {
        let text = std::fs::read_to_string(folder.join(&page)).unwrap();
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let title = format!("# {}", page.trim_end_matches(".md"));
        assert_eq!(
            headings,
            [title.as_str(), "## What happened", "## Why", "## What to do"]
        );
        let empty = text
            .split("## ")
            .any(|section| section.lines().all(|line| line.is_empty()));
        assert!(
            !empty && text.lines().filter(|line| !line.is_empty()).count() >= 7,
            "{page}"
        );
    }
}

#[test]
fn an_error_links_to_its_page() {
    let (_, details) = round_trip(Error::not_found("cancellation", "c1"));
    let links = &details.help().unwrap().links;
    assert_eq!(links.len(), 1);
    assert_eq!(links[0].url, "https://quell.dev/errors/NOT_FOUND");
}
