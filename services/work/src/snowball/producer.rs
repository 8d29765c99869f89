//! A client as producer: the first level of a snowball started by plain StartWorkflow calls, from an activity.
//!
//! What it starts has no parent, and so nothing ends it when the root ends. The heartbeat says how far it has come: another
//! attempt, on whatever worker, goes on there. What it starts a second time it finds started.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use opentelemetry::trace::FutureExt as _;
use quell_mesh::{Error, NamespaceClient, Shutdown, activity};
use serde::{Deserialize, Serialize};
use temporalio_client::{
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions, errors::WorkflowStartError,
};
use temporalio_common::search_attributes::SearchAttributes;
use temporalio_macros::activities;
use temporalio_sdk::{
    ActivityCancellationType, ApplicationFailure, WorkflowCancellationToken, WorkflowContext, WorkflowTermination,
    activities::{ActivityContext, ActivityError},
};

use super::{
    pace::Pacer,
    plan::{Client, Node, Order, Relay},
    spawner::{Ended, Tally, new_brood},
    tide::Tide,
    trace,
    workflows::ChildWorkflow,
};
use crate::{source::Gates, visibility::WORKLOAD};

/// One attempt may take so long; then another goes on. A client that never ends is a matter of many.
const ATTEMPT: Duration = Duration::from_secs(24 * 3_600);

/// Longest time between two heartbeats of a client that waits.
const BEAT: Duration = Duration::from_secs(1);

/// How often a closed gate is looked at.
const AT_THE_GATE: Duration = Duration::from_millis(500);

/// What a client is to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Production {
    /// The root, with the order of the first level.
    pub node: Node,
    /// Whether it starts whatever the gate says.
    pub heedless: bool,
    /// Beginning of all ids that it gives.
    pub prefix: String,
}

/// How far a client has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Produced {
    /// Workflows that were started.
    pub started: u32,
    /// Where the pace stands, if it is not a steady one.
    #[serde(default)]
    pub tide: Option<Tide>,
}

/// The root's part: runs the client until it is done, or told to stop.
///
/// # Errors
/// When the client cannot go on, whatever the attempt.
pub async fn run<W: 'static>(
    ctx: &WorkflowContext<W>,
    node: &Node,
    order: Order,
    client: Client,
    stop: &WorkflowCancellationToken,
    report: &dyn Fn(Tally),
) -> Result<Ended, WorkflowTermination> {
    let brood = new_brood(ctx).await?;
    let production = Production {
        node: node.clone().going_on(order),
        heedless: client.heedless,
        prefix: format!("{}-{brood}", ctx.workflow_id()),
    };
    let own = WorkflowCancellationToken::new();
    let options = activity::persistent(
        ATTEMPT,
        own.clone(),
        ActivityCancellationType::WaitCancellationCompleted,
    );
    let running = ctx.execute_activity(SnowballClient::produce_workflows, production, options);
    match activity::until_stopped(running, &own, stop).await {
        Ok(produced) => {
            let tally = Tally {
                started: produced.started,
                ..Tally::default()
            };
            report(tally);
            Ok(if stop.is_cancelled() {
                Ended::Stopped(tally)
            } else {
                Ended::Complete(tally)
            })
        }
        // It was told to stop before any worker had it, or its worker is gone.
        Err(_) if stop.is_cancelled() => Ok(Ended::Stopped(Tally::default())),
        Err(error) => Err(error.into()),
    }
}

/// A client that starts workflows.
#[derive(Debug)]
pub struct SnowballClient {
    main: NamespaceClient,
    gates: Gates,
    shutdown: Shutdown,
}

impl SnowballClient {
    /// Starts them in the main namespace, on its task queue.
    #[must_use]
    pub fn new(main: NamespaceClient, gates: Gates, shutdown: Shutdown) -> Self {
        Self { main, gates, shutdown }
    }

    async fn start(&self, production: &Production, order: &Order, index: u32) -> Result<(), Error> {
        let node = Node {
            order: order.next_level(0),
            ..production.node.below()
        };
        let options = WorkflowStartOptions::new(self.main.task_queue(), format!("{}-{index}", production.prefix))
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .maybe_search_attributes(
                (!node.is_tagged_late()).then(|| SearchAttributes::new([WORKLOAD.value_set(node.workload_id.clone())])),
            )
            .build();
        let client = self.main.client().await?;
        match client.start_workflow(ChildWorkflow::run, node, options).await {
            Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn may_start(&self, production: &Production) -> bool {
        // A gate that cannot be read counts as closed.
        production.heedless || self.gates.is_closed(&production.node.workload_id).await == Some(false)
    }
}

#[activities]
impl SnowballClient {
    /// Starts the first level of a snowball. Cancelled, it says how far it came.
    #[activity(name = "produce_workflows")]
    pub async fn produce_workflows(
        self: Arc<Self>,
        ctx: ActivityContext,
        production: Production,
    ) -> Result<Produced, ActivityError> {
        let mut produced: Produced = ctx.heartbeat_details().deserialize()?.unwrap_or_default();
        let Some(mut order) = production.node.order.clone() else {
            return Ok(produced);
        };
        let endless = order.relay.as_ref().is_some_and(|relay| relay.endless);
        if let (Some(Relay { tide, .. }), Some(before)) = (&mut order.relay, produced.tide.take()) {
            *tide = Some(before);
        }
        let mut pace = Pacer::new(&order, now_us());
        let all = if endless { u32::MAX } else { order.count };
        let width = usize::try_from(order.concurrency).unwrap_or(1);
        while produced.started < all && !ctx.is_cancelled() {
            if self.shutdown.is_requested() {
                // Tried again at once, where there is a worker that stays.
                return Err(anyhow::anyhow!("this worker shuts down").into());
            }
            ctx.record_heartbeat(Produced {
                tide: pace.tide(),
                ..produced.clone()
            })
            .await?;
            let due = pace.due(now_us(), (all - produced.started).min(order.concurrency));
            let pause = if due == 0 {
                pace.pause(now_us()).min(BEAT)
            } else if self.may_start(&production).await {
                Duration::ZERO
            } else {
                AT_THE_GATE
            };
            if !pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = ctx.cancelled() => {}
                }
                continue;
            }
            let next = produced.started;
            stream::iter(next..next + due)
                .map(|index| self.start(&production, &order, index))
                .buffer_unordered(width)
                .try_collect::<()>()
                .with_context(trace::unsampled_context())
                .await
                .map_err(failed)?;
            pace.started(due);
            produced.started += due;
        }
        Ok(Produced { tide: None, ..produced })
    }
}

/// What is hopeless is not tried again.
fn failed(error: Error) -> ActivityError {
    let hopeless = !error.is_retryable();
    let error = anyhow::Error::new(error).context("a workflow could not be started");
    ApplicationFailure::builder(error)
        .non_retryable(hopeless)
        .build()
        .into()
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
