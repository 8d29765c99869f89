//! The two workflows of an operation.
//!
//! **[`BatchOperationWorkflow`]**, one an operation, is its record: what was asked for, where it is, how it ended, what survived.
//! Its id decides that an operation happens once. It waits for its turn, has the job run, and looks for survivors.
//!
//! **[`BatchQueueWorkflow`]**, one a main namespace, gives turns: the first in line has the slot until the server is done with its job,
//! or its workflow has ended for whatever reason. It ends when nobody waits, and begins anew with the next one who comes. Should
//! somebody end it from outside, those in line notice and come again: the queue is made of those who wait, not of the workflow.
//!
//! Both await nothing but the SDK's own futures, always polled in the same order.

#![allow(missing_docs, reason = "the macro generates undocumented items")]

use super::{
    job::Moment,
    messages::{
        Figures, Line, MEMO_LINE, MEMO_STANDING, OperationInput, Place, Ran, Stage, Standing, Survey, SurveyInput,
        Verdict, Waiting,
    },
    own_activities::OperationActivities,
};
use futures::FutureExt as _;
use quell_mesh::{
    CancelState,
    activity::{persistent, reason, within},
};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, ContinueAsNewOptions, MemoValue, SyncWorkflowContext,
    WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult,
};

/// Longer than any operation: it has no time limit of its own.
const NO_LIMIT: Duration = Duration::from_secs(365 * 86_400);
/// How long the look for survivors may take, its tries together.
const SURVEY: Duration = Duration::from_secs(3_600);
/// How long leaving the queue is tried: who does not get to it is passed over when its turn comes.
const LEAVE: Duration = Duration::from_secs(60);
/// History events after which the queue continues as new between two turns.
const LONG_HISTORY: u32 = 2_000;

/// One operation.
#[workflow]
#[derive(Default)]
pub(crate) struct BatchOperationWorkflow {
    stop: CancelState,
    standing: Standing,
}

#[workflow_methods]
impl BatchOperationWorkflow {
    /// Runs the operation; the result is what survived it.
    #[run(name = "quell.BatchOperation")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, input: OperationInput) -> WorkflowResult<Survey> {
        let ctx = &*ctx;
        let mut standing = Standing::default();
        publish(ctx, &standing)?;
        match turn(ctx, &input).await {
            Some(Ok(())) => {
                standing.stage = Stage::Granted;
                publish(ctx, &standing)?;
                let ran = run_job(ctx, &input).await;
                judge(ctx, &mut standing, ran);
            }
            Some(Err(problem)) => {
                standing.verdict = Some(Verdict::Failed);
                standing.problem = problem;
            }
            None => standing.verdict = Some(Verdict::Stopped),
        }
        let mut found = Survey::default();
        if let Some(start) = standing.figures.start {
            standing.stage = Stage::Checking;
            publish(ctx, &standing)?;
            match survey(ctx, &input, start).await {
                Ok(survey) => found = survey,
                Err(problem) if standing.problem.is_empty() => {
                    standing.problem = format!("survivors could not be looked for: {problem}");
                }
                Err(_) => {}
            }
        }
        standing.stage = Stage::Ended;
        standing.survivors = i64::try_from(found.survivors.len()).unwrap_or(i64::MAX);
        standing.complete = found.complete;
        publish(ctx, &standing)?;
        Ok(found)
    }

    /// Asks it to stop: a queued operation leaves the queue, a running job is stopped.
    #[signal]
    pub(crate) fn stop(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) {
        self.stop.request(reason);
    }

    /// Where it is, as of its last step.
    #[query]
    pub(crate) fn standing(&self, _ctx: &WorkflowContextView) -> Standing {
        self.standing.clone()
    }

    /// Whether it was asked to stop, and why.
    #[query]
    pub(crate) fn cancel_state(&self, _ctx: &WorkflowContextView) -> CancelState {
        self.stop.clone()
    }
}

