//! Requests that are refused.

use super::{
    Fake,
    api::{api, start},
    loops::request,
};
use crate::operation::{
    action::{Execution, Selection},
    executions::{Row, Seen},
    guards::selection,
    spec::Spec,
};
use quell_api::{
    batch::v1::{
        BatchExecution, BatchOperationKind, BatchReset, BatchSignal, StartBatchOperationRequest, batch_reset::To,
    },
    validate::Checker,
};
use quell_mesh::{
    Marks, Protected,
    confirmation::Token,
    error::{Error, Reason},
};
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn what_belongs_to_another_kind_or_to_quell_is_refused() {
    let server = Arc::new(Fake::default());
    let (api, _) = api(&server);
    let fields = async |change: &dyn Fn(&mut StartBatchOperationRequest)| {
        let mut request = start("1", "a");
        change(&mut request);
        let Err(Error::InvalidArgument(violations)) = api.start(request).await else {
            panic!("refused")
        };
        violations.into_iter().map(|v| v.field).collect::<Vec<_>>()
    };
    let execution = |id: &str| BatchExecution {
        workflow_id: id.to_owned(),
        run_id: String::new(),
    };
    assert_eq!(
        fields(&|r| {
            r.signal = Some(BatchSignal::default());
            r.reset = Some(BatchReset::default());
            r.include_closed = true;
            r.max_affected = -1;
        })
        .await,
        ["signal", "reset", "include_closed", "max_affected"]
    );
    assert_eq!(
        fields(&|r| {
            r.kind = BatchOperationKind::Signal.into();
            r.signal = Some(BatchSignal {
                name: String::new(),
                input: vec!["{".to_owned(), "1".to_owned()],
            });
        })
        .await,
        ["signal.name", "signal.input[0]"]
    );
    assert_eq!(fields(&|r| r.kind = BatchOperationKind::Reset.into()).await, ["reset"]);
    assert_eq!(
        fields(&|r| {
            r.kind = BatchOperationKind::Reset.into();
            r.reset = Some(BatchReset {
                to: Some(To::FirstWorkflowTask(false)),
                current_run_only: true,
                exclude: vec![0],
            });
        })
        .await,
        [
            "reset.first_workflow_task",
            "reset.current_run_only",
            "reset.exclude[0]"
        ]
    );
    assert_eq!(
        fields(&|r| {
            r.executions = vec![execution("w"), execution("quell/gate/1"), execution("")];
        })
        .await,
        ["executions", "executions[1].workflow_id", "executions[2].workflow_id"]
    );
    assert_eq!(
        fields(&|r| {
            r.target = None;
            r.executions = vec![execution("w"); 1_001];
        })
        .await,
        ["executions"]
    );
}

#[tokio::test]
async fn above_the_cap_goes_only_who_has_seen_the_count() {
    let server = Arc::new(Fake::default());
    let (api, records) = api(&server);
    let few = |token: &str| StartBatchOperationRequest {
        max_affected: 10,
        confirmation_token: token.to_owned(),
        ..start("1", "")
    };
    let look = async |request| {
        let only = StartBatchOperationRequest {
            validate_only: true,
            ..request
        };
        api.start(only).await.unwrap()
    };
    let seen = look(few("")).await;
    assert_eq!(seen.matched, 200, "told, not refused");
    let token = seen.confirmation_token;
    let refused = async |request| api.start(request).await.unwrap_err().reason();
    assert_eq!(refused(few("")).await, Reason::MaxAffectedExceeded);
    let cancel = StartBatchOperationRequest {
        kind: BatchOperationKind::Cancel.into(),
        ..few(&token)
    };
    let elsewhere = StartBatchOperationRequest {
        target: start("2", "").target,
        ..few(&token)
    };
    for other in [
        cancel,
        elsewhere,
        few("nonsense"),
        few(&token.replace(".200.", ".900.")),
    ] {
        assert_eq!(refused(other).await, Reason::ConfirmationTokenMismatch);
    }
    let both = StartBatchOperationRequest {
        request_id: "a".to_owned(),
        ..few(&token)
    };
    assert_eq!(refused(both).await, Reason::InvalidArgument);
    server.world().matches = Some(401);
    assert_eq!(refused(few(&token)).await, Reason::ConfirmationTokenMismatch, "grown");
    assert!(records.started().is_empty());

    server.world().matches = Some(400);
    let started = api.start(few(&token)).await.unwrap();
    assert_eq!(records.started(), std::slice::from_ref(&started.job_id));
    assert_eq!(records.cap(&started.job_id), 800, "twice what matches");
    // Once: the same call is the same operation, whatever matches by now, and another one gets nothing by it.
    server.world().matches = Some(5_000);
    assert_eq!(api.start(few(&token)).await.unwrap(), started);
    let another = StartBatchOperationRequest {
        reason: "another".to_owned(),
        ..few(&token)
    };
    assert_eq!(refused(another).await, Reason::ConfirmationTokenMismatch);
    assert_eq!(records.started().len(), 1);
}

