//! Jaeger with its traces in memory, on loopback.

use super::ports::Ports;
use super::ready::{http_get, wait_for_process};
use crate::error::Error;
use crate::process::{Process, Spec};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;

/// Jaeger fills the ports in from its environment.
const CONFIG: &str = include_str!("../assets/jaeger.yaml");

pub(super) fn spec(program: PathBuf, ports: &Ports, folder: &Path, log: PathBuf) -> Result<Spec, Error> {
    let config = folder.join("jaeger.yaml");
    std::fs::write(&config, CONFIG).map_err(Error::io(format!("cannot write {}", config.display())))?;
    let port_of = [
        ("QUELL_JAEGER_HEALTH_PORT", ports.jaeger_health),
        ("QUELL_JAEGER_UI_PORT", ports.jaeger_ui),
        ("QUELL_JAEGER_QUERY_PORT", ports.jaeger_query),
        ("QUELL_JAEGER_OTLP_GRPC_PORT", ports.jaeger_otlp_grpc),
        ("QUELL_JAEGER_OTLP_HTTP_PORT", ports.jaeger_otlp_http),
    ];
    Ok(Spec {
        name: super::Part::Jaeger.name().to_owned(),
        program,
        args: vec!["--config".into(), format!("file:{}", config.display()).into()],
        env: port_of
            .into_iter()
            .map(|(name, port)| (name.to_owned(), port.to_string()))
            .collect(),
        env_remove: Vec::new(),
        dir: folder.to_owned(),
        log,
        grace: Duration::from_secs(5),
    })
}

pub(super) async fn wait_ready(process: &Process, ports: &Ports, within: Duration) -> Result<(), Error> {
    let (ui, otlp) = (ports.jaeger_ui, ports.jaeger_otlp_grpc);
    wait_for_process(process, within, || async move {
        http_get(ui, "/api/services").await?;
        let otlp_connection = TcpStream::connect(("127.0.0.1", otlp)).await;
        otlp_connection
            .map(drop)
            .map_err(|error| format!("127.0.0.1:{otlp}: {error}"))
    })
    .await
}
