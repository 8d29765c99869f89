//! The activities of a cancellation: thin. Each checks nothing and decides nothing; the machines do.

#![allow(missing_docs, reason = "the macro generates undocumented items")]

use std::{future::Future, sync::Arc, time::Duration};

use quell_mesh::{
    Mesh, NamespaceClient, Outgoing, PayloadStore, Shutdown, activity::earlier, metrics::SWEEP_OPEN,
    signing::SigningKey,
};
use quell_sweep::{PassKind, StartRange};
use serde::Serialize;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{Instrument as _, field::Empty, info_span};

use super::{
    batch, canary, conclude, confirmer,
    convert::query_time,
    fence,
    hub::Hub,
    limits::{self, Limits, LimitsReader},
    messages::{
        Beat, ConcludeInput, Conclusion, ConfirmInput, ConfirmOutput, FenceInput, FenceOutput, GiveBackInput,
        PlanInput, PlanOutput, StopBatchInput, StopBatchOutput, WindowInput, WindowOutput,
    },
    meter,
    namespaces::Namespaces,
    query,
    receipt::{Receipt, Signed},
    schedules,
    status::activity_error,
    sweeper::Sweeper,
};

/// How often progress is told. The worker's heartbeat throttle is the same.
pub(crate) const BEAT: Duration = Duration::from_millis(500);

/// The activities, and what they stand on.
pub struct CancelActivities {
    namespaces: Namespaces,
    canceler: NamespaceClient,
    payloads: PayloadStore,
    shutdown: Shutdown,
    work_address: String,
    batch_address: String,
    peers: Outgoing,
    signing_key: Option<SigningKey>,
    limits: Hub<Limits>,
}

impl CancelActivities {
    /// The activities of a service process.
    #[must_use]
    pub fn new(mesh: &Mesh, namespaces: Namespaces) -> Self {
        meter::show_verdicts();
        Self {
            namespaces,
            canceler: mesh.canceler.clone(),
            payloads: mesh.payloads.clone(),
            shutdown: mesh.shutdown.clone(),
            work_address: mesh.settings.peers.work_address.clone(),
            batch_address: mesh.settings.peers.batch_address.clone(),
            peers: mesh.peers.clone(),
            signing_key: mesh.settings.receipt.signing_key.clone(),
            limits: Hub::new(limits::PERIOD),
        }
    }
}

#[activities]
impl CancelActivities {
    /// Tells the source to stop, then takes the fence.
    #[activity(name = "quiesce_sources")]
    pub async fn quiesce_sources(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: FenceInput,
    ) -> Result<FenceOutput, ActivityError> {
        let span = info_span!("fence", answer = Empty, fence = Empty);
        let cancellation_id = &input.task.cancellation_id;
        let work = async {
            let ids = &input.workload_ids;
            let (answer, found) = if ids.is_empty() {
                (fence::Answer::not_asked(), schedules::Found::default())
            } else {
                let schedules = async {
                    Ok(schedules::pause(
                        &self.namespaces.connect(&input.task.namespace).await?,
                        cancellation_id,
                        ids,
                    )
                    .await)
                };
                let sources = fence::quiesce((&self.work_address, &self.peers), ids, &input.reason, input.ttl_ms);
                let (answer, found) = tokio::join!(sources, schedules);
                (answer, found.map_err(|error: ActivityError| error)?)
            };
            let main = self.namespaces.connect(&input.task.namespace).await?;
            let fence_ms = canary::server_time(&main, &input.task.cancellation_id)
                .await
                .map_err(|status| activity_error("taking the fence", &status))?;
            span.record("answer", answer.word).record("fence", query_time(fence_ms));
            Ok(FenceOutput {
                quiesced: answer.at(fence_ms, &found.problems),
                answer: answer.word.to_owned(),
                until_ms: if answer.any_accepted {
                    fence_ms.saturating_add(input.ttl_ms)
                } else {
                    0
                },
                schedules: found.paused,
                schedules_unsure: found.unsure,
            })
        };
        beating(&ctx, Beat::default, work).instrument(span.clone()).await
    }

    /// Gives the schedules back that were paused with the fence.
    #[activity(name = "give_back_schedules")]
    pub async fn give_back_schedules(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: GiveBackInput,
    ) -> Result<Vec<String>, ActivityError> {
        let work = async {
            let main = self.namespaces.connect(&input.namespace).await?;
            schedules::give_back(&main, &input.cancellation_id, &input.schedules, &input.search)
                .await
                .map_err(|status| activity_error("giving schedules back", &status))
        };
        beating(&ctx, Beat::default, work).await
    }

    /// Plans a pass: how many there are. The whole pass is one window: listing is never the limit.
    #[activity(name = "query_new_wf_executions")]
    pub async fn query_new_wf_executions(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PlanInput,
    ) -> Result<PlanOutput, ActivityError> {
        let span = info_span!("plan", pass = input.pass, kind = ?input.kind, count = Empty, open = Empty);
        let work = async {
            let main = self.namespaces.connect(&input.task.namespace).await?;
            let open = main.count(input.task.filter.open());
            let (count, open) = if input.kind == PassKind::Open {
                let open = open.await;
                (open.clone(), open)
            } else {
                tokio::join!(
                    main.count(query::window(&input.task.filter, input.kind, StartRange::ALL)),
                    open
                )
            };
            let failed = |status| activity_error("planning a pass", &status);
            let (count, open) = (count.map_err(failed)?, open.map_err(failed)?);
            span.record("count", count).record("open", open);
            SWEEP_OPEN.with([]).set(i64::try_from(open).unwrap_or(i64::MAX));
            Ok(PlanOutput {
                count,
                open,
                windows: Vec::new(),
            })
        };
        beating(&ctx, Beat::default, work).instrument(span.clone()).await
    }

