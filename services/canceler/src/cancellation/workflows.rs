//! The workflow: a thin shell around [`Campaign`].
//!
//! The machine hands out commands, the shell runs each as an activity and gives the answers back in the order in which they
//! come; a stop request and the deadline are answers like any other. Everything that decides is in the machine, which is
//! deterministic; the shell awaits nothing but the SDK's own futures, always polled in the same order.
//!
//! There is no run or execution timeout: the cancellation's deadline rules. A history that grows long is cut by continue-as-new
//! in a quiet moment; machine and ledger are carried over.

#![allow(missing_docs, reason = "the macro generates undocumented items")]

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use futures::FutureExt as _;
use opentelemetry::{Context, KeyValue, trace::FutureExt as _};
use quell_mesh::{CancelState, metrics::CANCELLATIONS, telemetry::temporal::Phases};
use quell_sweep::{Campaign, CommandId, Event, Outcome, Phase, Verdict};
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ContinueAsNewOptions, MemoValue, SyncWorkflowContext, WorkflowCancellationToken, WorkflowContext,
    WorkflowContextView, WorkflowResult,
};

use super::{
    commands::{self, Answered},
    convert::epoch_ms,
    limits::Limits,
    messages::{About, CancelInput, Carried, ConcludeInput, Conclusion, Ledger, MEMO_ABOUT, MEMO_STANDING, Standing},
    meter,
    receipt::Receipt,
};

/// History events after which the next quiet moment continues as new.
const LONG_HISTORY: u32 = 8_000;

/// Patch: receipts are signed. Cancellations that began before it end without.
const SIGNED_RECEIPTS: &str = "signed-receipts";

/// Patch: when the fence is lost, schedules are searched for what it has paused.
const UNSURE_SCHEDULES: &str = "unsure-schedules";

/// Stops a workload and proves it.
#[workflow]
#[derive(Default)]
pub struct BulkCancelWorkflow {
    stop: CancelState,
    standing: Standing,
    /// Changes of limits that were signalled and not taken in yet.
    adjustments: Vec<Limits>,
}

/// A command that is being carried out.
struct Run {
    id: CommandId,
    /// Cancels it. A token of its own, not the workflow's: a cancelled workflow is only asked to stop, and still has to write
    /// its receipt.
    token: WorkflowCancellationToken,
    future: Pin<Box<dyn Future<Output = Answered>>>,
}

/// What the shell was waiting for.
enum Woken {
    Answer(CommandId, Box<Answered>),
    Stop(String),
    Deadline,
    Adjusted,
}

#[workflow_methods]
impl BulkCancelWorkflow {
    /// Runs the cancellation; the result is its receipt.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: CancelInput) -> WorkflowResult<Receipt> {
        let ctx = &*ctx;
        let (campaign, mut ledger) = match &input.carried {
            Some(carried) => (carried.campaign.clone().resume(), carried.ledger.clone()),
            None => (Campaign::new(input.campaign.clone()), Ledger::default()),
        };
        let mut campaign = campaign.map_err(ApplicationFailure::non_retryable)?;
        if ledger.start_ms == 0 {
            ledger.start_ms = now_ms(ctx);
        }
        if input.is_part {
            let about = About {
                spec: input.spec.clone(),
                matched: input.matched,
            };
            ctx.upsert_memo([(MEMO_ABOUT, Some(MemoValue::new(about)))])?;
        }
        let mut deadline = Box::pin(ctx.timer(left(ctx, &input, &ledger)));
        // Deadlines that were changed: their timers go on, and nobody listens.
        let mut retired = Vec::new();
        let mut running: Vec<Run> = Vec::new();
        let mut stop_heard = false;
        let mut phases = Phases::default();

