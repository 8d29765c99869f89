//! Drives a [`Confirm`]: measures the index lag, looks, and describes whatever a look still shows.

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use quell_sweep::{CallError, Confirm, ConfirmStep, DescribeReply, Slot};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::{Duration, MissedTickBehavior, interval};
use tonic::Status;

use super::{
    canary,
    convert::Clock,
    listing::Listing,
    messages::{Beat, ConfirmInput, ConfirmOutput},
    namespace::{Namespace, Page},
    status::call_error,
    sweeper::sleep,
};

const BEAT: Duration = Duration::from_millis(500);

/// An answer that came in.
enum Answer {
    Lag(Result<u64, CallError>),
    /// When it was asked for, and what came.
    Look {
        asked_ms: u64,
        page: Result<Page, Status>,
    },
    Describe(Slot, DescribeReply),
}

/// Runs one confirmation to its end.
pub(crate) async fn run(
    ctx: &ActivityContext,
    main: &Namespace,
    input: &ConfirmInput,
) -> Result<ConfirmOutput, ActivityError> {
    let mut confirm = Confirm::new(input.spec.clone());
    let task = &input.task;
    let listing = Listing::whole(main.clone(), &task.filter, &input.spec.scope, task.since_ms);
    let clock = Clock::start();
    let mut calls: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = None;
    loop {
        let wait = loop {
            match confirm.next(clock.now_ms()) {
                ConfirmStep::MeasureLag => {
                    let measured = canary::measure_lag(main, &input.task.cancellation_id);
                    calls
                        .push(async move { Answer::Lag(measured.await.map_err(|status| call_error(&status))) }.boxed());
                }
                ConfirmStep::Look { page_size, token } => {
                    let size = i32::try_from(page_size).unwrap_or(1_000);
                    let asked_ms = clock.now_ms();
                    let page = listing.page(size, token);
                    calls.push(page.map(move |page| Answer::Look { asked_ms, page }).boxed());
                }
                ConfirmStep::Describe { slot, workflow_id } => {
                    calls.push(async move { Answer::Describe(slot, main.describe_current(workflow_id).await) }.boxed());
                }
                ConfirmStep::Wait { until_ms } => break until_ms.map(|until| clock.until(until)),
                ConfirmStep::Done(confirmed) => {
                    let first_empty = confirmed.looks.iter().find(|look| look.is_empty());
                    return Ok(ConfirmOutput {
                        first_empty_ms: first_empty.map(|look| look.at_ms),
                        confirmed,
                    });
                }
            }
        };
        tokio::select! {
            biased;
            Some(answer) = calls.next() => {
                let now_ms = clock.now_ms();
                match answer {
                    Answer::Lag(Ok(lag_ms)) => confirm.on_lag(now_ms, lag_ms),
                    Answer::Lag(Err(error)) => confirm.on_lag_error(now_ms, error),
                    Answer::Look { asked_ms, page: Ok(page) } => {
                        open = u64::try_from(page.rows.len()).ok();
                        confirm.on_look(now_ms, asked_ms, page.rows, page.next);
                    }
                    Answer::Look { page: Err(status), .. } => confirm.on_look_error(now_ms, call_error(&status)),
                    Answer::Describe(slot, reply) => confirm.on_describe(now_ms, slot, reply),
                }
            }
            _ = tick.tick() => ctx.record_heartbeat(Beat { open, ..Beat::default() }).await?,
            () = ctx.cancelled() => return Err(ActivityError::cancelled()),
            () = sleep(wait), if wait.is_some() => {}
        }
    }
}
