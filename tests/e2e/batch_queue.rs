//! The queue for the namespace's one slot: ten callers at once, a stranger's job in the slot, a service that is killed twice.

use crate::{
    cancel::workload,
    command::{last_line, prepared},
    details,
    harness::{Mesh, Own, batch_slot, channel, mesh, unique},
    outside,
    poll::{LONG, SOON, eventually, when},
};
use quell_api::batch::v1::{
    BatchOperation, BatchOperationKind, BatchOperationState, GetBatchOperationRequest, ListBatchOperationsRequest,
    StartBatchOperationRequest, StopBatchOperationRequest, batch_operation_service_client::BatchOperationServiceClient,
};
use quell_cli::dev::Part;
use std::collections::BTreeSet;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt as _;

/// Callers at once.
const CALLERS: usize = 10;
/// Workflows of each.
const EACH: usize = 30;

type Client = BatchOperationServiceClient<Channel>;

fn terminate(id: &str) -> StartBatchOperationRequest {
    StartBatchOperationRequest {
        target: workload(id),
        kind: BatchOperationKind::Terminate.into(),
        reason: "an end-to-end test".to_owned(),
        request_id: id.to_owned(),
        ..StartBatchOperationRequest::default()
    }
}

async fn get(client: &Client, job_id: &str) -> Result<BatchOperation, String> {
    let request = GetBatchOperationRequest {
        job_id: job_id.to_owned(),
    };
    let answer = client.clone().get_batch_operation(request).await;
    let operation = answer.map_err(|status| status.to_string())?.into_inner().operation;
    operation.ok_or_else(|| "an empty answer".to_owned())
}

/// How many have ended.
async fn ended(client: &Client, jobs: &[String]) -> Result<usize, String> {
    let mut ended = 0;
    for job in jobs {
        ended += usize::from(get(client, job).await?.close_time.is_some());
    }
    Ok(ended)
}

async fn kill_and_start_again(own: &Own) {
    own.process.kill().await.expect("it can be killed");
    own.process.start().expect("it can be started again");
    own.ready().await;
}

/// A batch of a stranger's, by Temporal's own command line.
async fn strangers_batch(mesh: &Mesh, id: &str) -> String {
    let query = format!("WorkloadId=\"{id}\"");
    let terminate = [
        "workflow",
        "terminate",
        "--query",
        &query,
        "--reason",
        "a stranger's",
        "--yes",
    ];
    mesh.temporal_in("main", &terminate).await.ok();
    // Its id is the server's to choose.
    eventually(SOON, "the stranger's batch is listed", async || {
        let mut client = mesh.batches();
        let list = client
            .list_batch_operations(ListBatchOperationsRequest::default())
            .await;
        let list = list.map_err(|status| status.to_string())?.into_inner().operations;
        let running = list
            .iter()
            .find(|one| one.state() == BatchOperationState::Running && !one.job_id.starts_with("quell-"));
        running.map(|one| one.job_id.clone()).ok_or_else(|| format!("{list:?}"))
    })
    .await
}

