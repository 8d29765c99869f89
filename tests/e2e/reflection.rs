//! The services as a person with nothing but `grpcurl` sees them: the whole documented contract, by reflection.

use crate::{
    cancel::is_hex,
    contract,
    harness::{Mesh, mesh, unique},
    outside::json,
    poll::{LONG, SOON, eventually, when},
};
use quell_cli::dev::Part;
use std::collections::BTreeSet;

/// Each service with the packages that it serves.
const SERVED: [(Part, &str); 3] = [
    (Part::Work, "quell.work.v1"),
    (Part::Canceler, "quell.canceler.v1"),
    (Part::Batch, "quell.batch.v1"),
];

#[tokio::test]
async fn list_shows_every_service() {
    let mesh = mesh().await;
    let mut seen = BTreeSet::new();
    for (part, package) in SERVED {
        let listed = mesh.grpcurl(part, &[], &["list"]).await.ok();
        let listed: BTreeSet<_> = listed.lines().map(str::to_owned).collect();
        for infrastructure in [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ] {
            assert!(
                listed.contains(infrastructure),
                "{part} does not show {infrastructure}: {listed:?}"
            );
        }
        let ours: BTreeSet<_> = listed.into_iter().filter(|name| name.starts_with("quell.")).collect();
        assert!(
            // The canceler reads the audit for all.
            ours.iter()
                .all(|name| name.starts_with(package) || (part == Part::Canceler && name.starts_with("quell.audit.v1"))),
            "{part} shows what it does not serve: {ours:?}"
        );
        seen.extend(ours);
    }
    assert_eq!(seen, contract::services().into_keys().collect());
}

#[tokio::test]
async fn describe_shows_every_method_message_and_comment() {
    let mesh = mesh().await;
    for (part, package) in SERVED {
        for (service, methods) in contract::services()
            .into_iter()
            .filter(|(name, _)| name.starts_with(package))
        {
            let described = mesh.grpcurl(part, &[], &["describe", &service]).await.ok();
            for method in methods {
                assert!(
                    described.contains(&format!("rpc {method} (")),
                    "{method} is missing in:\n{described}"
                );
                let line = described
                    .lines()
                    .position(|line| line.trim_start().starts_with(&format!("rpc {method} (")));
                let before = line
                    .and_then(|line| described.lines().nth(line.checked_sub(1)?))
                    .unwrap_or_default();
                assert!(
                    before.trim_start().starts_with("//"),
                    "{method} has no comment in:\n{described}"
                );
            }
        }
        // What the package itself says, and the types that it shares.
        for package in [package, "quell.type.v1"] {
            for (message, fields) in contract::messages(package) {
                // Not every service needs every shared type.
                let ran = mesh.grpcurl(part, &[], &["describe", &message]).await;
                let described = ran.ok();
                for field in fields {
                    let shown = described.lines().any(|line| line.contains(&format!(" {field} = ")));
                    assert!(shown, "{message}.{field} is missing in:\n{described}");
                }
            }
            for (name, values) in contract::enums(package) {
                let described = mesh.grpcurl(part, &[], &["describe", &name]).await.ok();
                for value in values {
                    assert!(
                        described.contains(&format!("{value} = ")),
                        "{value} is missing in:\n{described}"
                    );
                }
            }
        }
    }
}

async fn call(mesh: &Mesh, part: Part, rpc: &str, request: &serde_json::Value) -> serde_json::Value {
    json(&mesh.grpcurl(part, &["-d", &request.to_string()], &[rpc]).await.ok())
}

/// The main job by hand: what README shows.
#[tokio::test]
async fn the_main_rpcs_work_by_grpcurl() {
    let mesh = mesh().await;
    let id = unique("by-hand");
    let shape = serde_json::json!({"spec": {"workloadId": id, "width": 8, "depth": 2, "lifetime": "600s"}});
    let started = call(&mesh, Part::Work, "quell.work.v1.SnowballService/StartSnowball", &shape).await;
    assert_eq!(started["plannedWorkflows"], "72", "{started}");
    let name = serde_json::json!({"snowballId": started["snowballId"]});
    eventually(SOON, "it has grown", async || {
        let snowball = call(&mesh, Part::Work, "quell.work.v1.SnowballService/GetSnowball", &name).await;
        when(snowball["snowball"]["open"] == "73", || snowball.to_string())
    })
    .await;

    const CANCELER: &str = "quell.canceler.v1.CancellationService";
    let target = serde_json::json!({"target": {"workloadId": id}, "sampleSize": 3});
    let preview = call(
        &mesh,
        Part::Canceler,
        &format!("{CANCELER}/PreviewCancellation"),
        &target,
    )
    .await;
    assert_eq!(preview["open"], "73", "{preview}");
    assert_eq!(preview["sample"].as_array().map(Vec::len), Some(3), "{preview}");

    let spec = serde_json::json!({"spec": {"target": {"workloadId": id}, "reason": "by hand", "confirmPoll": "0.5s"}});
    let cancellation = call(&mesh, Part::Canceler, &format!("{CANCELER}/StartCancellation"), &spec).await;
    assert_eq!(cancellation["matched"], "73", "{cancellation}");
    let name = serde_json::json!({"cancellationId": cancellation["cancellationId"]});
    // grpcurl prints the messages of a stream one after the other, and ends with it.
    let watched = mesh
        .grpcurl(
            Part::Canceler,
            &["-d", &name.to_string()],
            &[&format!("{CANCELER}/WatchCancellation")],
        )
        .await
        .ok();
    assert!(
        watched.contains("\"PHASE_DONE\"") && watched.contains("\"VERDICT_CLEAN\""),
        "{watched}"
    );
    let receipt = eventually(LONG, "there is a receipt", async || {
        let ran = mesh
            .grpcurl(
                Part::Canceler,
                &["-d", &name.to_string()],
                &[&format!("{CANCELER}/GetReceipt")],
            )
            .await;
        if ran.code == 0 {
            Ok(json(&ran.out))
        } else {
            Err(ran.err)
        }
    })
    .await;
    assert_eq!(receipt["receipt"]["verdict"], "VERDICT_CLEAN", "{receipt}");
    assert!(
        receipt["receipt"]["traceId"].as_str().is_some_and(|id| is_hex(id, 32)),
        "{receipt}"
    );
    assert_eq!(mesh.running(&id).await, 0);
}

/// An error is as readable by hand: grpcurl decodes the details, since every type of theirs is well known.
#[tokio::test]
async fn errors_by_grpcurl_name_the_bad_fields() {
    let mesh = mesh().await;
    let request = serde_json::json!({"spec": {"target": {"query": "CloseTime IS NULL"}, "looks": 99}}).to_string();
    let ran = mesh
        .grpcurl(
            Part::Canceler,
            &["-d", &request],
            &["quell.canceler.v1.CancellationService/StartCancellation"],
        )
        .await;
    assert_ne!(ran.code, 0, "{}", ran.out);
    assert!(ran.err.contains("InvalidArgument"), "{}", ran.err);
    for field in ["spec.target.query", "spec.reason", "spec.looks"] {
        assert!(ran.err.contains(field), "{field} is missing in: {}", ran.err);
    }
}
