//! `quell simulate --scale`: modelled time against the server's limit, calls made, and memory as this process used it.

use crate::exit::{self, Failure};
use crate::ui::Ui;
use nix::sys::resource::{UsageWho, getrusage};
use quell_sweep::Verdict;
use quell_sweep::sim::scale::{ScaleReport, ScaleSpec, Shape, model};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The most that a cancellation may take, as a multiple of what the server needs at least.
const LIMIT_RATIO: f64 = 1.1;
/// How much more memory ten times as many executions may take, in bytes, the model's own bits left out.
const FLAT_BYTES: u64 = 16 << 20;
/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(250);

/// Arguments of `quell simulate --scale`.
#[derive(Debug, clap::Args)]
pub(super) struct ScaleArgs {
    /// Instead of many runs: model one cancellation of so many executions, and one of a tenth of them to compare with.
    #[arg(long, conflicts_with_all = ["runs", "seed", "jobs"], value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    scale: Option<u64>,
    /// How the executions hang together; default: flat, then a tree.
    #[arg(long, value_enum, requires = "scale")]
    shape: Option<ShapeArg>,
    /// Children of each execution of a tree.
    #[arg(long, default_value_t = 200, requires = "scale", value_parser = clap::value_parser!(u64).range(1..=2_000))]
    fan_out: u64,
    /// Executions that the modelled server can close in a second.
    #[arg(long, default_value_t = 2_000, requires = "scale", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    stop_rate: u64,
    /// Calls that it works on at the same time.
    #[arg(long, default_value_t = 40, requires = "scale", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    at_once: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ShapeArg {
    Flat,
    Tree,
}

impl ScaleArgs {
    /// How many to model, if that is asked for.
    pub(super) fn executions(&self) -> Option<u64> {
        self.scale
    }
}

/// One size of one shape.
struct Modelled {
    name: &'static str,
    executions: u64,
    report: ScaleReport,
    /// Most memory that this process has had so far, in bytes.
    peak_bytes: u64,
    took: Duration,
}

pub(super) async fn run(ui: Ui, executions: u64, args: &ScaleArgs) -> Result<u8, Failure> {
    let shapes = match args.shape {
        Some(shape) => vec![shape],
        None => vec![ShapeArg::Flat, ShapeArg::Tree],
    };
    let mut results = Vec::new();
    let mut good = true;
    for shape in shapes {
        // The smaller one first: the most memory that a process has had never goes down.
        let small = one(ui, shape, executions / 10, args).await?;
        let large = one(ui, shape, executions, args).await?;
        // Two bits of the model for each execution.
        let bits = (executions - executions / 10) / 4;
        let growth = large.peak_bytes.saturating_sub(small.peak_bytes).saturating_sub(bits);
        let is_flat = growth <= FLAT_BYTES;
        let is_fast = large.report.ratio() <= LIMIT_RATIO;
        let is_clean = large.report.verdict == Verdict::Clean && large.report.open == 0;
        good &= is_flat && is_fast && is_clean;
        ui.line(format!(
            "{}: {:.3} of the server's limit ({}), {} MiB more memory for ten times as many ({})",
            large.name,
            large.report.ratio(),
            if is_fast { "within 1.1" } else { "NOT within 1.1" },
            growth >> 20,
            if is_flat { "flat" } else { "NOT flat" },
        ));
        let mut result = numbers(&large);
        result["tenth"] = numbers(&small);
        result["memory_growth_bytes"] = json!(growth);
        result["within_limit"] = json!(is_fast);
        result["flat_memory"] = json!(is_flat);
        results.push(result);
    }
    ui.result(&json!({ "scale": results, "good": good }));
    Ok(if good { exit::OK } else { exit::FAILED })
}

