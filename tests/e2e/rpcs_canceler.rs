//! Every rpc of `quell.canceler.v1`, by a generated client, on workflows of a plain client: the canceler needs no
//! producer of ours.

use crate::{
    cancel::{self, check_clean, millis, query, run_to_end, spec, start, watch_to_end, workload},
    details,
    harness::{mesh, unique},
    poll::{SOON, eventually, when},
};
use quell_api::canceler::v1::{
    CancellationSpec, Engine, GetCancellationRequest, GetReceiptRequest, ListCancellationsRequest, Mode, Phase,
    PreviewCancellationRequest, StartCancellationRequest, StopCancellationRequest, Verdict, WatchCancellationRequest,
};
use std::collections::{BTreeMap, BTreeSet};
use tonic::Code;

#[tokio::test]
async fn preview_tells_what_would_be_stopped_and_changes_nothing() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("preview");
    mesh.start_many("TypeA", &id, 30).await;
    mesh.start_many("TypeB", &id, 12).await;
    mesh.indexed(&id, 42).await;
    let request = PreviewCancellationRequest {
        target: workload(&id),
        sample_size: 5,
        include_descendants: None,
        ..Default::default()
    };
    let preview = client.preview_cancellation(request).await.unwrap().into_inner();
    assert_eq!(preview.open, 42, "{preview:?}");
    assert_eq!((preview.roots, preview.sample.len()), (42, 5), "{preview:?}");
    let types: BTreeMap<_, _> = preview
        .types
        .iter()
        .map(|item| (item.workflow_type.as_str(), item.count))
        .collect();
    assert_eq!(types, [("TypeA", 30), ("TypeB", 12)].into());
    assert_eq!(
        preview.task_queues.iter().map(|of| of.count).sum::<i64>(),
        42,
        "{preview:?}"
    );
    let ages: Vec<_> = preview.ages.iter().map(|age| age.count).collect();
    assert_eq!((ages.len(), ages.iter().sum::<i64>()), (5, 42), "{preview:?}");
    assert!(preview.oldest_start_time.is_some() && preview.newest_start_time.is_some());
    assert!(!preview.open_is_bound && !preview.descendants_is_bound && !preview.confirmation_token.is_empty());
    assert_eq!((preview.descendants, preview.schedules.len()), (0, 0), "{preview:?}");
    for execution in &preview.sample {
        assert!(execution.workflow_id.starts_with(&id), "{execution:?}");
        assert!(
            !execution.run_id.is_empty() && execution.start_time.is_some(),
            "{execution:?}"
        );
    }
    assert!(
        preview.query.contains(&format!("WorkloadId = \"{id}\"")),
        "{}",
        preview.query
    );
    assert_eq!(mesh.running(&id).await, 42);

    // By a filter, with the default sample; an empty target is no error of a preview.
    let filter = format!("WorkloadId = '{id}' AND WorkflowType = 'TypeB'");
    let request = PreviewCancellationRequest {
        target: query(filter),
        sample_size: 0,
        include_descendants: None,
        ..Default::default()
    };
    let preview = client.preview_cancellation(request).await.unwrap().into_inner();
    assert_eq!((preview.open, preview.sample.len()), (12, 10));
    let request = PreviewCancellationRequest {
        target: workload(&unique("nobody")),
        sample_size: 0,
        include_descendants: None,
        ..Default::default()
    };
    let preview = client.preview_cancellation(request).await.unwrap().into_inner();
    assert_eq!((preview.open, preview.roots, preview.sample.len()), (0, 0, 0));

    check_clean(&run_to_end(&mut client, spec(workload(&id))).await);
}

