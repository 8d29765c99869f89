//! `quell.audit.v1.AuditService`.

use jiff::{Timestamp, ToSpan as _};
use quell_api::audit::v1 as pb;
use quell_api::validate::Checker;
use quell_mesh::audit::{self, Event, Wanted};
use quell_mesh::{Error, Mesh, PayloadStore};
use tonic::{Request, Response, Status};

use crate::cancellation::page_token;

/// Longest span of one question: a day of the store is one listing.
const MAX_DAYS: i64 = 366;
const MAX_PRINCIPAL: usize = 100;
/// Where the times of the wire begin: with the year 1.
const FIRST_SECOND: i64 = -62_135_596_800;

/// Answers from the store.
#[derive(Debug)]
pub struct AuditApi {
    payloads: PayloadStore,
}

impl AuditApi {
    /// The face of a service process.
    #[must_use]
    pub fn new(mesh: &Mesh) -> Self {
        Self {
            payloads: mesh.payloads.clone(),
        }
    }
}

fn wanted(request: &pb::ListAuditEventsRequest, now: Timestamp) -> Result<Wanted, Error> {
    let mut check = Checker::new();
    let size = check.page_size("page_size", request.page_size);
    let after = page_token::read(&request.page_token)
        .and_then(|token| String::from_utf8(token).ok())
        .unwrap_or_else(|| {
            check.reject("page_token", "is not one that this service gave");
            String::new()
        });
    let until = instant(&mut check, "until", request.until, now);
    let day_before = until.checked_sub(24.hours()).unwrap_or(Timestamp::MIN);
    let since = instant(&mut check, "since", request.since, day_before);
    if since > until {
        check.reject("since", "must not be after until");
    } else if until.duration_since(since).as_hours() > MAX_DAYS * 24 {
        check.reject("since", format!("must be at most {MAX_DAYS} days before until"));
    }
    if request.principal.chars().count() > MAX_PRINCIPAL {
        check.reject("principal", format!("must have at most {MAX_PRINCIPAL} characters"));
    } else if request.principal.chars().any(char::is_control) {
        check.reject("principal", "must not contain control characters");
    }
    let wanted = Wanted {
        since,
        until,
        principal: request.principal.clone(),
        refused_only: request.refused_only,
        size: usize::try_from(size).unwrap_or(1),
        after,
    };
    check.finish(wanted).map_err(Error::InvalidArgument)
}

fn instant(check: &mut Checker, field: &str, given: Option<prost_types::Timestamp>, default: Timestamp) -> Timestamp {
    match given {
        None => default,
        Some(given) => {
            // The nanoseconds of a Timestamp always count forward.
            let valid = (0..1_000_000_000).contains(&given.nanos) && given.seconds >= FIRST_SECOND;
            let time = Timestamp::new(given.seconds, given.nanos).ok();
            time.filter(|_| valid).unwrap_or_else(|| {
                check.reject(field, "is not a time");
                default
            })
        }
    }
}

fn to_proto(event: Event) -> pb::AuditEvent {
    pb::AuditEvent {
        id: event.id,
        time: Some(prost_types::Timestamp {
            seconds: event.at.as_second(),
            nanos: event.at.subsec_nanosecond(),
        }),
        service: event.service,
        rpc: event.rpc,
        outcome: event.outcome,
        refusal: event.refusal,
        principal: event.principal,
        role: event.role,
        proof: event.proof,
        address: event.address,
        request_id: event.request_id,
        reason: event.reason,
        validate_only: event.validate_only,
        what: event.what.into_iter().collect(),
        trace_id: event.trace_id,
        suppressed: event.suppressed,
    }
}

#[tonic::async_trait]
impl pb::audit_service_server::AuditService for AuditApi {
    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let wanted = wanted(request.get_ref(), Timestamp::now())?;
        let page = audit::list(&self.payloads, &wanted).await?;
        Ok(Response::new(pb::ListAuditEventsResponse {
            events: page.events.into_iter().map(to_proto).collect(),
            next_page_token: page_token::write(page.next.as_bytes()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_named_at_once() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let request = pb::ListAuditEventsRequest {
            page_size: -1,
            page_token: "zz".into(),
            since: time(0),
            until: Some(prost_types::Timestamp {
                seconds: 40_000_000,
                nanos: -1,
            }),
            principal: "x".repeat(101),
            refused_only: false,
        };
        let Err(Error::InvalidArgument(violations)) = wanted(&request, Timestamp::now()) else {
            panic!("it was taken")
        };
        let mut fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["page_size", "page_token", "principal", "since", "until"]);
        let day = wanted(&pb::ListAuditEventsRequest::default(), Timestamp::now()).unwrap();
        assert_eq!(day.until.duration_since(day.since).as_hours(), 24);
    }
}
