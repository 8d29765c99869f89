//! Outgoing gRPC: one lazy channel per peer, which carries trace context and what is left of the caller's time.
//!
//! A channel does not connect before its first call and reconnects by itself, so that services start in any order.
//! Every call through it is a client span whose context travels as `traceparent`. A call made while serving
//! another hands on the remaining deadline as `grpc-timeout`, unless it sets its own: work that nobody waits for any
//! more should not be started.

use std::future::Future;
use std::time::{Duration, Instant};

use http::HeaderValue;
use tonic::transport::{Channel, Endpoint};
use tonic_tracing_opentelemetry::middleware::client::{OtelGrpcLayer, OtelGrpcService};
use tower::{Layer as _, Service};

use crate::error::Error;

/// An outgoing channel with client spans, trace context and deadline. Use it as `XxxServiceClient::new(channel)`.
pub type TracedChannel = OtelGrpcService<DeadlineChannel>;

/// Longest time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// When the call that is being served must be done.
    static DEADLINE: Instant;
}

/// Runs a call with a deadline that calls made by it inherit.
pub(crate) fn with_deadline<F: Future>(deadline: Instant, future: F) -> impl Future<Output = F::Output> {
    DEADLINE.scope(deadline, future)
}

/// Makes a lazy channel to `http://host:port` or `https://host:port`. Call it inside a Tokio runtime.
///
/// # Errors
/// [`Error::Internal`] when the address is not a valid one; settings of type address are checked at start-up.
pub fn channel(address: &str) -> Result<TracedChannel, Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| Error::internal(anyhow::Error::new(error).context("peer address")))?
        .connect_timeout(CONNECT_TIMEOUT)
        // Watch streams may be silent for long; a dead peer must be noticed all the same.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .tcp_nodelay(true);
    let endpoint = if address.starts_with("https://") {
        endpoint
            .tls_config(tonic::transport::ClientTlsConfig::new().with_native_roots())
            .map_err(|error| Error::internal(anyhow::Error::new(error).context("tls of a peer")))?
    } else {
        endpoint
    };
    Ok(OtelGrpcLayer.layer(DeadlineChannel(endpoint.connect_lazy())))
}

/// A channel that hands on the deadline of the call being served.
#[derive(Debug, Clone)]
pub struct DeadlineChannel(Channel);

impl Service<http::Request<tonic::body::Body>> for DeadlineChannel {
    type Response = http::Response<tonic::body::Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        let left = DEADLINE
            .try_with(|deadline| deadline.saturating_duration_since(Instant::now()))
            .ok();
        if let Some(left) = left
            && !request.headers().contains_key("grpc-timeout")
            // Milliseconds have at most eight digits by the gRPC specification: over a day, which no call of ours has.
            && let Ok(value) = HeaderValue::from_str(&format!("{}m", left.as_millis().min(99_999_999)))
        {
            request.headers_mut().insert("grpc-timeout", value);
        }
        self.0.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_channel_needs_no_server_but_a_valid_address() {
        assert!(channel("http://127.0.0.1:1").is_ok());
        assert!(channel("not an address").is_err());
    }

    #[tokio::test]
    async fn the_deadline_is_seen_inside_only() {
        assert!(DEADLINE.try_with(|_| ()).is_err());
        let inside = with_deadline(Instant::now() + Duration::from_secs(9), async {
            DEADLINE.try_with(|d| *d).is_ok()
        });
        assert!(inside.await);
    }
}
