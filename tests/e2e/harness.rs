//! The mesh that all tests of a run share, brought up once: Temporal's dev server, Jaeger, and the three services as
//! processes, on free ports. It stands on the same [`DevMesh`] as `quell dev`, so that what is tested is what people start.
//!
//! **Shared between runtimes.** Each `#[tokio::test]` has a runtime of its own, which dies with it. So what is shared is
//! processes and addresses only; connections are made by each test for itself.
//!
//! **Shared between tests.** A test names its workload after itself ([`unique`]) and never counts what others may start.
//! What would hurt others (to kill, to drain, to starve) is done to services of the test's own ([`Mesh::own`]), on the shared
//! Temporal. Two things exist once on a Temporal server and are taken in turns: the batch operation's slot of a namespace
//! ([`batch_slot`]), and the processor, for the sake of which only some tests run at once ([`mesh`]).
//!
//! **The end.** Statics are never dropped, so the mesh does not end by a drop but with this process, however that ends: each
//! child has a guard that waits for our death (crates/cli `process`). Logs are left in the target folder until the next run.
//!
//! A server that cannot be had fails every test, with the reason; nothing is ever skipped.

use nix::sys::signal::kill;
use nix::unistd::Pid;
use quell_api::{
    batch::v1::batch_operation_service_client::BatchOperationServiceClient,
    canceler::v1::cancellation_service_client::CancellationServiceClient,
    work::v1::{
        batch_processing_service_client::BatchProcessingServiceClient, order_service_client::OrderServiceClient,
        snowball_service_client::SnowballServiceClient, source_service_client::SourceServiceClient,
    },
};
use quell_cli::{
    dev::{DevMesh, DevMeshBuilder, JaegerWish, Part, ServiceBinaries, find_binaries, health},
    process::{Process, Spec},
    tools::{self, Reach},
};
use std::{
    collections::BTreeMap,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tokio::sync::{Mutex, MutexGuard, OnceCell, Semaphore, SemaphorePermit};
use tonic::transport::{Channel, Endpoint};

use crate::poll::{SOON, eventually};

/// Tests that use the mesh at the same time, whatever the machine: more would only wait for the processor.
const AT_ONCE: usize = 3;
/// How long a part of the mesh may take to become ready while others compile or start.
const READY_WITHIN: Duration = Duration::from_secs(120);

static SHARED: OnceCell<Result<Shared, String>> = OnceCell::const_new();
static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);
static BATCH_SLOT: Mutex<()> = Mutex::const_new(());

/// What all tests share, or what one test has for itself ([`Apart`]).
pub(crate) struct Shared {
    dev: DevMesh,
    binaries: ServiceBinaries,
    /// The Temporal CLI.
    pub temporal_cli: PathBuf,
    /// The gRPC command line.
    pub grpcurl: PathBuf,
    /// Our own command line.
    pub quell: PathBuf,
}

/// The shared mesh, and a place among the tests that use it.
pub(crate) struct Mesh {
    shared: &'static Shared,
    _place: SemaphorePermit<'static>,
}

impl Deref for Mesh {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}

/// A mesh of a test's own, all of whose parts it may kill: its Temporal, too. It ends when it is dropped.
pub(crate) struct Apart(Shared);

impl Deref for Apart {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Apart {
    /// Kills a part with SIGKILL.
    pub(crate) async fn kill(&self, part: Part) {
        self.dev.kill(part).await.expect("it can be killed");
    }

    /// Starts killed parts again, on their ports, and waits until all services are ready: without Temporal none of them is.
    pub(crate) async fn start(&self, parts: &[Part]) {
        for part in parts.iter().chain(&Part::SERVICES) {
            self.dev.start(*part).await.expect("it is ready again");
        }
    }
}

/// The mesh, started by whoever asks first.
///
/// # Panics
/// When a part of it cannot be had. Every test fails then, at once and with the same reason.
pub(crate) async fn mesh() -> Mesh {
    let place = PLACES.acquire().await.expect("the semaphore is never closed");
    match SHARED.get_or_init(bring_up).await {
        Ok(shared) => Mesh { shared, _place: place },
        Err(reason) => panic!("the mesh could not be started: {reason}"),
    }
}

/// The one batch operation that the server runs at a time in the main namespace.
pub(crate) async fn batch_slot() -> MutexGuard<'static, ()> {
    BATCH_SLOT.lock().await
}

/// A name that no other test and no other run has: `<what>-<8 hex digits>`.
pub(crate) fn unique(what: &str) -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("{what}-{}", &id[..8])
}

