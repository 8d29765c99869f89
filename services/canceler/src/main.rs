//! `quell-canceler`: flags, configuration and life cycle are the mesh's; what it serves is the library's.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    quell_mesh::run(quell_canceler::INFO, quell_canceler::build).await
}
