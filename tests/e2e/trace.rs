//! One trace holds the caller's `grpcurl` and all three services, seen through Jaeger's API.
//!
//! Checked as service edges (who called whom), since those are what a reader of a trace relies on; timing and attributes
//! are not. No span may have a parent that is missing, except the one whose parent is the caller's own span.

use crate::{
    cancel::{self, grown, snowball},
    harness::{batch_slot, mesh, unique},
    outside::json,
    poll::{LONG, eventually, when},
};
use quell_api::{canceler::v1::Verdict, work::v1::SnowballSpec};
use quell_cli::dev::Part;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The most spans of one cancellation, whatever its size.
const MAX_SPANS: usize = 300;

struct Span {
    service: String,
    operation: String,
    id: String,
    parent: Option<String>,
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
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let id = unique("trace");
    let mut work = mesh.snowballs();
    let shape = SnowballSpec {
        width: 15,
        depth: 2,
        workload_id: id.clone(),
        ..Default::default()
    };
    let started = snowball(&mut work, shape).await;
    grown(&mut work, &started.snowball_id, 241).await;

    let (trace_id, caller) = (uuid::Uuid::new_v4().simple().to_string(), "00f067aa0ba902b7");
    let traceparent = format!("traceparent: 00-{trace_id}-{caller}-01");
    let request = serde_json::json!({"spec": {
        "target": {"workloadId": id}, "reason": "a trace", "engine": "ENGINE_BOTH", "confirmPoll": "0.5s",
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
    let receipt = cancel::eventual_receipt(&mut mesh.cancellations(), &cancellation).await;
    assert_eq!(receipt.verdict(), Verdict::Clean, "{receipt:#?}");
    assert_eq!(
        receipt.trace_id, trace_id,
        "the receipt leads to the caller's own trace"
    );

    // Spans are exported in batches, the longest-lived last: complete is when no parent is missing.
    let path = format!("/api/traces/{trace_id}");
    let spans = eventually(LONG, "the trace is whole", async || {
        let answer = mesh.jaeger(&path).await?;
        let traces = answer["data"].as_array().ok_or("no data")?;
        when(traces.len() == 1, || format!("{} traces", traces.len()))?;
        let spans = spans(&traces[0]);
        let ids: BTreeSet<_> = spans.iter().map(|span| span.id.as_str()).chain([caller]).collect();
        let orphans: Vec<_> = spans
            .iter()
            .filter(|span| span.parent.as_deref().is_none_or(|parent| !ids.contains(parent)))
            .collect();
        let shown: Vec<_> = orphans
            .iter()
            .map(|span| format!("{} {}", span.service, span.operation))
            .collect();
        when(orphans.is_empty(), || {
            format!("{} of {} spans without a parent: {shown:?}", orphans.len(), spans.len())
        })?;
        let services: BTreeSet<_> = spans.iter().map(|span| span.service.clone()).collect();
        let wanted = ["quell-batch", "quell-canceler", "quell-work"].map(str::to_owned);
        when(services.iter().eq(&wanted), || format!("{services:?}"))?;
        let whole = spans.iter().any(|span| span.operation.contains("RunWorkflow"));
        when(whole, || "the workflow's own span is still open".to_owned())?;
        Ok(spans)
    })
    .await;
    assert!(spans.len() <= MAX_SPANS, "{} spans", spans.len());

    let edges = edges(&spans, caller);
    let table = edges
        .iter()
        .map(|(child, parent)| format!("{parent:<60} -> {child}\n"))
        .collect::<String>();
    println!("{} spans, {} edges:\n{table}", spans.len(), edges.len());
    for (child, parent) in EXPECTED {
        let found = edges
            .iter()
            .any(|edge| edge.0.contains(child) && edge.1.contains(parent));
        assert!(found, "no edge from {parent} to {child}:\n{table}");
    }
}

/// Child and parent, each as "service operation"; the caller is "caller".
const EXPECTED: [(&str, &str); 5] = [
    (
        "quell-canceler quell.canceler.v1.CancellationService/StartCancellation",
        "caller",
    ),
    ("quell-canceler RunWorkflow", "quell-canceler StartWorkflow"),
    (
        "quell-batch RunActivity:batch_cancel_workflows",
        "quell-canceler StartActivity:batch_cancel_workflows",
    ),
    (
        "quell-batch RunActivity:track_batch",
        "quell-canceler StartActivity:track_batch",
    ),
    ("quell-work quell.work.v1.SourceService/Quiesce", "quell-canceler"),
];

fn edges(spans: &[Span], caller: &str) -> BTreeSet<(String, String)> {
    let label = |span: &Span| format!("{} {}", span.service, span.operation);
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.id.as_str(), label(span))).collect();
    let parent_of = |span: &Span| match span.parent.as_deref() {
        Some(parent) if parent == caller => "caller".to_owned(),
        Some(parent) => by_id.get(parent).cloned().unwrap_or_default(),
        None => String::new(),
    };
    spans.iter().map(|span| (label(span), parent_of(span))).collect()
}
