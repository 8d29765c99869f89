//! One trace holds the caller's `grpcurl` and all three services, seen through Jaeger's API.
//!
//! Checked as edges (who called whom), since those are what a reader of a trace relies on; timing and attributes
//! are not. No span may have a parent that is missing, except the one whose parent is the caller's own span. What [`crate::killed`] leaves
//! behind is held to the same.

use crate::{
    cancel::{eventual_receipt_within, grown_within, snowball},
    harness::{Mesh, batch_slot, mesh, unique},
    metrics,
    outside::json,
    poll::{LONG, VERY_LONG, eventually, when},
};
use quell_api::{
    canceler::v1::Verdict,
    work::v1::{SnowballProducer, SnowballSpec},
};
use quell_cli::dev::Part;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The most spans of one cancellation, whatever its size.
const MAX_SPANS: usize = 300;

/// The span that a caller's own trace begins with, in no service.
const CALLER: &str = "00f067aa0ba902b7";
/// The last span of a cancellation.
const END: &str = "CompleteWorkflow:BulkCancelWorkflow";

/// A span, as Jaeger shows it.
pub(crate) struct Span {
    service: String,
    operation: String,
    id: String,
    parent: Option<String>,
}

impl Span {
    fn label(&self) -> String {
        format!("{} {}", self.service, self.operation)
    }
}

/// The spans of a trace in Jaeger's JSON.
fn spans(trace: &Value) -> Vec<Span> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parent = |span: &Value| {
        let references = span["references"].as_array()?;
        references
            .iter()
            .find(|reference| reference["refType"] == "CHILD_OF")
            .map(|reference| text(&reference["spanID"]))
    };
    let spans = trace["spans"].as_array().expect("a trace has spans");
    spans
        .iter()
        .map(|span| Span {
            service: text(&trace["processes"][text(&span["processID"])]["serviceName"]),
            operation: text(&span["operationName"]),
            id: text(&span["spanID"]),
            parent: parent(span),
        })
        .collect()
}

#[tokio::test]
async fn one_trace_holds_the_callers_grpcurl_and_all_three_services() {
    let shape = SnowballSpec {
        width: 15,
        depth: 2,
        ..Default::default()
    };
    let (mesh, trace) = traced_by_both(shape, 241).await;
    let spans = whole(&mesh, &trace, Some(CALLER), END).await;
    check_edges(&spans, &[OF_A_CANCELLATION, OF_A_BATCH].concat());
    metrics::tell_of_a_cancellation(&mesh, 241.0).await;
}

/// A long one goes on in new traces, each linked with the one before: none is too large to be read, and together they hold all. Some ten minutes: `cargo test --test e2e -- --ignored twenty_thousand`.
#[tokio::test]
#[ignore = "measures what the test before shows in small"]
async fn linked_traces_hold_a_cancellation_of_twenty_thousand() {
    let shape = SnowballSpec {
        width: 20_000,
        depth: 1,
        lifetime: Some(prost_types::Duration {
            seconds: 86_400,
            nanos: 0,
        }),
        producer: SnowballProducer::Client.into(),
        ..Default::default()
    };
    let (mesh, trace) = traced_by_both(shape, 20_000).await;
    let mut spans = whole(&mesh, &trace, Some(CALLER), END).await;
    spans.extend(eventually(LONG, "its other traces are whole", async || parts(&mesh, &trace).await).await);
    check_edges(&spans, &[OF_A_CANCELLATION, OF_A_BATCH].concat());
}

