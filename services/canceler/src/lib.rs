//! The canceler service: stops a runaway workload completely, and proves it.
//!
//! Its worker runs [`cancellation::BulkCancelWorkflow`], [`restoration::RestoreWorkflow`] and their activities on the canceler's task queue; its gRPC face is
//! `quell.canceler.v1.CancellationService`. What is decided is decided by the machines of `quell-sweep`; this crate makes the
//! calls they ask for.

pub mod audit;
pub mod cancellation;
pub mod restoration;

use quell_api::{
    FILE_DESCRIPTOR_SET, audit::v1::audit_service_server::AuditServiceServer,
    canceler::v1::cancellation_service_server::CancellationServiceServer,
};
use quell_mesh::{GrpcServices, Home, Mesh, QueueTuning, Registry, Service, ServiceInfo};

use audit::AuditApi;
use cancellation::{BulkCancelWorkflow, CancelActivities, CancellationApi, JointCancelWorkflow, Namespaces};
use restoration::{RestoreActivities, RestoreWorkflow};

/// What this service is.
pub const INFO: ServiceInfo = ServiceInfo {
    name: "canceler",
    version: env!("CARGO_PKG_VERSION"),
    default_port: 50052,
};

/// Puts the service together. Nothing is connected yet.
///
/// # Errors
/// None now; the signature is that of every service.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the mesh calls")]
pub fn build(mesh: Mesh) -> Result<Service, anyhow::Error> {
    quell_mesh::metrics::show(&["sweep"]);
    let namespaces = Namespaces::new(&mesh);
    let queue = mesh.canceler.task_queue().to_owned();
    let registry = Registry::new()
        .queue(&queue, Home::Canceler, QueueTuning::default())
        .workflow::<BulkCancelWorkflow>(&queue)
        .workflow::<JointCancelWorkflow>(&queue)
        .activities(&queue, CancelActivities::new(&mesh, namespaces.clone()))
        .workflow::<RestoreWorkflow>(&queue)
        .activities(&queue, RestoreActivities::new(&mesh, namespaces.clone()))
        .uses(Home::Main);
    let grpc = GrpcServices::new(FILE_DESCRIPTOR_SET)
        .add(CancellationServiceServer::new(CancellationApi::new(&mesh, namespaces)))
        .add(AuditServiceServer::new(AuditApi::new(&mesh)));
    Ok(Service { grpc, registry })
}
