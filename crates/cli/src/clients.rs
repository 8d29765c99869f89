//! Connections to the three services.

use crate::dev::{DevMesh, Part, innermost};
use crate::exit::Failure;
use quell_api::canceler::v1::cancellation_service_client::CancellationServiceClient;
use quell_api::work::v1::batch_processing_service_client::BatchProcessingServiceClient;
use quell_api::work::v1::order_service_client::OrderServiceClient;
use quell_api::work::v1::probe_service_client::ProbeServiceClient;
use quell_api::work::v1::snowball_service_client::SnowballServiceClient;
use quell_api::work::v1::source_service_client::SourceServiceClient;
use std::time::Duration;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// Deadline of a call that answers once. Preview waits a second for a second count; everything else is quicker.
const DEADLINE: Duration = Duration::from_secs(30);

/// A client of probes.
pub type Probes = ProbeServiceClient<Channel>;

/// Where the services are.
#[derive(Debug, Clone, clap::Args)]
pub struct Addresses {
    /// Address of the work service.
    #[arg(
        long,
        global = true,
        env = "QUELL_WORK_ADDRESS",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    pub work: String,
    /// Address of the canceler service.
    #[arg(
        long,
        global = true,
        env = "QUELL_CANCELER_ADDRESS",
        default_value = "http://127.0.0.1:50052",
        value_name = "URL"
    )]
    pub canceler: String,
    /// Address of the batch service.
    #[arg(
        long,
        global = true,
        env = "QUELL_BATCH_ADDRESS",
        default_value = "http://127.0.0.1:50053",
        value_name = "URL"
    )]
    pub batch: String,
    /// Address of Jaeger's UI, for links to traces.
    #[arg(
        long,
        global = true,
        env = "QUELL_JAEGER_URL",
        default_value = "http://127.0.0.1:16686",
        value_name = "URL"
    )]
    pub jaeger: String,
}

impl Addresses {
    /// Those of a mesh of our own.
    #[must_use]
    pub fn of_mesh(mesh: &DevMesh) -> Self {
        Self {
            work: mesh.address(Part::Work),
            canceler: mesh.address(Part::Canceler),
            batch: mesh.address(Part::Batch),
            jaeger: mesh.jaeger_ui().unwrap_or_default(),
        }
    }

    /// Where a trace is shown; none when there is no trace, or nothing to show it.
    #[must_use]
    pub fn trace_url(&self, trace_id: &str) -> Option<String> {
        let known = !trace_id.is_empty() && !self.jaeger.is_empty();
        known.then(|| format!("{}/trace/{trace_id}", self.jaeger.trim_end_matches('/')))
    }

    /// Snowballs.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn snowballs(&self) -> Result<SnowballServiceClient<Channel>, Failure> {
        Ok(SnowballServiceClient::new(connect("work", &self.work).await?))
    }

    /// Probes.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn probes(&self) -> Result<Probes, Failure> {
        Ok(Probes::new(connect("work", &self.work).await?))
    }

    /// Batch processings.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn batch_processings(&self) -> Result<BatchProcessingServiceClient<Channel>, Failure> {
        Ok(BatchProcessingServiceClient::new(connect("work", &self.work).await?))
    }

    /// Orders.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn orders(&self) -> Result<OrderServiceClient<Channel>, Failure> {
        Ok(OrderServiceClient::new(connect("work", &self.work).await?))
    }

    /// Sources: what can be told to stop spawning.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn sources(&self) -> Result<SourceServiceClient<Channel>, Failure> {
        Ok(SourceServiceClient::new(connect("work", &self.work).await?))
    }

    /// Cancellations.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn cancellations(&self) -> Result<CancellationServiceClient<Channel>, Failure> {
        Ok(CancellationServiceClient::new(
            connect("canceler", &self.canceler).await?,
        ))
    }
}

/// A connection to a service, made at once.
pub(crate) async fn connect(service: &'static str, address: &str) -> Result<Channel, Failure> {
    let with_scheme = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let wrong = |error| Failure::Usage(format!("{address:?} is no address of a service: {error}"));
    let endpoint = Endpoint::from_shared(with_scheme)
        .map_err(wrong)?
        .connect_timeout(Duration::from_secs(5));
    endpoint.connect().await.map_err(|error| Failure::Unreachable {
        service,
        address: address.to_owned(),
        reason: innermost(&error),
    })
}

/// A request that answers once, with our deadline, which the services hand on.
pub fn unary<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}