#[tokio::test]
async fn ten_callers_at_once_run_one_after_the_other_through_two_kills() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let name = unique("queue");
    // In main, `batch-queue` is served by nobody else: no other replica can help.
    let own = mesh
        .own(Part::Batch, &name, &[("TEMPORAL_CANCELER_NAMESPACE", "")])
        .await;
    let client = Client::new(own.channel());
    let strangers = unique("strangers");
    // At 50 a second, long enough for all to come.
    mesh.start_many("Sleeper", &strangers, 600).await;
    let ids: Vec<String> = (0..=CALLERS).map(|n| format!("{name}-{n}")).collect();
    for id in &ids {
        mesh.start_many("Sleeper", id, EACH).await;
    }
    for id in &ids {
        mesh.indexed(id, EACH as i64).await;
    }
    mesh.indexed(&strangers, 600).await;

    let foreign = strangers_batch(&mesh, &strangers).await;
    let calls = ids.iter().map(|id| {
        let mut client = client.clone();
        async move { client.start_batch_operation(terminate(id)).await }
    });
    let answers = futures::future::join_all(calls).await;
    let mut jobs: Vec<String> = answers
        .into_iter()
        .map(|answer| answer.expect("each is taken at once").into_inner().job_id)
        .collect();
    all_wait_behind_the_stranger(&client, &jobs, &foreign).await;

    // The last of them leaves the queue again.
    let left = jobs.pop().expect("one more than ten");
    let stop = StopBatchOperationRequest {
        job_id: left.clone(),
        reason: "enough".to_owned(),
    };
    client.clone().stop_batch_operation(stop).await.expect("it is told");
    let stopped = eventually(SOON, "it has left", async || {
        let operation = get(&client, &left).await?;
        when(operation.close_time.is_some(), || format!("{operation:?}"))?;
        Ok(operation)
    })
    .await;
    assert_eq!(stopped.state(), BatchOperationState::Stopped, "{stopped:?}");
    assert!(stopped.start_time.is_none(), "{stopped:?}");

    kill_and_start_again(&own).await;
    eventually(LONG, "some are done", async || {
        let ended = ended(&client, &jobs).await?;
        when(ended >= 3, || format!("{ended} have ended"))
    })
    .await;
    kill_and_start_again(&own).await;
    eventually(LONG, "all are done", async || {
        let ended = ended(&client, &jobs).await?;
        when(ended == CALLERS, || format!("{ended} have ended"))
    })
    .await;

    one_after_the_other(&client, &jobs).await;
    for id in &ids[..CALLERS] {
        let query = format!("WorkloadId=\"{id}\" AND ExecutionStatus=\"Terminated\"");
        assert_eq!(mesh.count(&query).await, EACH as i64, "{id}");
    }
    let untouched = &ids[CALLERS];
    assert_eq!(
        mesh.running(untouched).await,
        EACH as i64,
        "what left the queue did nothing"
    );
}

/// Each sees a place of its own, and the stranger.
async fn all_wait_behind_the_stranger(client: &Client, jobs: &[String], foreign: &str) {
    eventually(SOON, "all stand in line, behind the stranger", async || {
        let mut places = BTreeSet::new();
        for job in jobs {
            let operation = get(client, job).await?;
            let holder = operation
                .holder
                .as_ref()
                .map(|holder| (holder.job_id.as_str(), holder.ours));
            when(
                operation.state() == BatchOperationState::Queued && holder == Some((foreign, false)),
                || format!("{operation:?}"),
            )?;
            places.insert(operation.queue_position);
        }
        let wanted: BTreeSet<_> = (1..).take(jobs.len()).collect();
        when(places == wanted, || format!("{places:?}"))
    })
    .await;
}

/// None failed, none was done twice, and no two at the same time.
async fn one_after_the_other(client: &Client, jobs: &[String]) {
    let mut spans = Vec::new();
    for job in jobs {
        let operation = get(client, job).await.expect("it answers");
        assert_eq!(operation.state(), BatchOperationState::Completed, "{operation:?}");
        assert_eq!(
            (
                operation.total,
                operation.completed,
                operation.failed,
                operation.survivors
            ),
            (EACH as i64, EACH as i64, 0, 0),
            "{operation:?}"
        );
        let at = |time: Option<prost_types::Timestamp>| {
            let time = time.expect("it ran");
            (time.seconds, time.nanos)
        };
        spans.push((at(operation.start_time), at(operation.close_time)));
    }
    spans.sort_unstable();
    for two in spans.windows(2) {
        assert!(two[0].1 <= two[1].0, "two at the same time: {spans:?}");
    }
}

/// Whatever is wrong is told at once, and nothing is queued.
#[tokio::test]
async fn what_is_wrong_is_told_at_once() {
    let mesh = mesh().await;
    let id = unique("wrong");
    mesh.start_by_cli(&id, &id).await;
    mesh.indexed(&id, 1).await;
    let mut client = mesh.batches();

    let capped = StartBatchOperationRequest {
        max_affected: 1,
        ..terminate(&id)
    };
    mesh.start_by_cli(&format!("{id}-more"), &id).await;
    mesh.indexed(&id, 2).await;
    let refused = client.start_batch_operation(capped).await.unwrap_err();
    assert_eq!(
        details::reason("Start", &refused, Code::FailedPrecondition),
        "MAX_AFFECTED_EXCEEDED"
    );
    assert_eq!(details::unmet("Start", &refused), ["max_affected"]);

    // A server that is dead: nobody listens on port 1.
    let dead = mesh.own_unready(
        Part::Batch,
        &id,
        &[
            ("TEMPORAL_MAIN_ADDRESS", "http://127.0.0.1:1"),
            ("TEMPORAL_CANCELER_ADDRESS", "http://127.0.0.1:1"),
            ("QUELL_CONNECT_WAIT_SECONDS", "1"),
        ],
    );
    let refused = eventually(SOON, "it answers", async || {
        let mut client = Client::new(channel(&dead.address));
        match client.start_batch_operation(terminate(&id)).await {
            Ok(answer) => panic!("{answer:?}"),
            // Its port is not open yet.
            Err(status) if status.get_error_details().error_info().is_none() => Err(status.to_string()),
            Err(status) => Ok(status),
        }
    })
    .await;
    assert_eq!(
        details::reason("Start", &refused, Code::Unavailable),
        "TEMPORAL_UNREACHABLE"
    );
    assert_eq!(mesh.running(&id).await, 2, "nothing was done");
}

