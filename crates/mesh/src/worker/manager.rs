//! The life of the workers: one per queue, restarted when they fail, drained when the process ends.
//!
//! A worker starts when its namespace can be reached and counts as polling when the *server* says that it sees this process
//! poll: the SDK has no such event, and a worker that was merely started answers nobody. A worker whose run ends
//! without being asked is started anew, with backoff, on the same client.
//!
//! `Worker::run` is not `Send` and returns only when the last activity function does. So each worker is driven on a thread of
//! its own and has a deadline of ours around it. A plain thread rather than Tokio's blocking pool: a runtime waits for that
//! pool when it ends, and would wait for ever for an activity that never returns. All of it runs on a Tokio runtime of the workers'
//! own: activities that block their threads hold up other activities, not the rpcs, the deadlines or the end of the process.
//!
//! A drain (docs/drain.md): poll no more; let open polls be answered and activities in flight finish, up to the drain timeout; then
//! tell the SDK to stop, which cancels what still runs; what heeds that within the stop timeout ends cleanly; what is left is
//! named in the report, and its tasks time out on the server and are tried elsewhere. The order is the point: an SDK that is told to
//! stop drops its open polls, and with each the task that the server may just have handed to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder as _;
use temporalio_client::grpc::WorkflowService;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{DescribeTaskQueueRequest, ShutdownWorkerRequest};
use temporalio_sdk::Worker;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::drain::poll_timeout;
pub use super::drain::{Drain, DrainReport, QueueReport};
pub use super::polls::PollTally;
use super::polls::Polls;
use super::registry::{Home, Queue, Registry, RegistryError};
use super::threads::Threads;
use super::transport;
use crate::config::WorkerSettings;
use crate::metrics::{WORKER_DRAIN_LEFT, WORKER_DRAINS, WORKER_POLLING, WORKER_RESTARTS};
use crate::temporal::{NamespaceClient, backoff, no_retry};

/// How often the server is asked whether it sees the worker poll, until it does.
const POLL_CHECK: Duration = Duration::from_millis(100);

/// A worker that ran this long before it failed starts again without a longer pause.
const STEADY: Duration = Duration::from_secs(30);

/// How long the server may take to hear that the worker's own queue is not polled any more.
const RELEASE: Duration = Duration::from_secs(2);

/// What a queue's worker is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueState {
    /// It waits for Temporal, or the server does not see it poll yet.
    Starting,
    /// The server sees it poll.
    Polling,
    /// Its run ended by itself, for this reason; it is started again.
    Failed(String),
    /// It polls no more; what is in flight goes on.
    Draining,
    /// It was drained.
    Stopped,
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
            queue.tune(&settings.tuning);
            // The SDK is told to stop when the drain is over: what still runs is then cancelled, and can leave cleanly.
            queue.options.graceful_shutdown_period = Some(Duration::ZERO);
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

    /// What runs on each queue, for when nobody can wait for a report.
    pub fn running(&self) -> impl Fn() -> BTreeMap<String, BTreeMap<String, u64>> + Send + Sync + 'static {
        let queues: Vec<_> = self
            .queues
            .iter()
            .map(|(name, (queue, _))| (name.clone(), queue.inflight.clone()))
            .collect();
        move || {
            let running = queues.iter().map(|(name, inflight)| (name.clone(), inflight.running()));
            running.filter(|(_, running)| !running.is_empty()).collect()
        }
    }

    /// Runs the workers until `drain` fires, then drains them.
    ///
    /// # Errors
    /// When a runtime, Tokio's or the SDK's, cannot be made.
    pub async fn run(self, drain: impl Into<Drain>) -> Result<DrainReport, anyhow::Error> {
        let drain = drain.into();
        let runtime = Arc::new(Threads::new()?);
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
        drain.begun.cancelled().await;
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
    runtime: Arc<Threads>,
}

/// A worker on its thread.
struct Running {
    stop: Box<dyn Fn() + Send + Sync>,
    ended: oneshot::Receiver<Result<(), String>>,
    polls: Polls,
}

impl Running {
    /// Tells the SDK to stop, and lets go of the polls that it still waits for.
    fn stop(&self) {
        (self.stop)();
        self.polls.end();
    }
}

impl Keeper {
    /// Gives a report when there was a worker to drain.
    async fn keep(self, drain: Drain) -> Option<QueueReport> {
        // On the page from the start: what an alert asks for must have been zero before.
        for counter in [&WORKER_RESTARTS, &WORKER_DRAIN_LEFT] {
            drop(counter.with([&self.name]));
        }
        let mut pauses = backoff().build();
        loop {
            let polls = Polls::of_queue(&self.name);
            let client = tokio::select! {
                () = drain.begun.cancelled() => break,
                client = self.connect(&polls) => client,
            };
            let began = Instant::now();
            let failure = match client.and_then(|client| self.start(client, polls)) {
                Err(failure) => failure,
                Ok(mut running) => {
                    tokio::select! {
                        () = drain.begun.cancelled() => {
                            let by = drain.by.get().copied();
                            return Some(self.drain(running, by).await);
                        }
                        failure = self.watch(&mut running) => {
                            // Frees what the worker had of the SDK.
                            running.stop();
                            failure
                        }
                    }
                }
            };
            if drain.begun.is_cancelled() {
                break;
            }
            tracing::warn!(
                queue = self.name,
                failure,
                "the worker ended by itself and is started again"
            );
            WORKER_RESTARTS.with([&self.name]).inc();
            self.set(QueueState::Failed(failure));
            if began.elapsed() > STEADY {
                pauses = backoff().build();
            }
            tokio::select! {
                () = drain.begun.cancelled() => break,
                () = tokio::time::sleep(pauses.next().unwrap_or(STEADY)) => {}
            }
        }
        self.set(QueueState::Stopped);
        None
    }