/// Once so many are open, stops a snowball through the server's batch, begun by `grpcurl` in a trace of the caller's.
async fn traced_by_both(shape: SnowballSpec, open: i64) -> (Mesh, String) {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let id = unique("trace");
    let mut work = mesh.snowballs();
    let shape = SnowballSpec {
        workload_id: id.clone(),
        ..shape
    };
    let started = snowball(&mut work, shape).await;
    grown_within(VERY_LONG, &mut work, &started.snowball_id, open).await;

    let trace_id = uuid::Uuid::new_v4().simple().to_string();
    let traceparent = format!("traceparent: 00-{trace_id}-{CALLER}-01");
    let request = serde_json::json!({"spec": {
        "target": {"workloadId": id}, "reason": "a trace", "engine": "ENGINE_BOTH", "confirmPoll": "0.5s", "maxAffected": "100000",
    }});
    let flags = ["-H", traceparent.as_str(), "-d", &request.to_string()];
    let start = mesh
        .grpcurl(
            Part::Canceler,
            &flags,
            &["quell.canceler.v1.CancellationService/StartCancellation"],
        )
        .await;
    let cancellation = json(&start.ok())["cancellationId"].as_str().expect("an id").to_owned();
    let receipt = eventual_receipt_within(VERY_LONG, &mut mesh.cancellations(), &cancellation).await;
    assert_eq!(receipt.verdict(), Verdict::Clean, "{receipt:#?}");
    assert_eq!(
        receipt.trace_id, trace_id,
        "the receipt leads to the caller's own trace"
    );
    println!(
        "{open} open: {} stopped by us, {} by others, first zero after {:?}",
        receipt.stopped, receipt.closed_by_others, receipt.time_to_first_zero
    );
    (mesh, trace_id)
}

/// A snowball, an order and a tree of squares, begun in one trace of a caller's.
#[tokio::test]
async fn the_other_workloads_are_in_their_callers_trace_too() {
    let mesh = mesh().await;
    let trace_id = uuid::Uuid::new_v4().simple().to_string();
    let traceparent = format!("traceparent: 00-{trace_id}-{CALLER}-01");
    for (method, request) in [
        (
            "quell.work.v1.SnowballService/StartSnowball",
            serde_json::json!({"spec": {"width": 70, "depth": 1, "lifetime": "2s", "workloadId": unique("traced")}}),
        ),
        (
            "quell.work.v1.BatchProcessingService/StartBatchProcessing",
            serde_json::json!({"spec": {"totalNumbers": "25", "batchSize": 12, "maxChildren": 6}}),
        ),
        (
            "quell.work.v1.OrderService/PlaceOrder",
            serde_json::json!({"wait": true, "order": {
                "payment": {"token": "tok", "amountMinor": "100", "currency": "EUR"}, "items": [{"sku": "x", "quantity": 1}], "address": "y",
            }}),
        ),
    ] {
        let flags = ["-H", traceparent.as_str(), "-d", &request.to_string()];
        mesh.grpcurl(Part::Work, &flags, &[method]).await.ok();
    }
    let spans = whole(&mesh, &trace_id, Some(CALLER), "CompleteWorkflow:CancelableWorkflow").await;
    check_edges(&spans, OF_WORKLOADS);
}

/// The spans of a trace, once it is whole: no parent is missing, and the last span is there. `caller` is the span that the trace was
/// begun with and that is in no service; without one the trace has a root of its own.
pub(crate) async fn whole(mesh: &Mesh, trace_id: &str, caller: Option<&str>, last: &str) -> Vec<Span> {
    let path = format!("/api/traces/{trace_id}");
    let spans = eventually(LONG, "the trace is whole", async || {
        let answer = mesh.jaeger(&path).await?;
        let traces = answer["data"].as_array().ok_or("no data")?;
        when(traces.len() == 1, || format!("{} traces", traces.len()))?;
        let spans = spans(&traces[0]);
        complete(&spans, caller)?;
        let ended = spans.iter().any(|span| span.operation == last);
        when(ended, || format!("no {last} among {} spans", spans.len()))?;
        Ok(spans)
    })
    .await;
    assert!(spans.len() <= MAX_SPANS, "{} spans", spans.len());
    spans
}

/// No span has lost its parent, and there is one root.
fn complete(spans: &[Span], caller: Option<&str>) -> Result<(), String> {
    let ids: BTreeSet<_> = spans.iter().map(|span| span.id.as_str()).chain(caller).collect();
    let is_orphan = |span: &&Span| match span.parent.as_deref() {
        Some(parent) => !ids.contains(parent),
        None => caller.is_some(),
    };
    let orphans: Vec<_> = spans.iter().filter(is_orphan).map(Span::label).collect();
    when(orphans.is_empty(), || {
        format!(
            "{} of {} spans without a parent: {orphans:?}",
            orphans.len(),
            spans.len()
        )
    })?;
    let roots = spans.iter().filter(|span| span.parent.is_none()).count();
    when(roots == usize::from(caller.is_none()), || format!("{roots} roots"))
}

