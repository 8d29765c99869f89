//! The gRPC face.

use super::{Fake, job, records::FakeRecords};
use crate::operation::{
    api::Api,
    job::{Job, State},
    messages::{Fate, Survey, Survivor, Verdict},
    page_token,
    store::Records as _,
};
use quell_api::{
    batch::v1::{
        BatchOperationKind, BatchOperationState, BatchReset, ListBatchOperationsRequest, ListSurvivorsRequest,
        StartBatchOperationRequest, StopBatchOperationRequest, SurvivorState, batch_reset::To,
    },
    r#type::v1::{Target, target::Selector},
};
use quell_mesh::error::{Error, Reason};
use std::{sync::Arc, time::Duration};

pub(super) fn start(target: &str, id: &str) -> StartBatchOperationRequest {
    StartBatchOperationRequest {
        target: Some(Target {
            selector: Some(Selector::WorkloadId(target.to_owned())),
        }),
        kind: BatchOperationKind::Terminate.into(),
        reason: "why".to_owned(),
        request_id: id.to_owned(),
        ..StartBatchOperationRequest::default()
    }
}

pub(super) fn api(server: &Arc<Fake>) -> (Api, Arc<FakeRecords>) {
    let records = Arc::new(FakeRecords::default());
    let api = Api::new(server.clone(), records.clone(), "main", quell_mesh::Shutdown::new());
    (api, records)
}

#[tokio::test]
async fn start_counts_first_and_is_idempotent() {
    let server = Arc::new(Fake::default());
    let (api, records) = api(&server);
    let first = api.start(start("1", "a")).await.unwrap();
    assert_eq!((first.job_id.as_str(), first.matched), ("quell-batch-a", 200));
    assert!(first.query.contains("NOT WorkflowId STARTS_WITH \"quell/\"") && first.query.contains("CloseTime IS NULL"));
    server.world().matches = Some(7);
    assert_eq!(
        api.start(start("1", "a")).await.unwrap(),
        first,
        "whatever matches by now"
    );
    records.end("quell-batch-a", Verdict::Completed);
    assert_eq!(api.start(start("1", "a")).await.unwrap(), first);
    assert_eq!(records.started(), ["quell-batch-a"]);

    let mut other = start("1", "a");
    other.kind = BatchOperationKind::Cancel.into();
    for other in [start("2", "a"), other] {
        assert_eq!(api.start(other).await.unwrap_err().reason(), Reason::RequestIdReused);
    }
}

#[tokio::test]
async fn validate_only_starts_nothing_and_names_some() {
    let server = Arc::new(Fake::default());
    let request = StartBatchOperationRequest {
        validate_only: true,
        ..start("1", "a")
    };
    let (api, records) = api(&server);
    assert_eq!(api.start(request).await.unwrap().matched, 200);
    assert!(records.started().is_empty());
}

#[tokio::test]
async fn more_than_may_be_affected_is_refused() {
    let server = Arc::new(Fake::default());
    let (api, records) = api(&server);
    let mut request = start("1", "a");
    request.max_affected = 199;
    assert_eq!(
        api.start(request).await.unwrap_err().reason(),
        Reason::MaxAffectedExceeded
    );
    server.world().matches = Some(10_001);
    assert_eq!(
        api.start(start("1", "a")).await.unwrap_err().reason(),
        Reason::MaxAffectedExceeded,
        "10,000 when nothing is said"
    );
    assert!(records.started().is_empty());
}

#[tokio::test]
async fn who_does_not_want_to_wait_is_told_of_the_holder_and_a_time() {
    let server = Fake::with_job("theirs", State::Running);
    server.world().jobs.get_mut("theirs").unwrap().total = 1_000;
    let (api, records) = api(&server);
    let mut request = start("1", "a");
    request.no_wait = true;
    let error = api.start(request.clone()).await.unwrap_err();
    let Error::ResourceExhausted {
        reason,
        message,
        retry_after,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (reason, retry_after),
        (Reason::BatchSlotTaken, Some(Duration::from_secs(20)))
    );
    assert!(message.contains("theirs"));
    assert!(records.started().is_empty());

    api.start(start("1", "a")).await.unwrap();
    assert_eq!(records.started(), ["quell-batch-a"], "whoever waits is queued");
    server.end("theirs", State::Completed, 5, 0);
    request.request_id = "b".to_owned();
    assert_eq!(
        api.start(request).await.unwrap_err().reason(),
        Reason::BatchSlotTaken,
        "somebody's turn has come already"
    );
}

