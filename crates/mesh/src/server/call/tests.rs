use super::*;
use futures::stream;
use http_body::Body as _;
use tonic::Code;
use tonic_types::StatusExt as _;
use tower::{ServiceExt as _, service_fn};

fn settings(concurrency: usize) -> ServerSettings {
    ServerSettings {
        host: "127.0.0.1".into(),
        port: 0,
        metrics_port: None,
        request_timeout: Duration::from_secs(20),
        concurrency_limit: concurrency,
        connect_wait: Duration::from_millis(50),
        shutdown_delay: Duration::from_millis(1),
        ..crate::config::load(&crate::config::Sources::default(), 0)
            .unwrap()
            .settings
            .server
    }
}

fn request(path: &str) -> http::Request<Body> {
    http::Request::builder().uri(path).body(Body::empty()).unwrap()
}

fn ready() -> watch::Sender<Readiness> {
    watch::Sender::new(Readiness::Ready)
}

async fn call<F, Fut>(layer: &CallLayer, request: http::Request<Body>, handler: F) -> Reply
where
    F: FnMut(http::Request<Body>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Reply, Infallible>> + Send + 'static,
{
    layer.layer(service_fn(handler)).oneshot(request).await.unwrap()
}

fn status_of(reply: &Reply) -> Status {
    Status::from_header_map(reply.headers()).unwrap()
}

#[tokio::test]
async fn a_panic_is_internal_without_its_text() {
    let ready = ready();
    let layer = CallLayer::new(&settings(9), ready.subscribe());
    let reply = call(&layer, request("/a/b"), |_| async { panic!("secret detail") }).await;
    let status = status_of(&reply);
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("secret"));
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "INTERNAL");
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_it_with_a_status() {
    struct Bomb;
    impl http_body::Body for Bomb {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            panic!("late")
        }
    }
    let ready = ready();
    let layer = CallLayer::new(&settings(9), ready.subscribe());
    let reply = call(&layer, request("/a/b"), |_| async {
        Ok(http::Response::new(Body::new(Bomb)))
    })
    .await;
    let mut body = reply.into_body();
    let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))
        .await
        .unwrap()
        .unwrap();
    let trailers = frame.into_trailers().unwrap();
    assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Internal);
    assert!(
        std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))
            .await
            .is_none()
    );
}

#[tokio::test]
async fn the_callers_deadline_is_honoured() {
    let ready = ready();
    let layer = CallLayer::new(&settings(9), ready.subscribe());
    let mut slow = request("/a/b");
    slow.headers_mut().insert("grpc-timeout", "30m".parse().unwrap());
    let reply = call(&layer, slow, |_| std::future::pending()).await;
    assert_eq!(status_of(&reply).code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_stream_holds_its_place_until_it_ends() {
    let ready = ready();
    let layer = CallLayer::new(&settings(1), ready.subscribe());
    let streaming = |_| async {
        let body = http_body_of(stream::pending());
        Ok(http::Response::new(body))
    };
    let first = call(&layer, request("/a/b"), streaming).await;
    let refused = status_of(&call(&layer, request("/a/b"), streaming).await);
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_error_details().retry_info().is_some());
    drop(first);
    assert!(
        call(&layer, request("/a/b"), streaming)
            .await
            .headers()
            .get("grpc-status")
            .is_none()
    );
}

#[tokio::test]
async fn viewers_leave_a_part_to_operators() {
    let ready = ready();
    let layer = CallLayer::new(&settings(32), ready.subscribe());
    let streaming = |_| async { Ok(http::Response::new(http_body_of(stream::pending()))) };
    let of = |role| {
        let mut request = request("/a/b");
        let principal = crate::auth::Principal {
            role,
            ..crate::auth::Principal::anonymous()
        };
        request.extensions_mut().insert(Caller {
            principal,
            address: None,
            scope: crate::auth::Scope::everything(),
        });
        request
    };
    let mut served = Vec::new();
    for (role, expected) in [(Role::Viewer, 30), (Role::Operator, 32)] {
        let refused = loop {
            let reply = call(&layer, of(role), streaming).await;
            match Status::from_header_map(reply.headers()) {
                None => served.push(reply),
                Some(status) => break status,
            }
        };
        assert_eq!(
            (refused.code(), served.len()),
            (Code::ResourceExhausted, expected),
            "{role}"
        );
    }
}

fn http_body_of(frames: impl futures::Stream<Item = ()> + Send + 'static) -> Body {
    struct Endless<S>(Pin<Box<S>>);
    impl<S: futures::Stream<Item = ()>> http_body::Body for Endless<S> {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0
                .as_mut()
                .poll_next(cx)
                .map(|item| item.map(|()| Ok(Frame::data(Bytes::new()))))
        }
    }
    Body::new(Endless(Box::pin(frames)))
}

#[tokio::test]
async fn a_service_that_is_not_ready_says_why_but_health_answers() {
    let state = watch::Sender::new(Readiness::NotReady {
        reason: Reason::TemporalUnreachable,
        message: "no temporal".into(),
    });
    let layer = CallLayer::new(&settings(9), state.subscribe());
    let fine = |_| async { Ok(http::Response::new(Body::empty())) };
    let refused = status_of(&call(&layer, request("/a/b"), fine).await);
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(
        refused.get_error_details().error_info().unwrap().reason,
        "TEMPORAL_UNREACHABLE"
    );
    assert!(refused.message().contains("no temporal"));
    assert!(
        call(&layer, request("/grpc.health.v1.Health/Check"), fine)
            .await
            .headers()
            .get("grpc-status")
            .is_none()
    );
    // It becomes ready while a call waits.
    let waiting = call(&layer, request("/a/b"), fine);
    let (reply, _) = tokio::join!(waiting, async { state.send_replace(Readiness::Ready) });
    assert!(reply.headers().get("grpc-status").is_none());
    // Calls that arrive between NOT_SERVING and the closed port are served.
    state.send_replace(Readiness::NotReady {
        reason: Reason::ShuttingDown,
        message: "end".into(),
    });
    assert!(
        call(&layer, request("/a/b"), fine)
            .await
            .headers()
            .get("grpc-status")
            .is_none()
    );
}

#[test]
fn timeouts_are_read_by_the_specification() {
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        grpc_timeout(&headers)
    };
    assert_eq!(read("100m"), Some(Duration::from_millis(100)));
    assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
    assert_eq!(read("7u"), Some(Duration::from_micros(7)));
    for bad in ["", "m", "5", "5x", "123456789S", "-1S"] {
        assert_eq!(read(bad), None, "{bad:?}");
    }
}
