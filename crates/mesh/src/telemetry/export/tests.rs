//! A collector that is gone, or stuck, costs spans and no time.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{BatchConfigBuilder, SdkTracerProvider};

use super::*;

/// An exporter that says that it was called, and answers when it is told.
#[derive(Debug)]
struct Told {
    called: Sender<usize>,
    answers: Mutex<Receiver<OTelSdkResult>>,
}

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.called.send(batch.len()).unwrap();
        self.answers.lock().unwrap().recv().unwrap_or(Ok(()))
    }
}

fn counted() -> [u64; 3] {
    [
        SPANS_EXPORTED.with([]).get(),
        SPANS_DROPPED.with(["queue_full"]).get(),
        SPANS_DROPPED.with(["failed"]).get(),
    ]
}

#[test]
fn a_stuck_collector_costs_spans_and_is_waited_for_by_nobody() {
    const PLACES: usize = 8;
    let (called, calls) = channel();
    let (answer, answers) = channel();
    let exporter = Told {
        called,
        answers: Mutex::new(answers),
    };
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(PLACES)
        .with_max_export_batch_size(4)
        .with_scheduled_delay(Duration::from_millis(1))
        .build();
    let processor = Exporting::new(exporter, config, PLACES);
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    let tracer = provider.tracer("test");
    let make = |spans: usize| (0..spans).for_each(|_| tracer.start("span").end());
    let before = counted();
    let since = |now: [u64; 3]| [now[0] - before[0], now[1] - before[1], now[2] - before[2]];

    make(1);
    assert_eq!(calls.recv().unwrap(), 1, "and now it is stuck");
    let begun = Instant::now();
    make(20);
    let made = begun.elapsed();
    assert_eq!(since(counted()), [0, 13, 0], "of 21, 8 have a place; made in {made:?}");

    answer
        .send(Err(OTelSdkError::InternalFailure("no".to_owned())))
        .unwrap();
    while since(counted())[2] == 0 {
        std::thread::yield_now();
    }
    assert_eq!(
        since(counted()),
        [0, 13, 1],
        "what the collector does not take is counted too"
    );

    drop(answer);
    provider.shutdown().unwrap();
    assert_eq!(since(counted()), [7, 13, 1], "the others left when it answered again");
    assert_eq!(SPANS_QUEUED.with([]).get(), 0);
}
