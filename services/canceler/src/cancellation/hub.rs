//! One reader for each thing that is followed, however many follow it.
//!
//! The first follower starts the reader, the last one that leaves ends it. Followers share a `tokio::sync::watch`: a slow one misses
//! steps, never the last one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, stream::unfold};
use quell_mesh::{Error, Reason, Shutdown};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tonic::Status;

/// How often what somebody watches is read.
pub(crate) const PERIOD: Duration = Duration::from_millis(500);
/// How long Temporal may be away before watchers are told.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a read came to.
pub(crate) enum Read<T> {
    /// Nothing that followers should be told.
    Nothing,
    /// This; and there will be more.
    Now(T),
    /// This, and never anything else.
    Last(T),
}

/// Reads one thing.
pub(crate) trait Reader: Send + 'static {
    /// What followers are told.
    type Item: Send + Sync + 'static;

    /// Reads it once.
    fn read(&mut self) -> impl Future<Output = Read<Self::Item>> + Send;
}

/// What watchers are told of: a look at it, or why there will be none.
pub(crate) type Seen<T> = Result<T, Status>;

/// Bears failures that pass, for a while.
pub(crate) struct Patience {
    good_at: Instant,
}

impl Patience {
    /// As after a good look.
    pub(crate) fn new() -> Self {
        Self {
            good_at: Instant::now(),
        }
    }

    /// What was looked at, or what becomes of a look that failed.
    pub(crate) fn with<V, T>(&mut self, look: Result<V, Error>) -> Result<V, Read<Seen<T>>> {
        match look {
            Ok(view) => {
                self.good_at = Instant::now();
                Ok(view)
            }
            Err(error) if error.is_retryable() && self.good_at.elapsed() < PATIENCE => Err(Read::Nothing),
            Err(error) => Err(Read::Last(Err(error.into()))),
        }
    }
}

type Readers<T> = Arc<Mutex<HashMap<String, Arc<watch::Sender<Option<T>>>>>>;

/// The readers of this process, by what they read. Cheap to clone; clones share them.
pub(crate) struct Hub<T> {
    period: Duration,
    readers: Readers<T>,
}

impl<T> Clone for Hub<T> {
    fn clone(&self) -> Self {
        Self {
            period: self.period,
            readers: self.readers.clone(),
        }
    }
}

impl<T: Send + Sync + 'static> Hub<T> {
    /// A hub whose readers read once in a period.
    pub(crate) fn new(period: Duration) -> Self {
        Self {
            period,
            readers: Readers::default(),
        }
    }

    /// Follows a thing: what was read last, if anything, and whatever is read from now on. `reader` is asked for only when nobody
    /// follows it yet.
    pub(crate) fn follow<R: Reader<Item = T>>(
        &self,
        key: &str,
        reader: impl FnOnce() -> R,
    ) -> watch::Receiver<Option<T>> {
        let mut readers = self.lock();
        if let Some(sender) = readers.get(key) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        readers.insert(key.to_owned(), sender.clone());
        drop(readers);
        let (hub, key, reader) = (self.clone(), key.to_owned(), reader());
        tokio::spawn(async move { hub.read_on(&key, &sender, reader).await });
        receiver
    }

    async fn read_on(&self, key: &str, sender: &watch::Sender<Option<T>>, mut reader: impl Reader<Item = T>) {
        let mut tick = interval(self.period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if self.leave_if_alone(key, sender) {
                return;
            }
            match reader.read().await {
                Read::Nothing => {}
                Read::Now(item) => {
                    sender.send_replace(Some(item));
                }
                Read::Last(item) => {
                    // Out of the map first: whoever comes later gets a reader of its own.
                    self.lock().remove(key);
                    sender.send_replace(Some(item));
                    return;
                }
            }
        }
    }

    /// Ends the reader when nobody follows any more. Under the lock, so that nobody can come in between.
    fn leave_if_alone(&self, key: &str, sender: &watch::Sender<Option<T>>) -> bool {
        let mut readers = self.lock();
        let alone = sender.receiver_count() == 0;
        if alone {
            readers.remove(key);
        }
        alone
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<watch::Sender<Option<T>>>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a follower is shown, to the end of the thing or of this process. `message` makes of each look what is sent, and tells whether
/// it is the last.
pub(crate) fn looks<T: Clone + Send + Sync + 'static, M>(
    mut seen: watch::Receiver<Option<Seen<T>>>,
    shutdown: &Shutdown,
    message: fn(T) -> (M, bool),
) -> impl Stream<Item = Result<M, Status>> + use<T, M> {
    // One that joins others is shown their last look at once.
    seen.mark_changed();
    unfold(Some((seen, shutdown.token())), move |state| async move {
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
                Some(Ok(look)) => {
                    let (message, ended) = message(look);
                    Some((Ok(message), (!ended).then_some((seen, told))))
                }
            };
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Counts its reads; the last one is number `last`.
    struct Counting {
        reads: Arc<AtomicU32>,
        last: u32,
    }

    impl Reader for Counting {
        type Item = u32;

        async fn read(&mut self) -> Read<u32> {
            let read = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
            if read < self.last {
                Read::Now(read)
            } else {
                Read::Last(read)
            }
        }
    }

    fn counting(reads: &Arc<AtomicU32>, last: u32) -> Counting {
        Counting {
            reads: reads.clone(),
            last,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_followers_cost_one_read_a_period_and_all_see_the_last() {
        let (hub, reads) = (Hub::new(PERIOD), Arc::new(AtomicU32::new(0)));
        let began = Instant::now();
        let followers: Vec<_> = (0..1_000).map(|_| hub.follow("c", || counting(&reads, 21))).collect();
        let mut seen = Vec::new();
        for mut follower in followers {
            seen.push(tokio::spawn(async move {
                let mut last = None;
                while follower.changed().await.is_ok() {
                    last = *follower.borrow_and_update();
                }
                last
            }));
        }
        for last in seen {
            assert_eq!(last.await.unwrap(), Some(21));
        }
        assert_eq!(reads.load(Ordering::Relaxed), 21, "one reader for all");
        assert_eq!(
            began.elapsed(),
            PERIOD * 20,
            "the clock is the test's: one read a period"
        );
        assert!(hub.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_ends_with_its_last_follower_and_begins_anew_with_the_next() {
        let (hub, reads) = (Hub::new(PERIOD), Arc::new(AtomicU32::new(0)));
        let mut first = hub.follow("c", || counting(&reads, 1_000));
        first.changed().await.unwrap();
        let second = hub.follow("c", || counting(&reads, 1_000));
        assert_eq!(*second.borrow(), Some(1), "who comes later sees the last look at once");
        drop((first, second));
        tokio::time::sleep(PERIOD * 10).await;
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        assert!(hub.lock().is_empty());
        let mut third = hub.follow("c", || counting(&reads, 1_000));
        third.changed().await.unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }
}
