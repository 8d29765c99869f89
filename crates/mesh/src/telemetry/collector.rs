//! What spans are sent to: a collector that speaks OTLP by gRPC or by HTTP, as OpenTelemetry's own variables say.

use std::collections::HashMap;

use async_trait::async_trait;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::ClientTlsConfig;

use super::{TelemetryError, pairs};
use crate::config::{CollectorSettings, OtlpProtocol};

/// Makes what sends spans. Call it inside a Tokio runtime.
pub(super) fn exporter(settings: &CollectorSettings) -> Result<SpanExporter, TelemetryError> {
    let headers = headers(settings)?;
    match settings.protocol {
        OtlpProtocol::Grpc => {
            let builder = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(&settings.endpoint)
                .with_timeout(settings.timeout)
                .with_metadata(MetadataMap::from_headers(headers));
            // By itself the exporter trusts nobody.
            let builder = if settings.endpoint.starts_with("https:") {
                builder.with_tls_config(ClientTlsConfig::new().with_native_roots())
            } else {
                builder
            };
            Ok(builder.build()?)
        }
        OtlpProtocol::Http => {
            let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
            let headers: HashMap<String, String> = headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect();
            let builder = SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(&settings.endpoint)
                .with_timeout(settings.timeout)
                .with_headers(headers);
            let builder = if settings.endpoint.starts_with("https:") {
                builder.with_http_client(Client::new(encrypted()?, settings))
            } else {
                builder.with_http_client(Client::new(HttpConnector::new(), settings))
            };
            Ok(builder.build()?)
        }
    }
}

/// The collector's headers.
fn headers(settings: &CollectorSettings) -> Result<http::HeaderMap, TelemetryError> {
    const KEY: &str = "telemetry.otlp_headers";
    let text = settings.headers.as_ref().map_or("", |headers| headers.expose_secret());
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let mut map = MetadataMap::new();
    for (name, value) in pairs(KEY, parts)? {
        let name = AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
        match (name, AsciiMetadataValue::try_from(value)) {
            (Ok(name), Ok(value)) => drop(map.insert(name, value)),
            _ => return Err(TelemetryError::Pairs { key: KEY }),
        }
    }
    Ok(map.into_headers())
}

/// TLS as everywhere in the mesh, against the system's roots.
fn encrypted() -> Result<HttpsConnector<HttpConnector>, TelemetryError> {
    let mut tls = crate::auth::client_config(None, None).map_err(TelemetryError::Tls)?;
    // The connector says what it speaks.
    tls.alpn_protocols.clear();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .build())
}

/// Sends on the process's runtime: spans come from a thread of their own, which has none.
#[derive(Debug)]
struct Client<C: Connect + Clone + Send + Sync + 'static> {
    client: HyperClient<C>,
    runtime: Handle,
}

impl<C: Connect + Clone + Send + Sync + 'static> Client<C> {
    fn new(connector: C, settings: &CollectorSettings) -> Self {
        Self {
            client: HyperClient::new(connector, settings.timeout, None),
            runtime: Handle::current(),
        }
    }
}

#[async_trait]
impl<C> HttpClient for Client<C>
where
    C: Connect + Clone + Send + Sync + std::fmt::Debug + 'static,
{
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime
            .spawn(async move { client.send_bytes(request).await })
            .await?
    }
}

#[cfg(test)]
mod tests;
