//! What a development mesh is made of, and its start.

use super::binaries::{ServiceBinaries, find_binaries};
use super::ports::Ports;
use super::{DevMesh, Folder, Part, jaeger, services, temporal};
use crate::error::Error;
use crate::process::Process;
use crate::tools::{self, Reach};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How much Jaeger is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JaegerWish {
    /// Not at all.
    #[default]
    No,
    /// If it is on this machine already.
    IfLocal,
    /// Fetched if need be; the mesh starts without it when that fails.
    IfPossible,
    /// No mesh without it.
    Required,
}

/// Builds a [`DevMesh`]. Default: every service, Temporal in memory with the namespaces `main` and `canceler`, free ports,
/// no Web UI, no Jaeger, a temporary folder, 60 s for each part to become ready.
#[derive(Debug, Clone)]
pub struct DevMeshBuilder {
    ports: Option<Ports>,
    web_ui: bool,
    jaeger: JaegerWish,
    parts: BTreeSet<Part>,
    held: BTreeSet<Part>,
    main_namespace: String,
    canceler_namespace: Option<String>,
    db_file: Option<PathBuf>,
    payload_url: Option<String>,
    folder: Option<PathBuf>,
    binaries: Option<ServiceBinaries>,
    env_all: BTreeMap<String, String>,
    env_of: BTreeMap<Part, BTreeMap<String, String>>,
    temporal_args: Vec<String>,
    ready_within: Duration,
}

impl Default for DevMeshBuilder {
    fn default() -> Self {
        Self {
            ports: None,
            web_ui: false,
            jaeger: JaegerWish::No,
            parts: [Part::Temporal, Part::Work, Part::Canceler, Part::Batch].into(),
            held: BTreeSet::new(),
            main_namespace: "main".to_owned(),
            canceler_namespace: Some("canceler".to_owned()),
            db_file: None,
            payload_url: None,
            folder: None,
            binaries: None,
            env_all: BTreeMap::new(),
            env_of: BTreeMap::new(),
            temporal_args: Vec::new(),
            ready_within: Duration::from_secs(60),
        }
    }
}

impl DevMeshBuilder {
    /// These ports instead of free ones. A taken one is an error.
    #[must_use]
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Temporal's Web UI.
    #[must_use]
    pub fn web_ui(mut self, wanted: bool) -> Self {
        self.web_ui = wanted;
        self
    }

    /// Jaeger.
    #[must_use]
    pub fn jaeger(mut self, wish: JaegerWish) -> Self {
        self.jaeger = wish;
        self
    }

    /// Only these services.
    #[must_use]
    pub fn services(mut self, services: impl IntoIterator<Item = Part>) -> Self {
        self.parts.retain(|part| !Part::SERVICES.contains(part));
        self.parts
            .extend(services.into_iter().filter(|part| Part::SERVICES.contains(part)));
        self
    }

    /// Not started with the mesh, only known to it; [`DevMesh::start`] starts it later. With Temporal held back the
    /// services are started but not waited for: they cannot be ready.
    #[must_use]
    pub fn hold(mut self, part: Part) -> Self {
        self.held.insert(part);
        self
    }

    /// Names of the two namespaces.
    #[must_use]
    pub fn namespaces(mut self, main: &str, canceler: &str) -> Self {
        main.clone_into(&mut self.main_namespace);
        self.canceler_namespace = Some(canceler.to_owned());
        self
    }

    /// One namespace for everything; the canceler's settings are left unset.
    #[must_use]
    pub fn one_namespace(mut self, name: &str) -> Self {
        name.clone_into(&mut self.main_namespace);
        self.canceler_namespace = None;
        self
    }