/// The command: what it starts it watches, and its exit code says how that ended.
#[tokio::test]
async fn quell_batch_starts_watches_and_names_what_survived() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let id = unique("command");
    mesh.start_many("Sleeper", &id, 20).await;
    mesh.indexed(&id, 20).await;
    let quell =
        async |args: &[&str]| outside::run(&mut prepared(&mesh, &[&["batch"], args, &["--json"]].concat())).await;
    let start = |kind: &'static str| {
        let id = id.as_str();
        ["start", kind, "--workload-id", id, "--reason", "an end-to-end test"]
    };

    let few = |more: &[&'static str]| [&start("cancel")[..], &["--max-affected", "5"], more].concat();
    let checked = quell(&few(&["--validate-only"])).await;
    let seen = last_line(&checked);
    assert_eq!(
        (checked.code, seen["matched"].as_i64()),
        (0, Some(20)),
        "{}",
        checked.err
    );
    let refused = quell(&few(&[])).await;
    assert!(
        refused.code == 1 && refused.err.contains("MAX_AFFECTED_EXCEEDED"),
        "{}",
        refused.err
    );
    // Above --max-affected by the token of whoever has seen the count; for this kind only, and once.
    let token = seen["confirmation_token"].as_str().expect("a token");
    let by_token = |kind| {
        [
            &start(kind)[..],
            &["--max-affected", "5", "--confirmation-token", token],
        ]
        .concat()
    };
    let refused = quell(&by_token("terminate")).await;
    assert!(refused.err.contains("CONFIRMATION_TOKEN_MISMATCH"), "{}", refused.err);
    // Nobody works on them: all are asked, and none heeds it.
    let cancelled = quell(&by_token("cancel")).await;
    let shown = last_line(&cancelled);
    assert_eq!(cancelled.code, 2, "{shown} {}", cancelled.err);
    assert_eq!(
        (&shown["state"], &shown["survivors"]),
        (&"COMPLETED".into(), &20.into()),
        "{shown}"
    );
    let job_id = shown["job_id"].as_str().expect("an id").to_owned();
    let got = last_line(&quell(&["get", &job_id, "--survivors"]).await);
    let named = got["named_survivors"].as_array().expect("a list");
    assert!(
        named.len() == 20 && named.iter().all(|one| one["state"] == "CANCEL_REQUESTED"),
        "{got}"
    );

    let again = quell(&[&by_token("cancel")[..], &["--detach"]].concat()).await;
    assert_eq!(last_line(&again)["job_id"], job_id, "{}", again.err);

    let terminated = quell(&start("terminate")).await;
    assert_eq!(terminated.code, 0, "{}{}", terminated.out, terminated.err);
    assert!(
        terminated.err.contains("queued over 20 executions"),
        "{}",
        terminated.err
    );
    assert_eq!(mesh.running(&id).await, 0);
    let watched = quell(&["watch", &job_id]).await;
    assert_eq!(
        (watched.code, last_line(&watched)["state"].as_str()),
        (2, Some("COMPLETED"))
    );
    eventually(SOON, "it is listed", async || {
        let list = last_line(&quell(&["list"]).await);
        let listed = list["operations"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["job_id"] == job_id));
        when(listed, || list.to_string())
    })
    .await;
    assert_eq!(quell(&["get", "nobody"]).await.code, 1);
    assert_eq!(
        quell(&["stop", &job_id]).await.code,
        0,
        "one that has ended is left as it is"
    );
}
