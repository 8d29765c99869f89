//! Metrics of a process, as a page that Prometheus reads (OpenMetrics, docs/metrics.md).
//!
//! [`table`] is the one list: each line gives a metric its name, type, labels and meaning. The statics that code counts with,
//! the page and docs/metrics.md all come from it, so a metric that is not documented, or documented and not there, cannot exist.
//! The metrics of the Temporal SDK stand on the same page ([`sdk`]).
//!
//! Labels have few values, all known to the code: never an id, a workload or a query. Durations carry exemplars: the trace id
//! of one call in each bucket, so that a slow one leads to its trace.

mod http;
mod instrument;
pub(crate) mod sdk;
mod table;

pub use http::MetricsError;
pub(crate) use http::Page;
pub use instrument::{Held, Instrument, Kind, Timing};
pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
pub use table::*;

use std::sync::{LazyLock, PoisonError, RwLock};

use prometheus_client::registry::Registry;

/// One line of the table, for code that walks it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Which part of the mesh it tells of.
    pub group: &'static str,
    /// Name on the page; counters have `_total` after it.
    pub name: &'static str,
    /// counter, gauge or histogram.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, and its unit.
    pub doc: &'static str,
    /// Puts it on the page.
    pub(crate) show: fn(),
}

/// Everything that is on the page of this process.
static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(|| RwLock::new(Registry::default()));

fn register(change: impl FnOnce(&mut Registry)) {
    // A registry stays whole whatever panicked beside it: it only grows.
    change(&mut REGISTRY.write().unwrap_or_else(PoisonError::into_inner));
}

/// Puts the metrics of these groups on the page, those without labels at once with their first value: an alert on something that
/// has not happened yet needs a zero to start from.
pub fn show(groups: &[&str]) {
    for metric in table().iter().filter(|metric| groups.contains(&metric.group)) {
        (metric.show)();
    }
}

/// The page.
///
/// # Errors
/// None that is known of: a label that cannot be written.
pub fn page() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
