//! The page and its documentation.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

const HEAD: &str = "# Metrics

<!-- Written from the table in crates/mesh/src/metrics/table.rs: QUELL_WRITE_DOCS=1 cargo test -p quell-mesh docs -->

Every service offers its metrics at `/metrics` on a port of its own (`QUELL_METRICS_PORT`; 9464 work, 9465 canceler, 9466 batch), in the
OpenMetrics format, which Prometheus 2.5 and later asks for by itself. Labels have few values, all known to the code: never an id, a
workload or a query. Durations are histograms in seconds, and each of their buckets carries an exemplar: the `trace_id` of one call that
is in a recorded trace (to keep them, start Prometheus with `--enable-feature=exemplar-storage`). A metric without labels is there from the
start; one with labels from the first time that it counted.

A process counts what it did itself, from its start. Sums over a service's replicas are the reader's: `sum by (...) (rate(...))`.
`deploy/prometheus` has the alerts, `deploy/grafana` the dashboards.
";

const TAIL: &str = "
## temporal

The Temporal SDK's own metrics are on the same page, under `temporal_`, with the SDK's labels (`namespace`, `task_queue`, `workflow_type`,
`activity_type`, `worker_type`, `poller_type`, `operation`). Durations are in seconds. The ones that the dashboards use:

| name | type | meaning |
| --- | --- | --- |
";

/// Of the SDK's metrics, those that the dashboards use.
const SDK: [(&str, &str, &str); 9] = [
    (
        "temporal_num_pollers",
        "gauge",
        "Polls that are open, by kind (`poller_type`).",
    ),
    (
        "temporal_worker_task_slots_available",
        "gauge",
        "Free places for tasks, by kind (`worker_type`).",
    ),
    ("temporal_worker_task_slots_used", "gauge", "Places that are taken."),
    (
        "temporal_request_total",
        "counter",
        "Calls to Temporal, by `operation`.",
    ),
    (
        "temporal_request_failure_total",
        "counter",
        "Those that failed, by `status_code` too.",
    ),
    ("temporal_request_latency_seconds", "histogram", "How long they took."),
    (
        "temporal_workflow_task_schedule_to_start_latency_seconds",
        "histogram",
        "How long workflow tasks waited for a worker.",
    ),
    (
        "temporal_activity_schedule_to_start_latency_seconds",
        "histogram",
        "How long activities waited for a worker.",
    ),
    (
        "temporal_sticky_cache_size",
        "gauge",
        "Workflows kept in memory between tasks.",
    ),
];

fn markdown() -> String {
    let mut text = HEAD.to_owned();
    let mut group = "";
    for metric in table() {
        if metric.group != group {
            group = metric.group;
            write!(
                text,
                "\n## {group}\n\n| name | type | labels | meaning |\n| --- | --- | --- | --- |\n"
            )
            .unwrap();
        }
        let suffix = if metric.kind == "counter" { "_total" } else { "" };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            text,
            "| `{}{suffix}` | {} | {} | {} |",
            metric.name,
            metric.kind,
            labels.join(", "),
            metric.doc
        )
        .unwrap();
    }
    text.push_str(TAIL);
    for (name, kind, meaning) in SDK {
        writeln!(text, "| `{name}` | {kind} | {meaning} |").unwrap();
    }
    text
}

#[test]
fn docs_are_written_from_the_table() {
    if std::env::var_os("QUELL_WRITE_DOCS").is_some() {
        std::fs::write(PATH, markdown()).unwrap();
    }
    let found = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        found == markdown(),
        "docs/metrics.md is stale: QUELL_WRITE_DOCS=1 cargo test -p quell-mesh docs"
    );
}

#[test]
fn names_keep_to_the_conventions_of_prometheus() {
    let mut seen = BTreeSet::new();
    for Metric {
        name,
        kind,
        doc,
        labels,
        ..
    } in table()
    {
        assert!(seen.insert(name), "{name} is there twice");
        assert!(name.starts_with("quell_"), "{name}");
        assert!(!name.ends_with("_total"), "{name}: the page adds it");
        assert!(doc.ends_with('.') && !doc.contains('|'), "{name}: {doc}");
        assert_eq!(kind == "histogram", name.ends_with("_seconds"), "{name}");
        for label in labels {
            assert!(!label.ends_with("_id"), "{name}: ids have no bound");
        }
    }
}

#[test]
fn the_page_shows_what_was_counted_with_the_trace_of_one_call() {
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
    show(&["rpc", "traces"]);
    RPC_REQUESTS.with(["s", "m", "OK"]).inc_by(2);
    let span = SpanContext::new(
        TraceId::from(7),
        SpanId::from(8),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let inside = opentelemetry::Context::new().with_remote_span_context(span).attach();
    RPC_DURATION
        .with(["s", "m"])
        .record(std::time::Duration::from_millis(3));
    drop(inside);
    let page = page().unwrap();
    let lines: Vec<_> = page.lines().collect();
    for wanted in [
        r#"quell_rpc_requests_total{service="s",method="m",code="OK"} 2"#,
        r#"quell_rpc_duration_seconds_bucket{le="0.005",service="s",method="m"} 1 # {trace_id="00000000000000000000000000000007"} 0.003"#,
        r#"quell_rpc_duration_seconds_bucket{le="0.0025",service="s",method="m"} 0"#,
        "# TYPE quell_rpc_duration_seconds histogram",
        "quell_spans_exported_total{} 0",
        "# EOF",
    ] {
        assert!(lines.contains(&wanted), "{wanted} is not in\n{page}");
    }
    assert!(
        !page.contains("quell_batch"),
        "what a service does not do is not on its page"
    );
}

#[test]
fn the_sdks_instruments_of_one_name_are_one_metric() {
    use temporalio_common::telemetry::metrics::{MetricKeyValue, MetricParameters, NewAttributes};
    let meter = sdk::for_client();
    for by in [1, 2] {
        let labels = meter.new_attributes(NewAttributes::new(vec![MetricKeyValue::new("task-queue", "q")]));
        let params = MetricParameters::builder().name("made_up").build();
        meter.counter(params.clone()).add(by, &labels);
        let params = MetricParameters::builder().name("made_up_latency").build();
        let took = std::time::Duration::from_millis(60);
        meter.histogram_duration(params).record(took, &labels);
    }
    let page = page().unwrap();
    assert_eq!(page.matches("# TYPE temporal_made_up counter").count(), 1, "{page}");
    for wanted in [
        r#"temporal_made_up_total{task_queue="q"} 3"#,
        r#"temporal_made_up_latency_seconds_bucket{le="0.05",task_queue="q"} 0"#,
        r#"temporal_made_up_latency_seconds_bucket{le="0.1",task_queue="q"} 2"#,
    ] {
        assert!(page.lines().any(|line| line == wanted), "{wanted} is not in\n{page}");
    }
}
