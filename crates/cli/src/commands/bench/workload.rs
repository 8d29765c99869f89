//! What is stopped: made fresh for each measurement, and removed after it.

use super::lanes;
use super::plan::{Cell, Contender, Shape};
use super::server::{self, Known, Pin, Server};
use crate::clients::{Addresses, unary};
use crate::commands::grow;
use crate::exit::Failure;
use crate::ui::Ui;
use quell_api::canceler::v1::StopCancellationRequest;
use quell_api::work::v1::{QuiesceRequest, ResumeRequest};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Code;

/// Starts in flight at once while a flat workload is made.
const START_CONCURRENCY: u32 = 64;
/// How long the index may take to show all that was started.
const INDEXED_WITHIN: Duration = Duration::from_secs(300);
/// A tree is planned at least so much larger than it is when it is stopped, or a small one would be grown before anyone can look.
const PLANNED_MORE: u64 = 3000;
/// Terminations in flight at once while leftovers are removed.
const CLEAN_CONCURRENCY: u32 = 16;
/// Empty listings in a row after which nothing is left.
const CLEAN_LOOKS: u32 = 2;
/// Between two looks at the index, which takes ten requests a second for a namespace.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the removal of leftovers may take.
const CLEAN_WITHIN: Duration = Duration::from_secs(1800);
/// How long the gate of a source stays closed if we do not live to open it.
const GATE_LIFE: prost_types::Duration = prost_types::Duration {
    seconds: 3600,
    nanos: 0,
};

/// Executions under one WorkloadId. The same id names the cancellation and the batch operation that stop it.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    pub(super) id: String,
    pub(super) shape: Shape,
    /// Who is to stop it.
    pub(super) contender: Contender,
    /// The ids of a flat one.
    pub(super) known: Arc<[Known]>,
    /// Workflow id of the root of a tree.
    pub(super) root: String,
    /// The most executions that it can come to.
    pub(super) planned: i64,
    /// Workflows started a second when the stop begins.
    pub(super) growth_per_second: f64,
}

impl Workload {
    /// A name that nothing else has. It must not begin as our own ids do, or no cancellation would touch it.
    pub(super) fn new(cell: &Cell) -> Self {
        let id = format!("bench-{}", uuid::Uuid::new_v4().simple());
        Self {
            id,
            shape: cell.shape,
            contender: cell.contender,
            known: Arc::from([]),
            root: String::new(),
            planned: cell.size.into(),
            growth_per_second: 0.0,
        }
    }

    /// Starts it, and waits until so many are open and in the index.
    pub(super) async fn make(
        mut self,
        progress: Ui,
        server: &Server,
        addresses: &Addresses,
        size: u32,
    ) -> Result<Self, Failure> {
        match self.shape {
            Shape::Flat => {
                self.known = start_idle(server, &self.id, size).await?;
                indexed(server, &self.id, self.known.len()).await?;
            }
            Shape::Tree => {
                let size = u64::from(size);
                let enough = size
                    .saturating_mul(grow::PLANNED_TIMES)
                    .max(size.saturating_add(PLANNED_MORE));
                let grown = grow::until(progress, addresses, &self.id, size, enough).await?;
                self.root = grown.snowball_id;
                // The root itself is not among the planned.
                self.planned = grown.planned.saturating_add(1);
                self.growth_per_second = grown.growth_per_second;
            }
        }
        Ok(self)
    }

    /// Tells the source of a tree to stop spawning.
    pub(super) async fn quiesce(&self, addresses: &Addresses) -> Result<(), Failure> {
        let request = QuiesceRequest {
            workload_id: self.id.clone(),
            ttl: Some(GATE_LIFE),
            wait: None,
            reason: "quell bench".to_owned(),
        };
        addresses.sources().await?.quiesce(unary(request)).await?;
        Ok(())
    }