async fn bring_up() -> Result<Shared, String> {
    let folder = folder_of_this_run()?;
    let binaries = tokio::task::spawn_blocking(find_binaries)
        .await
        .map_err(|error| error.to_string())?;
    let binaries = binaries.map_err(|error| error.to_string())?;
    let quell = quell_binary(&binaries)?;
    let find = async |tool| {
        tools::find(tool, Reach::Fetch)
            .await
            .map(|found| found.path)
            .map_err(|error| error.to_string())
    };
    let temporal_cli = find(&tools::TEMPORAL).await?;
    let grpcurl = find(&tools::GRPCURL).await?;
    let mesh = DevMesh::builder()
        .jaeger(JaegerWish::Required)
        .folder(&folder)
        .binaries(binaries.clone())
        .ready_within(READY_WITHIN)
        .start();
    let dev = mesh.await.map_err(|error| error.to_string())?;
    eprintln!("e2e: temporal {}, logs in {}", dev.temporal_address(), folder.display());
    Ok(Shared {
        dev,
        binaries,
        temporal_cli,
        grpcurl,
        quell,
    })
}

/// `quell` lies beside the services; under cargo it is built as they are, so that it is never older than its sources.
fn quell_binary(binaries: &ServiceBinaries) -> Result<PathBuf, String> {
    let work = binaries.of(Part::Work).map_err(|error| error.to_string())?;
    let folder = work.parent().ok_or("the services lie in no folder")?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build
            .args(["build", "--quiet", "--bin", "quell"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .stdin(Stdio::null());
        quell_cli::dev::forget_cargo(&mut build);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let status = build
            .status()
            .map_err(|error| format!("cargo cannot be run: {error}"))?;
        if !status.success() {
            return Err(format!("cargo build --bin quell failed ({status})"));
        }
    }
    let quell = folder.join("quell");
    if quell.is_file() {
        Ok(quell)
    } else {
        Err(format!("{} does not exist", quell.display()))
    }
}

/// The folder of this run in the target folder. Those of runs that are over are removed.
fn folder_of_this_run() -> Result<PathBuf, String> {
    const PREFIX: &str = "e2e-run-";
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let failed = |error: std::io::Error| format!("{}: {error}", base.display());
    std::fs::create_dir_all(base).map_err(failed)?;
    for entry in std::fs::read_dir(base).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<i32>().ok());
        if pid.is_some_and(|pid| kill(Pid::from_raw(pid), None).is_err()) {
            std::fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(base.join(format!("{PREFIX}{}", std::process::id())))
}

impl Shared {
    /// Host and port of Temporal's frontend, as its CLI wants them.
    pub(crate) fn temporal(&self) -> String {
        authority(&self.dev.temporal_address())
    }

    /// Address of Temporal's frontend, with scheme.
    pub(crate) fn temporal_address(&self) -> String {
        self.dev.temporal_address()
    }

    /// Address of a service, with scheme.
    pub(crate) fn address(&self, part: Part) -> String {
        self.dev.address(part)
    }

    /// Host and port of Jaeger's query API.
    pub(crate) fn jaeger_query(&self) -> String {
        self.dev
            .jaeger_ui()
            .map(|ui| authority(&ui))
            .expect("the mesh is built with Jaeger")
    }

    /// Where Jaeger takes spans by HTTP.
    pub(crate) fn jaeger_http(&self) -> String {
        self.dev.jaeger_http()
    }

    /// Host and port of a service's page of metrics.
    pub(crate) fn metrics_page(&self, part: Part) -> String {
        let page = self.dev.metrics(part).expect("a service");
        authority(page.trim_end_matches("metrics"))
    }

    /// The folder that the services use as payload store.
    pub(crate) fn payloads(&self) -> PathBuf {
        PathBuf::from(self.dev.payload_url())
    }

    /// The program of a service.
    pub(crate) fn program(&self, part: Part) -> PathBuf {
        self.binaries.of(part).expect("the mesh was started with it")
    }

    /// All programs of services, for another mesh.
    pub(crate) fn binaries(&self) -> ServiceBinaries {
        self.binaries.clone()
    }

    /// A mesh of a test's own, with the same programs; its files lie in the folder of the run.
    pub(crate) async fn apart(&self, name: &str, builder: DevMeshBuilder) -> Apart {
        let builder = builder.binaries(self.binaries()).folder(self.folder(name));
        let dev = builder.ready_within(READY_WITHIN).start().await;
        Apart(Shared {
            dev: dev.expect("a mesh of the test's own starts"),
            binaries: self.binaries(),
            temporal_cli: self.temporal_cli.clone(),
            grpcurl: self.grpcurl.clone(),
            quell: self.quell.clone(),
        })
    }

    /// A folder for a test's own files, in the folder of the run.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dev.folder().join(name);
        std::fs::create_dir_all(&folder).expect("the folder of the run can be written");
        folder
    }

    /// Client of the shared work service's snowballs.
    pub(crate) fn snowballs(&self) -> SnowballServiceClient<Channel> {
        SnowballServiceClient::new(channel(&self.address(Part::Work)))
    }

    /// Client of the shared work service's sources.
    pub(crate) fn sources(&self) -> SourceServiceClient<Channel> {
        SourceServiceClient::new(channel(&self.address(Part::Work)))
    }

    /// Client of the shared work service's batch processings.
    pub(crate) fn batch_processings(&self) -> BatchProcessingServiceClient<Channel> {
        BatchProcessingServiceClient::new(channel(&self.address(Part::Work)))
    }

    /// Client of the shared work service's orders.
    pub(crate) fn orders(&self) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(channel(&self.address(Part::Work)))
    }

    /// Client of the shared canceler service.
    pub(crate) fn cancellations(&self) -> CancellationServiceClient<Channel> {
        CancellationServiceClient::new(channel(&self.address(Part::Canceler)))
    }

    /// Client of the shared batch service.
    pub(crate) fn batches(&self) -> BatchOperationServiceClient<Channel> {
        BatchOperationServiceClient::new(channel(&self.address(Part::Batch)))
    }

    /// Starts a service of the test's own on the shared Temporal and waits until it is ready. `settings` are environment
    /// variables, on top of what the shared services have. It ends when it is dropped.
    pub(crate) async fn own(&self, part: Part, name: &str, settings: &[(&str, &str)]) -> Own {
        let own = self.own_unready(part, name, settings);
        own.ready().await;
        own
    }

    /// The same without waiting.
    pub(crate) fn own_unready(&self, part: Part, name: &str, settings: &[(&str, &str)]) -> Own {
        let port = quell_cli::ports::free(1).expect("a free port")[0].to_string();
        let name = format!("{name}-{part}");
        let folder = self.folder(&name);
        let mut env: BTreeMap<String, String> = [
            ("QUELL_PORT", port.clone()),
            ("QUELL_METRICS_PORT", "0".to_owned()),
            ("TEMPORAL_MAIN_ADDRESS", self.temporal_address()),
            ("TEMPORAL_MAIN_NAMESPACE", self.dev.main_namespace().to_owned()),
            ("TEMPORAL_CANCELER_NAMESPACE", self.dev.canceler_namespace().to_owned()),
            ("QUELL_WORK_ADDRESS", self.address(Part::Work)),
            ("QUELL_CANCELER_ADDRESS", self.address(Part::Canceler)),
            ("QUELL_BATCH_ADDRESS", self.address(Part::Batch)),
            ("QUELL_PAYLOAD_URL", self.dev.payload_url().to_owned()),
            // The shared services' own: whoever works on an order of main must know what was done for it.
            (
                "QUELL_ORDERS_LEDGER_URL",
                format!("sqlite://{}", self.dev.folder().join("orders.db").display()),
            ),
            ("QUELL_DRAIN_TIMEOUT_SECONDS", "10".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        env.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let process = Process::new(Spec {
            name,
            program: self.program(part),
            args: Vec::new(),
            env_remove: foreign_settings(&env),
            env,
            log: folder.join("log"),
            dir: folder,
            grace: Duration::from_secs(20),
        });
        process.start().expect("the service can be started");
        Own {
            process,
            address: format!("http://127.0.0.1:{port}"),
        }
    }
}

/// Settings in the tests' own environment that a service must not see.
pub(crate) fn foreign_settings(env: &BTreeMap<String, String>) -> Vec<String> {
    let settings = quell_mesh::config::table();
    let names = settings
        .iter()
        .map(|setting| setting.env.to_owned())
        .chain(["QUELL_CONFIG".to_owned()]);
    names.filter(|name| !env.contains_key(name)).collect()
}

/// A service of a test's own. It ends when it is dropped.
pub(crate) struct Own {
    /// To kill, to signal, to start again.
    pub process: Process,
    /// Address, with scheme.
    pub address: String,
}

impl Own {
    /// Waits until it says that it serves.
    pub(crate) async fn ready(&self) {
        eventually(
            SOON,
            &format!("{} is serving", self.process.name()),
            async || match self.process.exit_status() {
                None => health(&self.address, "")
                    .await
                    .map_err(|reason| format!("{reason}\n{}", self.process.log_tail(20))),
                Some(status) => panic!("{} ended: {status}\n{}", self.process.name(), self.process.log_tail(40)),
            },
        )
        .await;
    }

    /// A connection to it.
    pub(crate) fn channel(&self) -> Channel {
        channel(&self.address)
    }
}

/// A connection for the calling test's runtime; it is made at the first call.
pub(crate) fn channel(address: &str) -> Channel {
    Endpoint::from_shared(address.to_owned())
        .expect("a valid address")
        .connect_lazy()
}

/// Host and port of an address.
pub(crate) fn authority(address: &str) -> String {
    address.trim_start_matches("http://").trim_end_matches('/').to_owned()
}
