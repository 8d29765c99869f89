//! The commands: one module each, all of the same shape: arguments, and a function that gives an exit code or a [`Failure`].

mod batch;
mod bench;
mod cancellation;
mod chaos;
mod demo;
mod dev;
mod doctor;
mod failures;
mod grow;
mod order;
mod outlive;
mod receipt;
mod restore;
mod resume;
mod simulate;
mod snowball;
mod square;
mod stop;
mod target;
mod tools;
mod watch;

use crate::clients::Addresses;
use crate::exit::{self, Failure};
use crate::ui::Ui;
use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::json;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Exit codes: 0 done, and for a cancellation (stop, watch, receipt) CLEAN; 1 failed; 2 RESIDUE; 3 BLOCKED; 4 ABORTED;
5 a receipt that does not hold; 64 wrong usage. Of a restoration: 0 RESTORED; 2 PARTIAL; 3 REFUSED; 4 ABORTED.
With --json the last line of standard output is one JSON object.";

/// Stops a runaway Temporal workload: fast, completely, and with proof.
#[derive(Debug, Parser)]
#[command(name = "quell", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// One JSON object as the last line of standard output; lines for people go to standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    addresses: Addresses,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a mesh on this machine: Temporal with its Web UI, Jaeger, the three services. Ctrl-C stops all.
    Dev(dev::DevArgs),
    /// Shows the main job: a mesh of its own, a snowball that goes on growing, a cancellation, the receipt, a check.
    Demo(demo::DemoArgs),
    /// Measures how fast workloads are stopped, by Quell and by the alternatives, interleaved on one server.
    Bench(bench::BenchArgs),
    /// Restarts activity workers all the time and counts what is lost, beside what others lose.
    Chaos(chaos::ChaosArgs),
    /// Checks a mesh: each line says ok, or what to do. Addresses come from the services' settings (`TEMPORAL_*`, `QUELL_*`), not from --work and its like.
    Doctor(doctor::DoctorArgs),
    /// Finds or fetches the programs that a mesh needs: temporal, grpcurl, jaeger.
    Tools(tools::ToolsArgs),
    /// Workloads that grow, so that stopping them can be tried.
    #[command(subcommand)]
    Snowball(snowball::SnowballCommand),
    /// Orders: a saga whose steps are undone, exactly once, when it does not come through.
    #[command(subcommand)]
    Order(order::OrderCommand),
    /// Squares the numbers 1 to N by a tree of workflows, and prints their sum. Ctrl-C leaves it running.
    Square(square::SquareArgs),
    /// Shows what a cancellation would stop; changes nothing.
    Preview(cancellation::PreviewArgs),
    /// Cancels a workload and watches it until it is done. Ctrl-C leaves the cancellation running.
    Stop(stop::StopArgs),
    /// Watches a cancellation until it is done.
    Watch(watch::WatchArgs),
    /// Changes the limits of a running cancellation.
    Adjust(cancellation::AdjustArgs),
    /// Aborts a cancellation: Quell stops nothing more. What the server's cascade is ending goes on to end; the source stays held.
    Abort(cancellation::AbortArgs),
    /// Lists cancellations, newest first.
    List(cancellation::ListArgs),
    /// Prints the receipt of an ended cancellation, keeps it as a file, or verifies one.
    Receipt(receipt::ReceiptArgs),
    /// Lists every stop of a cancellation that failed for good, while it runs and afterwards.
    Failures(failures::FailuresArgs),
    /// Undoes a cancellation: what it terminated runs on from its last completed workflow task. Ctrl-C leaves the restoration running.
    Restore(restore::RestoreArgs),
    /// Lets the source of a workload start workflows again, which a cancellation has told to keep still.
    Resume(resume::ResumeArgs),
    /// Prints a script that completes this command's words in a shell: `source <(quell completion bash)`.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Temporal's own server-side batch operations, queued for the namespace's one slot.
    #[command(subcommand)]
    Batch(batch::BatchCommand),
    /// Simulates cancellations against a model of Temporal that misbehaves in every way known to us; or a large one.
    Simulate(simulate::SimulateArgs),
}

/// Runs a command and gives its exit code.
pub async fn run(cli: Cli) -> u8 {
    let Cli {
        json,
        addresses,
        command,
    } = cli;
    let ui = Ui::new(json);
    let outcome = match command {
        Command::Dev(args) => Box::pin(dev::run(ui, args)).await,
        Command::Demo(args) => Box::pin(demo::run(ui, args)).await,
        Command::Bench(args) => Box::pin(bench::run(ui, addresses, args)).await,
        Command::Chaos(args) => Box::pin(chaos::run(ui, &addresses, args)).await,
        Command::Doctor(args) => Box::pin(doctor::run(ui, args)).await,
        Command::Tools(args) => tools::run(ui, args).await,
        Command::Snowball(command) => snowball::run(ui, &addresses, command).await,
        Command::Order(command) => order::run(ui, &addresses, command).await,
        Command::Square(args) => square::run(ui, &addresses, args).await,
        Command::Preview(args) => cancellation::preview(ui, &addresses, args).await,
        Command::Stop(args) => stop::run(ui, &addresses, args).await,
        Command::Watch(args) => watch::run(ui, &addresses, args).await,
        Command::Adjust(args) => cancellation::adjust(ui, &addresses, args).await,
        Command::Abort(args) => cancellation::abort(ui, &addresses, args).await,
        Command::List(args) => cancellation::list(ui, &addresses, args).await,
        Command::Receipt(args) => receipt::run(ui, &addresses, args).await,
        Command::Failures(args) => failures::run(ui, &addresses, args).await,
        Command::Restore(args) => restore::run(ui, &addresses, args).await,
        Command::Resume(args) => resume::run(ui, &addresses, args).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "quell", &mut script);
            match std::io::stdout().write_all(&script) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    Err(Failure::Other(format!("standard output: {error}")))
                }
                // Whoever stopped reading has read enough.
                Ok(()) | Err(_) => Ok(exit::OK),
            }
        }
        Command::Batch(command) => Box::pin(batch::run(ui, &addresses, command)).await,
        Command::Simulate(args) => simulate::run(ui, args).await,
    };
    outcome.unwrap_or_else(|failure| fail(ui, &failure))
}

fn fail(ui: Ui, failure: &Failure) -> u8 {
    eprintln!("quell: {failure}");
    ui.result(&failure.json());
    failure.code()
}

/// Prints what clap says; a wrong command line ends with 64, help and version with 0.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to do when not even this can be printed.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        // Without the usage and the tips that follow it.
        let said = error.render().to_string();
        let words = said
            .split("\n\n")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let message = words.trim_start_matches("error: ");
        Ui::new(true).result(&json!({ "error": { "message": message } }));
    }
    ExitCode::from(exit::USAGE)
}

/// A duration on the command line: `90s`, `5m`, `1h 30m`.
fn parse_duration(text: &str) -> Result<prost_types::Duration, String> {
    let signed: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    let duration = std::time::Duration::try_from(signed).map_err(|_| "must not be negative".to_owned())?;
    prost_types::Duration::try_from(duration).map_err(|error| error.to_string())
}

/// A message whose field the service left out.
fn missing(what: &str) -> Failure {
    Failure::Other(format!("the service's answer lacks the {what}"))
}

#[cfg(test)]
mod tests;
