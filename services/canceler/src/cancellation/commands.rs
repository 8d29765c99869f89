//! Commands of the machine as activities, and their answers as replies.

use std::{future::Future, pin::Pin, time::Duration};

use quell_api::batch_activities::{
    BATCH_QUEUE, BatchActivityDefinitions, BatchCancelInput, BatchCancelOutput, TrackBatchInput, TrackBatchOutput,
};
use quell_mesh::activity::{HEARTBEAT, persistent, reason, within};
use quell_sweep::{BatchReport, BatchState, Command, Reply};
use temporalio_common::RetryPolicy;
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, ActivityOptions, WorkflowCancellationToken, WorkflowContext,
};

use super::{
    activities::CancelActivities,
    messages::{
        CancelInput, ConcludeInput, Conclusion, ConfirmInput, ConfirmOutput, FenceInput, FenceOutput, GiveBackInput,
        Ledger, PlanInput, PlanOutput, StopBatchInput, StopBatchOutput, Task, WindowInput, WindowOutput,
    },
    query,
    receipt::Receipt,
    workflows::BulkCancelWorkflow,
};

/// Longer than any deadline: a sweep has no time limit of its own.
const NO_LIMIT: Duration = Duration::from_secs(30 * 86_400);
/// How long the batch service may be away before the cancellation goes on without it.
const BATCH_AWAY: Duration = Duration::from_secs(15);
/// How long the server's batch may take to be started, waiting for the namespace's one slot included.
const BATCH_START: Duration = Duration::from_secs(60);
/// How long it may take to be stopped.
const BATCH_STOP: Duration = Duration::from_secs(30);
/// How long giving schedules back is tried: long enough for a server that restarts, or is overloaded for a while.
const GIVE_BACK: Duration = Duration::from_secs(600);
/// How much longer than the deadline a source keeps still.
const QUIESCE_MARGIN_MS: u64 = 60_000;

/// What a command came to.
pub(super) enum Answered {
    Fence(FenceOutput),
    Planned(PlanOutput),
    Window(Box<WindowOutput>),
    Confirmed(ConfirmOutput),
    BatchStarted(BatchCancelOutput),
    BatchEnded(String, TrackBatchOutput),
    BatchStopped(StopBatchOutput),
    Waited,
    /// The fence failed, so that it is not known which schedules are paused.
    FenceLost(String),
    /// The activity failed for good, or was cancelled without an answer.
    Failed(String),
}

impl Answered {
    /// Notes what the receipt needs, and gives the machine its reply.
    pub(super) fn note(self, ledger: &mut Ledger) -> Result<Reply, String> {
        Ok(match self {
            Self::Fence(fence) => {
                ledger.quiesce = fence.answer;
                ledger.quiesced_until_ms = fence.until_ms;
                ledger.schedules = fence.schedules;
                ledger.schedules_unsure = fence.schedules_unsure;
                Reply::Quiesced(fence.quiesced)
            }
            Self::Planned(planned) => Reply::Planned(planned),
            Self::Window(window) => {
                ledger.journal.extend(window.journal);
                ledger.journal_lacks = ledger.journal_lacks.saturating_add(window.journal_lacks);
                window.warnings.into_iter().for_each(|warning| ledger.warn(warning));
                Reply::WindowDone(window.result)
            }
            Self::Confirmed(output) => {
                ledger.lag_ms = ledger.lag_ms.max(output.confirmed.lag_ms);
                ledger.first_zero_ms = ledger.first_zero_ms.or(output.first_empty_ms);
                Reply::Confirmed(output.confirmed)
            }
            Self::BatchStarted(started) => Reply::BatchStarted { job_id: started.job_id },
            Self::BatchEnded(job_id, tracked) => {
                let count = |n| u64::try_from(n).unwrap_or(0);
                Reply::BatchEnded(BatchReport {
                    job_id,
                    state: if tracked.completed {
                        BatchState::Completed
                    } else {
                        BatchState::Failed
                    },
                    total: count(tracked.total),
                    completed: count(tracked.done),
                    failed: count(tracked.failed),
                })
            }
            Self::BatchStopped(report) => Reply::BatchEnded(report),
            Self::Waited => Reply::Waited,
            Self::FenceLost(reason) => {
                ledger.schedules_unsure = true;
                return Err(reason);
            }
            Self::Failed(reason) => return Err(reason),
        })
    }
}

