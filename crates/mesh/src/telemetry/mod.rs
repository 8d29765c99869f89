//! Logs and traces of a process.
//!
//! Traces go out by OTLP when an endpoint is set; without one spans are still made, so that trace ids are in the log and
//! a caller's `traceparent` is handed on. Three things make one trace of a run that crosses services and workflows:
//!
//! - the tracer provider uses the SDK's `WorkflowIdGenerator`, and its processor is wrapped in `WorkflowSpanProcessor`: a
//!   replayed workflow must make the same span ids, and must not export spans twice;
//! - the OpenTelemetry layer sees our own targets only (`quell*` and the gRPC spans' `otel`). The SDK's inner spans (polls, a
//!   second RunWorkflow) would make traces of their own by the thousand;
//! - sampling follows the parent; [`crate::config::TelemetrySettings::sample_ratio`] decides for roots only.
//!
//! [`Telemetry::flush`] exports what is left at the end, within a bounded time: a collector that is gone must not
//! hold the process.

mod format;

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider};
use temporalio_sdk::opentelemetry::{WorkflowIdGenerator, WorkflowSpanProcessor};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::ServiceInfo;
use crate::config::{LogFormat, TelemetrySettings};

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is not a valid one.
    #[error("telemetry.log_filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter could not be made.
    #[error("the OTLP exporter cannot be made: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
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
    let resource = Resource::builder()
        .with_service_name(format!("quell-{}", info.name))
        .with_attributes([
            KeyValue::new("service.version", info.version),
            KeyValue::new("service.instance.id", instance_id.to_owned()),
        ])
        .build();
    let mut provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_id_generator(WorkflowIdGenerator::default())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            settings.sample_ratio,
        ))));
    if let Some(endpoint) = &settings.traces_endpoint {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.clone())
            .build()?;
        provider = provider.with_span_processor(WorkflowSpanProcessor::new(
            BatchSpanProcessor::builder(exporter).build(),
        ));
    }
    let provider = provider.build();
    let log_filter = EnvFilter::try_new(&settings.log_filter)?;

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
