use http_body_util::BodyExt as _;
use tower::{ServiceExt as _, service_fn};

use super::*;

fn counted(method: &str, code: &str) -> u64 {
    RPC_REQUESTS.with(["red.Test", method, code]).get()
}

/// Calls through the layer; what is inside answers with this.
async fn call(path: &str, answer: http::Response<Body>) -> http::Response<Body> {
    let answer = std::sync::Mutex::new(Some(answer));
    let inner = service_fn(move |_: http::Request<Body>| {
        let answer = answer.lock().unwrap().take().unwrap();
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let layer = RedLayer {
        services: ["red.Test"].into(),
        paths: Arc::new(["A", "B", "C"].map(|method| format!("/red.Test/{method}")).into()),
    };
    let request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
    layer.layer(inner).oneshot(request).await.unwrap()
}

fn with_trailers(status: &Status) -> http::Response<Body> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    let trailers = Ok(trailers);
    let body = http_body_util::Empty::<bytes::Bytes>::new()
        .map_err(|never| match never {})
        .with_trailers(std::future::ready(Some(trailers)));
    http::Response::new(Body::new(body))
}

#[tokio::test]
async fn the_status_is_taken_from_where_it_stands() {
    let refused = Status::resource_exhausted("no").into_http();
    drop(call("/red.Test/A", refused).await);
    assert_eq!(counted("A", "RESOURCE_EXHAUSTED"), 1, "from the headers");

    let reply = call("/red.Test/B", with_trailers(&Status::ok(""))).await;
    assert_eq!(counted("B", "OK"), 0, "it goes on until its body ends");
    reply.into_body().collect().await.unwrap();
    assert_eq!(counted("B", "OK"), 1, "from the trailers");

    drop(call("/red.Test/C", with_trailers(&Status::ok(""))).await);
    assert_eq!(counted("C", "CANCELLED"), 1, "the caller went away");
}

#[tokio::test]
async fn what_callers_make_up_makes_no_labels() {
    for path in ["/red.Test/MadeUp", "/made.Up/Method"] {
        drop(call(path, Status::unimplemented("what?").into_http()).await);
    }
    assert_eq!(counted(OTHER, "UNIMPLEMENTED"), 1);
    assert_eq!(RPC_REQUESTS.with([OTHER, OTHER, "UNIMPLEMENTED"]).get(), 1);
    // Nor does what is refused before anybody looks whether there is such an rpc.
    drop(call("/red.Test/Guessed", Status::unauthenticated("who?").into_http()).await);
    assert_eq!(counted(OTHER, "UNAUTHENTICATED"), 1);
    assert_eq!(counted("Guessed", "UNAUTHENTICATED"), 0);
    drop(call("/grpc.health.v1.Health/Check", with_trailers(&Status::ok(""))).await);
    assert!(!crate::metrics::page().unwrap().contains("Health"));
}
