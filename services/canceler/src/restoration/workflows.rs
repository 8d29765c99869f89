//! The workflow: survey, then the plan part by part, then the source.
//!
//! There is no run or execution timeout. A part of the plan is 2,000 executions and `max_affected` at most 1,000,000, so that a history
//! has some 5,000 events at most: it is never continued as new.

#![allow(missing_docs, reason = "the macro generates undocumented items")]

use std::time::Duration;

use futures::FutureExt as _;
use quell_mesh::{
    CancelState,
    activity::{persistent, reason, within},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, MemoValue, SyncWorkflowContext, WorkflowCancellationToken,
    WorkflowContext, WorkflowContextView, WorkflowResult,
};

use super::{
    activities::RestoreActivities,
    convert::explanation,
    messages::{
        MEMO_STANDING, Phase, Report, ResetInput, RestoreInput, ResumeInput, Standing, SurveyInput, Verdict, Why,
    },
};
use crate::cancellation::convert::epoch_ms;

/// Longer than any survey or part of a plan takes.
const NO_LIMIT: Duration = Duration::from_secs(30 * 86_400);
/// Parents that may be lost before it ends: a server that refuses so many refuses the rest as well, and each part is told of all of them.
const LOST_PARENTS: usize = 1_000;
/// How long the source is told, all attempts together.
const RESUME: Duration = Duration::from_secs(60);

/// Undoes a cancellation.
#[workflow]
#[derive(Default)]
pub struct RestoreWorkflow {
    stop: CancelState,
    standing: Standing,
}

