//! What every Quell service stands on, one module a concern.
//!
//! A service says what it *is* (a [`ServiceInfo`], its gRPC services, its Temporal handlers) and [`run`] does the rest:
//! flags, configuration, telemetry, connections, serving, working, and a clean end. Its `main` is a few lines.
//!
//! | module | concern |
//! | --- | --- |
//! | [`config`] | one table of settings; defaults < file < `.env` < environment < flags |
//! | [`telemetry`] | logs and traces, one trace through all services |
//! | [`temporal`] | a lazily connected, shared client per namespace |
//! | [`worker`] | registry of handlers, and the workers' life |
//! | [`server`] | gRPC with health, reflection, limits |
//! | [`metrics`] | what is counted, and the page that Prometheus reads |
//! | [`auth`] | who calls, and what he may do; TLS |
//! | [`audit`] | who tried to change what |
//! | [`grpc`] | outgoing channels |
//! | [`payload`] | large payloads and lasting records in an object store |
//! | [`error`] | one closed set of failures, one mapping to gRPC |
//! | [`shutdown`] | the end of a process, in order |
//! | [`signing`] | signed records |
//! | [`confirmation`] | the token of whoever has seen how many something is about |
//! | [`central`] | the central timeouts and retries, typed starts |
//! | [`activity`], [`signal`] | what workflows share: options of activities; the common cancel signal |
//!
//! It depends on no other crate of ours.

pub mod activity;
pub mod audit;
pub mod auth;
pub mod central;
pub mod config;
pub mod confirmation;
pub mod error;
pub mod grpc;
pub mod metrics;
pub mod payload;
mod protected;
mod run;
pub mod server;
pub mod shutdown;
pub mod signal;
pub mod signing;
pub mod telemetry;
pub mod temporal;
pub mod visibility;
pub mod worker;

use std::sync::Arc;

pub use auth::Outgoing;
pub use central::Limits;
pub use config::Settings;
pub use error::{Error, Reason};
pub use grpc::{TracedChannel, channel};
pub use payload::PayloadStore;
pub use protected::{Marks, Protected};
pub use run::run;
pub use server::GrpcServices;
pub use shutdown::Shutdown;
pub use signal::CancelState;
pub use temporal::{ConnectionState, Described, NamespaceClient, no_retry};
pub use worker::{Home, QueueTuning, Registry};

/// What a service is, known at compile time.
#[derive(Debug, Clone, Copy)]
pub struct ServiceInfo {
    /// Short name, for instance `work`: `service.name` is `quell-work`.
    pub name: &'static str,
    /// Its version, usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// The port it listens on when none is set.
    pub default_port: u16,
}

/// What a service's builder receives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mesh {
    /// What the service is.
    pub info: ServiceInfo,
    /// The effective settings.
    pub settings: Arc<Settings>,
    /// The namespace whose workflows are started and stopped.
    pub main: NamespaceClient,
    /// Namespaces beside it whose workflows may be stopped, too.
    pub beside_main: Vec<NamespaceClient>,
    /// The namespace that cancellations run in; may be the same.
    pub canceler: NamespaceClient,
    /// The shared store of large payloads and records.
    pub payloads: PayloadStore,
    /// What is shown to the other services.
    pub peers: Outgoing,
    /// The end of the process: streams end on its token.
    pub shutdown: Shutdown,
}

/// What a service's builder gives back.
#[derive(Debug)]
pub struct Service {
    /// Its gRPC services.
    pub grpc: GrpcServices,
    /// Its Temporal handlers.
    pub registry: Registry,
}
