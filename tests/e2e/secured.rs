//! Temporal as it is where it is secured: main behind an API key, the cancellations' own namespace behind TLS that demands client
//! certificates. The server is the mesh's own; what secures it are two doors in front of it, as a cloud has them.

use crate::{
    certificates::{Authority, Certified},
    harness::{authority, channel, mesh, unique},
    poll::{SOON, eventually, when},
};
use quell_cli::dev::{Part, health};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{convert::Infallible, pin::Pin, sync::Arc, task::Poll};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Status,
    body::Body,
    server::NamedService,
    transport::{Channel, Identity, Server, ServerTlsConfig},
};
use tower::Service;

const API_KEY: &str = "api-key-8f2c1d";

/// Lets calls with the key through.
#[derive(Clone)]
struct KeyDoor {
    behind: Channel,
}

impl NamedService for KeyDoor {
    const NAME: &'static str = "temporal.api.workflowservice.v1.WorkflowService";
}

impl Service<http::Request<Body>> for KeyDoor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut behind = self.behind.clone();
        Box::pin(async move {
            let given = request
                .headers()
                .get("authorization")
                .map(|value| value.as_bytes().to_owned());
            if given.as_deref() != Some(format!("Bearer {API_KEY}").as_bytes()) {
                return Ok(Status::unauthenticated("no such key").into_http());
            }
            let passed = async {
                std::future::poll_fn(|cx| behind.poll_ready(cx)).await?;
                behind.call(request).await
            };
            Ok(passed
                .await
                .unwrap_or_else(|error| Status::unavailable(error.to_string()).into_http()))
        })
    }
}

/// A door that wants the key; gives its port.
async fn key_door(temporal: &str, server: &Certified) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let read = |path: &str| std::fs::read(path).unwrap();
    let identity = Identity::from_pem(read(&server.cert), read(&server.key));
    let door = KeyDoor {
        behind: channel(temporal),
    };
    let serving = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .unwrap()
        .add_service(door)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    port
}

/// A door that wants a certificate of this authority. Its connections end with it.
async fn certificate_door(port: u16, temporal: String, server: &Certified, clients: &str) -> JoinHandle<()> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(clients).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let chain = CertificateDer::pem_file_iter(&server.cert)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&server.key).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = eventually(SOON, "the port is free", async || {
        TcpListener::bind(("127.0.0.1", port))
            .await
            .map_err(|error| error.to_string())
    })
    .await;
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, temporal) = (acceptor.clone(), temporal.clone());
            connections.spawn(async move {
                // Whoever has no certificate gets no further than this.
                let mut tls = acceptor.accept(tcp).await?;
                let mut behind = TcpStream::connect(temporal).await?;
                tokio::io::copy_bidirectional(&mut tls, &mut behind).await
            });
        }
    })
}

#[tokio::test]
async fn an_api_key_and_client_certificates_which_are_renewed() {
    let mesh = mesh().await;
    let mark = unique("secured");
    let folder = mesh.folder(&mark);
    let ca = Authority::new(&folder, "servers");
    let server = ca.issue("server", &["localhost"]);
    let (first, second) = (Authority::new(&folder, "first"), Authority::new(&folder, "second"));
    let shown = first.issue("client", &["quell.example"]);
    let temporal = authority(&mesh.temporal_address());
    let key_port = key_door(&mesh.temporal_address(), &server).await;
    let door_port = quell_cli::ports::free(1).unwrap()[0];
    let door = certificate_door(door_port, temporal.clone(), &server, &first.ca_file).await;

    let key_file = folder.join("api.key");
    std::fs::write(&key_file, format!("{API_KEY}\n")).unwrap();
    let (main, canceler) = (
        format!("https://localhost:{key_port}"),
        format!("https://localhost:{door_port}"),
    );
    let key_path = key_file.display().to_string();
    let settings = [
        ("TEMPORAL_MAIN_ADDRESS", main.as_str()),
        ("TEMPORAL_MAIN_TLS_CA_FILE", &ca.ca_file),
        ("TEMPORAL_API_KEY_MAIN_FILE", &key_path),
        ("TEMPORAL_CANCELER_ADDRESS", &canceler),
        ("TEMPORAL_CANCELER_TLS_CA_FILE", &ca.ca_file),
        ("TEMPORAL_CANCELER_TLS_CERT_FILE", &shown.cert),
        ("TEMPORAL_CANCELER_TLS_KEY_FILE", &shown.key),
        // A queue of its own: this one may be away for a while.
        ("TEMPORAL_CANCELER_TASK_QUEUE", &mark),
    ];
    // Ready means that both namespaces answer and that the worker polls.
    let own = mesh.own(Part::Canceler, &mark, &settings).await;

    // The server's side does not trust the old authority any more.
    door.abort();
    let _ended = door.await;
    let door = certificate_door(door_port, temporal, &server, &second.ca_file).await;
    eventually(
        SOON,
        "the old certificate is not good any more",
        async || match health(&own.address, "").await {
            Ok(()) => Err("still serving".to_owned()),
            Err(_) => Ok(()),
        },
    )
    .await;
    // Renewed, as whoever renews certificates does it: other files under the same names. No restart.
    let renewed = second.issue("renewed", &["quell.example"]);
    for (from, to) in [(&renewed.cert, &shown.cert), (&renewed.key, &shown.key)] {
        std::fs::rename(from, to).unwrap();
    }
    own.ready().await;
    assert!(own.process.exit_status().is_none());
    door.abort();

    // A wrong key is told from a server that is not there.
    let wrong = [
        ("TEMPORAL_API_KEY_MAIN_FILE", ""),
        ("TEMPORAL_API_KEY_MAIN", "another-key-77"),
    ];
    let settings: Vec<_> = settings[..2]
        .iter()
        .copied()
        .chain(wrong)
        .chain([("TEMPORAL_MAIN_TASK_QUEUE", mark.as_str())])
        .collect();
    let denied = mesh.own_unready(Part::Batch, &unique("denied"), &settings);
    eventually(SOON, "the log tells that the key is refused", async || {
        let log = denied.process.log_tail(50);
        when(log.contains("refused the credentials"), || log)
    })
    .await;
    let log = std::fs::read_to_string(denied.process.log_path()).unwrap();
    assert!(!log.contains("another-key-77"), "a key is in the log");
    let log = std::fs::read_to_string(own.process.log_path()).unwrap();
    assert!(!log.contains(API_KEY), "a key is in the log");
}
