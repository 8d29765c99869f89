//! The table of metrics.

use std::sync::LazyLock;

use super::instrument::{Instrument, Kind, Timing};
use super::{Counter, Gauge, Metric};

macro_rules! metrics {
    ($( $group:literal { $( $(#[doc = $doc:literal])+ $name:ident: $kind:ident[$($label:literal),*] = $text:literal; )+ } )+) => {
        /// Every metric of ours, in the order of the documentation.
        #[must_use]
        pub fn table() -> Vec<Metric> {
            vec![ $($( Metric {
                group: $group,
                name: $text,
                kind: <$kind as Kind>::NAME,
                labels: &[$($label),*],
                doc: concat!($($doc),+).trim_ascii(),
                show: || { LazyLock::force(&$name); },
            }, )+)+ ]
        }

        $($(
            $(#[doc = $doc])+
            pub static $name: LazyLock<Instrument<$kind, { <[&str]>::len(&[$($label),*]) }>> =
                LazyLock::new(|| Instrument::new($text, concat!($($doc),+), [$($label),*]));
        )+)+
    };
}

metrics! {
    "service" {
        /// Always 1; the labels say which service of which version this is.
        BUILD_INFO: Gauge["service", "version"] = "quell_build_info";
        /// Whether the service is ready: 1 when its namespaces can be reached and all of its workers poll, else 0.
        READY: Gauge[] = "quell_ready";
        /// Whether a Temporal namespace can be reached: 1 or 0.
        TEMPORAL_CONNECTED: Gauge["namespace"] = "quell_temporal_connected";
        /// Whether files that are read again when they change (certificates, tokens, the access file) hold something that cannot be used,
        /// so that what was valid before holds on: 1 or 0. The log says why.
        FILES_UNUSABLE: Gauge["files"] = "quell_files_unusable";
    }
    "rpc" {
        /// Calls that have ended, streams too; `code` is the gRPC status by name. A method that does not exist is `other`.
        RPC_REQUESTS: Counter["service", "method", "code"] = "quell_rpc_requests";
        /// Seconds from a call's arrival to the begin of its response. A stream may go on after that.
        RPC_DURATION: Timing["service", "method"] = "quell_rpc_duration_seconds";
        /// Calls being served, open streams included.
        RPC_IN_FLIGHT: Gauge[] = "quell_rpc_in_flight";
        /// Connections to the port of the rpcs.
        CONNECTIONS: Gauge[] = "quell_connections";
        /// Connections that were not taken, or ended from this side; `reason` is no_place (all were taken, and none could go), crowded_out
        /// (its place was needed), idle, handshake or certificate (its certificate is not good any more).
        CONNECTIONS_CLOSED: Counter["reason"] = "quell_connections_closed";
        /// Refused calls that the audit counts but does not keep, because there were too many.
        AUDIT_SUPPRESSED: Counter[] = "quell_audit_suppressed";
    }
    "worker" {
        /// Whether the server sees the worker of a queue poll: 1 or 0.
        WORKER_POLLING: Gauge["queue"] = "quell_worker_polling";
        /// Polls of a queue's worker that the server has not answered.
        WORKER_POLLS: Gauge["queue"] = "quell_worker_polls_open";
        /// Polls that ended without the server's word. Each may have cost a task (docs/drain.md).
        WORKER_POLLS_CUT: Counter["queue"] = "quell_worker_polls_cut";
        /// Activity tasks that the server handed to a queue's worker.
        WORKER_TASKS: Counter["queue"] = "quell_worker_activity_tasks";
        /// Activities that run, local ones too.
        WORKER_ACTIVITIES: Gauge["queue", "activity"] = "quell_worker_activities_running";
        /// Seconds that activities ran, local ones too; `result` is ok or failed.
        WORKER_ACTIVITY_DURATION: Timing["queue", "activity", "result"] = "quell_worker_activity_duration_seconds";
        /// Workers that ended by themselves and were started again.
        WORKER_RESTARTS: Counter["queue"] = "quell_worker_restarts";
        /// Drains that were begun; `result` is clean, or cut when something was left behind.
        WORKER_DRAINS: Counter["queue", "result"] = "quell_worker_drains";
        /// Activities that a drain left behind.
        WORKER_DRAIN_LEFT: Counter["queue"] = "quell_worker_drain_left";
    }
    "traces" {
        /// Spans that the collector has taken.
        SPANS_EXPORTED: Counter[] = "quell_spans_exported";
        /// Spans that were lost; `reason` is queue_full (they were made faster than they could be sent) or failed (the collector did not
        /// take them).
        SPANS_DROPPED: Counter["reason"] = "quell_spans_dropped";
        /// Spans that wait to be sent.
        SPANS_QUEUED: Gauge[] = "quell_spans_queued";
    }
    "sweep" {
        /// Windows that are being swept on this process.
        SWEEP_WINDOWS: Gauge[] = "quell_sweep_windows";
        /// Executions that windows have listed as open; when some were left to the cascade and listed anew, only what goes beyond.
        SWEEP_LISTED: Counter[] = "quell_sweep_listed";
        /// Executions that windows are done with; `outcome` is stopped (our stop was acknowledged), already_closed, skipped or failed.
        SWEEP_DONE: Counter["outcome"] = "quell_sweep_executions";
        /// Seconds that one stop took; `reply` is stopped, gone or error.
        SWEEP_STOP_DURATION: Timing["reply"] = "quell_sweep_stop_duration_seconds";
        /// Stops that may be in flight at once by what the limiters of all windows say now.
        SWEEP_LIMIT: Gauge[] = "quell_sweep_limit";
        /// Stops in flight.
        SWEEP_IN_FLIGHT: Gauge[] = "quell_sweep_in_flight";
        /// Executions open in what is being swept, by the last plan of a pass on this process.
        SWEEP_OPEN: Gauge[] = "quell_sweep_open";
        /// Cancellations that have ended, by verdict: clean, residue, aborted or blocked.
        CANCELLATIONS: Counter["verdict"] = "quell_cancellations";
        /// Seconds that calls waited for their turn in the budget of visibility calls (10 a second).
        VISIBILITY_WAIT: Timing[] = "quell_visibility_wait_seconds";
    }
    "batch" {
        /// Operations in line for the namespace's one slot, by the last look of this process.
        BATCH_QUEUE: Gauge[] = "quell_batch_queue_length";
        /// Batch jobs that were started on the server, by kind.
        BATCH_STARTED: Counter["kind"] = "quell_batch_jobs_started";
        /// Seconds that operations waited for their turn.
        BATCH_WAIT: Timing[] = "quell_batch_wait_seconds";
    }
    "snowball" {
        /// Executions that spawners on this process have started, children and their children.
        SNOWBALL_STARTED: Counter[] = "quell_snowball_started";
        /// Children that the server refused.
        SNOWBALL_REFUSED: Counter[] = "quell_snowball_refused";
        /// Answers of the gate to spawners; `answer` is go or wait.
        SNOWBALL_GATE: Counter["answer"] = "quell_snowball_gate_answers";
    }
}
