//! TLS of both ends, made of files. rustls with ring, as everywhere in the mesh; TLS 1.2 and 1.3; HTTP/2 only.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::sync::watch;

use super::watched::watch_files;
use crate::config::ServerTlsSettings;

const HTTP2: &[u8] = b"h2";

/// The server's TLS as of now.
pub(crate) type ServerTls = watch::Receiver<Arc<ServerConfig>>;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The server's TLS from its files, now and whenever they change. None where there is no certificate.
pub(crate) fn server_tls(settings: &ServerTlsSettings) -> Result<Option<ServerTls>, String> {
    let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) else {
        return Ok(None);
    };
    let paths = [Some(cert), Some(key), settings.client_ca_file.as_ref()];
    let paths = paths.into_iter().flatten().map(Into::into).collect();
    watch_files("the server's TLS files", paths, |files| match files {
        [cert, key] => server_config(cert, key, None),
        [cert, key, roots] => server_config(cert, key, Some(roots)),
        _ => Err("there must be a certificate and a key".to_owned()),
    })
    .map(Some)
}

fn server_config(cert: &[u8], key: &[u8], client_roots: Option<&[u8]>) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match client_roots {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider())
                .build()
                .map_err(|error| format!("the roots of clients' certificates: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain(cert)?, private_key(key)?)
        .map_err(|error| format!("the certificate and its key: {error}"))?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

/// A client's TLS: its roots (the system's without any), and what it shows.
pub(crate) fn client_config(ca: Option<&[u8]>, own: Option<(&[u8], &[u8])>) -> Result<ClientConfig, String> {
    let roots = match ca {
        Some(pem) => roots(pem)?,
        None => system_roots()?,
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| format!("the root certificates: {error}"))?;
    client_with(verifier, own)
}

/// A client's TLS for one server only: the one that shows exactly this certificate, whatever name is in it. For a process that
/// asks itself.
pub(crate) fn pinned_config(server: &[u8], own: Option<(&[u8], &[u8])>) -> Result<ClientConfig, String> {
    let expected = chain(server)?
        .into_iter()
        .next()
        .ok_or("the certificate file is empty")?;
    client_with(Arc::new(Pinned { expected }), own)
}

fn client_with(verifier: Arc<dyn ServerCertVerifier>, own: Option<(&[u8], &[u8])>) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        // "Dangerous" is what rustls calls every verifier that is handed over; one of the two is its own.
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(chain(cert)?, private_key(key)?)
            .map_err(|error| format!("the client certificate and its key: {error}"))?,
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

/// The DNS names and URIs in a certificate.
pub(crate) fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    // The handshake has accepted it, so it can be read; one that cannot has no names.
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
    names.map(str::to_owned).collect()
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a certificate is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in the file".to_owned());
    }
    Ok(chain)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    // The error never holds the key.
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| "there is no private key in the file".to_owned())
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in chain(pem)? {
        store
            .add(certificate)
            .map_err(|error| format!("a root certificate: {error}"))?;
    }
    Ok(store)
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("the system has no root certificates: name a CA file".to_owned());
    }
    Ok(store)
}

/// Accepts one certificate.
#[derive(Debug)]
struct Pinned {
    expected: CertificateDer<'static>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if shown.as_ref() == self.expected.as_ref() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("another certificate than expected".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
