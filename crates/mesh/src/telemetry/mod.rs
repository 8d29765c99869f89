//! Logs and traces of a process.
//!
//! Traces go out by OTLP when an endpoint is set; without one spans are still made, so that trace ids are in the log and
//! a caller's `traceparent` is handed on. OpenTelemetry's own variables (`OTEL_*`) are settings like any other (docs/configuration.md).
//!
//! - [`temporal`] carries the trace through workflows and activities;
//! - the OpenTelemetry layer sees our own targets only (`quell*` and the gRPC spans' `otel`). The SDK's inner spans (polls, a
//!   second RunWorkflow) would make traces of their own by the thousand;
//! - [`collector`] speaks OTLP, and [`export`] sends what is made: never in anybody's way, and what is lost is counted.
//!
//! [`Telemetry::flush`] exports what is left at the end, within a bounded time: a collector that is gone must not
//! hold the process.

mod collector;
mod export;
mod format;
mod instant;
pub mod temporal;

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::{Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::ServiceInfo;
use crate::config::{LogFormat, TelemetrySettings, TraceSampler};
use crate::metrics::SPANS_DROPPED;
use export::Exporting;

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is not a valid one.
    #[error("telemetry.log_filter: {0}")]
    Filter(#[from] ParseError),
    /// A list of names and values is not one. The values may be secrets, and are not told.
    #[error("{key}: must be name=value, separated by commas")]
    Pairs {
        /// The setting.
        key: &'static str,
    },
    /// The exporter could not be made.
    #[error("the OTLP exporter cannot be made: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// TLS for it could not be set up.
    #[error("TLS for the OTLP exporter: {0}")]
    Tls(String),
    /// Another subscriber is installed already.
    #[error("logging is set up already: {0}")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
}

/// The telemetry of this process; flush it at the end.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
    flush_timeout: Duration,
}

