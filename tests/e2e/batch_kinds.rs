//! Every kind of batch operation, on a thousand workflows each; what it did is read from the executions themselves, one Describe each.
//! On a Temporal of the test's own, whose batches are allowed to be fast: at the default of 50 a second this would take minutes. (At the
//! default speed batches run in [`crate::rpcs_batch`].)

mod own;
mod protected;

use crate::{
    cancel::{Snowballs, query, snowball, workload},
    details,
    harness::{channel, mesh, unique},
    outside::start_one,
    poll::{LONG, SOON, eventually, when},
};
use futures::StreamExt as _;
use own::{Own, execution};
use quell_api::{
    batch::v1::{
        BatchExecution, BatchOperation, BatchOperationKind, BatchOperationState, BatchReset, BatchSignal, ResetExclude,
        StartBatchOperationRequest, SurvivorState, batch_reset::To,
    },
    work::v1::SnowballSpec,
};
use quell_cli::dev::Part;
use temporalio_common::protos::temporal::api::{
    enums::v1::WorkflowExecutionStatus,
    workflowservice::v1::{DescribeWorkflowExecutionResponse, SignalWorkflowExecutionRequest},
};
use tonic::{Code, IntoRequest as _};

/// Workflows of each kind.
const EACH: usize = 1_000;
/// Questions to Temporal at once.
const AT_ONCE: usize = 32;

fn request(id: &str, kind: BatchOperationKind) -> StartBatchOperationRequest {
    StartBatchOperationRequest {
        target: workload(id),
        kind: kind.into(),
        reason: "an end-to-end test".to_owned(),
        ..StartBatchOperationRequest::default()
    }
}

fn complete(operation: &BatchOperation, done: usize) {
    assert_eq!(operation.state(), BatchOperationState::Completed, "{operation:?}");
    assert_eq!(
        (operation.total, operation.completed, operation.failed),
        (done as i64, done as i64, 0),
        "{operation:?}"
    );
    assert!(
        operation.survivors_complete && operation.problem.is_empty(),
        "{operation:?}"
    );
}

fn signal(name: &str, input: &[&str]) -> BatchSignal {
    BatchSignal {
        name: name.to_owned(),
        input: input.iter().map(|&text| text.to_owned()).collect(),
    }
}

#[tokio::test]
async fn every_kind_does_what_it_says_to_a_thousand_workflows() {
    let mesh = mesh().await;
    let fast = ["worker.batcherRPS=2000", "worker.batcherConcurrency=10"];
    let own = Own::start(&mesh, "batch-kinds", &fast).await;
    let id = unique("kinds");
    let ids = own.start_many(&id).await;
    // Nobody works on them, so they are open until they are terminated: one thousand is enough for all of these.
    cancel(&own, &id, &ids).await;
    signal_all_and_some(&own, &id, &ids).await;
    let operation = own.run(request(&id, BatchOperationKind::Terminate)).await;
    complete(&operation, EACH);
    assert_eq!(operation.survivors, 0, "{operation:?}");
    own.all_are(&ids, WorkflowExecutionStatus::Terminated).await;
    delete_closed_and_open(&own, &id, &ids).await;
    protected::refused(&own).await;
    reset(&own).await;
    assert_eq!(
        own.dev.stop().await,
        Vec::<String>::new(),
        "all end when they are asked to"
    );
}

async fn cancel(own: &Own, id: &str, ids: &[String]) {
    let operation = own.run(request(id, BatchOperationKind::Cancel)).await;
    complete(&operation, EACH);
    for (id, described) in own.describe(ids).await {
        let asked = described.and_then(|answer| answer.workflow_extended_info);
        assert!(asked.is_some_and(|more| more.cancel_requested), "{id}");
    }
    // Nobody works on them, so none can heed it: each is named as what it is.
    let survivors = own.survivors(&operation.job_id).await;
    assert_eq!(
        (survivors.len(), operation.survivors),
        (EACH, EACH as i64),
        "{operation:?}"
    );
    for survivor in &survivors {
        assert_eq!(survivor.state(), SurvivorState::CancelRequested, "{survivor:?}");
    }
}

async fn signal_all_and_some(own: &Own, id: &str, ids: &[String]) {
    let (note, input) = ("note", ["{\"a\":[1,2]}", "\"two\""]);
    let operation = own
        .run(StartBatchOperationRequest {
            signal: Some(signal(note, &input)),
            ..request(id, BatchOperationKind::Signal)
        })
        .await;
    complete(&operation, EACH);
    assert_eq!(
        operation.survivors, 0,
        "each has the signal in its history: {operation:?}"
    );

    // A list: those that are named, and no other.
    let named = &ids[..50];
    let again = "again";
    let operation = own
        .run(StartBatchOperationRequest {
            target: None,
            executions: listed(named),
            signal: Some(signal(again, &[])),
            ..request(id, BatchOperationKind::Signal)
        })
        .await;
    complete(&operation, named.len());
    assert_eq!(
        (operation.survivors, operation.query.as_str()),
        (0, ""),
        "{operation:?}"
    );
    let of_all = (note.to_owned(), input.map(str::to_owned).to_vec());
    let of_named = (again.to_owned(), Vec::new());
    let signals = futures::stream::iter(ids).map(|id| async move { (id, own.signals(id).await) });
    for (id, came) in signals.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
        let wanted = match named.contains(id) {
            true => vec![of_all.clone(), of_named.clone()],
            false => vec![of_all.clone()],
        };
        assert_eq!(came, wanted, "{id}");
    }
    own.all_are(ids, WorkflowExecutionStatus::Running).await;
}

