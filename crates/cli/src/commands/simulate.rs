//! `quell simulate`: the sweep's machines against a model of Temporal that misbehaves, many times over; or, with `--scale`,
//! against one that is large.

mod scale;

use crate::exit::{self, Failure};
use crate::ui::{Ui, human_duration};
use quell_sweep::sim::{
    FailedRun, Invariant, Many, Progress, Tally, Violation, corpus, judge, many, run as run_scenario, run_seed,
};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(250);
/// Failed runs that are printed for people; JSON names all that are kept (1,000).
const PRINTED: usize = 10;

/// Arguments of `quell simulate`.
#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    /// How many cancellations to simulate, each in a scenario drawn from a seed of its own.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// The first seed; each further run has the next one. `--seed X --runs 1` replays a run exactly, and prints it in full.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; default: one for each core.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    scale: scale::ScaleArgs,
}

pub(super) async fn run(ui: Ui, args: SimulateArgs) -> Result<u8, Failure> {
    if let Some(executions) = args.scale.executions() {
        return scale::run(ui, executions, &args.scale).await;
    }
    if args.runs == 1 {
        return Ok(replay(ui, args.seed));
    }
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok());
    let jobs = jobs.map_or(1, NonZeroUsize::get);
    let kept = replay_corpus()?;
    ui.line(format!(
        "{} kept scenarios, then {} runs on {jobs} threads",
        kept.tally.runs, args.runs
    ));

    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let (seed, runs) = (args.seed, args.runs);
    let mut work = {
        let progress = Arc::clone(&progress);
        tokio::task::spawn_blocking(move || many(seed, runs, jobs, &progress))
    };
    let mut meter = ui.meter();
    let mut tick = tokio::time::interval(SHOWN_EVERY);
    let drawn = loop {
        tokio::select! {
            done = &mut work => break done.map_err(|error| Failure::Other(format!("the simulator failed: {error}")))?,
            _ = tick.tick() => {
                let done = progress.done.load(Ordering::Relaxed);
                let failed = progress.failed.load(Ordering::Relaxed);
                let message = format!("{:.0}/s, {failed} broke an invariant", rate(done, started.elapsed()));
                meter.show("simulating", done, runs, &message);
            }
            // What is done by then still counts.
            _ = tokio::signal::ctrl_c() => progress.stop.store(true, Ordering::Relaxed),
        }
    };
    meter.finish();
    let took = started.elapsed();
    let interrupted = progress.stop.load(Ordering::Relaxed);

    let mut all = Many {
        failed: [&kept.failed[..], &drawn.failed[..]].concat(),
        ..Many::default()
    };
    all.tally.merge(&kept.tally);
    all.tally.merge(&drawn.tally);
    report(ui, &all, took, interrupted);
    let mut result = numbers(&drawn.tally);
    result["seed"] = json!(seed);
    result["jobs"] = json!(jobs);
    result["seconds"] = json!(took.as_secs_f64());
    result["runs_per_second"] = json!(rate(drawn.tally.runs, took));
    result["interrupted"] = json!(interrupted);
    result["kept"] = json!({ "runs": kept.tally.runs, "failed": kept.tally.failed });
    result["failures"] = drawn.failed.iter().map(named).collect();
    ui.result(&result);
    Ok(if all.tally.failed == 0 { exit::OK } else { exit::FAILED })
}

fn rate(runs: u64, took: Duration) -> f64 {
    // A count of runs is far below where a double loses whole numbers.
    Duration::from_secs(runs).as_secs_f64() / took.as_secs_f64().max(0.001)
}

/// The kept scenarios come first; their place in the file stands for a seed.
fn replay_corpus() -> Result<Many, Failure> {
    let kept = corpus().map_err(|error| Failure::Other(format!("the kept scenarios cannot be read: {error}")))?;
    let mut all = Many::default();
    for (line, kept) in (1..).zip(kept) {
        let ended = run_scenario(&kept.scenario);
        let violations = judge(&kept.scenario, &ended);
        all.tally.add(&kept.scenario, Some(&ended), &violations);
        if !violations.is_empty() {
            all.failed.push(FailedRun { seed: line, violations });
        }
    }
    Ok(all)
}

