//! Bad input for the canceler service.

use super::{Table, bad_durations, bad_ids, bad_pages, bad_targets};
use crate::cancel::{millis, query, workload};
use quell_api::audit::v1::{ListAuditEventsRequest, audit_service_client::AuditServiceClient};
use quell_api::canceler::v1::{
    AdjustCancellationRequest, CancellationSpec, GetCancellationRequest, GetReceiptRequest, GetRestorationRequest,
    Limits, ListCancellationsRequest, ListFailuresRequest, PreviewCancellationRequest, ReadJournalChunkRequest,
    RestoreCancellationRequest, StartCancellationRequest, StopCancellationRequest, StopRestorationRequest,
    WatchCancellationRequest, WatchRestorationRequest, cancellation_service_client::CancellationServiceClient,
};

pub(super) fn cancellations(table: &mut Table, mark: &str) {
    preview(table, mark);
    start(table, mark);
    audit(table);
    for (what, cancellation_id) in bad_ids() {
        let fields = ["cancellation_id"];
        let request = GetCancellationRequest {
            cancellation_id: cancellation_id.clone(),
        };
        table.line(
            "quell.canceler.v1.CancellationService/GetCancellation",
            what,
            &fields,
            |to| async {
                CancellationServiceClient::new(to.canceler)
                    .get_cancellation(request)
                    .await
                    .map(drop)
            },
        );
        let request = WatchCancellationRequest {
            cancellation_id: cancellation_id.clone(),
        };
        table.line(
            "quell.canceler.v1.CancellationService/WatchCancellation",
            what,
            &fields,
            |to| async {
                let mut client = CancellationServiceClient::new(to.canceler);
                client
                    .watch_cancellation(request)
                    .await?
                    .into_inner()
                    .message()
                    .await
                    .map(drop)
            },
        );
        let request = GetReceiptRequest {
            cancellation_id: cancellation_id.clone(),
        };
        table.line(
            "quell.canceler.v1.CancellationService/GetReceipt",
            what,
            &fields,
            |to| async {
                CancellationServiceClient::new(to.canceler)
                    .get_receipt(request)
                    .await
                    .map(drop)
            },
        );
        let request = StopCancellationRequest {
            cancellation_id,
            reason: "x".repeat(501),
        };
        let fields = ["cancellation_id", "reason"];
        table.line(
            "quell.canceler.v1.CancellationService/StopCancellation",
            what,
            &fields,
            |to| async {
                CancellationServiceClient::new(to.canceler)
                    .stop_cancellation(request)
                    .await
                    .map(drop)
            },
        );
    }
    failures(table, mark);
    chunks(table, mark);
    restorations(table, mark);
    adjust(table, mark);
    for (what, page_size, page_token, field) in bad_pages() {
        let request = ListCancellationsRequest { page_size, page_token };
        table.line(
            "quell.canceler.v1.CancellationService/ListCancellations",
            what,
            &[field],
            |to| async {
                CancellationServiceClient::new(to.canceler)
                    .list_cancellations(request)
                    .await
                    .map(drop)
            },
        );
    }
}

fn failures(table: &mut Table, mark: &str) {
    let mut line = |what: &str, fields: &[&str], request: ListFailuresRequest| {
        let rpc = "quell.canceler.v1.CancellationService/ListFailures";
        table.line(rpc, what, fields, |to| async {
            CancellationServiceClient::new(to.canceler)
                .list_failures(request)
                .await
                .map(drop)
        });
    };
    let good = ListFailuresRequest {
        cancellation_id: mark.to_owned(),
        ..Default::default()
    };
    for (what, cancellation_id) in bad_ids() {
        let request = ListFailuresRequest {
            cancellation_id,
            pass: -1,
            ..Default::default()
        };
        line(what, &["cancellation_id", "pass"], request);
    }
    for (what, page_size, page_token, field) in bad_pages() {
        let request = ListFailuresRequest {
            page_size,
            page_token,
            ..good.clone()
        };
        line(what, &[field], request);
    }
    // One that we gave, but for a list of cancellations.
    let page_token = "4834945f7b2274223a317d".to_owned();
    line(
        "a page token of another list",
        &["page_token"],
        ListFailuresRequest { page_token, ..good },
    );
}

