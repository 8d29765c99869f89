//! More connections than there are places.

use super::scene::{CONNECTIONS, Scene, list};
use crate::{
    harness::authority,
    poll::{SOON, eventually, when},
};
use tokio::net::TcpStream;
use tonic::transport::Channel;

/// More idle connections than there are places: whoever comes with a token gets in all the same, and they are sent away.
pub(super) async fn crowd(scene: &Scene, work: &Channel) {
    let port = authority(&scene.work.address);
    let mut idle = Vec::new();
    for _ in 0..5 * CONNECTIONS {
        idle.push(TcpStream::connect(&port).await.unwrap());
    }
    let operator = scene.token("operator");
    list(work, Some(operator)).await.unwrap();
    eventually(SOON, "a new connection comes through the crowd", async || {
        list(&scene.channel(&scene.work, None), Some(operator))
            .await
            .map_err(|status| status.to_string())
    })
    .await;
    // Those that had to go are gone; the others have until their time for a first call is over.
    let mut gone = 0;
    eventually(SOON, "idle connections make room", async || {
        for stream in std::mem::take(&mut idle) {
            match stream.try_read(&mut [0]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => idle.push(stream),
                // An end, or a reset.
                _ => gone += 1,
            }
        }
        when(gone >= 3 * CONNECTIONS, || format!("{gone} are gone"))
    })
    .await;
}