#[tokio::test]
async fn validate_only_starts_nothing_and_tells_the_defaults() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("validate");
    mesh.start_many("Sleeper", &id, 20).await;
    mesh.indexed(&id, 20).await;
    let bare = CancellationSpec {
        target: workload(&id),
        reason: "why not".to_owned(),
        ..Default::default()
    };
    let request = StartCancellationRequest {
        spec: Some(bare),
        request_id: id.clone(),
        validate_only: true,
        confirmation_token: String::new(),
    };
    let answer = client.start_cancellation(request).await.unwrap().into_inner();
    let expected = CancellationSpec {
        target: workload(&id),
        reason: "why not".to_owned(),
        engine: Engine::Auto.into(),
        max_affected: 10_000,
        concurrency: 750,
        quiesce: Some(true),
        require_quiesce: false,
        deadline: millis(3_600_000),
        looks: 3,
        confirm_timeout: millis(240_000),
        confirm_poll: millis(5_000),
        include_descendants: Some(true),
        mode: Mode::Terminate.into(),
        grace: None,
        namespaces: vec!["main".to_owned()],
    };
    assert_eq!((answer.spec, answer.matched), (Some(expected), 20));
    let get = GetCancellationRequest {
        cancellation_id: answer.cancellation_id.clone(),
    };
    details::not_found(
        "GetCancellation",
        &client.get_cancellation(get).await.unwrap_err(),
        &answer.cancellation_id,
    );
    assert_eq!(mesh.running(&id).await, 20);

    check_clean(&run_to_end(&mut client, spec(workload(&id))).await);
}

#[tokio::test]
async fn a_repeated_request_id_returns_the_first_cancellation() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("repeated");
    mesh.start_many("Sleeper", &id, 60).await;
    let request = StartCancellationRequest {
        spec: Some(spec(workload(&id))),
        request_id: id.clone(),
        validate_only: false,
        confirmation_token: String::new(),
    };
    let mut other = mesh.cancellations();
    let (first, second) = tokio::join!(
        client.start_cancellation(request.clone()),
        other.start_cancellation(request.clone())
    );
    let (first, second) = (first.unwrap().into_inner(), second.unwrap().into_inner());
    assert_eq!(first.cancellation_id, second.cancellation_id);
    assert_eq!(first.spec, second.spec);

    let ended = cancel::to_the_end(&mut client, first.clone()).await;
    check_clean(&ended);
    // After its end too: nothing is stopped twice.
    let third = client.start_cancellation(request).await.unwrap().into_inner();
    assert_eq!(third.cancellation_id, first.cancellation_id);
    assert_eq!(
        cancel::receipt(&mut client, &third.cancellation_id).await,
        ended.receipt,
        "the receipt is a lasting one"
    );
    let workflow = format!("quell/cancellation/{}", first.cancellation_id);
    assert_eq!(mesh.status("canceler", &workflow).await.as_deref(), Some("COMPLETED"));
}

#[tokio::test]
async fn get_watch_and_list_agree() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("agree");
    mesh.start_many("Sleeper", &id, 80).await;
    let started = start(
        &mut client,
        CancellationSpec {
            concurrency: 4,
            ..spec(workload(&id))
        },
    )
    .await;
    let cancellation_id = started.cancellation_id.clone();

    // While it runs there is no receipt.
    let early = client
        .get_receipt(GetReceiptRequest {
            cancellation_id: cancellation_id.clone(),
        })
        .await;
    details::unmet("GetReceipt of a running one", &early.unwrap_err());

    let watched = watch_to_end(&mut client, &cancellation_id).await;
    assert!(watched.len() >= 2, "a watcher sees more than the end");
    let get = client
        .get_cancellation(GetCancellationRequest {
            cancellation_id: cancellation_id.clone(),
        })
        .await;
    let got = get.unwrap().into_inner().cancellation.expect("the answer has it");
    assert_eq!(Some(&got), watched.last(), "Get and the end of Watch agree");
    assert_eq!(
        (got.phase(), got.verdict(), got.spec.clone()),
        (Phase::Done, Verdict::Clean, started.spec)
    );
    assert!(got.start_time.is_some() && got.end_time.is_some());

    // A watch of an ended one gives that one message, and ends.
    let again = watch_to_end(&mut client, &cancellation_id).await;
    assert_eq!(again, [got]);
}

#[tokio::test]
async fn lists_are_paged() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("paged");
    let mut ours = BTreeSet::new();
    for n in 0..3 {
        let quick = CancellationSpec {
            quiesce: Some(false),
            looks: 2,
            ..spec(workload(&format!("{id}-{n}")))
        };
        ours.insert(start(&mut client, quick).await.cancellation_id);
    }
    eventually(SOON, "all pages together hold our cancellations", async || {
        let (mut token, mut seen, mut pages) = (String::new(), Vec::new(), 0);
        loop {
            let page = client
                .list_cancellations(ListCancellationsRequest {
                    page_size: 2,
                    page_token: token,
                })
                .await;
            let page = page.map_err(|status| status.to_string())?.into_inner();
            assert!(page.cancellations.len() <= 2);
            seen.extend(page.cancellations);
            pages += 1;
            token = page.next_page_token;
            if token.is_empty() || pages == 20 {
                break;
            }
        }
        let ids: BTreeSet<_> = seen.iter().map(|item| item.cancellation_id.clone()).collect();
        when(pages >= 2 && ids.is_superset(&ours), || {
            format!("{pages} pages with {ids:?}")
        })
    })
    .await;
    for id in ours {
        watch_to_end(&mut client, &id).await;
    }
}