    async fn abort(&self, addresses: &Addresses) -> Result<(), Failure> {
        let request = StopCancellationRequest {
            cancellation_id: self.id.clone(),
            reason: "quell bench".to_owned(),
        };
        match addresses.cancellations().await?.stop_cancellation(unary(request)).await {
            Err(status) if status.code() != Code::NotFound => Err(status.into()),
            _ => Ok(()),
        }
    }

    /// Stops whatever still stops it, and removes what is left of it: nothing of one measurement may weigh on the next. What is
    /// open is terminated even where the services do not answer.
    pub(super) async fn clean_up(&self, server: &Server, addresses: &Addresses) -> Result<(), Failure> {
        let held = self.hold_back(server, addresses).await;
        self.terminate_rest(server).await?;
        held?;
        // A cancellation closes the gate too.
        if self.shape == Shape::Tree || self.contender == Contender::Quell {
            let resume = ResumeRequest {
                workload_id: self.id.clone(),
            };
            addresses.sources().await?.resume(unary(resume)).await?;
        }
        Ok(())
    }

    async fn hold_back(&self, server: &Server, addresses: &Addresses) -> Result<(), Failure> {
        match self.contender {
            Contender::Batch => server.stop_batch(&self.id).await?,
            Contender::Quell => self.abort(addresses).await?,
            Contender::Raw(_) | Contender::Loop | Contender::Root => {}
        }
        if self.shape == Shape::Tree {
            self.quiesce(addresses).await?;
        }
        Ok(())
    }

    async fn terminate_rest(&self, server: &Server) -> Result<(), Failure> {
        let end = Instant::now() + CLEAN_WITHIN;
        let mut empty = 0;
        while empty < CLEAN_LOOKS {
            let (left, _) = server.list(server::open(&self.id), Vec::new()).await?;
            if left.is_empty() {
                empty += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            empty = 0;
            let left: Arc<[Known]> = left.into_iter().filter_map(Known::listed).collect();
            let tally = lanes::terminate(server, left, Pin::Current, CLEAN_CONCURRENCY).await?;
            if Instant::now() > end {
                let reason = tally.error.map_or_else(String::new, |status| format!(": {status}"));
                return Err(Failure::Other(format!("{} cannot be removed{reason}", self.id)));
            }
        }
        Ok(())
    }
}

/// Idle executions, many at a time.
async fn start_idle(server: &Server, workload_id: &str, size: u32) -> Result<Arc<[Known]>, Failure> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let started = Arc::new(std::sync::Mutex::new(Vec::with_capacity(size)));
    let (all, starter, workload_id) = (Arc::clone(&started), server.clone(), workload_id.to_owned());
    let tally = lanes::run(size, START_CONCURRENCY, move |index| {
        let (all, server, workload_id) = (Arc::clone(&all), starter.clone(), workload_id.clone());
        async move {
            let known = server
                .start_idle(format!("{workload_id}-{index}"), &workload_id)
                .await?;
            all.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(known);
            Ok(true)
        }
    })
    .await?;
    if let Some(status) = tally.error {
        let failed = tally.failed;
        return Err(Failure::Other(format!(
            "{failed} of {size} executions could not be started: {status}"
        )));
    }
    let started = std::mem::take(&mut *started.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    Ok(started.into())
}

async fn indexed(server: &Server, workload_id: &str, count: usize) -> Result<(), Failure> {
    let end = Instant::now() + INDEXED_WITHIN;
    loop {
        let open = server.count(server::open(workload_id)).await?;
        if open >= count {
            return Ok(());
        }
        if Instant::now() > end {
            let within = INDEXED_WITHIN.as_secs();
            return Err(Failure::Other(format!(
                "after {within} s the index shows {open} of {count} executions"
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_never_taken_for_one_of_our_own() {
        let cell = Cell {
            round: 1,
            shape: Shape::Flat,
            size: 10,
            contender: Contender::Quell,
        };
        let id = Workload::new(&cell).id;
        assert!(!quell_api::ids::is_own(&id), "{id}");
        // The longest that a request id, which it becomes, may be.
        assert!(id.len() <= 100 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    }
}
