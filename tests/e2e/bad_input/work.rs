//! Bad input for the work service.

use super::{Table, bad_durations, bad_ids, bad_pages};
use crate::cancel::millis;
use quell_api::work::v1::{
    CancelSnowballRequest, GetProbeRequest, GetSnowballRequest, ListSnowballsRequest, ProbeSpec, QuiesceRequest,
    ResumeRequest, SnowballLeaves, SnowballPacing, SnowballSpec, StartProbeRequest, StartSnowballRequest,
    WatchSnowballRequest, probe_service_client::ProbeServiceClient, snowball_service_client::SnowballServiceClient,
    source_service_client::SourceServiceClient,
};

pub(super) fn snowballs(table: &mut Table, mark: &str) {
    start(table, mark);
    for (what, snowball_id) in bad_ids() {
        let request = GetSnowballRequest {
            snowball_id: snowball_id.clone(),
        };
        let rpc = "quell.work.v1.SnowballService/GetSnowball";
        table.line(rpc, what, &["snowball_id"], |to| async {
            SnowballServiceClient::new(to.work)
                .get_snowball(request)
                .await
                .map(drop)
        });
        let request = WatchSnowballRequest {
            snowball_id: snowball_id.clone(),
            interval: millis(1),
        };
        let rpc = "quell.work.v1.SnowballService/WatchSnowball";
        table.line(rpc, what, &["interval", "snowball_id"], |to| async {
            let mut stream = SnowballServiceClient::new(to.work)
                .watch_snowball(request)
                .await?
                .into_inner();
            stream.message().await.map(drop)
        });
        let request = CancelSnowballRequest {
            snowball_id,
            reason: "x".repeat(501),
        };
        let rpc = "quell.work.v1.SnowballService/CancelSnowball";
        table.line(rpc, what, &["reason", "snowball_id"], |to| async {
            SnowballServiceClient::new(to.work)
                .cancel_snowball(request)
                .await
                .map(drop)
        });
    }
    for (what, page_size, page_token, field) in bad_pages() {
        let request = ListSnowballsRequest { page_size, page_token };
        table.line(
            "quell.work.v1.SnowballService/ListSnowballs",
            what,
            &[field],
            |to| async {
                SnowballServiceClient::new(to.work)
                    .list_snowballs(request)
                    .await
                    .map(drop)
            },
        );
    }
}

fn start(table: &mut Table, mark: &str) {
    let mut line = |what: String, fields: &[&str], request: StartSnowballRequest| {
        table.line(
            "quell.work.v1.SnowballService/StartSnowball",
            what,
            fields,
            |to| async {
                SnowballServiceClient::new(to.work)
                    .start_snowball(request)
                    .await
                    .map(drop)
            },
        );
    };
    let with = |spec| StartSnowballRequest {
        spec: Some(spec),
        request_id: mark.to_owned(),
        validate_only: false,
    };
    let good = SnowballSpec {
        workload_id: mark.to_owned(),
        width: 1,
        depth: 1,
        ..Default::default()
    };
    for rate in [f64::NAN, f64::INFINITY, -1.0, 1e9] {
        let spec = SnowballSpec {
            rate_per_second: rate,
            ..good.clone()
        };
        line(format!("a rate of {rate}"), &["spec.rate_per_second"], with(spec));
    }
    for (what, lifetime) in bad_durations() {
        let spec = SnowballSpec {
            lifetime: Some(lifetime),
            ..good.clone()
        };
        line(what.to_owned(), &["spec.lifetime"], with(spec));
    }
    for (what, workload_id) in [("huge", "x".repeat(1_000_000)), ("quoted", "a\"b".to_owned())] {
        let spec = SnowballSpec {
            workload_id,
            ..good.clone()
        };
        line(format!("a {what} workload"), &["spec.workload_id"], with(spec));
    }
    // Each field is in its range, the whole is not.
    let spec = SnowballSpec {
        width: 100,
        depth: 4,
        ..good
    };
    line("a hundred million workflows".to_owned(), &["spec"], with(spec));
    let everything = StartSnowballRequest {
        spec: Some(SnowballSpec {
            width: 100_001,
            depth: 11,
            concurrency: 501,
            rate_per_second: -0.1,
            lifetime: millis(31 * 86_400_000),
            workload_id: "a\\b".to_owned(),
            pacing: Some(SnowballPacing {
                shape: 77,
                ..Default::default()
            }),
            leaves: Some(SnowballLeaves {
                failure_probability: f64::NAN,
                continue_as_new_probability: 1.1,
                ..Default::default()
            }),
            tag_after: millis(-1),
            producer: 77,
            max_children: 9,
        }),
        request_id: "not an id".to_owned(),
        validate_only: false,
    };
    let fields = [
        "request_id",
        "spec.concurrency",
        "spec.depth",
        "spec.leaves.continue_as_new_probability",
        "spec.leaves.failure_probability",
        "spec.lifetime",
        "spec.max_children",
        "spec.pacing.shape",
        "spec.producer",
        "spec.rate_per_second",
        "spec.tag_after",
        "spec.width",
        "spec.workload_id",
    ];
    line("everything at once".to_owned(), &fields, everything.clone());
    line(
        "the same, only validated".to_owned(),
        &fields,
        StartSnowballRequest {
            validate_only: true,
            ..everything
        },
    );
}

