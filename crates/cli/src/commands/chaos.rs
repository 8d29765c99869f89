//! `quell chaos`: activity workers that restart all the time, and a count of what is lost.
//!
//! The work service runs the workflows of a probe and stays up. Their activities are on a task queue of the run's own, which only
//! the workers here poll: each lives for the interval, is drained, and is started again, until every workflow has ended. A worker is
//! what every service has, in this process; with `--processes` it is the work service itself, ended by SIGTERM.

mod figures;
mod workers;

use super::dev::{self, Interrupts};
use crate::clients::{Addresses, unary};
use crate::dev::{DevMesh, Part, find_binaries};
use crate::exit::{self, Failure};
use crate::ui::{Ui, human_duration};
use quell_api::work::v1::{GetProbeRequest, Probe, ProbeSpec, StartProbeRequest};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use workers::{Fleet, Kind, Tally, Where};

/// Time between two looks; each costs two to four of the ten visibility requests that a server allows a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long looks may fail in a row.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `quell chaos`.
#[derive(Debug, clap::Args)]
pub(super) struct ChaosArgs {
    /// Activity workers.
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    workers: u32,
    /// How long each worker is up, in seconds; its drain comes on top.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    restart_every: Duration,
    /// Workflows, of one activity each.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    workflows: u32,
    /// Workflow starts in flight. A server that is given more than it can start in time loses tasks of its own (docs/drain.md).
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    concurrency: u32,
    /// How long each activity takes, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "0.1", value_parser = seconds)]
    activity_sleep: Duration,
    /// Start-to-close timeout of the activities, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    activity_timeout: Duration,
    /// Heartbeat timeout of the activities, in seconds; 0: none.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    heartbeat_timeout: Duration,
    /// How long a worker that stops waits for its activities, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    graceful_shutdown_timeout: Duration,
    /// Attempts of each activity. With one, what is lost stays lost.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
    /// Workers are processes of the work service, ended by SIGTERM.
    #[arg(long)]
    processes: bool,
    /// The longest time of it all, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    limit: Duration,
    /// Use this Temporal server, without TLS, and the work service that `--work` names, instead of a mesh of its own.
    #[arg(long, value_name = "URL")]
    temporal_address: Option<String>,
    /// Namespace there.
    #[arg(long, value_name = "NAME", default_value = "main", requires = "temporal_address")]
    temporal_namespace: String,
}

/// Seconds with decimals, as the document has them.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "must be a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl ChaosArgs {
    fn spec(&self, queue: &str) -> ProbeSpec {
        let wire = |time: Duration| prost_types::Duration::try_from(time).ok();
        ProbeSpec {
            workflows: self.workflows,
            activity_sleep: wire(self.activity_sleep),
            activity_timeout: wire(self.activity_timeout),
            heartbeat_timeout: wire(self.heartbeat_timeout),
            attempts: self.attempts,
            activity_task_queue: queue.to_owned(),
            concurrency: self.concurrency,
        }
    }
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, args: ChaosArgs) -> Result<u8, Failure> {
    let mut asked = Interrupts::new()?;
    let interrupted = || Failure::Other("interrupted".to_owned());
    if let Some(address) = &args.temporal_address {
        let folder = tempfile::tempdir().map_err(|error| Failure::Other(format!("no folder for logs: {error}")))?;
        let place = place(address, &args.temporal_namespace, folder.path());
        return tokio::select! {
            done = perform(ui, addresses, &args, place) => done,
            () = asked.next() => Err(interrupted()),
        };
    }
    ui.line("starting a Temporal server and a work service of its own");
    let mut mesh = tokio::select! {
        mesh = DevMesh::builder().services([Part::Work]).start() => mesh?,
        () = asked.next() => return Err(interrupted()),
    };
    let place = place(&mesh.temporal_address(), mesh.main_namespace(), mesh.folder());
    let addresses = Addresses::of_mesh(&mesh);
    let outcome = tokio::select! {
        outcome = perform(ui, &addresses, &args, place) => outcome,
        process = mesh.any_exit() => Err(Failure::Other(format!("{} ended in the middle:\n{}", process.name(), process.log_tail(20)))),
        () = asked.next() => Err(interrupted()),
    };
    if outcome.is_err() {
        mesh.keep_folder();
        ui.line(format!("the logs are kept in {}", mesh.folder().display()));
    }
    dev::stop(ui, &mesh, &mut asked).await;
    outcome
}

fn place(temporal: &str, namespace: &str, folder: &Path) -> Where {
    Where {
        temporal: temporal.to_owned(),
        namespace: namespace.to_owned(),
        queue: format!("chaos-{}", uuid::Uuid::new_v4().simple()),
        folder: folder.to_owned(),
    }
}

