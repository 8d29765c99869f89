//! The table of settings: the only place where a setting is declared.
//!
//! A line of it gives the setting its type, its key in `config.yaml`, its environment variable, its default and its
//! meaning. Parsing, `--print-config` and docs/configuration.md all walk this table, so a setting that is not
//! documented, or documented and not read, cannot exist. The names of the project's documents are kept.

use secrecy::SecretString;

use crate::payload::PayloadKeys;
use crate::signing::SigningKey;

use super::value::{
    Address, Bytes, Count, LogFormat, Millis, OtlpProtocol, QueueRates, Ratio, Seconds, StoreUrl, TraceExporter,
    TraceSampler, Value,
};

/// One line of the table, for code that walks it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Dotted path in `config.yaml`.
    pub key: &'static str,
    /// Environment variable, also in `.env`.
    pub env: &'static str,
    /// Type and unit.
    pub kind: &'static str,
    /// Default as text; empty when there is none.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Whether it is a secret: masked, and readable from the file that `<env>_FILE` or `<key>_file` names.
    pub secret: bool,
    /// Checks a text against the type.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

fn check<T: Value>(text: &str) -> Result<(), String> {
    T::parse(text).map(|_| ())
}

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $field:ident: $ty:ty = $key:literal, $env:literal, $default:literal; )+) => {
        /// Every setting, in the order of the documentation.
        #[must_use]
        pub fn table() -> Vec<Setting> {
            vec![ $( Setting {
                key: $key,
                env: $env,
                kind: <$ty as Value>::TYPE,
                default: $default,
                doc: concat!($($doc),+).trim_ascii(),
                secret: <$ty as Value>::SECRET,
                check: check::<$ty>,
            }, )+ ]
        }

        /// The values of all settings, flat and typed.
        #[derive(Debug)]
        pub(crate) struct Flat { $( pub(crate) $field: $ty, )+ }

        impl Flat {
            /// Reads every setting from `text_of`, which gives the winning text of a key. The texts were checked
            /// before; an error is still an error, never a default in its place.
            pub(crate) fn read(text_of: impl Fn(&str) -> String) -> Result<Self, String> {
                Ok(Self { $( $field: <$ty as Value>::parse(&text_of($key)).map_err(|e| format!("{}: {e}", $key))?, )+ })
            }
        }
    };
}