pub(super) fn sources(table: &mut Table, mark: &str) {
    let mut quiesce = |what: String, fields: &[&str], request: QuiesceRequest| {
        table.line("quell.work.v1.SourceService/Quiesce", what, fields, |to| async {
            SourceServiceClient::new(to.work).quiesce(request).await.map(drop)
        });
    };
    const BAD_WORKLOADS: [&str; 5] = ["", "a'b", "a`b", "a\\b", "a\nb"];
    for id in BAD_WORKLOADS {
        let request = QuiesceRequest {
            workload_id: id.to_owned(),
            ttl: millis(1),
            wait: millis(61_000),
            reason: "x".repeat(501),
        };
        quiesce(
            format!("workload {id:?}"),
            &["reason", "ttl", "wait", "workload_id"],
            request,
        );
    }
    for (what, duration) in bad_durations() {
        let request = QuiesceRequest {
            workload_id: mark.to_owned(),
            ttl: Some(duration),
            wait: Some(duration),
            reason: String::new(),
        };
        quiesce(what.to_owned(), &["ttl", "wait"], request);
    }
    for id in BAD_WORKLOADS {
        let request = ResumeRequest {
            workload_id: id.to_owned(),
        };
        table.line(
            "quell.work.v1.SourceService/Resume",
            format!("workload {id:?}"),
            &["workload_id"],
            |to| async { SourceServiceClient::new(to.work).resume(request).await.map(drop) },
        );
    }
}

pub(super) fn probes(table: &mut Table, mark: &str) {
    for (what, probe_id) in bad_ids() {
        let request = GetProbeRequest { probe_id };
        table.line("quell.work.v1.ProbeService/GetProbe", what, &["probe_id"], |to| async {
            ProbeServiceClient::new(to.work).get_probe(request).await.map(drop)
        });
    }
    let mut line = |what: String, fields: &[&str], request: StartProbeRequest| {
        table.line("quell.work.v1.ProbeService/StartProbe", what, fields, |to| async {
            ProbeServiceClient::new(to.work).start_probe(request).await.map(drop)
        });
    };
    let with = |spec| StartProbeRequest {
        spec: Some(spec),
        request_id: mark.to_owned(),
        validate_only: false,
    };
    let id = StartProbeRequest {
        request_id: "no spaces".to_owned(),
        ..StartProbeRequest::default()
    };
    line("a request id with a space".to_owned(), &["request_id"], id);
    for (what, duration) in bad_durations() {
        let spec = ProbeSpec {
            activity_sleep: Some(duration),
            activity_timeout: Some(duration),
            heartbeat_timeout: Some(duration),
            ..ProbeSpec::default()
        };
        let fields = ["spec.activity_sleep", "spec.activity_timeout", "spec.heartbeat_timeout"];
        line(what.to_owned(), &fields, with(spec));
    }
    let numbers = ProbeSpec {
        workflows: 100_001,
        attempts: 101,
        concurrency: 201,
        ..ProbeSpec::default()
    };
    let fields = ["spec.attempts", "spec.concurrency", "spec.workflows"];
    line("numbers that are too large".to_owned(), &fields, with(numbers));
    for queue in ["x".repeat(201), "a\nb".to_owned()] {
        let spec = ProbeSpec {
            activity_task_queue: queue,
            ..ProbeSpec::default()
        };
        let what = "a task queue that cannot be".to_owned();
        line(what, &["spec.activity_task_queue"], with(spec));
    }
    let short = ProbeSpec {
        activity_timeout: millis(0),
        heartbeat_timeout: millis(1),
        ..ProbeSpec::default()
    };
    let fields = ["spec.activity_timeout", "spec.heartbeat_timeout"];
    line("timeouts that are too short".to_owned(), &fields, with(short));
}
