//! The life of a service process, from its flags to its exit code.
//!
//! In order: flags; configuration (64 on a bad one); telemetry; the payload store; the service's own parts; its registry;
//! the port; then it serves, works and supervises until a signal. The end is [`crate::shutdown`]'s: health says NOT_SERVING,
//! new calls are refused and streams told, calls in flight finish, the workers drain, the last spans leave.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::audit::AuditLog;
use crate::auth::{Entrance, Outgoing};
use crate::config::{self, Config, EXIT_CONFIG, Settings, Sources};
use crate::error::Reason;
use crate::server::{Bound, Readiness, Supervisor};
use crate::shutdown::{Shutdown, exit_code};
use crate::temporal::NamespaceClient;
use crate::worker::Home;
use crate::worker::manager::{Drain, DrainReport, Manager};
use crate::{Mesh, PayloadStore, Service, ServiceInfo, metrics, server, telemetry};

/// What a service can be told to do; it does it without being told as well.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Verb {
    /// Serve and work until a signal.
    Serve,
}

/// How long the last of the audit may take to reach the store.
const AUDIT_FLUSH: Duration = Duration::from_secs(1);

/// Flags of every service.
#[derive(Debug, Parser)]
struct Flags {
    /// What to do.
    #[arg(value_enum, default_value = "serve")]
    verb: Verb,
    /// Read this file instead of ./config.yaml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Work on this task queue only; may be repeated. All queues by default.
    #[arg(long = "queue", value_name = "NAME")]
    queues: Vec<String>,
    /// Print the effective configuration, with where each value came from, and exit.
    #[arg(long)]
    print_config: bool,
    /// Ask the running service of this configuration for its health, and exit with 0 when it is SERVING, else 1.
    #[arg(long)]
    health: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| "must be KEY=VALUE".to_owned())
}

/// Runs a service from its start to its end. `build` makes the service's own parts and must not need a connection.
///
/// Exit codes: 0 after a clean shutdown, 1 when it could not start, 2 when a drain left work behind or a second signal cut
/// it short, 64 for bad flags or a bad configuration.
pub async fn run<F>(info: ServiceInfo, build: F) -> ExitCode
where
    F: FnOnce(Mesh) -> Result<Service, anyhow::Error>,
{
    let flags = match parse_flags(&info) {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    // There is one, and `--print-config` and `--health` go before it.
    let Verb::Serve = flags.verb;
    let config = match load_config(&flags, info.default_port) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("quell-{}: {message}", info.name);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if flags.print_config {
        print!("{}", config::print(&config));
        return ExitCode::SUCCESS;
    }
    if flags.health {
        return match server::probe(&config.settings).await {
            Ok(status) => {
                println!("{status}");
                ExitCode::SUCCESS
            }
            Err(reason) => {
                println!("{reason}");
                ExitCode::FAILURE
            }
        };
    }
    let instance = uuid::Uuid::new_v4().to_string();
    let telemetry = match telemetry::init(&info, &instance, &config.settings.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("quell-{}: {error}", info.name);
            return ExitCode::FAILURE;
        }
    };
    let outcome = live(info, config.settings, &flags.queues, build).await;
    let code = match outcome {
        Ok(clean) => {
            tracing::info!(clean, "stopped");
            exit_code(clean)
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot go on");
            ExitCode::FAILURE
        }
    };
    telemetry.flush().await;
    if code == exit_code(false) {
        // An activity that never returns may hold a thread of the runtime, which would wait for it.
        std::process::exit(i32::from(crate::shutdown::EXIT_CUT_SHORT));
    }
    code
}

fn parse_flags(info: &ServiceInfo) -> Result<Flags, ExitCode> {
    let command = Flags::command()
        .bin_name(format!("quell-{}", info.name))
        .version(info.version)
        .about(format!(
            "The {} service of Quell. Settings: docs/configuration.md.",
            info.name
        ));
    command
        .try_get_matches()
        .and_then(|matches| Flags::from_arg_matches(&matches))
        .map_err(|error| {
            // Printing can only fail on a closed terminal.
            let _ = error.print();
            if error.use_stderr() {
                ExitCode::from(EXIT_CONFIG)
            } else {
                ExitCode::SUCCESS
            }
        })
}

fn load_config(flags: &Flags, default_port: u16) -> Result<Config, config::ConfigError> {
    let sources = Sources::of_process(flags.config.as_deref(), flags.set.clone()).map_err(config::ConfigError)?;
    config::load(&sources, default_port)
}

