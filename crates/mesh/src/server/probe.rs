//! `--health`: the binary asks its own running service, so that an image needs no other tool for its health check.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::auth::{dial, own_config};
use crate::config::Settings;

/// Longest time of a probe.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the service of these settings for its health. Gives `SERVING`, or what it said or did instead as an error.
///
/// # Errors
/// Any other status, or why there was no answer, for people.
pub async fn probe(settings: &Settings) -> Result<&'static str, String> {
    let server = &settings.server;
    let address = format!("{}:{}", reachable(&server.host), server.port);
    let asked = async {
        let channel = channel(settings, &address)?;
        let reply = HealthClient::new(channel)
            .check(HealthCheckRequest { service: String::new() })
            .await
            .map_err(|status| match status.code() {
                Code::Unavailable => format!("no service answers at {address}"),
                code => format!("{address} answers {code:?}"),
            })?;
        match reply.into_inner().status() {
            ServingStatus::Serving => Ok("SERVING"),
            other => Err(other.as_str_name().to_owned()),
        }
    };
    tokio::time::timeout(TIMEOUT, asked)
        .await
        .map_err(|_| format!("{address} does not answer in time"))?
}

/// With TLS where the service has it. No certificate is read: a renewed one that is broken says nothing about a service that goes on with
/// the one before.
fn channel(settings: &Settings, address: &str) -> Result<Channel, String> {
    if settings.server.guard.tls.cert_file.is_none() {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        return Ok(endpoint
            .map_err(|error| format!("{address} is not an address: {error}"))?
            .connect_lazy());
    }
    let config = own_config()?;
    let uri = format!("https://{address}")
        .parse()
        .map_err(|error| format!("{address} is not an address: {error}"))?;
    let dialling = dial(&uri, |endpoint| endpoint, None, watch::channel(Arc::new(config)).1)?;
    Ok(dialling.lazy())
}

/// The host under which a listener on this host can be reached from the same machine.
fn reachable(host: &str) -> String {
    match host {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" | "[::]" => "[::1]".to_owned(),
        v6 if v6.contains(':') && !v6.starts_with('[') => format!("[{v6}]"),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_at_home() {
        assert_eq!(reachable("0.0.0.0"), "127.0.0.1");
        assert_eq!(reachable("::"), "[::1]");
        assert_eq!(reachable("fe80::1"), "[fe80::1]");
        assert_eq!(reachable("work"), "work");
    }
}
