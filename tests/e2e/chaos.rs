//! `quell chaos`: workers restart all the time, and nothing is lost. One attempt each: no retry hides anything.

use crate::{
    command::{last_line, prepared},
    harness::{Mesh, mesh},
    outside::{Ran, run_within},
    poll::LONG,
};
use serde_json::Value;

async fn chaos(mesh: &Mesh, args: &[&str]) -> Ran {
    let address = mesh.temporal_address();
    let mut command = prepared(mesh, &["chaos", "--json", "--temporal-address", &address]);
    run_within(2 * LONG, command.args(args)).await
}

/// Nothing was lost by a worker. Every poll was answered, every task that came was begun, and everything that was begun came to its
/// end. A server that is short of processors loses tasks on its own, without any worker (docs/drain.md): those never got this far, and
/// there must be no others.
async fn nothing_was_lost(mesh: &Mesh, ran: &Ran, workflows: u64) -> Value {
    let told = last_line(ran);
    let number = |field: &str| {
        told[field]
            .as_u64()
            .unwrap_or_else(|| panic!("{field} in {told}\n{}", ran.err))
    };
    assert_eq!(number("polls_cut"), 0, "{told}");
    assert_eq!(number("tasks_received"), number("tasks_begun"), "{told}");
    assert_eq!(number("tasks_begun"), number("completed"), "{told}");
    assert_eq!(number("unclean_drains"), 0, "{told}\n{}", ran.err);
    assert_eq!(
        number("timed_out") + number("failed") + number("otherwise"),
        0,
        "{told}"
    );
    assert_eq!(number("completed") + number("lost"), workflows, "{told}");
    assert_eq!(ran.code, i32::from(number("lost") > 0), "{told}");
    // Temporal itself says the same.
    let probe = told["probe_id"].as_str().expect("an id");
    let query = format!("WorkflowType=\"ProbeWorkflow\" AND WorkloadId=\"{probe}\" AND ExecutionStatus=\"Completed\"");
    assert_eq!(mesh.count(&query).await.unsigned_abs(), number("completed"));
    told
}

#[tokio::test]
async fn ten_workers_that_restart_all_the_time_lose_nothing() {
    let mesh = mesh().await;
    let args = ["-n", "10", "--restart-every", "0.1", "--workflows", "1000"];
    let ran = chaos(&mesh, &args).await;
    let told = nothing_was_lost(&mesh, &ran, 1_000).await;
    assert!(told["drains"].as_u64().is_some_and(|drains| drains > 20), "{told}");
}

/// What the drain is for: workers that give it no time drop their polls, and this command sees it.
#[tokio::test]
async fn workers_that_do_not_wait_are_found_out() {
    let mesh = mesh().await;
    let args = [
        "-n",
        "4",
        "--restart-every",
        "0.3",
        "--workflows",
        "100",
        "--graceful-shutdown-timeout",
        "0.002",
    ];
    let ran = chaos(&mesh, &[&args[..], &["--activity-timeout", "2"]].concat()).await;
    let told = last_line(&ran);
    assert!(told["polls_cut"].as_u64().is_some_and(|cut| cut > 0), "{told}");
    assert!(
        told["unclean_drains"].as_u64().is_some_and(|unclean| unclean > 0),
        "{told}"
    );
}

#[tokio::test]
async fn so_do_processes_that_are_ended_by_sigterm() {
    let mesh = mesh().await;
    let args = ["-n", "3", "--restart-every", "0.3", "--workflows", "200", "--processes"];
    let ran = chaos(&mesh, &args).await;
    let told = nothing_was_lost(&mesh, &ran, 200).await;
    assert!(told["drains"].as_u64().is_some_and(|drains| drains >= 3), "{told}");
}
