//! Connections to the three services.

use crate::dev::{DevMesh, Part, innermost};
use crate::exit::Failure;
use quell_api::canceler::v1::cancellation_service_client::CancellationServiceClient;
use quell_api::work::v1::batch_processing_service_client::BatchProcessingServiceClient;
use quell_api::work::v1::order_service_client::OrderServiceClient;
use quell_api::work::v1::probe_service_client::ProbeServiceClient;
use quell_api::work::v1::snowball_service_client::SnowballServiceClient;
use quell_api::work::v1::source_service_client::SourceServiceClient;
use quell_mesh::Outgoing;
use quell_mesh::config::{CredentialSettings, TlsSettings};
use quell_mesh::grpc::{self, PeerChannel};
use std::time::Duration;
use tonic::Request;

/// Deadline of a call that answers once. Preview waits a second for a second count; everything else is quicker.
const DEADLINE: Duration = Duration::from_secs(30);

/// A connection to a service, which says who calls.
pub type Channel = PeerChannel;

/// A client of probes.
pub type Probes = ProbeServiceClient<Channel>;

/// Where the services are.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connections")]
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
    /// What is shown to them.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// What the services are shown. The variables are those of the services themselves.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connections")]
pub struct Credentials {
    /// File with the token that says who calls. Never the token itself: others on this machine can read a command line.
    #[arg(long, global = true, env = "QUELL_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<String>,
    /// File with the root certificates (PEM) that services are checked against, instead of the system's.
    #[arg(long, global = true, env = "QUELL_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<String>,
    /// File with a client certificate (PEM) for mutual TLS.
    #[arg(long, global = true, env = "QUELL_CLIENT_CERT_FILE", value_name = "FILE")]
    pub client_cert_file: Option<String>,
    /// File with the private key (PEM) of that certificate.
    #[arg(long, global = true, env = "QUELL_CLIENT_KEY_FILE", value_name = "FILE")]
    pub client_key_file: Option<String>,
    /// Server name that their certificates are checked for, when it is not the address's host.
    #[arg(long, global = true, env = "QUELL_SERVER_NAME", value_name = "NAME")]
    pub server_name: Option<String>,
    /// Sends the token even in the clear beyond this machine: where the network is trusted.
    #[arg(long, global = true, env = "QUELL_INSECURE")]
    pub insecure: bool,
}

impl Credentials {
    fn open(&self) -> Result<Outgoing, Failure> {
        // An empty variable counts as not set, as everywhere.
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let (cert_file, key_file) = (given(&self.client_cert_file), given(&self.client_key_file));
        if cert_file.is_some() != key_file.is_some() {
            let told = "--client-cert-file and --client-key-file must be given together";
            return Err(Failure::Usage(told.to_owned()));
        }
        let settings = CredentialSettings {
            token_file: given(&self.token_file),
            tls: TlsSettings {
                ca_file: given(&self.ca_file),
                cert_file,
                key_file,
                domain: given(&self.server_name),
            },
            insecure: self.insecure,
        };
        Outgoing::open(&settings).map_err(Failure::Usage)
    }
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
            credentials: Credentials::default(),
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
        Ok(SnowballServiceClient::new(
            connect("work", &self.work, &self.credentials).await?,
        ))
    }

    /// Probes.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn probes(&self) -> Result<Probes, Failure> {
        Ok(Probes::new(connect("work", &self.work, &self.credentials).await?))
    }

    /// Batch processings.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn batch_processings(&self) -> Result<BatchProcessingServiceClient<Channel>, Failure> {
        Ok(BatchProcessingServiceClient::new(
            connect("work", &self.work, &self.credentials).await?,
        ))
    }

    /// Orders.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn orders(&self) -> Result<OrderServiceClient<Channel>, Failure> {
        Ok(OrderServiceClient::new(
            connect("work", &self.work, &self.credentials).await?,
        ))
    }

    /// Sources: what can be told to stop spawning.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn sources(&self) -> Result<SourceServiceClient<Channel>, Failure> {
        Ok(SourceServiceClient::new(
            connect("work", &self.work, &self.credentials).await?,
        ))
    }

    /// Cancellations.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn cancellations(&self) -> Result<CancellationServiceClient<Channel>, Failure> {
        Ok(CancellationServiceClient::new(
            connect("canceler", &self.canceler, &self.credentials).await?,
        ))
    }
}

/// A connection to a service, made at once.
pub(crate) async fn connect(
    service: &'static str,
    address: &str,
    credentials: &Credentials,
) -> Result<Channel, Failure> {
    let with_scheme = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let credentials = credentials.open()?;
    let dialling = credentials
        .connect(&with_scheme, grpc::configure)
        .map_err(|error| Failure::Usage(format!("{address:?} cannot be used for the {service} service: {error}")))?;
    let channel = dialling.now().await.map_err(|error| Failure::Unreachable {
        service,
        address: address.to_owned(),
        reason: innermost(&error),
    })?;
    Ok(Channel::new(channel, &credentials))
}

/// A request that answers once, with our deadline, which the services hand on.
pub fn unary<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}
