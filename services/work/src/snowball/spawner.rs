//! How one workflow spawns its children, and waits for them.
//!
//! The loop: wait until a start is due ([`Pace`]); ask for admission; start children in lanes for at most [`BURST`];
//! again. Lanes (`join_all` over N futures that pull from one counter) and not `FuturesUnordered`, which a workflow task
//! refuses: its order is not the order of history.
//!
//! Cancelling has two steps. `stop` ends the spawning; only when no start is in flight any more the children's own token is
//! cancelled, and after every child that has closed was noticed. So a cancel request never meets a child whose start is
//! undecided or that is closed already; either would leave it open, or fail the workflow task.
//!
//! A child's token names the child's first run. Where children may be in a later one, they are asked by their workflow id instead.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::{Duration, UNIX_EPOCH},
};

use futures::FutureExt;
use quell_mesh::metrics::{Counter, Instrument, SNOWBALL_REFUSED, SNOWBALL_STARTED};
use serde::{Deserialize, Serialize};
use temporalio_common::search_attributes::SearchAttributes;
use temporalio_sdk::{
    ActivityOptions, ChildWorkflowOptions, LocalActivityOptions, ParentClosePolicy, WorkflowCancellationToken,
    WorkflowContext, WorkflowTermination,
    workflows::{join_all, select},
};

use super::{
    activities::SnowballActivities,
    pace::Pacer,
    plan::{Node, Order},
    trace, wait,
    workflows::ChildWorkflow,
};
use crate::{
    source::{
        activities::{Because, GateAnswer, GateQuestion, SourceActivities},
        admission::SHARE,
    },
    visibility::WORKLOAD,
};

/// Longest time between a look at the gate and the last start that it allows.
const BURST: Duration = Duration::from_millis(300);

/// A spawner that has no child yet goes on in a fresh history when this one is so long.
const LONG_HISTORY: u32 = 4_000;

/// Patch: a spawner's children are cancelled by their workflow id, not by their first run.
const CANCEL_CHAINS: &str = "cancel-chains";

/// Characters of the UUID that name a brood.
const BROOD: usize = 8;

/// What became of a spawner's own children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Children that were started.
    pub started: u32,
    /// Children that could not be started, since their id was taken.
    pub refused: u32,
    /// Children that completed.
    pub completed: u32,
    /// Children that ended otherwise: cancelled, terminated, timed out, failed. That never fails their parent.
    pub ended_otherwise: u32,
}

/// How spawning ended.
#[derive(Debug)]
pub enum Ended {
    /// All children were started, and all have closed.
    Complete(Tally),
    /// It was told to stop; its children were cancelled and have closed.
    Stopped(Tally),
    /// Nothing was started yet and the history is long: continue as new with this order.
    Continue(Order),
}

/// Where a spawner stands. `report` is called whenever the tally has changed.
pub struct Spawner<'a, W> {
    ctx: &'a WorkflowContext<W>,
    node: &'a Node,
    stop: &'a WorkflowCancellationToken,
    report: &'a dyn Fn(Tally),
    tally: Cell<Tally>,
    /// Children that have not closed, by their number.
    open: RefCell<BTreeSet<u32>>,
}

