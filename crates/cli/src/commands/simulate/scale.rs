//! `quell simulate --scale`: modelled time against the server's limit, calls made, and memory as this process used it.

use crate::exit::{self, Failure};
use crate::ui::{Meter, Ui};
use nix::sys::resource::{UsageWho, getrusage};
use quell_sweep::Verdict;
use quell_sweep::sim::scale::{ScaleReport, ScaleSpec, Shape, model};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The most that a cancellation may take, as a multiple of what the server needs at least.
const LIMIT_RATIO: f64 = 1.1;
/// How much more memory ten times as many executions may take, in bytes, what the modelled server holds left out.
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

/// What is modelled now, for progress.
#[derive(Debug, Default)]
struct Now {
    executions: AtomicU64,
    open: AtomicU64,
    stop: AtomicBool,
}

pub(super) async fn run(ui: Ui, executions: u64, args: &ScaleArgs) -> Result<u8, Failure> {
    let shapes = match args.shape {
        Some(shape) => vec![shape],
        None => vec![ShapeArg::Flat, ShapeArg::Tree],
    };
    // The smaller one first: the most memory that a process has had never goes down. All of them on one thread: each has
    // memory of its own that it does not give back.
    let sizes = [executions / 10, executions];
    let specs: Vec<_> = shapes
        .iter()
        .flat_map(|shape| sizes.map(|size| spec(*shape, size, args)))
        .collect();
    let now = Arc::new(Now::default());
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let work = {
        let now = Arc::clone(&now);
        tokio::task::spawn_blocking(move || {
            for spec in specs {
                let modelled = one(&spec, &now)?;
                if sender.send(modelled).is_err() {
                    break;
                }
            }
            Ok::<(), Failure>(())
        })
    };
    let mut meter = ui.meter();
    let mut tick = tokio::time::interval(SHOWN_EVERY);
    let mut small: Option<Modelled> = None;
    let mut results = Vec::new();
    let mut good = true;
    loop {
        tokio::select! {
            modelled = receiver.recv() => {
                let Some(modelled) = modelled else { break };
                print(&meter, &modelled);
                match small.take() {
                    None => small = Some(modelled),
                    Some(tenth) => {
                        let (result, is_good) = compared(&meter, &tenth, &modelled);
                        results.push(result);
                        good &= is_good;
                    }
                }
            }
            _ = tick.tick() => {
                let executions = now.executions.load(Ordering::Relaxed);
                let open = now.open.load(Ordering::Relaxed);
                meter.show("modelling", executions.saturating_sub(open), executions, "closed");
            }
            _ = tokio::signal::ctrl_c() => now.stop.store(true, Ordering::Relaxed),
        }
    }
    meter.finish();
    work.await
        .map_err(|error| Failure::Other(format!("the model failed: {error}")))??;
    ui.result(&json!({ "scale": results, "good": good }));
    Ok(if good { exit::OK } else { exit::FAILED })
}

fn spec(shape: ShapeArg, executions: u64, args: &ScaleArgs) -> ScaleSpec {
    ScaleSpec {
        executions,
        shape: match shape {
            ShapeArg::Flat => Shape::Flat,
            ShapeArg::Tree => Shape::Tree { fan_out: args.fan_out },
        },
        stops_per_second: args.stop_rate,
        at_once: args.at_once,
        ..ScaleSpec::default()
    }
}

fn one(spec: &ScaleSpec, now: &Now) -> Result<Modelled, Failure> {
    let started = Instant::now();
    now.open.store(spec.executions, Ordering::Relaxed);
    now.executions.store(spec.executions, Ordering::Relaxed);
    let report = model(spec, &mut |open| {
        now.open.store(open, Ordering::Relaxed);
        !now.stop.load(Ordering::Relaxed)
    });
    let report = report.map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Modelled {
        name: match spec.shape {
            Shape::Flat => "flat",
            Shape::Tree { .. } => "tree",
        },
        executions: spec.executions,
        report: report.ok_or_else(|| Failure::Other("interrupted".to_owned()))?,
        peak_bytes: peak_bytes()?,
        took: started.elapsed(),
    })
}

/// Holds one against a tenth of it, and against what is asked for.
fn compared(meter: &Meter, small: &Modelled, large: &Modelled) -> (Value, bool) {
    // What the modelled server holds is not ours.
    let model = large.report.model_bytes.saturating_sub(small.report.model_bytes);
    let growth = large.peak_bytes.saturating_sub(small.peak_bytes).saturating_sub(model);
    let is_flat = growth <= FLAT_BYTES;
    let is_fast = large.report.ratio() <= LIMIT_RATIO;
    let is_clean = large.report.verdict == Verdict::Clean && large.report.open == 0;
    meter.line(&format!(
        "{}: {:.3} of the server's limit ({}), {:.1} MiB more memory for ten times as many ({})",
        large.name,
        large.report.ratio(),
        if is_fast { "within 1.1" } else { "NOT within 1.1" },
        mebibytes(growth),
        if is_flat { "flat" } else { "NOT flat" },
    ));
    let mut result = numbers(large);
    result["tenth"] = numbers(small);
    result["memory_growth_bytes"] = json!(growth);
    result["within_limit"] = json!(is_fast);
    result["flat_memory"] = json!(is_flat);
    (result, is_flat && is_fast && is_clean)
}

fn mebibytes(bytes: u64) -> f64 {
    Duration::from_micros(bytes).as_secs_f64() * 1_000_000.0 / 1_048_576.0
}

/// The most resident memory that this process has had, in bytes.
fn peak_bytes() -> Result<u64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|error| Failure::Other(format!("getrusage: {error}")))?;
    // Kilobytes, but on Apple's systems bytes.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1_024 };
    Ok(u64::try_from(usage.max_rss()).unwrap_or_default() * unit)
}

fn print(meter: &Meter, modelled: &Modelled) {
    let Modelled {
        name,
        executions,
        report,
        peak_bytes,
        took,
    } = modelled;
    let calls = &report.calls;
    meter.line(&format!(
        "{name}, {executions} executions: {:?}, {} left; {:.0} s to zero, {:.0} s to the verdict, the server's limit {:.0} s",
        report.verdict, report.open, report.zero_seconds, report.seconds, report.limit_seconds
    ));
    meter.line(&format!(
        "  {} stops ({} too late), {} by the cascade, {} lists, {} describes, {} counts, {} reservations",
        calls.stops, calls.late_stops, report.cascaded, calls.lists, calls.describes, calls.counts, calls.reservations
    ));
    meter.line(&format!(
        "  at most {} rows and {} outcomes held, {:.0} MiB of memory; modelled in {:.1} s",
        report.peak_rows,
        report.peak_outcomes,
        mebibytes(*peak_bytes),
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
        "model_bytes": modelled.report.model_bytes,
        "peak_memory_bytes": modelled.peak_bytes,
    })
}
