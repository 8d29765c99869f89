//! The work service: workloads that grow, so that stopping them can be tried, and workloads that do something.
//!
//! | module | concern |
//! | --- | --- |
//! | [`snowball`] | trees of workflows under one WorkloadId: rpcs, workflows, activities |
//! | [`probe`] | many small activities, to see whether any of them is lost |
//! | [`source`] | the gate of a workload: Quiesce and Resume, and what spawners ask before they spawn |
//! | [`batch_processing`] | the same work for each of the numbers 1 to n, as a tree of workflows |
//! | [`order`] | orders: a saga with its ledger |
//! | [`deadline`] | the caller's deadline |
//! | [`visibility`], [`page`] | bare Temporal calls (no spans), page tokens of lists |
//!
//! Snowballs and gates live on the service's own task queue of the main namespace, the others each on the one that is named in
//! them; the activities of probes have a queue of their own. State is in Temporal only: any replica answers any call.

pub mod batch_processing;
pub mod deadline;
pub mod order;
pub mod page;
pub mod probe;
pub mod snowball;
pub mod source;
pub mod visibility;

use quell_api::work::v1::{
    batch_processing_service_server::BatchProcessingServiceServer, order_service_server::OrderServiceServer,
    probe_service_server::ProbeServiceServer, snowball_service_server::SnowballServiceServer,
    source_service_server::SourceServiceServer,
};
use quell_mesh::{GrpcServices, Home, Mesh, QueueTuning, Registry, Service, ServiceInfo};

use batch_processing::{BatchProcessingActivities, BatchProcessingApi, BatchProcessingWorkflow};
use order::{Ledger, OrderActivities, OrderApi, OrderWorkflow};
use probe::{ProbeActivities, ProbeApi, ProbeRun, ProbeStarter, ProbeWorkflow};
use snowball::{CancelableWorkflow, ChildWorkflow, SnowballActivities, SnowballApi, SnowballClient};
use source::{Gate, Gates, SourceActivities, SourceApi};

/// What this service is.
pub const INFO: ServiceInfo = ServiceInfo {
    name: "work",
    version: env!("CARGO_PKG_VERSION"),
    default_port: 50051,
};

/// The service's rpcs and handlers. Needs no connection yet.
///
/// # Errors
/// None today; the signature is the one that `quell_mesh::run` expects.
pub fn build(mesh: Mesh) -> Result<Service, anyhow::Error> {
    quell_mesh::metrics::show(&["snowball"]);
    let queue = mesh.main.task_queue().to_owned();
    let probes = mesh.settings.probe_task_queue.clone();
    let gates = Gates::new(mesh.main.clone());
    let ledger = Ledger::new(mesh.settings.orders.ledger_url.clone());
    let grpc = GrpcServices::new(quell_api::FILE_DESCRIPTOR_SET)
        .add(SnowballServiceServer::new(SnowballApi::new(&mesh, gates.clone())))
        .add(SourceServiceServer::new(SourceApi::new(&mesh, gates.clone())))
        .add(ProbeServiceServer::new(ProbeApi::new(&mesh)))
        .add(BatchProcessingServiceServer::new(BatchProcessingApi::new(&mesh)))
        .add(OrderServiceServer::new(OrderApi::new(&mesh, ledger.clone())));
    let registry = Registry::new()
        .queue(queue.clone(), Home::Main, tuning())
        .workflow::<CancelableWorkflow>(&queue)
        .workflow::<ChildWorkflow>(&queue)
        .workflow::<Gate>(&queue)
        .activities(&queue, SnowballActivities)
        .activities(
            &queue,
            SnowballClient::new(mesh.main.clone(), gates.clone(), mesh.shutdown.clone()),
        )
        .activities(&queue, SourceActivities::new(gates))
        .workflow::<ProbeRun>(&queue)
        .workflow::<ProbeWorkflow>(&queue)
        .activities(&queue, ProbeStarter::new(mesh.main, mesh.shutdown))
        .queue(probes.clone(), Home::Main, QueueTuning::default())
        .activities(&probes, ProbeActivities)
        .queue(batch_processing::QUEUE, Home::Main, batch_processing_tuning())
        .workflow::<BatchProcessingWorkflow>(batch_processing::QUEUE)
        .activities(batch_processing::QUEUE, BatchProcessingActivities)
        .queue(order::QUEUE, Home::Main, QueueTuning::default())
        .workflow::<OrderWorkflow>(order::QUEUE)
        .activities(order::QUEUE, OrderActivities::new(ledger));
    Ok(Service { grpc, registry })
}

/// Made for many small workflows: leaves sleep in the cache until they are stopped, a spawner in line for its admission holds a
/// workflow task and a local activity, and five pollers alone would hold the growth to 50 workflows a second.
fn tuning() -> QueueTuning {
    QueueTuning {
        workflow_tasks: 300,
        workflow_pollers: 20,
        local_activities: 200,
        cached_workflows: 4_000,
        ..QueueTuning::default()
    }
}

/// The document's 100 activities and 50 workflow tasks at once. The whole tree of some thousand nodes stays in the cache.
fn batch_processing_tuning() -> QueueTuning {
    QueueTuning {
        activities: 100,
        workflow_tasks: 50,
        workflow_pollers: 10,
        activity_pollers: 10,
        cached_workflows: 4_000,
        ..QueueTuning::default()
    }
}
