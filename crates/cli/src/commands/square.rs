//! `quell square`: squares the numbers 1 to n by a tree of workflows.

use super::{missing, parse_duration};
use crate::clients::{Addresses, unary};
use crate::exit::{self, Failure};
use crate::ui::{Ui, human_duration};
use crate::view::time;
use quell_api::work::v1::{
    BatchProcessing, BatchProcessingPlan, BatchProcessingResult, BatchProcessingSpec, StartBatchProcessingRequest,
    WatchBatchProcessingRequest,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Arguments of `quell square`; what is not given the service decides.
#[derive(Debug, clap::Args)]
pub(super) struct SquareArgs {
    /// The numbers 1 to this one are squared [default: 2000].
    #[arg(value_name = "N")]
    numbers: Option<u64>,
    /// Most activities of one leaf [default: 10].
    #[arg(value_name = "BATCH_SIZE")]
    batch_size: Option<u32>,
    /// Most children of one workflow [default: 5].
    #[arg(value_name = "MAX_CHILDREN")]
    max_children: Option<u32>,
    /// Other work than squaring: the type of an activity that your own worker has.
    #[arg(long, value_name = "TYPE")]
    activity: Option<String>,
    /// Task queue of that worker.
    #[arg(long, value_name = "QUEUE", requires = "activity")]
    activity_queue: Option<String>,
    /// Time between two lines of progress.
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    interval: prost_types::Duration,
    /// Only check; start nothing.
    #[arg(long)]
    validate_only: bool,
    /// Start it and return without watching; the same command joins it later.
    #[arg(long)]
    detach: bool,
}

impl SquareArgs {
    fn request(&self) -> StartBatchProcessingRequest {
        StartBatchProcessingRequest {
            spec: Some(BatchProcessingSpec {
                total_numbers: self.numbers.unwrap_or_default(),
                batch_size: self.batch_size.unwrap_or_default(),
                max_children: self.max_children.unwrap_or_default(),
                activity: self.activity.clone().unwrap_or_default(),
                activity_queue: self.activity_queue.clone().unwrap_or_default(),
            }),
            validate_only: self.validate_only,
        }
    }
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, args: SquareArgs) -> Result<u8, Failure> {
    // A zero would mean the default; whoever writes it means something else.
    if [
        args.numbers,
        args.batch_size.map(u64::from),
        args.max_children.map(u64::from),
    ]
    .contains(&Some(0))
    {
        return Err(Failure::Usage(
            "N, BATCH_SIZE and MAX_CHILDREN must be at least 1".to_owned(),
        ));
    }
    let mut client = addresses.batch_processings().await?;
    let began = Instant::now();
    let started = client.start_batch_processing(unary(args.request())).await?.into_inner();
    let plan = started.plan.ok_or_else(|| missing("plan"))?;
    let verb = match (args.validate_only, started.joined) {
        (true, _) => "would start",
        (false, true) => "joined",
        (false, false) => "started",
    };
    let id = &started.processing_id;
    ui.line(format!("{verb} {id}: {}", plan_line(&plan)));
    if args.validate_only || args.detach {
        ui.result(&json!({ "processing_id": id, "joined": started.joined, "plan": plan_json(&plan) }));
        return Ok(exit::OK);
    }
    let request = WatchBatchProcessingRequest {
        processing_id: id.clone(),
        interval: Some(args.interval),
    };
    let mut looks = client.watch_batch_processing(request).await?.into_inner();
    let mut meter = ui.meter();
    let mut last = None;
    while let Some(look) = looks.message().await? {
        let processing = look.processing.ok_or_else(|| missing("processing"))?;
        let completed = completed(&processing);
        meter.show("squaring", completed, plan.workflows, "workflows completed");
        last = Some(processing);
    }
    meter.finish();
    let processing = last.ok_or_else(|| missing("processing"))?;
    let Some(result) = &processing.result else {
        return Err(Failure::Other(format!(
            "{id} has ended as {}: {}",
            processing.status, processing.failure
        )));
    };
    let spec = processing.spec.clone().or(started.spec).unwrap_or_default();
    for line in report(&spec, result) {
        ui.line(line);
    }
    ui.line(format!(
        "{} workflows in {}",
        result.workflows,
        human_duration(began.elapsed())
    ));
    ui.result(&result_json(&processing, result, began.elapsed()));
    Ok(exit::OK)
}

fn plan_line(plan: &BatchProcessingPlan) -> String {
    let BatchProcessingPlan {
        workflows,
        depth,
        activities,
    } = plan;
    format!("{workflows} workflows, {depth} levels below the root, {activities} activities")
}

fn plan_json(plan: &BatchProcessingPlan) -> Value {
    json!({ "workflows": plan.workflows, "depth": plan.depth, "activities": plan.activities })
}

fn completed(processing: &BatchProcessing) -> u64 {
    let of_status = processing.counts.iter().filter(|count| count.status == "Completed");
    of_status.map(|count| u64::try_from(count.count).unwrap_or(0)).sum()
}

/// The document's report.
fn report(spec: &BatchProcessingSpec, result: &BatchProcessingResult) -> Vec<String> {
    let rule = "=".repeat(70);
    let list = |numbers: &[String]| format!("[{}]", numbers.join(", "));
    let results = if spec.activity == "square_number" {
        "squares"
    } else {
        "results"
    };
    vec![
        rule.clone(),
        "BATCH PROCESSING COMPLETE".to_owned(),
        rule.clone(),
        format!("Total numbers processed: {}", result.total_numbers),
        format!("Tree depth (max nesting level): {}", result.depth),
        format!("Batch size (activities per leaf): {}", spec.batch_size),
        format!("Max children per workflow: {}", spec.max_children),
        format!("Sum of all {results}: {}", result.sum),
        String::new(),
        format!("First 10 results: {}", list(&result.first_results)),
        format!("Last 10 results: {}", list(&result.last_results)),
        rule,
    ]
}

fn result_json(processing: &BatchProcessing, result: &BatchProcessingResult, elapsed: Duration) -> Value {
    json!({
        "processing_id": processing.processing_id,
        "run_id": processing.run_id,
        "sum": result.sum,
        "workflows": result.workflows,
        "depth": result.depth,
        "total_numbers": result.total_numbers,
        "first_results": result.first_results,
        "last_results": result.last_results,
        "start_time": time(processing.start_time.as_ref()),
        "close_time": time(processing.close_time.as_ref()),
        "seconds": elapsed.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_the_documents() {
        let spec = BatchProcessingSpec {
            total_numbers: 50,
            batch_size: 10,
            max_children: 5,
            activity: "square_number".into(),
            activity_queue: String::new(),
        };
        let squares = |numbers: std::ops::RangeInclusive<u64>| numbers.map(|n| (n * n).to_string()).collect();
        let result = BatchProcessingResult {
            total_numbers: 50,
            workflows: 6,
            depth: 1,
            sum: "42925".into(),
            first_results: squares(1..=10),
            last_results: squares(41..=50),
        };
        let expected = "\
======================================================================
BATCH PROCESSING COMPLETE
======================================================================
Total numbers processed: 50
Tree depth (max nesting level): 1
Batch size (activities per leaf): 10
Max children per workflow: 5
Sum of all squares: 42925

First 10 results: [1, 4, 9, 16, 25, 36, 49, 64, 81, 100]
Last 10 results: [1681, 1764, 1849, 1936, 2025, 2116, 2209, 2304, 2401, 2500]
======================================================================";
        assert_eq!(report(&spec, &result).join("\n"), expected);
    }
}
