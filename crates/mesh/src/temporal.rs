//! One lazily connected, shared client per namespace, which keeps trying.
//!
//! The SDK's own `connect` fails at once when the server is not there; a service must start without Temporal and come up when
//! it does. So each [`NamespaceClient`] owns a task that is started by the first use, connects with backoff, and
//! then looks after the connection: a cheap DescribeNamespace on an interval tells a live server with our namespace from
//! anything else. After the first success the channel below reconnects by itself, and the same client stays valid
//! for ever, which matters to workers: they hold it.
//!
//! The client carries the oversize codec and the plugin for traces. [`NamespaceClient::raw`] gives the bare stub
//! beside it: no codec, no spans. Poll loops belong there, or every trace drowns in them.

mod described;
mod options;
mod read;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use temporalio_client::callback_based::CallbackBasedGrpcService;
use temporalio_client::errors::ClientConnectError;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::request_extensions::RetryConfigForCall;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, RetryOptions};
use temporalio_common::data_converters::{DataConverter, DefaultFailureConverter, PayloadConverter};
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;

use crate::config::NamespaceSettings;
use crate::error::{Error, Reason, connect_reason};
use crate::metrics::TEMPORAL_CONNECTED;
use crate::payload::OversizeCodec;
use crate::telemetry;
use crate::worker::transport;
pub use described::Described;
use options::{channel, connection_options, uses_tls};

/// Longest time of one attempt to connect, or of one health check.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Failed checks in a row before a connection counts as lost: one may be a hiccup.
const LOST_AFTER: u32 = 2;

/// What is known about the connection to a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// Nobody has used it yet.
    Idle,
    /// The server answers and knows the namespace.
    Connected,
    /// It cannot be used now; somebody keeps trying.
    Unavailable {
        /// The stable reason.
        reason: Reason,
        /// In a few words, without addresses or secrets.
        message: String,
    },
}

/// The connection to one namespace. Cheap to clone; all clones share one connection.
#[derive(Debug, Clone)]
pub struct NamespaceClient(Arc<Shared>);

struct Shared {
    settings: NamespaceSettings,
    identity: String,
    codec: OversizeCodec,
    started: AtomicBool,
    client: watch::Sender<Option<Client>>,
    state: watch::Sender<ConnectionState>,
    stop: CancellationToken,
    /// The task ends with the last clone.
    _stop_on_drop: DropGuard,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamespaceClient")
            .field("namespace", &self.settings.namespace)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

impl NamespaceClient {
    /// Prepares a client; nothing happens before its first use. `identity` is what Temporal shows of the caller.
    #[must_use]
    pub fn new(settings: NamespaceSettings, identity: impl Into<String>, codec: OversizeCodec) -> Self {
        let stop = CancellationToken::new();
        Self(Arc::new(Shared {
            settings,
            identity: identity.into(),
            codec,
            started: AtomicBool::new(false),
            client: watch::Sender::new(None),
            state: watch::Sender::new(ConnectionState::Idle),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }))
    }

    /// Name of the namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.settings.namespace
    }

    /// The task queue that belongs to the namespace's service (TEMPORAL_MAIN_TASK_QUEUE, TEMPORAL_CANCELER_TASK_QUEUE).
    #[must_use]
    pub fn task_queue(&self) -> &str {
        &self.0.settings.task_queue
    }

    /// The client, for typed calls: with codec and trace context. Waits for a connection as long as
    /// `server.connect_wait_s` says (2 s).
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the reason.
    pub async fn client(&self) -> Result<Client, Error> {
        match tokio::time::timeout(self.0.settings.connect_wait, self.connected()).await {
            Ok(client) => Ok(client),
            Err(_) => match &*self.0.state.borrow() {
                ConnectionState::Unavailable { reason, message } => Err(Error::unavailable(*reason, message.clone())),
                ConnectionState::Idle | ConnectionState::Connected => Err(Error::unavailable(
                    Reason::TemporalUnreachable,
                    "still connecting to Temporal",
                )),
            },
        }
    }

    /// The bare stub: no codec, no spans. For polls, and for whatever the typed client does not offer; for reads there is
    /// [`NamespaceClient::read`].
    ///
    /// # Errors
    /// As for [`NamespaceClient::client`].
    pub async fn raw(&self) -> Result<Box<dyn WorkflowService>, Error> {
        Ok(self.client().await?.connection().workflow_service())
    }

    /// A client for one worker, over a connection of the worker's own. `calls` makes of the channel what the SDK calls. Waits until
    /// the namespace can be reached, however long it takes.
    ///
    /// # Errors
    /// Why it could not be made, in a few words.
    pub(crate) async fn for_worker<F>(&self, calls: F) -> Result<Client, String>
    where
        F: FnOnce(Channel) -> CallbackBasedGrpcService,
    {
        self.connected().await;
        let shared = &self.0;
        let service = calls(channel(&shared.settings)?);
        let options = connection_options(&shared.settings, &shared.identity, Some(service))?;
        match tokio::time::timeout(ATTEMPT, client(options, &shared.settings, shared.codec.clone())).await {
            Ok(client) => client,
            Err(_) => Err("no connection to temporal in time".to_owned()),
        }
    }

    /// The client, however long it takes.
    pub async fn connected(&self) -> Client {
        self.start();
        let mut state = self.0.state.subscribe();
        // Neither wait can fail: the senders live in `self`.
        let _ = state.wait_for(|state| *state == ConnectionState::Connected).await;
        let mut client = self.0.client.subscribe();
        loop {
            if let Some(client) = client.borrow_and_update().clone() {
                return client;
            }
            let _ = client.changed().await;
        }
    }

