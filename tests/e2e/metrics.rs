//! The services' pages of metrics, as Prometheus reads them. Other tests count on the same pages, so a figure is at least what one's own
//! doing makes it.

use crate::{
    cancel::Canceler,
    harness::{Mesh, mesh, unique},
    outside::http_get,
    poll::{SOON, eventually, when},
};
use quell_api::canceler::v1::ListCancellationsRequest;
use quell_cli::dev::Part;
use tokio::net::TcpListener;

/// A collector that is not there, and one that takes connections and says nothing: calls are served, and what is lost is counted.
#[tokio::test]
async fn a_collector_that_is_gone_or_stuck_changes_nothing_but_counters() {
    let mesh = mesh().await;
    let ports = quell_cli::ports::free(2).expect("free ports");
    let (collector, page) = (format!("127.0.0.1:{}", ports[0]), format!("127.0.0.1:{}", ports[1]));
    let endpoint = format!("http://{collector}");
    let page_port = ports[1].to_string();
    // A queue of its own: only the calls of this test make spans here.
    let queue = unique("collector");
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
        ("QUELL_METRICS_PORT", &page_port),
        ("TEMPORAL_CANCELER_TASK_QUEUE", &queue),
    ];
    let own = mesh.own(Part::Canceler, "collector", &settings).await;
    let mut client = Canceler::new(own.channel());
    let mut serves = async || {
        for _ in 0..40 {
            let asked = client.list_cancellations(ListCancellationsRequest {
                page_size: 1,
                ..Default::default()
            });
            asked.await.expect("it is served");
        }
    };
    let lost = async |reason: &str| {
        let told = http_get(&page, "/metrics").await?;
        value(&told, "quell_spans_dropped_total", &[&format!("reason=\"{reason}\"")])
            .ok_or_else(|| format!("{reason} is not counted"))
    };

    assert_eq!(lost("failed").await, Ok(0.0));
    serves().await;
    eventually(SOON, "what a missing collector does not take is counted", async || {
        let lost = lost("failed").await?;
        when(lost >= 1.0, || format!("{lost}"))
    })
    .await;

    let _stuck = TcpListener::bind(&collector).await.expect("the port is free");
    let before = lost("failed").await.expect("it is counted");
    eventually(SOON, "what a stuck collector does not take is counted", async || {
        serves().await;
        let (failed, full) = (lost("failed").await?, lost("queue_full").await?);
        when(failed > before && full > 0.0, || {
            format!("{failed} failed, {full} found no place")
        })
    })
    .await;
    let told = http_get(&page, "/metrics").await.expect("it answers");
    assert_eq!(value(&told, "quell_spans_exported_total", &[]), Some(0.0));
    assert_eq!(value(&told, "quell_ready", &[]), Some(1.0));
}

/// The value of a metric with these labels (as the page writes them, any others beside them), summed.
pub(crate) fn value(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let lines = page.lines().filter(|line| {
        let Some(rest) = line.strip_prefix(name) else {
            return false;
        };
        rest.starts_with('{') && labels.iter().all(|label| rest.contains(label))
    });
    let values: Vec<f64> = lines
        .filter_map(|line| line.split_once("} ")?.1.split(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// What the pages tell once a snowball of so many has been stopped by the cancellation of this trace.
pub(crate) async fn tell_of_a_cancellation(mesh: &Mesh, stopped: f64) {
    for (part, wanted) in [
        (
            Part::Work,
            vec![
                ("quell_snowball_started_total", vec![], stopped - 1.0),
                (
                    "quell_rpc_requests_total",
                    vec![r#"method="Quiesce""#, r#"code="OK""#],
                    1.0,
                ),
                ("quell_worker_polling", vec![r#"queue="work-task-queue""#], 1.0),
            ],
        ),
        (
            Part::Canceler,
            vec![
                ("quell_visibility_wait_seconds_count", vec![], 1.0),
                ("quell_cancellations_total", vec![r#"verdict="clean""#], 1.0),
                (
                    "quell_rpc_duration_seconds_count",
                    vec![r#"method="StartCancellation""#],
                    1.0,
                ),
                (
                    "quell_worker_activity_duration_seconds_count",
                    vec![r#"activity="quiesce_sources""#, r#"result="ok""#],
                    1.0,
                ),
                (
                    "temporal_request_total",
                    vec![r#"operation="CountWorkflowExecutions""#],
                    1.0,
                ),
            ],
        ),
        (
            Part::Batch,
            vec![
                ("quell_batch_jobs_started_total", vec![r#"kind="terminate""#], 1.0),
                ("quell_batch_wait_seconds_count", vec![], 1.0),
                ("quell_temporal_connected", vec![r#"namespace="main""#], 1.0),
            ],
        ),
    ] {
        eventually(SOON, &format!("the metrics of {part}"), async || {
            let page = mesh.metrics(part).await?;
            for (name, labels, least) in &wanted {
                let value = value(&page, name, labels);
                when(value.is_some_and(|value| value >= *least), || {
                    format!("{name}{labels:?} is {value:?}, not {least}")
                })?;
            }
            let sdk = [
                "temporal_num_pollers",
                "temporal_worker_task_slots_available",
                "temporal_worker_task_slots_used",
                "temporal_request_total",
                "temporal_request_latency_seconds_count",
                "temporal_workflow_task_schedule_to_start_latency_seconds_count",
                "temporal_sticky_cache_size",
                "quell_spans_exported_total",
            ];
            for name in sdk {
                when(value(&page, name, &[]).is_some(), || format!("no {name}"))?;
            }
            when(page.contains("# {trace_id=\""), || "no exemplar".to_owned())?;
            when(page.ends_with("# EOF\n"), || "it has no end".to_owned())
        })
        .await;
    }
}
