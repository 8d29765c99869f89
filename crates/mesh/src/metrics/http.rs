//! The page of metrics over HTTP, on a port of its own: whoever scrapes needs no way to the rpcs, and whoever calls them none to it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::ServerSettings;

/// What the page is, in the words of the OpenMetrics specification.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Readers at once; more wait for their turn.
const READERS: usize = 16;
/// How long a reader may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// The page could not be offered.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for metrics on {host}:{port}: {source}")]
pub struct MetricsError {
    host: String,
    port: u16,
    source: std::io::Error,
}

/// A page that has its port.
#[derive(Debug)]
pub(crate) struct Page {
    listener: TcpListener,
    /// Where it is; tells the port when 0 was asked for.
    pub(crate) address: SocketAddr,
}

impl Page {
    /// Takes the port that is set. When none is, the service's own; and a free one when another process has that, since more than one
    /// of a service may run on a machine.
    pub(crate) async fn listen(settings: &ServerSettings, default_port: u16) -> Result<Self, MetricsError> {
        match Self::on(settings, settings.metrics_port.unwrap_or(default_port)).await {
            Err(error) if settings.metrics_port.is_none() => {
                tracing::warn!(%error, "metrics are offered on a free port instead");
                Self::on(settings, 0).await
            }
            listening => listening,
        }
    }

    async fn on(settings: &ServerSettings, port: u16) -> Result<Self, MetricsError> {
        let failed = |source| MetricsError {
            host: settings.host.clone(),
            port,
            source,
        };
        let listener = TcpListener::bind((settings.host.as_str(), port))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Answers for as long as the process lives: a drain is worth watching to its end.
    pub(crate) async fn serve(self) {
        let readers = Arc::new(Semaphore::new(READERS));
        loop {
            // The semaphore is never closed.
            let Ok(place) = readers.clone().acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a reader of metrics was lost");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            tokio::spawn(async move {
                let _place = place;
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a reader of metrics went away");
                }
            });
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match super::page() {
            Ok(page) => {
                let mut response = Response::new(Full::from(page));
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, http::HeaderValue::from_static(OPEN_METRICS));
                response
            }
            Err(error) => {
                tracing::error!(%error, "the page of metrics cannot be written");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be written\n")
            }
        },
        (_, "/metrics") => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
            response
                .headers_mut()
                .insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
            response
        }
        _ => plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n"),
    })
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
