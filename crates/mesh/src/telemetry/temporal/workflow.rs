//! The spans of a workflow: instants with ids that every replay makes again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::SystemTime;

use opentelemetry::trace::{FutureExt as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use temporalio_common::protos::temporal::api::common::v1::Payload;
use temporalio_sdk::WorkflowTermination;
use temporalio_sdk::workflow_interceptors::{
    CancellableWorkflowOutboundFuture, ContinueAsNewInput, ContinueAsNewResult, ExecuteWorkflowInput,
    ExecuteWorkflowResult, HandleSignalInput, HandleSignalResult, HandleUpdateInput, HandleUpdateResult,
    ScheduleActivityInput, ScheduleActivityResult, ScheduleLocalActivityInput, SignalWorkflowInput,
    SignalWorkflowResult, StartChildWorkflowInput, StartChildWorkflowResult, SyncWorkflowInterceptorContext,
    WorkflowInterceptor, WorkflowInterceptorContext, WorkflowInterceptorFuture, WorkflowNext,
};
use temporalio_workflow::WorkflowRandomStream;

use super::header::{self, CONTINUED, HEADER};
use super::workflow_attributes;
use crate::telemetry::instant::{Instant, flags_of_new, span_context};

/// The workflow's random numbers that ids are made of. The name is part of what replays depend on.
pub(super) const IDS: &str = "quell/trace";

/// Makes the spans of one workflow in memory.
#[derive(Default)]
pub(super) struct Tracing {
    /// The context of the run, once it runs.
    run: RefCell<Context>,
}

/// A span that a workflow makes.
pub(super) struct New<'a> {
    pub(super) name: String,
    pub(super) kind: SpanKind,
    pub(super) since: Option<SystemTime>,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) link: Option<&'a Context>,
    pub(super) failure: Option<String>,
}

impl New<'_> {
    pub(super) fn instant(name: String, kind: SpanKind, attributes: Vec<KeyValue>) -> Self {
        Self {
            name,
            kind,
            since: None,
            attributes,
            link: None,
            failure: None,
        }
    }
}

/// Makes a span below a context, or the root of a new trace below none, and gives its own context. Ids are drawn whether it is sent or
/// not: a replay has to draw the same.
pub(super) fn span(ids: &WorkflowRandomStream, parent: &Context, first_time: bool, new: New<'_>) -> Context {
    let id: u64 = ids.random();
    let above = parent.span().span_context().clone();
    let (trace, flags) = if above.is_valid() {
        (above.trace_id(), above.trace_flags())
    } else {
        let trace = TraceId::from(ids.random::<u128>());
        // A new part of a trace that is not recorded is not recorded either.
        let before = new.link.map(|link| link.span().span_context().trace_flags());
        (trace, before.unwrap_or_else(|| flags_of_new(trace)))
    };
    let context = span_context(trace, id, flags);
    if first_time {
        Instant {
            context: &context,
            parent: if above.is_valid() {
                above.span_id()
            } else {
                SpanId::INVALID
            },
            parent_is_remote: above.is_remote(),
            name: new.name.into(),
            kind: new.kind,
            since: new.since,
            attributes: new.attributes,
            links: new.link.map(linked).into_iter().collect(),
            failure: new.failure,
        }
        .send();
    }
    parent.with_remote_span_context(context)
}

fn linked(context: &Context) -> SpanContext {
    context.span().span_context().clone()
}

impl Tracing {
    /// A span for a call out of the workflow, whose context goes into the call's headers.
    fn call(&self, ctx: &WorkflowInterceptorContext, name: String, headers: &mut HashMap<String, Payload>) {
        let current = Context::current();
        let parent = if current.has_active_span() {
            current
        } else {
            self.run.borrow().clone()
        };
        let attributes = workflow_attributes(ctx.workflow_id(), ctx.run_id());
        let new = New::instant(name, SpanKind::Client, attributes);
        let ids = ctx.random_stream(IDS);
        let context = span(&ids, &parent, !ctx.is_replaying_history_events(), new);
        header::write(&context, HEADER, headers);
    }

    /// A span for something that came to the workflow: below its sender's, and linked with the run.
    fn handled(&self, ctx: &WorkflowInterceptorContext, name: String, headers: &HashMap<String, Payload>) -> Context {
        let run = self.run.borrow().clone();
        let sender = header::read(HEADER, headers);
        let mut new = New::instant(
            name,
            SpanKind::Server,
            workflow_attributes(ctx.workflow_id(), ctx.run_id()),
        );
        new.link = sender.is_some().then_some(&run).filter(|run| run.has_active_span());
        let parent = sender.unwrap_or_else(|| run.clone());
        let ids = ctx.random_stream(IDS);
        span(&ids, &parent, !ctx.is_replaying_history_events(), new)
    }
}

/// How a workflow ended: the name of its last span, and what went wrong.
fn ending(workflow_type: &str, result: &ExecuteWorkflowResult) -> Option<(String, Option<String>)> {
    let completed = format!("CompleteWorkflow:{workflow_type}");
    match result {
        Ok(_) => Some((completed, None)),
        Err(WorkflowTermination::Evicted) => None,
        Err(WorkflowTermination::ContinueAsNew(_)) => Some((format!("ContinueAsNewWorkflow:{workflow_type}"), None)),
        Err(WorkflowTermination::Cancelled { .. }) => Some((format!("CancelledWorkflow:{workflow_type}"), None)),
        Err(failed @ WorkflowTermination::Failed(_)) => Some((completed, Some(failed.to_string()))),
    }
}