/// What every activity is told.
pub(super) fn task(input: &CancelInput, ledger: &Ledger) -> Task {
    Task {
        cancellation_id: input.cancellation_id.clone(),
        filter: input.filter.clone(),
        since_ms: ledger.start_ms,
        namespace: input.spec.namespace().to_owned(),
    }
}

/// Starts a command; it is scheduled when it is first polled.
pub(super) fn start(
    ctx: &WorkflowContext<BulkCancelWorkflow>,
    input: &CancelInput,
    command: Command,
    ledger: &Ledger,
    token: WorkflowCancellationToken,
) -> Pin<Box<dyn Future<Output = Answered>>> {
    let ctx = ctx.clone();
    let task = task(input, ledger);
    let limits = ledger.limits;
    // Small pieces are asked to end and not waited for; what counts is waited for, so that its counts come with its end.
    let small = persistent(NO_LIMIT, token.clone(), ActivityCancellationType::TryCancel);
    let counted = persistent(
        NO_LIMIT,
        token.clone(),
        ActivityCancellationType::WaitCancellationCompleted,
    );
    match command {
        Command::QuiesceSources { quiesce } => {
            let input = FenceInput {
                task,
                workload_ids: if quiesce {
                    input.spec.target.workload_ids()
                } else {
                    Vec::new()
                },
                reason: format!("cancellation {}: {}", input.cancellation_id, input.spec.reason)
                    .chars()
                    .take(500)
                    .collect(),
                ttl_ms: input.spec.deadline_ms.saturating_add(QUIESCE_MARGIN_MS),
            };
            let may_pause = !input.workload_ids.is_empty();
            Box::pin(async move {
                // Cancelled before it began: nothing is paused.
                if token.is_cancelled() {
                    return Answered::Failed("cancelled before it began".to_owned());
                }
                let fenced = ctx.execute_activity(CancelActivities::quiesce_sources, input, counted);
                match answered(fenced.await, Answered::Fence) {
                    Answered::Failed(reason) if may_pause => Answered::FenceLost(reason),
                    answered => answered,
                }
            })
        }
        Command::PlanPass { pass, kind } => {
            let input = PlanInput { task, pass, kind };
            Box::pin(async move {
                answered(
                    ctx.execute_activity(CancelActivities::query_new_wf_executions, input, small)
                        .await,
                    Answered::Planned,
                )
            })
        }
        Command::RunWindow {
            pass,
            window,
            kind,
            range,
            spec,
        } => {
            let input = WindowInput {
                task,
                reason: input.spec.reason.clone(),
                pass,
                window,
                kind,
                range,
                spec,
                limits,
            };
            Box::pin(async move {
                // Cancelled before it began: it did nothing, and that is known.
                if token.is_cancelled() {
                    return Answered::Window(Box::default());
                }
                answered(
                    ctx.execute_activity(CancelActivities::bulk_cancel_workflows, input, counted)
                        .await,
                    |output| Answered::Window(Box::new(output)),
                )
            })
        }
        Command::Confirm { round, spec } => {
            let input = ConfirmInput { task, round, spec };
            Box::pin(async move {
                answered(
                    ctx.execute_activity(CancelActivities::confirm_all_canceled, input, small)
                        .await,
                    Answered::Confirmed,
                )
            })
        }
        Command::StartBatch { job_id, fence_ms } => {
            let input = BatchCancelInput {
                query: query::batch(&input.filter, fence_ms),
                reason: input.spec.reason.clone(),
                job_id,
            };
            // Neither a batch service that is away nor a slot that another job holds may hold up the cancellation.
            let mut options = on_batch_queue(within(BATCH_START, token));
            options.schedule_to_start_timeout = Some(BATCH_AWAY);
            Box::pin(async move {
                let started = ctx
                    .execute_activity(BatchActivityDefinitions::batch_cancel_workflows, input, options)
                    .await;
                answered(started, Answered::BatchStarted)
            })
        }
        Command::TrackBatch { job_id } => {
            let input = TrackBatchInput { job_id: job_id.clone() };
            let mut options = on_batch_queue(small);
            options.schedule_to_start_timeout = Some(BATCH_AWAY);
            Box::pin(async move {
                let tracked = ctx
                    .execute_activity(BatchActivityDefinitions::track_batch, input, options)
                    .await;
                answered(tracked, |output| Answered::BatchEnded(job_id, output))
            })
        }
        Command::StopBatch { job_id } => {
            let input = StopBatchInput {
                job_id,
                reason: input.spec.reason.clone(),
            };
            let options = within(BATCH_STOP, token);
            Box::pin(async move {
                answered(
                    ctx.execute_activity(CancelActivities::stop_batch, input, options).await,
                    Answered::BatchStopped,
                )
            })
        }
        Command::Wait { ms } => Box::pin(async move {
            temporalio_sdk::workflows::select! {
                _ = ctx.timer(Duration::from_millis(ms)) => {}
                () = token.cancelled() => {}
            }
            Answered::Waited
        }),
    }
}

