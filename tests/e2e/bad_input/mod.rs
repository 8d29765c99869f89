//! Bad input for every rpc: a table of requests, each with the fields that must be named, all of them at once. No rpc of the
//! contract may be missing from it, nothing may be started by any of it, and nothing of it may ever be INTERNAL.

mod batch;
mod canceler;
mod generated;
mod good;
mod order;
mod processing;
mod values;
mod work;

use crate::{
    cancel::{query, workload},
    contract, details,
    harness::{Mesh, channel, mesh, unique},
};
use futures::{FutureExt as _, future::BoxFuture};
use prost_types::Duration;
use quell_api::{batch::v1::GetBatchOperationRequest, canceler::v1::GetCancellationRequest, r#type::v1::Target};
use quell_cli::dev::Part;
use std::collections::BTreeSet;
use tonic::{Code, Status, transport::Channel};

/// Connections to the three services.
#[derive(Clone)]
struct Channels {
    work: Channel,
    canceler: Channel,
    batch: Channel,
}

impl Channels {
    fn of(mesh: &Mesh) -> Self {
        let to = |part| channel(&mesh.address(part));
        Self {
            work: to(Part::Work),
            canceler: to(Part::Canceler),
            batch: to(Part::Batch),
        }
    }
}

type Call = Box<dyn FnOnce(Channels) -> BoxFuture<'static, Result<(), Status>>>;

/// A line of the table.
struct Case {
    /// As in [`contract::rpcs`].
    rpc: &'static str,
    what: String,
    /// Every bad field and no other, in the order of the alphabet.
    fields: Vec<String>,
    call: Call,
}

#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    /// A line. The call makes one request; its answer does not matter, since there must be none.
    fn line<F, R>(&mut self, rpc: &'static str, what: impl Into<String>, fields: &[&str], call: F)
    where
        F: FnOnce(Channels) -> R + 'static,
        R: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        self.0.push(Case {
            rpc,
            what: what.into(),
            fields,
            call: Box::new(|channels| call(channels).boxed()),
        });
    }
}

/// The whole table. `mark` is a request id and a workload that show whether anything was started after all.
fn table(mark: &str) -> Table {
    let mut table = Table::default();
    work::snowballs(&mut table, mark);
    work::sources(&mut table, mark);
    work::probes(&mut table, mark);
    processing::batch_processings(&mut table, mark);
    order::orders(&mut table, mark);
    canceler::cancellations(&mut table, mark);
    batch::operations(&mut table, mark);
    table
}

