//! The way of spans to the collector: a queue with an end, and what is lost is counted.
//!
//! The SDK's batch processor sends on a thread of its own, and so never holds up who makes a span; but it tells only at the end of
//! the process what it had to drop. Here the places in its queue are counted: a span that finds none is dropped and counted, and so
//! is a batch that the collector does not take. A collector that is gone, slow or stuck costs spans, never time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfig, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use crate::metrics::{SPANS_DROPPED, SPANS_EXPORTED, SPANS_QUEUED};

/// The processor. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Exporting(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: RwLock<BatchSpanProcessor>,
    places: Places,
    most: usize,
}

/// Places of the queue that are taken, those of the batch that is being sent too.
#[derive(Debug, Clone, Default)]
struct Places(Arc<AtomicUsize>);

impl Places {
    fn take(&self, most: usize) -> bool {
        let take = |taken: usize| (taken < most).then_some(taken + 1);
        let took = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if took {
            SPANS_QUEUED.with([]).inc();
        }
        took
    }

    fn free(&self, places: usize) {
        self.0.fetch_sub(places, Ordering::Relaxed);
        SPANS_QUEUED.with([]).dec_by(i64::try_from(places).unwrap_or(i64::MAX));
    }
}

impl Exporting {
    /// A queue for at most so many spans before an exporter. `config` is that of the queue; its own bound must be no less.
    pub(super) fn new<E: SpanExporter + 'static>(exporter: E, config: BatchConfig, most: usize) -> Self {
        let places = Places::default();
        let counting = Counting {
            exporter,
            places: places.clone(),
        };
        Self(Arc::new(Inner {
            queue: RwLock::new(BatchSpanProcessor::new(counting, config)),
            places,
            most,
        }))
    }

    fn with<R>(&self, call: impl FnOnce(&BatchSpanProcessor) -> R) -> R {
        // Nothing that is called here leaves the queue half changed.
        call(&self.0.queue.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SpanProcessor for Exporting {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.0.places.take(self.0.most) {
            self.with(|queue| queue.on_end(span));
        } else {
            SPANS_DROPPED.with(["queue_full"]).inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.with(SpanProcessor::force_flush)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.with(|queue| queue.shutdown_with_timeout(timeout))
    }

    fn set_resource(&mut self, resource: &Resource) {
        let mut queue = self.0.queue.write().unwrap_or_else(PoisonError::into_inner);
        queue.set_resource(resource);
    }
}

/// An exporter that counts what it got rid of, and how.
#[derive(Debug)]
struct Counting<E> {
    exporter: E,
    places: Places,
}

impl<E: SpanExporter> SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.places.free(spans);
        let counted = u64::try_from(spans).unwrap_or(u64::MAX);
        match &result {
            Ok(()) => SPANS_EXPORTED.with([]).inc_by(counted),
            Err(_) => SPANS_DROPPED.with(["failed"]).inc_by(counted),
        };
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests;
