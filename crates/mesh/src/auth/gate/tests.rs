use super::*;
use crate::PayloadStore;
use crate::audit::{Wanted, list};
use crate::config::{PayloadSettings, Sources, load};
use jiff::ToSpan as _;
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use sha2::Digest as _;
use std::sync::Mutex;
use std::time::Instant;
use tokio::sync::oneshot;
use tower::{ServiceExt as _, service_fn};

/// `t.Things` with one rpc that looks and one that does.
fn contract() -> Vec<u8> {
    let method = |name: &str| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".t.Nothing".to_owned()),
        output_type: Some(".t.Nothing".to_owned()),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Things".to_owned()),
        method: vec![method("GetThing"), method("DoThing")],
        ..ServiceDescriptorProto::default()
    };
    let nothing = DescriptorProto {
        name: Some("Nothing".to_owned()),
        ..DescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("t.proto".to_owned()),
        package: Some("t".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![nothing],
        service: vec![service],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

struct Scene {
    gate: GateLayer,
    store: PayloadStore,
    _folder: tempfile::TempDir,
}

fn scene(access: Option<Access>) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let store = PayloadStore::open(&PayloadSettings {
        url: folder.path().display().to_string(),
        threshold_bytes: 1_024,
        keys: None,
    })
    .unwrap();
    let server = load(&Sources::default(), 0).unwrap().settings.server;
    let guard = Guard {
        settings: server.guard,
        request_timeout: server.request_timeout,
        namespace: "main".to_owned(),
        access: access.map(|access| watch::channel(Arc::new(access)).1),
        methods: Methods::read(&contract()).unwrap(),
        audit: AuditLog::open("work", store.clone()),
        usage: Usage::default(),
    };
    Scene {
        gate: GateLayer(Arc::new(guard)),
        store,
        _folder: folder,
    }
}

impl Scene {
    async fn audited(&self) -> Vec<(String, String)> {
        self.gate.0.audit.flush().await;
        let now = Timestamp::now();
        let wanted = Wanted {
            since: now.checked_sub(1.hour()).unwrap(),
            until: now.checked_add(1.hour()).unwrap(),
            principal: String::new(),
            refused_only: false,
            size: 100,
            after: String::new(),
        };
        let events = list(&self.store, &wanted).await.unwrap().events;
        events.into_iter().map(|event| (event.rpc, event.outcome)).collect()
    }
}

fn request(path: &str, body: Body) -> http::Request<Body> {
    http::Request::builder().uri(path).body(body).unwrap()
}

fn nothing() -> Body {
    Body::new(Full::new(Bytes::from_static(&[0; 5])))
}

/// A call whose caller goes away while the service works on it. Gives whether the service came to the end of its work.
async fn left(scene: &Scene, path: &str) -> bool {
    let (begun, has_begun) = oneshot::channel();
    let (ended, has_ended) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let work = Some((begun, ended, may_go_on));
    let service = scene.gate.layer(Once(Arc::new(Mutex::new(work))));
    let call = tokio::spawn(service.oneshot(request(path, nothing())));
    has_begun.await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // Nobody listens any more where the work was dropped.
    let _ = go_on.send(());
    has_ended.await.is_ok()
}

type Work = (oneshot::Sender<()>, oneshot::Sender<()>, oneshot::Receiver<()>);

/// Answers one call, when it is told to.
#[derive(Clone)]
struct Once(Arc<Mutex<Option<Work>>>);

impl Service<http::Request<Body>> for Once {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let (begun, ended, may_go_on) = self.0.lock().unwrap().take().unwrap();
        Box::pin(async move {
            begun.send(()).unwrap();
            may_go_on.await.unwrap();
            ended.send(()).unwrap();
            Ok(http::Response::new(nothing()))
        })
    }
}

#[tokio::test]
async fn who_leaves_ends_what_only_looks_and_nothing_else() {
    let scene = scene(None);
    assert!(!left(&scene, "/t.Things/GetThing").await, "a look ends with its caller");
    assert!(left(&scene, "/t.Things/DoThing").await, "a deed does not");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let audited = scene.audited().await;
        if audited == [("t.Things/DoThing".to_owned(), "Ok".to_owned())] {
            break;
        }
        assert!(Instant::now() < deadline, "{audited:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_before_it_is_read() {
    let hash = hex::encode(sha2::Sha256::digest("viewer's"));
    let access = format!(
        "principals:\n- {{name: v, role: viewer, namespaces: [main], token_sha256: {hash}, expires: 2100-01-01T00:00:00Z}}\n"
    );
    let scene = scene(Some(Access::parse(&access).unwrap()));
    let letting_in = service_fn(|_| async { Ok::<Reply, Infallible>(Status::ok("let in").into_http()) });
    // More than is read of what is refused, and less than a message may have: the refusal is the role's.
    let large = [&[0, 0, 0, 0x40, 0][..], &[0; 0x4000]].concat();
    let mut call = request("/t.Things/DoThing", Body::new(Full::new(Bytes::from(large))));
    call.headers_mut()
        .insert("authorization", "Bearer viewer's".parse().unwrap());
    let reply = scene.gate.layer(letting_in).oneshot(call).await.unwrap();
    let status = Status::from_header_map(reply.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status:?}");
    let audited = scene.audited().await;
    assert_eq!(
        audited,
        [("t.Things/DoThing".to_owned(), "PermissionDenied".to_owned())]
    );
}
