//! Every rpc of `quell.batch.v1`, by a generated client. They take turns: the server runs one batch a namespace.

use crate::{
    cancel::{check_clean, run_to_end, spec, workload},
    details,
    harness::{Mesh, batch_slot, mesh, unique},
    poll::{LONG, SOON, eventually, when},
};
use quell_api::batch::v1::{
    BatchOperation, BatchOperationKind, BatchOperationState, DescribeServerRequest, GetBatchOperationRequest,
    ListBatchOperationsRequest, ListSurvivorsRequest, StartBatchOperationRequest, StopBatchOperationRequest,
    SurvivorState, WatchBatchOperationRequest,
};
use std::collections::BTreeSet;
use tonic::Code;

fn terminate(id: &str) -> StartBatchOperationRequest {
    StartBatchOperationRequest {
        target: workload(id),
        kind: BatchOperationKind::Terminate.into(),
        reason: "an end-to-end test".to_owned(),
        request_id: id.to_owned(),
        ..StartBatchOperationRequest::default()
    }
}

async fn get(mesh: &Mesh, job_id: &str) -> Result<BatchOperation, String> {
    let answer = mesh
        .batches()
        .get_batch_operation(GetBatchOperationRequest {
            job_id: job_id.to_owned(),
        })
        .await;
    answer
        .map_err(|status| status.to_string())?
        .into_inner()
        .operation
        .ok_or_else(|| "an empty answer".to_owned())
}

async fn ended(mesh: &Mesh, job_id: &str) -> BatchOperation {
    eventually(LONG, &format!("batch {job_id} ends"), async || {
        let operation = get(mesh, job_id).await?;
        if operation.close_time.is_none() {
            Err(format!("{operation:?}"))
        } else {
            Ok(operation)
        }
    })
    .await
}

#[tokio::test]
async fn a_batch_is_started_once_followed_and_listed() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let mut client = mesh.batches();
    let id = unique("batch");
    mesh.start_many("Sleeper", &id, 40).await;
    mesh.indexed(&id, 40).await;

    let validate = StartBatchOperationRequest {
        validate_only: true,
        ..terminate(&id)
    };
    let checked = client.start_batch_operation(validate).await.unwrap().into_inner();
    assert_eq!(
        (checked.job_id.clone(), checked.matched),
        (format!("quell-batch-{id}"), 40)
    );
    assert_eq!(checked.sample.len(), 10);
    assert!(
        checked
            .sample
            .iter()
            .all(|one| one.workflow_id.starts_with(&id) && !one.run_id.is_empty()),
        "{checked:?}"
    );
    let missing = client
        .get_batch_operation(GetBatchOperationRequest {
            job_id: checked.job_id.clone(),
        })
        .await;
    details::not_found("GetBatchOperation", &missing.unwrap_err(), &checked.job_id);
    assert_eq!(mesh.running(&id).await, 40);

    let started = client.start_batch_operation(terminate(&id)).await.unwrap().into_inner();
    assert_eq!((started.job_id.clone(), started.matched), (checked.job_id, 40));
    assert!(
        started.query.contains(&id) && started.query.contains("CloseTime IS NULL"),
        "{}",
        started.query
    );
    let again = client.start_batch_operation(terminate(&id)).await.unwrap().into_inner();
    assert_eq!(again.job_id, started.job_id, "a repeated call joins the first");

    let operation = ended(&mesh, &started.job_id).await;
    assert_eq!(operation.state(), BatchOperationState::Completed, "{operation:?}");
    assert_eq!(
        (operation.total, operation.completed, operation.failed),
        (40, 40, 0),
        "{operation:?}"
    );
    assert_eq!(operation.kind(), BatchOperationKind::Terminate);
    assert_eq!(operation.reason, "an end-to-end test");
    assert!(operation.start_time.is_some() && operation.close_time.is_some() && !operation.identity.is_empty());
    mesh.indexed(&id, 0).await;
    let again = client.start_batch_operation(terminate(&id)).await.unwrap().into_inner();
    assert_eq!(again.job_id, started.job_id, "and after its end");

    let mut other = terminate(&unique("second"));
    other.kind = BatchOperationKind::Cancel.into();
    let second = client.start_batch_operation(other).await.unwrap().into_inner();
    assert_eq!(ended(&mesh, &second.job_id).await.total, 0);
    let ours: BTreeSet<_> = [started.job_id, second.job_id].into();
    eventually(SOON, "both are in the list, page by page", async || {
        let (mut token, mut seen, mut pages) = (String::new(), BTreeSet::new(), 0);
        loop {
            let page = client
                .list_batch_operations(ListBatchOperationsRequest {
                    page_size: 1,
                    page_token: token,
                })
                .await;
            let page = page.map_err(|status| status.to_string())?.into_inner();
            assert!(page.operations.len() <= 1);
            seen.extend(page.operations.into_iter().map(|operation| operation.job_id));
            pages += 1;
            token = page.next_page_token;
            if token.is_empty() || pages == 30 {
                break;
            }
        }
        when(pages >= 2 && seen.is_superset(&ours), || format!("{seen:?}"))
    })
    .await;
}

