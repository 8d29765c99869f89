//! Traces through Temporal: what the SDK's own OpenTelemetry plugin does, for workers that may die at any moment.
//!
//! The context travels in the header `_tracer-data`, as in every Temporal SDK, so that a worker in another language takes part. Spans of
//! clients and activities are ordinary ones. Those of workflows are not: a workflow may run for weeks, be replayed on other workers and
//! be terminated without a word, and a span that is open then is lost, its children left without a parent. So, as in the Python SDK,
//! - a workflow's spans ([`workflow`]) are instants, on their way at the moment at which they begin: RunWorkflow at the first task,
//!   StartActivity, StartChildWorkflow and SignalWorkflow with the call, HandleSignal and HandleUpdate. CompleteWorkflow at the end
//!   tells how long it took and how it ended;
//! - their ids come from the workflow's own random numbers, so whoever replays it hands on the same context, and only what happens for
//!   the first time is exported;
//! - a run that continues as new is a new trace, whose root is linked with the one before; and so is a run that has grown long
//!   ([`Phases`]). A trace has an end.
//!
//! What the worker that dies has not sent is lost: spans wait for a fifth of a second at most (`OTEL_BSP_SCHEDULE_DELAY`).
//!
//! Workflow code must make no spans of its own but by [`Phases`]: `tracing` knows nothing of replays.

mod activity;
mod client;
mod header;
mod phases;
mod workflow;

pub use header::HEADER;
pub use phases::Phases;

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Status, TraceContextExt as _};
use temporalio_client::ClientInterceptor;
use temporalio_sdk::SimplePlugin;
use temporalio_sdk::interceptors::ActivityInboundInterceptor;
use temporalio_sdk::workflow_interceptors::WorkflowInterceptorConstructor;

/// The names by which the other SDKs know these.
const WORKFLOW_ID: &str = "temporalWorkflowID";
const RUN_ID: &str = "temporalRunID";
const ACTIVITY_ID: &str = "temporalActivityID";

/// The plugin for clients, and by them for workers.
pub(crate) fn plugin() -> SimplePlugin {
    SimplePlugin::builder("quell-trace")
        .client_interceptors(vec![Arc::new(client::Tracing) as Arc<dyn ClientInterceptor>])
        .activity_inbound_interceptors(vec![Arc::new(activity::Tracing) as Arc<dyn ActivityInboundInterceptor>])
        .workflow_interceptors(vec![WorkflowInterceptorConstructor::new(|_| {
            workflow::Tracing::default()
        })])
        .build()
}

fn workflow_attributes(workflow_id: &str, run_id: &str) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new(WORKFLOW_ID, workflow_id.to_owned())];
    if !run_id.is_empty() {
        attributes.push(KeyValue::new(RUN_ID, run_id.to_owned()));
    }
    attributes
}

/// Ends the span of a context; a failure is its status, and an event.
fn end(context: &opentelemetry::Context, failure: Option<String>) {
    let span = context.span();
    if let Some(text) = failure {
        span.add_event("exception", vec![KeyValue::new("exception.message", text.clone())]);
        span.set_status(Status::error(text));
    }
    span.end();
}