/// One run, in full.
fn replay(ui: Ui, seed: u64) -> u8 {
    let (scenario, ended, violations) = run_seed(seed);
    ui.line(format!("{scenario:#?}"));
    match &ended {
        Some(Ok(report)) => ui.line(format!("{report:#?}")),
        Some(Err(stuck)) => ui.line(format!("stuck: {stuck}")),
        None => ui.line("it panicked"),
    }
    for Violation { invariant, text } in &violations {
        ui.line(format!("{invariant:?}: {text}"));
    }
    if violations.is_empty() {
        ui.line("every invariant holds");
    }
    let mut tally = Tally::default();
    tally.add(&scenario, ended.as_ref(), &violations);
    let mut result = numbers(&tally);
    result["seed"] = json!(seed);
    result["scenario"] = json!(scenario);
    result["failures"] = json!([named(&FailedRun {
        seed,
        violations: violations.clone()
    })]);
    if violations.is_empty() {
        result["failures"] = json!([]);
    }
    ui.result(&result);
    if violations.is_empty() { exit::OK } else { exit::FAILED }
}

fn named(failed: &FailedRun) -> Value {
    json!({ "seed": failed.seed, "violations": failed.violations })
}

fn numbers(tally: &Tally) -> Value {
    let [clean, residue, aborted, blocked] = tally.verdicts;
    json!({
        "runs": tally.runs,
        "failed": tally.failed,
        "false_clean": tally.broken(Invariant::NoFalseClean),
        "outside_target": tally.broken(Invariant::NothingOutsideScope),
        "over_cap": tally.broken(Invariant::CapHolds),
        "failures_wrong": tally.broken(Invariant::FailuresReportedOnce),
        "totals_wrong": tally.broken(Invariant::TotalsAddUp),
        "not_ended": tally.broken(Invariant::EndsWhenSourcesStop),
        "not_blocked": tally.broken(Invariant::EndsBlockedAtDeadline),
        "quiesce_ignored": tally.broken(Invariant::QuiesceRequired),
        "runs_on": tally.broken(Invariant::NothingRunsOn),
        "hung": tally.broken(Invariant::NeverStuck),
        "verdicts": { "clean": clean, "residue": residue, "aborted": aborted, "blocked": blocked },
        "beyond_measurement": tally.beyond_measurement,
        "stopped": tally.stopped,
        "calls": tally.calls,
        "crashes": tally.crashes,
        "lost_replies": tally.lost_replies,
        "simulated_seconds": tally.simulated_ms / 1_000,
    })
}

fn report(ui: Ui, all: &Many, took: Duration, interrupted: bool) {
    let Many { tally, failed } = all;
    let [clean, residue, aborted, blocked] = tally.verdicts;
    let left = if interrupted { ", interrupted" } else { "" };
    ui.line(format!(
        "{} runs in {}{left}: {clean} CLEAN, {residue} RESIDUE, {aborted} ABORTED, {blocked} BLOCKED",
        tally.runs,
        human_duration(took)
    ));
    ui.line(format!(
        "{} stops, {} crashes, {} lost replies, {} calls, {} of simulated time",
        tally.stopped,
        tally.crashes,
        tally.lost_replies,
        tally.calls,
        human_duration(Duration::from_millis(tally.simulated_ms))
    ));
    ui.line(format!(
        "{} false CLEAN, {} stopped something outside the scope, {} in all broke an invariant",
        tally.broken(Invariant::NoFalseClean),
        tally.broken(Invariant::NothingOutsideScope),
        tally.failed
    ));
    if tally.beyond_measurement > 0 {
        ui.line(format!(
            "{} CLEAN with something open where the index lagged more than had been measured: no reader of it can know",
            tally.beyond_measurement
        ));
    }
    for FailedRun { seed, violations } in failed.iter().take(PRINTED) {
        for Violation { invariant, text } in violations {
            ui.line(format!("seed {seed}: {invariant:?}: {text}"));
        }
    }
    if failed.len() > PRINTED {
        ui.line(format!("and {} more", failed.len() - PRINTED));
    }
}