    /// The state of the connection, now and later.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<ConnectionState> {
        self.start();
        self.0.state.subscribe()
    }

    /// Starts the connecting task, once.
    fn start(&self) {
        if self.0.started.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::spawn(tend(
            self.0.settings.clone(),
            self.0.identity.clone(),
            self.0.codec.clone(),
            self.0.client.clone(),
            self.0.state.clone(),
            self.0.stop.clone(),
        ));
    }
}

/// Turns the SDK's own retries off for a request: an adaptive limiter, or a caller with its own deadline, must see each
/// answer itself.
#[must_use]
pub fn no_retry<T>(request: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(request);
    request
        .extensions_mut()
        .insert(RetryConfigForCall(RetryOptions::no_retries()));
    request
}

/// Connects, then checks for ever.
async fn tend(
    settings: NamespaceSettings,
    identity: String,
    codec: OversizeCodec,
    client: watch::Sender<Option<Client>>,
    state: watch::Sender<ConnectionState>,
    stop: CancellationToken,
) {
    let work = async {
        let connected = keep_connecting(&settings, &identity, codec, &state).await;
        client.send_replace(Some(connected.clone()));
        keep_checking(&settings, &connected, &state).await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

async fn keep_connecting(
    settings: &NamespaceSettings,
    identity: &str,
    codec: OversizeCodec,
    state: &watch::Sender<ConnectionState>,
) -> Client {
    let mut pauses = backoff().build();
    loop {
        let failure = match tokio::time::timeout(ATTEMPT, connect(settings, identity, codec.clone())).await {
            Ok(Ok(client)) => return client,
            Ok(Err(failure)) => failure,
            Err(_) => "no connection to temporal in time".to_owned(),
        };
        set(
            state,
            &settings.namespace,
            ConnectionState::Unavailable {
                reason: Reason::TemporalUnreachable,
                message: failure,
            },
        );
        tokio::time::sleep(pauses.next().unwrap_or(MAX_PAUSE)).await;
    }
}

async fn keep_checking(settings: &NamespaceSettings, client: &Client, state: &watch::Sender<ConnectionState>) {
    let mut failures = 0;
    loop {
        match check(settings, client).await {
            Ok(()) => {
                failures = 0;
                set(state, &settings.namespace, ConnectionState::Connected);
            }
            Err((reason, message)) => {
                failures += 1;
                // A definite answer counts at once, silence only when it lasts.
                let certain = reason != Reason::TemporalUnreachable || *state.borrow() != ConnectionState::Connected;
                if certain || failures >= LOST_AFTER {
                    set(
                        state,
                        &settings.namespace,
                        ConnectionState::Unavailable { reason, message },
                    );
                }
            }
        }
        tokio::time::sleep(settings.health_interval).await;
    }
}

/// Whether the server answers and knows the namespace.
async fn check(settings: &NamespaceSettings, client: &Client) -> Result<(), (Reason, String)> {
    let request = DescribeNamespaceRequest {
        namespace: settings.namespace.clone(),
        ..DescribeNamespaceRequest::default()
    };
    let mut stub = client.connection().workflow_service();
    match tokio::time::timeout(ATTEMPT, stub.describe_namespace(no_retry(request))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => {
            let error = crate::error::from_temporal(status);
            match error.reason() {
                Reason::NamespaceNotFound | Reason::NotFound => Err((
                    Reason::NamespaceNotFound,
                    format!("temporal does not know the namespace {:?}", settings.namespace),
                )),
                // The namespace lookup shares a rate limit with everybody: a busy server is a live server.
                Reason::TemporalRateLimited => Ok(()),
                Reason::TemporalDenied => Err((Reason::TemporalDenied, "temporal refused the credentials".to_owned())),
                _ => Err((Reason::TemporalUnreachable, "temporal does not answer".to_owned())),
            }
        }
        Err(_) => Err((
            Reason::TemporalUnreachable,
            "temporal does not answer in time".to_owned(),
        )),
    }
}

/// Publishes a state, and logs it when it is another than before.
fn set(state: &watch::Sender<ConnectionState>, namespace: &str, new: ConnectionState) {
    state.send_if_modified(|old| {
        if *old == new {
            return false;
        }
        match &new {
            ConnectionState::Connected => tracing::info!(namespace, "connected to temporal"),
            ConnectionState::Unavailable { reason, message } => {
                tracing::warn!(
                    namespace,
                    reason = reason.as_str(),
                    detail = message,
                    "temporal is not available; trying on"
                );
            }
            ConnectionState::Idle => {}
        }
        TEMPORAL_CONNECTED
            .with([namespace])
            .set(i64::from(new == ConnectionState::Connected));
        *old = new;
        true
    });
}

const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Short pauses: the wait is mostly for a server that is just starting, and one attempt costs nothing.
pub(crate) fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(MAX_PAUSE)
        .with_jitter()
        .without_max_times()
}

async fn connect(settings: &NamespaceSettings, identity: &str, codec: OversizeCodec) -> Result<Client, String> {
    let over = if uses_tls(settings) {
        Some(transport::plain(channel(settings)?))
    } else {
        None
    };
    client(connection_options(settings, identity, over)?, settings, codec).await
}

async fn client(
    options: ConnectionOptions,
    settings: &NamespaceSettings,
    codec: OversizeCodec,
) -> Result<Client, String> {
    let connection = Connection::connect(options)
        .await
        .map_err(|error: ClientConnectError| {
            tracing::debug!(namespace = settings.namespace, error = %error, "connecting failed");
            connect_reason(&error)
        })?;
    let converter = DataConverter::new(PayloadConverter::default(), DefaultFailureConverter::default(), codec);
    let options = ClientOptions::new(settings.namespace.clone())
        .data_converter(converter)
        .plugin(telemetry::temporal::plugin())
        .build();
    Client::new(connection, options).map_err(|error| format!("the client could not be made: {error}"))
}
