//! What surrounds every rpc: readiness, concurrency, deadline, panics.
//!
//! One layer rather than four of a kit, because the four share their ways out: each refusal is an [`Error`] with the standard
//! details, where a kit's layer would give a bare code and its own text. Health and reflection pass untouched:
//! they must answer when nothing else does.
//!
//! - **Readiness**: a call that meets a service which is not ready waits a moment (it may be starting) and then fails with
//!   UNAVAILABLE and the reason. While shutting down, calls that still arrive are served: health has told balancers already.
//! - **Concurrency**: at most so many calls at once, a stream counting until it ends. More are refused at once with
//!   RESOURCE_EXHAUSTED; a queue would only hide the overload. Viewers leave some of it to operators.
//! - **Deadline**: the caller's `grpc-timeout`, else the default, until the response begins; a stream may go on.
//! - **Panics**: INTERNAL with a fixed text; the panic goes to the log. In a stream they end it the same way.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::readiness::Readiness;
use crate::auth::{Caller, Role};
use crate::config::ServerSettings;
use crate::error::{Error, Reason};
use crate::grpc::with_deadline;

/// This part of the calls at once is for operators only.
const FOR_OPERATORS: usize = 16;
/// Prefix of the paths of health and reflection.
const INFRASTRUCTURE: &str = "/grpc.";

/// Makes the layer around all services.
#[derive(Debug, Clone)]
pub(crate) struct CallLayer {
    limits: Arc<Limits>,
}

#[derive(Debug)]
struct Limits {
    /// For everybody.
    permits: Arc<Semaphore>,
    /// Of those, what viewers may take.
    viewers: Arc<Semaphore>,
    default_timeout: Duration,
    max_timeout: Duration,
    ready_wait: Duration,
    readiness: watch::Receiver<Readiness>,
}

impl CallLayer {
    pub(crate) fn new(settings: &ServerSettings, readiness: watch::Receiver<Readiness>) -> Self {
        let all = settings.concurrency_limit.min(Semaphore::MAX_PERMITS);
        let kept = (all / FOR_OPERATORS).max(1).min(all.saturating_sub(1));
        Self {
            limits: Arc::new(Limits {
                permits: Arc::new(Semaphore::new(all)),
                viewers: Arc::new(Semaphore::new(all - kept)),
                default_timeout: settings.request_timeout,
                max_timeout: settings.guard.max_timeout,
                ready_wait: settings.connect_wait,
                readiness,
            }),
        }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Call<S>;
    fn layer(&self, inner: S) -> Self::Service {
        Call {
            inner,
            limits: self.limits.clone(),
        }
    }
}

/// The service with its surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Call<S> {
    inner: S,
    limits: Arc<Limits>,
}

type Reply = http::Response<Body>;
type Permit = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl<S> Service<http::Request<Body>> for Call<S>
where
    S: Service<http::Request<Body>, Response = Reply, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The clone was not polled ready; the instance that was must take the call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        if request.uri().path().starts_with(INFRASTRUCTURE) {
            return Box::pin(inner.call(request));
        }
        let limits = self.limits.clone();
        Box::pin(async move {
            let reply = match limits.guard(inner, request).await {
                Ok(reply) => reply,
                Err(error) => Status::from(error).into_http(),
            };
            Ok(reply)
        })
    }
}

impl Limits {
    async fn guard<S>(&self, mut inner: S, request: http::Request<Body>) -> Result<Reply, Error>
    where
        S: Service<http::Request<Body>, Response = Reply, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        let caller = request.extensions().get::<Caller>();
        let looks = caller.is_some_and(|caller| caller.principal.role == Role::Viewer);
        let permit = self.permit(looks)?;
        let timeout = grpc_timeout(request.headers())
            .unwrap_or(self.default_timeout)
            .min(self.max_timeout);
        let deadline = Instant::now()
            .checked_add(timeout)
            .ok_or_else(|| Error::invalid("grpc-timeout", "too long"))?;
        self.wait_until_ready(timeout).await?;
        let method = request.uri().path().to_owned();
        let call = AssertUnwindSafe(async move { inner.call(request).await }).catch_unwind();
        let done = tokio::time::timeout_at(deadline.into(), with_deadline(deadline, call)).await;
        match done {
            Ok(Ok(Ok(reply))) => Ok(reply.map(|body| {
                Body::new(Guarded {
                    body,
                    panicked: false,
                    _permit: permit,
                })
            })),
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => Err(Error::Internal(anyhow::anyhow!(
                "panic in {method}: {}",
                panic_text(&*panic)
            ))),
            Err(_) => Err(Error::DeadlineExceeded {
                message: format!("not done within {} ms", timeout.as_millis()),
            }),
        }
    }

    /// A place among the calls, and among those of viewers.
    fn permit(&self, looks: bool) -> Result<Permit, Error> {
        let viewer = looks.then(|| self.viewers.clone().try_acquire_owned()).transpose();
        let all = self.permits.clone().try_acquire_owned();
        viewer
            .and_then(|viewer| Ok((all?, viewer)))
            .map_err(|_| Error::ResourceExhausted {
                reason: Reason::Overloaded,
                message: "the service serves as many calls as it may".to_owned(),
                retry_after: None,
            })
    }

    async fn wait_until_ready(&self, timeout: Duration) -> Result<(), Error> {
        let mut readiness = self.readiness.clone();
        let passes = |state: &Readiness| match state {
            Readiness::Ready => true,
            Readiness::NotReady { reason, .. } => *reason == Reason::ShuttingDown,
        };
        let waited = tokio::time::timeout(self.ready_wait.min(timeout), readiness.wait_for(passes)).await;
        if let Ok(Ok(_)) = waited {
            return Ok(());
        }
        match &*self.readiness.borrow() {
            Readiness::NotReady { reason, message } => Err(Error::unavailable(*reason, message.clone())),
            Readiness::Ready => Ok(()),
        }
    }
}

/// The caller's deadline, by the gRPC specification: up to eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text")
}

/// A response body that holds its permit until it ends, and turns a panic into a status.
struct Guarded {
    body: Body,
    panicked: bool,
    _permit: Permit,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.panicked {
            return Poll::Ready(None);
        }
        match std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.body).poll_frame(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                self.panicked = true;
                let status = Status::from(Error::Internal(anyhow::anyhow!(
                    "panic in a stream: {}",
                    panic_text(&*panic)
                )));
                let mut trailers = HeaderMap::new();
                Poll::Ready(Some(
                    status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)),
                ))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // Never before the end was polled: an empty body would be dropped at once, and the permit with it, which is right
        // too, but a panicking one must not be asked again.
        !self.panicked && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.panicked {
            SizeHint::default()
        } else {
            self.body.size_hint()
        }
    }
}

#[cfg(test)]
mod tests;
