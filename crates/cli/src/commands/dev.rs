//! `quell dev`: a mesh to work with.

use crate::dev::{DevMesh, DevMeshBuilder, JaegerWish, Part, Ports};
use crate::exit::{self, Failure};
use crate::ui::Ui;
use serde_json::json;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `quell dev`.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct DevArgs {
    /// Keep Temporal's data in this file (and payloads beside it), so that the next start finds them.
    #[arg(long, value_name = "FILE")]
    db_filename: Option<PathBuf>,
    /// Without Temporal's Web UI.
    #[arg(long)]
    headless: bool,
    /// Without Jaeger.
    #[arg(long)]
    no_jaeger: bool,
    /// Free ports instead of the well-known ones, so that meshes can run side by side.
    #[arg(long)]
    free_ports: bool,
    /// One namespace for workloads and cancellations, instead of `main` and `canceler`.
    #[arg(long, value_name = "NAME")]
    one_namespace: Option<String>,
    /// Folder for logs; kept. Default: a temporary one, removed at the end.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The payload store that the services share. Default: a folder of the mesh.
    #[arg(long, value_name = "URL")]
    payload_url: Option<String>,
    /// An environment variable for every service; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_assignment)]
    env: Vec<(String, String)>,
}

fn parse_assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() {
        Err("must be NAME=VALUE".to_owned())
    } else {
        Ok((name.to_owned(), value.to_owned()))
    }
}

impl DevArgs {
    fn builder(self) -> Result<DevMeshBuilder, Failure> {
        let ports = if self.free_ports {
            Ports::free()?
        } else {
            Ports::well_known()
        };
        let jaeger = if self.no_jaeger {
            JaegerWish::No
        } else {
            JaegerWish::IfPossible
        };
        let mut builder = DevMesh::builder().ports(ports).web_ui(!self.headless).jaeger(jaeger);
        if let Some(file) = self.db_filename {
            builder = builder.db_file(file);
        }
        if let Some(name) = self.one_namespace {
            builder = builder.one_namespace(&name);
        }
        if let Some(folder) = self.folder {
            builder = builder.folder(folder);
        }
        if let Some(url) = self.payload_url {
            builder = builder.payload_url(url);
        }
        Ok(self
            .env
            .into_iter()
            .fold(builder, |builder, (name, value)| builder.env(name, value)))
    }
}

pub(super) async fn run(ui: Ui, args: DevArgs) -> Result<u8, Failure> {
    let mut asked = Interrupts::new()?;
    ui.line("starting the mesh");
    let starting = args.builder()?.start();
    let mut mesh = tokio::select! {
        mesh = starting => mesh?,
        // What was started so far ends with the dropped future.
        () = asked.next() => return Err(Failure::Other("interrupted".to_owned())),
    };
    for line in describe(&mesh) {
        ui.line(line);
    }
    ui.line("Ctrl-C stops all");
    ui.result(&addresses_json(&mesh));
    let died = tokio::select! {
        () = asked.next() => None,
        process = mesh.any_exit() => Some(process),
    };
    if let Some(process) = &died {
        let status = process
            .exit_status()
            .map(|status| status.to_string())
            .unwrap_or_default();
        let (name, log, tail) = (process.name(), process.log_path(), process.log_tail(20));
        ui.line(format!(
            "{name} ended by itself ({status}); end of {}:\n{tail}",
            log.display()
        ));
        mesh.keep_folder();
    }
    stop(ui, &mesh, &mut asked).await;
    Ok(if died.is_some() { exit::FAILED } else { exit::OK })
}

/// Stops a mesh; a second Ctrl-C kills what is left of it, by dropping it in haste.
pub(super) async fn stop(ui: Ui, mesh: &DevMesh, asked: &mut Interrupts) {
    ui.line("stopping the mesh");
    tokio::select! {
        killed = mesh.stop() => {
            for name in killed {
                ui.line(format!("{name} did not end by itself and was killed"));
            }
        }
        () = asked.next() => {
            ui.line("killing what is left");
            for part in [Part::Work, Part::Canceler, Part::Batch, Part::Temporal, Part::Jaeger] {
                if let Err(error) = mesh.kill(part).await && mesh.process(part).is_some() {
                    ui.line(error.to_string());
                }
            }
        }
    }
}

/// Ctrl-C and TERM.
pub(super) struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupts {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Other(format!("no signals can be heard: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The addresses of a mesh for people.
pub(super) fn describe(mesh: &DevMesh) -> Vec<String> {
    let plain = |part| mesh.address(part).trim_start_matches("http://").to_owned();
    let namespaces = if mesh.main_namespace() == mesh.canceler_namespace() {
        format!("namespace {}", mesh.main_namespace())
    } else {
        format!("namespaces {} and {}", mesh.main_namespace(), mesh.canceler_namespace())
    };
    let mut lines = vec![format!("temporal    {} ({namespaces})", plain(Part::Temporal))];
    lines.extend(mesh.web_ui().map(|url| format!("web ui      {url}")));
    lines.extend(mesh.jaeger_ui().map(|url| format!("jaeger      {url}")));
    lines.extend(mesh.jaeger_missing().map(|reason| format!("no jaeger   {reason}")));
    let running = Part::SERVICES.into_iter().filter(|part| mesh.process(*part).is_some());
    lines.extend(running.map(|part| format!("{:11} {}", part.name().trim_start_matches("quell-"), plain(part))));
    let pages = Part::SERVICES.into_iter().filter(|part| mesh.process(*part).is_some());
    let pages: Vec<_> = pages.filter_map(|part| mesh.metrics(part)).collect();
    lines.push(format!("metrics     {}", pages.join(" ")));
    lines.push(format!("payloads    {}", mesh.payload_url()));
    lines.push(format!("logs        {}", mesh.folder().display()));
    lines
}

/// The same for programs.
pub(super) fn addresses_json(mesh: &DevMesh) -> serde_json::Value {
    json!({
        "temporal": mesh.temporal_address(),
        "main_namespace": mesh.main_namespace(),
        "canceler_namespace": mesh.canceler_namespace(),
        "web_ui": mesh.web_ui(),
        "jaeger": mesh.jaeger_ui(),
        "work": mesh.address(Part::Work),
        "canceler": mesh.address(Part::Canceler),
        "batch": mesh.address(Part::Batch),
        "metrics": Part::SERVICES.map(|part| mesh.metrics(part)),
        "payload_url": mesh.payload_url(),
        "logs": mesh.folder(),
    })
}
