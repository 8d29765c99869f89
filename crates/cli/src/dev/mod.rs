//! A whole mesh on this machine: the Temporal dev server, Jaeger, and the three services, each a process of its own.
//!
//! `quell dev` and `quell demo` run it for people; the end-to-end tests run the same thing, so that what is tested is what
//! people start. Services are processes, not tasks, because that is what they are in earnest: they can be killed with
//! SIGKILL, restarted on the same port, and run on a Temporal that is not there yet.
//!
//! Everything of a mesh lies in one folder: logs, large payloads, Jaeger's configuration. It is removed at the end
//! unless it was named by the caller or something failed.

mod binaries;
mod builder;
mod jaeger;
mod ports;
mod ready;
mod services;
mod temporal;

pub use binaries::{ServiceBinaries, find_binaries, forget_cargo};
pub use builder::{DevMeshBuilder, JaegerWish};
pub use ports::Ports;
pub use ready::{health, http_get, wait_until};
pub(crate) use ready::{health_on, innermost};

use crate::error::Error;
use crate::process::Process;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A process of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The Temporal dev server.
    Temporal,
    /// Jaeger.
    Jaeger,
    /// The work service.
    Work,
    /// The canceler service.
    Canceler,
    /// The batch service.
    Batch,
}

impl Part {
    /// The three services.
    pub const SERVICES: [Self; 3] = [Self::Work, Self::Canceler, Self::Batch];

    /// Name of the process and of its log file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Temporal => "temporal",
            Self::Jaeger => "jaeger",
            Self::Work => "quell-work",
            Self::Canceler => "quell-canceler",
            Self::Batch => "quell-batch",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A running mesh. Dropping it ends every process in it (TERM, then KILL), as does the death of this process.
#[derive(Debug)]
pub struct DevMesh {
    ports: Ports,
    main_namespace: String,
    canceler_namespace: String,
    /// Why there is no Jaeger, when there is none.
    jaeger_missing: Option<String>,
    processes: BTreeMap<Part, Arc<Process>>,
    /// What a further replica of a service is made of.
    services: services::Launch,
    ready_within: Duration,
    folder: Folder,
}

/// Where a mesh keeps its files.
#[derive(Debug)]
enum Folder {
    Temporary(tempfile::TempDir),
    Named(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Named(path) => path,
        }
    }
}

impl DevMesh {
    /// A mesh with everything in it on free ports, without Web UI and Jaeger; see [`DevMeshBuilder`] for more.
    #[must_use]
    pub fn builder() -> DevMeshBuilder {
        DevMeshBuilder::default()
    }

    /// Its ports.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Address of the Temporal frontend, with scheme.
    #[must_use]
    pub fn temporal_address(&self) -> String {
        http(self.ports.temporal)
    }

    /// Address of a part, with scheme: the gRPC address of Temporal or of a service, the OTLP/gRPC address of Jaeger.
    #[must_use]
    pub fn address(&self, part: Part) -> String {
        http(match part {
            Part::Temporal => self.ports.temporal,
            Part::Jaeger => self.ports.jaeger_otlp_grpc,
            Part::Work => self.ports.work,
            Part::Canceler => self.ports.canceler,
            Part::Batch => self.ports.batch,
        })
    }

    /// Address of a service's page of metrics; none for what is not a service.
    #[must_use]
    pub fn metrics(&self, part: Part) -> Option<String> {
        let at = Part::SERVICES.iter().position(|service| *service == part)?;
        let port = self.ports.metrics.get(at)?;
        Some(format!("{}/metrics", http(*port)))
    }

    /// Address of the Temporal Web UI, if it was asked for.
    #[must_use]
    pub fn web_ui(&self) -> Option<String> {
        self.ports.temporal_ui.map(http)
    }

    /// Address of Jaeger's UI and query API, if it runs.
    #[must_use]
    pub fn jaeger_ui(&self) -> Option<String> {
        self.processes
            .contains_key(&Part::Jaeger)
            .then(|| http(self.ports.jaeger_ui))
    }

    /// OTLP/HTTP address of Jaeger, with scheme.
    #[must_use]
    pub fn jaeger_http(&self) -> String {
        http(self.ports.jaeger_otlp_http)
    }

    /// Address of one trace, if Jaeger runs.
    #[must_use]
    pub fn trace_url(&self, trace_id: &str) -> Option<String> {
        self.jaeger_ui().map(|ui| format!("{ui}/trace/{trace_id}"))
    }

    /// Why there is no Jaeger although it was asked for.
    #[must_use]
    pub fn jaeger_missing(&self) -> Option<&str> {
        self.jaeger_missing.as_deref()
    }

