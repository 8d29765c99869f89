//! A locked mesh: a work service that wants tokens over TLS, and a canceler that wants client certificates too. A table of attempts to
//! get in, each refused with the right code and none of them the end of the service; what is allowed works, from the command line and
//! from service to service; and all of it is in the audit.

mod audited;
mod crowds;
mod limits;
mod renewed;
pub(crate) mod scene;

use crate::{
    harness::{mesh, unique},
    outside,
};
use audited::belonging;
use crowds::crowd;
use limits::{fuzz, limits};
use quell_api::work::v1::StartSnowballRequest;
use quell_cli::dev::Part;
use renewed::{certificates, renewal, revocation};
use scene::{Scene, list, raw, refused, start};
use tokio::process::Command;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[tokio::test]
async fn nobody_gets_in_where_he_does_not_belong() {
    let scene = Scene::set_up().await;
    let work = scene.channel(&scene.work, None);
    let operator = scene.token("operator").to_owned();
    list(&work, Some(&operator)).await.unwrap();

    // Who he is.
    let anyone = Code::Unauthenticated;
    assert_eq!(
        refused("no token", list(&work, None).await, anyone),
        "CREDENTIALS_MISSING"
    );
    for (what, token) in [("unknown", "nobody's"), ("empty", ""), ("twice the scheme", "Bearer x")] {
        assert_eq!(
            refused(what, list(&work, Some(token)).await, anyone),
            "CREDENTIALS_INVALID"
        );
    }
    let expired = scene.token("expired");
    assert_eq!(
        refused("expired", list(&work, Some(expired)).await, anyone),
        "CREDENTIALS_EXPIRED"
    );
    // What he may do.
    let (viewer, elsewhere) = (scene.token("viewer"), scene.token("elsewhere"));
    list(&work, Some(viewer)).await.unwrap();
    let request_id = unique("refused");
    let request = StartSnowballRequest {
        request_id: request_id.clone(),
        ..StartSnowballRequest::default()
    };
    let outcome = start(&work, Some(viewer), request.clone()).await;
    assert_eq!(
        refused("a viewer starts", outcome, Code::PermissionDenied),
        "ROLE_INSUFFICIENT"
    );
    let outcome = start(&work, Some(elsewhere), request.clone()).await;
    assert_eq!(
        refused("another namespace", outcome, Code::PermissionDenied),
        "NAMESPACE_NOT_ALLOWED"
    );
    let outcome = start(&work, None, request).await;
    assert_eq!(refused("nobody starts", outcome, anyone), "CREDENTIALS_MISSING");
    // Health is for everybody, reflection is not, and the port does not speak in the clear.
    HealthClient::new(work.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    let reflection = raw(
        &work,
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Some("x"),
        vec![0; 5],
    )
    .await;
    assert_eq!(reflection.code(), anyone);
    assert!(
        Endpoint::from_shared(scene.work.address.clone())
            .unwrap()
            .connect()
            .await
            .is_ok(),
        "a port is a port"
    );
    let clear = crate::harness::channel(&scene.work.address);
    // It ends before gRPC begins: which code the client makes of that is its own affair.
    assert!(list(&clear, Some(&operator)).await.is_err(), "in the clear");

    certificates(&scene).await;
    limits(&scene, &work).await;
    fuzz(&scene, &work).await;
    crowd(&scene, &work).await;
    revocation(&scene, &work).await;
    renewal(&scene).await;
    belonging(&scene, &request_id).await;
    assert!(scene.work.process.exit_status().is_none() && scene.canceler.process.exit_status().is_none());
}

#[tokio::test]
async fn an_open_port_needs_authentication() {
    let mesh = mesh().await;
    let dir = mesh.folder("locked-open-port");
    for part in Part::SERVICES {
        let mut command = Command::new(mesh.program(part));
        let command = command
            .current_dir(&dir)
            .env("QUELL_HOST", "0.0.0.0")
            .env("QUELL_PORT", "0");
        let ran = outside::run(command).await;
        assert_eq!(ran.code, 64, "{part}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("server.insecure"), "{part}: {}", ran.err);
    }
}
