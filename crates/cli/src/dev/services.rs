//! The three services as child processes.

use super::binaries::ServiceBinaries;
use super::ports::Ports;
use super::ready::{health, wait_for_process};
use super::{Part, http};
use crate::error::Error;
use crate::process::{Process, Spec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a service may drain at the end of a development mesh; a caller's own value wins.
const DRAIN_SECONDS: &str = "10";
/// Drain, stop of the worker, flush of the telemetry, and a reserve.
const GRACE: Duration = Duration::from_secs(25);

/// What every service of one mesh is started with.
#[derive(Debug)]
pub(super) struct Launch {
    binaries: ServiceBinaries,
    env: BTreeMap<String, String>,
    env_of: BTreeMap<Part, BTreeMap<String, String>>,
    payload_url: String,
    folder: PathBuf,
}

/// The choices that make a [`Launch`].
pub(super) struct Wiring<'a> {
    pub(super) ports: &'a Ports,
    pub(super) main_namespace: &'a str,
    /// None leaves the canceler's settings unset, so that they default to main's.
    pub(super) canceler_namespace: Option<&'a str>,
    pub(super) jaeger: bool,
    pub(super) payload_url: &'a str,
    pub(super) folder: &'a Path,
}

impl Launch {
    pub(super) fn new(
        binaries: ServiceBinaries,
        wiring: &Wiring<'_>,
        env_all: &BTreeMap<String, String>,
        env_of: BTreeMap<Part, BTreeMap<String, String>>,
    ) -> Self {
        let ports = wiring.ports;
        let mut env: BTreeMap<String, String> = [
            ("QUELL_HOST", "127.0.0.1".to_owned()),
            ("TEMPORAL_MAIN_ADDRESS", http(ports.temporal)),
            ("TEMPORAL_MAIN_NAMESPACE", wiring.main_namespace.to_owned()),
            ("QUELL_WORK_ADDRESS", http(ports.work)),
            ("QUELL_CANCELER_ADDRESS", http(ports.canceler)),
            ("QUELL_BATCH_ADDRESS", http(ports.batch)),
            ("QUELL_PAYLOAD_URL", wiring.payload_url.to_owned()),
            (
                "QUELL_ORDERS_LEDGER_URL",
                format!("sqlite://{}", wiring.folder.join("orders.db").display()),
            ),
            ("QUELL_DRAIN_TIMEOUT_SECONDS", DRAIN_SECONDS.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(namespace) = wiring.canceler_namespace {
            env.insert("TEMPORAL_CANCELER_ADDRESS".to_owned(), http(ports.temporal));
            env.insert("TEMPORAL_CANCELER_NAMESPACE".to_owned(), namespace.to_owned());
        }
        if wiring.jaeger {
            env.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), http(ports.jaeger_otlp_grpc));
        }
        env.extend(env_all.clone());
        Self {
            binaries,
            env,
            env_of,
            payload_url: wiring.payload_url.to_owned(),
            folder: wiring.folder.to_owned(),
        }
    }

    pub(super) fn payload_url(&self) -> &str {
        &self.payload_url
    }

    /// A service on a port, with its page of metrics on another (0 for a free one). It runs in the mesh's folder, where no `config.yaml` and no `.env` can change what it is told,
    /// and sees none of the caller's own settings.
    pub(super) fn spec(&self, service: Part, port: u16, metrics: u16, name: &str) -> Result<Spec, Error> {
        let mut env = self.env.clone();
        env.insert("QUELL_PORT".to_owned(), port.to_string());
        env.insert("QUELL_METRICS_PORT".to_owned(), metrics.to_string());
        env.extend(self.env_of.get(&service).cloned().unwrap_or_default());
        let inherited = quell_mesh::config::table();
        let inherited = inherited
            .iter()
            .map(|setting| setting.env.to_owned())
            .chain(["QUELL_CONFIG".to_owned()]);
        Ok(Spec {
            name: name.to_owned(),
            program: self.binaries.of(service)?,
            args: Vec::new(),
            env_remove: inherited.filter(|name| !env.contains_key(name)).collect(),
            env,
            dir: self.folder.clone(),
            log: self.folder.join(format!("{name}.log")),
            grace: GRACE,
        })
    }
}

/// A service is ready when it says so: its worker polls, and its namespaces are reachable.
pub(super) async fn wait_ready(process: &Process, address: &str, within: Duration) -> Result<(), Error> {
    wait_for_process(process, within, || health(address, "")).await
}
