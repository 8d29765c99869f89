//! How a namespace is connected to.

use secrecy::ExposeSecret as _;
use temporalio_client::{ClientKeepAliveOptions, ClientTlsOptions, ConnectionOptions, TlsOptions};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::ATTEMPT;
use crate::config::NamespaceSettings;

pub(super) fn connection_options(settings: &NamespaceSettings, identity: &str) -> Result<ConnectionOptions, String> {
    let tls = tls_options(settings)?;
    let target = url::Url::parse(&target(settings, tls.as_ref())).map_err(|_| "the address is not valid".to_owned())?;
    Ok(ConnectionOptions::new(target)
        .identity(identity.to_owned())
        .connect_timeout(ATTEMPT)
        .metrics_meter(crate::metrics::sdk::for_client())
        .maybe_tls_options(tls)
        .maybe_api_key(settings.api_key.as_ref().map(|key| key.expose_secret().to_owned()))
        .build())
}

/// An API key must not travel in the clear: with TLS on, an http address means the same host by https.
fn target(settings: &NamespaceSettings, tls: Option<&TlsOptions>) -> String {
    match (tls, settings.address.strip_prefix("http://")) {
        (Some(_), Some(host)) => format!("https://{host}"),
        _ => settings.address.clone(),
    }
}

/// What the SDK would make of the same settings; a connection whose calls go through us has to make it itself.
pub(super) fn endpoint(settings: &NamespaceSettings) -> Result<Endpoint, String> {
    let invalid = |error: tonic::transport::Error| format!("the connection's settings are not valid: {error}");
    let tls = tls_options(settings)?;
    let keep_alive = ClientKeepAliveOptions::default();
    let mut endpoint = Endpoint::from_shared(target(settings, tls.as_ref()))
        .map_err(invalid)?
        .connect_timeout(ATTEMPT)
        .tcp_nodelay(true)
        .keep_alive_while_idle(true)
        .http2_keep_alive_interval(keep_alive.interval)
        .keep_alive_timeout(keep_alive.timeout);
    let Some(tls) = tls else { return Ok(endpoint) };
    let mut config = ClientTlsConfig::new();
    config = match &tls.server_root_ca_cert {
        Some(root) => config.ca_certificate(Certificate::from_pem(root)),
        None => config.with_native_roots(),
    };
    if let Some(domain) = &tls.domain {
        let origin = format!("https://{domain}")
            .parse()
            .map_err(|_| "the TLS domain is not valid".to_owned())?;
        endpoint = endpoint.origin(origin);
        config = config.domain_name(domain);
    }
    if let Some(own) = &tls.client_tls_options {
        config = config.identity(Identity::from_pem(&own.client_cert, &own.client_private_key));
    }
    endpoint.tls_config(config).map_err(invalid)
}

fn tls_options(settings: &NamespaceSettings) -> Result<Option<TlsOptions>, String> {
    let tls = &settings.tls;
    let wanted = settings.address.starts_with("https://")
        || settings.api_key.is_some()
        || *tls != crate::config::TlsSettings::default();
    if !wanted {
        return Ok(None);
    }
    let read = |file: &Option<String>| {
        file.as_ref()
            .map(|path| std::fs::read(path).map_err(|error| format!("the TLS file {path} cannot be read: {error}")))
            .transpose()
    };
    let client_tls = match (read(&tls.cert_file)?, read(&tls.key_file)?) {
        (Some(cert), Some(key)) => Some(
            ClientTlsOptions::builder()
                .client_cert(cert)
                .client_private_key(key)
                .build(),
        ),
        _ => None,
    };
    Ok(Some(
        TlsOptions::builder()
            .maybe_server_root_ca_cert(read(&tls.ca_file)?)
            .maybe_domain(tls.domain.clone())
            .maybe_client_tls_options(client_tls)
            .build(),
    ))
}
