//! `quell bench`: how fast workloads are stopped, by Quell and by the alternatives, on one server in one run.
//!
//! Each measurement has a fresh workload of its own; rounds are outermost and each begins with another contender, so that what grows
//! on the server (its tables) and what changes on the machine hits all alike. One observer times all of them. What a contender
//! leaves alive is removed before the next begins, and is not measured. docs/benchmarks.md says how each figure is defined.

mod contenders;
mod lanes;
mod measure;
mod observer;
mod plan;
mod report;
mod server;
mod stats;
mod workload;

use super::dev::{self, Interrupts};
use super::parse_duration;
use crate::clients::Addresses;
use crate::dev::DevMesh;
use crate::exit::{self, Failure};
use crate::ui::Ui;
use crate::view::{duration, verdict_name};
use contenders::Place;
use measure::{Measurement, Rules};
use plan::{Cell, Choice, Kind, Shape};
use quell_api::canceler::v1::Verdict;
use report::Conditions;
use serde_json::json;
use server::Server;
use std::time::Duration;
use workload::Workload;

/// How often the removal of a workload is tried, and the pause between two tries.
const REMOVE_TRIES: u32 = 5;
const REMOVE_PAUSE: Duration = Duration::from_secs(5);

/// Arguments of `quell bench`.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// Open executions when a stop begins.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [5000, 20_000],
          value_parser = clap::value_parser!(u32).range(10..=500_000))]
    sizes: Vec<u32>,
    /// Rounds; every contender is measured once in each.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What the executions have to do with each other.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["flat", "tree"])]
    shapes: Vec<Shape>,
    /// Who stops them.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["raw", "batch", "loop", "root", "quell"])]
    contenders: Vec<Kind>,
    /// Concurrencies of the contender `raw`.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [4, 8, 16, 64, 200],
          value_parser = clap::value_parser!(u32).range(1..=2000))]
    ladder: Vec<u32>,
    /// Time between two looks of the observer, which asks whether anything is open. A server allows ten listings a second by default,
    /// and contenders need some of them.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = parse_duration)]
    look_every: prost_types::Duration,
    /// Time from a contender's word that it is done to the count of what is alive.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    settle: prost_types::Duration,
    /// The longest that one contender may take.
    #[arg(long, value_name = "TIME", default_value = "45m", value_parser = parse_duration)]
    limit: prost_types::Duration,
    /// Measure on this Temporal server, without TLS, and on the services that `--work` and `--canceler` name, instead of on a mesh of
    /// its own. They must use it.
    #[arg(long, value_name = "URL")]
    temporal_address: Option<String>,
    /// Namespace of the workloads there.
    #[arg(long, value_name = "NAME", default_value = "main", requires = "temporal_address")]
    temporal_namespace: String,
}

impl BenchArgs {
    fn choice(&self) -> Choice {
        Choice {
            shapes: self.shapes.clone(),
            sizes: self.sizes.clone(),
            kinds: self.contenders.clone(),
            ladder: self.ladder.clone(),
            rounds: self.rounds,
        }
    }

    fn rules(&self) -> Rules {
        let time = |wire: &prost_types::Duration| duration(Some(wire)).unwrap_or_default();
        Rules {
            // An interval of nothing is none.
            look_every: time(&self.look_every).max(Duration::from_millis(10)),
            settle: time(&self.settle),
            limit: time(&self.limit),
        }
    }
}

