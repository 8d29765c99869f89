//! The Temporal SDK's own metrics, on the same page as ours.
//!
//! The SDK measures into whatever meter it is given. Its names begin with `temporal_`; here durations are in seconds and say so in
//! their names, and counters end on `_total`, as Prometheus wants it. An instrument is made whenever a worker or a client is, so the
//! family behind a name is kept for the life of the process.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Metric;
use temporalio_common::telemetry::metrics::{
    self as core, CoreMeter, CounterBase, GaugeBase, GaugeF64Base, HistogramBase, HistogramDurationBase,
    HistogramF64Base, MetricAttributable, MetricAttributes, MetricParameters, NewAttributes, OrderedPromLabelSet,
    TemporalMeter, UpDownCounterBase,
};
use temporalio_common::telemetry::{METRIC_PREFIX, TaskQueueLabelStrategy};

type Labels = Vec<(String, String)>;
type FloatGauge = Gauge<f64, std::sync::atomic::AtomicU64>;

/// Families that are on the page, by name.
#[derive(Default)]
struct Families {
    counters: BTreeMap<String, Family<Labels, Counter>>,
    gauges: BTreeMap<String, Family<Labels, Gauge>>,
    float_gauges: BTreeMap<String, Family<Labels, FloatGauge>>,
    histograms: BTreeMap<String, Family<Labels, Histogram, Buckets>>,
}

static FAMILIES: LazyLock<Mutex<Families>> = LazyLock::new(Mutex::default);

#[derive(Debug, Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// The meter for the runtime of workers, which puts the prefix before names itself.
pub(crate) fn for_runtime() -> Arc<dyn CoreMeter> {
    Arc::new(Meter { prefix: "" })
}

/// The meter for a client.
pub(crate) fn for_client() -> TemporalMeter {
    TemporalMeter::new(
        Arc::new(Meter { prefix: METRIC_PREFIX }),
        NewAttributes::default(),
        TaskQueueLabelStrategy::UseNormal,
    )
}

#[derive(Debug)]
struct Meter {
    prefix: &'static str,
}

impl Meter {
    /// The family of that name, made at first use.
    fn family<M, C>(
        &self,
        params: &MetricParameters,
        suffix: &str,
        of: impl FnOnce(&mut Families) -> &mut BTreeMap<String, Family<Labels, M, C>>,
        make: impl FnOnce(&str) -> Family<Labels, M, C>,
    ) -> Family<Labels, M, C>
    where
        Family<Labels, M, C>: Metric + Clone,
    {
        let name = format!("{}{}{suffix}", self.prefix, params.name);
        let mut families = FAMILIES.lock().unwrap_or_else(PoisonError::into_inner);
        of(&mut families)
            .entry(name)
            .or_insert_with_key(|name| {
                let family = make(
                    name.strip_prefix(METRIC_PREFIX)
                        .unwrap_or(name)
                        .trim_end_matches(suffix),
                );
                let help = if params.description.is_empty() {
                    "Of the Temporal SDK".to_owned()
                } else {
                    params.description.trim_end_matches('.').to_owned()
                };
                super::register(|registry| registry.register(name.clone(), help, family.clone()));
                family
            })
            .clone()
    }

    fn histogram(&self, params: &MetricParameters, suffix: &str) -> Arc<Of<Histogram, Buckets>> {
        let seconds = !suffix.is_empty();
        let make = |name: &str| Family::new_with_constructor(Buckets(core::default_buckets_for(name, seconds)));
        Arc::new(Of(self.family(params, suffix, |all| &mut all.histograms, make)))
    }
}

/// Makes an instrument of a family and attributes.
struct Of<M, C = fn() -> M>(Family<Labels, M, C>);

impl<M: Clone, C: MetricConstructor<M>> Of<M, C> {
    fn bind(&self, attributes: &MetricAttributes) -> M {
        let labels = match attributes {
            MetricAttributes::Prometheus { labels } => {
                let mut labels: Labels = labels
                    .as_prom_labels()
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect();
                labels.sort();
                labels
            }
            // Attributes are made by this meter, or there are none.
            _ => Labels::new(),
        };
        self.0.get_or_create_owned(&labels)
    }
}