#[tokio::test]
async fn stop_aborts_and_the_receipt_tells_what_was_stopped() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("aborted");
    mesh.start_many("Sleeper", &id, 900).await;
    let started = start(
        &mut client,
        CancellationSpec {
            concurrency: 1,
            ..spec(workload(&id))
        },
    )
    .await;
    eventually(SOON, "something is stopped", async || {
        let cancellation = cancel::get(&mut client, &started.cancellation_id).await?;
        let stopped = cancellation.progress.as_ref().map_or(0, |progress| progress.stopped);
        when(stopped > 0, || format!("{cancellation:?}"))
    })
    .await;
    let stop = StopCancellationRequest {
        cancellation_id: started.cancellation_id.clone(),
        reason: "a change of mind".to_owned(),
    };
    client.stop_cancellation(stop.clone()).await.unwrap();
    let ended = cancel::to_the_end(&mut client, started).await;
    assert_eq!(ended.receipt.verdict(), Verdict::Aborted, "{:#?}", ended.receipt);
    assert!(
        ended.receipt.explanation.contains("a change of mind"),
        "{}",
        ended.receipt.explanation
    );
    let left = mesh.running(&id).await;
    assert!(left > 0, "900 at one in flight cannot be over that soon");
    assert_eq!(
        ended.receipt.stopped + left,
        900,
        "what was stopped and what is left is all there was"
    );
    // No error when it has ended already; and the receipt stays.
    client.stop_cancellation(stop).await.unwrap();
    assert_eq!(
        cancel::receipt(&mut client, &ended.receipt.cancellation_id).await,
        ended.receipt
    );

    check_clean(&run_to_end(&mut client, spec(workload(&id))).await);
    assert_eq!(mesh.running(&id).await, 0);
}

#[tokio::test]
async fn a_target_that_matches_nothing_is_clean_and_stops_nothing() {
    let mesh = mesh().await;
    let ended = run_to_end(&mut mesh.cancellations(), spec(workload(&unique("nothing")))).await;
    check_clean(&ended);
    assert_eq!(
        (
            ended.started.matched,
            ended.receipt.stopped,
            ended.receipt.already_closed
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn unknown_cancellations_are_not_found() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let name = unique("nobody");
    let get = client
        .get_cancellation(GetCancellationRequest {
            cancellation_id: name.clone(),
        })
        .await;
    details::not_found("GetCancellation", &get.unwrap_err(), &name);
    let receipt = client
        .get_receipt(GetReceiptRequest {
            cancellation_id: name.clone(),
        })
        .await;
    details::not_found("GetReceipt", &receipt.unwrap_err(), &name);
    let stop = StopCancellationRequest {
        cancellation_id: name.clone(),
        ..Default::default()
    };
    details::not_found(
        "StopCancellation",
        &client.stop_cancellation(stop).await.unwrap_err(),
        &name,
    );
    let watched = match client
        .watch_cancellation(WatchCancellationRequest {
            cancellation_id: name.clone(),
        })
        .await
    {
        Ok(stream) => stream.into_inner().message().await.map(drop),
        Err(status) => Err(status),
    };
    details::not_found("WatchCancellation", &watched.unwrap_err(), &name);
}

#[tokio::test]
async fn a_callers_deadline_is_honoured() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let mut request = tonic::Request::new(PreviewCancellationRequest {
        target: workload(&unique("late")),
        sample_size: 0,
        include_descendants: None,
        ..Default::default()
    });
    // A preview counts twice, about a second apart, so this one cannot be answered in time.
    request.set_timeout(std::time::Duration::from_millis(50));
    let status = client.preview_cancellation(request).await.unwrap_err();
    assert!(
        [Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()),
        "{status:?}"
    );
}
