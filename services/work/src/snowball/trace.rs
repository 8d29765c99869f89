//! Keeps a snowball's trace small.
//!
//! The SDK's OpenTelemetry plugin makes a span for each child that a workflow starts, one for the child's run, and two for
//! each local activity. It takes the parent from the current OpenTelemetry context at the moment of the call, and
//! the tracer's sampler is parent-based. So the cheapest correct way to keep a call out of the trace is to make it in a context
//! whose span context is the same without the sampled flag: no span is recorded here, and the child, which inherits the flag in
//! its header, records none either, nor does anything below it. The trace id stays, so logs still lead to the trace.

use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt, TraceFlags},
};

/// How many workflows of one snowball may be in its trace.
pub const TRACED: u32 = 50;

/// Makes a call that appears in no trace, nor does anything that it starts. `call` must make its request before it returns
/// (the SDK's workflow calls do: a returned future is already scheduled).
pub fn unsampled<R>(call: impl FnOnce() -> R) -> R {
    let context = Context::current();
    let _guard = without_sampling(&context).map(Context::attach);
    call()
}

/// The current context, unsampled: for a future whose calls appear in no trace.
#[must_use]
pub fn unsampled_context() -> Context {
    let context = Context::current();
    without_sampling(&context).unwrap_or(context)
}

/// The same context, unsampled; `None` when it is in no trace, or unsampled already.
fn without_sampling(context: &Context) -> Option<Context> {
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() || !span.is_sampled() {
        return None;
    }
    let flags = span.trace_flags() & !TraceFlags::SAMPLED;
    let unsampled = SpanContext::new(
        span.trace_id(),
        span.span_id(),
        flags,
        span.is_remote(),
        span.trace_state().clone(),
    );
    Some(context.with_remote_span_context(unsampled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanId, TraceId, TraceState};

    #[test]
    fn the_trace_goes_on_unsampled_and_comes_back() {
        let span = SpanContext::new(
            TraceId::from(7),
            SpanId::from(9),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        let _outer = Context::new().with_remote_span_context(span.clone()).attach();
        unsampled(|| {
            let inner = Context::current();
            let inner = inner.span().span_context().clone();
            assert!(!inner.is_sampled());
            assert_eq!((inner.trace_id(), inner.span_id()), (TraceId::from(7), SpanId::from(9)));
        });
        assert_eq!(Context::current().span().span_context(), &span);
    }

    #[test]
    fn without_a_trace_nothing_changes() {
        unsampled(|| assert!(!Context::current().has_active_span()));
    }
}