    /// The namespace of the workloads.
    #[must_use]
    pub fn main_namespace(&self) -> &str {
        &self.main_namespace
    }

    /// The namespace of the cancellations.
    #[must_use]
    pub fn canceler_namespace(&self) -> &str {
        &self.canceler_namespace
    }

    /// The folder of logs and other files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Folder or URL of the payload store that the services share.
    #[must_use]
    pub fn payload_url(&self) -> &str {
        self.services.payload_url()
    }

    /// A process of the mesh, to be killed and restarted; none when the mesh was built without it.
    #[must_use]
    pub fn process(&self, part: Part) -> Option<Arc<Process>> {
        self.processes.get(&part).cloned()
    }

    /// Starts a part that is not running (held back, killed or terminated), on its port, and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when the mesh was built without it; those of a start; [`Error::NotReady`].
    pub async fn start(&self, part: Part) -> Result<(), Error> {
        self.known(part)?.start()?;
        self.wait_ready(part).await
    }

    /// Waits until a part is ready: Temporal answers queries in both namespaces, a service is SERVING, Jaeger answers.
    ///
    /// # Errors
    /// [`Error::NotReady`] after the deadline, or at once when the process ends.
    pub async fn wait_ready(&self, part: Part) -> Result<(), Error> {
        let process = self.known(part)?;
        match part {
            Part::Temporal => {
                let namespaces = [self.main_namespace.as_str(), self.canceler_namespace.as_str()];
                temporal::wait_ready(&process, self.ports.temporal, &namespaces, self.ready_within).await
            }
            Part::Jaeger => jaeger::wait_ready(&process, &self.ports, self.ready_within).await,
            Part::Work | Part::Canceler | Part::Batch => {
                services::wait_ready(&process, &self.address(part), self.ready_within).await
            }
        }
    }

    /// Kills a part with SIGKILL, as `kill -9` would, and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when the mesh was built without it.
    pub async fn kill(&self, part: Part) -> Result<(), Error> {
        self.known(part)?.kill().await
    }

    /// Terminates a part if it runs, starts it again on the same port, and waits until it is ready.
    ///
    /// # Errors
    /// Those of [`DevMesh::start`].
    pub async fn restart(&self, part: Part) -> Result<(), Error> {
        self.known(part)?.terminate().await?;
        self.start(part).await
    }

    /// Starts one more replica of a service on a free port, and waits until it is ready. It ends when it is dropped.
    ///
    /// # Errors
    /// Those of [`DevMesh::start`]; [`Error::Ports`].
    pub async fn add_replica(&self, service: Part) -> Result<(Process, String), Error> {
        let port = crate::ports::free(1)?
            .first()
            .copied()
            .ok_or_else(|| Error::Ports("none found".to_owned()))?;
        let process = Process::new(self.services.spec(service, port, 0, &format!("{service}-{port}"))?);
        process.start()?;
        let address = http(port);
        services::wait_ready(&process, &address, self.ready_within).await?;
        Ok((process, address))
    }

    /// Waits until any process ends, and says which.
    pub async fn any_exit(&self) -> Arc<Process> {
        let waits = self
            .processes
            .values()
            .filter(|process| process.pid().is_some())
            .map(|process| {
                let process = Arc::clone(process);
                Box::pin(async move {
                    // An error here means that it does not run any more, which is what is waited for.
                    let _ = process.wait().await;
                    process
                })
            });
        let waits: Vec<_> = waits.collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(waits).await.0
    }

    /// Ends everything: the services first and together, so that they can still reach Temporal and Jaeger while they
    /// drain. Names those that had to be killed.
    pub async fn stop(&self) -> Vec<String> {
        let mut killed = Vec::new();
        for round in [&Part::SERVICES[..], &[Part::Temporal, Part::Jaeger]] {
            let ends = round
                .iter()
                .filter_map(|part| self.process(*part))
                .map(|process| async move {
                    let ended = process.terminate().await;
                    matches!(ended, Ok(false)).then(|| process.name())
                });
            killed.extend(futures::future::join_all(ends).await.into_iter().flatten());
        }
        killed
    }

    /// Keeps the folder of a mesh that would be removed at the end, for who wants to read the logs.
    pub fn keep_folder(&mut self) {
        if let Folder::Temporary(dir) = &mut self.folder {
            dir.disable_cleanup(true);
        }
    }

    fn known(&self, part: Part) -> Result<Arc<Process>, Error> {
        self.process(part)
            .ok_or_else(|| Error::NotRunning(part.name().to_owned()))
    }
}

fn http(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