    /// Lists and stops: one window of a pass.
    #[activity(name = "bulk_cancel_workflows")]
    pub async fn bulk_cancel_workflows(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: WindowInput,
    ) -> Result<WindowOutput, ActivityError> {
        let span = info_span!(
            "window", pass = input.pass, window = input.window, kind = ?input.kind, attempt = ctx.info().attempt,
            listed = Empty, stopped = Empty, already_closed = Empty, failed = Empty, limit = Empty, complete = Empty,
        );
        let work = async {
            let id = &input.task.cancellation_id;
            let before: Beat = earlier(&ctx);
            let limits = self.limits.follow(id, || LimitsReader {
                canceler: self.canceler.clone(),
                cancellation_id: id.clone(),
            });
            let sweeper = Sweeper {
                ctx: &ctx,
                main: kept_alive(&ctx, || before.clone(), self.namespaces.connect(&input.task.namespace)).await??,
                canceler: self.canceler.clone(),
                payloads: self.payloads.clone(),
                shutdown: self.shutdown.clone(),
                limits,
            };
            let output = sweeper.run(&input, before).await?;
            let result = &output.result;
            span.record("listed", result.counts.listed)
                .record("stopped", result.counts.stopped)
                .record("already_closed", result.counts.already_closed)
                .record("failed", result.counts.failed)
                .record("limit", result.limiter.limit)
                .record("complete", result.complete);
            tracing::info!(
                cancellation_id = input.task.cancellation_id,
                pass = input.pass,
                listed = result.counts.listed,
                stopped = result.counts.stopped,
                already_closed = result.counts.already_closed,
                failed = result.counts.failed,
                limit = result.limiter.limit,
                "window done"
            );
            Ok(output)
        };
        work.instrument(span.clone()).await
    }

    /// Looks whether anything is left.
    #[activity(name = "confirm_all_canceled")]
    pub async fn confirm_all_canceled(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ConfirmInput,
    ) -> Result<ConfirmOutput, ActivityError> {
        let span = info_span!(
            "confirm",
            round = input.round,
            looks = Empty,
            lag_ms = Empty,
            alive = Empty,
            zero = Empty
        );
        let work = async {
            let main = self.namespaces.connect(&input.task.namespace).await?;
            let output = confirmer::run(&ctx, &main, &input).await?;
            let confirmed = &output.confirmed;
            span.record("looks", confirmed.looks.len())
                .record("lag_ms", confirmed.lag_ms)
                .record("alive", confirmed.alive)
                .record("zero", confirmed.zero);
            tracing::info!(
                cancellation_id = input.task.cancellation_id,
                round = input.round,
                looks = confirmed.looks.len(),
                lag_ms = confirmed.lag_ms,
                alive = confirmed.alive,
                stale = confirmed.stale.len(),
                zero = confirmed.zero,
                "confirmation done"
            );
            Ok(output)
        };
        work.instrument(span.clone()).await
    }

    /// Stops the server's batch operation, by the batch service's gRPC: its own worker may be the one that hangs.
    #[activity(name = "stop_batch")]
    pub async fn stop_batch(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: StopBatchInput,
    ) -> Result<StopBatchOutput, ActivityError> {
        beating(&ctx, Beat::default, async {
            Ok(batch::stop((&self.batch_address, &self.peers), &input).await?)
        })
        .await
    }

    /// Signs a receipt; nothing when there is no key.
    #[activity(name = "sign_receipt")]
    pub async fn sign_receipt(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: Receipt,
    ) -> Result<Option<Signed>, ActivityError> {
        Ok(self.signing_key.as_ref().map(|key| Signed::new(&input, key)))
    }

    /// Looks up what the receipt needs beside the machine's own outcome.
    #[activity(name = "conclude_cancellation")]
    pub async fn conclude_cancellation(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ConcludeInput,
    ) -> Result<Conclusion, ActivityError> {
        let work = async {
            let main = self.namespaces.connect(&input.task.namespace).await?;
            conclude::run(&main, &input)
                .await
                .map_err(|status| activity_error("concluding", &status))
        };
        beating(&ctx, Beat::default, work).await
    }
}

/// Does a piece of work with heartbeats, so that a dead worker is noticed and a cancellation is heard.
pub(crate) async fn beating<T, B: Serialize + Send + Sync + 'static>(
    ctx: &ActivityContext,
    beat: impl Fn() -> B,
    work: impl Future<Output = Result<T, ActivityError>>,
) -> Result<T, ActivityError> {
    tokio::select! {
        biased;
        result = kept_alive(ctx, beat, work) => result?,
        () = ctx.cancelled() => Err(ActivityError::cancelled()),
    }
}

/// The same for a piece of work that ends by itself when it is told to stop, because it has something to answer.
pub(crate) async fn kept_alive<T, B: Serialize + Send + Sync + 'static>(
    ctx: &ActivityContext,
    beat: impl Fn() -> B,
    work: impl Future<Output = T>,
) -> Result<T, ActivityError> {
    let mut work = std::pin::pin!(work);
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            _ = tick.tick() => ctx.record_heartbeat(beat()).await?,
        }
    }
}
