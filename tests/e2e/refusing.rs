//! A Temporal that refuses to terminate, but for the canceler's own canaries: everything else is passed on to the shared one. That
//! is how stops come to fail for good, which no healthy server does.

use crate::harness::channel;
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http_body::{Body as _, Frame};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Status,
    body::Body,
    codegen::{
        Service,
        http::{Request, Response},
    },
    server::NamedService,
    transport::{Channel, Server},
};

const TERMINATE: &str = "/TerminateWorkflowExecution";
/// In the id of each canary, and so in a request to terminate one.
const CANARY: &[u8] = b"quell-canary/";

/// The refusing server. It ends when it is dropped.
pub(crate) struct Refusing {
    /// Address, with scheme.
    pub address: String,
    refuses: Arc<AtomicBool>,
    _end: DropGuard,
}

impl Refusing {
    /// Starts one in front of the server at that address.
    pub(crate) async fn in_front_of(temporal: &str) -> Self {
        let refuses = Arc::new(AtomicBool::new(true));
        let end = CancellationToken::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let proxy = Proxy {
            to: channel(temporal),
            refuses: refuses.clone(),
        };
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let ended = end.clone().cancelled_owned();
        tokio::spawn(
            Server::builder()
                .add_service(proxy)
                .serve_with_incoming_shutdown(incoming, ended),
        );
        Self {
            address: format!("http://127.0.0.1:{port}"),
            refuses,
            _end: end.drop_guard(),
        }
    }

    /// From now on it passes everything on.
    pub(crate) fn relent(&self) {
        self.refuses.store(false, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Proxy {
    to: Channel,
    refuses: Arc<AtomicBool>,
}

impl NamedService for Proxy {
    const NAME: &'static str = "temporal.api.workflowservice.v1.WorkflowService";
}

impl Service<Request<Body>> for Proxy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let refuses = request.uri().path().ends_with(TERMINATE) && self.refuses.load(Ordering::Relaxed);
        let mut to = self.to.clone();
        async move {
            let mut request = request;
            if refuses {
                let (head, body) = request.into_parts();
                let message = whole(body).await;
                if !message.windows(CANARY.len()).any(|part| part == CANARY) {
                    return Ok(Status::permission_denied("this test lets nothing be terminated").into_http());
                }
                request = Request::from_parts(head, Body::new(Whole(Some(message))));
            }
            let ready = std::future::poll_fn(|cx| to.poll_ready(cx)).await;
            let answered = match ready {
                Ok(()) => to.call(request).await,
                Err(error) => Err(error),
            };
            Ok(answered.unwrap_or_else(|error| Status::unavailable(error.to_string()).into_http()))
        }
        .boxed()
    }
}

/// A message that has come in whole.
struct Whole(Option<Bytes>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn whole(mut body: Body) -> Bytes {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.into_data() {
            bytes.extend(data);
        }
    }
    bytes.into()
}
