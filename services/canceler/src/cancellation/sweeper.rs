//! Drives a [`Window`]: the machine says what to call, this calls it, and gives every answer back.
//!
//! All calls are in flight inside one task; how many, the machine's limiter decides. The SDK's own retries are off, so that
//! it sees each answer. Nothing needs to be remembered for a crash: the next attempt lists anew, and what was stopped is
//! simply not listed any more; what was only asked to end is, and the journal tells which. Only the number of stops, or of
//! requests, is reserved ahead, durably, so that no crash carries a window beyond its cap. A reservation is a heartbeat whose
//! reply is waited for; an older heartbeat of the SDK's own loop that overtakes it is corrected by the next, half a second later.

use std::{
    future::Future,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use quell_mesh::{Error, NamespaceClient, PayloadStore, Shutdown};
use quell_sweep::{
    AskedRun, Checkpoint, DescribeReply, PassKind, Slot, StartRange, Step, StopReply, TargetOutcome, TargetResult,
    Window,
};
use temporalio_common::{
    data_converters::{ActivitySerializationContext, SerializationContextData},
    error::ApplicationFailure,
    protos::temporal::api::{common::v1::Payloads, workflowservice::v1::RecordActivityTaskHeartbeatRequest},
};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tonic::Status;

use super::{
    activities::{BEAT, kept_alive},
    convert::Clock,
    journal::{self, ChunkName, Journal},
    limits::Limits,
    listing::Listing,
    messages::{Beat, WindowInput, WindowOutput},
    meter::{self, WindowMeter},
    namespace::{Namespace, Page},
    query,
    rate::Rate,
    receipt::JournalChunk,
    status::call_error,
};

/// What a window works with.
pub(crate) struct Sweeper<'a> {
    pub(crate) ctx: &'a ActivityContext,
    pub(crate) main: Namespace,
    pub(crate) canceler: NamespaceClient,
    pub(crate) payloads: PayloadStore,
    pub(crate) shutdown: Shutdown,
    /// Limits as they are changed while it works.
    pub(crate) limits: watch::Receiver<Option<Limits>>,
}

/// An answer that came in.
enum Answer {
    Page(Result<Page, Status>),
    Stop(Slot, StopReply, u64),
    Describe(Slot, DescribeReply),
    Reserved(u64, Result<(), String>),
}