async fn delete_closed_and_open(own: &Own, id: &str, ids: &[String]) {
    let mut all = ids.to_vec();
    let operation = own
        .run(StartBatchOperationRequest {
            include_closed: true,
            ..request(id, BatchOperationKind::Delete)
        })
        .await;
    assert_eq!(operation.state(), BatchOperationState::Completed, "{operation:?}");
    let open: Vec<_> = (0..20).map(|n| format!("{id}-open-{n}")).collect();
    for open in &open {
        start_one(&own.client, "Sleeper", open.clone(), id)
            .await
            .expect("Temporal starts it");
    }
    let some = StartBatchOperationRequest {
        target: None,
        executions: listed(&open),
        ..request(id, BatchOperationKind::Delete)
    };
    let operation = own.run(some).await;
    assert_eq!(operation.state(), BatchOperationState::Completed, "{operation:?}");
    all.extend(open);
    eventually(SOON, "all are gone", async || {
        let there: Vec<_> = own.describe(&all).await.into_values().flatten().collect();
        when(there.is_empty(), || format!("{} are there, {operation:?}", there.len()))
    })
    .await;
}

fn listed(ids: &[String]) -> Vec<BatchExecution> {
    let execution = |id: &String| BatchExecution {
        workflow_id: id.clone(),
        run_id: String::new(),
    };
    ids.iter().map(execution).collect()
}

/// Leaves of a snowball: they have a worker, and so a workflow task to be reset to.
async fn reset(own: &Own) {
    let id = unique("reset");
    let mut work = Snowballs::new(channel(&own.dev.address(Part::Work)));
    let shape = SnowballSpec {
        width: EACH.try_into().expect("a thousand"),
        depth: 1,
        workload_id: id.clone(),
        ..SnowballSpec::default()
    };
    snowball(&mut work, shape).await;
    let leaves = format!("WorkloadId = \"{id}\" AND WorkflowType = \"ChildWorkflow\"");
    let ids = eventually(LONG, "it is grown", async || {
        let ids = own.listed(&leaves).await;
        when(ids.len() == EACH, || format!("{} leaves", ids.len()))?;
        Ok(ids)
    })
    .await;
    let before = eventually(LONG, "each has a completed workflow task", async || {
        let seen = own.describe(&ids).await;
        let ready = seen.values().flatten().filter(|answer| {
            // Started, first task scheduled, started and completed, timer started.
            let info = answer.workflow_execution_info.as_ref();
            info.is_some_and(|info| info.history_length >= 5)
        });
        let ready = ready.count();
        when(ready == EACH, || format!("{ready} are ready"))?;
        Ok(seen)
    })
    .await;
    // What is not to be applied again is gone from the new run.
    let (one, note) = (&ids[0], "note");
    let send = SignalWorkflowExecutionRequest {
        namespace: "main".to_owned(),
        workflow_execution: Some(execution(one, "")),
        signal_name: note.to_owned(),
        ..SignalWorkflowExecutionRequest::default()
    };
    let mut stub = own.client.connection().workflow_service();
    stub.signal_workflow_execution(send.into_request())
        .await
        .expect("it runs");
    assert_eq!(own.signals(one).await, [(note.to_owned(), Vec::new())]);
    let operation = own
        .run(StartBatchOperationRequest {
            target: query(leaves),
            reset: Some(BatchReset {
                to: Some(To::FirstWorkflowTask(true)),
                exclude: vec![ResetExclude::Signal.into()],
                ..BatchReset::default()
            }),
            ..request(&id, BatchOperationKind::Reset)
        })
        .await;
    complete(&operation, EACH);
    assert_eq!(operation.survivors, 0, "{operation:?}");
    let run = |answer: &Option<DescribeWorkflowExecutionResponse>| {
        let info = answer.as_ref()?.workflow_execution_info.as_ref()?;
        Some(info.execution.as_ref()?.run_id.clone())
    };
    let put_aside = format!("WorkloadId = \"{id}\" AND WorkflowType = \"ChildWorkflow\" AND CloseTime IS NOT NULL");
    assert_eq!(own.listed(&put_aside).await.len(), EACH, "each is reset once");
    for (id, now) in own.describe(&ids).await {
        let old = run(&before[&id]).expect("it ran");
        assert_ne!(run(&now), Some(old.clone()), "{id} has the run that it had");
        let more = now.as_ref().and_then(|answer| answer.workflow_extended_info.as_ref());
        assert!(more.is_some_and(|more| more.last_reset_time.is_some()), "{id}: {now:?}");
    }
    let old = own.describe_run(one, &run(&before[one]).expect("it ran")).await;
    let put_aside = old.and_then(|answer| answer.workflow_extended_info);
    assert!(put_aside.is_some_and(|more| !more.reset_run_id.is_empty()), "{one}");
    assert!(own.signals(one).await.is_empty(), "signals were excluded");
}

/// A server on which batch operations are switched off: told at once, with what would be needed.
#[tokio::test]
async fn a_server_that_does_no_batches_is_told_at_once() {
    let mesh = mesh().await;
    let own = Own::start(&mesh, "batch-off", &["frontend.enableBatcher=false"]).await;
    let id = unique("off");
    start_one(&own.client, "Sleeper", id.clone(), &id)
        .await
        .expect("Temporal starts it");
    let refused = own
        .batches
        .clone()
        .start_batch_operation(request(&id, BatchOperationKind::Terminate))
        .await
        .unwrap_err();
    assert_eq!(
        details::reason("Start", &refused, Code::FailedPrecondition),
        "TEMPORAL_UNSUPPORTED"
    );
    assert_eq!(details::unmet("Start", &refused), ["temporal"]);
    assert!(refused.message().contains("frontend.enableBatcher"), "{refused:?}");
    own.all_are(&[id], WorkflowExecutionStatus::Running).await;
}
