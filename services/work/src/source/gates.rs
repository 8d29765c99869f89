//! Closes, opens and reads gates.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use prost_types::Timestamp;
use quell_api::ids::gate_workflow;
use quell_mesh::{Error, NamespaceClient};
use temporalio_client::{WorkflowIdConflictPolicy, WorkflowStartOptions, WorkflowTerminateOptions};
use temporalio_common::MemoValues;

use super::workflows::{Gate, GateInput};
use crate::visibility;

/// How long a read is good for. Everybody who asks within it shares one Describe.
const FRESH: Duration = Duration::from_millis(200);

/// Longest time of one read.
const READ: Duration = Duration::from_secs(2);

/// A workload that nobody asked for in this time is forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// Longest time to live. A gate without one (closed by somebody else) gets this when it has to be replaced.
pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Memo key of the reason, in the words of the last Quiesce.
const REASON: &str = "reason";

/// Longest summary that Temporal takes is 400 bytes.
const SUMMARY: usize = 100;

/// The gates of all workloads, as this process sees them. Cheap to clone; clones share the cache.
#[derive(Clone, Debug)]
pub struct Gates {
    main: NamespaceClient,
    seen: Arc<Mutex<HashMap<String, Arc<Seen>>>>,
}

#[derive(Debug)]
struct Seen {
    asked: Mutex<Instant>,
    /// When the last read began and what it said; `None` = it failed. The lock makes readers wait for one read.
    read: tokio::sync::Mutex<Option<(Instant, Option<bool>)>>,
    /// Held while the gate is closed or opened by this process.
    change: tokio::sync::Mutex<()>,
}

impl Gates {
    /// The gates in the main namespace.
    #[must_use]
    pub fn new(main: NamespaceClient) -> Self {
        Self {
            main,
            seen: Arc::default(),
        }
    }

    /// Whether the gate is closed, at most [`FRESH`] ago; `None` when that cannot be told now.
    pub async fn is_closed(&self, workload_id: &str) -> Option<bool> {
        let seen = self.seen(workload_id);
        let mut read = seen.read.lock().await;
        if let Some((at, closed)) = *read
            && at.elapsed() < FRESH
        {
            return closed;
        }
        let began = Instant::now();
        let id = gate_workflow(workload_id);
        let closed = match tokio::time::timeout(READ, visibility::describe(&self.main, &id)).await {
            Ok(Ok(gate)) => Some(gate.is_some_and(|gate| gate.open)),
            Ok(Err(error)) => {
                tracing::warn!(workload_id, %error, "gate cannot be read; nothing is spawned meanwhile");
                None
            }
            Err(_) => {
                tracing::warn!(workload_id, "gate cannot be read in time; nothing is spawned meanwhile");
                None
            }
        };
        *read = Some((began, closed));
        closed
    }

    /// Closes a gate, or prolongs it: it stays closed for at least `ttl` from now, and never for a shorter time than it would
    /// have. Returns the server's start time of the closed gate.
    ///
    /// A gate that has to change is replaced by the server in one step (the conflict policy TerminateExisting), so that it is
    /// closed at every moment. Two replicas that prolong it at the same instant: the later one wins.
    ///
    /// # Errors
    /// Temporal's, translated.
    pub async fn close(&self, workload_id: &str, ttl: Duration, reason: &str) -> Result<Timestamp, Error> {
        let id = gate_workflow(workload_id);
        let seen = self.seen(workload_id);
        let _change = seen.change.lock().await;
        let mut ttl = ttl;
        if let Some(gate) = visibility::describe(&self.main, &id).await?.filter(|gate| gate.open) {
            let left = gate.expires_at.map_or(Duration::MAX, remaining);
            let same_reason = gate.memo::<String>(REASON).is_some_and(|old| old == reason);
            // A second's grace: the clocks of this process and of the server are two.
            if same_reason && left.saturating_add(Duration::from_secs(1)) >= ttl {
                self.remember(&seen, true).await;
                return started(gate.start_time);
            }
            ttl = ttl.max(left.min(LONGEST));
        }
        self.replace(&id, workload_id, ttl, reason).await?;
        self.remember(&seen, true).await;
        let gate = visibility::describe(&self.main, &id).await?;
        started(gate.and_then(|gate| gate.start_time))
    }

    async fn replace(&self, id: &str, workload_id: &str, ttl: Duration, reason: &str) -> Result<(), Error> {
        let mut memo = MemoValues::new();
        memo.insert(REASON, reason.to_owned());
        let summary: String = reason.chars().take(SUMMARY).collect();
        let options = WorkflowStartOptions::new(self.main.task_queue(), id)
            .id_conflict_policy(WorkflowIdConflictPolicy::TerminateExisting)
            .execution_timeout(ttl)
            .memo(memo)
            .static_summary(
                format!("closed gate of workload {workload_id}: {summary}")
                    .chars()
                    .take(SUMMARY)
                    .collect::<String>(),
            )
            .static_details(reason.to_owned())
            .build();
        let input = GateInput {
            workload_id: workload_id.to_owned(),
            reason: reason.to_owned(),
        };
        self.main
            .client()
            .await?
            .start_workflow(Gate::run, input, options)
            .await?;
        Ok(())
    }

    /// Opens a gate. Returns whether it was closed.
    ///
    /// # Errors
    /// Temporal's, translated.
    pub async fn open(&self, workload_id: &str) -> Result<bool, Error> {
        let id = gate_workflow(workload_id);
        let seen = self.seen(workload_id);
        let _change = seen.change.lock().await;
        let handle = self.main.client().await?.get_workflow_handle::<Gate>(id);
        let options = WorkflowTerminateOptions::builder().reason("resumed").build();
        let was_closed = match handle.terminate(options).await.map_err(Error::from) {
            Ok(()) => true,
            Err(Error::NotFound { .. }) => false,
            Err(error) => return Err(error),
        };
        self.remember(&seen, false).await;
        Ok(was_closed)
    }

    /// What this process did itself it need not read first.
    async fn remember(&self, seen: &Seen, closed: bool) {
        *seen.read.lock().await = Some((Instant::now(), Some(closed)));
    }

    fn seen(&self, workload_id: &str) -> Arc<Seen> {
        let now = Instant::now();
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = all.get(workload_id) {
            *seen.asked.lock().unwrap_or_else(PoisonError::into_inner) = now;
            return seen.clone();
        }
        all.retain(|_, seen| {
            let asked = *seen.asked.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::strong_count(seen) > 1 || now.duration_since(asked) < FORGET
        });
        let seen = Arc::new(Seen {
            asked: Mutex::new(now),
            read: tokio::sync::Mutex::default(),
            change: tokio::sync::Mutex::default(),
        });
        all.insert(workload_id.to_owned(), seen.clone());
        seen
    }
}

fn remaining(expires_at: Timestamp) -> Duration {
    SystemTime::try_from(expires_at)
        .ok()
        .and_then(|at| at.duration_since(SystemTime::now()).ok())
        .unwrap_or_default()
}

fn started(at: Option<Timestamp>) -> Result<Timestamp, Error> {
    at.ok_or_else(|| Error::Internal(anyhow::anyhow!("a gate that was just closed has no start time")))
}