#[tokio::test]
async fn those_in_line_see_their_place_and_the_holder() {
    let server = Fake::with_job("theirs", State::Running);
    let (api, records) = api(&server);
    for id in ["a", "b", "c"] {
        api.start(start("1", id)).await.unwrap();
    }
    let seen = async |id: &str| api.get(&format!("quell-batch-{id}")).await.unwrap();
    // It is a's turn, and a waits for a stranger's job.
    records.waits_for("quell-batch-a", "theirs");
    for (id, place) in [("a", 1), ("b", 2), ("c", 3)] {
        let seen = seen(id).await;
        assert_eq!(
            (seen.state(), seen.queue_position),
            (BatchOperationState::Queued, place),
            "{id}"
        );
        let holder = seen.holder.unwrap();
        assert_eq!((holder.job_id.as_str(), holder.ours), ("theirs", false));
    }
    // a runs.
    records.runs("quell-batch-a");
    assert_eq!(seen("a").await.state(), BatchOperationState::Running);
    let b = seen("b").await;
    assert_eq!(
        (b.queue_position, b.holder.unwrap().job_id.as_str()),
        (1, "quell-batch-a")
    );

    let page = api
        .list(ListBatchOperationsRequest {
            page_size: 1,
            page_token: String::new(),
        })
        .await
        .unwrap();
    assert_eq!(page.operations[0].job_id, "quell-batch-b");
    let rest = ListBatchOperationsRequest {
        page_size: 5,
        page_token: page.next_page_token,
    };
    let rest = api.list(rest).await.unwrap();
    assert_eq!(rest.operations[0].job_id, "quell-batch-c");
    let servers = ListBatchOperationsRequest {
        page_size: 5,
        page_token: rest.next_page_token,
    };
    let servers = api.list(servers).await.unwrap();
    assert_eq!(servers.operations[0].job_id, "theirs");
    assert!(servers.next_page_token.is_empty());
}

#[tokio::test]
async fn an_old_server_is_told_what_it_lacks() {
    let server = Arc::new(Fake::default());
    server.world().version = Some("1.20.4");
    let (api, records) = api(&server);
    let mut request = start("1", "a");
    request.kind = BatchOperationKind::Reset.into();
    request.reset = Some(BatchReset {
        to: Some(To::LastWorkflowTask(true)),
        ..BatchReset::default()
    });
    let error = api.start(request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TemporalUnsupported);
    assert!(error.to_string().contains("1.21 or newer; it is 1.20.4"), "{error}");
    assert!(records.started().is_empty());
}

#[tokio::test]
async fn survivors_are_paged() {
    let server = Arc::new(Fake::default());
    let (api, records) = api(&server);
    api.start(start("1", "a")).await.unwrap();
    let mut request = ListSurvivorsRequest {
        job_id: "quell-batch-a".to_owned(),
        page_size: 2,
        page_token: String::new(),
    };
    assert_eq!(
        api.survivors(request.clone()).await.unwrap_err().reason(),
        Reason::WrongState,
        "it has not ended"
    );
    let survivor = |n: usize| Survivor {
        workflow_id: format!("w-{n}"),
        run_id: String::new(),
        workflow_type: String::new(),
        start: None,
        root_workflow_id: String::new(),
        fate: Fate::Open,
    };
    records.survive(
        "quell-batch-a",
        Survey {
            survivors: (0..5).map(survivor).collect(),
            looked_at: 9,
            complete: true,
        },
    );
    records.end("quell-batch-a", Verdict::Completed);
    let mut seen = Vec::new();
    loop {
        let page = api.survivors(request.clone()).await.unwrap();
        assert!(page.complete && page.looked_at == 9 && page.survivors.len() <= 2);
        for survivor in page.survivors {
            assert_eq!(survivor.state(), SurvivorState::Open);
            seen.push(survivor.execution.unwrap().workflow_id);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, ["w-0", "w-1", "w-2", "w-3", "w-4"]);
}

#[tokio::test]
async fn all_bad_fields_are_told_and_the_servers_verdict_on_the_query() {
    let server = Arc::new(Fake::default());
    let (api, _) = api(&server);
    let bad = StartBatchOperationRequest {
        request_id: "a b".to_owned(),
        ..StartBatchOperationRequest::default()
    };
    let Err(Error::InvalidArgument(violations)) = api.start(bad).await else {
        panic!("refused")
    };
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["kind", "target", "reason", "request_id"]);

    server.world().invalid = Some("invalid query: no such attribute".to_owned());
    let mut request = start("1", "a");
    request.target = Some(Target {
        selector: Some(Selector::Query("Nope = 'x'".to_owned())),
    });
    let Err(Error::InvalidArgument(violations)) = api.start(request).await else {
        panic!("refused")
    };
    assert_eq!(violations[0].field, "target.query");
    assert_eq!(violations[0].description, "invalid query: no such attribute");
    assert_eq!(server.world().starts, 0);
}

