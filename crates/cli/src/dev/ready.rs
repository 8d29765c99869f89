//! Waiting for a process until it is ready: a condition and a deadline, never a fixed time.

use crate::error::Error;
use crate::process::Process;
use std::fmt::Display;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Repeats a check until it succeeds. Gives the last reason when the time is over.
///
/// # Errors
/// What the check said last.
pub async fn wait_until<T, E, F, Fut>(within: Duration, mut check: F) -> Result<T, String>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let deadline = tokio::time::Instant::now() + within;
    let mut last = "no check came to an end".to_owned();
    loop {
        match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no answer within {} s ({last})", CHECK_TIMEOUT.as_secs()),
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(format!("{last}, after {} s", within.as_secs()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for a process: until the check succeeds, the process ends, or the time is over.
pub(crate) async fn wait_for_process<F, Fut>(process: &Process, within: Duration, check: F) -> Result<(), Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let outcome = tokio::select! {
        outcome = wait_until(within, check) => outcome,
        ended = process.wait() => Err(match ended {
            Ok(status) => format!("it ended: {status}"),
            Err(error) => error.to_string(),
        }),
    };
    outcome.map_err(|reason| Error::NotReady {
        name: process.name(),
        reason,
        log: process.log_path(),
        tail: process.log_tail(20),
    })
}

/// The health of a gRPC server by `grpc.health.v1`; `service` is empty for the server as a whole.
///
/// # Errors
/// Why it is not SERVING, in one line.
pub async fn health(address: &str, service: &str) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| format!("{address}: {error}"))?;
    let endpoint = endpoint.connect_timeout(Duration::from_secs(2));
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| format!("{address}: {}", innermost(&error)))?;
    health_on(channel, address, service).await
}

/// The same on a connection that is there.
pub(crate) async fn health_on(channel: Channel, address: &str, service: &str) -> Result<(), String> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel).check(request).await;
    let status = answer
        .map_err(|status| format!("{address}: {}", status.message()))?
        .into_inner()
        .status();
    if status == ServingStatus::Serving {
        Ok(())
    } else {
        Err(format!("{address} is {}", status.as_str_name()))
    }
}

/// The reason at the bottom of an error: a transport's own text is only "transport error".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// The body of what an HTTP server on 127.0.0.1 answers to GET.
///
/// # Errors
/// Why there is none, in one line; any status but 200 is an error.
pub async fn http_get(port: u16, path: &str) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("127.0.0.1:{port}: {error}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(failed)?;
    // HTTP/1.0: the body is not chunked and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(failed)?;
    let end_of_head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end_of_head = end_of_head.ok_or_else(|| format!("127.0.0.1:{port} does not speak HTTP"))?;
    let body = answer.split_off(end_of_head + 4);
    let head = String::from_utf8_lossy(&answer);
    let status_line = head.lines().next().unwrap_or_default();
    if status_line.split(' ').nth(1) == Some("200") {
        Ok(body)
    } else {
        Err(format!("127.0.0.1:{port}: {status_line}"))
    }
}
