//! Bad input for every rpc: a table of requests, each with the fields that must be named, all of them at once. No rpc of the
//! contract may be missing from it, nothing may be started by any of it, and nothing of it may ever be INTERNAL.

use crate::{
    cancel::{millis, query, workload},
    contract, details,
    harness::{Mesh, mesh, unique},
};
use futures::{FutureExt as _, future::BoxFuture};
use prost_types::Duration;
use quell_api::{
    batch::v1::{
        GetBatchOperationRequest, ListBatchOperationsRequest, StartBatchOperationRequest, StopBatchOperationRequest,
        batch_operation_service_client::BatchOperationServiceClient,
    },
    canceler::v1::{
        CancellationSpec, GetCancellationRequest, GetReceiptRequest, ListCancellationsRequest,
        PreviewCancellationRequest, StartCancellationRequest, StopCancellationRequest, WatchCancellationRequest,
        cancellation_service_client::CancellationServiceClient,
    },
    r#type::v1::Target,
    work::v1::{
        CancelSnowballRequest, GetSnowballRequest, ListSnowballsRequest, QuiesceRequest, ResumeRequest, SnowballSpec,
        StartSnowballRequest, WatchSnowballRequest, snowball_service_client::SnowballServiceClient,
        source_service_client::SourceServiceClient,
    },
};
use std::collections::BTreeSet;
use tonic::{Code, Status, transport::Channel};

/// Connections to the three services.
#[derive(Clone)]
struct Channels {
    work: Channel,
    canceler: Channel,
    batch: Channel,
}

type Call = Box<dyn FnOnce(Channels) -> BoxFuture<'static, Result<(), Status>>>;

/// A line of the table.
struct Case {
    /// As in [`contract::rpcs`].
    rpc: &'static str,
    what: String,
    /// Every bad field, and no other.
    fields: Vec<String>,
    call: Call,
}

/// A case of a unary rpc.
macro_rules! case {
    ($table:ident, $rpc:literal, $channel:ident, $client:ident . $method:ident, $what:expr, [$($field:expr),* $(,)?], $request:expr) => {{
        let request = $request;
        let call: Call = Box::new(move |channels: Channels| {
            async move { $client::new(channels.$channel).$method(request).await.map(drop) }.boxed()
        });
        $table.push(Case { rpc: $rpc, what: $what.to_string(), fields: vec![$($field.to_string()),*], call });
    }};
}

/// A case of an rpc with a server stream: its refusal may come at once or as the stream's end.
macro_rules! stream_case {
    ($table:ident, $rpc:literal, $channel:ident, $client:ident . $method:ident, $what:expr, [$($field:expr),* $(,)?], $request:expr) => {{
        let request = $request;
        let call: Call = Box::new(move |channels: Channels| {
            async move {
                let mut stream = $client::new(channels.$channel).$method(request).await?.into_inner();
                stream.message().await.map(drop)
            }
            .boxed()
        });
        $table.push(Case { rpc: $rpc, what: $what.to_string(), fields: vec![$($field.to_string()),*], call });
    }};
}

