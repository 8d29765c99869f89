//! A cancellation undone: the whole tree runs on from where it was, parents before children, and comes to the result that it would
//! have come to; what cannot be restored is named, and what was started since is left alone.

use crate::{
    cancel::{self, Canceler, check_clean, query, run_to_end, snowball, spec, start, workload},
    command::{last_line, prepared},
    details,
    harness::{Mesh, mesh, unique},
    outside::{self, json},
    poll::{LONG, SOON, eventually, when},
    tree::node,
};
use quell_api::{
    canceler::v1::{
        GetRestorationRequest, NotRestoredReason, Restoration, RestorationPhase, RestorationReport, RestorationVerdict,
        RestoreCancellationRequest, WatchRestorationRequest,
    },
    work::v1::{BatchProcessingSpec, SnowballSpec, StartBatchProcessingRequest},
};
use quell_cli::dev::Part;
use std::collections::BTreeMap;
use tokio::time::timeout;
use tonic::Code;

pub(crate) fn of(cancellation_id: &str) -> RestoreCancellationRequest {
    RestoreCancellationRequest {
        cancellation_id: cancellation_id.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn get(client: &mut Canceler, id: &str) -> Result<Restoration, tonic::Status> {
    let request = GetRestorationRequest {
        cancellation_id: id.to_owned(),
    };
    let answer = client.get_restoration(request).await?.into_inner();
    Ok(answer.restoration.expect("an answer has it"))
}

/// Watches a restoration to its end.
pub(crate) async fn watched(client: &mut Canceler, id: &str) -> (Vec<Restoration>, RestorationReport) {
    let request = WatchRestorationRequest {
        cancellation_id: id.to_owned(),
    };
    let mut looks = client
        .watch_restoration(request)
        .await
        .expect("it is there")
        .into_inner();
    let mut seen = Vec::new();
    let all = async {
        while let Some(look) = looks.message().await.expect("the watch goes on") {
            seen.push(look.restoration.expect("a look has it"));
        }
    };
    timeout(LONG, all).await.expect("it ends");
    let last = seen.last().expect("at least one look");
    assert_eq!(last.phase(), RestorationPhase::Done, "{last:?}");
    let report = last.report.clone().expect("the last look has the report");
    check_sums(&report);
    (seen, report)
}

pub(crate) fn left(report: &RestorationReport) -> BTreeMap<NotRestoredReason, i64> {
    let counts = report.not_restored.iter();
    counts.map(|count| (count.reason(), count.count)).collect()
}

fn check_sums(report: &RestorationReport) {
    let not_restored: i64 = report.not_restored.iter().map(|count| count.count).sum();
    assert_eq!(
        report.restored + not_restored,
        report.stopped + report.cascade + report.found + report.ended_when_asked,
        "{report:#?}"
    );
}

async fn refused(client: &mut Canceler, request: RestoreCancellationRequest, reason: &str) {
    let status = client.restore_cancellation(request).await.expect_err(reason);
    assert_eq!(
        details::reason("RestoreCancellation", &status, Code::FailedPrecondition),
        reason
    );
    details::unmet("RestoreCancellation", &status);
}

/// The snowball has 1,111 workflows; it is cancelled while it still grows, and the canceler that restores it is killed on the way.
#[tokio::test]
async fn a_tree_of_a_thousand_runs_on_although_the_canceler_is_killed_while_it_restores() {
    const ALL: i64 = 1_111;
    let mesh = mesh().await;
    let id = unique("restored");
    // A queue of its own: no other replica can help.
    let queue = unique("canceler-queue");
    let own = mesh
        .own(Part::Canceler, &id, &[("TEMPORAL_CANCELER_TASK_QUEUE", &queue)])
        .await;
    let mut client = Canceler::new(own.channel());
    let ball = SnowballSpec {
        width: 10,
        depth: 3,
        lifetime: cancel::millis(30_000),
        workload_id: id.clone(),
        ..Default::default()
    };
    let mut balls = mesh.snowballs();
    let root = snowball(&mut balls, ball).await.snowball_id;
    eventually(LONG, "it has nearly all of its workflows", async || {
        let begun = mesh.count(&format!("WorkloadId=\"{id}\"")).await;
        when(begun >= 1_000, || format!("{begun} begun"))
    })
    .await;
    let started = start(&mut client, spec(workload(&id))).await;
    let receipt = cancel::eventual_receipt(&mut client, &started.cancellation_id).await;
    cancel::check_clean_receipt(&receipt);
    let ended = |status: &str| format!("WorkloadId=\"{id}\" AND ExecutionStatus=\"{status}\"");
    let terminated = mesh.count(&ended("Terminated")).await;
    assert!(terminated >= 200, "{terminated} terminated: {receipt:#?}");
    assert_eq!(mesh.running(&id).await, 0);

    let request = RestoreCancellationRequest {
        concurrency: 4,
        ..of(&receipt.cancellation_id)
    };
    let answer = client.restore_cancellation(request.clone()).await.unwrap().into_inner();
    assert_eq!((answer.stopped, answer.joined), (receipt.stopped, false));
    let again = client.restore_cancellation(request).await.unwrap().into_inner();
    assert!(again.joined, "the second joins the first");
    let caught = eventually(LONG, "it is caught in the middle", async || {
        let restoration = get(&mut client, &receipt.cancellation_id)
            .await
            .map_err(|status| status.to_string())?;
        assert_eq!(
            restoration.verdict(),
            RestorationVerdict::Unspecified,
            "it was too fast for this test"
        );
        if restoration.done >= 50 {
            Ok(restoration)
        } else {
            Err(format!("{restoration:?}"))
        }
    })
    .await;
    own.process.kill().await.expect("it can be killed");
    assert!(caught.done < caught.planned, "{caught:?}");
    assert!(mesh.count(&ended("Running")).await < terminated, "killed too late");
    own.process.start().expect("it can be started again");
    own.ready().await;

    let (_, report) = watched(&mut client, &receipt.cancellation_id).await;
    // All but what had been started in the very task to which its parent went back: that, the parent starts anew.
    let only = [NotRestoredReason::StartedByParent, NotRestoredReason::NoWorkflowTask];
    assert!(left(&report).keys().all(|reason| only.contains(reason)), "{report:#?}");
    // What ended by itself while its parent was down comes on top.
    let in_vain = report.stopped + report.cascade + report.found - terminated;
    assert!(in_vain >= 0, "{report:#?}");
    assert!(
        report.restored * 10 >= terminated * 9 && report.levels >= 3,
        "{report:#?}"
    );
    assert_eq!(report.resumed, "resumed", "{report:#?}");

    // To the end: every workflow once, but for those whose parent had not heard of it, and nothing failed.
    let result = completed(&mesh, &root).await;
    let result = json(&result)["result"].clone();
    let tally = result
        .get("children")
        .expect("a snowball's result has its children")
        .clone();
    assert_eq!(
        (&tally["completed"], &tally["ended_otherwise"]),
        (&10.into(), &0.into()),
        "{result}"
    );
    eventually(SOON, "the index has all of it", async || {
        let completed = mesh.count(&ended("Completed")).await;
        let exact = completed == ALL + in_vain;
        let anew = !report.not_restored.is_empty() && completed >= ALL;
        when(exact || anew, || {
            format!("{completed} completed, not {ALL} and {in_vain}")
        })
    })
    .await;
    assert_eq!(
        mesh.count(&ended("Terminated")).await,
        terminated,
        "nothing that ran was ended by the restoration"
    );
    assert_eq!(mesh.count(&ended("Failed")).await, 0);
}

/// Only the root is stopped: all the rest is the server's cascade, which stands in no journal. The result of the tree is known exactly.
#[tokio::test]
async fn the_servers_cascade_is_restored_too_and_the_result_is_exact() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let request = StartBatchProcessingRequest {
        spec: Some(BatchProcessingSpec {
            total_numbers: 400,
            batch_size: 9,
            max_children: 4,
            ..Default::default()
        }),
        validate_only: false,
    };
    let started = mesh
        .batch_processings()
        .start_batch_processing(request)
        .await
        .unwrap()
        .into_inner();
    let root = started.processing_id;
    let plan = started.plan.expect("an answer has its plan");
    let workflows = i64::try_from(plan.workflows).unwrap();
    let of_tree = |rest: &str| format!("RootWorkflowId=\"{root}\"{rest}");
    eventually(LONG, "some of it is done", async || {
        let completed = mesh.count(&of_tree(" AND ExecutionStatus=\"Completed\"")).await;
        when(completed >= 3, || format!("{completed} completed"))
    })
    .await;
    let only_root = quell_api::canceler::v1::CancellationSpec {
        include_descendants: Some(false),
        ..spec(query(format!("WorkflowId = '{root}'")))
    };
    let ended = run_to_end(&mut client, only_root).await;
    check_clean(&ended);
    assert_eq!(ended.receipt.stopped, 1);
    let id = ended.receipt.cancellation_id.as_str();

    // More than it may reset: nothing is.
    let one = RestoreCancellationRequest {
        max_affected: 1,
        ..of(id)
    };
    client.restore_cancellation(one).await.unwrap();
    let (seen, report) = watched(&mut client, id).await;
    let terminated = mesh.count(&of_tree(" AND ExecutionStatus=\"Terminated\"")).await;
    let in_vain = 1 + report.cascade - terminated;
    assert!(in_vain >= 0, "{terminated} terminated: {report:#?}");
    assert_eq!(
        seen.last().unwrap().verdict(),
        RestorationVerdict::Refused,
        "{report:#?}"
    );
    assert_eq!((report.restored, report.stopped), (0, 1), "{report:#?}");
    assert!(
        report.cascade > 0 && report.explanation.contains("max_affected"),
        "{report:#?}"
    );
    assert_eq!(mesh.status("main", &root).await.as_deref(), Some("TERMINATED"));

    // By the command, as an operator would.
    let ran = outside::run(&mut prepared(
        &mesh,
        &["restore", id, "--json", "--reason", "it was the wrong one"],
    ))
    .await;
    let told = last_line(&ran);
    assert!([0, 2].contains(&ran.code), "{}{}", ran.out, ran.err);
    let not_restored = told["report"]["not_restored"].as_object().expect("by reason").clone();
    assert!(
        not_restored
            .keys()
            .all(|reason| ["STARTED_BY_PARENT", "NO_WORKFLOW_TASK"].contains(&reason.as_str())),
        "{told:#}"
    );
    assert_eq!(ran.code == 0, not_restored.is_empty(), "{told:#}");
    assert_eq!(told["report"]["cascade"], report.cascade, "{told:#}");
    assert_eq!(told["report"]["reason"], "it was the wrong one");

    let result = completed(&mesh, &root).await;
    let sum: u64 = (1..=400_u64).map(|n| n * n).sum();
    assert!(result.contains(&format!("\"{sum}\"")), "{sum} is not in {result}");
    // What was done was not done again, but for what its parent had not heard of, and what hung on something started anew.
    eventually(SOON, "the index has all of it", async || {
        let completed = mesh.count(&of_tree(" AND ExecutionStatus=\"Completed\"")).await;
        let exact = completed == workflows + in_vain;
        let anew = !not_restored.is_empty() && completed >= workflows;
        when(exact || anew, || format!("{completed}, not {workflows} and {in_vain}"))
    })
    .await;

    // Once more: there is nothing left to do, and nothing is done.
    client.restore_cancellation(of(id)).await.unwrap();
    let (seen, report) = watched(&mut client, id).await;
    assert_eq!(
        seen.last().unwrap().verdict(),
        RestorationVerdict::Restored,
        "{report:#?}"
    );
    assert_eq!(
        (report.restored, left(&report)),
        (0, [(NotRestoredReason::AlreadyRestored, 1)].into())
    );
    assert_eq!(mesh.status("main", &root).await.as_deref(), Some("COMPLETED"));
}

/// The result of a restored tree, once it has completed.
async fn completed(mesh: &Mesh, root: &str) -> String {
    eventually(LONG, "the restored tree completes", async || {
        let status = mesh.status("main", root).await;
        when(status.as_deref() == Some("COMPLETED"), || format!("{status:?}"))
    })
    .await;
    let result = ["workflow", "result", "--workflow-id", root];
    mesh.temporal_in("main", &result).await.ok()
}

async fn run_id(mesh: &Mesh, workflow_id: &str) -> String {
    let ran = mesh
        .temporal_in("main", &["workflow", "describe", "--workflow-id", workflow_id])
        .await;
    let execution = json(&ran.ok())["workflowExecutionInfo"]["execution"].clone();
    execution["runId"].as_str().expect("a run id").to_owned()
}

#[tokio::test]
async fn what_cannot_be_restored_is_named_and_every_guard_refuses_before_anything_is_reset() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let plain = mesh.plain_client().await;
    let id = unique("guarded");
    // Two with a completed task, one of which is started anew later; one that nobody ever worked on; one that has no task yet.
    let [again, back] = ["again", "back"].map(|what| format!("{id}-{what}"));
    for workflow_id in [&again, &back] {
        let node = node(workflow_id, "Kept", Some(&id));
        node.start(&plain).await;
        node.spawn(&plain, &[]).await;
    }
    mesh.start_many("Sleeper", &id, 1).await;
    let [sleeper, delayed] = ["Sleeper-0", "delayed"].map(|what| format!("{id}-{what}"));
    let attribute = format!("WorkloadId=\"{id}\"");
    let later = [
        "--type",
        "Later",
        "--task-queue",
        "nobody",
        "--start-delay",
        "1h",
        "--workflow-id",
        &delayed,
    ];
    let started = [&["workflow", "start", "--search-attribute", &attribute], &later[..]].concat();
    mesh.temporal_in("main", &started).await.ok();
    mesh.indexed(&id, 4).await;
    let started = start(&mut client, spec(workload(&id))).await;
    let cancellation_id = started.cancellation_id.clone();
    // It has several looks at the index before it: it cannot have ended by now.
    refused(&mut client, of(&cancellation_id), "WRONG_STATE").await;
    let ended = cancel::to_the_end(&mut client, started).await;
    check_clean(&ended);
    assert_eq!(ended.receipt.stopped, 4, "{:#?}", ended.receipt);

    let nobody = unique("nobody");
    let status = client.restore_cancellation(of(&nobody)).await.unwrap_err();
    details::not_found("RestoreCancellation", &status, &nobody);
    let few = RestoreCancellationRequest {
        max_affected: 3,
        ..of(&cancellation_id)
    };
    refused(&mut client, few, "MAX_AFFECTED_EXCEEDED").await;
    let only_checked = RestoreCancellationRequest {
        validate_only: true,
        ..of(&cancellation_id)
    };
    let answer = client.restore_cancellation(only_checked).await.unwrap().into_inner();
    assert_eq!(answer.stopped, 4);
    let chunk = mesh
        .payloads()
        .join(&ended.receipt.journal.first().expect("a journal").key);
    let written = std::fs::read(&chunk).unwrap();
    std::fs::write(&chunk, [&written[..], b"\n"].concat()).unwrap();
    refused(&mut client, of(&cancellation_id), "PAYLOAD_CORRUPT").await;
    std::fs::remove_file(&chunk).unwrap();
    refused(&mut client, of(&cancellation_id), "PAYLOAD_MISSING").await;
    std::fs::write(&chunk, written).unwrap();

    // After all of that nothing was restored, and no restoration is there.
    let status = get(&mut client, &cancellation_id).await.unwrap_err();
    details::not_found("GetRestoration", &status, &cancellation_id);
    let request = WatchRestorationRequest {
        cancellation_id: cancellation_id.clone(),
    };
    let status = client
        .watch_restoration(request)
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap_err();
    details::not_found("WatchRestoration", &status, &cancellation_id);
    assert_eq!(mesh.running(&id).await, 0);

    let terminated = run_id(&mesh, &back).await;
    mesh.start_by_cli(&again, &unique("somebody-else")).await;
    let anew = run_id(&mesh, &again).await;
    client.restore_cancellation(of(&cancellation_id)).await.unwrap();
    let (seen, report) = watched(&mut client, &cancellation_id).await;
    assert_eq!(
        seen.last().unwrap().verdict(),
        RestorationVerdict::Partial,
        "{report:#?}"
    );
    let expected = [
        (NotRestoredReason::StartedAnew, 1),
        (NotRestoredReason::NoWorkflowTask, 1),
    ];
    assert_eq!((report.restored, left(&report)), (2, expected.into()), "{report:#?}");
    let mut named: Vec<_> = report
        .named
        .iter()
        .map(|named| {
            (
                named.execution.clone().expect("it names one").workflow_id,
                named.reason(),
            )
        })
        .collect();
    named.sort();
    let mut wanted = vec![
        (again.clone(), NotRestoredReason::StartedAnew),
        (delayed, NotRestoredReason::NoWorkflowTask),
    ];
    wanted.sort();
    assert_eq!(named, wanted);
    assert_eq!(
        run_id(&mesh, &again).await,
        anew,
        "what was started since is left alone"
    );
    assert_eq!(mesh.status("main", &again).await.as_deref(), Some("RUNNING"));
    assert_ne!(run_id(&mesh, &back).await, terminated);
    assert_eq!(mesh.status("main", &sleeper).await.as_deref(), Some("RUNNING"));
    assert_eq!(mesh.status("main", &back).await.as_deref(), Some("RUNNING"));
    for workflow_id in [again, back, sleeper] {
        mesh.temporal_in("main", &["workflow", "terminate", "--workflow-id", &workflow_id])
            .await
            .ok();
    }
}