        let outcome = loop {
            if take_adjustments(ctx, &mut ledger) {
                let changed = Box::pin(ctx.timer(left(ctx, &input, &ledger)));
                retired.push(std::mem::replace(&mut deadline, changed));
            }
            for (id, command) in campaign.next() {
                let token = WorkflowCancellationToken::new();
                let context = phase(ctx, &mut phases, &campaign);
                let command = commands::start(ctx, &input, command, &ledger, token.clone());
                let future = Box::pin(command.with_context(context));
                running.push(Run { id, token, future });
            }
            publish(ctx, &campaign, &ledger, None)?;
            if let Some(outcome) = campaign.outcome() {
                break outcome.clone();
            }
            for run in running.iter().filter(|run| campaign.should_cancel(run.id)) {
                run.token.cancel_with_reason("the cancellation ends");
            }
            if running.is_empty() {
                let stalled = anyhow::anyhow!("the campaign has nothing to do and no outcome");
                return Err(ApplicationFailure::non_retryable(stalled).into());
            }
            let stopped = stop_heard;
            let mut answer = first_of(&mut running).boxed_local().fuse();
            let mut stop = stop_reason(ctx, stopped).boxed_local().fuse();
            let mut adjusted = adjusted(ctx).boxed_local().fuse();
            // The end comes first: a command that has not been polled yet is then not begun at all.
            let woken = temporalio_sdk::workflows::select! {
                reason = stop => Woken::Stop(reason),
                _ = deadline => Woken::Deadline,
                (id, answered) = answer => Woken::Answer(id, Box::new(answered)),
                () = adjusted => Woken::Adjusted,
            };
            drop((answer, stop, adjusted));
            match woken {
                Woken::Answer(id, answered) => {
                    let event = match answered.note(&mut ledger) {
                        Ok(reply) => Event::Completed { id, reply },
                        Err(reason) => Event::Failed { id, reason },
                    };
                    campaign.apply(event);
                }
                Woken::Stop(reason) => {
                    stop_heard = true;
                    campaign.apply(Event::StopRequested { reason });
                }
                Woken::Deadline => campaign.apply(Event::DeadlineReached { starters: Vec::new() }),
                Woken::Adjusted => {}
            }
            let quiet = campaign.is_quiet() && campaign.outcome().is_none();
            let signal_pending = ctx.state(|state| state.stop.requested || !state.adjustments.is_empty());
            if quiet && !signal_pending && ctx.history_length() > LONG_HISTORY {
                phases.end(ctx, figures(&campaign));
                let carried = Some(Box::new(Carried { campaign, ledger }));
                let Err(continued) =
                    ctx.continue_as_new(CancelInput { carried, ..input }, ContinueAsNewOptions::default());
                return Err(continued);
            }
        };

        let ending = phases.at(ctx, "DONE", 0, || figures(&campaign));
        if !ledger.schedules.is_empty() || (ledger.schedules_unsure && ctx.patched(UNSURE_SCHEDULES)) {
            let given_back = commands::give_back(ctx, &input, &ledger).with_context(ending.clone());
            let problems = given_back.await;
            problems.into_iter().for_each(|problem| ledger.warn(problem));
        }
        let conclusion = conclude(ctx, &input, &outcome, &mut ledger)
            .with_context(ending.clone())
            .await;
        let end_ms = now_ms(ctx);
        // None visible is what a clean end means; a count in between could only be older.
        let open = conclusion.open.filter(|_| outcome.verdict != Verdict::Clean);
        let mut receipt = Receipt::build(&input, outcome, ledger, conclusion, end_ms);
        if ctx.patched(SIGNED_RECEIPTS) {
            commands::sign(ctx, &mut receipt).with_context(ending).await;
        }
        publish(ctx, &campaign, &receipt.ledger, Some((end_ms, open)))?;
        phases.end(ctx, figures(&campaign));
        Ok(receipt)
    }

    /// Asks it to end: nothing more is stopped, and the receipt tells what was.
    #[signal]
    pub fn stop(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) {
        self.stop.request(reason);
    }

    /// Changes limits.
    #[signal]
    pub fn adjust(&mut self, _ctx: &mut SyncWorkflowContext<Self>, limits: Limits) {
        self.adjustments.push(limits);
    }

    /// Where it is, as of its last step.
    #[query]
    pub fn standing(&self, _ctx: &WorkflowContextView) -> Standing {
        self.standing.clone()
    }

    /// Whether it was asked to stop, and why.
    #[query]
    pub fn cancel_state(&self, _ctx: &WorkflowContextView) -> CancelState {
        self.stop.clone()
    }
}

/// The trace context of what the campaign does now: its phase, and which pass or confirmation of it.
fn phase(ctx: &WorkflowContext<BulkCancelWorkflow>, phases: &mut Phases, campaign: &Campaign) -> Context {
    let progress = campaign.progress();
    let (name, round) = match progress.phase {
        Phase::Fencing => ("FENCING", 0),
        Phase::Asking => ("ASKING", progress.pass),
        Phase::Striking => ("STRIKING", progress.pass),
        Phase::Sweeping => ("SWEEPING", progress.pass),
        Phase::Confirming => ("CONFIRMING", progress.rounds),
        Phase::Done => ("DONE", 0),
    };
    phases.at(ctx, name, round, || figures(campaign))
}

/// What the campaign has come to, for the trace.
fn figures(campaign: &Campaign) -> Vec<KeyValue> {
    let progress = campaign.progress();
    let counts = progress.totals.counts;
    let figure = |name: &'static str, n: u64| KeyValue::new(name, i64::try_from(n).unwrap_or(i64::MAX));
    vec![
        figure("quell.stopped", counts.stopped),
        figure("quell.asked", counts.asked),
        figure("quell.already_closed", counts.already_closed),
        figure("quell.failed", counts.failed),
        figure("quell.open", progress.open),
    ]
}