impl WorkflowInterceptor for Tracing {
    fn execute<'a>(
        &'a self,
        ctx: WorkflowInterceptorContext,
        input: ExecuteWorkflowInput,
        next: WorkflowNext<'a, ExecuteWorkflowInput, WorkflowInterceptorFuture<'a, ExecuteWorkflowResult>>,
    ) -> WorkflowInterceptorFuture<'a, ExecuteWorkflowResult> {
        let parent = header::read(HEADER, input.headers()).unwrap_or_default();
        let before = header::read(CONTINUED, input.headers());
        let ids = ctx.random_stream(IDS);
        let attributes = workflow_attributes(ctx.workflow_id(), ctx.run_id());
        let name = format!("RunWorkflow:{}", ctx.workflow_type());
        let mut new = New::instant(name, SpanKind::Server, attributes.clone());
        new.link = before.as_ref();
        let run = span(&ids, &parent, !ctx.is_replaying_history_events(), new);
        *self.run.borrow_mut() = run.clone();
        let since = ctx.workflow_time();
        let inside = run.clone();
        let future = async move {
            let result = next.run(input).await;
            if let Some((name, failure)) = ending(ctx.workflow_type(), &result) {
                let mut new = New::instant(name, SpanKind::Internal, attributes);
                (new.since, new.failure) = (since, failure);
                span(&ids, &run, !ctx.is_replaying_history_events(), new);
            }
            result
        };
        WorkflowInterceptorFuture::new(future.with_context(inside))
    }

    fn handle_signal<'a>(
        &'a self,
        ctx: WorkflowInterceptorContext,
        input: HandleSignalInput,
        next: WorkflowNext<'a, HandleSignalInput, WorkflowInterceptorFuture<'a, HandleSignalResult>>,
    ) -> WorkflowInterceptorFuture<'a, HandleSignalResult> {
        let context = self.handled(&ctx, format!("HandleSignal:{}", input.name()), input.headers());
        WorkflowInterceptorFuture::new(next.run(input).with_context(context))
    }

    fn handle_update<'a>(
        &'a self,
        ctx: WorkflowInterceptorContext,
        input: HandleUpdateInput,
        next: WorkflowNext<'a, HandleUpdateInput, WorkflowInterceptorFuture<'a, HandleUpdateResult>>,
    ) -> WorkflowInterceptorFuture<'a, HandleUpdateResult> {
        let context = self.handled(&ctx, format!("HandleUpdate:{}", input.name()), input.headers());
        WorkflowInterceptorFuture::new(next.run(input).with_context(context))
    }

    fn schedule_activity(
        &self,
        ctx: WorkflowInterceptorContext,
        mut input: ScheduleActivityInput,
        next: WorkflowNext<'static, ScheduleActivityInput, CancellableWorkflowOutboundFuture<ScheduleActivityResult>>,
    ) -> CancellableWorkflowOutboundFuture<ScheduleActivityResult> {
        let name = format!("StartActivity:{}", input.activity_type());
        self.call(&ctx, name, input.headers_mut());
        next.run(input)
    }

    fn schedule_local_activity(
        &self,
        ctx: WorkflowInterceptorContext,
        mut input: ScheduleLocalActivityInput,
        next: WorkflowNext<
            'static,
            ScheduleLocalActivityInput,
            CancellableWorkflowOutboundFuture<ScheduleActivityResult>,
        >,
    ) -> CancellableWorkflowOutboundFuture<ScheduleActivityResult> {
        let name = format!("StartLocalActivity:{}", input.activity_type());
        self.call(&ctx, name, input.headers_mut());
        next.run(input)
    }

    fn start_child_workflow(
        &self,
        ctx: WorkflowInterceptorContext,
        mut input: StartChildWorkflowInput,
        next: WorkflowNext<
            'static,
            StartChildWorkflowInput,
            CancellableWorkflowOutboundFuture<StartChildWorkflowResult>,
        >,
    ) -> CancellableWorkflowOutboundFuture<StartChildWorkflowResult> {
        let name = format!("StartChildWorkflow:{}", input.workflow_type());
        self.call(&ctx, name, input.headers_mut());
        next.run(input)
    }

    fn signal_workflow(
        &self,
        ctx: WorkflowInterceptorContext,
        mut input: SignalWorkflowInput,
        next: WorkflowNext<'static, SignalWorkflowInput, CancellableWorkflowOutboundFuture<SignalWorkflowResult>>,
    ) -> CancellableWorkflowOutboundFuture<SignalWorkflowResult> {
        let name = format!("SignalWorkflow:{}", input.signal_name());
        self.call(&ctx, name, input.headers_mut());
        next.run(input)
    }

    fn continue_as_new(
        &self,
        _ctx: SyncWorkflowInterceptorContext,
        mut input: ContinueAsNewInput,
        next: WorkflowNext<'static, ContinueAsNewInput, ContinueAsNewResult>,
    ) -> ContinueAsNewResult {
        header::write(&self.run.borrow(), CONTINUED, input.headers_mut());
        next.run(input)
    }
}
