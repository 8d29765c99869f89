//! Rate, errors and duration of every rpc (`quell_rpc_*`).
//!
//! Inside the server span, so that a duration's exemplar is the call's own trace, and outside the limits, so that what they refuse is
//! counted. A call ends with its response: with the status in the trailers, with the headers when there is nothing else, or, when
//! the caller goes away before that, as CANCELLED.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::metrics::{Held, RPC_DURATION, RPC_IN_FLIGHT, RPC_REQUESTS};

/// Label of what we do not serve: names are a caller's to choose, and labels must stay few.
const OTHER: &str = "other";

/// Makes the layer. Calls of health and reflection are not counted.
#[derive(Debug, Clone)]
pub(crate) struct RedLayer {
    /// Full names of the services that are served.
    pub(crate) services: Arc<[&'static str]>,
    /// Paths of the rpcs that there are.
    pub(crate) paths: Arc<HashSet<String>>,
}

impl<S> Layer<S> for RedLayer {
    type Service = Red<S>;
    fn layer(&self, inner: S) -> Self::Service {
        Red {
            inner,
            services: self.services.clone(),
            paths: self.paths.clone(),
        }
    }
}

/// The service that is counted.
#[derive(Debug, Clone)]
pub(crate) struct Red<S> {
    inner: S,
    services: Arc<[&'static str]>,
    paths: Arc<HashSet<String>>,
}

impl<S, E> Service<http::Request<Body>> for Red<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = E>,
    S::Future: Send + 'static,
    E: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = E;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, E>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(mut ended) = self.begin(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            ended.began(response.headers());
            Ok(response.map(|body| Body::new(Counted { body, ended })))
        })
    }
}

impl<S> Red<S> {
    fn begin(&self, path: &str) -> Option<Ended> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        if service.starts_with("grpc.") {
            return None;
        }
        let service = self.services.iter().copied().find(|known| *known == service);
        Some(Ended {
            service: service.unwrap_or(OTHER),
            method: if self.paths.contains(path) { method } else { OTHER }.to_owned(),
            code: None,
            since: Instant::now(),
            _in_flight: RPC_IN_FLIGHT.hold(),
        })
    }
}

/// A call; it is counted when this is dropped.
struct Ended {
    service: &'static str,
    method: String,
    code: Option<Code>,
    since: Instant,
    _in_flight: Held,
}

impl Ended {
    /// The response begins.
    fn began(&mut self, headers: &HeaderMap) {
        self.note(headers);
        RPC_DURATION
            .with([self.service, self.method()])
            .record(self.since.elapsed());
    }

    /// Takes the status from headers or trailers.
    fn note(&mut self, headers: &HeaderMap) {
        self.code = Status::from_header_map(headers)
            .map(|status| status.code())
            .or(self.code);
    }

    fn method(&self) -> &str {
        if self.service == OTHER { OTHER } else { &self.method }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let code = name(self.code.unwrap_or(Code::Cancelled));
        RPC_REQUESTS.with([self.service, self.method(), code]).inc();
    }
}

/// The name of a status in the gRPC specification.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A response body whose end is a call's.
struct Counted {
    body: Body,
    ended: Ended,
}

impl http_body::Body for Counted {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.ended.note(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => self.ended.code = Some(status.code()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
