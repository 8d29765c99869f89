//! Watchers: however many watch one cancellation, this process reads it once per 500 ms.
//!
//! The first watcher starts the reader, the last one that leaves ends it. Watchers share a `tokio::sync::watch`: a slow one
//! misses steps, never the last one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, stream::unfold};
use quell_api::canceler::v1 as pb;
use quell_mesh::{Error, NamespaceClient, Reason, Shutdown};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tonic::Status;

use super::{budget::Budget, namespace::Namespace, view::View};

const PERIOD: Duration = Duration::from_millis(500);
/// Least time between two counts of what is open: they share the visibility budget with the sweep.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How long Temporal may be away before watchers are told.
const PATIENCE: Duration = Duration::from_secs(30);

type Seen = Option<Result<pb::Cancellation, Status>>;

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How fast what is open becomes less: the rate where it is not we who stop it.
#[derive(Debug, Default)]
struct Fall(VecDeque<(Instant, u64)>);

impl Fall {
    fn note(&mut self, open: Option<u64>) {
        let Some(open) = open else { return };
        self.0.push_back((Instant::now(), open));
        while self.0.len() > 8 {
            self.0.pop_front();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn per_second(&self) -> f64 {
        match (self.0.front(), self.0.back()) {
            (Some((from, before)), Some((to, after))) if to > from => {
                before.saturating_sub(*after) as f64 / to.duration_since(*from).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

/// Reads cancellations and tells watchers.
#[derive(Clone)]
pub(crate) struct Watchers {
    main: NamespaceClient,
    canceler: NamespaceClient,
    budget: Budget,
    shutdown: Shutdown,
    readers: Arc<Mutex<HashMap<String, Arc<watch::Sender<Seen>>>>>,
    /// What was open, and when that was counted, by cancellation.
    counts: Arc<Mutex<HashMap<String, (Instant, u64)>>>,
}

impl Watchers {
    pub(crate) fn new(main: NamespaceClient, canceler: NamespaceClient, budget: Budget, shutdown: Shutdown) -> Self {
        Self {
            main,
            canceler,
            budget,
            shutdown,
            readers: Arc::default(),
            counts: Arc::default(),
        }
    }

    /// One look at a cancellation, with what is open now.
    pub(crate) async fn read(&self, id: &str) -> Result<View, Error> {
        let mut view = View::read(&self.canceler, id).await?;
        if !view.ended {
            view.open = self.count(&view).await.or(view.open);
        }
        Ok(view)
    }

    /// Looks until the cancellation has ended; the last look has its verdict.
    pub(crate) fn watch(&self, id: &str) -> impl Stream<Item = Result<pb::WatchCancellationResponse, Status>> + use<> {
        let mut seen = self.subscribe(id);
        seen.mark_changed();
        let told = self.shutdown.token();
        unfold(Some((seen, told)), |state| async move {
            let (mut seen, told) = state?;
            loop {
                tokio::select! {
                    changed = seen.changed() => {
                        if changed.is_err() {
                            return None;
                        }
                    }
                    () = told.cancelled() => {
                        let status = Error::unavailable(Reason::ShuttingDown, "this replica shuts down; watch again").into();
                        return Some((Err(status), None));
                    }
                }
                let looked = seen.borrow_and_update().clone();
                return match looked {
                    None => continue,
                    Some(Err(status)) => Some((Err(status), None)),
                    Some(Ok(cancellation)) => {
                        let ended = cancellation.verdict() != pb::Verdict::Unspecified;
                        let message = pb::WatchCancellationResponse {
                            cancellation: Some(cancellation),
                        };
                        Some((Ok(message), (!ended).then_some((seen, told))))
                    }
                };
            }
        })
    }

    fn subscribe(&self, id: &str) -> watch::Receiver<Seen> {
        let mut readers = lock(&self.readers);
        if let Some(reader) = readers.get(id) {
            return reader.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        readers.insert(id.to_owned(), sender.clone());
        let (watchers, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move { watchers.read_on(&id, &sender).await });
        receiver
    }

    async fn read_on(&self, id: &str, sender: &watch::Sender<Seen>) {
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last: Option<View> = None;
        let mut good_at = Instant::now();
        let mut fall = Fall::default();
        loop {
            tick.tick().await;
            if self.leave_if_alone(id, sender) {
                return;
            }
            let told = match View::read(&self.canceler, id).await {
                Ok(mut view) => {
                    good_at = Instant::now();
                    if let Some(last) = &last {
                        view.not_before(last);
                    }
                    if !view.ended {
                        view.open = self.count(&view).await.or(view.open);
                        fall.note(view.open);
                        if view.rate <= 0.0 {
                            view.rate = fall.per_second();
                        }
                    }
                    let told = view.to_proto(true);
                    last = Some(view);
                    Ok(told)
                }
                Err(error) if error.is_retryable() && good_at.elapsed() < PATIENCE => continue,
                Err(error) => Err(Status::from(error)),
            };
            let over = told
                .as_ref()
                .map_or(true, |cancellation| cancellation.verdict() != pb::Verdict::Unspecified);
            if over {
                // Out of the map first: whoever comes later gets a reader of its own.
                lock(&self.readers).remove(id);
            }
            sender.send_replace(Some(told));
            if over {
                return;
            }
        }
    }

    /// Ends the reader when nobody watches any more. Under the lock, so that nobody can come in between.
    fn leave_if_alone(&self, id: &str, sender: &watch::Sender<Seen>) -> bool {
        let mut readers = lock(&self.readers);
        let alone = sender.receiver_count() == 0;
        if alone {
            readers.remove(id);
        }
        alone
    }

    /// What is open, counted at most once a second however many ask; `None` where the main namespace does not answer.
    async fn count(&self, view: &View) -> Option<u64> {
        let fresh = |counted: &(Instant, u64)| counted.0.elapsed() < COUNT_EVERY;
        let known = lock(&self.counts).get(&view.id).copied().filter(fresh);
        if let Some((_, open)) = known {
            return Some(open);
        }
        let main = Namespace::connect(&self.main, self.budget.clone()).await.ok()?;
        let open = main.count(view.about.spec.filter().open()).await.ok()?;
        let mut counts = lock(&self.counts);
        counts.retain(|_, counted| fresh(counted));
        counts.insert(view.id.clone(), (Instant::now(), open));
        Some(open)
    }
}