fn restorations(table: &mut Table, mark: &str) {
    for (what, cancellation_id) in bad_ids() {
        let request = GetRestorationRequest {
            cancellation_id: cancellation_id.clone(),
        };
        let fields = ["cancellation_id"];
        let rpc = "quell.canceler.v1.CancellationService/GetRestoration";
        table.line(rpc, what, &fields, |to| async {
            let mut client = CancellationServiceClient::new(to.canceler);
            client.get_restoration(request).await.map(drop)
        });
        let request = WatchRestorationRequest {
            cancellation_id: cancellation_id.clone(),
        };
        let rpc = "quell.canceler.v1.CancellationService/WatchRestoration";
        table.line(rpc, what, &fields, |to| async {
            let mut client = CancellationServiceClient::new(to.canceler);
            let mut looks = client.watch_restoration(request).await?.into_inner();
            looks.message().await.map(drop)
        });
    }
    for (what, cancellation_id) in bad_ids() {
        let request = StopRestorationRequest {
            cancellation_id,
            reason: "x".repeat(501),
        };
        let rpc = "quell.canceler.v1.CancellationService/StopRestoration";
        table.line(rpc, what, &["cancellation_id", "reason"], |to| async {
            let mut client = CancellationServiceClient::new(to.canceler);
            client.stop_restoration(request).await.map(drop)
        });
    }
    let mut line = |what: &str, fields: &[&str], request: RestoreCancellationRequest| {
        let rpc = "quell.canceler.v1.CancellationService/RestoreCancellation";
        table.line(rpc, what, fields, |to| async {
            let mut client = CancellationServiceClient::new(to.canceler);
            client.restore_cancellation(request).await.map(drop)
        });
    };
    for (what, cancellation_id) in bad_ids() {
        let request = RestoreCancellationRequest {
            cancellation_id,
            reason: "x".repeat(501),
            max_affected: -1,
            concurrency: -1,
            ..Default::default()
        };
        line(
            what,
            &["cancellation_id", "concurrency", "max_affected", "reason"],
            request,
        );
    }
    for (max_affected, concurrency) in [(1_000_001, 201), (i64::MIN, i32::MIN), (i64::MAX, i32::MAX)] {
        let request = RestoreCancellationRequest {
            cancellation_id: mark.to_owned(),
            max_affected,
            concurrency,
            ..Default::default()
        };
        let what = format!("{max_affected} at most, {concurrency} at a time");
        line(&what, &["concurrency", "max_affected"], request);
    }
}

fn adjust(table: &mut Table, mark: &str) {
    let mut line = |what: &str, fields: &[&str], cancellation_id: &str, limits: Option<Limits>| {
        let rpc = "quell.canceler.v1.CancellationService/AdjustCancellation";
        let request = AdjustCancellationRequest {
            cancellation_id: cancellation_id.to_owned(),
            limits,
        };
        table.line(rpc, what, fields, |to| async {
            let mut client = CancellationServiceClient::new(to.canceler);
            client.adjust_cancellation(request).await.map(drop)
        });
    };
    for (what, cancellation_id) in bad_ids() {
        line(what, &["cancellation_id", "limits"], &cancellation_id, None);
    }
    line("no change at all", &["limits"], mark, Some(Limits::default()));
    for n in [0, -1, 751, i32::MAX] {
        let limits = Limits {
            concurrency: Some(n),
            ..Default::default()
        };
        line(
            &format!("a concurrency of {n}"),
            &["limits.concurrency"],
            mark,
            Some(limits),
        );
    }
    for (what, duration) in bad_durations() {
        let limits = Limits {
            deadline: Some(duration),
            stops_per_second: Some(-1),
            ..Default::default()
        };
        line(
            what,
            &["limits.deadline", "limits.stops_per_second"],
            mark,
            Some(limits),
        );
    }
}

fn chunks(table: &mut Table, mark: &str) {
    let mut line = |what: &str, fields: &[&str], request: ReadJournalChunkRequest| {
        let rpc = "quell.canceler.v1.CancellationService/ReadJournalChunk";
        table.line(rpc, what, fields, |to| async {
            let mut client = CancellationServiceClient::new(to.canceler);
            client.read_journal_chunk(request).await.map(drop)
        });
    };
    for (what, cancellation_id) in bad_ids() {
        let request = ReadJournalChunkRequest {
            cancellation_id,
            key: String::new(),
        };
        line(what, &["cancellation_id", "key"], request);
    }
    for key in [
        "journal/another/p1-w0-a1-00000.jsonl".to_owned(),
        format!("journal/{mark}/../{mark}/p1-w0-a1-00000.jsonl"),
        format!("journal/{mark}/p1-w0-a1-00000.jsonl#1"),
        "payloads/aa/aaaa".to_owned(),
        "/etc/passwd".to_owned(),
        "x".repeat(200_000),
    ] {
        let request = ReadJournalChunkRequest {
            cancellation_id: mark.to_owned(),
            key: key.clone(),
        };
        line(&format!("the key {key:.60?}"), &["key"], request);
    }
}

