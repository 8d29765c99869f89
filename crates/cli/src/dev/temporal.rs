//! The Temporal dev server: one process with SQLite, in memory unless a file is named.

use super::ports::Ports;
use super::ready::wait_for_process;
use crate::error::Error;
use crate::process::{Process, Spec};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use temporalio_client::{Connection, ConnectionOptions, RetryOptions};
use temporalio_common::protos::temporal::api::workflowservice::v1::CountWorkflowExecutionsRequest;
use tonic::IntoRequest as _;
use url::Url;

/// How far the server's heap may grow between two collections (Go's `GOGC`), unless the environment says otherwise. At Go's own 100
/// a seventh of its work is collecting (docs/benchmarks.md); at 400 it holds 430 MB instead of 260.
const GOGC: &str = "400";

/// What the server is told.
pub(super) struct Launch<'a> {
    pub(super) program: PathBuf,
    pub(super) ports: &'a Ports,
    pub(super) namespaces: Vec<&'a str>,
    pub(super) db_file: Option<&'a Path>,
    pub(super) extra_args: &'a [String],
    pub(super) folder: &'a Path,
    pub(super) log: PathBuf,
}

pub(super) fn spec(launch: Launch<'_>) -> Spec {
    let mut args: Vec<OsString> = ["server", "start-dev", "--ip", "127.0.0.1", "--log-level", "error"]
        .map(Into::into)
        .into();
    let mut flag = |name: &str, value: OsString| args.extend([name.into(), value]);
    flag("--port", launch.ports.temporal.to_string().into());
    for namespace in launch.namespaces {
        flag("--namespace", namespace.into());
    }
    flag("--search-attribute", "WorkloadId=Keyword".into());
    // As in production: the CLI makes its server read the cluster's metadata from the database for each row that it lists or
    // writes, so that a new search attribute is known at once; ours is there from the start.
    flag(
        "--dynamic-config-value",
        "system.forceSearchAttributesCacheRefreshOnRead=false".into(),
    );
    // A worker that stops waits for its open polls (docs/drain.md): five seconds instead of ten. Each poll anew costs the server two
    // milliseconds of processor, and its own workers have them, too: with two seconds a fifth of a core (docs/benchmarks.md).
    flag(
        "--dynamic-config-value",
        "matching.longPollExpirationInterval=\"5s\"".into(),
    );
    if let Some(file) = launch.db_file {
        flag("--db-filename", file.into());
    }
    match launch.ports.temporal_ui {
        Some(port) => flag("--ui-port", port.to_string().into()),
        None => args.push("--headless".into()),
    }
    args.extend(launch.extra_args.iter().map(Into::into));
    Spec {
        name: super::Part::Temporal.name().to_owned(),
        program: launch.program,
        args,
        env: std::env::var_os("GOGC")
            .is_none()
            .then(|| ("GOGC".to_owned(), GOGC.to_owned()))
            .into_iter()
            .collect(),
        // The CLI would read a profile from these and speak to another server.
        env_remove: quell_mesh::config::table()
            .iter()
            .map(|setting| setting.env.to_owned())
            .collect(),
        dir: launch.folder.to_owned(),
        log: launch.log,
        grace: Duration::from_secs(10),
    }
}

/// Ready means more than an open port: each namespace is known to the frontend, and a query by the search attribute works.
pub(super) async fn wait_ready(
    process: &Process,
    port: u16,
    namespaces: &[&str],
    within: Duration,
) -> Result<(), Error> {
    wait_for_process(process, within, || answers_queries(port, namespaces)).await
}

async fn answers_queries(port: u16, namespaces: &[&str]) -> Result<(), String> {
    let url = Url::parse(&super::http(port)).map_err(|error| error.to_string())?;
    let options = ConnectionOptions::new(url)
        .identity("quell-dev")
        .retry_options(RetryOptions::no_retries())
        .build();
    let connection = Connection::connect(options)
        .await
        .map_err(|error| super::ready::innermost(&error))?;
    for namespace in namespaces {
        let request = CountWorkflowExecutionsRequest {
            namespace: (*namespace).to_owned(),
            query: r#"WorkloadId = "quell-ready""#.to_owned(),
        };
        let counted = connection
            .workflow_service()
            .count_workflow_executions(request.into_request())
            .await;
        counted.map_err(|status| format!("namespace {namespace}: {}", status.message()))?;
    }
    Ok(())
}
