//! Watchers: however many watch one cancellation, this process reads it once per 500 ms.
//!
//! One that joins others is shown their last look at once, and then whatever they are shown.

use std::{
    collections::{HashMap, VecDeque},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, future::try_join_all};
use quell_api::canceler::v1 as pb;
use quell_mesh::{Error, NamespaceClient, Shutdown};
use tokio::time::Instant;
use tonic::Status;

use super::{
    hub::{Hub, PERIOD, Patience, Read, Reader, Seen, looks},
    namespaces::Namespaces,
    view::View,
};

/// Time between two counts of what is open, which share the server and the visibility budget with the sweep: so many times what the last
/// one took, within these bounds.
const COUNT_SHARE: u32 = 20;
const COUNT_EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3);

/// What was open at a time.
#[derive(Clone, Copy, Debug)]
struct Counted {
    open: u64,
    /// When it should be counted anew.
    until: Instant,
}

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
    namespaces: Namespaces,
    canceler: NamespaceClient,
    shutdown: Shutdown,
    hub: Hub<Seen<pb::Cancellation>>,
    /// What was open, by cancellation.
    counts: Arc<Mutex<HashMap<String, Counted>>>,
}

impl Watchers {
    pub(crate) fn new(namespaces: Namespaces, canceler: NamespaceClient, shutdown: Shutdown) -> Self {
        Self {
            namespaces,
            canceler,
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
        let seen = self.hub.follow(id, || WatchReader {
            watchers: self.clone(),
            id: id.to_owned(),
            last: None,
            patience: Patience::new(),
            fall: Fall::default(),
        });
        looks(seen, &self.shutdown, |cancellation: pb::Cancellation| {
            let ended = cancellation.verdict() != pb::Verdict::Unspecified;
            let message = pb::WatchCancellationResponse {
                cancellation: Some(cancellation),
            };
            (message, ended)
        })
    }

    /// What is open, counted at most once a second however many ask; `None` where the namespace does not answer.
    async fn count(&self, view: &View) -> Option<u64> {
        let asked = Instant::now();
        let known = lock(&self.counts).get(&view.id).copied();
        if let Some(counted) = known.filter(|counted| asked < counted.until) {
            return Some(counted.open);
        }
        let mut spec = view.about.spec.clone();
        self.namespaces.fill_in(&mut spec);
        let query = spec.filter().open();
        let places = self.namespaces.connect_all(&spec.namespaces).await.ok()?;
        let counts = try_join_all(places.iter().map(|place| place.count(query.clone())));
        let open = counts.await.ok()?.into_iter().sum();
        let pause = (asked.elapsed() * COUNT_SHARE).clamp(*COUNT_EVERY.start(), *COUNT_EVERY.end());
        let until = Instant::now() + pause;
        let mut counts = lock(&self.counts);
        counts.retain(|_, counted| asked < counted.until);
        counts.insert(view.id.clone(), Counted { open, until });
        Some(open)
    }
}

/// Looks at one cancellation, for all who watch it.
struct WatchReader {
    watchers: Watchers,
    id: String,
    last: Option<View>,
    patience: Patience,
    fall: Fall,
}

impl Reader for WatchReader {
    type Item = Seen<pb::Cancellation>;

    async fn read(&mut self) -> Read<Self::Item> {
        let look = View::read(&self.watchers.canceler, &self.id).await;
        let mut view = match self.patience.with(look) {
            Ok(view) => view,
            Err(read) => return read,
        };
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
