//! The services' pages of metrics, as Prometheus reads them. Other tests count on the same pages, so a figure is at least what one's own
//! doing makes it.

use crate::{
    harness::Mesh,
    poll::{SOON, eventually, when},
};
use quell_cli::dev::Part;

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
