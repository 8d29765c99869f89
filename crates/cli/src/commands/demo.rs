//! `quell demo`: the main job from nothing to the proof, in one command.
//!
//! It starts a mesh of its own on free ports, lets a snowball grow past `--size` workflows, stops it while it is still
//! growing, and prints the receipt. Then it asks the server itself, with Temporal's own command line and not with our code,
//! how many are still running: at once, and again ten seconds later, when whatever had escaped would be visible.

mod check;

use super::dev::{self, Interrupts};
use super::grow::{self, PLANNED_TIMES};
use super::receipt::fetch_receipt;
use super::stop::{EngineArg, rate, seconds_to_zero};
use super::{stop, watch};
use crate::clients::Addresses;
use crate::dev::{DevMesh, JaegerWish};
use crate::exit::{self, Failure};
use crate::ui::Ui;
use crate::view::{receipt_lines, verdict_name};
use check::Counter;
use quell_api::canceler::v1::{CancellationSpec, Engine, Receipt, StartCancellationRequest};
use quell_api::r#type::v1::Target;
use quell_api::r#type::v1::target::Selector;
use serde_json::json;
use std::time::{Duration, Instant};

/// After this long the second independent count is taken.
const SECOND_COUNT_AFTER: Duration = Duration::from_secs(10);
/// What the server's own batch operation does by default, in workflows a second.
const BUILT_IN_RATE: f64 = 50.0;

/// Arguments of `quell demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// The cancellation starts when so many workflows are open.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(10..=500_000))]
    size: u64,
    /// How executions are stopped.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineArg,
    /// Without Jaeger, hence without a trace.
    #[arg(long)]
    no_jaeger: bool,
    /// With Temporal's Web UI.
    #[arg(long)]
    web_ui: bool,
    /// Keep the mesh running at the end, to look at it, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(ui: Ui, args: DemoArgs) -> Result<u8, Failure> {
    let mut asked = Interrupts::new()?;
    let started = Instant::now();
    ui.line("starting a mesh of its own on free ports");
    let jaeger = if args.no_jaeger {
        JaegerWish::No
    } else {
        JaegerWish::IfPossible
    };
    let starting = DevMesh::builder().web_ui(args.web_ui).jaeger(jaeger).start();
    let interrupted = || Failure::Other("interrupted".to_owned());
    let mut mesh = tokio::select! {
        mesh = starting => mesh?,
        () = asked.next() => return Err(interrupted()),
    };
    for line in dev::describe(&mesh) {
        ui.line(line);
    }
    ui.line(format!("the mesh is up after {:.1} s", started.elapsed().as_secs_f64()));

    let outcome = tokio::select! {
        outcome = perform(ui, &mesh, &args) => outcome,
        process = mesh.any_exit() => Err(Failure::Other(format!("{} ended in the middle:\n{}", process.name(), process.log_tail(20)))),
        () = asked.next() => Err(interrupted()),
    };
    if outcome.is_err() {
        mesh.keep_folder();
        ui.line(format!("the logs are kept in {}", mesh.folder().display()));
    } else if args.keep {
        ui.line("the mesh stays up; Ctrl-C stops it");
        asked.next().await;
    }
    dev::stop(ui, &mesh, &mut asked).await;
    let (code, result) = outcome?;
    ui.result(&result);
    Ok(code)
}

async fn perform(ui: Ui, mesh: &DevMesh, args: &DemoArgs) -> Result<(u8, serde_json::Value), Failure> {
    let addresses = Addresses::of_mesh(mesh);
    let counter = Counter::new(mesh).await?;
    let workload_id = format!("demo-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);

    let planned = grow::until(
        ui,
        &addresses,
        &workload_id,
        args.size,
        args.size.saturating_mul(PLANNED_TIMES),
    )
    .await?
    .planned;
    let closed_before = counter
        .count(&format!(r#"WorkloadId="{workload_id}" AND ExecutionStatus!="Running""#))
        .await?;

    let spec = CancellationSpec {
        target: Some(Target {
            selector: Some(Selector::WorkloadId(workload_id.clone())),
        }),
        reason: "quell demo".to_owned(),
        engine: Engine::from(args.engine).into(),
        // The whole snowball and its root.
        max_affected: planned.saturating_add(1),
        ..Default::default()
    };
    let request = StartCancellationRequest {
        spec: Some(spec),
        ..Default::default()
    };
    let cancellation = stop::start(&addresses, request).await?;
    let id = cancellation.cancellation_id;
    ui.line(format!("cancellation {id} begins with {} open", cancellation.matched));
    watch::until_done(ui, &addresses, &id).await?;
    let receipt = fetch_receipt(&addresses, id).await?;
    for line in receipt_lines(&receipt) {
        ui.line(line);
    }
    let open_after = open_now_and_later(ui, &counter, &workload_id).await?;
    let closed = counter
        .count(&format!(r#"WorkloadId="{workload_id}" AND ExecutionStatus!="Running""#))
        .await?;
    report(ui, mesh, &receipt, closed.saturating_sub(closed_before), open_after).await
}

/// Two independent counts; the larger one counts.
async fn open_now_and_later(ui: Ui, counter: &Counter, workload_id: &str) -> Result<i64, Failure> {
    let query = format!(r#"WorkloadId="{workload_id}" AND ExecutionStatus="Running""#);
    ui.line(format!("asking the server itself: {}", counter.command_line(&query)));
    let now = counter.count(&query).await?;
    ui.line(format!("running now: {now}"));
    tokio::time::sleep(SECOND_COUNT_AFTER).await;
    let later = counter.count(&query).await?;
    ui.line(format!("running {} s later: {later}", SECOND_COUNT_AFTER.as_secs()));
    Ok(now.max(later))
}

async fn report(
    ui: Ui,
    mesh: &DevMesh,
    receipt: &Receipt,
    stopped: i64,
    open_after: i64,
) -> Result<(u8, serde_json::Value), Failure> {
    let seconds = seconds_to_zero(receipt);
    let rate = rate(stopped, seconds);
    ui.line(format!(
        "{stopped} workflows were open and are closed: {seconds:.1} s to zero, {rate:.0} a second, {:.1} times the \
         server's built-in batch ({BUILT_IN_RATE:.0} a second)",
        rate / BUILT_IN_RATE
    ));
    let trace = mesh
        .trace_url(&receipt.trace_id)
        .filter(|_| !receipt.trace_id.is_empty());
    if let Some(url) = &trace {
        ui.line(format!("trace       {url}"));
        match check::trace_summary(mesh.ports().jaeger_ui, &receipt.trace_id).await {
            Ok(summary) => ui.line(format!("            {summary}")),
            Err(reason) => ui.line(format!("            Jaeger does not show it: {reason}")),
        }
    }
    let verdict = receipt.verdict();
    let code = match exit::of_verdict(verdict) {
        exit::OK if open_after > 0 => exit::RESIDUE,
        code => code,
    };
    let result = json!({
        "verdict": verdict_name(verdict),
        "stopped": stopped,
        "seconds": seconds,
        "rate": rate,
        "open_after": open_after,
        "cancellation_id": receipt.cancellation_id,
        "trace_id": receipt.trace_id,
        "trace_url": trace,
    });
    Ok((code, result))
}
