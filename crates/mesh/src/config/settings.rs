//! The settings as services see them: grouped, typed, with everything that defaults to something else resolved.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;

use super::value::{LogFormat, OtlpProtocol, TraceSampler};
use crate::payload::PayloadKeys;
use crate::protected::Protected;
use crate::signing::SigningKey;

/// All settings of a service.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The gRPC server.
    pub server: ServerSettings,
    /// The namespace whose workflows are started and stopped.
    pub main: NamespaceSettings,
    /// Namespaces beside main whose workflows may be stopped, too; none is main, and none is there twice.
    pub beside_main: Vec<NamespaceSettings>,
    /// The namespace that cancellations run in; may be the same as main.
    pub canceler: NamespaceSettings,
    /// The other services.
    pub peers: PeerSettings,
    /// Timeouts of orders and user workflows.
    pub workflows: WorkflowTimeouts,
    /// Timeouts and retries of their activities.
    pub activities: ActivityTimeouts,
    /// The Temporal worker.
    pub worker: WorkerSettings,
    /// The store of large payloads.
    pub payload: PayloadSettings,
    /// Logs and traces.
    pub telemetry: TelemetrySettings,
    /// Value of the search attribute `WorkloadId` where a caller says nothing (default "1").
    pub workload_id: String,
    /// Task queue of the activities of probes (default `probe-task-queue`).
    pub probe_task_queue: String,
    /// Limits of a cancellation.
    pub cancel: CancelSettings,
    /// Orders.
    pub orders: OrderSettings,
    /// Receipts.
    pub receipt: ReceiptSettings,
}

/// The gRPC server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Host or address to listen on (default 127.0.0.1).
    pub host: String,
    /// Port to listen on; 0 takes a free one (default: the service's).
    pub port: u16,
    /// Port of the page of metrics; 0 takes a free one, none the service's own (default none).
    pub metrics_port: Option<u16>,
    /// Deadline of an rpc whose caller gives none, until its response begins (default 30 s).
    pub request_timeout: Duration,
    /// Calls served at once (default 1024).
    pub concurrency_limit: usize,
    /// How long an rpc waits for a connection to Temporal (default 2 s).
    pub connect_wait: Duration,
    /// How long health says NOT_SERVING before new calls are refused at shutdown (default 0.5 s).
    pub shutdown_delay: Duration,
    /// Who may come in.
    pub guard: GuardSettings,
}

/// Who may come in to the gRPC server, and how much of it one caller may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSettings {
    /// Certificate, key, and the roots of clients' certificates.
    pub tls: ServerTlsSettings,
    /// File that says who may do what.
    pub access_file: Option<String>,
    /// Whether the network around the services is trusted (default false).
    pub insecure: bool,
    /// Whether reflection is offered (default true).
    pub reflection: bool,
    /// Largest request message (default 1 MiB).
    pub max_message_bytes: usize,
    /// Longest deadline of a call (default 1 h).
    pub max_timeout: Duration,
    /// Connections at once (default 4096).
    pub max_connections: usize,
    /// From a connection's beginning to its first call (default 20 s).
    pub first_call_timeout: Duration,
    /// Longest time of a connection without a call (default 15 min).
    pub idle_timeout: Duration,
    /// Calls at once on a connection (default 1024).
    pub streams_per_connection: u32,
    /// Calls at once of a principal (default 256).
    pub calls_per_principal: usize,
    /// Calls a second of a principal (default 500).
    pub calls_per_second: u32,
}

/// Files for the TLS of the gRPC server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerTlsSettings {
    /// Certificate chain (PEM file); turns TLS on.
    pub cert_file: Option<String>,
    /// Its private key (PEM file).
    pub key_file: Option<String>,
    /// Roots of clients' certificates (PEM file); every client must show one then.
    pub client_ca_file: Option<String>,
    /// Lists of revoked certificates (PEM file), of every authority in a client's chain.
    pub client_crl_file: Option<String>,
}

impl GuardSettings {
    /// Whether callers have to say who they are.
    #[must_use]
    pub const fn authenticates(&self) -> bool {
        self.access_file.is_some() || self.tls.client_ca_file.is_some()
    }
}

/// How one namespace is reached.
#[derive(Debug, Clone)]
pub struct NamespaceSettings {
    /// Address of the Temporal frontend.
    pub address: String,
    /// Name of the namespace.
    pub namespace: String,
    /// Task queue of the service that is at home there.
    pub task_queue: String,
    /// API key, if any; turns TLS on.
    pub api_key: Option<SecretString>,
    /// TLS material; TLS is on when the address is https, when there is an API key, or when any of these is given.
    pub tls: TlsSettings,
    /// How often a live connection is checked (default 2 s).
    pub health_interval: Duration,
    /// How long an rpc waits for a connection (default 2 s).
    pub connect_wait: Duration,
}

/// Files and names for TLS towards Temporal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Root certificate (PEM file), instead of the system's.
    pub ca_file: Option<String>,
    /// Client certificate (PEM file).
    pub cert_file: Option<String>,
    /// Its private key (PEM file).
    pub key_file: Option<String>,
    /// Server name to check for.
    pub domain: Option<String>,
}

/// Where the other services answer.
#[derive(Debug, Clone)]
pub struct PeerSettings {
    /// The work service.
    pub work_address: String,
    /// The canceler service.
    pub canceler_address: String,
    /// The batch service.
    pub batch_address: String,
    /// What is shown to them.
    pub credentials: CredentialSettings,
}

