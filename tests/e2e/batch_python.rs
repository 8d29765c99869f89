//! The activities on `batch-queue` are for any workflow of the canceler namespace, whatever it is written in: a Python program with the
//! official SDK calls them by name, with the JSON that docs/batch.md tells.
//!
//! It needs `python3` with `venv`, and the package of the SDK; what cannot be had fails the test.

use crate::{
    harness::{batch_slot, mesh, unique},
    outside::{self, Ran},
    trace,
};
use quell_cli::dev::Part;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// The official SDK, at the version that the program was written for.
const SDK: &str = "temporalio[opentelemetry]==1.35.0";
/// What its spans are sent by.
const OTLP: &str = "opentelemetry-exporter-otlp-proto-grpc";
/// How long the SDK may take to be fetched.
const FETCH: Duration = Duration::from_secs(300);
/// How long the program may take.
const RUN: Duration = Duration::from_secs(120);

async fn must(limit: Duration, command: &mut Command) -> Ran {
    let ran = outside::run_within(limit, command).await;
    assert_eq!(ran.code, 0, "{:?}:\n{}{}", command.as_std(), ran.out, ran.err);
    ran
}

/// A Python with the SDK, made once for all runs: beside the target folder's other files.
async fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-sdk");
    let python = folder.join("bin/python3");
    let works = async || {
        let modules = "import temporalio.worker, opentelemetry.exporter.otlp.proto.grpc.trace_exporter";
        let import = outside::run(Command::new(&python).args(["-c", modules])).await;
        import.code == 0
    };
    if python.is_file() && works().await {
        return python;
    }
    // `--clear`: one that an interrupted run left behind is no good.
    let make = ["-m", "venv", "--clear"];
    must(FETCH, Command::new("python3").args(make).arg(&folder)).await;
    let install = ["-m", "pip", "install", "--quiet", SDK, OTLP];
    must(FETCH, Command::new(&python).args(install)).await;
    python
}

#[tokio::test]
async fn a_python_workflow_calls_the_activities_by_name() {
    let mesh = mesh().await;
    let python = python().await;
    let _slot = batch_slot().await;
    let id = unique("python");
    mesh.start_many("Sleeper", &id, 60).await;
    mesh.indexed(&id, 60).await;

    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/batch_activities.py");
    let query = format!("WorkloadId = '{id}' AND CloseTime IS NULL");
    let (address, collector) = (mesh.temporal(), mesh.address(Part::Jaeger));
    let ran = must(
        RUN,
        Command::new(&python)
            .arg(program)
            .args([&address, "canceler", &query, &format!("quell-{id}"), &collector]),
    )
    .await;

    let result = outside::json(ran.out.trim());
    assert_eq!(result["started"]["job_id"], format!("quell-{id}"), "{result}");
    assert!(
        result["started"]["start_time_ms"].as_i64().is_some_and(|ms| ms > 0),
        "{result}"
    );
    let tracked = &result["tracked"];
    assert_eq!(tracked["completed"], true, "{result}");
    assert_eq!(
        (&tracked["total"], &tracked["done"], &tracked["failed"]),
        (&60.into(), &60.into(), &0.into()),
        "{result}"
    );
    let terminated = format!("WorkloadId=\"{id}\" AND ExecutionStatus=\"Terminated\"");
    assert_eq!(mesh.count(&terminated).await, 60, "as many as Temporal's own count");

    // One trace of both: the SDKs share the header.
    let trace_id = result["trace_id"].as_str().expect("a trace");
    let spans = trace::whole(&mesh, trace_id, None, "CompleteWorkflow:StopByBatch").await;
    let edges = ["batch_cancel_workflows", "track_batch"].map(|activity| {
        (
            format!("quell-batch RunActivity:{activity}"),
            format!("python StartActivity:{activity}"),
        )
    });
    let edges = edges
        .each_ref()
        .map(|(child, parent)| (child.as_str(), parent.as_str()));
    trace::check_edges(&spans, &edges);
}