/// Looks up what the receipt needs beside the outcome; a few tries, since a receipt must not hang on it.
pub(super) async fn conclude(
    ctx: &WorkflowContext<BulkCancelWorkflow>,
    input: ConcludeInput,
) -> Result<Conclusion, String> {
    let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(20))
        .heartbeat_timeout(HEARTBEAT)
        .cancellation_token(WorkflowCancellationToken::new())
        .retry_policy(RetryPolicy::builder().maximum_attempts(3).build())
        .build();
    ctx.execute_activity(CancelActivities::conclude_cancellation, input, options)
        .await
        .map_err(|error| reason(&error))
}

/// Has the receipt signed; it stays as it is when the canceler has no key, and says so when that failed. A few tries, since a receipt must
/// not hang on it.
pub(super) async fn sign<W>(ctx: &WorkflowContext<W>, receipt: &mut Receipt) {
    let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(20))
        .heartbeat_timeout(HEARTBEAT)
        .cancellation_token(WorkflowCancellationToken::new())
        .retry_policy(RetryPolicy::builder().maximum_attempts(3).build())
        .build();
    let signed = ctx
        .execute_activity(CancelActivities::sign_receipt, receipt.clone(), options)
        .await;
    match signed {
        Ok(signed) => receipt.signed = signed,
        Err(error) => receipt
            .ledger
            .warn(format!("it could not be signed: {}", reason(&error))),
    }
}

/// Gives the schedules back that were paused with the fence; what could not be given back is a warning of the receipt.
pub(super) async fn give_back(
    ctx: &WorkflowContext<BulkCancelWorkflow>,
    input: &CancelInput,
    ledger: &Ledger,
) -> Vec<String> {
    let search = if ledger.schedules_unsure {
        input.spec.target.workload_ids()
    } else {
        Vec::new()
    };
    let more = (!search.is_empty()).then_some("and others whose note says so");
    let named = |problem: String| {
        let mut ids: Vec<_> = ledger.schedules.iter().map(|one| one.schedule_id.as_str()).collect();
        ids.extend(more);
        format!("schedules may still be paused ({}): {problem}", ids.join(", "))
    };
    let input = GiveBackInput {
        cancellation_id: input.cancellation_id.clone(),
        schedules: ledger.schedules.clone(),
        search,
        namespace: input.spec.namespace().to_owned(),
    };
    let options = within(GIVE_BACK, WorkflowCancellationToken::new());
    match ctx
        .execute_activity(CancelActivities::give_back_schedules, input, options)
        .await
    {
        Ok(problems) => problems,
        Err(error) => vec![named(reason(&error))],
    }
}

fn on_batch_queue(mut options: ActivityOptions) -> ActivityOptions {
    options.task_queue = Some(BATCH_QUEUE.to_owned());
    options
}

fn answered<T>(result: Result<T, ActivityExecutionError>, answer: impl FnOnce(T) -> Answered) -> Answered {
    match result {
        Ok(output) => answer(output),
        Err(error) => Answered::Failed(reason(&error)),
    }
}