/// Ids that nothing can have.
fn bad_ids() -> [(&'static str, String); 3] {
    [
        ("an empty id", String::new()),
        ("a huge id", "x".repeat(200_000)),
        ("control characters in an id", "a\u{0}b\n".to_owned()),
    ]
}

/// Durations that are none.
fn bad_durations() -> [(&'static str, Duration); 3] {
    [
        ("a negative duration", Duration { seconds: -1, nanos: 0 }),
        (
            "a duration of two signs",
            Duration {
                seconds: -3,
                nanos: 500_000_000,
            },
        ),
        (
            "a duration without an end",
            Duration {
                seconds: i64::MAX,
                nanos: i32::MAX,
            },
        ),
    ]
}

/// Pages that are none: what, page size, page token, bad field.
fn bad_pages() -> [(&'static str, i32, String, &'static str); 6] {
    [
        ("a negative page size", -1, String::new(), "page_size"),
        ("a huge page size", i32::MAX, String::new(), "page_size"),
        ("a page token that is none", 0, "garbage".to_owned(), "page_token"),
        ("a page token of base64", 0, "Z2FyYmFnZQ==".to_owned(), "page_token"),
        (
            "a page token of other letters",
            10,
            "ÄÖÜ\u{1F980}".to_owned(),
            "page_token",
        ),
        ("a huge page token", 10, "QUJD".repeat(25_000), "page_token"),
    ]
}

/// Targets that could stop what nobody meant, each with the field at fault below the target's own.
fn bad_targets() -> Vec<(String, Option<Target>, &'static str)> {
    let mut targets = vec![
        ("no target".to_owned(), None, ""),
        (
            "a target without a selector".to_owned(),
            Some(Target { selector: None }),
            "",
        ),
        ("an empty workload".to_owned(), workload(""), ".workload_id"),
        (
            "a quote in a workload".to_owned(),
            workload("x\" OR WorkloadId != \"x"),
            ".workload_id",
        ),
        (
            "a huge workload".to_owned(),
            workload(&"x".repeat(100_000)),
            ".workload_id",
        ),
    ];
    let huge = format!("WorkloadId = '{}'", "x".repeat(100_000));
    let filters = [
        "",
        "  ",
        "CloseTime IS NULL",
        "ExecutionStatus = 'Running'",
        "StartTime > '2020-01-01T00:00:00Z'",
        "1 = 1",
        "WorkflowId STARTS_WITH ''",
        "TemporalNamespaceDivision IS NOT NULL",
        "WorkloadId = 'x' AND `TemporalNamespaceDivision` = 'TemporalScheduler'",
        "WorkloadId = 'x') OR (WorkloadId != 'x'",
        "WorkloadId = 'x",
        "WorkloadId = 'x' ORDER BY StartTime",
        // Only the server can tell.
        "WorkloadId = ",
        "NoSuchAttribute = 'x'",
        "this is no filter",
        &huge,
    ];
    targets.extend(filters.map(|filter| (format!("the filter {filter:.60?}"), query(filter), ".query")));
    targets
}

#[test]
fn no_rpc_of_the_contract_is_missing_from_the_table() {
    let tested: BTreeSet<_> = table("x").0.into_iter().map(|case| case.rpc.to_owned()).collect();
    // A request without fields cannot be bad.
    let empty = "quell.batch.v1.BatchOperationService/DescribeServer";
    let rpcs = contract::rpcs().into_iter().filter(|rpc| rpc != empty);
    assert_eq!(tested, rpcs.collect());
}

#[tokio::test]
async fn every_bad_field_is_named_at_once_and_nothing_is_started() {
    let mesh = mesh().await;
    let mark = unique("bad-input");
    // One that would be stopped if a guard failed.
    mesh.start_by_cli(&mark, &mark).await;
    let channels = Channels::of(&mesh);
    let mut wrong = Vec::new();
    for case in table(&mark).0 {
        let name = format!("{}: {}", case.rpc, case.what);
        match (case.call)(channels.clone()).await {
            Ok(()) => wrong.push(format!("{name}: was accepted")),
            Err(status) if status.code() != Code::InvalidArgument => wrong.push(format!("{name}: {status:.300?}")),
            Err(status) => {
                let named = details::bad_fields(&name, &status);
                if named != case.fields {
                    wrong.push(format!("{name}: names {named:?} instead of {:?}", case.fields));
                }
                // A header may have 16 KB, and who reads the message knows the input.
                if status.message().len() > 4_000 {
                    wrong.push(format!("{name}: repeats the input: {} bytes", status.message().len()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of the table:\n{}", wrong.len(), wrong.join("\n"));

    let started = [
        ("main", format!("snowball-{mark}")),
        ("main", format!("probe-{mark}")),
        ("main", format!("quell/gate/{mark}")),
        ("main", format!("order-{mark}")),
        ("canceler", format!("quell/cancellation/{mark}")),
    ];
    for (namespace, id) in started {
        assert_eq!(mesh.status(namespace, &id).await, None, "{id} was started");
    }
    assert_eq!(mesh.status("main", &mark).await.as_deref(), Some("RUNNING"));
    let job = GetBatchOperationRequest {
        job_id: format!("quell-batch-{mark}"),
    };
    assert_eq!(
        mesh.batches().get_batch_operation(job).await.unwrap_err().code(),
        Code::NotFound
    );
}

/// What no client library would send.
#[tokio::test]
async fn what_is_no_request_at_all_is_refused_politely() {
    let mesh = mesh().await;
    // 5 MB in a valid field: a message may have 4.
    let request = GetCancellationRequest {
        cancellation_id: "x".repeat(5_000_000),
    };
    let status = mesh.cancellations().get_cancellation(request).await.unwrap_err();
    assert!(
        [Code::OutOfRange, Code::ResourceExhausted].contains(&status.code()),
        "{status:?}"
    );
    // An rpc that is not there.
    let mut raw = tonic::client::Grpc::new(Channels::of(&mesh).batch);
    raw.ready().await.unwrap();
    let path = "/quell.batch.v1.BatchOperationService/NoSuchRpc".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<GetBatchOperationRequest, GetBatchOperationRequest>::default();
    let request = tonic::Request::new(GetBatchOperationRequest::default());
    let status = raw.unary(request, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
}
