//! More connections than there are places.

use super::scene::{AT_ONCE, CONNECTIONS, Scene, list};
use crate::{
    harness::authority,
    poll::{SOON, eventually, when},
};
use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::net::Ipv4Addr;
use tokio::net::TcpStream;
use tonic::{Streaming, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

/// Idle connections.
const IDLE: usize = 10_000;
/// Files that a test needs for other things.
const OTHER_FILES: usize = 1_000;

/// More connections than there are places, idle or asking for health only: whoever comes with a token gets in all the same, and they are
/// sent away.
pub(super) async fn crowd(scene: &Scene, work: &Channel) {
    idle(scene, work).await;
    watchers(scene, work).await;
}

/// Ten thousand, where so many files may be open.
async fn idle(scene: &Scene, work: &Channel) {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let possible = usize::try_from(most).unwrap().saturating_sub(OTHER_FILES).min(IDLE);
    eprintln!("locked: {possible} idle connections");
    let port = authority(&scene.work.address);
    let mut idle = Vec::new();
    while idle.len() < possible {
        let some = (possible - idle.len()).min(500);
        let opened = join_all((0..some).map(|_| TcpStream::connect(&port))).await;
        // One that is sent away before we look at it did connect.
        idle.extend(opened.into_iter().map(Result::ok));
    }
    let operator = scene.token("operator");
    list(work, Some(operator)).await.unwrap();
    eventually(SOON, "a new connection comes through the crowd", async || {
        list(&scene.channel(&scene.work, None), Some(operator))
            .await
            .map_err(|status| status.to_string())
    })
    .await;
    // Those that the service has met are gone, but for the ones that have a place or wait for one. Others seem open from here and are
    // known to nobody there: the kernel forgets a handshake's end when its queue is full, and says so only to who sends something.
    eventually(SOON, "idle connections make room", async || {
        idle.retain(|stream| {
            let read = stream.as_ref().map(|stream| stream.try_read(&mut [0]));
            matches!(read, Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        when(idle.len() <= possible / 2, || format!("{} are there", idle.len()))
    })
    .await;
}

/// Health is for everybody, but no reason to stay: more of its watchers than there are places, from many addresses.
async fn watchers(scene: &Scene, work: &Channel) {
    let addresses = 2 * CONNECTIONS / AT_ONCE;
    let connections = (0..addresses * AT_ONCE).map(|n| {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(n % addresses).unwrap() + 1);
        scene.endpoint(&scene.work, None).local_address(Some(from.into()))
    });
    let mut watching: Vec<Streaming<HealthCheckResponse>> = Vec::new();
    for endpoint in connections {
        // One that is sent away for the next one may not come to its question.
        let watched = HealthClient::new(endpoint.connect_lazy())
            .watch(HealthCheckRequest::default())
            .await;
        watching.extend(watched.map(tonic::Response::into_inner));
    }
    assert!(watching.len() > CONNECTIONS, "{} watch", watching.len());
    let operator = scene.token("operator");
    eventually(SOON, "a new connection comes through the watchers", async || {
        list(&scene.channel(&scene.work, None), Some(operator))
            .await
            .map_err(|status| status.to_string())
    })
    .await;
    list(work, Some(operator)).await.unwrap();
    let sent_away = watching.len() - CONNECTIONS;
    let ends: FuturesUnordered<_> = watching
        .iter_mut()
        .map(|watched| async { while let Ok(Some(_)) = watched.message().await {} })
        .collect();
    tokio::time::timeout(SOON, ends.take(sent_away).count())
        .await
        .expect("those that had to go are gone");
    // And an address may not ask for more at once than a principal may.
    let one = HealthClient::new(scene.channel(&scene.work, None));
    let asked = join_all((0..=AT_ONCE).map(|_| {
        let mut one = one.clone();
        async move { one.watch(HealthCheckRequest::default()).await }
    }));
    let asked = asked.await;
    let refused: Vec<_> = asked.iter().filter_map(|asked| asked.as_ref().err()).collect();
    assert!(
        !refused.is_empty()
            && refused
                .iter()
                .all(|status| status.code() == tonic::Code::ResourceExhausted),
        "{refused:?}"
    );
}
