//! The batch service: Temporal's own server-side batch operations, used safely, for callers (gRPC) and for workflows of the
//! canceler namespace (activities on `batch-queue`).
//!
//! Operations wait for the namespace's one slot in a queue that lives in Temporal, as the operations themselves do.
//!
//! The worker polls `batch-queue` in the canceler namespace, where the workflows are that use it; every batch call goes to the
//! main namespace, where the targets are.

mod operation;

use operation::{
    activities::BatchActivities,
    api::Api,
    own_activities::OperationActivities,
    server::TemporalServer,
    store::TemporalRecords,
    workflows::{BatchOperationWorkflow, BatchQueueWorkflow},
};
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
    let Mesh {
        settings,
        main,
        canceler,
        shutdown,
        ..
    } = mesh;
    quell_mesh::metrics::show(&["batch"]);
    let namespace = main.namespace().to_owned();
    let server = Arc::new(TemporalServer::new(main, settings.cancel.protected.clone()));
    let records = Arc::new(TemporalRecords::new(canceler));
    let api = Api::new(server.clone(), records.clone(), &namespace, shutdown);
    let grpc = GrpcServices::new(FILE_DESCRIPTOR_SET).add(BatchOperationServiceServer::new(api));
    let registry = Registry::new()
        .queue(BATCH_QUEUE, Home::Canceler, tuning())
        // Its activities call the main namespace.
        .uses(Home::Main)
        .workflow::<BatchOperationWorkflow>(BATCH_QUEUE)
        .workflow::<BatchQueueWorkflow>(BATCH_QUEUE)
        .activities(BATCH_QUEUE, OperationActivities::new(server.clone(), records.clone()))
        .activities(BATCH_QUEUE, BatchActivities::new(server, records, &namespace));
    Ok(Service { grpc, registry })
}

/// Whoever waits for the slot does so in an activity, and each of those must leave room for the one that has the turn.
fn tuning() -> QueueTuning {
    QueueTuning {
        activities: 4_000,
        ..QueueTuning::default()
    }
}
