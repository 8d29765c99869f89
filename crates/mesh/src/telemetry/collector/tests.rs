use super::*;
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What a collector is sent: path, headers, length.
type Sent = (String, http::HeaderMap, usize);

/// A collector that takes everything.
async fn collector() -> (u16, mpsc::UnboundedReceiver<Sent>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let sender = sender.clone();
            let take = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let sender = sender.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let length = body.collect().await.unwrap().to_bytes().len();
                    // The test may have seen enough.
                    let _ = sender.send((parts.uri.path().to_owned(), parts.headers, length));
                    Ok::<_, Infallible>(http::Response::new(http_body_util::Full::new(Bytes::new())))
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), take));
        }
    });
    (port, receiver)
}

#[tokio::test]
async fn spans_go_by_http_with_their_headers() {
    let (port, mut sent) = collector().await;
    let exporter = exporter(&CollectorSettings {
        protocol: OtlpProtocol::Http,
        endpoint: format!("http://127.0.0.1:{port}/v1/traces"),
        headers: Some("X-Key=a%20b,other=c".to_owned().into()),
        timeout: Duration::from_secs(20),
    })
    .unwrap();
    // As in the process: the processor has a thread of its own, without a runtime.
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).build())
        .build();
    provider.tracer("t").start("s").end();
    let flushed = tokio::task::spawn_blocking(move || provider.force_flush());
    let (path, headers, length) = sent.recv().await.unwrap();
    assert_eq!(path, "/v1/traces");
    assert_eq!(
        (&headers["x-key"], &headers["other"]),
        (&"a b".parse().unwrap(), &"c".parse().unwrap())
    );
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert!(length > 0);
    flushed.await.unwrap().unwrap();
}