pub(super) async fn run(ui: Ui, addresses: Addresses, args: BenchArgs) -> Result<u8, Failure> {
    let cells = args.choice().cells();
    if cells.is_empty() {
        return Err(Failure::Usage("none of these contenders suits these shapes".to_owned()));
    }
    let mut asked = Interrupts::new()?;
    // Standard output is for the table alone.
    let progress = Ui::new(true);
    if let Some(address) = &args.temporal_address {
        let mut bench = Bench::new(progress, address, &args.temporal_namespace, addresses, &args).await?;
        let outcome = tokio::select! {
            outcome = bench.all(&cells) => outcome,
            () = asked.next() => Err(interrupted()),
        };
        let broke_off = match outcome {
            Err(failure) => Some(bench.leave(failure, &mut asked).await),
            Ok(()) => None,
        };
        return Ok(bench.report(ui, &args, "existing", broke_off.as_ref()));
    }
    progress.line("starting a mesh of its own on free ports");
    let mut mesh = tokio::select! {
        mesh = DevMesh::builder().start() => mesh?,
        () = asked.next() => return Err(interrupted()),
    };
    for line in dev::describe(&mesh) {
        progress.line(line);
    }
    let (address, namespace) = (mesh.temporal_address(), mesh.main_namespace().to_owned());
    let bench = Bench::new(progress, &address, &namespace, Addresses::of_mesh(&mesh), &args).await;
    let reported = match bench {
        Err(failure) => Err(failure),
        Ok(mut bench) => {
            let outcome = tokio::select! {
                outcome = bench.all(&cells) => outcome,
                process = mesh.any_exit() => {
                    Err(Failure::Other(format!("{} ended in the middle:\n{}", process.name(), process.log_tail(20))))
                }
                () = asked.next() => Err(interrupted()),
            };
            if outcome.is_err() {
                mesh.keep_folder();
                progress.line(format!("the logs are kept in {}", mesh.folder().display()));
            }
            Ok(bench.report(ui, &args, "own", outcome.as_ref().err()))
        }
    };
    dev::stop(progress, &mesh, &mut asked).await;
    reported
}

fn interrupted() -> Failure {
    Failure::Other("interrupted".to_owned())
}

/// A run in progress, and what it has measured so far.
struct Bench {
    progress: Ui,
    server: Server,
    about: server::About,
    addresses: Addresses,
    rules: Rules,
    started: jiff::Timestamp,
    /// Not removed yet.
    current: Option<Workload>,
    measurements: Vec<Measurement>,
}

impl Bench {
    async fn new(
        progress: Ui,
        address: &str,
        namespace: &str,
        addresses: Addresses,
        args: &BenchArgs,
    ) -> Result<Self, Failure> {
        let server = Server::connect(address, namespace).await?;
        let about = server.about().await?;
        // Better now than after an hour.
        if args.contenders.contains(&Kind::Quell) {
            addresses.cancellations().await?;
        }
        if args.contenders.contains(&Kind::Quell) || args.shapes.contains(&Shape::Tree) {
            addresses.sources().await?;
        }
        Ok(Self {
            progress,
            server,
            about,
            addresses,
            rules: args.rules(),
            started: jiff::Timestamp::now(),
            current: None,
            measurements: Vec::new(),
        })
    }

    /// All measurements, one after the other. One that fails is told and passed over; one that cannot be removed ends the run.
    async fn all(&mut self, cells: &[Cell]) -> Result<(), Failure> {
        for (index, cell) in cells.iter().enumerate() {
            let Cell { round, size, .. } = cell;
            let shape = format!("{:?}", cell.shape).to_lowercase();
            let (number, count, name) = (index + 1, cells.len(), cell.contender.name());
            self.progress
                .line(format!("{number} of {count}: round {round}, {shape}, {size}, {name}"));
            let workload = Workload::new(cell);
            // Known before anything of it is started, so that an interrupted run can be removed.
            self.current = Some(workload.clone());
            let measurement = match self.one(cell, workload.clone()).await {
                Ok(measurement) => measurement,
                Err(failure) => Measurement {
                    error: Some(failure.to_string()),
                    ..Measurement::of(cell, &workload)
                },
            };
            self.progress.line(measurement.line());
            self.measurements.push(measurement);
            self.remove_current().await?;
        }
        Ok(())
    }

    async fn one(&self, cell: &Cell, workload: Workload) -> Result<Measurement, Failure> {
        let workload = workload
            .make(self.progress, &self.server, &self.addresses, cell.size)
            .await?;
        let place = Place {
            progress: self.progress,
            server: &self.server,
            addresses: &self.addresses,
        };
        measure::measure(&place, self.rules, cell, &workload).await
    }

