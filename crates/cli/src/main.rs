//! The `quell` command.

use clap::Parser as _;
use quell_cli::commands::{self, Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return commands::usage(&error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(commands::run(cli));
            // An interrupted build of the services must not hold the process back.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(error) => {
            eprintln!("quell: no async runtime: {error}");
            ExitCode::from(quell_cli::exit::FAILED)
        }
    }
}