#[tokio::test]
async fn the_slot_is_one_and_a_running_batch_can_be_stopped() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let mut client = mesh.batches();
    let id = unique("long");
    // At 50 a second, long enough to be met running.
    mesh.start_many("Sleeper", &id, 1_500).await;
    mesh.indexed(&id, 1_500).await;
    let started = client.start_batch_operation(terminate(&id)).await.unwrap().into_inner();
    eventually(SOON, "the batch is known to run", async || {
        let operation = get(&mesh, &started.job_id).await?;
        when(operation.state() == BatchOperationState::Running, || {
            format!("{operation:?}")
        })
    })
    .await;

    let hasty = StartBatchOperationRequest {
        no_wait: true,
        ..terminate(&unique("hasty"))
    };
    let second = client.start_batch_operation(hasty).await.unwrap_err();
    let details = details::refused("a second batch", &second, Code::ResourceExhausted);
    assert_eq!(
        details.error_info().map(|info| info.reason.as_str()),
        Some("BATCH_SLOT_TAKEN")
    );
    assert!(
        details.retry_info().is_some_and(|info| info.retry_delay.is_some()),
        "{second:?}"
    );
    assert!(
        details
            .quota_failure()
            .is_some_and(|failure| !failure.violations.is_empty()),
        "{second:?}"
    );
    let again = client.start_batch_operation(terminate(&id)).await.unwrap().into_inner();
    assert_eq!(again.job_id, started.job_id, "the running one is joined, not refused");

    let stop = StopBatchOperationRequest {
        job_id: started.job_id.clone(),
        reason: "enough".to_owned(),
    };
    client.stop_batch_operation(stop).await.unwrap();
    let operation = ended(&mesh, &started.job_id).await;
    assert_eq!(operation.state(), BatchOperationState::Stopped, "{operation:?}");
    let left = mesh.running(&id).await;
    assert!(left > 0, "it was stopped on its way");
    // Each that it did not get to is named, page by page.
    let (mut request, mut named) = (
        ListSurvivorsRequest {
            job_id: started.job_id.clone(),
            page_size: 1_000,
            ..ListSurvivorsRequest::default()
        },
        BTreeSet::new(),
    );
    loop {
        let page = client.list_survivors(request.clone()).await.unwrap().into_inner();
        assert!(page.complete && page.looked_at >= left, "{} of {left}", page.looked_at);
        for survivor in page.survivors {
            assert_eq!(survivor.state(), SurvivorState::Open, "{survivor:?}");
            named.extend(survivor.execution.map(|one| one.workflow_id));
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        i64::try_from(named.len()).unwrap(),
        left,
        "as many as Temporal's own count"
    );
    assert_eq!(operation.survivors, left);

    check_clean(&run_to_end(&mut mesh.cancellations(), spec(workload(&id))).await);
}

#[tokio::test]
async fn a_watched_batch_shows_true_progress_and_its_end() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let mut client = mesh.batches();
    let id = unique("watched");
    mesh.start_many("Sleeper", &id, 400).await;
    mesh.indexed(&id, 400).await;
    let started = client.start_batch_operation(terminate(&id)).await.unwrap().into_inner();
    let request = WatchBatchOperationRequest {
        job_id: started.job_id.clone(),
    };
    let mut stream = client.watch_batch_operation(request).await.unwrap().into_inner();
    let mut looks = Vec::new();
    while let Some(look) = stream.message().await.unwrap() {
        looks.push(look.operation.unwrap());
    }
    let last = looks.last().unwrap();
    assert_eq!(
        (last.state(), last.completed),
        (BatchOperationState::Completed, 400),
        "{last:?}"
    );
    assert!(last.close_time.is_some() && last.survivors == 0 && last.survivors_complete);
    assert!(
        looks.windows(2).all(|two| two[0].completed <= two[1].completed),
        "{looks:#?}"
    );
    // The server itself counts pages of 1,000: it would say 0 until the end.
    let midway = looks.iter().filter(|look| (1..400).contains(&look.completed));
    let midway: Vec<_> = midway.collect();
    assert!(!midway.is_empty(), "no progress is shown: {looks:#?}");
    assert!(
        midway
            .iter()
            .any(|look| look.rate_per_second > 0.0 && look.eta.is_some() && look.total == 400),
        "{midway:#?}"
    );
}

#[tokio::test]
async fn the_server_is_known() {
    let mesh = mesh().await;
    let known = mesh
        .batches()
        .describe_server(DescribeServerRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(known.version.starts_with("1."), "{known:?}");
    assert_eq!(known.kinds.len(), 5);
    assert!(
        known.kinds.iter().all(|kind| kind.supported && kind.needs.is_empty()),
        "{known:?}"
    );
    assert!(
        !known.limits.is_empty() && known.limits.iter().all(|limit| limit.assumed),
        "{known:?}"
    );
}

#[tokio::test]
async fn unknown_batches_are_not_found() {
    let mesh = mesh().await;
    let mut client = mesh.batches();
    let job_id = unique("nobody");
    let get = client
        .get_batch_operation(GetBatchOperationRequest { job_id: job_id.clone() })
        .await;
    details::not_found("GetBatchOperation", &get.unwrap_err(), &job_id);
    let survivors = ListSurvivorsRequest {
        job_id: job_id.clone(),
        ..ListSurvivorsRequest::default()
    };
    details::not_found(
        "ListSurvivors",
        &client.list_survivors(survivors).await.unwrap_err(),
        &job_id,
    );
    let watch = WatchBatchOperationRequest { job_id: job_id.clone() };
    let mut stream = client.watch_batch_operation(watch).await.unwrap().into_inner();
    details::not_found("WatchBatchOperation", &stream.message().await.unwrap_err(), &job_id);
    let stop = StopBatchOperationRequest {
        job_id: job_id.clone(),
        reason: "enough".to_owned(),
    };
    details::not_found(
        "StopBatchOperation",
        &client.stop_batch_operation(stop).await.unwrap_err(),
        &job_id,
    );
}