type Operation = WorkflowContext<BatchOperationWorkflow>;

fn place(input: &OperationInput) -> Place {
    Place {
        job_id: input.job_id.clone(),
        namespace: input.namespace.clone(),
        kind: input.spec.action.kind(),
    }
}

/// Waits for the turn; `None` when it was asked to stop before.
async fn turn(ctx: &Operation, input: &OperationInput) -> Option<Result<(), String>> {
    let token = WorkflowCancellationToken::new();
    let options = persistent(NO_LIMIT, token.clone(), ActivityCancellationType::TryCancel);
    let wait = ctx.execute_activity(OperationActivities::wait_for_batch_turn, place(input), options);
    let mut wait = Box::pin(wait).fuse();
    let mut stop = stopped(ctx).boxed_local().fuse();
    let granted = temporalio_sdk::workflows::select! {
        () = stop => None,
        answer = wait => Some(answer.map_err(|error| reason(&error))),
    };
    if granted.is_none() {
        token.cancel_with_reason("the operation was stopped");
        // Whether it could is no matter: the queue passes over whoever has ended.
        let options = within(LEAVE, WorkflowCancellationToken::new());
        let _ = ctx
            .execute_activity(OperationActivities::leave_batch_queue, place(input), options)
            .await;
    }
    granted
}

/// Has the job run, and stops it when that is asked for.
async fn run_job(ctx: &Operation, input: &OperationInput) -> Result<Ran, String> {
    let token = WorkflowCancellationToken::new();
    // Waited for when it is cancelled, so that its last figures come with its end.
    let options = persistent(
        NO_LIMIT,
        token.clone(),
        ActivityCancellationType::WaitCancellationCompleted,
    );
    let run = ctx.execute_activity(OperationActivities::run_batch_operation, input.clone(), options);
    let mut run = Box::pin(run).fuse();
    let mut stop = stopped(ctx).boxed_local().fuse();
    let first = temporalio_sdk::workflows::select! {
        () = stop => None,
        answer = run => Some(answer),
    };
    let answer = match first {
        Some(answer) => answer,
        None => {
            token.cancel_with_reason("the operation was stopped");
            run.await
        }
    };
    match answer {
        Ok(ran) => Ok(ran),
        Err(ActivityExecutionError::Cancelled(_)) => Ok(Ran::default()),
        Err(error) => Err(reason(&error)),
    }
}

fn judge(ctx: &Operation, standing: &mut Standing, ran: Result<Ran, String>) {
    let asked_to_stop = ctx.state(|state| state.stop.requested) || ctx.cancellation_token().is_cancelled();
    match ran {
        Ok(ran) => {
            standing.verdict = Some(match (ran.completed, asked_to_stop) {
                (true, _) => Verdict::Completed,
                (false, true) => Verdict::Stopped,
                (false, false) => Verdict::Failed,
            });
            if standing.verdict == Some(Verdict::Failed) {
                standing.problem = "the server's job failed, or was ended from outside".to_owned();
            }
            standing.figures = ran.figures;
        }
        Err(problem) => {
            standing.verdict = Some(Verdict::Failed);
            standing.figures = Figures::default();
            standing.problem = problem;
        }
    }
}

async fn survey(ctx: &Operation, input: &OperationInput, start: Moment) -> Result<Survey, String> {
    let input = SurveyInput {
        job_id: input.job_id.clone(),
        spec: input.spec.clone(),
        start,
    };
    let options = within(SURVEY, WorkflowCancellationToken::new());
    ctx.execute_activity(OperationActivities::find_batch_survivors, input, options)
        .await
        .map_err(|error| reason(&error))
}

/// Returns when it was asked to stop: by signal, or by cancelling the workflow.
async fn stopped(ctx: &Operation) {
    // An error means that the workflow was cancelled.
    let _ = ctx.wait_condition(|state| state.stop.requested).await;
}