    /// A run takes hours: one call that fails does not end it.
    async fn remove_current(&mut self) -> Result<(), Failure> {
        let Some(workload) = &self.current else {
            return Ok(());
        };
        let mut tries = 1;
        while let Err(failure) = workload.clean_up(&self.server, &self.addresses).await {
            if tries == REMOVE_TRIES {
                return Err(failure);
            }
            tries += 1;
            let id = &workload.id;
            self.progress.line(format!("{id} is not removed yet: {failure}"));
            tokio::time::sleep(REMOVE_PAUSE).await;
        }
        self.current = None;
        Ok(())
    }

    /// Removes what a run that broke off has left on a server that goes on without us; a second Ctrl-C leaves it there.
    async fn leave(&mut self, failure: Failure, asked: &mut Interrupts) -> Failure {
        let Some(id) = self.current.as_ref().map(|workload| workload.id.clone()) else {
            return failure;
        };
        self.progress
            .line(format!("removing what is left of {id}; Ctrl-C leaves it there"));
        let left = tokio::select! {
            removed = self.remove_current() => removed.err().map(|error| error.to_string()),
            () = asked.next() => Some("interrupted".to_owned()),
        };
        match left {
            None => failure,
            Some(reason) => Failure::Other(format!("{failure}\n{id} may still be open: {reason}")),
        }
    }

    /// The table and the JSON of what there is, also of a run that broke off.
    fn report(&self, ui: Ui, args: &BenchArgs, mesh: &'static str, broke_off: Option<&Failure>) -> u8 {
        if let Some(failure) = broke_off {
            self.progress.line(format!("quell: {failure}"));
        }
        let conditions = Conditions {
            server: self.about.clone(),
            mesh,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
            started: format!("{:.0}", self.started),
            rounds: args.rounds,
            sizes: args.sizes.clone(),
            ladder: args.ladder.clone(),
            look_every_seconds: self.rules.look_every.as_secs_f64(),
            settle_seconds: self.rules.settle.as_secs_f64(),
        };
        let summaries = report::summaries(&self.measurements);
        for line in conditions.lines().into_iter().chain(report::table(&summaries)) {
            ui.line(line);
        }
        let mut result = json!({
            "conditions": conditions,
            "measurements": self.measurements,
            "summaries": summaries,
            "complete": broke_off.is_none(),
        });
        let mut code = exit_code(&self.measurements);
        if let Some(failure) = broke_off {
            code = failure.code();
            result["error"] = failure.json()["error"].clone();
        }
        ui.result(&result);
        code
    }
}

/// 0 when all was measured and Quell was CLEAN wherever it ran; otherwise that of the first verdict that was not, or 1.
fn exit_code(measurements: &[Measurement]) -> u8 {
    if measurements.iter().any(|measurement| measurement.error.is_some()) {
        return exit::FAILED;
    }
    let codes = measurements.iter().filter_map(|measurement| {
        let verdict = measurement.verdict?;
        let all = [Verdict::Clean, Verdict::Residue, Verdict::Blocked, Verdict::Aborted];
        let verdict = all.into_iter().find(|known| verdict_name(*known) == verdict)?;
        let alive = measurement.alive_at_done.unwrap_or_default();
        Some(match exit::of_verdict(verdict) {
            exit::OK if alive > 0 => exit::RESIDUE,
            code => code,
        })
    });
    codes.into_iter().find(|code| *code != exit::OK).unwrap_or(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quell(verdict: &'static str, alive: usize) -> Measurement {
        Measurement {
            verdict: Some(verdict),
            alive_at_done: Some(alive),
            ..Measurement::default()
        }
    }

    #[test]
    fn the_exit_code_is_that_of_quells_worst_hour() {
        let other = Measurement {
            alive_at_done: Some(400),
            ..Measurement::default()
        };
        assert_eq!(exit_code(&[]), exit::OK);
        assert_eq!(exit_code(&[quell("CLEAN", 0), other.clone()]), exit::OK);
        assert_eq!(exit_code(&[quell("CLEAN", 0), quell("BLOCKED", 3)]), exit::BLOCKED);
        assert_eq!(exit_code(&[quell("CLEAN", 1)]), exit::RESIDUE);
        let broken = Measurement {
            error: Some("away".to_owned()),
            ..other
        };
        assert_eq!(exit_code(&[quell("BLOCKED", 3), broken]), exit::FAILED);
    }
}
