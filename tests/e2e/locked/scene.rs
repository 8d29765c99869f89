//! The locked mesh, and what is asked of it.

use crate::{
    certificates::{Authority, Certified},
    details,
    harness::{Mesh, Own, mesh, unique},
    outside::{self, Ran},
    poll::{LONG, SOON, eventually, when},
};
use http_body::Body as _;
use quell_api::work::v1::{
    ListSnowballsRequest, SnowballSpec, StartSnowballRequest, snowball_service_client::SnowballServiceClient,
};
use quell_cli::dev::Part;
use sha2::{Digest as _, Sha256};
use std::{pin::pin, time::Duration};
use tokio::process::Command;
use tonic::{
    Code, Request, Status,
    body::Body,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tower::Service as _;

/// Connections that the work service takes; the canceler takes its default.
pub(super) const CONNECTIONS: usize = 60;

/// Calls at once that one principal may make.
pub(super) const AT_ONCE: usize = 5;

const LATER: &str = "2100-01-01T00:00:00Z";

/// One line of the access file.
pub(super) struct Entry {
    pub(super) name: String,
    text: String,
    pub(super) token: String,
}

fn entry(name: &str, role: &str, namespaces: &str, expires: &str, more: &str) -> Entry {
    let token = unique("token");
    let hash = hex::encode(Sha256::digest(&token));
    Entry {
        name: name.to_owned(),
        text: format!(
            "- {{name: {name}, role: {role}, namespaces: {namespaces}, token_sha256: {hash}, expires: {expires}{more}}}\n"
        ),
        token,
    }
}

pub(super) struct Scene {
    pub(super) mesh: Mesh,
    pub(super) authority: Authority,
    pub(super) server: Certified,
    pub(super) access_file: String,
    pub(super) entries: Vec<Entry>,
    pub(super) work: Own,
    pub(super) canceler: Own,
}

impl Scene {
    pub(super) async fn set_up() -> Self {
        let mesh = mesh().await;
        let mark = unique("locked");
        let folder = mesh.folder(&mark);
        let authority = Authority::new(&folder, "locked-ca");
        let server = authority.issue("server", &["localhost"]);
        let own = authority.issue("canceler", &["canceler.quell"]);
        let expired = "2020-01-01T00:00:00Z";
        let entries = vec![
            entry(&format!("{mark}-operator"), "operator", "[main]", LATER, ""),
            entry(&format!("{mark}-viewer"), "viewer", "['*']", LATER, ""),
            entry(&format!("{mark}-expired"), "operator", "['*']", expired, ""),
            entry(&format!("{mark}-elsewhere"), "operator", "[elsewhere]", LATER, ""),
            entry(&format!("{mark}-leaver"), "operator", "['*']", LATER, ""),
            entry(
                &format!("{mark}-hasty"),
                "viewer",
                "['*']",
                LATER,
                ", calls_per_second: 1",
            ),
            entry(&format!("{mark}-canceler"), "operator", "['*']", LATER, ""),
        ];
        let access_file = folder.join("access.yaml").display().to_string();
        let token_file = folder.join("canceler.token").display().to_string();
        std::fs::write(&token_file, &entries[6].token).unwrap();
        write_access(&access_file, &entries, "");
        let (connections, at_once) = (CONNECTIONS.to_string(), AT_ONCE.to_string());
        let (ca_file, server_cert, server_key) = (authority.ca_file.clone(), server.cert.clone(), server.key.clone());
        let access = access_file.clone();
        let revoked = authority.revoke(&[]);
        let collector = mesh.jaeger_http();
        let locked = [
            ("QUELL_TLS_CERT_FILE", server_cert.as_str()),
            ("QUELL_TLS_KEY_FILE", &server_key),
            ("QUELL_ACCESS_FILE", &access),
            ("QUELL_CALLS_PER_PRINCIPAL", &at_once),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector),
        ];
        let few = [&locked[..], &[("QUELL_MAX_CONNECTIONS", connections.as_str())]].concat();
        let work = mesh.own_unready(Part::Work, &mark, &few);
        let work_address = work.address.replace("http://127.0.0.1", "https://localhost");
        // A queue of its own: the shared canceler must not do its work, with other credentials.
        let mut of_canceler = vec![
            ("QUELL_TLS_CLIENT_CA_FILE", ca_file.as_str()),
            ("QUELL_TLS_CLIENT_CRL_FILE", &revoked),
            ("QUELL_WORK_ADDRESS", &work_address),
            ("QUELL_CA_FILE", &ca_file),
            ("QUELL_CLIENT_CERT_FILE", &own.cert),
            ("QUELL_CLIENT_KEY_FILE", &own.key),
            ("QUELL_TOKEN_FILE", &token_file),
            ("TEMPORAL_CANCELER_TASK_QUEUE", &mark),
        ];
        of_canceler.extend(locked);
        let canceler = mesh.own_unready(Part::Canceler, &mark, &of_canceler);
        let scene = Self {
            mesh,
            authority,
            server,
            access_file,
            entries,
            work,
            canceler,
        };
        // The binary asks itself, by TLS.
        scene.healthy(&scene.work, Part::Work).await;
        scene.healthy(&scene.canceler, Part::Canceler).await;
        scene
    }

    pub(super) async fn healthy(&self, own: &Own, part: Part) {
        let port = own.address.rsplit(':').next().unwrap().to_owned();
        eventually(SOON, &format!("{part} says by --health that it serves"), async || {
            let mut command = Command::new(self.mesh.program(part));
            command
                .arg("--health")
                .env("QUELL_TLS_CERT_FILE", &self.server.cert)
                .env("QUELL_TLS_KEY_FILE", &self.server.key)
                .env("QUELL_PORT", &port);
            let Ran { code, out, err } = outside::run(&mut command).await;
            when(code == 0 && out.trim() == "SERVING", || {
                format!("{code} {out}{err}{}", own.process.log_tail(20))
            })
        })
        .await;
    }

    pub(super) fn token(&self, who: &str) -> &str {
        let entry = self.entries.iter().find(|entry| entry.name.ends_with(who)).unwrap();
        &entry.token
    }

    pub(super) fn name(&self, who: &str) -> String {
        let entry = self.entries.iter().find(|entry| entry.name.ends_with(who)).unwrap();
        entry.name.clone()
    }

    /// A connection by TLS, as any client would make it.
    pub(super) fn channel(&self, own: &Own, identity: Option<&Certified>) -> Channel {
        self.endpoint(own, identity).connect_lazy()
    }

    pub(super) fn endpoint(&self, own: &Own, identity: Option<&Certified>) -> Endpoint {
        let read = |path: &str| std::fs::read(path).unwrap();
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&self.authority.ca_file)));
        if let Some(own) = identity {
            tls = tls.identity(Identity::from_pem(read(&own.cert), read(&own.key)));
        }
        let address = own.address.replace("http://127.0.0.1", "https://localhost");
        Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap()
    }

    pub(super) async fn quell(&self, identity: &Certified, who: &str, args: &[&str]) -> Ran {
        let token_file = self.mesh.folder("locked-tokens").join(self.name(who));
        std::fs::write(&token_file, self.token(who)).unwrap();
        let https = |own: &Own| own.address.replace("http://127.0.0.1", "https://localhost");
        let mut command = Command::new(&self.mesh.quell);
        command
            .args(args)
            .env("QUELL_WORK_ADDRESS", https(&self.work))
            .env("QUELL_CANCELER_ADDRESS", https(&self.canceler))
            .env("QUELL_TOKEN_FILE", token_file)
            .env("QUELL_CA_FILE", &self.authority.ca_file)
            .env("QUELL_CLIENT_CERT_FILE", &identity.cert)
            .env("QUELL_CLIENT_KEY_FILE", &identity.key);
        outside::run_within(LONG, &mut command).await
    }
}

