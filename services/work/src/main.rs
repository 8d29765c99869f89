//! `quell-work`: snowballs of workflows, and the gates that stop them from growing.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    quell_mesh::run(quell_work::INFO, quell_work::build).await
}
