//! Health, whose watches end with the process.
//!
//! The kit's own ends them when a name is taken out of it; but then a check between that moment and the end of its connection is told
//! NOT_FOUND, where NOT_SERVING is the answer. Here the names stay, and what watches them ends.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

/// The kit's health, and when its watches end.
pub(super) struct EndingHealth {
    inner: HealthService,
    stop: CancellationToken,
}

impl EndingHealth {
    pub(super) fn server(reporter: &HealthReporter, stop: CancellationToken) -> HealthServer<Self> {
        let inner = HealthService::from_health_reporter(reporter.clone());
        HealthServer::new(Self { inner, stop })
    }
}

#[async_trait::async_trait]
impl Health for EndingHealth {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.inner.check(request).await
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let changes = self.inner.watch(request).await?.into_inner();
        let stop = self.stop.clone().cancelled_owned();
        Ok(Response::new(changes.take_until(stop).boxed()))
    }
}