async fn one(ui: Ui, shape: ShapeArg, executions: u64, args: &ScaleArgs) -> Result<Modelled, Failure> {
    let (name, shape) = match shape {
        ShapeArg::Flat => ("flat", Shape::Flat),
        ShapeArg::Tree => ("tree", Shape::Tree { fan_out: args.fan_out }),
    };
    let spec = ScaleSpec {
        executions,
        shape,
        stops_per_second: args.stop_rate,
        at_once: args.at_once,
        ..ScaleSpec::default()
    };
    let started = Instant::now();
    let open = Arc::new(AtomicU64::new(executions));
    let goes_on = Arc::new(AtomicBool::new(true));
    let mut work = {
        let (open, goes_on) = (Arc::clone(&open), Arc::clone(&goes_on));
        tokio::task::spawn_blocking(move || {
            model(&spec, &mut |left| {
                open.store(left, Ordering::Relaxed);
                goes_on.load(Ordering::Relaxed)
            })
        })
    };
    let mut meter = ui.meter();
    let mut tick = tokio::time::interval(SHOWN_EVERY);
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            _ = tick.tick() => {
                let closed = executions.saturating_sub(open.load(Ordering::Relaxed));
                meter.show(name, closed, executions, "closed");
            }
            _ = tokio::signal::ctrl_c() => goes_on.store(false, Ordering::Relaxed),
        }
    };
    meter.finish();
    let report = ended
        .map_err(|error| Failure::Other(format!("the model failed: {error}")))?
        .map_err(|error| Failure::Usage(error.to_string()))?
        .ok_or_else(|| Failure::Other("interrupted".to_owned()))?;
    let modelled = Modelled {
        name,
        executions,
        report,
        peak_bytes: peak_bytes()?,
        took: started.elapsed(),
    };
    print(ui, &modelled);
    Ok(modelled)
}

/// The most resident memory that this process has had, in bytes.
fn peak_bytes() -> Result<u64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|error| Failure::Other(format!("getrusage: {error}")))?;
    // Kilobytes, but on Apple's systems bytes.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1_024 };
    Ok(u64::try_from(usage.max_rss()).unwrap_or_default() * unit)
}

fn print(ui: Ui, modelled: &Modelled) {
    let Modelled {
        name,
        executions,
        report,
        peak_bytes,
        took,
    } = modelled;
    let calls = &report.calls;
    ui.line(format!(
        "{name}, {executions} executions: {:?}, {} left; {:.0} s to zero, {:.0} s to the verdict, the server's limit {:.0} s",
        report.verdict, report.open, report.zero_seconds, report.seconds, report.limit_seconds
    ));
    ui.line(format!(
        "  {} stops ({} too late), {} by the cascade, {} lists, {} describes, {} counts, {} reservations",
        calls.stops, calls.late_stops, report.cascaded, calls.lists, calls.describes, calls.counts, calls.reservations
    ));
    ui.line(format!(
        "  at most {} rows and {} outcomes held, {} MiB of memory; modelled in {:.1} s",
        report.peak_rows,
        report.peak_outcomes,
        peak_bytes >> 20,
        took.as_secs_f64()
    ));
}

fn numbers(modelled: &Modelled) -> Value {
    let ScaleReport { calls, .. } = &modelled.report;
    json!({
        "shape": modelled.name,
        "executions": modelled.executions,
        "verdict": modelled.report.verdict,
        "open": modelled.report.open,
        "seconds": modelled.report.seconds,
        "zero_seconds": modelled.report.zero_seconds,
        "limit_seconds": modelled.report.limit_seconds,
        "ratio": modelled.report.ratio(),
        "stopped": modelled.report.stopped,
        "cascaded": modelled.report.cascaded,
        "lists": calls.lists,
        "counts": calls.counts,
        "stops": calls.stops,
        "late_stops": calls.late_stops,
        "describes": calls.describes,
        "reservations": calls.reservations,
        "peak_rows": modelled.report.peak_rows,
        "peak_outcomes": modelled.report.peak_outcomes,
        "peak_memory_bytes": modelled.peak_bytes,
    })
}