async fn perform(ui: Ui, addresses: &Addresses, args: &ChaosArgs, place: Where) -> Result<u8, Failure> {
    let kind = if args.processes {
        Kind::Process(work_program().await?)
    } else {
        Kind::Here
    };
    let mut probes = addresses.probes().await?;
    let request = StartProbeRequest {
        spec: Some(args.spec(&place.queue)),
        request_id: place.queue.clone(),
        validate_only: false,
    };
    let began = Instant::now();
    let probe_id = probes.start_probe(unary(request)).await?.into_inner().probe_id;
    ui.line(format!(
        "{} workers, each up for {:?}; {} workflows of {probe_id}",
        args.workers, args.restart_every, args.workflows
    ));
    let fleet = Fleet::start(
        &place,
        &kind,
        args.workers,
        args.restart_every,
        args.graceful_shutdown_timeout,
    )?;
    let watched = watch(ui, &mut probes, &probe_id, args, began).await;
    let seconds = began.elapsed();
    // Also when the watch failed: nobody should be left running.
    let tally = fleet.stop().await?;
    let (probe, finished) = watched?;
    Ok(report(ui, args, &probe, finished, seconds, &tally))
}

/// The program of the work service, built first where cargo is at hand.
async fn work_program() -> Result<PathBuf, Failure> {
    let found = tokio::task::spawn_blocking(|| find_binaries()?.of(Part::Work)).await;
    let found = found.map_err(|error| Failure::Other(format!("looking for the work service failed: {error}")))?;
    Ok(found?)
}

/// Looks until the probe is finished or the limit is over. Says which.
async fn watch(
    ui: Ui,
    probes: &mut crate::clients::Probes,
    probe_id: &str,
    args: &ChaosArgs,
    began: Instant,
) -> Result<(Probe, bool), Failure> {
    let mut meter = ui.meter();
    let mut failing_since = None;
    let mut last = Probe::default();
    loop {
        let request = GetProbeRequest {
            probe_id: probe_id.to_owned(),
        };
        match probes.get_probe(unary(request)).await {
            Ok(answer) => {
                failing_since = None;
                last = answer.into_inner().probe.unwrap_or_default();
                let done = u64::try_from(last.completed).unwrap_or(0);
                let message = format!("open {} timed out {} lost {}", last.open, last.timed_out, last.lost);
                meter.show("chaos", done, u64::from(args.workflows), &message);
            }
            Err(status) => {
                let since = *failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    meter.finish();
                    return Err(status.into());
                }
            }
        }
        if last.finished || began.elapsed() > args.limit {
            meter.finish();
            let finished = last.finished;
            return Ok((last, finished));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn report(ui: Ui, args: &ChaosArgs, probe: &Probe, finished: bool, took: Duration, tally: &Tally) -> u8 {
    let interval = args.restart_every.as_secs_f64();
    let lost_percent = percent(probe.lost, args.workflows);
    for line in figures::table(interval, args.workers, lost_percent) {
        ui.line(line);
    }
    ui.line(format!(
        "{} completed, {} timed out, {} lost ({lost_percent:.2} %), {} run twice, {} failed, {} ended otherwise, of {} in {}",
        probe.completed,
        probe.timed_out,
        probe.lost,
        probe.run_twice,
        probe.failed,
        probe.otherwise,
        args.workflows,
        human_duration(took)
    ));
    ui.line(format!(
        "{} drains, {} of them not clean; the longest took {}",
        tally.drains,
        tally.unclean.len(),
        human_duration(tally.longest)
    ));
    let polls = tally.polls;
    ui.line(format!(
        "{} tasks reached a worker, {} of them began; {} polls were cut, each of which may have cost a task",
        polls.tasks, polls.begun, polls.cut
    ));
    if probe.lost > 0 && polls.tasks == polls.begun && polls.cut == 0 {
        ui.line("what is lost never reached a worker, and no poll was cut: the server lost it (docs/drain.md)");
    }
    for what in tally.unclean.iter().take(5) {
        ui.line(format!("not clean: {what}"));
    }
    if !finished {
        ui.line(format!("the limit is over with {} open", probe.open));
    }
    ui.result(&json!({
        "completed": probe.completed,
        "timed_out": probe.timed_out,
        "lost": probe.lost,
        "run_twice": probe.run_twice,
        "failed": probe.failed,
        "otherwise": probe.otherwise,
        "open": probe.open,
        "workflows": args.workflows,
        "finished": finished,
        "lost_percent": lost_percent,
        "seconds": took.as_secs_f64(),
        "workers": args.workers,
        "restart_every": interval,
        "processes": args.processes,
        "attempts": args.attempts,
        "drains": tally.drains,
        "unclean_drains": tally.unclean.len(),
        "longest_drain_seconds": tally.longest.as_secs_f64(),
        "tasks_received": polls.tasks,
        "tasks_begun": polls.begun,
        "polls_cut": polls.cut,
        "probe_id": probe.probe_id,
        "others": figures::json(),
    }));
    if finished && probe.lost == 0 {
        exit::OK
    } else {
        exit::FAILED
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn percent(part: i64, of: u32) -> f64 {
    100.0 * part as f64 / f64::from(of.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_as_in_the_document() {
        assert_eq!(seconds("0.1").unwrap(), Duration::from_millis(100));
        assert_eq!(seconds("0").unwrap(), Duration::ZERO);
        for bad in ["-1", "x", "nan", "inf", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_in_percent() {
        assert!((percent(47, 1_000) - 4.7).abs() < 1e-9);
        assert!(percent(0, 0).abs() < 1e-9);
    }
}
