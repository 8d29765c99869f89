//! The batch service: Temporal's own server-side batch operations, used safely, for callers (gRPC) and for workflows of the
//! canceler namespace (activities on `batch-queue`).
//!
//! The worker polls `batch-queue` in the canceler namespace, where the workflows are that use it; every batch call goes to the
//! main namespace, where the targets are.

mod operation;

use operation::{activities::BatchActivities, api::Api, server::TemporalServer};
use quell_api::{
    FILE_DESCRIPTOR_SET, batch::v1::batch_operation_service_server::BatchOperationServiceServer,
    batch_activities::BATCH_QUEUE,
};
use quell_mesh::{GrpcServices, Home, Mesh, QueueTuning, Registry, Service, ServiceInfo};
use std::sync::Arc;

/// Name, version and default port.
pub const INFO: ServiceInfo = ServiceInfo {
    name: "batch",
    version: env!("CARGO_PKG_VERSION"),
    default_port: 50053,
};

/// Builds the service. Needs no connection yet.
///
/// # Errors
/// None today; the signature is the mesh's.
pub fn build(mesh: Mesh) -> Result<Service, anyhow::Error> {
    let Mesh { main, .. } = mesh;
    let server = Arc::new(TemporalServer::new(main));
    let grpc = GrpcServices::new(FILE_DESCRIPTOR_SET).add(BatchOperationServiceServer::new(Api::new(server.clone())));
    let registry = Registry::new()
        .queue(BATCH_QUEUE, Home::Canceler, QueueTuning::default())
        // Its activities call the main namespace.
        .uses(Home::Main)
        .activities(BATCH_QUEUE, BatchActivities::new(server));
    Ok(Service { grpc, registry })
}
