//! Each service alone, with Temporal down: it starts, says NOT_SERVING and why, answers UNAVAILABLE, and comes up by itself
//! when Temporal does.

use crate::{
    cancel::{Canceler, Snowballs},
    details,
    harness::{Shared, channel, mesh},
    poll::{LONG, SOON, eventually, when},
};
use quell_api::{
    batch::v1::{ListBatchOperationsRequest, batch_operation_service_client::BatchOperationServiceClient},
    canceler::v1::ListCancellationsRequest,
    work::v1::ListSnowballsRequest,
};
use quell_cli::dev::{DevMesh, Part};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// One harmless rpc of a service that needs Temporal.
async fn ask(part: Part, address: &str) -> Result<(), Status> {
    let channel = channel(address);
    match part {
        Part::Work => Snowballs::new(channel)
            .list_snowballs(ListSnowballsRequest::default())
            .await
            .map(drop),
        Part::Canceler => Canceler::new(channel)
            .list_cancellations(ListCancellationsRequest::default())
            .await
            .map(drop),
        Part::Batch => {
            let mut client = BatchOperationServiceClient::new(channel);
            client
                .list_batch_operations(ListBatchOperationsRequest::default())
                .await
                .map(drop)
        }
        Part::Temporal | Part::Jaeger => unreachable!("no service of ours"),
    }
}

fn name_of(part: Part) -> &'static str {
    match part {
        Part::Work => "quell.work.v1.SnowballService",
        Part::Canceler => "quell.canceler.v1.CancellationService",
        Part::Batch => "quell.batch.v1.BatchOperationService",
        Part::Temporal | Part::Jaeger => unreachable!("no service of ours"),
    }
}

async fn health(address: &str, service: &str) -> Result<ServingStatus, String> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel(address)).check(request).await;
    Ok(answer.map_err(|status| status.to_string())?.into_inner().status())
}

async fn becomes(part: Part, address: &str, wanted: ServingStatus) {
    eventually(LONG, &format!("{part} is {wanted:?}"), async || {
        for service in ["", name_of(part)] {
            let status = health(address, service).await?;
            when(status == wanted, || format!("{service:?} is {status:?}"))?;
        }
        Ok(())
    })
    .await;
}

async fn unavailable(part: Part, address: &str) {
    let status = ask(part, address).await.expect_err("there is no Temporal");
    assert_eq!(
        details::reason(part.name(), &status, Code::Unavailable),
        "TEMPORAL_UNREACHABLE"
    );
    let retry = details::refused(part.name(), &status, Code::Unavailable)
        .retry_info()
        .and_then(|info| info.retry_delay);
    assert!(retry.is_some(), "{status:?}");
    assert!(
        !status.message().contains("127.0.0.1"),
        "an address leaks: {}",
        status.message()
    );
}

#[tokio::test]
async fn services_start_without_temporal_and_come_up_with_it() {
    let shared = mesh().await;
    let shared: &Shared = &shared;
    let dev = DevMesh::builder()
        .binaries(shared.binaries())
        .folder(shared.folder("alone"))
        .env("QUELL_CONNECT_WAIT_SECONDS", "1")
        .hold(Part::Temporal)
        .start()
        .await
        .expect("services start without Temporal");
    for part in Part::SERVICES {
        let address = dev.address(part);
        becomes(part, &address, ServingStatus::NotServing).await;
        unavailable(part, &address).await;
        let log = dev.process(part).expect("it runs").log_tail(200);
        assert!(
            log.to_lowercase().contains("temporal"),
            "{part} does not say why:\n{log}"
        );
    }

    dev.start(Part::Temporal).await.expect("Temporal starts on its port");
    for part in Part::SERVICES {
        let address = dev.address(part);
        becomes(part, &address, ServingStatus::Serving).await;
        eventually(SOON, &format!("{part} answers"), async || {
            ask(part, &address).await.map_err(|status| status.to_string())
        })
        .await;
    }

    // And down again: a connection that is lost is noticed, and found again.
    let temporal = dev.process(Part::Temporal).expect("it is part of the mesh");
    temporal.kill().await.expect("it can be killed");
    for part in Part::SERVICES {
        becomes(part, &dev.address(part), ServingStatus::NotServing).await;
    }
    dev.start(Part::Temporal).await.expect("Temporal starts again");
    for part in Part::SERVICES {
        becomes(part, &dev.address(part), ServingStatus::Serving).await;
    }
    assert_eq!(dev.stop().await, Vec::<String>::new(), "all end when they are asked to");
}
