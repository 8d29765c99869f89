//! Certificates and tokens that are refused, taken back, or renewed.

use super::scene::{Scene, bearing, list, refused, small, snowballs, write_access};
use crate::{
    certificates::Authority,
    details,
    harness::unique,
    poll::{SOON, eventually, when},
};
use quell_api::{
    canceler::v1::{ListCancellationsRequest, cancellation_service_client::CancellationServiceClient},
    work::v1::WatchSnowballRequest,
};
use quell_cli::dev::Part;
use tonic::{
    Code,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

/// The canceler wants a certificate of the right authority, and a token besides.
pub(super) async fn certificates(scene: &Scene) {
    let good = scene.authority.issue("client", &["client.quell"]);
    let stranger = Authority::new(&scene.mesh.folder("locked-stranger"), "stranger").issue("client", &["client.quell"]);
    let operator = scene.token("operator");
    let ask = async |channel: Channel, token| {
        let request = bearing(ListCancellationsRequest::default(), token);
        CancellationServiceClient::new(channel)
            .list_cancellations(request)
            .await
            .map(drop)
    };
    ask(scene.channel(&scene.canceler, Some(&good)), Some(operator))
        .await
        .unwrap();
    // From this machine one gets as far as the gate without a certificate, for the sake of health.
    let bare = scene.channel(&scene.canceler, None);
    HealthClient::new(bare.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    let outcome = ask(bare, Some(operator)).await;
    let reason = refused("no certificate", outcome, Code::Unauthenticated);
    assert_eq!(reason, "CREDENTIALS_MISSING");
    let ended = scene.authority.issue_until("ended", &["client.quell"], 2020);
    for (what, certificate) in [("another authority's", &stranger), ("one that has ended", &ended)] {
        // It ends before gRPC begins, so there are no details.
        let status = ask(scene.channel(&scene.canceler, Some(certificate)), Some(operator))
            .await
            .unwrap_err();
        assert!(status.get_error_details().error_info().is_none(), "{what}: {status:?}");
    }
    let outcome = ask(scene.channel(&scene.canceler, Some(&good)), None).await;
    let reason = refused(
        "a certificate that is not in the access file",
        outcome,
        Code::Unauthenticated,
    );
    assert_eq!(reason, "CREDENTIALS_INVALID");

    // Revoked: the open connection ends, and there is no other.
    let leaver = scene.authority.issue("leaver", &["leaver.quell"]);
    let open = scene.endpoint(&scene.canceler, Some(&leaver)).connect().await.unwrap();
    ask(open.clone(), Some(operator)).await.unwrap();
    let mut watched = HealthClient::new(open)
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    watched.message().await.unwrap();
    scene.authority.revoke(&[&leaver]);
    let end = tokio::time::timeout(SOON, async { while let Ok(Some(_)) = watched.message().await {} });
    end.await.expect("the connection ends");
    let again = ask(scene.channel(&scene.canceler, Some(&leaver)), Some(operator)).await;
    let status = again.unwrap_err();
    assert!(status.get_error_details().error_info().is_none(), "{status:?}");
    ask(scene.channel(&scene.canceler, Some(&good)), Some(operator))
        .await
        .unwrap();
}

/// Whoever is taken out of the file is out, and so is his open stream.
pub(super) async fn revocation(scene: &Scene, work: &Channel) {
    let leaver = scene.token("leaver");
    let snowball_id = small(work, leaver, &unique("left")).await;
    let message = WatchSnowballRequest {
        snowball_id,
        ..WatchSnowballRequest::default()
    };
    let mut request = bearing(message, Some(leaver));
    request.metadata_mut().remove("grpc-timeout");
    let mut stream = snowballs(work).watch_snowball(request).await.unwrap().into_inner();
    stream.message().await.unwrap();
    write_access(&scene.access_file, &scene.entries, "leaver");
    eventually(SOON, "a revoked token is refused", async || {
        match list(work, Some(leaver)).await {
            Ok(()) => Err("it is still taken".to_owned()),
            Err(status) => when(status.code() == Code::Unauthenticated, || status.to_string()),
        }
    })
    .await;
    let end = tokio::time::timeout(SOON, async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    });
    let status = end.await.expect("the stream ends").expect_err("it ends with a status");
    let reason = details::reason("a stream of a revoked token", &status, Code::Unauthenticated);
    assert_eq!(reason, "CREDENTIALS_INVALID");
}

/// A renewed certificate that is broken changes nothing; another one, of another authority even, is used without a restart.
pub(super) async fn renewal(scene: &Scene) {
    let before = std::fs::read(&scene.authority.ca_file).unwrap();
    let kept = (
        std::fs::read(&scene.server.cert).unwrap(),
        std::fs::read(&scene.server.key).unwrap(),
    );
    std::fs::write(&scene.server.cert, "broken").unwrap();
    for own in [&scene.work, &scene.canceler] {
        eventually(SOON, "the log tells of the broken certificate", async || {
            let log = own.process.log_tail(200);
            when(log.contains("what was valid before holds on"), || log)
        })
        .await;
    }
    scene.healthy(&scene.work, Part::Work).await;
    scene.healthy(&scene.canceler, Part::Canceler).await;
    list(&scene.channel(&scene.work, None), Some(scene.token("operator")))
        .await
        .unwrap();
    let renewed = Authority::new(&scene.mesh.folder("locked-renewed"), "renewed");
    let new = renewed.issue("server", &["localhost"]);
    for (from, to) in [(&new.cert, &scene.server.cert), (&new.key, &scene.server.key)] {
        std::fs::copy(from, to).unwrap();
    }
    let with = |ca: Vec<u8>| {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        let address = scene.work.address.replace("http://127.0.0.1", "https://localhost");
        Endpoint::from_shared(address)
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect_lazy()
    };
    let ca = std::fs::read(&renewed.ca_file).unwrap();
    let operator = scene.token("operator");
    eventually(SOON, "new connections get the new certificate", async || {
        list(&with(ca.clone()), Some(operator))
            .await
            .map_err(|status| status.to_string())
    })
    .await;
    assert!(
        list(&with(before.clone()), Some(operator)).await.is_err(),
        "the old authority does not know it"
    );
    // And back, for what comes after.
    std::fs::write(&scene.server.cert, kept.0).unwrap();
    std::fs::write(&scene.server.key, kept.1).unwrap();
    eventually(SOON, "and the old one again", async || {
        list(&with(before.clone()), Some(operator))
            .await
            .map_err(|status| status.to_string())
    })
    .await;
    // Each service looks for itself.
    eventually(SOON, "at the canceler as well", async || {
        let health = HealthClient::new(scene.channel(&scene.canceler, None))
            .check(HealthCheckRequest::default())
            .await;
        health.map(drop).map_err(|status| status.to_string())
    })
    .await;
}
