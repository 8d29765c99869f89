//! Spans that are made whole: with ids that were decided elsewhere, and exported at once.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, ShouldSample as _, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};

use super::export::Exporting;

/// Where such spans go, and which new traces are recorded.
static SINK: OnceLock<(Option<Exporting>, Sampler)> = OnceLock::new();

/// Tells where they go. Only the first time counts.
pub(super) fn send_to(processor: Option<Exporting>, sampler: Sampler) {
    // A second set-up is refused before it comes here.
    let _ = SINK.set((processor, sampler));
}

/// Whether a trace that begins here is recorded.
pub(super) fn flags_of_new(trace: TraceId) -> TraceFlags {
    let recorded = SINK.get().is_some_and(|(_, sampler)| {
        let result = sampler.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    });
    if recorded {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::default()
    }
}

/// A span to be made.
#[derive(Debug)]
pub(super) struct Instant<'a> {
    pub(super) context: &'a SpanContext,
    pub(super) parent: SpanId,
    pub(super) parent_is_remote: bool,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: SpanKind,
    /// None for an instant.
    pub(super) since: Option<SystemTime>,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) links: Vec<SpanContext>,
    /// What went wrong.
    pub(super) failure: Option<String>,
}

impl Instant<'_> {
    /// Exports it, when its trace is recorded.
    pub(super) fn send(self) {
        let Some((Some(processor), _)) = SINK.get() else { return };
        if !self.context.is_sampled() {
            return;
        }
        let now = SystemTime::now();
        let mut events = SpanEvents::default();
        let status = match self.failure {
            None => Status::Unset,
            Some(text) => {
                let attributes = vec![KeyValue::new("exception.message", text.clone())];
                events.events.push(Event::new("exception", now, attributes, 0));
                Status::error(text)
            }
        };
        let mut links = SpanLinks::default();
        links
            .links
            .extend(self.links.into_iter().map(|context| Link::new(context, Vec::new(), 0)));
        processor.on_end(SpanData {
            span_context: self.context.clone(),
            parent_span_id: self.parent,
            parent_span_is_remote: self.parent_is_remote,
            span_kind: self.kind,
            name: self.name,
            // Clocks may differ between workers, and an end before its begin is refused.
            start_time: self.since.unwrap_or(now).min(now),
            end_time: now,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events,
            links,
            status,
            instrumentation_scope: InstrumentationScope::builder("quell").build(),
        });
    }
}

/// The context of a span with this id, in this trace.
pub(super) fn span_context(trace: TraceId, span: u64, flags: TraceFlags) -> SpanContext {
    SpanContext::new(trace, SpanId::from(span), flags, false, TraceState::default())
}
