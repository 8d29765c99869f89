//! Settings out of the flat values that were given: grouped, and what defaults to something else resolved.

use super::settings::{
    ActivityTimeouts, CancelSettings, CollectorSettings, CredentialSettings, GuardSettings, NamespaceSettings,
    OrderSettings, PayloadSettings, PeerSettings, ReceiptSettings, ServerSettings, ServerTlsSettings, Settings,
    TelemetrySettings, TlsSettings, TuningSettings, WorkerSettings, WorkflowTimeouts,
};
use super::table::Flat;
use super::value::{OtlpProtocol, TraceExporter};
use crate::protected::Protected;

impl Settings {
    /// Groups the flat values and resolves what defaults to something else.
    pub(crate) fn from_flat(flat: Flat, default_port: u16) -> Self {
        let connect_wait = flat.server_connect_wait.0;
        let protocol = flat.telemetry_protocol_traces.unwrap_or(flat.telemetry_protocol);
        let endpoint = flat.telemetry_otlp.map(|general| match protocol {
            OtlpProtocol::Grpc => general.0,
            OtlpProtocol::Http => format!("{}/v1/traces", general.0),
        });
        let endpoint = flat.telemetry_otlp_traces.map(|traces| traces.0).or(endpoint);
        let health_interval = flat.temporal_health_interval.0;
        let main = NamespaceSettings {
            address: flat.main_address.0,
            namespace: flat.main_namespace,
            task_queue: flat.main_task_queue,
            api_key: flat.main_api_key,
            tls: TlsSettings {
                ca_file: flat.main_tls_ca,
                cert_file: flat.main_tls_cert,
                key_file: flat.main_tls_key,
                domain: flat.main_tls_domain,
            },
            health_interval,
            connect_wait,
        };
        let mut beside_main: Vec<NamespaceSettings> = Vec::new();
        for namespace in flat.main_more_namespaces {
            let known = std::iter::once(&main).chain(&beside_main);
            if known.into_iter().all(|one| one.namespace != namespace) {
                beside_main.push(NamespaceSettings {
                    namespace,
                    ..main.clone()
                });
            }
        }
        let address = flat
            .canceler_address
            .map_or_else(|| main.address.clone(), |address| address.0);
        // Credentials are inherited with the address only: an API key must never be sent to another server
        // than the one it was given for.
        let same_server = address == main.address;
        let own_tls = TlsSettings {
            ca_file: flat.canceler_tls_ca,
            cert_file: flat.canceler_tls_cert,
            key_file: flat.canceler_tls_key,
            domain: flat.canceler_tls_domain,
        };
        let canceler = NamespaceSettings {
            namespace: flat.canceler_namespace.unwrap_or_else(|| main.namespace.clone()),
            task_queue: flat.canceler_task_queue,
            api_key: flat
                .canceler_api_key
                .or_else(|| main.api_key.clone().filter(|_| same_server)),
            tls: if own_tls == TlsSettings::default() && same_server {
                main.tls.clone()
            } else {
                own_tls
            },
            address,
            health_interval,
            connect_wait,
        };
        Self {
            server: ServerSettings {
                host: flat.server_host,
                port: flat.server_port.unwrap_or(default_port),
                metrics_port: flat.server_metrics_port,
                request_timeout: flat.server_request_timeout.0,
                concurrency_limit: usize::try_from(flat.server_concurrency_limit.0).unwrap_or(usize::MAX),
                connect_wait,
                shutdown_delay: flat.server_shutdown_delay.0,
                guard: GuardSettings {
                    tls: ServerTlsSettings {
                        cert_file: flat.server_tls_cert,
                        key_file: flat.server_tls_key,
                        client_ca_file: flat.server_tls_client_ca,
                        client_crl_file: flat.server_tls_client_crl,
                    },
                    access_file: flat.server_access,
                    insecure: flat.server_insecure,
                    reflection: flat.server_reflection,
                    max_message_bytes: flat.server_max_message.0,
                    max_timeout: flat.server_max_timeout.0,
                    max_connections: usize::try_from(flat.server_connections.0).unwrap_or(usize::MAX),
                    first_call_timeout: flat.server_first_call.0,
                    idle_timeout: flat.server_idle.0,
                    streams_per_connection: flat.server_streams.0,
                    calls_per_principal: usize::try_from(flat.server_principal_calls.0).unwrap_or(usize::MAX),
                    calls_per_second: flat.server_principal_rate.0,
                },
            },
            main,
            beside_main,
            canceler,
            peers: PeerSettings {
                work_address: flat.peers_work.0,
                canceler_address: flat.peers_canceler.0,
                batch_address: flat.peers_batch.0,
                credentials: CredentialSettings {
                    token_file: flat.peers_token,
                    tls: TlsSettings {
                        ca_file: flat.peers_tls_ca,
                        cert_file: flat.peers_tls_cert,
                        key_file: flat.peers_tls_key,
                        domain: flat.peers_tls_domain,
                    },
                    insecure: flat.server_insecure,
                },
            },
            workflows: WorkflowTimeouts {
                execution: flat.workflows_execution.0,
                run: flat.workflows_run.0,
                task: flat.workflows_task.0,
            },
            activities: ActivityTimeouts {
                start_to_close: flat.activities_start_to_close.0,
                maximum_attempts: flat.activities_attempts.0,
                backoff_coefficient: flat.activities_backoff,
                initial_interval: flat.activities_initial.0,
                maximum_interval: flat.activities_maximum.0,
                non_retryable_error_types: flat.activities_non_retryable,
            },
            worker: WorkerSettings {
                drain_timeout: flat.worker_drain.0,
                stop_timeout: flat.worker_stop.0,
                poll_timeout: flat.worker_poll.0,
                tuning: TuningSettings {
                    activities: flat.worker_activities.map(|n| n.0),
                    local_activities: flat.worker_local_activities.map(|n| n.0),
                    workflow_tasks: flat.worker_workflow_tasks.map(|n| n.0),
                    cached_workflows: flat.worker_cached_workflows.map(|n| n.0),
                    activity_pollers: flat.worker_activity_pollers.map(|n| n.0),
                    workflow_pollers: flat.worker_workflow_pollers.map(|n| n.0),
                    autoscale_pollers: flat.worker_autoscale,
                    activities_per_second: flat.worker_rates.0,
                },
            },
            payload: PayloadSettings {
                url: flat.payload_url.0,
                threshold_bytes: flat.payload_threshold.0,
                keys: flat.payload_keys,
            },
            telemetry: TelemetrySettings {
                log_format: flat.telemetry_log_format,
                log_filter: flat.telemetry_log_filter,
                collector: endpoint
                    .filter(|_| flat.telemetry_exporter == TraceExporter::Otlp)
                    .map(|endpoint| CollectorSettings {
                        protocol,
                        endpoint,
                        headers: flat.telemetry_headers,
                        timeout: flat.telemetry_timeout.0,
                    }),
                disabled: flat.telemetry_disabled,
                sampler: flat.telemetry_sampler,
                sample_ratio: flat.telemetry_ratio.0,
                schedule_delay: flat.telemetry_delay.0,
                queue_size: usize::try_from(flat.telemetry_queue.0).unwrap_or(usize::MAX),
                batch_size: usize::try_from(flat.telemetry_batch.0).unwrap_or(usize::MAX),
                service_name: flat.telemetry_service_name,
                resource_attributes: flat.telemetry_attributes,
                flush_timeout: flat.telemetry_flush.0,
            },
            workload_id: flat.workload_id,
            probe_task_queue: flat.probe_task_queue,
            cancel: CancelSettings {
                concurrency: flat.cancel_concurrency.0,
                confirm_timeout: flat.cancel_confirm_timeout.0,
                confirm_poll: flat.cancel_confirm_poll.0,
                protected: Protected {
                    types: flat.protected_types,
                    workloads: flat.protected_workloads,
                    queues: flat.protected_queues,
                },
            },
            orders: OrderSettings {
                ledger_url: flat.orders_ledger_url,
                faults: flat.orders_faults,
            },
            receipt: ReceiptSettings {
                signing_key: flat.receipt_signing_key,
            },
        }
    }
}