impl<W> std::fmt::Debug for Spawner<'_, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spawner")
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl<'a, W: 'static> Spawner<'a, W> {
    /// A spawner that stops when `stop` is cancelled.
    pub fn new(
        ctx: &'a WorkflowContext<W>,
        node: &'a Node,
        stop: &'a WorkflowCancellationToken,
        report: &'a dyn Fn(Tally),
    ) -> Self {
        Self {
            ctx,
            node,
            stop,
            report,
            tally: Cell::default(),
            open: RefCell::default(),
        }
    }

    /// Spawns what `order` says, and waits until all of it has closed.
    ///
    /// # Errors
    /// Only when `generate_uuid` cannot be run at all.
    pub async fn run(&self, mut order: Order) -> Result<Ended, WorkflowTermination> {
        let brood = self.name_brood(&order).await?;
        order.brood = Some(brood.clone());
        let children = order.children();
        let family = WorkflowCancellationToken::new();
        let results = RefCell::new(Vec::new());
        let mut pace = Pacer::new(&order, self.now_us());
        let successor = order.successor();
        let paced = successor.unwrap_or(children);
        let mut next = 0;
        let mut admitted = false;

        while next < children && !self.stop.is_cancelled() {
            // The next link of a relay is none of those whose number the pace tells.
            let due = if successor == Some(next) {
                1
            } else {
                pace.due(self.now_us(), paced - next)
            };
            if due == 0 {
                self.pause(pace.pause(self.now_us())).await;
                continue;
            }
            let want = due.min(order.concurrency).min(pace.group()).min(SHARE);
            let asked_us = self.now_us();
            let (permits, waited_ms) = match self.ask(want).await {
                GateAnswer::Go { permits, waited_ms } => (permits, waited_ms),
                GateAnswer::Wait { because, retry_ms } => {
                    if next == 0 && self.history_is_long() {
                        if let Some(relay) = &mut order.relay {
                            relay.tide = pace.tide();
                        }
                        return Ok(Ended::Continue(order));
                    }
                    self.wait_for_turn(because, retry_ms).await;
                    continue;
                }
            };
            admitted = true;
            // Workflow time stood still while the answer was waited for.
            let burst = BURST + Duration::from_millis(waited_ms);
            let deadline_us = asked_us.saturating_add(u64::try_from(burst.as_micros()).unwrap_or(u64::MAX));
            let end = next + due;
            let position = Cell::new(next);
            let tide = pace.tide();
            let lanes = (0..permits).map(|_| {
                let (position, results, order, family, brood) = (&position, &results, &order, &family, &brood);
                let tide = &tide;
                Box::pin(async move {
                    while position.get() < end && self.now_us() < deadline_us && !self.stop.is_cancelled() {
                        let index = position.replace(position.get() + 1);
                        // Unique whatever was there before: an earlier snowball of the same id may have left a child behind.
                        let id = format!("{}-{brood}-{index}", self.ctx.workflow_id());
                        let node = if successor == Some(index) {
                            Node {
                                order: Some(order.passed_on(tide.clone())),
                                ..self.node.below()
                            }
                        } else {
                            order.child(index, self.node)
                        };
                        let traced = index < order.traced_children();
                        if let Some(result) = self.start(index, id, node, traced, family.clone()).await {
                            results.borrow_mut().push(result);
                        }
                    }
                })
            });
            join_all(lanes).await;
            pace.started(position.get().min(paced).saturating_sub(next));
            next = position.get();
        }
        if admitted {
            self.leave().await;
        }

        let all = join_all(results.take()).map(drop).fuse();
        futures::pin_mut!(all);
        select! {
            () = all => {}
            () = self.stop.cancelled() => {
                if self.are_chains(&order) {
                    self.cancel_chains(&brood).await;
                } else {
                    family.cancel_with_reason(self.stop.reason().unwrap_or_default());
                }
                all.await;
            }
        }
        let tally = self.tally.get();
        Ok(if self.stop.is_cancelled() {
            Ended::Stopped(tally)
        } else {
            Ended::Complete(tally)
        })
    }

    /// Whether children may be in another run than their first one: leaves that continue as new, and spawners that did so at a gate.
    /// A cancel by the child's token names its first run, and does nothing when that is over (ran: the leaves lived on).
    fn are_chains(&self, order: &Order) -> bool {
        let leaves = self.node.nature.as_ref().is_some_and(|nature| nature.continues > 0);
        let spawners = order.depth > 1 || order.children() != order.count || order.successor().is_some();
        // Spawners of before took the other way, and their histories must replay.
        leaves || (spawners && self.ctx.patched(CANCEL_CHAINS))
    }

    /// Asks each open child to stop, whichever run it is in. One that has just closed is not found, which is as well.
    async fn cancel_chains(&self, brood: &str) {
        let open = self.open.borrow().clone();
        let reason = self.stop.reason().unwrap_or_default();
        let handle = |index| {
            let id = format!("{}-{brood}-{index}", self.ctx.workflow_id());
            self.ctx.external_workflow(id, None)
        };
        let children: Vec<_> = open.into_iter().map(handle).collect();
        let cancels = children
            .iter()
            .map(|child| trace::unsampled(|| child.cancel(Some(reason.clone()))));
        join_all(cancels).await;
    }

    /// Starts one child. Its result is a future that counts how it ends.
    async fn start(
        &self,
        index: u32,
        id: String,
        node: Node,
        traced: bool,
        family: WorkflowCancellationToken,
    ) -> Option<impl Future<Output = ()>> {
        let tag =
            (!node.is_tagged_late()).then(|| SearchAttributes::new([WORKLOAD.value_set(node.workload_id.clone())]));
        let options = ChildWorkflowOptions::builder()
            .workflow_id(id)
            .parent_close_policy(ParentClosePolicy::Terminate)
            .maybe_search_attributes(tag)
            .cancellation_token(family)
            .build();
        let start = || self.ctx.start_child_workflow(ChildWorkflow::run, node, options);
        let starting = if traced { start() } else { trace::unsampled(start) };
        match starting.await {
            Ok(child) => {
                self.count(|tally| tally.started += 1);
                self.meter(&SNOWBALL_STARTED);
                self.open.borrow_mut().insert(index);
                let result = child.result();
                Some(async move {
                    match result.await {
                        Ok(_) => self.count(|tally| tally.completed += 1),
                        Err(_) => self.count(|tally| tally.ended_otherwise += 1),
                    }
                    self.open.borrow_mut().remove(&index);
                })
            }
            Err(error) => {
                if !self.ctx.is_replaying() {
                    tracing::warn!(parent = self.ctx.workflow_id(), %error, "child was not started");
                }
                self.count(|tally| tally.refused += 1);
                self.meter(&SNOWBALL_REFUSED);
                None
            }
        }
    }

    /// Counts one, unless it was counted when it happened.
    fn meter(&self, counter: &Instrument<Counter, 0>) {
        if !self.ctx.is_replaying() {
            counter.with([]).inc();
        }
    }

    fn count(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.get();
        change(&mut tally);
        self.tally.set(tally);
        (self.report)(tally);
    }

    async fn name_brood(&self, order: &Order) -> Result<String, WorkflowTermination> {
        match &order.brood {
            Some(brood) => Ok(brood.clone()),
            None => new_brood(self.ctx).await,
        }
    }

    /// Asks for admission. What cannot be asked is a wait.
    async fn ask(&self, want: u32) -> GateAnswer {
        let question = GateQuestion {
            workload_id: self.node.workload_id.clone(),
            spawner: self.ctx.run_id().to_owned(),
            want,
        };
        let ask = || {
            self.ctx
                .execute_local_activity(SourceActivities::read_gate, question, local(Duration::from_secs(10)))
        };
        trace::unsampled(ask).await.unwrap_or(GateAnswer::Wait {
            because: Because::Unreadable,
            retry_ms: 2_000,
        })
    }

    /// Gives the admission back. Should that fail, it ends by itself.
    async fn leave(&self) {
        let spawner = self.ctx.run_id().to_owned();
        let leave = || {
            self.ctx
                .execute_local_activity(SourceActivities::leave_gate, spawner, local(Duration::from_secs(2)))
        };
        if let Err(error) = trace::unsampled(leave).await
            && !self.ctx.is_replaying()
        {
            tracing::debug!(%error, "admission was not given back");
        }
    }

    async fn wait_for_turn(&self, because: Because, retry_ms: u64) {
        if !self.ctx.is_replaying() {
            tracing::debug!(
                workflow_id = self.ctx.workflow_id(),
                ?because,
                retry_ms,
                "spawner waits"
            );
        }
        self.pause(Duration::from_millis(retry_ms).max(least_wait(self.ctx.history_length())))
            .await;
    }

    /// Waits, or until told to stop.
    async fn pause(&self, pause: Duration) {
        wait::elapsed(self.ctx, pause, self.stop).await;
    }

    fn history_is_long(&self) -> bool {
        self.ctx.history_length() > LONG_HISTORY || self.ctx.continue_as_new_suggested()
    }

    /// Workflow time in microseconds. Always there while a task is worked on.
    fn now_us(&self) -> u64 {
        let since = self
            .ctx
            .workflow_time()
            .and_then(|now| now.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

/// A name for somebody's children, by which their ids differ from all others.
///
/// # Errors
/// When `generate_uuid` cannot be run at all.
pub async fn new_brood<W: 'static>(ctx: &WorkflowContext<W>) -> Result<String, WorkflowTermination> {
    let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(10))
        .cancellation_token(WorkflowCancellationToken::new())
        .build();
    let uuid = ctx
        .execute_activity(SnowballActivities::generate_uuid, (), options)
        .await?;
    Ok(uuid.chars().take(BROOD).collect())
}

/// Shortest wait of a spawner that cannot continue as new, since it has children, at this length of its history. A look costs
/// six events: so many that all of a gate's 30 days fit, and looks stay quick for the first three quarters of an hour.
fn least_wait(history_length: u32) -> Duration {
    Duration::from_secs(match history_length {
        0..12_000 => 0,
        12_000..24_000 => 10,
        24_000..32_000 => 60,
        32_000..40_000 => 600,
        _ => 3_600,
    })
}

/// One attempt, and not cancelled by anything: an admission that was given must not be lost.
fn local(limit: Duration) -> LocalActivityOptions {
    LocalActivityOptions::builder()
        .schedule_to_close_timeout(limit)
        .cancellation_token(WorkflowCancellationToken::new())
        .build()
}

#[cfg(test)]
mod tests;