/// The spans of the traces that a cancellation went on in, found by their links; as if all were in its first one.
async fn parts(mesh: &Mesh, first: &str) -> Result<Vec<Span>, String> {
    let (mut all, mut before) = (Vec::new(), first.to_owned());
    for part in 2.. {
        let root = format!("RunWorkflow:BulkCancelWorkflow part {part}");
        let path = format!(
            "/api/traces?service=quell-canceler&limit=1500&lookback=2h&operation={}",
            root.replace(':', "%3A").replace(' ', "%20")
        );
        let answer = mesh.jaeger(&path).await?;
        let traces = answer["data"].as_array().map_or(&[][..], Vec::as_slice);
        let follows = |trace: &&Value| {
            let of_root = trace["spans"].as_array().into_iter().flatten();
            let mut links = of_root.flat_map(|span| span["references"].as_array().into_iter().flatten());
            links.any(|link| link["traceID"] == before.as_str())
        };
        let Some(trace) = traces.iter().find(follows) else {
            break;
        };
        let mut spans = spans(trace);
        complete(&spans, None)?;
        assert!(spans.len() <= MAX_SPANS, "{} spans in part {part}", spans.len());
        println!("part {part}: {} spans", spans.len());
        for span in spans.iter_mut().filter(|span| span.operation == root) {
            span.operation = "RunWorkflow:BulkCancelWorkflow".to_owned();
        }
        all.extend(spans);
        before = trace["traceID"].as_str().expect("an id").to_owned();
    }
    Ok(all)
}

/// Checks that each of these edges is there: child and parent, each as "service operation"; what is in no service is "caller".
pub(crate) fn check_edges(spans: &[Span], wanted: &[(&str, &str)]) {
    let edges = edges(spans);
    let table = edges
        .iter()
        .map(|(child, parent)| format!("{parent:<75} -> {child}\n"))
        .collect::<String>();
    println!("{} spans, {} edges:\n{table}", spans.len(), edges.len());
    for (child, parent) in wanted {
        let edge = ((*child).to_owned(), (*parent).to_owned());
        assert!(edges.contains(&edge), "no edge from {parent} to {child}:\n{table}");
    }
}

/// Of workloads that a caller with a trace of its own began.
const OF_WORKLOADS: &[(&str, &str)] = &[
    ("quell-work quell.work.v1.OrderService/PlaceOrder", "caller"),
    (
        "quell-work StartWorkflow:OrderWorkflow",
        "quell-work quell.work.v1.OrderService/PlaceOrder",
    ),
    (
        "quell-work RunWorkflow:OrderWorkflow",
        "quell-work StartWorkflow:OrderWorkflow",
    ),
    (
        "quell-work StartActivity:charge_payment",
        "quell-work RunWorkflow:OrderWorkflow",
    ),
    (
        "quell-work RunActivity:charge_payment",
        "quell-work StartActivity:charge_payment",
    ),
    (
        "quell-work CompleteWorkflow:OrderWorkflow",
        "quell-work RunWorkflow:OrderWorkflow",
    ),
    (
        "quell-work StartWorkflow:BatchProcessingWorkflow",
        "quell-work quell.work.v1.BatchProcessingService/StartBatchProcessing",
    ),
    (
        "quell-work StartChildWorkflow:BatchProcessingWorkflow",
        "quell-work RunWorkflow:BatchProcessingWorkflow",
    ),
    (
        "quell-work RunWorkflow:BatchProcessingWorkflow",
        "quell-work StartChildWorkflow:BatchProcessingWorkflow",
    ),
    (
        "quell-work StartWorkflow:CancelableWorkflow",
        "quell-work quell.work.v1.SnowballService/StartSnowball",
    ),
    (
        "quell-work StartChildWorkflow:ChildWorkflow",
        "quell-work RunWorkflow:CancelableWorkflow",
    ),
    (
        "quell-work RunWorkflow:ChildWorkflow",
        "quell-work StartChildWorkflow:ChildWorkflow",
    ),
];

