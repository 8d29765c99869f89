//! The gRPC server: services with health, reflection (v1 and v1alpha), server spans and the surroundings of [`call`].
//!
//! It listens from the first moment, Temporal or not, and says by health what it can do. From the outside in, a call
//! passes the server span and the metrics (so that refusals are seen), then the guard of [`crate::auth`], then the limits, then the
//! service.

mod call;
mod connection;
mod crowd;
mod doors;
mod health;
mod probe;
mod readiness;
mod red;
mod services;

pub(crate) use connection::ConnectionInfo;
pub use probe::probe;
pub use readiness::Readiness;
pub(crate) use readiness::Supervisor;
pub use services::GrpcServices;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;
use tonic_tracing_opentelemetry::middleware::server::OtelGrpcLayer;

use crate::auth::Entrance;
use crate::config::ServerSettings;
use call::CallLayer;
use health::EndingHealth;
use red::RedLayer;

/// The server could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {host}:{port}: {source}")]
    Listen {
        /// The host setting.
        host: String,
        /// The port setting.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The descriptor set is not one: a fault of the build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A server that has its port and is not serving yet.
pub(crate) struct Bound {
    address: SocketAddr,
    listener: TcpListener,
}

impl Bound {
    /// Takes the port, so that a second process on it fails before it does anything else.
    pub(crate) async fn listen(settings: &ServerSettings) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            host: settings.host.clone(),
            port: settings.port,
            source,
        };
        let listener = TcpListener::bind((settings.host.as_str(), settings.port))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { address, listener })
    }

    /// Where it listens; tells the port when 0 was asked for.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts serving in the background. When `stop` fires, no new calls are accepted and the future ends when the calls in
    /// flight have.
    pub(crate) async fn serve(
        self,
        settings: &ServerSettings,
        services: GrpcServices,
        entrance: Entrance,
        readiness: watch::Receiver<Readiness>,
        stop: CancellationToken,
    ) -> Result<
        (
            HealthReporter,
            tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
        ),
        ServeError,
    > {
        let health = HealthReporter::new();
        for name in services.names.iter().copied().chain([""]) {
            health
                .set_service_status(name, tonic_health::ServingStatus::NotServing)
                .await;
        }
        let mut routes = services
            .routes
            .clone()
            .add_service(EndingHealth::server(&health, stop.clone()));
        if settings.guard.reflection {
            routes = routes
                .add_service(reflection(&services)?.build_v1()?)
                .add_service(reflection(&services)?.build_v1alpha()?);
        }
        let incoming = doors::incoming(self.listener, entrance.tls, &settings.guard, entrance.audit);
        let server = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .max_concurrent_streams(settings.guard.streams_per_connection)
            .layer(OtelGrpcLayer::default().filter(is_traced))
            .layer(RedLayer {
                services: services.names.as_slice().into(),
                paths: entrance.paths,
            })
            .layer(entrance.gate)
            .layer(CallLayer::new(settings, readiness))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, async move { stop.cancelled().await });
        Ok((health, tokio::spawn(server)))
    }
}

/// Health checks and reflection are asked by machines, all day: they make no spans.
fn is_traced(path: &str) -> bool {
    !path.starts_with("/grpc.")
}

fn reflection(services: &GrpcServices) -> Result<tonic_reflection::server::Builder<'static>, ServeError> {
    let builder = tonic_reflection::server::Builder::configure()
        .include_reflection_service(false)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET) // so that grpcurl decodes error details
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(services.file_descriptor_set)
        // Only what is served is listed, though the set describes the other services too.
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.reflection.v1alpha.ServerReflection");
    Ok(services
        .names
        .iter()
        .fold(builder, |builder, name| builder.with_service_name(*name)))
}
