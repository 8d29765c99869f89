use super::*;
use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tracing_subscriber::layer::SubscriberExt as _;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn in_a_trace(f: impl FnOnce()) {
    let span = SpanContext::new(
        TraceId::from(0xabc_u128),
        SpanId::from(0xdef_u64),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let _guard = Context::new().with_remote_span_context(span).attach();
    f();
}

#[test]
fn json_lines_stay_json_and_carry_the_trace() {
    let sink = Sink::default();
    let writer = sink.clone();
    let layer = tracing_subscriber::fmt::layer()
        .fmt_fields(tracing_subscriber::fmt::format::JsonFields::new())
        .event_format(WithTrace::json())
        .with_writer(move || writer.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        in_a_trace(|| tracing::info!(workload_id = "7 \"x\"", "snowball started"));
        tracing::info!("outside");
    });
    let lines: Vec<serde_json::Value> = sink
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["message"], "snowball started");
    assert_eq!(lines[0]["workload_id"], "7 \"x\"");
    assert_eq!(lines[0]["trace_id"], "00000000000000000000000000000abc");
    assert_eq!(lines[0]["span_id"], "0000000000000def");
    assert!(lines[1].get("trace_id").is_none());
}

#[test]
fn human_lines_end_with_the_trace() {
    let sink = Sink::default();
    let writer = sink.clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .event_format(WithTrace::human(false))
        .with_writer(move || writer.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        in_a_trace(|| tracing::info!(n = 3, "page listed"));
        tracing::info!("outside");
    });
    let text = sink.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("page listed n=3") && lines[0].ends_with("trace_id=00000000000000000000000000000abc"),
        "{text}"
    );
    assert!(lines[1].ends_with("outside"), "{text}");
}
