//! What belongs, and what the audit has of all of it.

use super::scene::{Scene, bearing, small};
use crate::{
    harness::unique,
    poll::{SOON, eventually, when},
};
use quell_api::audit::v1::{AuditEvent, ListAuditEventsRequest, audit_service_client::AuditServiceClient};
use tonic::transport::Channel;

/// What belongs works from the command line, and from service to service; and the audit has all of it.
pub(super) async fn belonging(scene: &Scene, refused_id: &str) {
    let client = scene.authority.issue("operator", &["operator.quell"]);
    let work = scene.channel(&scene.work, None);
    let workload = unique("locked-job");
    small(&work, scene.token("operator"), &workload).await;
    let stop = [
        "stop",
        "--workload-id",
        &workload,
        "--reason",
        "it is in the way",
        "--json",
    ];
    let refusal = scene.quell(&client, "viewer", &stop).await;
    assert_eq!(refusal.code, 1, "{}{}", refusal.out, refusal.err);
    assert!(refusal.err.contains("ROLE_INSUFFICIENT"), "{}", refusal.err);
    scene.quell(&client, "operator", &stop).await.ok();

    let canceler = scene.channel(&scene.canceler, Some(&client));
    let expected: [(&str, &str, &str, &str); 12] = [
        (
            "operator",
            "quell.canceler.v1.CancellationService/StartCancellation",
            "Ok",
            "",
        ),
        ("canceler", "quell.work.v1.SourceService/Quiesce", "Ok", ""),
        (
            "viewer",
            "quell.canceler.v1.CancellationService/StartCancellation",
            "PermissionDenied",
            "ROLE_INSUFFICIENT",
        ),
        (
            "viewer",
            "quell.work.v1.SnowballService/StartSnowball",
            "PermissionDenied",
            "ROLE_INSUFFICIENT",
        ),
        (
            "elsewhere",
            "quell.work.v1.SnowballService/StartSnowball",
            "PermissionDenied",
            "NAMESPACE_NOT_ALLOWED",
        ),
        (
            "",
            "quell.work.v1.SnowballService/StartSnowball",
            "Unauthenticated",
            "CREDENTIALS_MISSING",
        ),
        (
            "",
            "quell.work.v1.SnowballService/ListSnowballs",
            "Unauthenticated",
            "CREDENTIALS_EXPIRED",
        ),
        (
            "",
            "quell.canceler.v1.CancellationService/ListCancellations",
            "Unauthenticated",
            "CREDENTIALS_MISSING",
        ),
        ("", "TLS handshake", "Unauthenticated", "CREDENTIALS_INVALID"),
        ("", "TLS handshake", "Unauthenticated", "CREDENTIALS_EXPIRED"),
        (
            "operator",
            "quell.work.v1.SnowballService/StartSnowball",
            "ResourceExhausted",
            "MESSAGE_TOO_LARGE",
        ),
        (
            "hasty",
            "quell.work.v1.SnowballService/ListSnowballs",
            "ResourceExhausted",
            "RATE_LIMITED",
        ),
    ];
    let events = eventually(SOON, "the audit has all of it", async || {
        let events = audit(&canceler, scene.token("viewer")).await?;
        for (who, rpc, outcome, refusal) in &expected {
            let name = if who.is_empty() { String::new() } else { scene.name(who) };
            let found = events.iter().any(|event| {
                (event.principal == name || (who.is_empty() && event.principal.is_empty()))
                    && (event.rpc.as_str(), event.outcome.as_str(), event.refusal.as_str())
                        == (*rpc, *outcome, *refusal)
            });
            when(found, || {
                format!("no {who} {rpc} {outcome} {refusal} in {} events", events.len())
            })?;
        }
        Ok(events)
    })
    .await;
    let of = |rpc: &str, outcome: &str, who: &str| {
        let name = scene.name(who);
        let mut found = events
            .iter()
            .filter(|event| event.rpc.ends_with(rpc) && event.outcome == outcome && event.principal == name);
        found.next().cloned().unwrap()
    };
    let started = of("/StartCancellation", "Ok", "operator");
    assert_eq!(
        (started.reason.as_str(), started.role.as_str(), started.proof.as_str()),
        ("it is in the way", "operator", "token")
    );
    assert_eq!(started.what["workload_id"], workload);
    assert!(started.what.contains_key("cancellation_id"), "{:?}", started.what);
    assert!(
        crate::cancel::is_hex(&started.trace_id, 32) && started.address.starts_with("127.0.0.1:"),
        "{started:?}"
    );
    // The fuzzer's attempts are there, too.
    let refused = events.iter().any(|event| {
        let facts = (
            event.outcome.as_str(),
            event.principal.as_str(),
            event.request_id.as_str(),
        );
        event.rpc.ends_with("/StartSnowball") && facts == ("PermissionDenied", &scene.name("viewer"), refused_id)
    });
    assert!(refused, "{refused_id}");
    // The trace that it names is in Jaeger: these services send by HTTP.
    let trace = format!("/api/traces/{}", started.trace_id);
    eventually(SOON, "Jaeger has the trace", async || {
        let answer = scene.mesh.jaeger(&trace).await?;
        let found = answer["data"].as_array().is_some_and(|traces| !traces.is_empty());
        when(found, || answer.to_string())
    })
    .await;
    // Who asked for it stands on the cancellation itself, too.
    let receipt = scene
        .quell(
            &client,
            "viewer",
            &["receipt", &started.what["cancellation_id"], "--json"],
        )
        .await
        .ok();
    assert!(receipt.contains(&scene.name("operator")), "{receipt}");
    // No token is anywhere.
    for entry in &scene.entries {
        for own in [&scene.work, &scene.canceler] {
            let log = std::fs::read_to_string(own.process.log_path()).unwrap();
            assert!(
                !log.contains(&entry.token),
                "a token is in the log of {}",
                own.process.name()
            );
        }
        assert!(!format!("{events:?}").contains(&entry.token), "a token is in the audit");
    }
}

async fn audit(canceler: &Channel, token: &str) -> Result<Vec<AuditEvent>, String> {
    let mut events = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAuditEventsRequest {
            page_size: 500,
            page_token,
            ..ListAuditEventsRequest::default()
        };
        let page = AuditServiceClient::new(canceler.clone())
            .list_audit_events(bearing(request, Some(token)))
            .await
            .map_err(|status| status.to_string())?
            .into_inner();
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(events);
        }
    }
}