/// Names that no id may have.
fn bad_ids() -> [(&'static str, String); 3] {
    [
        ("an empty id", String::new()),
        ("a huge id", "x".repeat(200_000)),
        ("control characters in an id", "a\u{0}b\n".to_owned()),
    ]
}

/// Durations that are no durations.
fn bad_durations() -> [(&'static str, Duration); 3] {
    [
        ("a negative duration", Duration { seconds: -1, nanos: 0 }),
        (
            "a duration with a wrong sign in it",
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

/// Targets that could stop what nobody meant, with the field at fault below the target's own.
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
    for filter in [
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
        "WorkloadId = ",
        "NoSuchAttribute = 'x'",
        "this is no filter",
        huge.as_str(),
    ] {
        targets.push((format!("the filter {filter:.60?}"), query(filter), ".query"));
    }
    targets
}

/// The whole table. `mark` is a request id and workload that shows whether anything was started after all.
fn table(mark: &str) -> Vec<Case> {
    let mut table = Vec::new();
    work(&mut table, mark);
    canceler(&mut table, mark);
    batch(&mut table, mark);
    table
}

fn work(t: &mut Vec<Case>, mark: &str) {
    let good = SnowballSpec {
        workload_id: mark.to_owned(),
        width: 1,
        depth: 1,
        ..Default::default()
    };
    let start = |spec: SnowballSpec| StartSnowballRequest {
        spec: Some(spec),
        request_id: mark.to_owned(),
        ..Default::default()
    };
    for rate in [f64::NAN, f64::INFINITY, -1.0, 1e9] {
        case!(
            t,
            "quell.work.v1.SnowballService/StartSnowball",
            work,
            SnowballServiceClient.start_snowball,
            format!("a rate of {rate}"),
            ["spec.rate_per_second"],
            start(SnowballSpec {
                rate_per_second: rate,
                ..good.clone()
            })
        );
    }
    for (what, lifetime) in bad_durations() {
        case!(
            t,
            "quell.work.v1.SnowballService/StartSnowball",
            work,
            SnowballServiceClient.start_snowball,
            what,
            ["spec.lifetime"],
            start(SnowballSpec {
                lifetime: Some(lifetime),
                ..good.clone()
            })
        );
    }
    case!(
        t,
        "quell.work.v1.SnowballService/StartSnowball",
        work,
        SnowballServiceClient.start_snowball,
        "everything at once",
        [
            "request_id",
            "spec.concurrency",
            "spec.depth",
            "spec.lifetime",
            "spec.rate_per_second",
            "spec.width",
            "spec.workload_id"
        ],
        StartSnowballRequest {
            spec: Some(SnowballSpec {
                width: 100_001,
                depth: 11,
                concurrency: 501,
                rate_per_second: -0.1,
                lifetime: millis(31 * 86_400_000),
                workload_id: "a\"b".to_owned(),
            }),
            request_id: "not an id".to_owned(),
            validate_only: false,
        }
    );
    case!(
        t,
        "quell.work.v1.SnowballService/StartSnowball",
        work,
        SnowballServiceClient.start_snowball,
        "a huge workload id",
        ["spec.workload_id"],
        start(SnowballSpec {
            workload_id: "x".repeat(1_000_000),
            width: 1,
            depth: 1,
            ..Default::default()
        })
    );
    // Each field is in its range; the whole is not.
    let too_many = start(SnowballSpec {
        width: 100,
        depth: 4,
        ..good
    });
    t.push(Case {
        rpc: "quell.work.v1.SnowballService/StartSnowball",
        what: "a hundred million workflows".to_owned(),
        fields: vec!["spec".to_owned()],
        call: Box::new(move |channels| {
            async move {
                SnowballServiceClient::new(channels.work)
                    .start_snowball(too_many)
                    .await
                    .map(drop)
            }
            .boxed()
        }),
    });
    for (what, id) in bad_ids() {
        case!(
            t,
            "quell.work.v1.SnowballService/GetSnowball",
            work,
            SnowballServiceClient.get_snowball,
            what,
            ["snowball_id"],
            GetSnowballRequest {
                snowball_id: id.clone()
            }
        );
        stream_case!(
            t,
            "quell.work.v1.SnowballService/WatchSnowball",
            work,
            SnowballServiceClient.watch_snowball,
            what,
            ["interval", "snowball_id"],
            WatchSnowballRequest {
                snowball_id: id.clone(),
                interval: millis(1)
            }
        );
        case!(
            t,
            "quell.work.v1.SnowballService/CancelSnowball",
            work,
            SnowballServiceClient.cancel_snowball,
            what,
            ["reason", "snowball_id"],
            CancelSnowballRequest {
                snowball_id: id,
                reason: "x".repeat(501)
            }
        );
    }
    for (what, page_size, page_token, fields) in bad_pages() {
        t.push(Case {
            rpc: "quell.work.v1.SnowballService/ListSnowballs",
            what,
            fields,
            call: Box::new(move |channels| {
                let request = ListSnowballsRequest { page_size, page_token };
                async move {
                    SnowballServiceClient::new(channels.work)
                        .list_snowballs(request)
                        .await
                        .map(drop)
                }
                .boxed()
            }),
        });
    }
    for id in ["", "a'b", "a`b", "a\\b", "a\nb"] {
        case!(
            t,
            "quell.work.v1.SourceService/Quiesce",
            work,
            SourceServiceClient.quiesce,
            format!("workload {id:?}"),
            ["reason", "ttl", "wait", "workload_id"],
            QuiesceRequest {
                workload_id: id.to_owned(),
                ttl: millis(1),
                wait: millis(61_000),
                reason: "x".repeat(501)
            }
        );
        case!(
            t,
            "quell.work.v1.SourceService/Resume",
            work,
            SourceServiceClient.resume,
            format!("workload {id:?}"),
            ["workload_id"],
            ResumeRequest {
                workload_id: id.to_owned()
            }
        );
    }
    for (what, duration) in bad_durations() {
        case!(
            t,
            "quell.work.v1.SourceService/Quiesce",
            work,
            SourceServiceClient.quiesce,
            what,
            ["ttl", "wait"],
            QuiesceRequest {
                workload_id: mark.to_owned(),
                ttl: Some(duration),
                wait: Some(duration),
                ..Default::default()
            }
        );
    }
}

fn canceler(t: &mut Vec<Case>, mark: &str) {
    let good = CancellationSpec {
        target: workload(mark),
        reason: "a test".to_owned(),
        ..Default::default()
    };
    let start = |spec: CancellationSpec| StartCancellationRequest {
        spec: Some(spec),
        request_id: mark.to_owned(),
        validate_only: false,
    };
    for (what, target, field) in bad_targets() {
        let spec = CancellationSpec {
            target: target.clone(),
            ..good.clone()
        };
        case!(
            t,
            "quell.canceler.v1.CancellationService/StartCancellation",
            canceler,
            CancellationServiceClient.start_cancellation,
            what,
            [format!("spec.target{field}")],
            start(spec.clone())
        );
        case!(
            t,
            "quell.canceler.v1.CancellationService/StartCancellation",
            canceler,
            CancellationServiceClient.start_cancellation,
            format!("{what}, only validated"),
            [format!("spec.target{field}")],
            StartCancellationRequest {
                validate_only: true,
                ..start(spec)
            }
        );
        case!(
            t,
            "quell.canceler.v1.CancellationService/PreviewCancellation",
            canceler,
            CancellationServiceClient.preview_cancellation,
            what,
            [format!("target{field}")],
            PreviewCancellationRequest { target, sample_size: 0 }
        );
    }
    for sample_size in [-1, 101, i32::MAX, i32::MIN] {
        case!(
            t,
            "quell.canceler.v1.CancellationService/PreviewCancellation",
            canceler,
            CancellationServiceClient.preview_cancellation,
            format!("a sample of {sample_size}"),
            ["sample_size"],
            PreviewCancellationRequest {
                target: workload(mark),
                sample_size
            }
        );
    }
    case!(
        t,
        "quell.canceler.v1.CancellationService/StartCancellation",
        canceler,
        CancellationServiceClient.start_cancellation,
        "no spec",
        ["spec"],
        StartCancellationRequest {
            request_id: mark.to_owned(),
            ..Default::default()
        }
    );
    case!(
        t,
        "quell.canceler.v1.CancellationService/StartCancellation",
        canceler,
        CancellationServiceClient.start_cancellation,
        "everything at once",
        [
            "request_id",
            "spec.concurrency",
            "spec.confirm_poll",
            "spec.confirm_timeout",
            "spec.deadline",
            "spec.engine",
            "spec.looks",
            "spec.max_affected",
            "spec.reason",
            "spec.target.workload_id"
        ],
        StartCancellationRequest {
            spec: Some(CancellationSpec {
                target: workload("a\"b"),
                reason: String::new(),
                engine: 99,
                max_affected: -1,
                concurrency: 751,
                quiesce: None,
                require_quiesce: false,
                deadline: millis(1),
                looks: 1,
                confirm_timeout: millis(-5_000),
                confirm_poll: millis(10),
            }),
            request_id: "not/an/id".to_owned(),
            validate_only: false,
        }
    );
    for (what, duration) in bad_durations() {
        case!(
            t,
            "quell.canceler.v1.CancellationService/StartCancellation",
            canceler,
            CancellationServiceClient.start_cancellation,
            what,
            ["spec.confirm_poll", "spec.confirm_timeout", "spec.deadline"],
            start(CancellationSpec {
                deadline: Some(duration),
                confirm_timeout: Some(duration),
                confirm_poll: Some(duration),
                ..good.clone()
            })
        );
    }
    for (what, reason) in [
        ("a blank reason", "  ".to_owned()),
        ("a huge reason", "x".repeat(1_000_000)),
        ("a reason of lines", "a\nb".to_owned()),
    ] {
        case!(
            t,
            "quell.canceler.v1.CancellationService/StartCancellation",
            canceler,
            CancellationServiceClient.start_cancellation,
            what,
            ["spec.reason"],
            start(CancellationSpec { reason, ..good.clone() })
        );
    }
    for (what, id) in bad_ids() {
        case!(
            t,
            "quell.canceler.v1.CancellationService/GetCancellation",
            canceler,
            CancellationServiceClient.get_cancellation,
            what,
            ["cancellation_id"],
            GetCancellationRequest {
                cancellation_id: id.clone()
            }
        );
        stream_case!(
            t,
            "quell.canceler.v1.CancellationService/WatchCancellation",
            canceler,
            CancellationServiceClient.watch_cancellation,
            what,
            ["cancellation_id"],
            WatchCancellationRequest {
                cancellation_id: id.clone()
            }
        );
        case!(
            t,
            "quell.canceler.v1.CancellationService/GetReceipt",
            canceler,
            CancellationServiceClient.get_receipt,
            what,
            ["cancellation_id"],
            GetReceiptRequest {
                cancellation_id: id.clone()
            }
        );
        case!(
            t,
            "quell.canceler.v1.CancellationService/StopCancellation",
            canceler,
            CancellationServiceClient.stop_cancellation,
            what,
            ["cancellation_id", "reason"],
            StopCancellationRequest {
                cancellation_id: id,
                reason: "x".repeat(501)
            }
        );
    }
    for (what, page_size, page_token, fields) in bad_pages() {
        t.push(Case {
            rpc: "quell.canceler.v1.CancellationService/ListCancellations",
            what,
            fields,
            call: Box::new(move |channels| {
                let request = ListCancellationsRequest { page_size, page_token };
                async move {
                    CancellationServiceClient::new(channels.canceler)
                        .list_cancellations(request)
                        .await
                        .map(drop)
                }
                .boxed()
            }),
        });
    }
}

fn batch(t: &mut Vec<Case>, mark: &str) {
    let good = StartBatchOperationRequest {
        target: workload(mark),
        kind: 1,
        reason: "a test".to_owned(),
        request_id: mark.to_owned(),
        validate_only: false,
    };
    for (what, target, field) in bad_targets() {
        case!(
            t,
            "quell.batch.v1.BatchOperationService/StartBatchOperation",
            batch,
            BatchOperationServiceClient.start_batch_operation,
            what,
            [format!("target{field}")],
            StartBatchOperationRequest { target, ..good.clone() }
        );
    }
    for kind in [0, 3, -1] {
        case!(
            t,
            "quell.batch.v1.BatchOperationService/StartBatchOperation",
            batch,
            BatchOperationServiceClient.start_batch_operation,
            format!("everything at once, with kind {kind}"),
            ["kind", "reason", "request_id", "target"],
            StartBatchOperationRequest {
                target: None,
                kind,
                reason: String::new(),
                request_id: "ä".to_owned(),
                validate_only: false
            }
        );
    }
    for (what, id) in bad_ids() {
        case!(
            t,
            "quell.batch.v1.BatchOperationService/GetBatchOperation",
            batch,
            BatchOperationServiceClient.get_batch_operation,
            what,
            ["job_id"],
            GetBatchOperationRequest { job_id: id.clone() }
        );
        case!(
            t,
            "quell.batch.v1.BatchOperationService/StopBatchOperation",
            batch,
            BatchOperationServiceClient.stop_batch_operation,
            what,
            ["job_id", "reason"],
            StopBatchOperationRequest {
                job_id: id,
                reason: " ".to_owned()
            }
        );
    }
    for (what, page_size, page_token, fields) in bad_pages() {
        t.push(Case {
            rpc: "quell.batch.v1.BatchOperationService/ListBatchOperations",
            what,
            fields,
            call: Box::new(move |channels| {
                let request = ListBatchOperationsRequest { page_size, page_token };
                async move {
                    BatchOperationServiceClient::new(channels.batch)
                        .list_batch_operations(request)
                        .await
                        .map(drop)
                }
                .boxed()
            }),
        });
    }
}

/// Pages that are no pages: what, page_size, page_token, bad fields.
fn bad_pages() -> Vec<(String, i32, String, Vec<String>)> {
    let size = || vec!["page_size".to_owned()];
    let token = || vec!["page_token".to_owned()];
    vec![
        ("a negative page size".to_owned(), -1, String::new(), size()),
        ("a huge page size".to_owned(), i32::MAX, String::new(), size()),
        ("a page token of our own".to_owned(), 0, "garbage".to_owned(), token()),
        (
            "a page token of base64".to_owned(),
            0,
            "Z2FyYmFnZQ==".to_owned(),
            token(),
        ),
        (
            "a page token of other letters".to_owned(),
            10,
            "ÄÖÜ\u{1F980}".to_owned(),
            token(),
        ),
        ("a huge page token".to_owned(), 10, "QUJD".repeat(25_000), token()),
    ]
}

fn channels(mesh: &Mesh) -> Channels {
    use crate::harness::channel;
    use quell_cli::dev::Part;
    Channels {
        work: channel(&mesh.address(Part::Work)),
        canceler: channel(&mesh.address(Part::Canceler)),
        batch: channel(&mesh.address(Part::Batch)),
    }
}

#[test]
fn no_rpc_of_the_contract_is_missing_from_the_table() {
    let tested: BTreeSet<_> = table("x").into_iter().map(|case| case.rpc.to_owned()).collect();
    assert_eq!(tested, contract::rpcs().into_iter().collect());
}

#[tokio::test]
async fn every_bad_field_is_named_at_once_and_nothing_is_started() {
    let mesh = mesh().await;
    let mark = unique("bad-input");
    // A few that would be stopped if a guard failed.
    mesh.start_by_cli(&mark, &mark).await;
    let channels = channels(&mesh);
    let mut wrong = Vec::new();
    for case in table(&mark) {
        let name = format!("{}: {}", case.rpc, case.what);
        match (case.call)(channels.clone()).await {
            Ok(()) => wrong.push(format!("{name}: was accepted")),
            Err(status) if status.code() != Code::InvalidArgument => wrong.push(format!("{name}: {status:?}")),
            Err(status) => {
                let named = details::bad_fields(&name, &status);
                // A filter's own trouble is told by the server in one go.
                if named != case.fields {
                    wrong.push(format!("{name}: names {named:?} instead of {:?}", case.fields));
                }
                if status.message().len() > 4_000 {
                    wrong.push(format!("{name}: repeats the input: {} bytes", status.message().len()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of the table:\n{}", wrong.len(), wrong.join("\n"));

    for (namespace, id) in [
        ("main", format!("snowball-{mark}")),
        ("main", format!("quell/gate/{mark}")),
        ("canceler", format!("quell/cancellation/{mark}")),
    ] {
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
    // 5 MB of a valid string: more than the 4 MB that a message may have.
    let request = GetCancellationRequest {
        cancellation_id: "x".repeat(5_000_000),
    };
    let status = mesh.cancellations().get_cancellation(request).await.unwrap_err();
    assert!(
        [Code::OutOfRange, Code::ResourceExhausted].contains(&status.code()),
        "{status:?}"
    );
    // An rpc that is not there.
    let ran = mesh
        .grpcurl(
            quell_cli::dev::Part::Work,
            &[],
            &["quell.work.v1.SnowballService/NoSuchRpc"],
        )
        .await;
    assert_ne!(ran.code, 0, "{}", ran.out);
    let mut raw = tonic::client::Grpc::new(channels(&mesh).batch);
    raw.ready().await.unwrap();
    let codec = tonic_prost_codec();
    let path = "/quell.batch.v1.BatchOperationService/NoSuchRpc".parse().unwrap();
    let status = raw
        .unary(tonic::Request::new(GetBatchOperationRequest::default()), path, codec)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
}

fn tonic_prost_codec() -> tonic_prost::ProstCodec<GetBatchOperationRequest, GetBatchOperationRequest> {
    tonic_prost::ProstCodec::default()
}