/// Of every cancellation of a workload.
pub(crate) const OF_A_CANCELLATION: &[(&str, &str)] = &[
    (
        "quell-canceler StartWorkflow:BulkCancelWorkflow",
        "quell-canceler quell.canceler.v1.CancellationService/StartCancellation",
    ),
    (
        "quell-canceler RunWorkflow:BulkCancelWorkflow",
        "quell-canceler StartWorkflow:BulkCancelWorkflow",
    ),
    (
        "quell-canceler Phase:FENCING",
        "quell-canceler RunWorkflow:BulkCancelWorkflow",
    ),
    ("quell-canceler PhaseDone:FENCING", "quell-canceler Phase:FENCING"),
    (
        "quell-canceler StartActivity:quiesce_sources",
        "quell-canceler Phase:FENCING",
    ),
    (
        "quell-canceler RunActivity:quiesce_sources",
        "quell-canceler StartActivity:quiesce_sources",
    ),
    ("quell-canceler fence", "quell-canceler RunActivity:quiesce_sources"),
    (
        "quell-canceler quell.work.v1.SourceService/Quiesce",
        "quell-canceler fence",
    ),
    (
        "quell-work quell.work.v1.SourceService/Quiesce",
        "quell-canceler quell.work.v1.SourceService/Quiesce",
    ),
    (
        "quell-work StartWorkflow:quell.Gate",
        "quell-work quell.work.v1.SourceService/Quiesce",
    ),
    (
        "quell-work RunWorkflow:quell.Gate",
        "quell-work StartWorkflow:quell.Gate",
    ),
    (
        "quell-canceler Phase:SWEEPING",
        "quell-canceler RunWorkflow:BulkCancelWorkflow",
    ),
    (
        "quell-canceler StartActivity:bulk_cancel_workflows",
        "quell-canceler Phase:SWEEPING",
    ),
    (
        "quell-canceler RunActivity:bulk_cancel_workflows",
        "quell-canceler StartActivity:bulk_cancel_workflows",
    ),
    (
        "quell-canceler window",
        "quell-canceler RunActivity:bulk_cancel_workflows",
    ),
    (
        "quell-canceler Phase:CONFIRMING",
        "quell-canceler RunWorkflow:BulkCancelWorkflow",
    ),
    (
        "quell-canceler StartActivity:confirm_all_canceled",
        "quell-canceler Phase:CONFIRMING",
    ),
    (
        "quell-canceler Phase:DONE",
        "quell-canceler RunWorkflow:BulkCancelWorkflow",
    ),
    (
        "quell-canceler StartActivity:conclude_cancellation",
        "quell-canceler Phase:DONE",
    ),
    ("quell-canceler PhaseDone:DONE", "quell-canceler Phase:DONE"),
    (
        "quell-canceler CompleteWorkflow:BulkCancelWorkflow",
        "quell-canceler RunWorkflow:BulkCancelWorkflow",
    ),
];

/// Of one that lets the server's batch help, begun by a caller with a trace of its own.
const OF_A_BATCH: &[(&str, &str)] = &[
    (
        "quell-canceler quell.canceler.v1.CancellationService/StartCancellation",
        "caller",
    ),
    (
        "quell-canceler Phase:STRIKING",
        "quell-canceler RunWorkflow:BulkCancelWorkflow",
    ),
    (
        "quell-canceler StartActivity:batch_cancel_workflows",
        "quell-canceler Phase:STRIKING",
    ),
    (
        "quell-batch RunActivity:batch_cancel_workflows",
        "quell-canceler StartActivity:batch_cancel_workflows",
    ),
    (
        "quell-batch StartWorkflow:quell.BatchOperation",
        "quell-batch RunActivity:batch_cancel_workflows",
    ),
    (
        "quell-batch RunWorkflow:quell.BatchOperation",
        "quell-batch StartWorkflow:quell.BatchOperation",
    ),
    (
        "quell-batch StartActivity:run_batch_operation",
        "quell-batch RunWorkflow:quell.BatchOperation",
    ),
    (
        "quell-batch RunActivity:run_batch_operation",
        "quell-batch StartActivity:run_batch_operation",
    ),
    (
        "quell-batch StartBatchOperation",
        "quell-batch RunActivity:run_batch_operation",
    ),
    (
        "quell-batch RunActivity:track_batch",
        "quell-canceler StartActivity:track_batch",
    ),
];

fn edges(spans: &[Span]) -> BTreeSet<(String, String)> {
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.id.as_str(), span.label())).collect();
    let parent_of = |span: &Span| match span.parent.as_deref() {
        Some(parent) => by_id.get(parent).cloned().unwrap_or_else(|| "caller".to_owned()),
        None => String::new(),
    };
    spans.iter().map(|span| (span.label(), parent_of(span))).collect()
}