#[tokio::test]
async fn get_and_stop_know_others_operations_too_and_nothing_else() {
    let server = Fake::with_job("theirs", State::Running);
    let (api, _) = api(&server);
    let got = api.get("theirs").await.unwrap();
    assert_eq!(
        (got.state(), got.kind()),
        (BatchOperationState::Running, BatchOperationKind::Terminate)
    );
    let stop = |id: &str| StopBatchOperationRequest {
        job_id: id.to_owned(),
        reason: "why".to_owned(),
    };
    assert_eq!(api.stop(stop("nope")).await.unwrap_err().reason(), Reason::NotFound);
    api.stop(stop("theirs")).await.unwrap();
    // Again: it has ended, what it did stays done.
    api.stop(stop("theirs")).await.unwrap();
    assert_eq!(server.world().stops, ["theirs"]);
    assert_eq!(api.get("nope").await.unwrap_err().reason(), Reason::NotFound);
    assert!(api.stop(StopBatchOperationRequest::default()).await.is_err());
}

#[tokio::test]
async fn a_queued_operation_is_stopped_by_its_record() {
    let server = Fake::with_job("theirs", State::Running);
    let (api, records) = api(&server);
    api.start(start("1", "a")).await.unwrap();
    let stop = StopBatchOperationRequest {
        job_id: "quell-batch-a".to_owned(),
        reason: "enough".to_owned(),
    };
    api.stop(stop).await.unwrap();
    assert_eq!(records.stopped(), [("quell-batch-a".to_owned(), "enough".to_owned())]);
    assert!(server.world().stops.is_empty());
    records.leave("main", "quell-batch-a").await.unwrap();
    records.end("quell-batch-a", Verdict::Stopped);
    let seen = api.get("quell-batch-a").await.unwrap();
    assert_eq!(seen.state(), BatchOperationState::Stopped);
}

#[tokio::test]
async fn lists_are_paged() {
    let server = Arc::new(Fake::default());
    for n in 0..5 {
        server
            .world()
            .jobs
            .insert(format!("job-{n}"), job(&format!("job-{n}"), State::Completed));
    }
    let (api, _) = api(&server);
    let mut token = String::new();
    let mut seen = Vec::new();
    loop {
        let request = ListBatchOperationsRequest {
            page_size: 2,
            page_token: token,
        };
        let page = api.list(request).await.unwrap();
        seen.extend(page.operations.into_iter().map(|job| job.job_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["job-0", "job-1", "job-2", "job-3", "job-4"]);
    for token in ["%%%", "YmFk", &page_token::seal(b"bad"), &page_token::seal(b"sbad")] {
        let request = ListBatchOperationsRequest {
            page_size: 0,
            page_token: token.to_owned(),
        };
        let Err(Error::InvalidArgument(violations)) = api.list(request).await else {
            panic!("refused")
        };
        assert_eq!(violations[0].field, "page_token");
    }
}

#[tokio::test]
async fn a_dead_server_is_unavailable_at_once() {
    let server = Arc::new(Fake::default());
    server.world().down = true;
    let (api, _) = api(&server);
    assert_eq!(
        api.start(start("1", "a")).await.unwrap_err().reason(),
        Reason::TemporalUnreachable
    );
    assert!(api.get("x").await.unwrap_err().is_retryable());
}

#[test]
fn an_ordinary_workflow_is_no_batch_operation() {
    use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeBatchOperationResponse;
    // What the server answers for one, word for word.
    let answer = DescribeBatchOperationResponse {
        job_id: "order-1".into(),
        state: 1,
        ..Default::default()
    };
    assert_eq!(Job::of(answer), None);
}