fn protecting() -> Arc<Fake> {
    let types = vec!["Payments".to_owned()];
    let protected = Protected {
        types,
        ..Protected::default()
    };
    Arc::new(Fake(Mutex::default(), protected))
}

#[tokio::test]
async fn what_is_protected_is_refused_before_anything_is_queued() {
    let server = protecting();
    let (api, records) = api(&server);
    let listed = |ids: &[&str]| StartBatchOperationRequest {
        target: None,
        executions: ids
            .iter()
            .map(|id| BatchExecution {
                workflow_id: (*id).to_owned(),
                run_id: String::new(),
            })
            .collect(),
        ..start("1", "")
    };
    let there = |id: &str, kind: &str, open| Seen {
        row: Row {
            execution: Execution {
                workflow_id: id.to_owned(),
                run_id: String::new(),
            },
            ..Row::default()
        },
        marks: Marks {
            workflow_type: kind.to_owned(),
            ..Marks::default()
        },
        open,
        ..Seen::default()
    };
    server.world().held = 2;
    server.world().executions = vec![
        there("a", "Payments", true),
        there("b", "Payments", true),
        there("closed", "Payments", false),
        there("free", "Sleeper", true),
    ];
    let all = listed(&["a", "b", "closed", "free", "unknown"]);
    for (request, field) in [(start("1", "a"), "target"), (all, "executions")] {
        for validate_only in [true, false] {
            let request = StartBatchOperationRequest {
                validate_only,
                ..request.clone()
            };
            let Err(Error::FailedPrecondition { reason, violations }) = api.start(request).await else {
                panic!("refused");
            };
            assert_eq!(reason, Reason::ProtectedTarget);
            assert_eq!(violations[0].1, field);
            assert_eq!(violations[0].2, "holds 2 executions whose WorkflowType is protected");
        }
    }
    let mut earlier_run = listed(&["a"]);
    earlier_run.executions[0].run_id = "0199f0c2-0000-7000-8000-000000000001".to_owned();
    let reset = StartBatchOperationRequest {
        kind: BatchOperationKind::Reset.into(),
        reset: Some(BatchReset {
            to: Some(To::LastWorkflowTask(true)),
            ..BatchReset::default()
        }),
        ..earlier_run.clone()
    };
    let refused = api.start(reset).await.unwrap_err();
    assert_eq!(
        refused.reason(),
        Reason::ProtectedTarget,
        "it would end the current run"
    );
    assert!(records.started().is_empty());

    server.world().held = 0;
    api.start(start("1", "a")).await.unwrap();
    api.start(earlier_run).await.unwrap();
    api.start(listed(&["closed", "free", "unknown"])).await.unwrap();
    assert_eq!(records.started().len(), 3);
}

#[tokio::test]
async fn what_is_protected_and_comes_later_is_left_out() {
    let server = protecting();
    let spec = request().spec;
    let Selection::Query(query) = selection(&*server, &spec).await.unwrap() else {
        panic!("a query");
    };
    assert!(
        query.ends_with(" AND (WorkflowType IS NULL OR WorkflowType NOT IN (\"Payments\"))"),
        "{query}"
    );
    server.world().held = 1;
    let refused = selection(&*server, &spec).await.unwrap_err();
    assert_eq!(
        refused.reason(),
        Reason::ProtectedTarget,
        "it came while the slot was waited for"
    );
}

#[tokio::test]
async fn an_old_token_starts_nothing_and_still_finds_what_it_has_started() {
    let server = Arc::new(Fake::default());
    let (api, records) = api(&server);
    let subject = Spec::check(&mut Checker::new(), &start("1", "")).confirmed();
    let with = |token: Token| StartBatchOperationRequest {
        max_affected: 10,
        confirmation_token: token.write(&subject),
        ..start("1", "")
    };
    let token = Token::new(200);
    let old = Token { at_ms: 1, ..token };
    let refused = api.start(with(old)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ConfirmationTokenMismatch);
    assert!(records.started().is_empty());
    let first = api.start(with(token)).await.unwrap();
    assert_eq!(api.start(with(old)).await.unwrap(), first);
    assert_eq!(records.started().len(), 1);
}