    /// A connection for one run of the worker.
    async fn connect(&self, polls: &Polls) -> Result<temporalio_client::Client, String> {
        let timeout = poll_timeout(&self.settings);
        let polls = polls.clone();
        self.client
            .for_worker(|channel| transport::service(channel, polls, timeout))
            .await
    }

    /// Starts a worker on a thread of its own.
    fn start(&self, client: temporalio_client::Client, polls: Polls) -> Result<Running, String> {
        let _inside = self.runtime.handle.enter();
        let mut worker =
            Worker::new(&self.runtime.sdk, client, self.queue.options.clone()).map_err(|error| error.to_string())?;
        self.queue.inflight.follow(&polls);
        let stop: Box<dyn Fn() + Send + Sync> = Box::new(worker.shutdown_handle());
        let (done, ended) = oneshot::channel();
        // Held by the thread, too: a worker that does not end keeps its runtime.
        let threads = self.runtime.clone();
        std::thread::Builder::new()
            .name(format!("worker-{}", self.name))
            .spawn(move || {
                let result = threads
                    .handle
                    .block_on(worker.run())
                    .map_err(|error| format!("{:#}", anyhow::Error::from(error)));
                // Nobody listens any more when the drain gave up on it.
                let _ = done.send(result);
            })
            .map_err(|error| format!("no thread for the worker: {error}"))?;
        Ok(Running { stop, ended, polls })
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

    /// Ends the polls, lets activities finish, then the worker, within the deadlines.
    async fn drain(&self, running: Running, by: Option<Instant>) -> QueueReport {
        let by = by.unwrap_or_else(|| Instant::now() + self.settings.drain_timeout);
        let inflight = &self.queue.inflight;
        let ended_before = inflight.ended();
        let polls = running.polls.clone();
        polls.close();
        let (open, _) = polls.pending();
        self.set(QueueState::Draining);
        tracing::info!(
            queue = self.name,
            in_flight = inflight.count(),
            polls = open,
            "draining the worker"
        );
        let in_time = timeout_at(by, async {
            polls.answered().await;
            self.release(&polls).await;
            polls.quiet().await;
            inflight.idle().await;
        });
        let (left, polls_left) = match in_time.await {
            Ok(()) => (BTreeMap::new(), 0),
            Err(_) => {
                let (open, handed) = polls.pending();
                let (left, polls_left) = (inflight.running(), open + u64::try_from(handed).unwrap_or(u64::MAX));
                tracing::warn!(
                    queue = self.name,
                    ?left,
                    polls_left,
                    "drain timeout: activities in flight are cancelled, open polls are dropped"
                );
                (left, polls_left)
            }
        };
        let finished = inflight.ended() - ended_before;
        running.stop();
        // What was done in time has its results still on the way.
        let stopped = timeout_at(by + self.settings.stop_timeout, running.ended).await.is_ok();
        self.set(QueueState::Stopped);
        let clean = stopped && left.is_empty() && polls_left == 0;
        WORKER_DRAINS
            .with([&self.name, if clean { "clean" } else { "cut" }])
            .inc();
        WORKER_DRAIN_LEFT.with([&self.name]).inc_by(left.values().sum());
        let polls = polls.tally();
        tracing::info!(
            queue = self.name,
            tasks = polls.tasks,
            begun = polls.begun,
            polls_cut = polls.cut,
            finished,
            left = left.values().sum::<u64>(),
            polls_left,
            stopped,
            "worker drained"
        );
        QueueReport {
            queue: self.name.clone(),
            finished,
            left,
            polls_left,
            stopped,
            polls,
        }
    }

    /// Tells the server that this worker's own queue is not polled any more, so that it offers the workflows of its memory to others at
    /// once. The SDK says so too, when it stops; activities in flight may hold that up. Without an answer the server finds out by itself.
    async fn release(&self, polls: &Polls) {
        let Some(sticky_task_queue) = polls.sticky() else {
            return;
        };
        let request = ShutdownWorkerRequest {
            namespace: self.client.namespace().to_owned(),
            sticky_task_queue,
            identity: self.identity.clone(),
            reason: "the worker drains".to_owned(),
            ..ShutdownWorkerRequest::default()
        };
        let told = async {
            self.client
                .raw()
                .await
                .ok()?
                .shutdown_worker(no_retry(request))
                .await
                .ok()
        };
        if !matches!(tokio::time::timeout(RELEASE, told).await, Ok(Some(_))) {
            tracing::debug!(queue = self.name, "the server did not take the worker's own queue back");
        }
    }

    fn set(&self, state: QueueState) {
        WORKER_POLLING
            .with([&self.name])
            .set(i64::from(state == QueueState::Polling));
        self.states
            .send_if_modified(|states| states.insert(self.name.clone(), state.clone()) != Some(state));
    }
}
