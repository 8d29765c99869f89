//! A service that is asked to end: health says so first, streams are told, and it ends with exit code 0.

use crate::{
    cancel::{Canceler, Snowballs, snowball, spec, start, workload},
    details,
    harness::{Mesh, Own, mesh, unique},
    poll::{LONG, SOON},
};
use nix::sys::signal::Signal;
use quell_api::{
    canceler::v1::{CancellationSpec, WatchCancellationRequest},
    work::v1::{SnowballSpec, WatchSnowballRequest},
};
use quell_cli::dev::Part;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

/// A stream of a service's health, its first message (SERVING) read.
async fn watch_health(own: &Own, service: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut stream = HealthClient::new(own.channel())
        .watch(request)
        .await
        .expect("health can be watched")
        .into_inner();
    let first = stream.message().await.expect("a first status").expect("a first status");
    assert_eq!(first.status(), ServingStatus::Serving);
    stream
}

/// Ends a service by a signal and checks the order of what it tells. `end_of_stream` is how an open stream ended.
async fn drains(own: &Own, signal: Signal, service: &str, end_of_stream: impl Future<Output = Status>) {
    let mut health = watch_health(own, "").await;
    let mut health_of_service = watch_health(own, service).await;
    own.process.signal(signal).expect("it runs");

    // NOT_SERVING comes over the connection that is still open, so it comes before the port closes.
    for health in [&mut health, &mut health_of_service] {
        let told = timeout(SOON, health.message())
            .await
            .expect("health changes")
            .expect("health is told, not broken off");
        assert_eq!(told.expect("a last status").status(), ServingStatus::NotServing);
    }
    let end = timeout(LONG, end_of_stream).await.expect("the open stream ends");
    assert_eq!(
        details::reason("the end of an open stream", &end, Code::Unavailable),
        "SHUTTING_DOWN"
    );
    let status = timeout(LONG, own.process.wait())
        .await
        .expect("it ends")
        .expect("it ran");
    assert_eq!(status.code(), Some(0), "{status}\n{}", own.process.log_tail(40));
    assert!(!quell_cli::ports::in_use(port(own)), "its port is closed");
}

fn port(own: &Own) -> u16 {
    own.address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("an address ends with a port")
}

async fn draining_work(mesh: &Mesh, name: &str, signal: Signal) {
    let queue = unique("work-queue");
    let own = mesh
        .own(Part::Work, name, &[("TEMPORAL_MAIN_TASK_QUEUE", &queue)])
        .await;
    let mut client = Snowballs::new(own.channel());
    let spec = SnowballSpec {
        width: 5,
        depth: 1,
        workload_id: unique(name),
        ..Default::default()
    };
    let started = snowball(&mut client, spec).await;
    let watch = WatchSnowballRequest {
        snowball_id: started.snowball_id,
        interval: None,
    };
    let mut stream = client.watch_snowball(watch).await.unwrap().into_inner();
    stream.message().await.unwrap().expect("a first message");
    drains(&own, signal, "quell.work.v1.SnowballService", async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break Status::ok("ended without a word"),
                Err(status) => break status,
            }
        }
    })
    .await;
}

#[tokio::test]
async fn work_drains_on_sigterm() {
    draining_work(&mesh().await, "drained-term", Signal::SIGTERM).await;
}

#[tokio::test]
async fn work_drains_on_sigint() {
    draining_work(&mesh().await, "drained-int", Signal::SIGINT).await;
}

/// In the middle of a sweep, whose activity is in flight: it is handed back, and the next replica ends it.
#[tokio::test]
async fn the_canceler_drains_in_the_middle_of_a_sweep_and_another_ends_it() {
    let mesh = mesh().await;
    let id = unique("drained");
    let queue = unique("canceler-queue");
    let settings = [
        ("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str()),
        // Longer than the server keeps a poll: an idle one has to be answered first.
        ("QUELL_DRAIN_TIMEOUT_SECONDS", "8"),
    ];
    let own = mesh.own(Part::Canceler, "drained", &settings).await;
    let mut client = Canceler::new(own.channel());
    mesh.start_many("Sleeper", &id, 1_200).await;
    let started = start(
        &mut client,
        CancellationSpec {
            concurrency: 1,
            ..spec(workload(&id))
        },
    )
    .await;
    let watch = WatchCancellationRequest {
        cancellation_id: started.cancellation_id.clone(),
    };
    let mut stream = client.watch_cancellation(watch).await.unwrap().into_inner();
    loop {
        let look = stream
            .message()
            .await
            .unwrap()
            .expect("it goes on")
            .cancellation
            .expect("a message has it");
        if look.progress.is_some_and(|progress| progress.stopped > 0) {
            break;
        }
    }
    drains(&own, Signal::SIGTERM, "quell.canceler.v1.CancellationService", async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break Status::ok("ended without a word"),
                Err(status) => break status,
            }
        }
    })
    .await;
    assert!(mesh.running(&id).await > 0, "it was drained in the middle of its sweep");

    own.process.start().expect("it can be started again");
    own.ready().await;
    let receipt = crate::cancel::eventual_receipt(&mut client, &started.cancellation_id).await;
    crate::cancel::check_clean_receipt(&receipt);
    assert_eq!(mesh.running(&id).await, 0);
}
