//! What is counted with.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Metric;

/// Bounds of the buckets of durations, in seconds: from a call that did nothing to a workflow that waits.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0,
];

/// Names and values.
pub(crate) type Labels<const N: usize> = [(&'static str, String); N];

/// A metric with `N` labels.
#[derive(Debug)]
pub struct Instrument<M, const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, M, fn() -> M>,
}

/// What can stand behind a metric.
pub trait Kind: Clone + Sized {
    /// As Prometheus calls it.
    const NAME: &'static str;
    /// A new one, at zero.
    fn zero() -> Self;
}

impl Kind for Counter {
    const NAME: &'static str = "counter";
    fn zero() -> Self {
        Self::default()
    }
}

impl Kind for Gauge {
    const NAME: &'static str = "gauge";
    fn zero() -> Self {
        Self::default()
    }
}

impl Kind for Timing {
    const NAME: &'static str = "histogram";
    fn zero() -> Self {
        Self(HistogramWithExemplars::new(BUCKETS.into_iter()))
    }
}

impl<M: Kind, const N: usize> Instrument<M, N>
where
    Family<Labels<N>, M, fn() -> M>: Metric,
{
    /// Makes it and puts it on the page.
    pub(crate) fn new(name: &'static str, doc: &'static str, labels: [&'static str; N]) -> Self {
        let family: Family<Labels<N>, M, fn() -> M> = Family::new_with_constructor(M::zero);
        // The page adds the full stop, and joins the lines of a comment.
        let help = doc.trim().trim_end_matches('.').replace('\n', "");
        super::register(|registry| registry.register(name, help, family.clone()));
        let instrument = Self { labels, family };
        if N == 0 {
            drop(instrument.with([""; N]));
        }
        instrument
    }

    /// The metric with these values of its labels, in the order of the table. Keep it where it is used often.
    #[must_use]
    pub fn with(&self, values: [&str; N]) -> M {
        let mut values = values.into_iter();
        let labels = self
            .labels
            .map(|label| (label, values.next().unwrap_or_default().to_owned()));
        self.family.get_or_create_owned(&labels)
    }
}

impl Instrument<Gauge, 0> {
    /// One more, until the returned guard is dropped.
    #[must_use]
    pub fn hold(&self) -> Held {
        Held::new(self.with([]))
    }
}

/// One that counts in a gauge, until it is dropped.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// Counts from now on.
    #[must_use]
    pub fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Durations in buckets, with the trace id of one call in each.
#[derive(Debug, Clone)]
pub struct Timing(HistogramWithExemplars<Labels<1>>);

impl Timing {
    /// Notes a duration. When the current context is in a trace that is recorded, it becomes the bucket's exemplar.
    pub fn record(&self, took: Duration) {
        let context = Context::current();
        let span = context.span();
        let span = span.span_context();
        let exemplar = span
            .is_sampled()
            .then(|| [("trace_id", span.trace_id().to_string())])
            .filter(|_| span.is_valid());
        self.0.observe(took.as_secs_f64(), exemplar, None);
    }
}

impl prometheus_client::metrics::TypedMetric for Timing {
    const TYPE: prometheus_client::metrics::MetricType = prometheus_client::metrics::MetricType::Histogram;
}

impl prometheus_client::encoding::EncodeMetric for Timing {
    fn encode(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> prometheus_client::metrics::MetricType {
        prometheus_client::metrics::MetricType::Histogram
    }
}
