//! `--health`: the binary asks its own running service, so that an image needs no other tool for its health check.

use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::config::ServerSettings;

/// Longest time of a probe.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the service of these settings for its health. Gives `SERVING`, or what it said or did instead as an error.
///
/// # Errors
/// Any other status, or why there was no answer, for people.
pub async fn probe(settings: &ServerSettings) -> Result<&'static str, String> {
    let address = format!("http://{}:{}", reachable(&settings.host), settings.port);
    let asked = async {
        let channel = Endpoint::from_shared(address.clone())
            .map_err(|error| format!("{address} is not an address: {error}"))?
            .connect()
            .await
            .map_err(|_| format!("no service answers at {address}"))?;
        let reply = HealthClient::new(channel)
            .check(HealthCheckRequest { service: String::new() })
            .await
            .map_err(|status| format!("{address} answers {:?}", status.code()))?;
        match reply.into_inner().status() {
            ServingStatus::Serving => Ok("SERVING"),
            other => Err(other.as_str_name().to_owned()),
        }
    };
    tokio::time::timeout(TIMEOUT, asked)
        .await
        .map_err(|_| format!("{address} does not answer in time"))?
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