#[workflow_methods]
impl RestoreWorkflow {
    /// Runs the restoration; the result is its report.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: RestoreInput) -> WorkflowResult<Report> {
        let ctx = &*ctx;
        let mut standing = Standing {
            start_ms: now_ms(ctx),
            ..Standing::default()
        };
        publish(ctx, &standing)?;
        // A token of its own, not the workflow's: a cancelled workflow is only asked to stop, and still has to write its report.
        let token = WorkflowCancellationToken::new();
        let mut report = {
            let work = restore(ctx, &input, &mut standing, &token).boxed_local();
            let stop = stop_reason(ctx).boxed_local();
            let (mut work, mut stop) = (work.fuse(), stop.fuse());
            let first = temporalio_sdk::workflows::select! {
                report = work => Some(report),
                reason = stop => { token.cancel_with_reason(reason); None },
            };
            match first {
                Some(report) => report?,
                // It ends soon: whatever is in flight is counted.
                None => work.await?,
            }
        };
        let stopped = ctx.state(|state| state.stop.requested) || ctx.cancellation_token().is_cancelled();
        if report.verdict.is_none() {
            let not_tried = report.left.counts.contains_key(&Why::NotTried);
            let lost = report.left.counts.keys().any(|why| *why != Why::AlreadyRestored);
            report.verdict = Some(match (stopped && not_tried, lost) {
                (true, _) => Verdict::Aborted,
                (false, true) => Verdict::Partial,
                (false, false) => Verdict::Restored,
            });
        }
        report.explanation = explanation(&report, &ctx.state(|state| state.stop.reason.clone()));
        standing.end_ms = now_ms(ctx);
        standing.phase = Phase::Done;
        standing.verdict = report.verdict;
        publish(ctx, &standing)?;
        Ok(report)
    }

    /// Asks it to end: nothing more is reset, and the report tells what was.
    #[signal]
    pub fn stop(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) {
        self.stop.request(reason);
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

type Context = WorkflowContext<RestoreWorkflow>;

async fn restore(
    ctx: &Context,
    input: &RestoreInput,
    standing: &mut Standing,
    token: &WorkflowCancellationToken,
) -> WorkflowResult<Report> {
    let asked = &input.asked;
    let mut report = Report {
        asked: asked.clone(),
        resumed: "not asked".to_owned(),
        ..Report::default()
    };
    let survey = SurveyInput {
        asked: asked.clone(),
        run_id: ctx.run_id().to_owned(),
    };
    let options = persistent(NO_LIMIT, token.clone(), ActivityCancellationType::TryCancel);
    let surveyed = match ctx
        .execute_activity(RestoreActivities::survey_restoration, survey, options)
        .await
    {
        Ok(surveyed) => surveyed,
        Err(error) => return Ok(given_up(report, &error)),
    };
    report.stopped = surveyed.stopped;
    report.cascade = surveyed.cascade;
    report.found = surveyed.found;
    report.ended_when_asked = surveyed.ended_when_asked;
    report.levels = surveyed.levels;
    report.left = surveyed.left;
    surveyed.warnings.into_iter().for_each(|warning| report.warn(warning));
    standing.surveyed = report.stopped + report.cascade + report.found + report.ended_when_asked;
    standing.planned = surveyed.planned;
    standing.phase = Phase::Resetting;
    publish(ctx, standing)?;
    if surveyed.planned > asked.max_affected {
        *report.left.counts.entry(Why::NotTried).or_default() += surveyed.planned;
        report.verdict = Some(Verdict::Refused);
        return Ok(report);
    }

    let mut lost_parents = Vec::new();
    let mut left = surveyed.planned;
    for chunk in surveyed.plan {
        if token.is_cancelled() {
            break;
        }
        let items = chunk.items;
        let part = ResetInput {
            asked: asked.clone(),
            chunk,
            lost_parents: lost_parents.clone(),
        };
        // What was reset is counted: it is waited for.
        let options = persistent(
            NO_LIMIT,
            token.clone(),
            ActivityCancellationType::WaitCancellationCompleted,
        );
        match ctx
            .execute_activity(RestoreActivities::reset_workflows, part, options)
            .await
        {
            Ok(output) => {
                left = left.saturating_sub(items);
                report.restored += output.restored;
                report.left.add(output.left);
                lost_parents.extend(output.lost_parents);
                if left > 0 && lost_parents.len() > LOST_PARENTS {
                    report.warn(format!(
                        "more than {LOST_PARENTS} parents could not be reset: the rest was not tried"
                    ));
                    report.verdict = Some(Verdict::Aborted);
                    break;
                }
            }
            Err(error) => {
                *report.left.counts.entry(Why::NotTried).or_default() += left;
                report.warn("what the last part of the plan had reset before it failed is not counted".to_owned());
                return Ok(given_up(report, &error));
            }
        }
        standing.done += items;
        publish(ctx, standing)?;
    }
    if left > 0 {
        *report.left.counts.entry(Why::NotTried).or_default() += left;
    }

    if !asked.resume.is_empty() && !token.is_cancelled() && report.verdict.is_none() {
        standing.phase = Phase::Resuming;
        publish(ctx, standing)?;
        let options = within(RESUME, token.clone());
        let resume = ResumeInput {
            workload_ids: asked.resume.clone(),
            cancellation_id: asked.cancellation_id.clone(),
            namespace: asked.namespace.clone(),
        };
        match ctx
            .execute_activity(RestoreActivities::resume_source, resume, options)
            .await
        {
            Ok(resumed) => {
                report.resumed = resumed.answer;
                report.warn(resumed.detail);
            }
            Err(error) => {
                report.resumed = "unreachable".to_owned();
                report.warn(format!("the source could not be told to go on: {}", reason(&error)));
            }
        }
    }
    Ok(report)
}

fn given_up(mut report: Report, error: &ActivityExecutionError) -> Report {
    report.verdict = Some(Verdict::Aborted);
    report.warn(reason(error));
    report
}

/// Why it is to end, once it is to: by the signal, or because the workflow is cancelled.
async fn stop_reason(ctx: &Context) -> String {
    match ctx.wait_condition(|state| state.stop.requested).await {
        Ok(()) => ctx.state(|state| state.stop.reason.clone()),
        Err(cancelled) => format!(
            "the workflow was cancelled: {}",
            cancelled.reason().unwrap_or("no reason given")
        ),
    }
}

/// Writes where it is into the state and the memo.
fn publish(ctx: &Context, standing: &Standing) -> WorkflowResult<()> {
    ctx.state_mut(|state| state.standing = standing.clone());
    ctx.upsert_memo([(MEMO_STANDING, Some(MemoValue::new(standing.clone())))])?;
    Ok(())
}

fn now_ms(ctx: &Context) -> u64 {
    ctx.workflow_time().map_or(0, epoch_ms)
}
