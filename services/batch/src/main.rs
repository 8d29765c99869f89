//! `quell-batch`: the batch service as a process. See the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    quell_mesh::run(quell_batch::INFO, quell_batch::build).await
}
