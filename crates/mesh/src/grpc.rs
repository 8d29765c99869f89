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

use crate::auth::{Outgoing, Token};
use crate::error::Error;

/// An outgoing channel with client spans, trace context and deadline. Use it as `XxxServiceClient::new(channel)`.
pub type TracedChannel = OtelGrpcService<PeerChannel>;

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

/// What the call that is being served has left of its time; `None` outside of one.
pub(crate) fn time_left() -> Option<Duration> {
    DEADLINE
        .try_with(|deadline| deadline.saturating_duration_since(Instant::now()))
        .ok()
}

/// Makes a lazy channel to `http://host:port` or `https://host:port`, which shows `credentials`. Call it inside a Tokio runtime.
///
/// # Errors
/// [`Error::Internal`] when the address is not a valid one, or may not be used with the credentials; settings of type address are
/// checked at start-up.
pub fn channel(address: &str, credentials: &Outgoing) -> Result<TracedChannel, Error> {
    let dialling = credentials
        .connect(address, configure)
        .map_err(|message| Error::internal(anyhow::Error::msg(message).context("peer")))?;
    Ok(OtelGrpcLayer.layer(PeerChannel::new(dialling.lazy(), credentials)))
}

/// How connections to services are made.
pub fn configure(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        // Watch streams may be silent for long; a dead peer must be noticed all the same.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
}

/// A channel that hands on the deadline of the call being served, and says who calls.
#[derive(Debug, Clone)]
pub struct PeerChannel {
    channel: Channel,
    token: Option<Token>,
}

impl PeerChannel {
    /// A channel whose calls show the token of `credentials`.
    #[must_use]
    pub fn new(channel: Channel, credentials: &Outgoing) -> Self {
        Self {
            channel,
            token: credentials.token(),
        }
    }
}

impl Service<http::Request<tonic::body::Body>> for PeerChannel {
    type Response = http::Response<tonic::body::Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        if let Some(left) = time_left()
            && !request.headers().contains_key("grpc-timeout")
            // Milliseconds have at most eight digits by the gRPC specification: over a day, which no call of ours has.
            && let Ok(value) = HeaderValue::from_str(&format!("{}m", left.as_millis().min(99_999_999)))
        {
            request.headers_mut().insert("grpc-timeout", value);
        }
        if let Some(token) = &self.token {
            let value = HeaderValue::clone(&token.borrow());
            request.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
        self.channel.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_channel_needs_no_server_but_a_valid_address() {
        let nothing = Outgoing::open(&crate::config::CredentialSettings::default()).unwrap();
        assert!(channel("http://127.0.0.1:1", &nothing).is_ok());
        assert!(channel("not an address", &nothing).is_err());
    }

    #[tokio::test]
    async fn a_token_does_not_leave_this_machine_in_the_clear() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let mut settings = crate::config::CredentialSettings {
            token_file: Some(file.path().display().to_string()),
            ..Default::default()
        };
        let shown = Outgoing::open(&settings).unwrap();
        assert!(!format!("{shown:?}").contains("secret"));
        assert!(channel("http://127.0.0.1:1", &shown).is_ok());
        assert!(channel("http://work:1", &shown).is_err());
        settings.insecure = true;
        assert!(channel("http://work:1", &Outgoing::open(&settings).unwrap()).is_ok());
    }

    #[tokio::test]
    async fn the_deadline_is_seen_inside_only() {
        assert_eq!(time_left(), None);
        let inside = with_deadline(Instant::now() + Duration::from_secs(9), async { time_left() });
        assert!(
            inside
                .await
                .is_some_and(|left| left > Duration::from_secs(8) && left <= Duration::from_secs(9))
        );
    }
}
