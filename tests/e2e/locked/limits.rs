//! Limits of messages and calls, and bytes that are no messages.

use super::scene::{AT_ONCE, Scene, bearing, list, raw, refused, small, snowballs, start};
use crate::{
    contract, details,
    harness::unique,
    poll::{SOON, eventually},
};
use futures::future::join_all;
use quell_api::work::v1::{StartSnowballRequest, WatchSnowballRequest};
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status, transport::Channel};

/// Messages, calls a second, calls at once.
pub(super) async fn limits(scene: &Scene, work: &Channel) {
    let operator = scene.token("operator");
    let large = StartSnowballRequest {
        request_id: "x".repeat(2 << 20),
        ..StartSnowballRequest::default()
    };
    let outcome = start(work, Some(operator), large).await;
    assert_eq!(refused("2 MiB", outcome, Code::ResourceExhausted), "MESSAGE_TOO_LARGE");

    let hasty = scene.token("hasty");
    let asked = join_all((0..20).map(|_| list(work, Some(hasty)))).await;
    let refusals: Vec<Status> = asked.into_iter().filter_map(Result::err).collect();
    assert!(!refusals.is_empty(), "20 calls at once at 1 a second");
    for status in &refusals {
        let details = details::refused("too many calls", status, Code::ResourceExhausted);
        assert_eq!(details.error_info().unwrap().reason, "RATE_LIMITED");
        assert!(details.retry_info().is_some());
    }

    // Streams that nobody reads take the places of their own principal only.
    let snowball_id = small(work, operator, &unique("unread")).await;
    let viewer = scene.token("viewer");
    let watch = || {
        let message = WatchSnowballRequest {
            snowball_id: snowball_id.clone(),
            ..WatchSnowballRequest::default()
        };
        let mut request = bearing(message, Some(viewer));
        request.metadata_mut().remove("grpc-timeout");
        request
    };
    let mut unread = Vec::new();
    let status = loop {
        assert!(unread.len() <= AT_ONCE, "{} streams of one principal", unread.len());
        match snowballs(work).watch_snowball(watch()).await {
            Ok(stream) => unread.push(stream),
            Err(status) => break status,
        }
    };
    assert_eq!(unread.len(), AT_ONCE);
    let reason = details::reason("one stream too many", &status, Code::ResourceExhausted);
    assert_eq!(reason, "RATE_LIMITED");
    list(work, Some(operator)).await.unwrap();
    drop(unread);
    eventually(SOON, "the places of the streams are free again", async || {
        list(work, Some(viewer)).await.map_err(|status| status.to_string())
    })
    .await;
}

/// Bytes that are no messages, for every rpc. Those that may happen to be one come from a viewer, so that they start nothing.
pub(super) async fn fuzz(scene: &Scene, work: &Channel) {
    let canceler = scene.channel(&scene.canceler, Some(&scene.authority.issue("fuzz", &["fuzz.quell"])));
    let (viewer, operator) = (scene.token("viewer"), scene.token("operator"));
    let mut codes = std::collections::BTreeMap::<String, u32>::new();
    let mut tried = 0;
    for rpc in contract::rpcs()
        .into_iter()
        .filter(|rpc| !rpc.starts_with("quell.batch"))
    {
        let channel = if rpc.starts_with("quell.work") { work } else { &canceler };
        for n in 0..8_u8 {
            let noise = Sha256::digest(format!("{rpc}{n}"));
            let length = usize::from(noise[31]) % 24;
            let message = &noise[..length];
            let announced = u32::try_from(length).unwrap().to_be_bytes();
            let (token, body) = match n % 4 {
                // Not even a prefix.
                0 => (operator, message[..length.min(4)].to_vec()),
                // The rest is missing.
                1 => (operator, [&[0][..], &[0, 0, 0, 99], message].concat()),
                // An enormous message is announced.
                2 => (operator, [&[0][..], &[0xff; 4], message].concat()),
                _ => (viewer, [&[0][..], &announced, message].concat()),
            };
            let status = raw(channel, &rpc, Some(token), body).await;
            let expected = [
                Code::InvalidArgument,
                Code::PermissionDenied,
                Code::NotFound,
                Code::ResourceExhausted,
                Code::Unimplemented,
                Code::Ok,
            ];
            assert!(expected.contains(&status.code()), "{rpc} {n}: {status:?}");
            *codes.entry(format!("{:?}", status.code())).or_default() += 1;
            tried += 1;
        }
    }
    assert!(tried > 200 && codes["InvalidArgument"] > tried / 3, "{codes:?}");
    eprintln!("fuzz: {codes:?}");
}