fn preview(table: &mut Table, mark: &str) {
    let mut line = |what: String, fields: &[&str], request: PreviewCancellationRequest| {
        table.line(
            "quell.canceler.v1.CancellationService/PreviewCancellation",
            what,
            fields,
            |to| async {
                CancellationServiceClient::new(to.canceler)
                    .preview_cancellation(request)
                    .await
                    .map(drop)
            },
        );
    };
    for (what, target, field) in bad_targets() {
        let at_fault = format!("target{field}");
        line(
            what.clone(),
            &[&at_fault],
            PreviewCancellationRequest {
                target,
                sample_size: 0,
                include_descendants: None,
                ..Default::default()
            },
        );
    }
    for sample_size in [-1, 101, i32::MAX, i32::MIN] {
        let request = PreviewCancellationRequest {
            target: workload(mark),
            sample_size,
            include_descendants: None,
            ..Default::default()
        };
        line(format!("a sample of {sample_size}"), &["sample_size"], request);
    }
    let request = PreviewCancellationRequest {
        target: None,
        sample_size: -1,
        include_descendants: None,
        ..Default::default()
    };
    line("everything at once".to_owned(), &["sample_size", "target"], request);
}

fn start(table: &mut Table, mark: &str) {
    let mut line = |what: String, fields: &[&str], request: StartCancellationRequest| {
        table.line(
            "quell.canceler.v1.CancellationService/StartCancellation",
            what,
            fields,
            |to| async {
                CancellationServiceClient::new(to.canceler)
                    .start_cancellation(request)
                    .await
                    .map(drop)
            },
        );
    };
    let with = |spec| StartCancellationRequest {
        spec: Some(spec),
        request_id: mark.to_owned(),
        validate_only: false,
        confirmation_token: String::new(),
    };
    let good = CancellationSpec {
        target: workload(mark),
        reason: "a test".to_owned(),
        ..Default::default()
    };
    for (what, target, field) in bad_targets() {
        let request = with(CancellationSpec { target, ..good.clone() });
        let at_fault = format!("spec.target{field}");
        line(what.clone(), &[&at_fault], request.clone());
        let validated = StartCancellationRequest {
            validate_only: true,
            ..request
        };
        line(format!("{what}, only validated"), &[&at_fault], validated);
    }
    for (what, duration) in bad_durations() {
        let duration = Some(duration);
        let spec = CancellationSpec {
            deadline: duration,
            confirm_timeout: duration,
            confirm_poll: duration,
            ..good.clone()
        };
        line(
            what.to_owned(),
            &["spec.confirm_poll", "spec.confirm_timeout", "spec.deadline"],
            with(spec),
        );
    }
    for (what, reason) in [
        ("blank", "  ".to_owned()),
        ("huge", "x".repeat(1_000_000)),
        ("broken", "a\nb".to_owned()),
    ] {
        line(
            format!("a {what} reason"),
            &["spec.reason"],
            with(CancellationSpec { reason, ..good.clone() }),
        );
    }
    let paused = query("WorkloadId = 'x' AND ExecutionStatus = 'Paused'");
    line(
        "descendants of what is told by its end".to_owned(),
        &["spec.include_descendants"],
        with(CancellationSpec { target: paused, ..good }),
    );
    let without_spec = StartCancellationRequest {
        spec: None,
        request_id: mark.to_owned(),
        validate_only: false,
        confirmation_token: String::new(),
    };
    line(
        "no spec".to_owned(),
        &["spec", "spec.reason", "spec.target"],
        without_spec,
    );
    let everything = StartCancellationRequest {
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
            include_descendants: None,
            mode: 99,
            grace: millis(1),
            namespaces: vec!["nowhere".to_owned()],
        }),
        request_id: "not/an/id".to_owned(),
        validate_only: false,
        confirmation_token: String::new(),
    };
    let fields = [
        "request_id",
        "spec.concurrency",
        "spec.confirm_poll",
        "spec.confirm_timeout",
        "spec.deadline",
        "spec.engine",
        "spec.grace",
        "spec.looks",
        "spec.max_affected",
        "spec.mode",
        "spec.namespaces[0]",
        "spec.reason",
        "spec.target.workload_id",
    ];
    line("everything at once".to_owned(), &fields, everything);
}

fn audit(table: &mut Table) {
    let request = ListAuditEventsRequest {
        page_size: -1,
        page_token: "not ours".to_owned(),
        since: Some(prost_types::Timestamp { seconds: 7, nanos: -1 }),
        until: Some(prost_types::Timestamp { seconds: 5, nanos: -1 }),
        principal: "p".repeat(101),
        refused_only: false,
    };
    table.line(
        "quell.audit.v1.AuditService/ListAuditEvents",
        "everything wrong",
        &["page_size", "page_token", "principal", "since", "until"],
        |to| async {
            AuditServiceClient::new(to.canceler)
                .list_audit_events(request)
                .await
                .map(drop)
        },
    );
}
