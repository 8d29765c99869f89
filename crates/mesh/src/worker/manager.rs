//! The life of the workers: one per queue, restarted when they fail, drained when the process ends.
//!
//! A worker starts when its namespace can be reached and counts as polling when the *server* says that it sees this process
//! poll: the SDK has no such event, and a worker that was merely started answers nobody. A worker whose run ends
//! without being asked is started anew, with backoff, on the same client.
//!
//! `Worker::run` is not `Send` and returns only when the last activity function does. So each worker is driven on a thread of
//! its own, on this runtime, and has a deadline of ours around it. A plain thread rather than Tokio's blocking pool: the
//! runtime waits for that pool when it ends, and would wait for ever for an activity that never returns.
//!
//! A drain: stop polling; let activities in flight finish, up to the drain timeout; then the SDK cancels them, and those that
//! heed it within the stop timeout end cleanly; what is left is named in the report, and its tasks time out on the
//! server and are tried elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::BackoffBuilder as _;
use temporalio_client::grpc::WorkflowService;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;
use temporalio_sdk::{Runtime, Worker};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::registry::{Home, Queue, Registry, RegistryError};
use crate::config::WorkerSettings;
use crate::temporal::{NamespaceClient, backoff, no_retry};

/// How often the server is asked whether it sees the worker poll, until it does.
const POLL_CHECK: Duration = Duration::from_millis(100);

/// A worker that ran this long before it failed starts again without a longer pause.
const STEADY: Duration = Duration::from_secs(30);

/// What a queue's worker is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueState {
    /// It waits for Temporal, or the server does not see it poll yet.
    Starting,
    /// The server sees it poll.
    Polling,
    /// Its run ended by itself, for this reason; it is started again.
    Failed(String),
    /// It was drained.
    Stopped,
}

/// What a drain did on one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueReport {
    /// The queue.
    pub queue: String,
    /// Activities in flight that finished in time.
    pub finished: u64,
    /// Activities by type that were still running when the drain timeout passed.
    pub left: BTreeMap<String, u64>,
    /// Whether the worker itself stopped.
    pub stopped: bool,
}

/// What a drain did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// One entry a queue that had a worker.
    pub queues: Vec<QueueReport>,
}

impl DrainReport {
    /// Whether nothing was left behind.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.queues.iter().all(|queue| queue.stopped && queue.left.is_empty())
    }
}

/// The workers of a process.
#[derive(Debug)]
pub struct Manager {
    queues: BTreeMap<String, (Queue, NamespaceClient)>,
    settings: WorkerSettings,
    identity: String,
    states: watch::Sender<BTreeMap<String, QueueState>>,
}

impl Manager {
    /// Takes the queues of a registry: all of them, or those of `only`.
    ///
    /// # Errors
    /// Every mistake of the registry at once, and unknown names in `only` with the known ones.
    pub fn new(
        registry: Registry,
        only: &[String],
        main: &NamespaceClient,
        canceler: &NamespaceClient,
        identity: &str,
        settings: &WorkerSettings,
    ) -> Result<Self, RegistryError> {
        let mut queues = BTreeMap::new();
        for (name, mut queue) in registry.into_queues(only)? {
            // At the end of the drain the SDK cancels what still runs; activities that listen can leave cleanly.
            queue.options.graceful_shutdown_period = Some(settings.drain_timeout);
            queue.options.client_identity_override = Some(identity.to_owned());
            let client = match queue.home {
                Home::Main => main.clone(),
                Home::Canceler => canceler.clone(),
            };
            queues.insert(name, (queue, client));
        }
        let states = queues.keys().map(|name| (name.clone(), QueueState::Starting)).collect();
        Ok(Self {
            queues,
            settings: settings.clone(),
            identity: identity.to_owned(),
            states: watch::Sender::new(states),
        })
    }

    /// What each queue's worker is doing, now and later.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<BTreeMap<String, QueueState>> {
        self.states.subscribe()
    }

    /// Runs the workers until `drain` fires, then drains them. Needs the current Tokio runtime to be multi-threaded.
    ///
    /// # Errors
    /// When the SDK's runtime cannot be made.
    pub async fn run(self, drain: CancellationToken) -> Result<DrainReport, temporalio_sdk::error::RuntimeError> {
        let runtime = Arc::new(Runtime::from_current_tokio(
            temporalio_sdk::runtime::RuntimeOptions::default(),
        )?);
        let mut tasks = JoinSet::new();
        for (name, (queue, client)) in self.queues {
            let keeper = Keeper {
                name,
                queue,
                client,
                settings: self.settings.clone(),
                identity: self.identity.clone(),
                states: self.states.clone(),
                runtime: runtime.clone(),
            };
            tasks.spawn(keeper.keep(drain.clone()));
        }
        let mut report = DrainReport::default();
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(Some(queue)) => report.queues.push(queue),
                Ok(None) => {}
                Err(error) => tracing::error!(error = %error, "a worker's keeper failed"),
            }
        }
        drain.cancelled().await;
        report.queues.sort_by(|a, b| a.queue.cmp(&b.queue));
        Ok(report)
    }
}

/// Looks after the worker of one queue.
struct Keeper {
    name: String,
    queue: Queue,
    client: NamespaceClient,
    settings: WorkerSettings,
    identity: String,
    states: watch::Sender<BTreeMap<String, QueueState>>,
    runtime: Arc<Runtime>,
}

/// A worker on its thread.
struct Running {
    stop: Box<dyn Fn() + Send + Sync>,
    ended: oneshot::Receiver<Result<(), String>>,
}