/// Sets up logs and traces for the whole process. Call it once, inside a Tokio runtime.
///
/// # Errors
/// When the filter or the endpoint is not usable, or logging is set up already.
pub fn init(info: &ServiceInfo, instance_id: &str, settings: &TelemetrySettings) -> Result<Telemetry, TelemetryError> {
    // On the page from the start: an alert needs the zero before the first loss.
    for reason in ["queue_full", "failed"] {
        drop(SPANS_DROPPED.with([reason]));
    }
    let sampler = sampler(settings);
    let mut provider = SdkTracerProvider::builder()
        .with_resource(resource(info, instance_id, settings)?)
        .with_sampler(Sampler::clone(&sampler));
    let mut exporting = None;
    if let Some(collector) = settings.collector.as_ref().filter(|_| !settings.disabled) {
        let exporter = collector::exporter(collector)?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(settings.queue_size)
            .with_max_export_batch_size(settings.batch_size)
            .with_scheduled_delay(settings.schedule_delay)
            .build();
        let processor = Exporting::new(exporter, config, settings.queue_size);
        provider = provider.with_span_processor(processor.clone());
        exporting = Some(processor);
    }
    let provider = provider.build();
    instant::send_to(exporting, sampler);
    let log_filter = shown(&settings.log_filter)?;

    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_tracer_provider(provider.clone());
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("quell"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_filter(our_targets());
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // The layer's own switch is for the fields of spans, the format's for the rest of a line.
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(ansi);
    let log = match settings.log_format {
        LogFormat::Human => log
            .event_format(format::WithTrace::human(ansi))
            .with_filter(log_filter)
            .boxed(),
        LogFormat::Json => log
            .fmt_fields(tracing_subscriber::fmt::format::JsonFields::new())
            .event_format(format::WithTrace::json())
            .with_filter(log_filter)
            .boxed(),
    };
    tracing_subscriber::registry().with(spans).with(log).try_init()?;
    Ok(Telemetry {
        provider,
        flush_timeout: settings.flush_timeout,
    })
}

/// Trace id of what is being done; empty when it belongs to no trace.
#[must_use]
pub fn trace_id() -> String {
    let context = opentelemetry::Context::current();
    let span = context.span();
    let span = span.span_context();
    if span.is_valid() {
        span.trace_id().to_string()
    } else {
        String::new()
    }
}

/// What the log shows: what its filter lets through, and the audit whatever that says.
fn shown<S: Subscriber>(filter: &str) -> Result<impl Filter<S> + use<S>, ParseError> {
    let audit = Targets::new().with_target(crate::audit::TARGET, LevelFilter::INFO);
    Ok(EnvFilter::try_new(filter)?.or(audit))
}

/// Which traces are recorded.
fn sampler(settings: &TelemetrySettings) -> Sampler {
    let share = || Sampler::TraceIdRatioBased(settings.sample_ratio);
    let by_parent = |root| Sampler::ParentBased(Box::new(root));
    if settings.disabled {
        return Sampler::AlwaysOff;
    }
    match settings.sampler {
        TraceSampler::AlwaysOn => Sampler::AlwaysOn,
        TraceSampler::AlwaysOff => Sampler::AlwaysOff,
        TraceSampler::Ratio => share(),
        TraceSampler::ParentOn => by_parent(Sampler::AlwaysOn),
        TraceSampler::ParentOff => by_parent(Sampler::AlwaysOff),
        TraceSampler::ParentRatio => by_parent(share()),
    }
}

/// What all spans of the process have in common.
fn resource(info: &ServiceInfo, instance_id: &str, settings: &TelemetrySettings) -> Result<Resource, TelemetryError> {
    let name = settings.service_name.clone();
    let further = pairs("telemetry.resource_attributes", settings.resource_attributes.iter())?;
    Ok(Resource::builder()
        .with_attributes([
            KeyValue::new("service.version", info.version),
            KeyValue::new("service.instance.id", instance_id.to_owned()),
        ])
        .with_attributes(further.into_iter().map(|(name, value)| KeyValue::new(name, value)))
        .with_service_name(name.unwrap_or_else(|| format!("quell-{}", info.name)))
        .build())
}

/// Reads `name=value`, percent-encoded as OpenTelemetry has it.
fn pairs<S: AsRef<str>>(
    key: &'static str,
    parts: impl Iterator<Item = S>,
) -> Result<Vec<(String, String)>, TelemetryError> {
    parts
        .map(|part| {
            let (name, value) = part.as_ref().split_once('=')?;
            let value = percent_decode(value.trim())?;
            Some((name.trim().to_owned(), value)).filter(|(name, _)| !name.is_empty())
        })
        .map(|pair| pair.ok_or(TelemetryError::Pairs { key }))
        .collect()
}

fn percent_decode(text: &str) -> Option<String> {
    // What a URL's query makes of it is the same, but for the plus, which is a space there.
    let encoded = format!("v={}", text.replace('+', "%2B").replace('&', "%26"));
    let value = url::form_urlencoded::parse(encoded.as_bytes()).next()?.1.into_owned();
    Some(value)
}

/// The targets whose spans are ours.
fn our_targets() -> Targets {
    Targets::new()
        .with_target("quell", LevelFilter::INFO)
        .with_target("otel", LevelFilter::INFO)
}

impl Telemetry {
    /// Exports what is left and ends the export. Takes at most the flush timeout.
    pub async fn flush(self) {
        let Self {
            provider,
            flush_timeout,
        } = self;
        let shutdown = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(flush_timeout));
        match tokio::time::timeout(flush_timeout, shutdown).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(error = %error, "the last spans could not be exported"),
            Ok(Err(error)) => tracing::warn!(error = %error, "the span export ended badly"),
            Err(_) => tracing::warn!("the last spans could not be exported in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn names_and_values_are_read_as_opentelemetry_writes_them() {
        let read = |text: &str| pairs("k", text.split(','));
        assert_eq!(
            read("a=b, key =Basic%20Zm9v=+&c").unwrap(),
            [
                ("a".to_owned(), "b".to_owned()),
                ("key".to_owned(), "Basic Zm9v=+&c".to_owned())
            ]
        );
        for bad in ["a", "=b", "a=b,,"] {
            assert_eq!(
                read(bad).unwrap_err().to_string(),
                "k: must be name=value, separated by commas"
            );
        }
    }

    #[test]
    fn the_audit_is_in_the_log_whatever_its_filter_says() {
        #[derive(Clone, Default)]
        struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(text)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        for filter in ["off", "error,quell_audit=off", "quell_mesh=warn"] {
            let lines = Lines::default();
            let to = lines.clone();
            let log = tracing_subscriber::fmt::layer().with_writer(move || to.clone());
            let subscriber = tracing_subscriber::registry().with(log.with_filter(shown(filter).unwrap()));
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(target: crate::audit::TARGET, "audited");
                tracing::info!("not shown");
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert!(
                text.contains("audited") && !text.contains("not shown"),
                "{filter}: {text}"
            );
        }
    }

    #[test]
    fn only_our_own_spans_are_traced() {
        let targets = our_targets();
        for ours in ["quell_work::snowball", "quell_mesh", "otel::tracing"] {
            assert!(targets.would_enable(ours, &Level::INFO), "{ours}");
        }
        for not_ours in [
            "temporalio_sdk",
            "temporalio_sdk_core::worker",
            "h2::proto",
            "tonic::transport",
        ] {
            assert!(!targets.would_enable(not_ours, &Level::ERROR), "{not_ours}");
        }
    }
}
