//! A locked mesh: a work service that wants tokens over TLS, and a canceler that wants client certificates too. A table of attempts to
//! get in, each refused with the right code and none of them the end of the service; what is allowed works, from the command line and
//! from service to service; and all of it is in the audit.

use crate::{
    certificates::{Authority, Certified},
    contract, details,
    harness::{Mesh, Own, authority, mesh, unique},
    outside::{self, Ran},
    poll::{LONG, SOON, eventually, when},
};
use futures::future::join_all;
use http_body::Body as _;
use quell_api::{
    audit::v1::{AuditEvent, ListAuditEventsRequest, audit_service_client::AuditServiceClient},
    canceler::v1::{ListCancellationsRequest, cancellation_service_client::CancellationServiceClient},
    work::v1::{
        ListSnowballsRequest, SnowballSpec, StartSnowballRequest, WatchSnowballRequest,
        snowball_service_client::SnowballServiceClient,
    },
};
use quell_cli::dev::Part;
use sha2::{Digest as _, Sha256};
use std::{pin::pin, time::Duration};
use tokio::{net::TcpStream, process::Command};
use tonic::{
    Code, Request, Status,
    body::Body,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;
use tower::Service as _;

/// Connections that the locked services take.
const CONNECTIONS: usize = 60;
/// Calls at once that one principal may make.
const AT_ONCE: usize = 5;

/// One line of the access file.
struct Entry {
    name: String,
    text: String,
    token: String,
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

const LATER: &str = "2100-01-01T00:00:00Z";

struct Scene {
    mesh: Mesh,
    authority: Authority,
    server: Certified,
    access_file: String,
    entries: Vec<Entry>,
    work: Own,
    canceler: Own,
}

impl Scene {
    async fn set_up() -> Self {
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
        let locked = [
            ("QUELL_TLS_CERT_FILE", server_cert.as_str()),
            ("QUELL_TLS_KEY_FILE", &server_key),
            ("QUELL_ACCESS_FILE", &access),
            ("QUELL_MAX_CONNECTIONS", &connections),
            ("QUELL_CALLS_PER_PRINCIPAL", &at_once),
        ];
        let work = mesh.own_unready(Part::Work, &mark, &locked);
        let work_address = work.address.replace("http://127.0.0.1", "https://localhost");
        // A queue of its own: the shared canceler must not do its work, with other credentials.
        let mut of_canceler = vec![
            ("QUELL_TLS_CLIENT_CA_FILE", ca_file.as_str()),
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
        // The binary asks itself, by TLS, and with a certificate where one is demanded.
        scene.healthy(&scene.work, Part::Work, &locked).await;
        scene.healthy(&scene.canceler, Part::Canceler, &of_canceler).await;
        scene
    }

    async fn healthy(&self, own: &Own, part: Part, env: &[(&str, &str)]) {
        let port = own.address.rsplit(':').next().unwrap().to_owned();
        eventually(SOON, &format!("{part} says by --health that it serves"), async || {
            let mut command = Command::new(self.mesh.program(part));
            command
                .arg("--health")
                .envs(env.iter().copied())
                .env("QUELL_PORT", &port);
            let Ran { code, out, err } = outside::run(&mut command).await;
            when(code == 0 && out.trim() == "SERVING", || {
                format!("{code} {out}{err}{}", own.process.log_tail(20))
            })
        })
        .await;
    }

    fn token(&self, who: &str) -> &str {
        let entry = self.entries.iter().find(|entry| entry.name.ends_with(who)).unwrap();
        &entry.token
    }

    fn name(&self, who: &str) -> String {
        let entry = self.entries.iter().find(|entry| entry.name.ends_with(who)).unwrap();
        entry.name.clone()
    }

    /// A connection by TLS, as any client would make it.
    fn channel(&self, own: &Own, identity: Option<&Certified>) -> Channel {
        let read = |path: &str| std::fs::read(path).unwrap();
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&self.authority.ca_file)));
        if let Some(own) = identity {
            tls = tls.identity(Identity::from_pem(read(&own.cert), read(&own.key)));
        }
        let address = own.address.replace("http://127.0.0.1", "https://localhost");
        Endpoint::from_shared(address)
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect_lazy()
    }

    async fn quell(&self, identity: &Certified, who: &str, args: &[&str]) -> Ran {
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

fn write_access(path: &str, entries: &[Entry], without: &str) {
    let kept = entries
        .iter()
        .filter(|entry| without.is_empty() || !entry.name.ends_with(without));
    let text: String = kept.map(|entry| entry.text.as_str()).collect();
    let new = format!("{path}.new");
    std::fs::write(&new, format!("principals:\n{text}")).unwrap();
    std::fs::rename(&new, path).unwrap();
}

fn bearing<T>(message: T, token: Option<&str>) -> Request<T> {
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

fn snowballs(channel: &Channel) -> SnowballServiceClient<Channel> {
    SnowballServiceClient::new(channel.clone())
}

async fn list(channel: &Channel, token: Option<&str>) -> Result<(), Status> {
    let request = bearing(ListSnowballsRequest::default(), token);
    snowballs(channel).list_snowballs(request).await.map(drop)
}

async fn start(channel: &Channel, token: Option<&str>, request: StartSnowballRequest) -> Result<(), Status> {
    snowballs(channel)
        .start_snowball(bearing(request, token))
        .await
        .map(drop)
}

fn refused(what: &str, outcome: Result<(), Status>, code: Code) -> String {
    let status = outcome.expect_err(what);
    details::reason(what, &status, code)
}

#[tokio::test]
async fn nobody_gets_in_where_he_does_not_belong() {
    let scene = Scene::set_up().await;
    let work = scene.channel(&scene.work, None);
    let operator = scene.token("operator").to_owned();
    list(&work, Some(&operator)).await.unwrap();

    // Who he is.
    let anyone = Code::Unauthenticated;
    assert_eq!(
        refused("no token", list(&work, None).await, anyone),
        "CREDENTIALS_MISSING"
    );
    for (what, token) in [("unknown", "nobody's"), ("empty", ""), ("twice the scheme", "Bearer x")] {
        assert_eq!(
            refused(what, list(&work, Some(token)).await, anyone),
            "CREDENTIALS_INVALID"
        );
    }
    let expired = scene.token("expired");
    assert_eq!(
        refused("expired", list(&work, Some(expired)).await, anyone),
        "CREDENTIALS_EXPIRED"
    );
    // What he may do.
    let (viewer, elsewhere) = (scene.token("viewer"), scene.token("elsewhere"));
    list(&work, Some(viewer)).await.unwrap();
    let request_id = unique("refused");
    let request = StartSnowballRequest {
        request_id: request_id.clone(),
        ..StartSnowballRequest::default()
    };
    let outcome = start(&work, Some(viewer), request.clone()).await;
    assert_eq!(
        refused("a viewer starts", outcome, Code::PermissionDenied),
        "ROLE_INSUFFICIENT"
    );
    let outcome = start(&work, Some(elsewhere), request.clone()).await;
    assert_eq!(
        refused("another namespace", outcome, Code::PermissionDenied),
        "NAMESPACE_NOT_ALLOWED"
    );
    let outcome = start(&work, None, request).await;
    assert_eq!(refused("nobody starts", outcome, anyone), "CREDENTIALS_MISSING");
    // Health is for everybody, reflection is not, and the port does not speak in the clear.
    HealthClient::new(work.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    let reflection = raw(
        &work,
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Some("x"),
        vec![0; 5],
    )
    .await;
    assert_eq!(reflection.code(), anyone);
    assert!(
        Endpoint::from_shared(scene.work.address.clone())
            .unwrap()
            .connect()
            .await
            .is_ok(),
        "a port is a port"
    );
    let clear = crate::harness::channel(&scene.work.address);
    // It ends before gRPC begins: which code the client makes of that is its own affair.
    assert!(list(&clear, Some(&operator)).await.is_err(), "in the clear");

    certificates(&scene).await;
    limits(&scene, &work).await;
    fuzz(&scene, &work).await;
    crowd(&scene, &work).await;
    revocation(&scene, &work).await;
    renewal(&scene).await;
    belonging(&scene, &request_id).await;
    assert!(scene.work.process.exit_status().is_none() && scene.canceler.process.exit_status().is_none());
}

/// The canceler wants a certificate of the right authority, and a token besides.
async fn certificates(scene: &Scene) {
    let good = scene.authority.issue("client", &["client.quell"]);
    let stranger = Authority::new(&scene.mesh.folder("locked-stranger"), "stranger").issue("client", &["client.quell"]);
    let operator = scene.token("operator");
    let ask = async |channel: Channel, token| {
        let request = bearing(ListCancellationsRequest::default(), token);
        CancellationServiceClient::new(channel)
            .list_cancellations(request)
            .await
            .map(drop)
    };
    ask(scene.channel(&scene.canceler, Some(&good)), Some(operator))
        .await
        .unwrap();
    for (what, certificate) in [("no certificate", None), ("another authority's", Some(&stranger))] {
        // It ends before gRPC begins, so there are no details.
        let status = ask(scene.channel(&scene.canceler, certificate), Some(operator))
            .await
            .unwrap_err();
        assert!(status.get_error_details().error_info().is_none(), "{what}: {status:?}");
    }
    let outcome = ask(scene.channel(&scene.canceler, Some(&good)), None).await;
    let reason = refused(
        "a certificate that is not in the access file",
        outcome,
        Code::Unauthenticated,
    );
    assert_eq!(reason, "CREDENTIALS_INVALID");
}

/// Messages, calls a second, calls at once.
async fn limits(scene: &Scene, work: &Channel) {
    let operator = scene.token("operator");
    let large = StartSnowballRequest {
        request_id: "x".repeat(2 << 20),
        ..StartSnowballRequest::default()
    };
    let outcome = start(work, Some(operator), large).await;
    assert_eq!(refused("2 MiB", outcome, Code::ResourceExhausted), "MESSAGE_TOO_LARGE");

    let hasty = scene.token("hasty");
    let asked = join_all((0..20).map(|_| list(work, Some(hasty)))).await;
    let refusals: Vec<Status> = asked.into_iter().filter_map(Result::err).collect();
    assert!(!refusals.is_empty(), "20 calls at once at 1 a second");
    for status in &refusals {
        let details = details::refused("too many calls", status, Code::ResourceExhausted);
        assert_eq!(details.error_info().unwrap().reason, "RATE_LIMITED");
        assert!(details.retry_info().is_some());
    }

    // Streams that nobody reads take the places of their own principal only.
    let snowball_id = small(work, operator, &unique("unread")).await;
    let viewer = scene.token("viewer");
    let watch = || {
        let message = WatchSnowballRequest {
            snowball_id: snowball_id.clone(),
            ..WatchSnowballRequest::default()
        };
        let mut request = bearing(message, Some(viewer));
        request.metadata_mut().remove("grpc-timeout");
        request
    };
    let mut unread = Vec::new();
    let status = loop {
        assert!(unread.len() <= AT_ONCE, "{} streams of one principal", unread.len());
        match snowballs(work).watch_snowball(watch()).await {
            Ok(stream) => unread.push(stream),
            Err(status) => break status,
        }
    };
    assert_eq!(unread.len(), AT_ONCE);
    let reason = details::reason("one stream too many", &status, Code::ResourceExhausted);
    assert_eq!(reason, "RATE_LIMITED");
    list(work, Some(operator)).await.unwrap();
    drop(unread);
    eventually(SOON, "the places of the streams are free again", async || {
        list(work, Some(viewer)).await.map_err(|status| status.to_string())
    })
    .await;
}

/// A snowball of a few workflows that sleep; gives its id.
async fn small(work: &Channel, token: &str, workload: &str) -> String {
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

/// Bytes that are no messages, for every rpc. They come from a viewer, so that one that happens to be a message starts nothing.
async fn fuzz(scene: &Scene, work: &Channel) {
    let canceler = scene.channel(&scene.canceler, Some(&scene.authority.issue("fuzz", &["fuzz.quell"])));
    let viewer = scene.token("viewer");
    let mut codes = std::collections::BTreeMap::<String, u32>::new();
    let mut tried = 0;
    for rpc in contract::rpcs()
        .into_iter()
        .filter(|rpc| !rpc.starts_with("quell.batch"))
    {
        let channel = if rpc.starts_with("quell.work") { work } else { &canceler };
        for n in 0..8_u8 {
            let noise = Sha256::digest(format!("{rpc}{n}"));
            let length = usize::from(noise[31]) % 24;
            let message = &noise[..length];
            let announced = u32::try_from(length).unwrap().to_be_bytes();
            let body = match n % 4 {
                // Not even a prefix.
                0 => message.to_vec(),
                // The rest is missing.
                1 => [&[0][..], &[0, 0, 0, 99], message].concat(),
                // An enormous message is announced.
                2 => [&[0][..], &[0xff; 4], message].concat(),
                _ => [&[0][..], &announced, message].concat(),
            };
            let status = raw(channel, &rpc, Some(viewer), body).await;
            let expected = [
                Code::InvalidArgument,
                Code::PermissionDenied,
                Code::NotFound,
                Code::ResourceExhausted,
                Code::Unimplemented,
                Code::Ok,
            ];
            assert!(expected.contains(&status.code()), "{rpc} {n}: {status:?}");
            *codes.entry(format!("{:?}", status.code())).or_default() += 1;
            tried += 1;
        }
    }
    assert!(tried > 200 && codes["InvalidArgument"] > tried / 3, "{codes:?}");
    eprintln!("fuzz: {codes:?}");
}

/// More idle connections than there are places: whoever comes with a token gets in all the same, and they are sent away.
async fn crowd(scene: &Scene, work: &Channel) {
    let port = authority(&scene.work.address);
    let mut idle = Vec::new();
    for _ in 0..5 * CONNECTIONS {
        idle.push(TcpStream::connect(&port).await.unwrap());
    }
    let operator = scene.token("operator");
    list(work, Some(operator)).await.unwrap();
    eventually(SOON, "a new connection comes through the crowd", async || {
        list(&scene.channel(&scene.work, None), Some(operator))
            .await
            .map_err(|status| status.to_string())
    })
    .await;
    // Those that had to go are gone; the others have until their time for a first call is over.
    let mut gone = 0;
    eventually(SOON, "idle connections make room", async || {
        for stream in std::mem::take(&mut idle) {
            match stream.try_read(&mut [0]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => idle.push(stream),
                // An end, or a reset.
                _ => gone += 1,
            }
        }
        when(gone >= 3 * CONNECTIONS, || format!("{gone} are gone"))
    })
    .await;
}

/// Whoever is taken out of the file is out, and so is his open stream.
async fn revocation(scene: &Scene, work: &Channel) {
    let leaver = scene.token("leaver");
    let snowball_id = small(work, leaver, &unique("left")).await;
    let message = WatchSnowballRequest {
        snowball_id,
        ..WatchSnowballRequest::default()
    };
    let mut request = bearing(message, Some(leaver));
    request.metadata_mut().remove("grpc-timeout");
    let mut stream = snowballs(work).watch_snowball(request).await.unwrap().into_inner();
    stream.message().await.unwrap();
    write_access(&scene.access_file, &scene.entries, "leaver");
    eventually(SOON, "a revoked token is refused", async || {
        match list(work, Some(leaver)).await {
            Ok(()) => Err("it is still taken".to_owned()),
            Err(status) => when(status.code() == Code::Unauthenticated, || status.to_string()),
        }
    })
    .await;
    let end = tokio::time::timeout(SOON, async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    });
    let status = end.await.expect("the stream ends").expect_err("it ends with a status");
    let reason = details::reason("a stream of a revoked token", &status, Code::Unauthenticated);
    assert_eq!(reason, "CREDENTIALS_INVALID");
}

/// What belongs works from the command line, and from service to service; and the audit has all of it.
async fn belonging(scene: &Scene, refused_id: &str) {
    let client = scene.authority.issue("operator", &["operator.quell"]);
    let work = scene.channel(&scene.work, None);
    let workload = unique("locked-job");
    small(&work, scene.token("operator"), &workload).await;
    let stop = [
        "stop",
        "--workload-id",
        &workload,
        "--reason",
        "it is in the way",
        "--json",
    ];
    let refusal = scene.quell(&client, "viewer", &stop).await;
    assert_eq!(refusal.code, 1, "{}{}", refusal.out, refusal.err);
    assert!(refusal.err.contains("ROLE_INSUFFICIENT"), "{}", refusal.err);
    scene.quell(&client, "operator", &stop).await.ok();

    let canceler = scene.channel(&scene.canceler, Some(&client));
    let expected: [(&str, &str, &str, &str); 9] = [
        (
            "operator",
            "quell.canceler.v1.CancellationService/StartCancellation",
            "Ok",
            "",
        ),
        ("canceler", "quell.work.v1.SourceService/Quiesce", "Ok", ""),
        (
            "viewer",
            "quell.canceler.v1.CancellationService/StartCancellation",
            "PermissionDenied",
            "ROLE_INSUFFICIENT",
        ),
        (
            "viewer",
            "quell.work.v1.SnowballService/StartSnowball",
            "PermissionDenied",
            "ROLE_INSUFFICIENT",
        ),
        (
            "elsewhere",
            "quell.work.v1.SnowballService/StartSnowball",
            "PermissionDenied",
            "NAMESPACE_NOT_ALLOWED",
        ),
        (
            "",
            "quell.work.v1.SnowballService/StartSnowball",
            "Unauthenticated",
            "CREDENTIALS_MISSING",
        ),
        (
            "",
            "quell.work.v1.SnowballService/ListSnowballs",
            "Unauthenticated",
            "CREDENTIALS_EXPIRED",
        ),
        (
            "operator",
            "quell.work.v1.SnowballService/StartSnowball",
            "ResourceExhausted",
            "MESSAGE_TOO_LARGE",
        ),
        (
            "hasty",
            "quell.work.v1.SnowballService/ListSnowballs",
            "ResourceExhausted",
            "RATE_LIMITED",
        ),
    ];
    let events = eventually(SOON, "the audit has all of it", async || {
        let events = audit(&canceler, scene.token("viewer")).await?;
        for (who, rpc, outcome, refusal) in &expected {
            let name = if who.is_empty() { String::new() } else { scene.name(who) };
            let found = events.iter().any(|event| {
                (event.principal == name || (who.is_empty() && event.principal.is_empty()))
                    && (event.rpc.as_str(), event.outcome.as_str(), event.refusal.as_str())
                        == (*rpc, *outcome, *refusal)
            });
            when(found, || {
                format!("no {who} {rpc} {outcome} {refusal} in {} events", events.len())
            })?;
        }
        Ok(events)
    })
    .await;
    let of = |rpc: &str, outcome: &str, who: &str| {
        let name = scene.name(who);
        let mut found = events
            .iter()
            .filter(|event| event.rpc.ends_with(rpc) && event.outcome == outcome && event.principal == name);
        found.next().cloned().unwrap()
    };
    let started = of("/StartCancellation", "Ok", "operator");
    assert_eq!(
        (started.reason.as_str(), started.role.as_str(), started.proof.as_str()),
        ("it is in the way", "operator", "token")
    );
    assert_eq!(started.what["workload_id"], workload);
    assert!(started.what.contains_key("cancellation_id"), "{:?}", started.what);
    assert!(
        crate::cancel::is_hex(&started.trace_id, 32) && started.address.starts_with("127.0.0.1:"),
        "{started:?}"
    );
    assert_eq!(
        of("/StartSnowball", "PermissionDenied", "viewer").request_id,
        refused_id
    );
    // Who asked for it stands on the cancellation itself, too.
    let receipt = scene
        .quell(
            &client,
            "viewer",
            &["receipt", &started.what["cancellation_id"], "--json"],
        )
        .await
        .ok();
    assert!(receipt.contains(&scene.name("operator")), "{receipt}");
    // No token is anywhere.
    for entry in &scene.entries {
        for own in [&scene.work, &scene.canceler] {
            let log = std::fs::read_to_string(own.process.log_path()).unwrap();
            assert!(
                !log.contains(&entry.token),
                "a token is in the log of {}",
                own.process.name()
            );
        }
        assert!(!format!("{events:?}").contains(&entry.token), "a token is in the audit");
    }
}

async fn audit(canceler: &Channel, token: &str) -> Result<Vec<AuditEvent>, String> {
    let mut events = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAuditEventsRequest {
            page_size: 500,
            page_token,
            ..ListAuditEventsRequest::default()
        };
        let page = AuditServiceClient::new(canceler.clone())
            .list_audit_events(bearing(request, Some(token)))
            .await
            .map_err(|status| status.to_string())?
            .into_inner();
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(events);
        }
    }
}

/// A renewed certificate, of another authority even, is used without a restart.
async fn renewal(scene: &Scene) {
    let before = std::fs::read(&scene.authority.ca_file).unwrap();
    let kept = (
        std::fs::read(&scene.server.cert).unwrap(),
        std::fs::read(&scene.server.key).unwrap(),
    );
    let renewed = Authority::new(&scene.mesh.folder("locked-renewed"), "renewed");
    let new = renewed.issue("server", &["localhost"]);
    for (from, to) in [(&new.cert, &scene.server.cert), (&new.key, &scene.server.key)] {
        std::fs::copy(from, to).unwrap();
    }
    let with = |ca: Vec<u8>| {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        let address = scene.work.address.replace("http://127.0.0.1", "https://localhost");
        Endpoint::from_shared(address)
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect_lazy()
    };
    let ca = std::fs::read(&renewed.ca_file).unwrap();
    let operator = scene.token("operator");
    eventually(SOON, "new connections get the new certificate", async || {
        list(&with(ca.clone()), Some(operator))
            .await
            .map_err(|status| status.to_string())
    })
    .await;
    assert!(
        list(&with(before.clone()), Some(operator)).await.is_err(),
        "the old authority does not know it"
    );
    // And back, for what comes after.
    std::fs::write(&scene.server.cert, kept.0).unwrap();
    std::fs::write(&scene.server.key, kept.1).unwrap();
    eventually(SOON, "and the old one again", async || {
        list(&with(before.clone()), Some(operator))
            .await
            .map_err(|status| status.to_string())
    })
    .await;
}

#[tokio::test]
async fn an_open_port_needs_authentication() {
    let mesh = mesh().await;
    let dir = mesh.folder("locked-open-port");
    for part in Part::SERVICES {
        let mut command = Command::new(mesh.program(part));
        let command = command
            .current_dir(&dir)
            .env("QUELL_HOST", "0.0.0.0")
            .env("QUELL_PORT", "0");
        let ran = outside::run(command).await;
        assert_eq!(ran.code, 64, "{part}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("server.insecure"), "{part}: {}", ran.err);
    }
}
