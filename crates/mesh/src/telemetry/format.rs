//! Log lines that carry the trace they belong to.
//!
//! The ids come from the current OpenTelemetry context, not from a tracing span: inside workflows and activities the
//! Temporal plugin sets the context and there is no span of ours around.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Adds trace ids to the lines of another format.
#[derive(Debug)]
pub(super) struct WithTrace<F> {
    inner: F,
    json: bool,
}

impl WithTrace<Format<Full>> {
    /// For people; `ansi` colours it.
    pub(super) fn human(ansi: bool) -> Self {
        Self {
            inner: Format::default().with_ansi(ansi),
            json: false,
        }
    }
}

impl WithTrace<Format<Json>> {
    /// For machines.
    pub(super) fn json() -> Self {
        Self {
            inner: Format::default().json().flatten_event(true),
            json: true,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // OpenTelemetry's own events may come while it holds its context; asking for it then would panic.
        let span = if event.metadata().target().starts_with("opentelemetry") {
            SpanContext::empty_context()
        } else {
            Context::current().span().span_context().clone()
        };
        if !span.is_valid() {
            return self.inner.format_event(ctx, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        let (trace, id) = (span.trace_id(), span.span_id());
        if self.json {
            let open = line.strip_suffix('}').ok_or(fmt::Error)?;
            writeln!(writer, "{open},\"trace_id\":\"{trace}\",\"span_id\":\"{id}\"}}")
        } else {
            writeln!(writer, "{line} trace_id={trace}")
        }
    }
}

#[cfg(test)]
mod tests;
