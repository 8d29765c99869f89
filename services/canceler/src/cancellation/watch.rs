//! Watchers: however many watch one cancellation, this process reads it once per 500 ms.
//!
//! One that joins others is shown their last look at once, and then whatever they are shown.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, stream::unfold};
use quell_api::canceler::v1 as pb;
use quell_mesh::{Error, NamespaceClient, Reason, Shutdown};
use tokio::time::Instant;
use tonic::Status;

use super::{
    budget::Budget,
    hub::{Hub, Read, Reader},
    namespace::Namespace,
    view::View,
};

const PERIOD: Duration = Duration::from_millis(500);
/// Least time between two counts of what is open: they share the visibility budget with the sweep.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How long Temporal may be away before watchers are told.
const PATIENCE: Duration = Duration::from_secs(30);

type Seen = Result<pb::Cancellation, Status>;

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
    hub: Hub<Seen>,
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
            hub: Hub::new(PERIOD),
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
        let mut seen = self.hub.follow(id, || WatchReader {
            watchers: self.clone(),
            id: id.to_owned(),
            last: None,
            good_at: Instant::now(),
            fall: Fall::default(),
        });
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

/// Looks at one cancellation, for all who watch it.
struct WatchReader {
    watchers: Watchers,
    id: String,
    last: Option<View>,
    good_at: Instant,
    fall: Fall,
}

impl Reader for WatchReader {
    type Item = Seen;

    async fn read(&mut self) -> Read<Seen> {
        let mut view = match View::read(&self.watchers.canceler, &self.id).await {
            Ok(view) => view,
            Err(error) if error.is_retryable() && self.good_at.elapsed() < PATIENCE => return Read::Nothing,
            Err(error) => return Read::Last(Err(Status::from(error))),
        };
        self.good_at = Instant::now();
        if let Some(last) = &self.last {
            view.not_before(last);
        }
        if !view.ended {
            view.open = self.watchers.count(&view).await.or(view.open);
            self.fall.note(view.open);
            if view.rate <= 0.0 {
                view.rate = self.fall.per_second();
            }
        }
        let told = view.to_proto(true);
        self.last = Some(view);
        if told.verdict() == pb::Verdict::Unspecified {
            Read::Now(Ok(told))
        } else {
            Read::Last(Ok(told))
        }
    }
}
