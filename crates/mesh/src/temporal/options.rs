//! How a namespace is connected to.

use secrecy::ExposeSecret as _;
use temporalio_client::callback_based::CallbackBasedGrpcService;
use temporalio_client::{ClientKeepAliveOptions, ConnectionOptions};
use tonic::transport::{Channel, Endpoint};

use super::ATTEMPT;
use crate::auth::{client_tls, dial};
use crate::config::NamespaceSettings;

/// Options for a connection over a channel of ours. Without TLS there is none, and the SDK makes the connection itself.
pub(super) fn connection_options(
    settings: &NamespaceSettings,
    identity: &str,
    over: Option<CallbackBasedGrpcService>,
) -> Result<ConnectionOptions, String> {
    let target = url::Url::parse(&target(settings)).map_err(|_| "the address is not valid".to_owned())?;
    let mut options = ConnectionOptions::new(target)
        .identity(identity.to_owned())
        .connect_timeout(ATTEMPT)
        .metrics_meter(crate::metrics::sdk::for_client())
        .maybe_api_key(settings.api_key.as_ref().map(|key| key.expose_secret().to_owned()))
        .build();
    if over.is_some() {
        options.dns_load_balancing = None;
        options.service_override = over;
    }
    Ok(options)
}

/// An API key must not travel in the clear: with TLS on, an http address means the same host by https.
fn target(settings: &NamespaceSettings) -> String {
    match settings.address.strip_prefix("http://") {
        Some(host) if uses_tls(settings) => format!("https://{host}"),
        _ => settings.address.clone(),
    }
}

/// A connection that is made as the SDK would make it of the same settings, but with the certificates of the moment at which it is
/// made: they are renewed while a service runs.
pub(super) fn channel(settings: &NamespaceSettings) -> Result<Channel, String> {
    let keep_alive = ClientKeepAliveOptions::default();
    let configure = |endpoint: Endpoint| {
        endpoint
            .connect_timeout(ATTEMPT)
            .tcp_nodelay(true)
            .keep_alive_while_idle(true)
            .http2_keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout)
    };
    let invalid = |error: &dyn std::fmt::Display| format!("the connection's settings are not valid: {error}");
    let target = target(settings);
    if !uses_tls(settings) {
        let endpoint = Endpoint::from_shared(target).map_err(|error| invalid(&error))?;
        return Ok(configure(endpoint).connect_lazy());
    }
    let tls = client_tls("the TLS files towards temporal", &settings.tls)?;
    let uri = target.parse().map_err(|error| invalid(&error))?;
    Ok(dial(&uri, configure, settings.tls.domain.as_deref(), tls)?.lazy())
}

/// TLS is on by the address, by an API key, which must not travel in the clear, or by any of its files.
pub(super) fn uses_tls(settings: &NamespaceSettings) -> bool {
    settings.address.starts_with("https://")
        || settings.api_key.is_some()
        || settings.tls != crate::config::TlsSettings::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn settings(flags: &[(&str, &str)]) -> NamespaceSettings {
        let sources = Sources {
            flags: flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Sources::default()
        };
        load(&sources, 1).unwrap().settings.main
    }

    #[test]
    fn an_api_key_never_travels_in_the_clear() {
        let plain = settings(&[("temporal.main.address", "http://t:7233")]);
        assert!(!uses_tls(&plain) && target(&plain) == "http://t:7233");
        let keyed = settings(&[
            ("temporal.main.address", "http://t:7233"),
            ("temporal.main.api_key", "k"),
        ]);
        assert!(uses_tls(&keyed) && target(&keyed) == "https://t:7233");
    }

    #[tokio::test]
    async fn files_that_cannot_be_read_are_named() {
        let missing = settings(&[
            ("temporal.main.address", "https://t:7233"),
            ("temporal.main.tls_ca_file", "/no/such"),
        ]);
        assert!(channel(&missing).unwrap_err().contains("/no/such"));
    }
}
