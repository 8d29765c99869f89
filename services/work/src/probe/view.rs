//! A probe as visibility shows it.

use quell_api::work::v1::Probe;
use quell_mesh::{Error, NamespaceClient};

use super::{spec::RunOrder, workflows::Fate};
use crate::visibility::{self, Execution};

/// Workflow type of what a probe is known by.
pub const RUN_TYPE: &str = "ProbeRun";
/// Memo key of what it was told.
pub const ORDER: &str = "order";

/// The run of a probe. Strongly consistent.
///
/// # Errors
/// `NotFound` when there is none of that id.
pub async fn run(main: &NamespaceClient, probe_id: &str) -> Result<(Execution, RunOrder), Error> {
    let found = visibility::describe(main, probe_id).await?;
    found
        .filter(|execution| execution.workflow_type == RUN_TYPE)
        .and_then(|execution| execution.memo(ORDER).map(|order| (execution, order)))
        .ok_or_else(|| Error::not_found("probe", probe_id))
}

/// Counts what became of a probe. Eventually consistent, but for the run itself.
///
/// # Errors
/// `NotFound`, and Temporal's.
pub async fn look(main: &NamespaceClient, probe_id: &str) -> Result<Probe, Error> {
    let (execution, order) = run(main, probe_id).await?;
    // Quotes cannot be in it: there is a run of that id, and ids of runs are checked.
    let all = format!(
        "WorkflowType = \"ProbeWorkflow\" AND (WorkloadId = \"{probe_id}\" OR WorkloadId STARTS_WITH \"{probe_id}/\")"
    );
    let counts = visibility::count_by_status(main, &all).await?;
    let of = |name: &str| counts.iter().find(|(status, _)| status == name).map_or(0, |(_, n)| *n);
    let started: i64 = counts.iter().map(|(_, n)| n).sum();
    let (open, completed, failed) = (of("Running") + of("Paused"), of("Completed"), of("Failed"));
    let fate = async |fate: Fate, ended: i64| {
        if ended == 0 {
            return Ok(0);
        }
        let query = format!(
            "WorkflowType = \"ProbeWorkflow\" AND WorkloadId = \"{probe_id}/{}\" AND CloseTime IS NOT NULL",
            fate.name()
        );
        visibility::count(main, query).await
    };
    let timed_out = fate(Fate::TimedOut, failed).await?;
    let lost = fate(Fate::Lost, failed).await?;
    let retried = if order.order.attempts > 1 { completed } else { 0 };
    let run_twice = fate(Fate::RunTwice, retried).await?;
    Ok(Probe {
        probe_id: execution.workflow_id,
        spec: Some(order.spec()),
        start_time: execution.start_time,
        started,
        open,
        completed,
        timed_out,
        lost,
        run_twice,
        failed: (failed - timed_out - lost).max(0),
        otherwise: started - open - completed - failed,
        finished: open == 0 && started >= i64::from(order.workflows),
    })
}