pub(super) fn write_access(path: &str, entries: &[Entry], without: &str) {
    let kept = entries
        .iter()
        .filter(|entry| without.is_empty() || !entry.name.ends_with(without));
    let text: String = kept.map(|entry| entry.text.as_str()).collect();
    let new = format!("{path}.new");
    std::fs::write(&new, format!("principals:\n{text}")).unwrap();
    std::fs::rename(&new, path).unwrap();
}

pub(crate) fn bearing<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request.set_timeout(Duration::from_secs(30));
    request
}

/// Sends bytes as the body of a call, whatever they are, and gives the status of the answer.
pub(crate) async fn raw(channel: &Channel, rpc: &str, token: Option<&str>, body: Vec<u8>) -> Status {
    let mut channel = channel.clone();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let mut request = http::Request::post(format!("https://localhost/{rpc}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "20S");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request
        .body(Body::new(http_body_util::Full::new(bytes::Bytes::from(body))))
        .unwrap();
    let reply = match channel.call(request).await {
        Ok(reply) => reply,
        Err(error) => return Status::from_error(error.into()),
    };
    if let Some(status) = Status::from_header_map(reply.headers()) {
        return status;
    }
    // An answer: its status comes at the end. A stream may have none for long, and what matters is that it began.
    let mut body = pin!(reply.into_body());
    for _ in 0..3 {
        let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx));
        let Ok(Some(Ok(frame))) = tokio::time::timeout(Duration::from_secs(5), frame).await else {
            return Status::ok("began");
        };
        if let Some(trailers) = frame.trailers_ref() {
            return Status::from_header_map(trailers).unwrap_or_else(|| Status::ok(""));
        }
    }
    Status::ok("goes on")
}

pub(super) fn snowballs(channel: &Channel) -> SnowballServiceClient<Channel> {
    SnowballServiceClient::new(channel.clone())
}

pub(super) async fn list(channel: &Channel, token: Option<&str>) -> Result<(), Status> {
    let request = bearing(ListSnowballsRequest::default(), token);
    snowballs(channel).list_snowballs(request).await.map(drop)
}

pub(super) async fn start(channel: &Channel, token: Option<&str>, request: StartSnowballRequest) -> Result<(), Status> {
    snowballs(channel)
        .start_snowball(bearing(request, token))
        .await
        .map(drop)
}

/// A snowball of a few workflows that sleep; gives its id.
pub(super) async fn small(work: &Channel, token: &str, workload: &str) -> String {
    let spec = SnowballSpec {
        width: 3,
        depth: 1,
        workload_id: workload.to_owned(),
        ..SnowballSpec::default()
    };
    let request = StartSnowballRequest {
        spec: Some(spec),
        request_id: workload.to_owned(),
        validate_only: false,
    };
    let answer = snowballs(work).start_snowball(bearing(request, Some(token))).await;
    answer.unwrap().into_inner().snowball_id
}

pub(super) fn refused(what: &str, outcome: Result<(), Status>, code: Code) -> String {
    let status = outcome.expect_err(what);
    details::reason(what, &status, code)
}
