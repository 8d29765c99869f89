//! Previews.

use super::{execution_json, execution_line, time};
use quell_api::canceler::v1::PreviewCancellationResponse;
use serde_json::{Value, json};

/// A preview as JSON.
#[must_use]
pub fn preview_json(preview: &PreviewCancellationResponse) -> Value {
    let types = preview
        .types
        .iter()
        .map(|kind| json!({ "workflow_type": kind.workflow_type, "count": kind.count }));
    json!({
        "open": preview.open,
        "roots": preview.roots,
        "types": types.collect::<Vec<_>>(),
        "sample": preview.sample.iter().map(execution_json).collect::<Vec<_>>(),
        "growth_per_second": preview.growth_per_second,
        "query": preview.query,
        "warnings": preview.warnings,
        "confirmation_token": preview.confirmation_token,
        "open_is_bound": preview.open_is_bound,
        "task_queues": preview.task_queues.iter().map(|of| json!({ "task_queue": of.task_queue, "count": of.count })).collect::<Vec<_>>(),
        "ages": preview.ages.iter().map(|age| json!({
            "within_seconds": age.within.map(|within| within.seconds),
            "count": age.count,
        })).collect::<Vec<_>>(),
        "newest_start_time": time(preview.newest_start_time.as_ref()),
        "oldest_start_time": time(preview.oldest_start_time.as_ref()),
        "descendants": preview.descendants,
        "descendants_is_bound": preview.descendants_is_bound,
        "schedules": preview.schedules,
        "running_cancellations": preview.running_cancellations,
        "namespaces": preview.namespaces.iter().map(|of| json!({ "namespace": of.namespace, "open": of.open })).collect::<Vec<_>>(),
        "estimated_seconds": preview.estimated_duration.map(|duration| duration.seconds),
    })
}

fn at_least(is_bound: bool) -> &'static str {
    if is_bound { "at least " } else { "" }
}

/// A preview for people.
#[must_use]
pub fn preview_lines(preview: &PreviewCancellationResponse) -> Vec<String> {
    let mut lines = vec![
        format!(
            "open        {}{} ({} without a parent)",
            at_least(preview.open_is_bound),
            preview.open,
            preview.roots
        ),
        format!(
            "descending  {}{} more, without matching",
            at_least(preview.descendants_is_bound),
            preview.descendants
        ),
        format!("growth      {:+.1} a second", preview.growth_per_second),
        format!("query       {}", preview.query),
    ];
    if preview.namespaces.len() > 1 {
        let each = preview
            .namespaces
            .iter()
            .map(|of| format!("{} in {}", of.open, of.namespace));
        lines.push(format!("of these    {}", each.collect::<Vec<_>>().join(", ")));
    }
    let seconds = preview.estimated_duration.map_or(0, |duration| duration.seconds);
    lines.push(format!("estimate    {seconds} s at 100 stops a second"));
    let ages = preview.ages.iter().map(|age| match age.within {
        Some(within) => format!("{} up to {} min", age.count, within.seconds / 60),
        None => format!("{} older", age.count),
    });
    lines.push(format!("age         {}", ages.collect::<Vec<_>>().join(", ")));
    lines.extend(
        preview
            .task_queues
            .iter()
            .map(|of| format!("queue       {} x {}", of.count, of.task_queue)),
    );
    lines.extend(preview.schedules.iter().map(|id| format!("schedule    {id}")));
    let others = preview.running_cancellations.iter();
    lines.extend(others.map(|id| format!("running     cancellation {id}")));
    lines.extend(
        preview
            .types
            .iter()
            .map(|kind| format!("type        {} x {}", kind.count, kind.workflow_type)),
    );
    lines.extend(
        preview
            .sample
            .iter()
            .map(|execution| format!("e.g.        {}", execution_line(execution))),
    );
    lines.extend(preview.warnings.iter().map(|warning| format!("warning     {warning}")));
    lines
}
