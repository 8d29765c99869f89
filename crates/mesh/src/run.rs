//! The life of a service process.

use std::process::ExitCode;

use crate::{Mesh, Service, ServiceInfo};

/// The whole life of a service process.
#[expect(clippy::unused_async, reason = "the body follows in the next commit")]
pub async fn run<F>(info: ServiceInfo, build: F) -> ExitCode
where
    F: FnOnce(Mesh) -> Result<Service, anyhow::Error>,
{
    let _ = (info, build);
    ExitCode::FAILURE
}