struct Bound<M>(M);

macro_rules! bound {
    ($metric:ty, $make:ty, $base:ident, $method:ident($value:ident: $type:ty), |$bound:ident| $record:expr) => {
        impl MetricAttributable<Box<dyn $base>> for Of<$metric, $make> {
            fn with_attributes(&self, attributes: &MetricAttributes) -> Result<Box<dyn $base>, Box<dyn Error>> {
                Ok(Box::new(Bound(self.bind(attributes))))
            }
        }

        impl $base for Bound<$metric> {
            fn $method(&self, $value: $type) {
                let $bound = &self.0;
                $record;
            }
        }
    };
}

bound!(Counter, fn() -> Counter, CounterBase, adds(value: u64), |bound| bound.inc_by(value));
bound!(Gauge, fn() -> Gauge, GaugeBase, records(value: u64), |bound| bound.set(i64::try_from(value).unwrap_or(i64::MAX)));
bound!(Gauge, fn() -> Gauge, UpDownCounterBase, adds(value: i64), |bound| bound.inc_by(value));
bound!(FloatGauge, fn() -> FloatGauge, GaugeF64Base, records(value: f64), |bound| bound.set(value));
#[expect(clippy::cast_precision_loss, reason = "a histogram holds floats")]
mod whole {
    use super::{Bound, Buckets, Error, Histogram, HistogramBase, MetricAttributable, MetricAttributes, Of};
    bound!(Histogram, Buckets, HistogramBase, records(value: u64), |bound| bound.observe(value as f64));
}
bound!(Histogram, Buckets, HistogramF64Base, records(value: f64), |bound| bound.observe(value));
bound!(Histogram, Buckets, HistogramDurationBase, records(value: Duration), |bound| bound.observe(value.as_secs_f64()));

impl CoreMeter for Meter {
    fn new_attributes(&self, attribs: NewAttributes) -> MetricAttributes {
        MetricAttributes::Prometheus {
            labels: Arc::new(attribs.into()),
        }
    }

    fn extend_attributes(&self, existing: MetricAttributes, attribs: NewAttributes) -> MetricAttributes {
        let mut labels = match existing {
            MetricAttributes::Prometheus { labels } => (*labels).clone(),
            _ => OrderedPromLabelSet::new(),
        };
        attribs.attributes.into_iter().for_each(|one| labels.add_kv(one));
        MetricAttributes::Prometheus {
            labels: Arc::new(labels),
        }
    }

    fn counter(&self, params: MetricParameters) -> core::Counter {
        core::Counter::new(Arc::new(Of(self.family(
            &params,
            "",
            |all| &mut all.counters,
            |_| Family::default(),
        ))))
    }

    fn histogram(&self, params: MetricParameters) -> core::Histogram {
        core::Histogram::new(self.histogram(&params, ""))
    }

    fn histogram_f64(&self, params: MetricParameters) -> core::HistogramF64 {
        core::HistogramF64::new(self.histogram(&params, ""))
    }

    fn histogram_duration(&self, params: MetricParameters) -> core::HistogramDuration {
        core::HistogramDuration::new(self.histogram(&params, "_seconds"))
    }

    fn gauge(&self, params: MetricParameters) -> core::Gauge {
        core::Gauge::new(Arc::new(Of(self.family(
            &params,
            "",
            |all| &mut all.gauges,
            |_| Family::default(),
        ))))
    }

    fn gauge_f64(&self, params: MetricParameters) -> core::GaugeF64 {
        let family = self.family(&params, "", |all| &mut all.float_gauges, |_| Family::default());
        core::GaugeF64::new(Arc::new(Of(family)))
    }

    fn up_down_counter(&self, params: MetricParameters) -> core::UpDownCounter {
        core::UpDownCounter::new(Arc::new(Of(self.family(
            &params,
            "",
            |all| &mut all.gauges,
            |_| Family::default(),
        ))))
    }
}
