//! TLS of both ends, made of files. rustls with ring, as everywhere in the mesh; TLS 1.2 and 1.3; HTTP/2 only.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::sync::watch;

use super::watched::watch_files;
use crate::config::ServerTlsSettings;

const HTTP2: &[u8] = b"h2";

/// The server's TLS as of now.
pub(crate) type ServerTls = watch::Receiver<Arc<ServerSide>>;

/// What the server shows, and what it demands.
#[derive(Debug)]
pub(crate) struct ServerSide {
    everywhere: Arc<ServerConfig>,
    /// For connections from this machine: they may come without a certificate, and may then ask for health only (the gate sees to it).
    /// So `--health` needs no certificate, and a renewed one that is broken does not make a working service look dead.
    here: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl ServerSide {
    /// What a connection from one address to another is met with. Both are this machine's when they are the same: a service that
    /// listens on one address only is asked for its health there.
    pub(crate) fn config_for(&self, from: IpAddr, to: IpAddr) -> Arc<ServerConfig> {
        let config = if from.to_canonical().is_loopback() || from == to {
            &self.here
        } else {
            &self.everywhere
        };
        config.clone()
    }

    /// Whether clients must show a certificate.
    pub(crate) const fn demands_certificates(&self) -> bool {
        self.verifier.is_some()
    }

    /// Whether a certificate that was accepted once would be accepted at this time.
    pub(crate) fn accepts(&self, chain: &[CertificateDer<'_>], at: UnixTime) -> Result<(), rustls::Error> {
        match (&self.verifier, chain) {
            (Some(verifier), [own, between @ ..]) => verifier.verify_client_cert(own, between, at).map(drop),
            _ => Ok(()),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The server's TLS from its files, now and whenever they change. None where there is no certificate.
pub(crate) fn server_tls(settings: &ServerTlsSettings) -> Result<Option<ServerTls>, String> {
    let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) else {
        return Ok(None);
    };
    // Revocations are there only where there are roots (config/guard.rs).
    let (roots, revoked) = (settings.client_ca_file.as_ref(), settings.client_crl_file.as_ref());
    let paths = [Some(cert), Some(key), roots, revoked];
    let paths = paths.into_iter().flatten().map(Into::into).collect();
    watch_files("the server's TLS files", paths, |files| match files {
        [cert, key] => server_side(cert, key, None),
        [cert, key, roots] => server_side(cert, key, Some((roots, None))),
        [cert, key, roots, revoked] => server_side(cert, key, Some((roots, Some(revoked)))),
        _ => Err("there must be a certificate and a key".to_owned()),
    })
    .map(Some)
}

/// Roots of clients' certificates, and lists of those that were revoked.
type Clients<'a> = (&'a [u8], Option<&'a [u8]>);

fn server_side(cert: &[u8], key: &[u8], clients: Option<Clients<'_>>) -> Result<ServerSide, String> {
    let configure = |verifier: Option<Arc<dyn ClientCertVerifier>>| {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let demanding = verifier.is_some();
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder
            .with_single_cert(chain(cert)?, private_key(key)?)
            .map_err(|error| format!("the certificate and its key: {error}"))?;
        config.alpn_protocols = vec![HTTP2.to_vec()];
        if demanding {
            // Who resumes a session is not asked for his certificate again, which may have ended since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok::<_, String>(Arc::new(config))
    };
    let Some((roots_pem, revoked_pem)) = clients else {
        let config = configure(None)?;
        return Ok(ServerSide {
            everywhere: config.clone(),
            here: config,
            verifier: None,
        });
    };
    let (roots, revoked) = (Arc::new(roots(roots_pem)?), revocations(revoked_pem)?);
    let verifier = || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).with_crls(revoked.clone());
    let failed = |error| format!("the roots of clients' certificates, and what was revoked: {error}");
    let strict = verifier().build().map_err(failed)?;
    Ok(ServerSide {
        everywhere: configure(Some(strict.clone()))?,
        here: configure(Some(verifier().allow_unauthenticated().build().map_err(failed)?))?,
        verifier: Some(strict),
    })
}

fn revocations(pem: Option<&[u8]>) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let Some(pem) = pem else { return Ok(Vec::new()) };
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a list of revoked certificates is not PEM: {error}"))?;
    if lists.is_empty() {
        return Err("there is no list of revoked certificates in the file".to_owned());
    }
    Ok(lists)
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

/// The TLS of a process that asks itself for its health: whatever certificate it shows, its files may have changed since. Nothing is
/// said on such a connection that is not for everybody.
pub(crate) fn own_config() -> Result<ClientConfig, String> {
    client_with(Arc::new(Oneself), None)
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

/// Accepts every certificate whose key the server has.
#[derive(Debug)]
struct Oneself;

impl ServerCertVerifier for Oneself {
    fn verify_server_cert(
        &self,
        _shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
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

#[cfg(test)]
mod tests;
