//! The writing end of the audit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use tokio::sync::{mpsc, oneshot};

use super::refusals::Refusals;
use super::{Event, FOLDER};
use crate::PayloadStore;
use crate::auth::Account;

/// Between two objects of a process.
const GATHER: Duration = Duration::from_millis(250);
/// Between two looks for floods of refusals that are over.
const SETTLE: Duration = Duration::from_secs(1);
/// Events that may wait for the store. More are in the log only, which says so.
const WAITING: usize = 10_000;
/// Most events of one object.
const TOGETHER: usize = 1_000;

enum Job {
    Keep(Box<Event>),
    Flush(oneshot::Sender<()>),
}

/// Where a service writes its audit. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditLog {
    service: &'static str,
    jobs: mpsc::Sender<Job>,
    refusals: Arc<Mutex<Refusals>>,
}

impl AuditLog {
    /// Opens it and begins to write. Call it inside a Tokio runtime.
    #[must_use]
    pub fn open(service: &'static str, store: PayloadStore) -> Self {
        let (jobs, receiver) = mpsc::channel(WAITING);
        let refusals = Arc::new(Mutex::new(Refusals::new(Instant::now())));
        tokio::spawn(write(service, store, receiver, refusals.clone()));
        Self {
            service,
            jobs,
            refusals,
        }
    }

    /// A new event of this moment.
    #[must_use]
    pub fn event(&self, rpc: String) -> Event {
        Event {
            id: uuid::Uuid::new_v4().to_string(),
            at: Timestamp::now(),
            service: self.service.to_owned(),
            rpc,
            ..Event::default()
        }
    }

    /// Keeps a call that was let in.
    pub fn record(&self, event: Event) {
        event.log();
        if self.jobs.try_send(Job::Keep(Box::new(event))).is_err() {
            tracing::error!("the audit waits for its store too long: this event is in the log only");
        }
    }

    /// Keeps what was refused at the gate, unless there is too much of it on this account.
    pub(crate) fn refused(&self, account: Account, event: Event) {
        let kept = of(&self.refusals).sift(account, event, Instant::now());
        if let Some(event) = kept {
            self.record(event);
        }
    }

    /// Waits until everything before it has been written, or could not be.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            // An error means that the writer is gone, and with it everything to wait for.
            let _ = written.await;
        }
    }
}

fn of(refusals: &Mutex<Refusals>) -> MutexGuard<'_, Refusals> {
    refusals.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(
    service: &'static str,
    store: PayloadStore,
    mut jobs: mpsc::Receiver<Job>,
    refusals: Arc<Mutex<Refusals>>,
) {
    loop {
        let mut together = match tokio::time::timeout(SETTLE, jobs.recv()).await {
            Ok(Some(first)) => vec![first],
            Ok(None) => return,
            Err(_) => Vec::new(),
        };
        while together.len() < TOGETHER
            && let Ok(job) = jobs.try_recv()
        {
            together.push(job);
        }
        let flushed = together.iter().any(|job| matches!(job, Job::Flush(_)));
        for event in of(&refusals).settle(flushed, Instant::now()) {
            event.log();
            together.push(Job::Keep(Box::new(event)));
        }
        let mut lines = Vec::new();
        let mut flushes = Vec::new();
        let mut at = None;
        for job in together {
            match job {
                Job::Flush(done) => flushes.push(done),
                Job::Keep(event) => match serde_json::to_vec(&event) {
                    Ok(line) => {
                        at = at.max(Some(event.at));
                        lines.extend(line);
                        lines.push(b'\n');
                    }
                    Err(error) => tracing::error!(error = %error, "an audit event cannot be written"),
                },
            }
        }
        if let Some(at) = at
            && let Err(error) = store.put(&key(service, at), Bytes::from(lines)).await
        {
            tracing::error!(error = %error, "the audit cannot be kept; it is in the log only");
        }
        for done in flushes {
            // Whoever waited may have given up.
            let _ = done.send(());
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// Sorts by the time of the last event.
fn key(service: &str, at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    format!(
        "{FOLDER}/{}/{}-{service}-{}.jsonl",
        at.strftime("%Y-%m-%d"),
        at.strftime("%H%M%S%6f"),
        nonce.get(..8).unwrap_or(&nonce)
    )
}
