//! The writing end of the audit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use tokio::sync::{mpsc, oneshot};

use super::{Event, FOLDER};
use crate::PayloadStore;

/// Refusals a second that are kept.
pub const REFUSALS_PER_SECOND: u32 = 20;
/// Between two objects of a process.
const GATHER: Duration = Duration::from_millis(250);
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

#[derive(Debug)]
struct Refusals {
    second: Instant,
    kept: u32,
    suppressed: u64,
}

impl AuditLog {
    /// Opens it and begins to write. Call it inside a Tokio runtime.
    #[must_use]
    pub fn open(service: &'static str, store: PayloadStore) -> Self {
        let (jobs, receiver) = mpsc::channel(WAITING);
        tokio::spawn(write(service, store, receiver));
        Self {
            service,
            jobs,
            refusals: Arc::new(Mutex::new(Refusals {
                second: Instant::now(),
                kept: 0,
                suppressed: 0,
            })),
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

    /// Keeps a call that was refused at the gate, unless there were too many of them in this second.
    pub fn refused(&self, mut event: Event) {
        {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.second.elapsed() >= Duration::from_secs(1) {
                refusals.second = Instant::now();
                refusals.kept = 0;
            }
            if refusals.kept >= REFUSALS_PER_SECOND {
                refusals.suppressed += 1;
                return;
            }
            refusals.kept += 1;
            event.suppressed = std::mem::take(&mut refusals.suppressed);
        }
        self.record(event);
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

async fn write(service: &'static str, store: PayloadStore, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(job) = jobs.try_recv()
        {
            together.push(job);
        }
        let mut lines = Vec::new();
        let mut flushes = Vec::new();
        let mut at = None;
        for job in together {
            match job {
                Job::Flush(done) => flushes.push(done),
                Job::Keep(event) => match serde_json::to_vec(&event) {
                    Ok(line) => {
                        at = Some(event.at);
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