settings! {
    /// Host or IP address that the gRPC server listens on. Use 0.0.0.0 in a container.
    server_host: String = "server.host", "QUELL_HOST", "127.0.0.1";
    /// Port that the gRPC server listens on; 0 takes a free one. Default: 50051 work, 50052 canceler, 50053 batch.
    server_port: Option<u16> = "server.port", "QUELL_PORT", "";
    /// Port, on the same host, of the page of metrics for Prometheus (`/metrics`); 0 takes a free one. Default: 9464 work, 9465 canceler,
    /// 9466 batch, and a free one where that is taken.
    server_metrics_port: Option<u16> = "server.metrics_port", "QUELL_METRICS_PORT", "";
    /// Deadline of an rpc whose caller gives none, until its response begins. A caller's own deadline wins.
    server_request_timeout: Seconds = "server.request_timeout_s", "QUELL_REQUEST_TIMEOUT_SECONDS", "30";
    /// Calls served at the same time, streams included; more are refused with OVERLOADED. A sixteenth of them is for operators only.
    server_concurrency_limit: Count = "server.concurrency_limit", "QUELL_CONCURRENCY_LIMIT", "1024";
    /// How long an rpc waits for a connection to Temporal before it fails with TEMPORAL_UNREACHABLE.
    server_connect_wait: Seconds = "server.connect_wait_s", "QUELL_CONNECT_WAIT_SECONDS", "2";
    /// At shutdown, how long health says NOT_SERVING before new calls are refused, so that balancers look away first.
    server_shutdown_delay: Seconds = "server.shutdown_delay_s", "QUELL_SHUTDOWN_DELAY_SECONDS", "0.5";

    /// File with the server's certificate chain (PEM). With its key it turns TLS on. Read again when it changes.
    server_tls_cert: Option<String> = "server.tls_cert_file", "QUELL_TLS_CERT_FILE", "";
    /// File with the private key (PEM) of that certificate.
    server_tls_key: Option<String> = "server.tls_key_file", "QUELL_TLS_KEY_FILE", "";
    /// File with the root certificates (PEM) that clients' certificates are checked against. Given, every client must have one.
    server_tls_client_ca: Option<String> = "server.tls_client_ca_file", "QUELL_TLS_CLIENT_CA_FILE", "";
    /// File with the lists of revoked certificates (CRLs, PEM) of those authorities and of those between. Read again when it changes.
    server_tls_client_crl: Option<String> = "server.tls_client_crl_file", "QUELL_TLS_CLIENT_CRL_FILE", "";
    /// File that says who may do what: names, roles, namespaces, hashed tokens (docs/security.md). Read again when it changes.
    server_access: Option<String> = "server.access_file", "QUELL_ACCESS_FILE", "";
    /// Whether the network around the services is trusted: without it, a service refuses to listen on more than this machine
    /// without authentication or without TLS, and no token is sent in the clear.
    server_insecure: bool = "server.insecure", "QUELL_INSECURE", "false";
    /// Whether gRPC reflection is offered.
    server_reflection: bool = "server.reflection", "QUELL_REFLECTION", "true";
    /// Largest request message; a larger one is refused with MESSAGE_TOO_LARGE.
    server_max_message: Bytes = "server.max_message_bytes", "QUELL_MAX_MESSAGE_BYTES", "1048576";
    /// Longest deadline that a caller may set; a longer one is cut to it.
    server_max_timeout: Seconds = "server.max_timeout_s", "QUELL_MAX_TIMEOUT_SECONDS", "3600";
    /// Connections at the same time. When all are taken, one goes for the new one (docs/security.md). Never more than the process may
    /// open files.
    server_connections: Count = "server.max_connections", "QUELL_MAX_CONNECTIONS", "4096";
    /// How long a new connection may take to its first call, TLS included.
    server_first_call: Seconds = "server.first_call_timeout_s", "QUELL_FIRST_CALL_TIMEOUT_SECONDS", "20";
    /// How long a connection may be without a call before it is closed, and how long one may last on which nobody was let in.
    server_idle: Seconds = "server.idle_timeout_s", "QUELL_IDLE_TIMEOUT_SECONDS", "900";
    /// Calls at the same time on one connection, streams included.
    server_streams: Count = "server.streams_per_connection", "QUELL_STREAMS_PER_CONNECTION", "1024";
    /// Calls at the same time of one authenticated principal, streams included; more are refused with RATE_LIMITED.
    server_principal_calls: Count = "server.calls_per_principal", "QUELL_CALLS_PER_PRINCIPAL", "256";
    /// Calls a second of one authenticated principal, where the access file names no other number. Twice as many may come at once.
    server_principal_rate: Count = "server.calls_per_second", "QUELL_CALLS_PER_SECOND", "500";

    /// Temporal frontend of the namespace whose workflows are started and stopped. https means TLS.
    main_address: Address = "temporal.main.address", "TEMPORAL_MAIN_ADDRESS", "http://127.0.0.1:7233";
    /// That namespace.
    main_namespace: String = "temporal.main.namespace", "TEMPORAL_MAIN_NAMESPACE", "main";
    /// Further namespaces of the same Temporal whose workflows may be stopped, by their names: reached like main's, with its address, key and
    /// TLS. Nothing is started in them but canaries. To be set once all replicas of the canceler know this setting: an older one would
    /// take a cancellation in them for one in main.
    main_more_namespaces: Vec<String> = "temporal.main.more_namespaces", "TEMPORAL_MAIN_MORE_NAMESPACES", "";
    /// Task queue of the work service's worker.
    main_task_queue: String = "temporal.main.task_queue", "TEMPORAL_MAIN_TASK_QUEUE", "work-task-queue";
    /// API key for it. Turns TLS on.
    main_api_key: Option<SecretString> = "temporal.main.api_key", "TEMPORAL_API_KEY_MAIN", "";
    /// File with the root certificate (PEM) that its TLS is checked against, instead of the system's.
    main_tls_ca: Option<String> = "temporal.main.tls_ca_file", "TEMPORAL_MAIN_TLS_CA_FILE", "";
    /// File with the client certificate (PEM) for mutual TLS.
    main_tls_cert: Option<String> = "temporal.main.tls_cert_file", "TEMPORAL_MAIN_TLS_CERT_FILE", "";
    /// File with the private key (PEM) of the client certificate.
    main_tls_key: Option<String> = "temporal.main.tls_key_file", "TEMPORAL_MAIN_TLS_KEY_FILE", "";
    /// Server name that its certificate is checked for, when it is not the address's host.
    main_tls_domain: Option<String> = "temporal.main.tls_domain", "TEMPORAL_MAIN_TLS_DOMAIN", "";

    /// Temporal frontend of the namespace that the cancellations themselves run in. Default: main's address.
    canceler_address: Option<Address> = "temporal.canceler.address", "TEMPORAL_CANCELER_ADDRESS", "";
    /// That namespace. Default: main's namespace.
    canceler_namespace: Option<String> = "temporal.canceler.namespace", "TEMPORAL_CANCELER_NAMESPACE", "";
    /// Task queue of the canceler service's worker.
    canceler_task_queue: String = "temporal.canceler.task_queue", "TEMPORAL_CANCELER_TASK_QUEUE", "canceler-task-queue";
    /// API key for it. Default: main's, when the address is main's.
    canceler_api_key: Option<SecretString> = "temporal.canceler.api_key", "TEMPORAL_API_KEY_CANCELER", "";
    /// As main's. The four TLS files default to main's as a set, when the address is main's and none is given.
    canceler_tls_ca: Option<String> = "temporal.canceler.tls_ca_file", "TEMPORAL_CANCELER_TLS_CA_FILE", "";
    /// As main's.
    canceler_tls_cert: Option<String> = "temporal.canceler.tls_cert_file", "TEMPORAL_CANCELER_TLS_CERT_FILE", "";
    /// As main's.
    canceler_tls_key: Option<String> = "temporal.canceler.tls_key_file", "TEMPORAL_CANCELER_TLS_KEY_FILE", "";
    /// As main's.
    canceler_tls_domain: Option<String> = "temporal.canceler.tls_domain", "TEMPORAL_CANCELER_TLS_DOMAIN", "";
    /// How often a live connection to Temporal is checked. A lost one is noticed after at most twice this time.
    temporal_health_interval: Seconds = "temporal.health_interval_s", "QUELL_TEMPORAL_HEALTH_SECONDS", "2";

    /// Execution timeout of orders and user workflows, over all runs.
    workflows_execution: Seconds = "temporal.workflows.execution_timeout_s", "TEMPORAL_WORKFLOW_EXECUTION_TIMEOUT_SECONDS", "86400";
    /// Timeout of one run of them.
    workflows_run: Seconds = "temporal.workflows.run_timeout_s", "TEMPORAL_WORKFLOW_RUN_TIMEOUT_SECONDS", "7200";
    /// Timeout of one workflow task.
    workflows_task: Seconds = "temporal.workflows.task_timeout_s", "TEMPORAL_WORKFLOW_TASK_TIMEOUT_SECONDS", "10";
    /// Longest time of one attempt of an activity.
    activities_start_to_close: Seconds = "temporal.activities.start_to_close_timeout_s", "TEMPORAL_ACTIVITY_START_TO_CLOSE_TIMEOUT_SECONDS", "1200";
    /// Attempts of an activity, the first included.
    activities_attempts: Count = "temporal.activities.retry.maximum_attempts", "TEMPORAL_ACTIVITY_MAXIMUM_ATTEMPTS", "5";
    /// Factor between the pauses before two attempts.
    activities_backoff: f64 = "temporal.activities.retry.backoff_coefficient", "TEMPORAL_ACTIVITY_BACKOFF_COEFFICIENT", "2.0";
    /// Pause before the second attempt.
    activities_initial: Seconds = "temporal.activities.retry.initial_interval_s", "TEMPORAL_ACTIVITY_INITIAL_INTERVAL_SECONDS", "1";
    /// Longest pause between two attempts.
    activities_maximum: Seconds = "temporal.activities.retry.maximum_interval_s", "TEMPORAL_ACTIVITY_MAXIMUM_INTERVAL_SECONDS", "100";
    /// Failure types that are not tried again.
    activities_non_retryable: Vec<String> = "temporal.activities.retry.non_retryable_error_types", "TEMPORAL_ACTIVITY_NON_RETRYABLE_ERROR_TYPES", "";

    /// Where the work service answers.
    peers_work: Address = "peers.work_address", "QUELL_WORK_ADDRESS", "http://127.0.0.1:50051";
    /// Where the canceler service answers.
    peers_canceler: Address = "peers.canceler_address", "QUELL_CANCELER_ADDRESS", "http://127.0.0.1:50052";
    /// Where the batch service answers.
    peers_batch: Address = "peers.batch_address", "QUELL_BATCH_ADDRESS", "http://127.0.0.1:50053";
    /// File with the token that is sent to the other services. Read again when it changes.
    peers_token: Option<String> = "peers.token_file", "QUELL_TOKEN_FILE", "";
    /// File with the root certificates (PEM) that the other services are checked against, instead of the system's. All TLS files
    /// are read again when they change.
    peers_tls_ca: Option<String> = "peers.tls_ca_file", "QUELL_CA_FILE", "";
    /// File with the client certificate (PEM) that is shown to the other services.
    peers_tls_cert: Option<String> = "peers.tls_cert_file", "QUELL_CLIENT_CERT_FILE", "";
    /// File with the private key (PEM) of that certificate.
    peers_tls_key: Option<String> = "peers.tls_key_file", "QUELL_CLIENT_KEY_FILE", "";
    /// Server name that their certificates are checked for, when it is not the address's host.
    peers_tls_domain: Option<String> = "peers.tls_domain", "QUELL_SERVER_NAME", "";

    /// At shutdown, how long calls and activities in flight may take to finish. Then activities are cancelled.
    worker_drain: Seconds = "worker.drain_timeout_s", "QUELL_DRAIN_TIMEOUT_SECONDS", "30";
    /// After that, how long the worker itself may take to stop. Then the process ends without it.
    worker_stop: Seconds = "worker.stop_timeout_s", "QUELL_STOP_TIMEOUT_SECONDS", "5";
    /// How long a poll of the worker waits for a task. At shutdown open polls are waited for, never dropped, since a dropped one can
    /// take a task with it: so an idle worker needs up to this time, or what the server's matching.longPollExpirationInterval says,
    /// to stop. Cut to three quarters of the drain timeout. See docs/drain.md.
    worker_poll: Seconds = "worker.poll_timeout_s", "QUELL_POLL_TIMEOUT_SECONDS", "10";
    /// Most activities at once on a queue, instead of the service's own value.
    worker_activities: Option<Count> = "worker.activities", "QUELL_WORKER_ACTIVITIES", "";
    /// Most local activities at once on a queue, instead of the service's own value.
    worker_local_activities: Option<Count> = "worker.local_activities", "QUELL_WORKER_LOCAL_ACTIVITIES", "";
    /// Most workflow tasks at once on a queue, instead of the service's own value.
    worker_workflow_tasks: Option<Count> = "worker.workflow_tasks", "QUELL_WORKER_WORKFLOW_TASKS", "";
    /// Workflows kept in memory between tasks on a queue, instead of the service's own value.
    worker_cached_workflows: Option<Count> = "worker.cached_workflows", "QUELL_WORKER_CACHED_WORKFLOWS", "";
    /// Polls for activities at once on a queue, instead of the service's own value.
    worker_activity_pollers: Option<Count> = "worker.activity_pollers", "QUELL_WORKER_ACTIVITY_POLLERS", "";
    /// Polls for workflow tasks at once on a queue (at least 2), instead of the service's own value.
    worker_workflow_pollers: Option<Count> = "worker.workflow_pollers", "QUELL_WORKER_WORKFLOW_POLLERS", "";
    /// Whether the number of polls follows the load, between 1 (2 for workflow tasks) and the two numbers above.
    worker_autoscale: bool = "worker.autoscale_pollers", "QUELL_WORKER_AUTOSCALE_POLLERS", "false";
    /// Activities that a worker starts per second, as `queue=number`, separated by commas; a queue that is not named has the
    /// service's own value.
    worker_rates: QueueRates = "worker.activities_per_second", "QUELL_WORKER_ACTIVITIES_PER_SECOND", "";

    /// Store of large payloads and of receipts' journals, shared by all services: an absolute folder, made if missing, or
    /// a URL (file, s3, gs, az; the last three need a build with the feature `cloud`).
    payload_url: StoreUrl = "payload.url", "QUELL_PAYLOAD_URL", "/tmp/payloads";
    /// Payloads above this size go to the store. 128 KiB: sixteen of them still fit one gRPC message of Temporal (4 MiB)
    /// with room to spare, each is far below its limit of 2 MiB, and small ones stay readable in the Web UI.
    payload_threshold: Bytes = "payload.threshold_bytes", "QUELL_PAYLOAD_THRESHOLD_BYTES", "131072";
    /// Keys that payloads are encrypted with, AES-256-GCM: `id:64 hex digits`, one a line. The first encrypts, all decrypt. The same on all
    /// services, and on whoever else reads the workflows. None: payloads are not encrypted.
    payload_keys: Option<PayloadKeys> = "payload.keys", "QUELL_PAYLOAD_KEYS", "";

    /// How the log is written to standard error.
    telemetry_log_format: LogFormat = "telemetry.log_format", "QUELL_LOG_FORMAT", "human";
    /// What the log shows, in the syntax of tracing's EnvFilter.
    telemetry_log_filter: String = "telemetry.log_filter", "QUELL_LOG", "info,temporalio_sdk=warn,temporalio_sdk_core=warn,temporalio_client=warn,opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry_otlp=warn,h2=warn,hyper=warn,tower=warn";
    /// OTLP collector for traces and all else; by HTTP, traces go to `/v1/traces` there. None: nothing is exported.
    telemetry_otlp: Option<Address> = "telemetry.otlp_endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", "";
    /// OTLP collector for traces only, used as it is; wins over the general one.
    telemetry_otlp_traces: Option<Address> = "telemetry.otlp_traces_endpoint", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "";
    /// What is spoken with the collector.
    telemetry_protocol: OtlpProtocol = "telemetry.otlp_protocol", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc";
    /// The same for traces only; wins over the general one.
    telemetry_protocol_traces: Option<OtlpProtocol> = "telemetry.otlp_traces_protocol", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "";
    /// Headers for the collector, as `name=value` separated by commas; mostly its key.
    telemetry_headers: Option<SecretString> = "telemetry.otlp_headers", "OTEL_EXPORTER_OTLP_HEADERS", "";
    /// How long the collector may take to answer. Then the batch is lost.
    telemetry_timeout: Millis = "telemetry.otlp_timeout_ms", "OTEL_EXPORTER_OTLP_TIMEOUT", "10000";
    /// otlp sends spans when there is a collector, none never.
    telemetry_exporter: TraceExporter = "telemetry.exporter", "OTEL_TRACES_EXPORTER", "otlp";
    /// Whether no spans are made at all. Trace ids are handed on all the same.
    telemetry_disabled: bool = "telemetry.disabled", "OTEL_SDK_DISABLED", "false";
    /// Which new traces are recorded: always_on, always_off or traceidratio; after parentbased_, a caller's own decision, in its
    /// traceparent, wins.
    telemetry_sampler: TraceSampler = "telemetry.sampler", "OTEL_TRACES_SAMPLER", "parentbased_traceidratio";
    /// Share of new traces that are recorded by a traceidratio sampler.
    telemetry_ratio: Ratio = "telemetry.sample_ratio", "OTEL_TRACES_SAMPLER_ARG", "1";
    /// How long a span waits at most before it is sent. What waits in a process that is killed is lost.
    telemetry_delay: Millis = "telemetry.schedule_delay_ms", "OTEL_BSP_SCHEDULE_DELAY", "200";
    /// Spans that may wait; more are dropped and counted (quell_spans_dropped_total).
    telemetry_queue: Count = "telemetry.queue_size", "OTEL_BSP_MAX_QUEUE_SIZE", "2048";
    /// Spans that are sent at once.
    telemetry_batch: Count = "telemetry.batch_size", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512";
    /// Name of the service in traces. Default: quell-work, quell-canceler, quell-batch.
    telemetry_service_name: Option<String> = "telemetry.service_name", "OTEL_SERVICE_NAME", "";
    /// Further attributes of the service in traces, as `name=value` separated by commas.
    telemetry_attributes: Vec<String> = "telemetry.resource_attributes", "OTEL_RESOURCE_ATTRIBUTES", "";
    /// At shutdown, how long the export of the last spans may take.
    telemetry_flush: Seconds = "telemetry.flush_timeout_s", "QUELL_FLUSH_TIMEOUT_SECONDS", "3";

    /// Value of the search attribute WorkloadId where a caller says nothing.
    workload_id: String = "workload_id", "WORKLOAD_ID_VALUE", "1";
    /// Task queue of the activities of probes, in main's namespace.
    probe_task_queue: String = "probe_task_queue", "QUELL_PROBE_TASK_QUEUE", "probe-task-queue";
    /// Most stop requests in flight at once, of one cancellation on one worker.
    cancel_concurrency: Count = "cancel.concurrency", "CANCEL_CONCURRENCY", "750";
    /// How long to confirm before sweeping and reporting anew.
    cancel_confirm_timeout: Seconds = "cancel.confirm_timeout_s", "CONFIRM_TIMEOUT_SECONDS", "240";
    /// Longest pause between two looks while confirming.
    cancel_confirm_poll: Seconds = "cancel.confirm_poll_s", "CONFIRM_POLL_SECONDS", "5";
    /// Workflow types that nobody may stop, the same for the canceler and the batch service: a cancellation or batch operation whose target
    /// holds one is refused, and one that comes later is left alone.
    protected_types: Vec<String> = "protected.types", "QUELL_PROTECTED_TYPES", "";
    /// WorkloadIds that nobody may stop, in the same way.
    protected_workloads: Vec<String> = "protected.workloads", "QUELL_PROTECTED_WORKLOADS", "";
    /// Task queues for whose workflows no cancellation and no batch operation may be started: a target that holds one is refused. One that
    /// comes later is left alone by a batch operation; a sweep is not told of task queues.
    protected_queues: Vec<String> = "protected.queues", "QUELL_PROTECTED_QUEUES", "";

    /// Database of the orders' ledger: a URL of SQLite (sqlite:///folder/file) or PostgreSQL (postgres://user:password@host/database), shared by
    /// all replicas of the work service. Its tables are made if missing. None: the file /tmp/quell-orders.db, for one machine.
    orders_ledger_url: Option<SecretString> = "orders.ledger_url", "QUELL_ORDERS_LEDGER_URL", "";
    /// Whether orders may be placed with failures on demand. For tests only.
    orders_faults: bool = "orders.faults", "QUELL_ORDERS_FAULTS", "false";

    /// Private Ed25519 key that the canceler signs receipts with, as `openssl genpkey -algorithm ed25519` writes it. The same on all
    /// replicas. None: receipts are not signed.
    receipt_signing_key: Option<SigningKey> = "receipt.signing_key", "QUELL_RECEIPT_SIGNING_KEY", "";
}
