//! The span of an activity's attempt, under the StartActivity of whoever scheduled it.

use opentelemetry::trace::{FutureExt as _, SpanBuilder, SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{KeyValue, global};
use temporalio_sdk::activities::ActivityError;
use temporalio_sdk::interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next};

use super::{ACTIVITY_ID, HEADER, end, header, workflow_attributes};

/// What went wrong; to be cancelled, or completed by somebody else, is no failure.
fn failure(error: &ActivityError) -> Option<String> {
    match error {
        ActivityError::Application(failure) => Some(failure.to_string()),
        _ => None,
    }
}

/// Makes the spans.
pub(super) struct Tracing;

impl ActivityInboundInterceptor for Tracing {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let info = input.activity_info();
        let mut attributes = workflow_attributes(
            info.workflow_id.as_deref().unwrap_or_default(),
            info.workflow_run_id.as_deref().unwrap_or_default(),
        );
        attributes.extend([
            KeyValue::new(ACTIVITY_ID, info.activity_id.clone()),
            KeyValue::new("temporalActivityType", info.activity_type.clone()),
            KeyValue::new("temporalAttempt", i64::from(info.attempt)),
        ]);
        let parent = header::read(HEADER, input.headers()).unwrap_or_default();
        let builder = SpanBuilder::from_name(format!("RunActivity:{}", info.activity_type))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let context = parent.with_span(global::tracer("quell").build_with_context(builder, &parent));
        Box::pin(async move {
            let result = next.run(input).with_context(context.clone()).await;
            end(&context, result.as_ref().err().and_then(failure));
            result
        })
    }
}