impl Keeper {
    /// Gives a report when there was a worker to drain.
    async fn keep(self, drain: CancellationToken) -> Option<QueueReport> {
        let mut pauses = backoff().build();
        loop {
            let client = tokio::select! {
                () = drain.cancelled() => break,
                client = self.client.connected() => client,
            };
            let began = Instant::now();
            let failure = match self.start(client) {
                Err(failure) => failure,
                Ok(mut running) => {
                    tokio::select! {
                        () = drain.cancelled() => return Some(self.drain(running).await),
                        failure = self.watch(&mut running) => {
                            // Frees the queue on this client for the next worker.
                            (running.stop)();
                            failure
                        }
                    }
                }
            };
            if drain.is_cancelled() {
                break;
            }
            tracing::warn!(
                queue = self.name,
                failure,
                "the worker ended by itself and is started again"
            );
            self.set(QueueState::Failed(failure));
            if began.elapsed() > STEADY {
                pauses = backoff().build();
            }
            tokio::select! {
                () = drain.cancelled() => break,
                () = tokio::time::sleep(pauses.next().unwrap_or(STEADY)) => {}
            }
        }
        self.set(QueueState::Stopped);
        None
    }

    /// Starts a worker on a thread of its own.
    fn start(&self, client: temporalio_client::Client) -> Result<Running, String> {
        let mut worker =
            Worker::new(&self.runtime, client, self.queue.options.clone()).map_err(|error| error.to_string())?;
        let stop: Box<dyn Fn() + Send + Sync> = Box::new(worker.shutdown_handle());
        let (done, ended) = oneshot::channel();
        let tokio = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name(format!("worker-{}", self.name))
            .spawn(move || {
                let result = tokio
                    .block_on(worker.run())
                    .map_err(|error| format!("{:#}", anyhow::Error::from(error)));
                // Nobody listens any more when the drain gave up on it.
                let _ = done.send(result);
            })
            .map_err(|error| format!("no thread for the worker: {error}"))?;
        Ok(Running { stop, ended })
    }

    /// Says when the server sees it poll, and returns when it ends by itself.
    async fn watch(&self, running: &mut Running) -> String {
        self.set(QueueState::Starting);
        let ended = &mut running.ended;
        let result = tokio::select! {
            result = &mut *ended => result,
            () = self.seen_polling() => {
                tracing::info!(
                    queue = self.name,
                    namespace = self.client.namespace(),
                    workflows = self.queue.workflows().join(","),
                    activities = self.queue.activities().join(","),
                    "worker polling"
                );
                self.set(QueueState::Polling);
                ended.await
            }
        };
        match result {
            Ok(Ok(())) => "it stopped without being asked".to_owned(),
            Ok(Err(failure)) => failure,
            Err(_) => "its thread panicked".to_owned(),
        }
    }

    /// Asks the server until it lists this process among the pollers of the queue, for each kind of task.
    async fn seen_polling(&self) {
        let mut kinds = Vec::new();
        if !self.queue.workflows().is_empty() {
            kinds.push(TaskQueueType::Workflow);
        }
        if !self.queue.activities().is_empty() {
            kinds.push(TaskQueueType::Activity);
        }
        while let Some(kind) = kinds.last().copied() {
            let seen = match self.client.raw().await {
                Ok(stub) => self.is_polling(stub, kind).await,
                Err(_) => false,
            };
            if seen {
                kinds.pop();
            } else {
                tokio::time::sleep(POLL_CHECK).await;
            }
        }
    }

    async fn is_polling(&self, mut stub: Box<dyn WorkflowService>, kind: TaskQueueType) -> bool {
        let request = DescribeTaskQueueRequest {
            namespace: self.client.namespace().to_owned(),
            task_queue: Some(TaskQueue {
                name: self.name.clone(),
                ..TaskQueue::default()
            }),
            task_queue_type: kind.into(),
            ..DescribeTaskQueueRequest::default()
        };
        match stub.describe_task_queue(no_retry(request)).await {
            Ok(reply) => reply
                .into_inner()
                .pollers
                .iter()
                .any(|poller| poller.identity == self.identity),
            Err(status) => {
                tracing::debug!(queue = self.name, code = ?status.code(), "cannot describe the task queue");
                false
            }
        }
    }

    /// Stops polling and lets activities finish, within the deadlines.
    async fn drain(&self, running: Running) -> QueueReport {
        let inflight = &self.queue.inflight;
        let ended_before = inflight.ended();
        tracing::info!(queue = self.name, in_flight = inflight.count(), "draining the worker");
        (running.stop)();
        let mut ended = running.ended;
        let (left, finished, stopped) = match tokio::time::timeout(self.settings.drain_timeout, &mut ended).await {
            Ok(_) => (BTreeMap::new(), inflight.ended() - ended_before, true),
            Err(_) => {
                let (left, finished) = (inflight.running(), inflight.ended() - ended_before);
                tracing::warn!(
                    queue = self.name,
                    ?left,
                    "drain timeout: activities in flight are cancelled"
                );
                let stopped = tokio::time::timeout(self.settings.stop_timeout, &mut ended)
                    .await
                    .is_ok();
                (left, finished, stopped)
            }
        };
        self.set(QueueState::Stopped);
        tracing::info!(
            queue = self.name,
            finished,
            left = left.values().sum::<u64>(),
            stopped,
            "worker drained"
        );
        QueueReport {
            queue: self.name.clone(),
            finished,
            left,
            stopped,
        }
    }

    fn set(&self, state: QueueState) {
        self.states
            .send_if_modified(|states| states.insert(self.name.clone(), state.clone()) != Some(state));
    }
}
