//! What a caller of the services shows: a token, a client certificate; and how it checks theirs. All from files, which are read
//! again when they change, so that neither a renewed certificate nor a new token needs a restart: a connection uses the
//! certificates of the moment it is made, a call the token of the moment it is made.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use super::tls::client_config;
use super::watched::watch_files;
use crate::config::{CredentialSettings, TlsSettings, is_loopback};

/// The TLS of a client as of now.
pub(crate) type ClientTls = watch::Receiver<Arc<ClientConfig>>;

/// A token as it is sent, as of now.
pub(crate) type Token = watch::Receiver<Arc<HeaderValue>>;

/// What is shown to the services. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outgoing {
    token: Option<Token>,
    /// None: the system's roots, which are looked for when they are needed.
    tls: Option<ClientTls>,
    domain: Option<String>,
    /// Whether a token may travel in the clear.
    insecure: bool,
}

impl Outgoing {
    /// Reads the files of these settings. Call it inside a Tokio runtime.
    ///
    /// # Errors
    /// Which file cannot be used, for people.
    pub fn open(settings: &CredentialSettings) -> Result<Self, String> {
        let token = settings
            .token_file
            .as_ref()
            .map(|path| watch_files("the token", vec![PathBuf::from(path)], header))
            .transpose()?;
        Ok(Self {
            token,
            tls: match &settings.tls {
                TlsSettings {
                    ca_file: None,
                    cert_file: None,
                    ..
                } => None,
                files => Some(client_tls("the peers' TLS files", files)?),
            },
            domain: settings.tls.domain.clone(),
            insecure: settings.insecure,
        })
    }

    /// The token to send, if any.
    pub(crate) fn token(&self) -> Option<Token> {
        self.token.clone()
    }

    /// Prepares a connection to `http://host:port` or `https://host:port`. `configure` sets everything else.
    ///
    /// # Errors
    /// Why there cannot be one, for people.
    pub fn connect(&self, address: &str, configure: impl FnOnce(Endpoint) -> Endpoint) -> Result<Dialling, String> {
        let uri: Uri = address.parse().map_err(|error| format!("not an address: {error}"))?;
        if uri.scheme_str() == Some("https") {
            let tls = match &self.tls {
                Some(tls) => tls.clone(),
                None => client_tls("the system's roots", &TlsSettings::default())?,
            };
            return dial(&uri, configure, self.domain.as_deref(), tls);
        }
        let host = uri.host().unwrap_or_default();
        if self.token.is_some() && !self.insecure && !is_loopback(host) {
            return Err(format!(
                "a token would travel to {host} in the clear: use https, or set QUELL_INSECURE where the network is trusted"
            ));
        }
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| error.to_string())?;
        Ok(Dialling {
            endpoint: configure(endpoint),
            tls: None,
        })
    }
}

/// A connection that has not been made yet.
#[derive(Debug)]
pub struct Dialling {
    endpoint: Endpoint,
    tls: Option<Dial>,
}

impl Dialling {
    /// Makes it when it is first used, and again whenever it is lost.
    #[must_use]
    pub fn lazy(self) -> Channel {
        match self.tls {
            None => self.endpoint.connect_lazy(),
            Some(dial) => self.endpoint.connect_with_connector_lazy(dial),
        }
    }

    /// Makes it now.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub async fn now(self) -> Result<Channel, tonic::transport::Error> {
        match self.tls {
            None => self.endpoint.connect().await,
            Some(dial) => self.endpoint.connect_with_connector(dial).await,
        }
    }
}

/// A token of a file as the header that carries it.
fn header(files: &[Vec<u8>]) -> Result<HeaderValue, String> {
    let text = files.first().map(|file| file.trim_ascii()).unwrap_or_default();
    if text.is_empty() {
        return Err("the token file is empty".to_owned());
    }
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", text].concat())
        .map_err(|_| "the token file holds more than a token".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A client's TLS from its files, now and whenever they change.
pub(crate) fn client_tls(what: &'static str, settings: &TlsSettings) -> Result<ClientTls, String> {
    let has_ca = settings.ca_file.is_some();
    let paths = [&settings.ca_file, &settings.cert_file, &settings.key_file];
    let paths = paths.into_iter().flatten().map(PathBuf::from).collect();
    watch_files(what, paths, move |files| {
        let (ca, own) = match files {
            [ca, own @ ..] if has_ca => (Some(ca.as_slice()), own),
            own => (None, own),
        };
        match own {
            [cert, key] => client_config(ca, Some((cert, key))),
            _ => client_config(ca, None),
        }
    })
}

/// A connection by TLS, with the certificates of the moment at which it is made.
pub(crate) fn dial(
    uri: &Uri,
    configure: impl FnOnce(Endpoint) -> Endpoint,
    domain: Option<&str>,
    tls: ClientTls,
) -> Result<Dialling, String> {
    let host = uri.host().unwrap_or_default().to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = domain.unwrap_or(bare).to_owned();
    let name = ServerName::try_from(name).map_err(|error| format!("the TLS server name: {error}"))?;
    let origin: Uri = format!("https://{}:{port}", domain.unwrap_or(&host))
        .parse()
        .map_err(|error| format!("the TLS server name: {error}"))?;
    // For tonic the connection is an ordinary one: the encryption is ours.
    let plain = Endpoint::from_shared(format!("http://{host}:{port}")).map_err(|error| error.to_string())?;
    let dial = Dial {
        host: bare.into(),
        port,
        name,
        tls,
    };
    Ok(Dialling {
        endpoint: configure(plain).origin(origin),
        tls: Some(dial),
    })
}

/// Makes the connections of a channel.
#[derive(Debug, Clone)]
struct Dial {
    host: Arc<str>,
    port: u16,
    name: ServerName<'static>,
    tls: ClientTls,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (host, port, name) = (self.host.clone(), self.port, self.name.clone());
        let tls = self.tls.borrow().clone();
        Box::pin(async move {
            let tcp = TcpStream::connect((&*host, port)).await?;
            tcp.set_nodelay(true)?;
            Ok(TokioIo::new(TlsConnector::from(tls).connect(name, tcp).await?))
        })
    }
}
