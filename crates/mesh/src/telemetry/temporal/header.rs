//! The trace context in Temporal's headers, in the form that all SDKs share: W3C's header lines as a JSON object.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use temporalio_common::protos::temporal::api::common::v1::{Header, Payload};

/// The header that every Temporal SDK knows.
pub const HEADER: &str = "_tracer-data";
/// The header in which a run that continued as new finds the one before. A name of ours, so that nobody takes it for a parent.
pub(super) const CONTINUED: &str = "quell-continued-from";

/// Writes a context into header fields; nothing when it is in no trace.
pub(super) fn write(context: &Context, key: &str, fields: &mut HashMap<String, Payload>) {
    let mut lines: HashMap<String, String> = HashMap::new();
    TraceContextPropagator::new().inject_context(context, &mut lines);
    if lines.is_empty() {
        return;
    }
    // A map of texts is always JSON.
    if let Ok(data) = serde_json::to_vec(&lines) {
        let payload = Payload {
            metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
            data,
            ..Payload::default()
        };
        fields.insert(key.to_owned(), payload);
    }
}

/// The same for a client's call.
pub(super) fn write_call(context: &Context, header: &mut Option<Header>) {
    write(context, HEADER, &mut header.get_or_insert_default().fields);
}

/// The context in header fields, if there is one.
pub(super) fn read(key: &str, fields: &HashMap<String, Payload>) -> Option<Context> {
    let payload = fields.get(key)?;
    let lines: HashMap<String, String> = serde_json::from_slice(&payload.data).ok()?;
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &lines);
    opentelemetry::trace::TraceContextExt::has_active_span(&context).then_some(context)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};

    use super::*;

    #[test]
    fn a_context_travels_as_other_sdks_write_it() {
        let span = SpanContext::new(
            TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
            SpanId::from_hex("00f067aa0ba902b7").unwrap(),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let mut fields = HashMap::new();
        write(
            &Context::new().with_remote_span_context(span.clone()),
            HEADER,
            &mut fields,
        );
        let written: serde_json::Value = serde_json::from_slice(&fields[HEADER].data).unwrap();
        assert_eq!(
            written["traceparent"],
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        );
        assert_eq!(read(HEADER, &fields).unwrap().span().span_context(), &span);
    }

    #[test]
    fn what_is_no_context_is_none() {
        let mut fields = HashMap::new();
        write(&Context::new(), HEADER, &mut fields);
        assert!(fields.is_empty() && read(HEADER, &fields).is_none());
        for data in ["", "7", r#"{"traceparent":"00-0-0-01"}"#] {
            let payload = Payload {
                data: data.into(),
                ..Payload::default()
            };
            assert!(
                read(HEADER, &HashMap::from([(HEADER.to_owned(), payload)])).is_none(),
                "{data}"
            );
        }
    }
}