impl Sweeper<'_> {
    /// Runs one window to its end, or until it is cancelled: then it answers with what it did.
    /// `before` is what the attempt before this one had come to.
    pub(crate) async fn run(&self, input: &WindowInput, before: Beat) -> Result<WindowOutput, ActivityError> {
        let attempt = self.ctx.info().attempt;
        if attempt > 1 {
            tracing::info!(
                attempt,
                reserved = before.checkpoint.reserved,
                "window goes on after an attempt that was lost"
            );
        }
        let first_chunk = ChunkName {
            pass: input.pass,
            window: input.window,
            attempt,
            number: 0,
        };
        let mut journal = Journal::new(self.payloads.clone(), input.task.cancellation_id.clone(), first_chunk);
        let mut window = Window::resume(input.spec.clone(), before.checkpoint);
        if input.spec.ask.is_some() {
            let id = &input.task.cancellation_id;
            let asked = asked(&self.payloads, id, &before, self.ctx.cancelled());
            window.take_over(kept_alive(self.ctx, || before.clone(), asked).await??);
        }
        let mut told_to_stop = self.ctx.is_cancelled();
        if told_to_stop {
            window.stop();
        }
        let mut limits = self.limits.clone();
        let mut known = limits.borrow_and_update().unwrap_or(input.limits);
        window.set_limits(known.window());
        let mut following = true;
        let listing = self.listing(input);
        let page_size = i32::try_from(input.spec.settings.page_size).unwrap_or(1_000);

        let clock = Clock::start();
        let mut rate = Rate::default();
        let mut calls: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        let mut tick = interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut meter = WindowMeter::start(&window);
        let mut handed_over = false;
        let mut skipped_before = 0;

        let result = loop {
            let next = loop {
                match window.next(clock.now_ms()) {
                    Step::List { token } => {
                        let list = listing.page(page_size, token);
                        calls.push(async move { Answer::Page(list.await) }.boxed());
                    }
                    Step::Stop { slot, pin } => {
                        let reason = input.reason.clone();
                        let asks = input.spec.ask.is_some();
                        calls.push(
                            async move {
                                let sent = Instant::now();
                                let in_flight = meter::stopping();
                                let reply = if asks {
                                    self.main.ask(pin, reason).await
                                } else {
                                    self.main.stop(pin, reason).await
                                };
                                drop(in_flight);
                                meter::stopped(&reply, sent.elapsed());
                                Answer::Stop(
                                    slot,
                                    reply,
                                    u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX),
                                )
                            }
                            .boxed(),
                        );
                    }
                    Step::Describe {
                        slot,
                        workflow_id,
                        run_id,
                    } => {
                        let described = self.main.describe_chain(workflow_id, run_id);
                        calls.push(async move { Answer::Describe(slot, described.await) }.boxed());
                    }
                    Step::Reserve { upto } => {
                        let checkpoint = Checkpoint {
                            reserved: upto,
                            ..window.checkpoint()
                        };
                        let beat = beat(&window, checkpoint, &before.journal, &journal, &rate);
                        // First into the SDK's own buffer, so that no later heartbeat of its loop holds less.
                        self.ctx.record_heartbeat(beat.clone()).await?;
                        calls.push(async move { Answer::Reserved(upto, self.reserve(beat).await) }.boxed());
                    }
                    Step::Wait { until_ms } => break ControlFlow::Continue(until_ms.map(|until| clock.until(until))),
                    Step::Done(result) => break ControlFlow::Break(*result),
                }
            };
            let mut outcomes = window.take_outcomes();
            if handed_over {
                // What is left alone now is the next attempt's.
                outcomes.retain(|outcome| outcome.result != TargetResult::Skipped);
            }
            journal.add(&outcomes);
            let wait = match next {
                ControlFlow::Continue(wait) => wait,
                ControlFlow::Break(result) => break result,
            };
            tokio::select! {
                biased;
                Some(answer) = calls.next() => {
                    give(&mut window, clock, answer);
                    // Whatever else has come in meanwhile, at once: the machine is asked once for all of them.
                    while let Some(Some(answer)) = calls.next().now_or_never() {
                        give(&mut window, clock, answer);
                    }
                }
                _ = tick.tick() => {
                    journal.poll();
                    meter.note(&window);
                    let counts = window.counts();
                    rate.note(counts.stopped + counts.already_closed);
                    let beat = beat(&window, window.checkpoint(), &before.journal, &journal, &rate);
                    self.ctx.record_heartbeat(beat).await?;
                }
                () = self.ctx.cancelled(), if !told_to_stop => {
                    told_to_stop = true;
                    window.stop();
                }
                () = self.shutdown.requested(), if !told_to_stop => {
                    told_to_stop = true;
                    handed_over = true;
                    skipped_before = window.counts().skipped;
                    window.stop();
                }
                changed = limits.changed(), if following => {
                    following = changed.is_ok();
                    let now = limits.borrow_and_update().unwrap_or(known);
                    if now != known {
                        tracing::info!(limits = ?now, "limits changed");
                        known = now;
                        window.set_limits(known.window());
                    }
                }
                () = sleep(wait), if wait.is_some() => {}
            }
        };

        meter.note(&window);
        let beat = beat(&window, window.checkpoint(), &before.journal, &journal, &rate);
        // A slow store must not look like a dead worker.
        let (written, lost) = kept_alive(self.ctx, || beat.clone(), journal.finish()).await?;
        let unwritten = unwritten(&before);
        let mut chunks = before.journal;
        chunks.extend(written);
        if handed_over && !result.complete {
            // This process ends: another worker goes on where this one was, at once. Nothing is in flight any more, so what
            // was used of the cap is known, and what was left alone is the next attempt's.
            let Checkpoint {
                mut counts,
                grace_until_ms,
                ..
            } = window.checkpoint();
            counts.listed = counts.listed.saturating_sub(counts.skipped - skipped_before);
            counts.skipped = skipped_before;
            let checkpoint = Checkpoint {
                counts,
                reserved: result.asked.map_or(result.charged, |asked| asked.charged),
                grace_until_ms,
            };
            self.ctx
                .record_heartbeat(Beat {
                    checkpoint,
                    journal: chunks,
                    ..Beat::default()
                })
                .await?;
            let failure = ApplicationFailure::new(anyhow::anyhow!("handed over: this worker shuts down"));
            return Err(ActivityError::application(failure));
        }
        let mut warnings = Vec::new();
        if lost > 0 {
            warnings.push(format!(
                "the journal lacks {lost} outcomes of pass {}: the payload store could not be written",
                input.pass
            ));
        }
        if unwritten > 0 {
            warnings.push(format!(
                "the journal lacks {unwritten} outcomes of pass {}: a worker was lost before it had written them",
                input.pass
            ));
        }
        Ok(WindowOutput {
            result,
            journal: chunks,
            journal_lacks: lost + unwritten,
            warnings,
        })
    }

    /// What the window lists. Descendants come with the pass over all that is open, where nothing narrows it: there their parents
    /// are stopped already.
    fn listing(&self, input: &WindowInput) -> Listing {
        let (task, scope) = (&input.task, &input.spec.scope);
        if input.kind == PassKind::Open && input.range == StartRange::ALL {
            return Listing::whole(self.main.clone(), &task.filter, scope, task.since_ms);
        }
        let query = query::window(&task.filter, input.kind, input.range);
        Listing::of_matches(self.main.clone(), query)
    }

    /// Records a heartbeat and waits for the server to have it.
    async fn reserve(&self, beat: Beat) -> Result<(), String> {
        let client = self.canceler.client().await.map_err(|error| error.to_string())?;
        let context = SerializationContextData::Activity(ActivitySerializationContext::new());
        let payloads = client
            .options()
            .data_converter
            .to_payloads(&context, &beat)
            .await
            .map_err(|error| error.to_string())?;
        let request = RecordActivityTaskHeartbeatRequest {
            namespace: self.canceler.namespace().to_owned(),
            task_token: self.ctx.info().task_token.clone(),
            identity: client.connection().identity().to_owned(),
            details: Some(Payloads { payloads }),
            ..RecordActivityTaskHeartbeatRequest::default()
        };
        // The SDK's retries stay on: a reservation that is only slow should not end a window.
        let mut stub = client.connection().workflow_service();
        stub.record_activity_task_heartbeat(tonic::Request::new(request))
            .await
            .map_err(|status| call_error(&status).reason)?;
        Ok(())
    }
}