/// What a caller of the services shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialSettings {
    /// File with the token.
    pub token_file: Option<String>,
    /// Roots, client certificate, server name.
    pub tls: TlsSettings,
    /// Whether a token may be sent in the clear beyond this machine (default false).
    pub insecure: bool,
}

/// Timeouts of orders and user workflows. Cancellations have none: their own deadline rules.
#[derive(Debug, Clone)]
pub struct WorkflowTimeouts {
    /// Over all runs (default 24 h).
    pub execution: Duration,
    /// Of one run (default 2 h).
    pub run: Duration,
    /// Of one workflow task (default 10 s).
    pub task: Duration,
}

/// Timeouts and retries of the activities of orders and user workflows.
#[derive(Debug, Clone)]
pub struct ActivityTimeouts {
    /// One attempt (default 20 min).
    pub start_to_close: Duration,
    /// Attempts, the first included (default 5).
    pub maximum_attempts: u32,
    /// Factor between pauses (default 2.0).
    pub backoff_coefficient: f64,
    /// Pause before the second attempt (default 1 s).
    pub initial_interval: Duration,
    /// Longest pause (default 100 s).
    pub maximum_interval: Duration,
    /// Failure types that are not tried again (default none).
    pub non_retryable_error_types: Vec<String>,
}

/// The Temporal worker.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// How long calls and activities in flight may take to finish at shutdown (default 30 s).
    pub drain_timeout: Duration,
    /// How long the worker may take to stop after that (default 5 s).
    pub stop_timeout: Duration,
    /// How long a poll waits for a task (default 10 s).
    pub poll_timeout: Duration,
    /// What takes the place of a queue's own tuning.
    pub tuning: TuningSettings,
}

/// What takes the place of a queue's own tuning; none leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TuningSettings {
    /// Activities at once.
    pub activities: Option<u32>,
    /// Local activities at once.
    pub local_activities: Option<u32>,
    /// Workflow tasks at once.
    pub workflow_tasks: Option<u32>,
    /// Workflows kept in memory between tasks.
    pub cached_workflows: Option<u32>,
    /// Polls for activities at once.
    pub activity_pollers: Option<u32>,
    /// Polls for workflow tasks at once.
    pub workflow_pollers: Option<u32>,
    /// Whether the number of polls follows the load.
    pub autoscale_pollers: bool,
    /// Activities that a worker starts per second, by queue.
    pub activities_per_second: BTreeMap<String, u32>,
}

/// The store of large payloads.
#[derive(Debug, Clone)]
pub struct PayloadSettings {
    /// Folder or URL (default `/tmp/payloads`).
    pub url: String,
    /// Payloads above this many bytes are stored (default 128 KiB).
    pub threshold_bytes: usize,
    /// Keys that payloads are encrypted with; none when they are not.
    pub keys: Option<PayloadKeys>,
}

/// Logs and traces.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// How the log is written (default human).
    pub log_format: LogFormat,
    /// What it shows: an `EnvFilter`.
    pub log_filter: String,
    /// Where traces go; none when nothing is exported.
    pub collector: Option<CollectorSettings>,
    /// Whether no spans are made (default false).
    pub disabled: bool,
    /// Which new traces are recorded (default: as the caller says, else the share).
    pub sampler: TraceSampler,
    /// Share of new traces recorded, 0 to 1 (default 1).
    pub sample_ratio: f64,
    /// How long a span waits before it is sent (default 0.2 s).
    pub schedule_delay: Duration,
    /// Spans that may wait (default 2,048).
    pub queue_size: usize,
    /// Spans that are sent at once (default 512).
    pub batch_size: usize,
    /// Name of the service in traces; none for the service's own.
    pub service_name: Option<String>,
    /// Further attributes of the service, as `name=value`.
    pub resource_attributes: Vec<String>,
    /// How long the last export may take (default 3 s).
    pub flush_timeout: Duration,
}

/// An OTLP collector.
#[derive(Debug, Clone)]
pub struct CollectorSettings {
    /// What is spoken with it (default gRPC).
    pub protocol: OtlpProtocol,
    /// Where it is; by HTTP with the path.
    pub endpoint: String,
    /// Headers for it, as `name=value` separated by commas.
    pub headers: Option<SecretString>,
    /// How long it may take to answer (default 10 s).
    pub timeout: Duration,
}

/// Limits of a cancellation.
#[derive(Debug, Clone)]
pub struct CancelSettings {
    /// Most stop requests in flight (default 750).
    pub concurrency: u32,
    /// How long to confirm before sweeping anew (default 240 s).
    pub confirm_timeout: Duration,
    /// Longest pause between two looks (default 5 s).
    pub confirm_poll: Duration,
    /// What is never stopped (default nothing).
    pub protected: Protected,
}

/// Orders.
#[derive(Debug, Clone)]
pub struct OrderSettings {
    /// Database of the ledger; none for a file on this machine.
    pub ledger_url: Option<SecretString>,
    /// Whether failures on demand are allowed, for tests (default false).
    pub faults: bool,
}

/// Receipts.
#[derive(Debug, Clone)]
pub struct ReceiptSettings {
    /// Key that they are signed with; none when they are not.
    pub signing_key: Option<SigningKey>,
}