/// Serves and works until a signal. Gives whether the end was clean.
async fn live<F>(info: ServiceInfo, settings: Settings, only: &[String], build: F) -> Result<bool, anyhow::Error>
where
    F: FnOnce(Mesh) -> Result<Service, anyhow::Error>,
{
    let settings = Arc::new(settings);
    let shutdown = Shutdown::new();
    let identity = identity(&info);
    let payloads = PayloadStore::open(&settings.payload)?;
    let client = |namespace: &config::NamespaceSettings| {
        NamespaceClient::new(namespace.clone(), identity.clone(), payloads.codec())
    };
    let (main, canceler) = (client(&settings.main), client(&settings.canceler));
    let mesh = Mesh {
        info,
        settings: settings.clone(),
        main: main.clone(),
        beside_main: settings.beside_main.iter().map(client).collect(),
        canceler: canceler.clone(),
        payloads: payloads.clone(),
        peers: Outgoing::open(&settings.peers.credentials).map_err(anyhow::Error::msg)?,
        shutdown: shutdown.clone(),
    };
    let Service { grpc, registry } = build(mesh)?;
    let audit = AuditLog::open(info.name, payloads);
    let entrance = Entrance::open(&settings, grpc.file_descriptor_set, audit.clone())?;
    let namespaces = registry
        .homes()
        .into_iter()
        .map(|home| match home {
            Home::Main => main.clone(),
            Home::Canceler => canceler.clone(),
        })
        .collect();
    let manager = Manager::new(registry, only, &main, &canceler, &identity, &settings.worker)?;

    shutdown.listen(longest_shutdown(&settings), manager.running())?;

    let bound = Bound::listen(&settings.server).await?;
    metrics::show(&["service", "rpc", "worker", "traces"]);
    metrics::BUILD_INFO.with([info.name, info.version]).set(1);
    let page = metrics::Page::listen(&settings.server, metrics_port(&info)).await?;
    let metrics_address = page.address;
    tokio::spawn(page.serve());
    let address = bound.address();
    let readiness = watch::Sender::new(Readiness::NotReady {
        reason: Reason::WorkerNotReady,
        message: "the service is starting".to_owned(),
    });
    let services = grpc.names().to_vec();
    let (health, mut server) = bound
        .serve(
            &settings.server,
            grpc,
            entrance,
            readiness.subscribe(),
            shutdown.token(),
        )
        .await?;
    tracing::info!(service = info.name, version = info.version, %address, metrics = %metrics_address, "listening");

    let supervisor = Supervisor {
        namespaces,
        queues: manager.states(),
        shutdown: shutdown.clone(),
        services,
        health,
        readiness: readiness.clone(),
    };
    let supervisor = tokio::spawn(supervisor.run());
    let drain = Drain::default();
    let mut workers = tokio::spawn(manager.run(drain.clone()));

    tokio::select! {
        () = shutdown.requested() => {}
        ended = &mut server => {
            anyhow::bail!("the gRPC server ended by itself: {ended:?}");
        }
        ended = &mut workers => {
            anyhow::bail!("the workers ended by themselves: {ended:?}");
        }
    }
    let requested = Instant::now();
    let by = requested + settings.worker.drain_timeout;
    // Health first, for a moment, then the port.
    supervisor.await?;
    tokio::time::sleep(settings.server.shutdown_delay).await;
    // Ends the watches of health, too: an open one would hold up the end for the whole drain timeout.
    shutdown.tell();
    // Calls may wait for what the workers do, so they come first; but half of the time is the workers'.
    let calls_first = timeout_at(requested + settings.worker.drain_timeout / 2, &mut server).await;
    drain.begin(by);
    let calls = async {
        let finished = calls_first.is_ok() || timeout_at(by, &mut server).await.is_ok();
        if !finished {
            tracing::warn!("calls in flight did not finish in time and are cut");
            server.abort();
        }
        finished
    };
    let (calls_finished, report) = tokio::join!(calls, workers);
    let report: DrainReport = report??;
    if tokio::time::timeout(AUDIT_FLUSH, audit.flush()).await.is_err() {
        tracing::error!("the last of the audit could not be kept in time; it is in the log only");
    }
    Ok(calls_finished && report.is_clean())
}

/// The port of the metrics when none is set: OpenTelemetry's own for its Prometheus page, and the next ones, in the order of the rpcs' ports.
fn metrics_port(info: &ServiceInfo) -> u16 {
    const WORK: (u16, u16) = (50051, 9464);
    WORK.1.saturating_add(info.default_port.saturating_sub(WORK.0))
}

/// How long the end of a process may take: everything that is in flight, the workers' stop, the last spans.
fn longest_shutdown(settings: &Settings) -> Duration {
    settings.worker.drain_timeout + settings.worker.stop_timeout + AUDIT_FLUSH + settings.telemetry.flush_timeout
}

/// What Temporal shows of this process: unique, since the manager looks for it among the pollers.
fn identity(info: &ServiceInfo) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "localhost".to_owned());
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    format!(
        "quell-{}@{host}@{}-{}",
        info.name,
        std::process::id(),
        nonce.get(..6).unwrap_or(&nonce)
    )
}