    /// Temporal's database in a file. Payloads then lie in a folder beside it, so that both outlive the mesh.
    #[must_use]
    pub fn db_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.db_file = Some(file.into());
        self
    }

    /// The payload store, instead of a folder of the mesh.
    #[must_use]
    pub fn payload_url(mut self, url: impl Into<String>) -> Self {
        self.payload_url = Some(url.into());
        self
    }

    /// Folder for logs and other files, made if missing and kept, instead of a temporary one.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The services' binaries, instead of searching or building them.
    #[must_use]
    pub fn binaries(mut self, binaries: ServiceBinaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// An environment variable for every service.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env_all.insert(name.into(), value.into());
        self
    }

    /// An environment variable for one service; wins over [`DevMeshBuilder::env`].
    #[must_use]
    pub fn env_of(mut self, service: Part, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env_of
            .entry(service)
            .or_default()
            .insert(name.into(), value.into());
        self
    }

    /// A further argument of `temporal server start-dev`, for example `--dynamic-config-value=KEY=JSON`.
    #[must_use]
    pub fn temporal_arg(mut self, arg: impl Into<String>) -> Self {
        self.temporal_args.push(arg.into());
        self
    }

    /// How long each part may take to become ready.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// Any of [`Error`]. What was started is ended; a temporary folder with logs is kept when a part did not become
    /// ready, and the error names the log.
    pub async fn start(mut self) -> Result<DevMesh, Error> {
        let temporal_program = tools::find(&tools::TEMPORAL, Reach::Fetch).await?.path;
        let (jaeger_program, jaeger_missing) = self.find_jaeger().await?;
        if jaeger_program.is_some() {
            self.parts.insert(Part::Jaeger);
        }
        let binaries = self.find_binaries().await?;
        let ports = self.choose_ports()?;
        let folder = self.make_folder()?;
        let payload_url = self.choose_payload_url(folder.path())?;

        let wiring = services::Wiring {
            ports: &ports,
            main_namespace: &self.main_namespace,
            canceler_namespace: self.canceler_namespace.as_deref(),
            jaeger: jaeger_program.is_some(),
            payload_url: &payload_url,
            folder: folder.path(),
        };
        let launch = services::Launch::new(binaries, &wiring, &self.env_all, std::mem::take(&mut self.env_of));
        let canceler_namespace = self
            .canceler_namespace
            .clone()
            .unwrap_or_else(|| self.main_namespace.clone());
        let mut specs = vec![(
            Part::Temporal,
            self.temporal_spec(temporal_program, &ports, folder.path())?,
        )];
        if let Some(program) = jaeger_program {
            let log = folder.path().join("jaeger.log");
            specs.push((Part::Jaeger, jaeger::spec(program, &ports, folder.path(), log)?));
        }
        for service in Part::SERVICES
            .into_iter()
            .filter(|service| self.parts.contains(service))
        {
            let of = ports.of(service);
            let port = |n: usize| of.get(n).copied().unwrap_or_default();
            specs.push((service, launch.spec(service, port(0), port(1), service.name())?));
        }
        let processes = specs
            .into_iter()
            .map(|(part, spec)| (part, Arc::new(Process::new(spec))))
            .collect();
        let mut mesh = DevMesh {
            ports,
            main_namespace: self.main_namespace,
            canceler_namespace,
            jaeger_missing,
            processes,
            services: launch,
            ready_within: self.ready_within,
            folder,
        };
        match bring_up(&mesh, &self.held).await {
            Ok(()) => Ok(mesh),
            Err(error) => {
                mesh.keep_folder();
                mesh.stop().await;
                Err(error)
            }
        }
    }

    async fn find_jaeger(&self) -> Result<(Option<PathBuf>, Option<String>), Error> {
        let reach = match self.jaeger {
            JaegerWish::No => return Ok((None, None)),
            JaegerWish::IfLocal => Reach::Local,
            JaegerWish::IfPossible | JaegerWish::Required => Reach::Fetch,
        };
        match tools::find(&tools::JAEGER, reach).await {
            Ok(found) => Ok((Some(found.path), None)),
            Err(error) if self.jaeger == JaegerWish::Required => Err(error),
            Err(error) => Ok((None, Some(error.to_string()))),
        }
    }

    async fn find_binaries(&mut self) -> Result<ServiceBinaries, Error> {
        match self.binaries.take() {
            Some(binaries) => Ok(binaries),
            None => {
                let broken_off = |error| Error::Binaries(format!("the search broke off: {error}"));
                tokio::task::spawn_blocking(find_binaries).await.map_err(broken_off)?
            }
        }
    }

    /// The ports; those that were given must be free, or the reader would wonder at some child's log.
    fn choose_ports(&mut self) -> Result<Ports, Error> {
        let given = self.ports.take();
        let must_be_free = given.is_some();
        let mut ports = given.map_or_else(Ports::free, Ok)?;
        if !self.web_ui {
            ports.temporal_ui = None;
        }
        let taken = self
            .parts
            .iter()
            .flat_map(|part| ports.of(*part).into_iter().map(move |port| (part, port)));
        let taken = taken.filter(|(_, port)| crate::ports::in_use(*port));
        let taken: Vec<String> = taken.map(|(part, port)| format!("{port} ({part}) is in use")).collect();
        if must_be_free && !taken.is_empty() {
            return Err(Error::TakenPorts(taken.join(", ")));
        }
        Ok(ports)
    }

    fn make_folder(&mut self) -> Result<Folder, Error> {
        if let Some(folder) = self.folder.take() {
            std::fs::create_dir_all(&folder).map_err(Error::io(format!("cannot make {}", folder.display())))?;
            let absolute =
                std::path::absolute(&folder).map_err(Error::io(format!("cannot use {}", folder.display())))?;
            return Ok(Folder::Named(absolute));
        }
        let temporary = tempfile::Builder::new().prefix("quell-dev-").tempdir();
        temporary
            .map(Folder::Temporary)
            .map_err(Error::io("cannot make a temporary folder"))
    }

    fn choose_payload_url(&mut self, folder: &Path) -> Result<String, Error> {
        if let Some(url) = self.payload_url.take() {
            return Ok(url);
        }
        let Some(db_file) = &self.db_file else {
            return Ok(folder.join("payloads").display().to_string());
        };
        let mut beside = std::path::absolute(db_file)
            .map_err(Error::io("cannot use the database file"))?
            .into_os_string();
        beside.push(".payloads");
        Ok(PathBuf::from(beside).display().to_string())
    }

    fn temporal_spec(&self, program: PathBuf, ports: &Ports, folder: &Path) -> Result<crate::process::Spec, Error> {
        let db_file = self.db_file.as_ref().map(std::path::absolute).transpose();
        let db_file = db_file.map_err(Error::io("cannot use the database file"))?;
        let mut namespaces = vec![self.main_namespace.as_str()];
        namespaces.extend(
            self.canceler_namespace
                .as_deref()
                .filter(|name| *name != self.main_namespace),
        );
        Ok(temporal::spec(temporal::Launch {
            program,
            ports,
            namespaces,
            db_file: db_file.as_deref(),
            extra_args: &self.temporal_args,
            folder,
            log: folder.join("temporal.log"),
        }))
    }
}

/// Temporal and Jaeger side by side, then the services side by side.
async fn bring_up(mesh: &DevMesh, held: &BTreeSet<Part>) -> Result<(), Error> {
    let wanted = |part: &Part| mesh.processes.contains_key(part) && !held.contains(part);
    let foundations = [Part::Temporal, Part::Jaeger]
        .into_iter()
        .filter(wanted)
        .map(|part| mesh.start(part));
    futures::future::try_join_all(foundations).await?;
    let services = Part::SERVICES.into_iter().filter(wanted);
    if held.contains(&Part::Temporal) {
        return services
            .into_iter()
            .try_for_each(|service| mesh.known(service)?.start().map(drop));
    }
    futures::future::try_join_all(services.map(|service| mesh.start(service)))
        .await
        .map(drop)
}
