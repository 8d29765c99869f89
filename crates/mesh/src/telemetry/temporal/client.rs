//! Spans of what a client starts and signals. Looking (Describe, Query, Count) makes none: it is done all the time.

use futures::future::BoxFuture;
use opentelemetry::trace::{FutureExt as _, SpanBuilder, SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, global};
use temporalio_client::errors::{
    WorkflowInteractionError, WorkflowStartError, WorkflowUpdateError, WorkflowUpdateWithStartError,
};
use temporalio_client::{
    ClientInterceptor, Next, SignalWithStartWorkflowInput, SignalWorkflowInput, StartWorkflowInput,
    StartWorkflowOutput, StartWorkflowUpdateInput, StartWorkflowUpdateOutput, UpdateWithStartWorkflowInput,
    UpdateWithStartWorkflowOutput,
};

use super::{end, header, workflow_attributes};

/// Makes the spans.
pub(super) struct Tracing;

fn begin(name: String, attributes: Vec<KeyValue>) -> Context {
    let parent = Context::current();
    let builder = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Client)
        .with_attributes(attributes);
    parent.with_span(global::tracer("quell").build_with_context(builder, &parent))
}

macro_rules! traced {
    ($next:ident, $input:ident, $context:ident) => {
        Box::pin(async move {
            let result = $next.run($input).with_context($context.clone()).await;
            end(&$context, result.as_ref().err().map(ToString::to_string));
            result
        })
    };
}

impl ClientInterceptor for Tracing {
    fn start_workflow<'a>(
        &'a self,
        mut input: StartWorkflowInput,
        next: Next<'a, StartWorkflowInput, BoxFuture<'a, Result<StartWorkflowOutput, WorkflowStartError>>>,
    ) -> BoxFuture<'a, Result<StartWorkflowOutput, WorkflowStartError>> {
        let attributes = workflow_attributes(&input.options.workflow_id, "");
        let context = begin(format!("StartWorkflow:{}", input.workflow_type), attributes);
        header::write_call(&context, &mut input.options.header);
        traced!(next, input, context)
    }

    fn signal_with_start_workflow<'a>(
        &'a self,
        mut input: SignalWithStartWorkflowInput,
        next: Next<'a, SignalWithStartWorkflowInput, BoxFuture<'a, Result<StartWorkflowOutput, WorkflowStartError>>>,
    ) -> BoxFuture<'a, Result<StartWorkflowOutput, WorkflowStartError>> {
        let attributes = workflow_attributes(&input.options.workflow_id, "");
        let context = begin(format!("SignalWithStartWorkflow:{}", input.workflow_type), attributes);
        header::write_call(&context, &mut input.options.header);
        traced!(next, input, context)
    }

    fn signal_workflow<'a>(
        &'a self,
        mut input: SignalWorkflowInput,
        next: Next<'a, SignalWorkflowInput, BoxFuture<'a, Result<(), WorkflowInteractionError>>>,
    ) -> BoxFuture<'a, Result<(), WorkflowInteractionError>> {
        let attributes = workflow_attributes(&input.workflow_id, &input.run_id);
        let context = begin(format!("SignalWorkflow:{}", input.signal_name), attributes);
        header::write_call(&context, &mut input.options.header);
        traced!(next, input, context)
    }

    fn start_workflow_update<'a>(
        &'a self,
        mut input: StartWorkflowUpdateInput,
        next: Next<'a, StartWorkflowUpdateInput, BoxFuture<'a, Result<StartWorkflowUpdateOutput, WorkflowUpdateError>>>,
    ) -> BoxFuture<'a, Result<StartWorkflowUpdateOutput, WorkflowUpdateError>> {
        let attributes = workflow_attributes(&input.workflow_id, &input.run_id);
        let context = begin(format!("StartWorkflowUpdate:{}", input.update_name), attributes);
        header::write_call(&context, &mut input.options.header);
        traced!(next, input, context)
    }

    fn update_with_start_workflow<'a>(
        &'a self,
        mut input: UpdateWithStartWorkflowInput,
        next: Next<
            'a,
            UpdateWithStartWorkflowInput,
            BoxFuture<'a, Result<UpdateWithStartWorkflowOutput, WorkflowUpdateWithStartError>>,
        >,
    ) -> BoxFuture<'a, Result<UpdateWithStartWorkflowOutput, WorkflowUpdateWithStartError>> {
        let attributes = workflow_attributes(&input.options.workflow_id, "");
        let context = begin(format!("UpdateWithStartWorkflow:{}", input.workflow_type), attributes);
        header::write_call(&context, &mut input.options.start_header);
        header::write_call(&context, &mut input.options.update_header);
        traced!(next, input, context)
    }
}