fn publish(ctx: &Operation, standing: &Standing) -> WorkflowResult<()> {
    ctx.state_mut(|state| state.standing = standing.clone());
    ctx.upsert_memo([(MEMO_STANDING, Some(MemoValue::new(standing.clone())))])?;
    Ok(())
}

/// The queue for the slot of one main namespace.
#[workflow]
#[derive(Default)]
pub(crate) struct BatchQueueWorkflow {
    line: Line,
    /// Somebody came or went since the line was published.
    changed: bool,
}

#[workflow_methods]
impl BatchQueueWorkflow {
    /// Gives turns until nobody waits. The input is what the run before handed on.
    #[run(name = "quell.BatchQueue")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, carried: Line) -> WorkflowResult<()> {
        let ctx = &*ctx;
        ctx.state_mut(|state| {
            // Who came with the start of this run stands behind those who were there.
            let came = std::mem::replace(&mut state.line, carried);
            for waiting in came.waiting {
                state.line.enter(waiting);
            }
        });
        // A turn is over when the run before handed on; whoever had it is not in the line.
        while ctx.state_mut(|state| state.line.advance()) {
            publish_line(ctx)?;
            let Some(holder) = ctx.state(|state| state.line.holder.clone()) else {
                break;
            };
            hold(ctx, holder).await?;
            ctx.state_mut(|state| state.line.holder = None);
            let waits = ctx.state(|state| !state.line.waiting.is_empty());
            if waits && ctx.history_length() > LONG_HISTORY {
                let line = ctx.state(|state| state.line.clone());
                let Err(continued) = ctx.continue_as_new(line, ContinueAsNewOptions::default());
                return Err(continued);
            }
        }
        publish_line(ctx)
    }

    /// An operation comes. One that is there already keeps its place.
    #[signal]
    pub(crate) fn enter(&mut self, _ctx: &mut SyncWorkflowContext<Self>, new: Waiting) {
        self.changed |= self.line.enter(new);
    }

    /// An operation goes.
    #[expect(clippy::needless_pass_by_value, reason = "the signature that the macro calls")]
    #[signal]
    pub(crate) fn leave(&mut self, _ctx: &mut SyncWorkflowContext<Self>, job_id: String) {
        self.changed |= self.line.leave(&job_id);
    }

    /// The line now.
    #[query]
    pub(crate) fn line(&self, _ctx: &WorkflowContextView) -> Line {
        self.line.clone()
    }
}

/// One turn: until the server is done with the holder's job. Whoever comes or goes meanwhile is published.
async fn hold(ctx: &WorkflowContext<BatchQueueWorkflow>, holder: Waiting) -> WorkflowResult<()> {
    let token = WorkflowCancellationToken::new();
    let options = persistent(NO_LIMIT, token, ActivityCancellationType::TryCancel);
    let turn = ctx.execute_activity(OperationActivities::hold_batch_slot, holder.job_id, options);
    let mut turn = Box::pin(turn).fuse();
    loop {
        let mut changed = changed(ctx).boxed_local().fuse();
        let over = temporalio_sdk::workflows::select! {
            // It tries for as long as it takes; what it cannot be told is a turn that is over.
            _ = turn => true,
            () = changed => false,
        };
        if over {
            return Ok(());
        }
        drop(changed);
        publish_line(ctx)?;
    }
}

async fn changed(ctx: &WorkflowContext<BatchQueueWorkflow>) {
    // Somebody may cancel the queue; those in line need it all the same.
    if ctx.wait_condition(|state| state.changed).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn publish_line(ctx: &WorkflowContext<BatchQueueWorkflow>) -> WorkflowResult<()> {
    let line = ctx.state_mut(|state| {
        state.changed = false;
        state.line.clone()
    });
    ctx.upsert_memo([(MEMO_LINE, Some(MemoValue::new(line)))])?;
    Ok(())
}
