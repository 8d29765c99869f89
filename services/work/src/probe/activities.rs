//! Activities of probes: what starts them, and the probe itself.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use opentelemetry::trace::FutureExt as _;
use quell_mesh::{Error, NamespaceClient, Shutdown};
use serde::{Deserialize, Serialize};
use temporalio_client::{
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions, errors::WorkflowStartError,
};
use temporalio_common::search_attributes::SearchAttributes;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{
    spec::{ProbeOrder, RunOrder},
    workflows::ProbeWorkflow,
};
use crate::{snowball::trace, visibility::WORKLOAD};

/// Starts between two heartbeats: what may be asked for twice after a restart (and is then found started already).
const CHUNK: u32 = 200;

/// The sign that an activity began: its heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// The attempt that began.
    pub attempt: u32,
}

/// What an activity says when it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeDone {
    /// The attempt that came to its end.
    pub attempt: u32,
    /// Whether an earlier attempt had begun as well.
    pub begun_before: bool,
}

/// The probe itself. It needs nothing, so that any worker can serve it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProbeActivities;

#[activities]
impl ProbeActivities {
    /// Sleeps, with a heartbeat where one is asked for.
    #[activity(name = "probe")]
    pub async fn probe(ctx: ActivityContext, order: ProbeOrder) -> Result<ProbeDone, ActivityError> {
        let attempt = ctx.info().attempt;
        let before: Option<Sign> = ctx.heartbeat_details().deserialize()?;
        let sign = Sign { attempt };
        if order.leaves_sign() {
            ctx.record_heartbeat(sign).await?;
        }
        let sleep = tokio::time::sleep(Duration::from_millis(order.sleep_ms));
        tokio::pin!(sleep);
        // Three in a timeout; without one the first beat is years away.
        let every = match order.heartbeat_ms {
            0 => Duration::from_secs(u64::from(u32::MAX)),
            timeout => Duration::from_millis(timeout / 3),
        };
        loop {
            tokio::select! {
                biased;
                () = &mut sleep => return Ok(ProbeDone { attempt, begun_before: before.is_some() }),
                () = ctx.cancelled() => return Err(ActivityError::cancelled()),
                () = tokio::time::sleep(every) => ctx.record_heartbeat(sign).await?,
            }
        }
    }
}

/// Starts the workflows of a probe.
#[derive(Debug)]
pub struct ProbeStarter {
    main: NamespaceClient,
    shutdown: Shutdown,
}

impl ProbeStarter {
    /// Starts them in the main namespace, on its task queue.
    #[must_use]
    pub fn new(main: NamespaceClient, shutdown: Shutdown) -> Self {
        Self { main, shutdown }
    }

    async fn start(&self, order: &ProbeOrder, n: u32) -> Result<(), Error> {
        let id = format!("{}/{n}", order.probe_id);
        let options = WorkflowStartOptions::new(self.main.task_queue(), id)
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .search_attributes(SearchAttributes::new([WORKLOAD.value_set(order.probe_id.clone())]))
            .build();
        let client = self.main.client().await?;
        match client.start_workflow(ProbeWorkflow::run, order.clone(), options).await {
            Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[activities]
impl ProbeStarter {
    /// Starts all workflows of a probe; those that are there already are left alone.
    #[activity(name = "start_probe_workflows")]
    pub async fn start_probe_workflows(
        self: Arc<Self>,
        ctx: ActivityContext,
        run: RunOrder,
    ) -> Result<u32, ActivityError> {
        let mut done: u32 = ctx.heartbeat_details().deserialize()?.unwrap_or_default();
        let width = usize::try_from(run.concurrency).unwrap_or(1);
        while done < run.workflows {
            if ctx.is_cancelled() {
                return Err(ActivityError::cancelled());
            }
            if self.shutdown.is_requested() {
                // Tried again at once, where there is a worker that stays.
                return Err(anyhow::anyhow!("this worker shuts down").into());
            }
            let end = done.saturating_add(CHUNK).min(run.workflows);
            stream::iter(done..end)
                .map(|n| self.start(&run.order, n))
                .buffer_unordered(width)
                .try_collect::<()>()
                // A probe of thousands must not make thousands of spans.
                .with_context(trace::unsampled_context())
                .await
                .map_err(|error| anyhow::Error::new(error).context("a workflow of the probe could not be started"))?;
            done = end;
            ctx.record_heartbeat(done).await?;
        }
        Ok(done)
    }
}