/// Gives an answer to the machine.
fn give(window: &mut Window, clock: Clock, answer: Answer) {
    let now_ms = clock.now_ms();
    match answer {
        Answer::Page(Ok(page)) => window.on_page(now_ms, page.rows, page.next),
        Answer::Page(Err(status)) => window.on_page_error(now_ms, call_error(&status)),
        Answer::Stop(slot, reply, took_us) => window.on_stop(now_ms, slot, reply, took_us),
        Answer::Describe(slot, reply) => window.on_describe(now_ms, slot, reply),
        Answer::Reserved(upto, Ok(())) => window.on_reserved(upto),
        Answer::Reserved(_, Err(reason)) => window.on_reserve_error(reason),
    }
}

/// Whom earlier attempts asked to end, as far as they had written it; what they had not is charged all the same. Once it is told to stop it
/// does not matter any more: whatever has been read by then is enough to answer with.
async fn asked(
    payloads: &PayloadStore,
    cancellation_id: &str,
    before: &Beat,
    told_to_stop: impl Future<Output = ()>,
) -> Result<Vec<AskedRun>, Error> {
    let chunks = journal::promised(cancellation_id, before.journal.clone())?;
    let mut asked = Vec::new();
    let read = async {
        for chunk in &chunks {
            match journal::outcomes(payloads, chunk).await {
                Ok(outcomes) => asked.extend(outcomes.into_iter().filter_map(asked_run)),
                Err(error) => tracing::warn!(key = chunk.key, error = %error, "who was asked cannot be read"),
            }
        }
    };
    tokio::select! {
        biased;
        () = told_to_stop => {}
        () = read => {}
    }
    Ok(asked)
}

/// A run that was asked to end.
fn asked_run(outcome: TargetOutcome) -> Option<AskedRun> {
    (outcome.result == TargetResult::Asked).then_some(AskedRun {
        first_run_id: outcome.first_run_id,
        run_id: outcome.run_id,
    })
}

/// Outcomes that earlier attempts counted in their last heartbeat and had not written to the journal.
fn unwritten(before: &Beat) -> u64 {
    let counted = before.checkpoint.counts.settled();
    let written: u64 = before.journal.iter().map(|chunk| chunk.outcomes).sum();
    counted.saturating_sub(written)
}

fn beat(window: &Window, checkpoint: Checkpoint, before: &[JournalChunk], journal: &Journal, rate: &Rate) -> Beat {
    let mut chunks = before.to_vec();
    chunks.extend(journal.chunks());
    Beat {
        counts: *window.counts(),
        limit: window.limiter().limit,
        base_us: window.limiter().base_us,
        latency_us: window.limiter().latency_us,
        rate: rate.per_second(),
        open: None,
        checkpoint,
        journal: chunks,
    }
}

/// Sleeps that long; for ever when there is no reason to wake.
pub(crate) async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
