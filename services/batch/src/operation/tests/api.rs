//! The gRPC face.

use super::{Fake, job};
use crate::operation::{
    api::Api,
    job::{Job, State},
    page_token,
};
use quell_api::{
    batch::v1::{
        BatchOperationKind, BatchOperationState, GetBatchOperationRequest, ListBatchOperationsRequest,
        StartBatchOperationRequest, StopBatchOperationRequest,
    },
    r#type::v1::{Target, target::Selector},
};
use quell_mesh::error::{Error, Reason};
use std::{sync::Arc, time::Duration};

fn start(target: &str, id: &str) -> StartBatchOperationRequest {
    StartBatchOperationRequest {
        target: Some(Target {
            selector: Some(Selector::WorkloadId(target.to_owned())),
        }),
        kind: BatchOperationKind::Terminate.into(),
        reason: "why".to_owned(),
        request_id: id.to_owned(),
        validate_only: false,
    }
}

#[tokio::test]
async fn start_counts_first_and_is_idempotent() {
    let server = Arc::new(Fake::default());
    let api = Api::new(server.clone());
    let first = api.start(start("1", "a")).await.unwrap();
    assert_eq!((first.job_id.as_str(), first.matched), ("quell-batch-a", 200));
    assert!(first.query.contains("NOT WorkflowId STARTS_WITH \"quell/\"") && first.query.contains("CloseTime IS NULL"));
    assert_eq!(api.start(start("1", "a")).await.unwrap(), first);
    server.end("quell-batch-a", State::Completed, 200, 0);
    assert_eq!(api.start(start("1", "a")).await.unwrap(), first);
    assert_eq!(server.world().starts, 1);

    assert_eq!(
        api.start(start("2", "a")).await.unwrap_err().reason(),
        Reason::RequestIdReused
    );
    let mut other = start("1", "a");
    other.kind = BatchOperationKind::Cancel.into();
    assert_eq!(api.start(other).await.unwrap_err().reason(), Reason::RequestIdReused);
}

#[tokio::test]
async fn validate_only_starts_nothing() {
    let server = Arc::new(Fake::default());
    let request = StartBatchOperationRequest {
        validate_only: true,
        ..start("1", "a")
    };
    assert_eq!(Api::new(server.clone()).start(request).await.unwrap().matched, 200);
    assert_eq!(server.world().starts, 0);
}

#[tokio::test]
async fn a_lost_answer_is_found_again() {
    let server = Arc::new(Fake::default());
    server.world().lose_answer = true;
    assert_eq!(
        Api::new(server).start(start("1", "a")).await.unwrap().job_id,
        "quell-batch-a"
    );
}

#[tokio::test]
async fn a_taken_slot_is_told_with_its_holder_and_a_time() {
    let server = Fake::with_job("theirs", State::Running);
    server.world().jobs.get_mut("theirs").unwrap().total = 1_000;
    let error = Api::new(server).start(start("1", "a")).await.unwrap_err();
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
}

#[tokio::test]
async fn a_slot_that_is_free_already_is_taken() {
    let server = Fake::with_job("theirs", State::Completed);
    server.world().lag = 2;
    Api::new(server.clone()).start(start("1", "a")).await.unwrap();
    assert_eq!(server.world().starts, 3);
}

#[tokio::test]
async fn all_bad_fields_are_told_and_the_servers_verdict_on_the_query() {
    let server = Arc::new(Fake::default());
    let api = Api::new(server.clone());
    let bad = StartBatchOperationRequest {
        request_id: "a b".to_owned(),
        ..StartBatchOperationRequest::default()
    };
    let Err(Error::InvalidArgument(violations)) = api.start(bad).await else {
        panic!("refused")
    };
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["target", "kind", "reason", "request_id"]);

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
async fn get_and_stop_know_only_batch_operations() {
    let server = Fake::with_job("mine", State::Running);
    let api = Api::new(server.clone());
    let got = api
        .get(GetBatchOperationRequest {
            job_id: "mine".to_owned(),
        })
        .await
        .unwrap()
        .operation
        .unwrap();
    assert_eq!(
        (got.state(), got.kind()),
        (BatchOperationState::Running, BatchOperationKind::Terminate)
    );
    let stop = |id: &str| StopBatchOperationRequest {
        job_id: id.to_owned(),
        reason: "why".to_owned(),
    };
    assert_eq!(api.stop(stop("nope")).await.unwrap_err().reason(), Reason::NotFound);
    api.stop(stop("mine")).await.unwrap();
    // Again: it has ended, what it did stays done.
    api.stop(stop("mine")).await.unwrap();
    assert_eq!(server.world().stops, ["mine"]);
    let error = api
        .get(GetBatchOperationRequest {
            job_id: "nope".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::NotFound);
    assert!(api.stop(StopBatchOperationRequest::default()).await.is_err());
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
    let api = Api::new(server);
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
    for token in ["%%%", "YmFk", &page_token::seal(b"bad")] {
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
    let api = Api::new(server);
    assert_eq!(
        api.start(start("1", "a")).await.unwrap_err().reason(),
        Reason::TemporalUnreachable
    );
    assert!(
        api.get(GetBatchOperationRequest { job_id: "x".to_owned() })
            .await
            .unwrap_err()
            .is_retryable()
    );
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
