//! `quell chaos`: workers restart all the time, and nothing is lost. One attempt each: no retry hides anything.

use crate::{
    command::{last_line, prepared},
    harness::{Mesh, mesh},
    outside::{Ran, run_within},
    poll::LONG,
};

async fn chaos(mesh: &Mesh, args: &[&str]) -> Ran {
    let address = mesh.temporal_address();
    let mut command = prepared(mesh, &["chaos", "--json", "--temporal-address", &address]);
    run_within(2 * LONG, command.args(args)).await
}

#[tokio::test]
async fn ten_workers_that_restart_all_the_time_lose_nothing() {
    let mesh = mesh().await;
    let args = ["-n", "10", "--restart-every", "0.1", "--workflows", "1000"];
    let ran = chaos(&mesh, &args).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let told = last_line(&ran);
    assert_eq!(
        (&told["completed"], &told["lost"], &told["timed_out"]),
        (&1000.into(), &0.into(), &0.into()),
        "{told}"
    );
    assert_eq!(told["unclean_drains"], 0, "{told}\n{}", ran.err);
    let drains = told["drains"].as_u64().expect("a number");
    assert!(drains > 20, "they restarted: {told}");
    // Temporal itself says the same.
    let probe = told["probe_id"].as_str().expect("an id");
    let query = format!("WorkflowType=\"ProbeWorkflow\" AND WorkloadId=\"{probe}\" AND ExecutionStatus=\"Completed\"");
    assert_eq!(mesh.count(&query).await, 1_000);
}

#[tokio::test]
async fn so_do_processes_that_are_ended_by_sigterm() {
    let mesh = mesh().await;
    let args = ["-n", "3", "--restart-every", "0.3", "--workflows", "200", "--processes"];
    let ran = chaos(&mesh, &args).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let told = last_line(&ran);
    assert_eq!(
        (&told["completed"], &told["lost"], &told["unclean_drains"]),
        (&200.into(), &0.into(), &0.into()),
        "{told}\n{}",
        ran.err
    );
    assert!(told["drains"].as_u64().is_some_and(|drains| drains >= 3), "{told}");
}