/// The first of the running commands to be answered, taken out. They are polled in the order in which they were started, each
/// time all of them: deterministic, as `select!` and `join!` are.
fn first_of(running: &mut Vec<Run>) -> impl Future<Output = (CommandId, Answered)> + '_ {
    poll_fn(move |cx| {
        for at in 0..running.len() {
            if let Some(run) = running.get_mut(at)
                && let Poll::Ready(answered) = run.future.as_mut().poll(cx)
            {
                return Poll::Ready((running.remove(at).id, answered));
            }
        }
        Poll::Pending
    })
}

/// The first request to stop: by signal, or by cancelling the workflow. Never returns when one was heard already.
async fn stop_reason(ctx: &WorkflowContext<BulkCancelWorkflow>, heard: bool) -> String {
    if heard {
        std::future::pending::<()>().await;
    }
    match ctx.wait_condition(|state| state.stop.requested).await {
        Ok(()) => ctx.state(|state| state.stop.reason.clone()),
        Err(cancelled) => format!(
            "the workflow was cancelled: {}",
            cancelled.reason().unwrap_or("no reason given")
        ),
    }
}

/// Returns when there are changes of limits to take in.
async fn adjusted(ctx: &WorkflowContext<BulkCancelWorkflow>) {
    // A cancelled workflow ends; what it is told after that changes nothing.
    if ctx.wait_condition(|state| !state.adjustments.is_empty()).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Takes in what was signalled. Returns whether the deadline is another one now.
fn take_adjustments(ctx: &WorkflowContext<BulkCancelWorkflow>, ledger: &mut Ledger) -> bool {
    if ctx.state(|state| state.adjustments.is_empty()) {
        return false;
    }
    let before = ledger.limits.deadline_ms;
    for limits in ctx.state_mut(|state| std::mem::take(&mut state.adjustments)) {
        ledger.adjust(now_ms(ctx), limits);
    }
    ledger.limits.deadline_ms != before
}

/// How long the cancellation may still take.
fn left(ctx: &WorkflowContext<BulkCancelWorkflow>, input: &CancelInput, ledger: &Ledger) -> Duration {
    let deadline_ms = ledger.limits.deadline_ms.unwrap_or(input.spec.deadline_ms);
    let elapsed_ms = now_ms(ctx).saturating_sub(ledger.start_ms);
    Duration::from_millis(deadline_ms.saturating_sub(elapsed_ms))
}

/// Writes where it is into the state and the memo, when there is news; at the end with when that was, and what is open then.
fn publish(
    ctx: &WorkflowContext<BulkCancelWorkflow>,
    campaign: &Campaign,
    ledger: &Ledger,
    end: Option<(u64, Option<u64>)>,
) -> WorkflowResult<()> {
    let progress = campaign.progress();
    // The end is published once the conclusion is there: whoever sees a verdict can read the receipt.
    let verdict = campaign
        .outcome()
        .filter(|_| end.is_some())
        .map(|outcome| outcome.verdict);
    let standing = Standing {
        start_ms: ledger.start_ms,
        end_ms: end.map_or(0, |(end_ms, _)| end_ms),
        phase: progress.phase,
        verdict,
        passes: progress.pass,
        counts: progress.totals.counts,
        open: end
            .and_then(|(_, open)| open)
            .or((progress.pass > 0).then_some(progress.open)),
        first_zero_ms: ledger.first_zero_ms,
        limits: ledger.limits,
    };
    if ctx.state(|state| state.standing == standing) {
        return Ok(());
    }
    if let Some(verdict) = verdict.filter(|_| !ctx.is_replaying()) {
        CANCELLATIONS.with([meter::word(verdict)]).inc();
    }
    ctx.state_mut(|state| state.standing = standing.clone());
    ctx.upsert_memo([(MEMO_STANDING, Some(MemoValue::new(standing)))])?;
    Ok(())
}

/// Looks up what the receipt needs beside the outcome. A receipt without it is still a receipt.
async fn conclude(
    ctx: &WorkflowContext<BulkCancelWorkflow>,
    input: &CancelInput,
    outcome: &Outcome,
    ledger: &mut Ledger,
) -> Conclusion {
    let request = ConcludeInput {
        task: commands::task(input, ledger),
        since_ms: outcome.fence_ms.unwrap_or(ledger.start_ms),
        blockers: outcome.verdict == Verdict::Blocked,
        // Without a tag to lack there are no suspects.
        types: if input.spec.target.tags().is_empty() {
            Vec::new()
        } else {
            outcome.seen.types.iter().cloned().collect()
        },
        first_start_ms: outcome.seen.first_start_ms.unwrap_or_default(),
    };
    match commands::conclude(ctx, request).await {
        Ok(conclusion) => conclusion,
        Err(reason) => {
            ledger.warn(format!(
                "what others closed, and who keeps starting, could not be looked up: {reason}"
            ));
            Conclusion::default()
        }
    }
}

fn now_ms(ctx: &WorkflowContext<BulkCancelWorkflow>) -> u64 {
    ctx.workflow_time().map_or(0, epoch_ms)
}
