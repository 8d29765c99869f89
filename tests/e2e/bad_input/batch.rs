//! Bad input for the batch service.

use super::{Table, bad_ids, bad_pages, bad_targets};
use crate::cancel::workload;
use quell_api::batch::v1::{
    BatchExecution, BatchOperationKind, BatchReset, BatchSignal, GetBatchOperationRequest, ListBatchOperationsRequest,
    ListSurvivorsRequest, StartBatchOperationRequest, StopBatchOperationRequest, WatchBatchOperationRequest,
    batch_operation_service_client::BatchOperationServiceClient,
};

pub(super) fn operations(table: &mut Table, mark: &str) {
    start(table, mark);
    for (what, job_id) in bad_ids() {
        let request = GetBatchOperationRequest { job_id: job_id.clone() };
        table.line(
            "quell.batch.v1.BatchOperationService/GetBatchOperation",
            what,
            &["job_id"],
            |to| async {
                BatchOperationServiceClient::new(to.batch)
                    .get_batch_operation(request)
                    .await
                    .map(drop)
            },
        );
        let request = WatchBatchOperationRequest { job_id: job_id.clone() };
        table.line(
            "quell.batch.v1.BatchOperationService/WatchBatchOperation",
            what,
            &["job_id"],
            |to| async {
                BatchOperationServiceClient::new(to.batch)
                    .watch_batch_operation(request)
                    .await
                    .map(drop)
            },
        );
        let request = ListSurvivorsRequest {
            job_id: job_id.clone(),
            page_size: -1,
            page_token: "garbage".to_owned(),
        };
        let fields = ["job_id", "page_size", "page_token"];
        table.line(
            "quell.batch.v1.BatchOperationService/ListSurvivors",
            what,
            &fields,
            |to| async {
                BatchOperationServiceClient::new(to.batch)
                    .list_survivors(request)
                    .await
                    .map(drop)
            },
        );
        let request = StopBatchOperationRequest {
            job_id,
            reason: " ".to_owned(),
        };
        let fields = ["job_id", "reason"];
        table.line(
            "quell.batch.v1.BatchOperationService/StopBatchOperation",
            what,
            &fields,
            |to| async {
                BatchOperationServiceClient::new(to.batch)
                    .stop_batch_operation(request)
                    .await
                    .map(drop)
            },
        );
    }
    for (what, page_size, page_token, field) in bad_pages() {
        let request = ListBatchOperationsRequest { page_size, page_token };
        table.line(
            "quell.batch.v1.BatchOperationService/ListBatchOperations",
            what,
            &[field],
            |to| async {
                BatchOperationServiceClient::new(to.batch)
                    .list_batch_operations(request)
                    .await
                    .map(drop)
            },
        );
    }
}

fn start(table: &mut Table, mark: &str) {
    let mut line = |what: String, fields: &[&str], request: StartBatchOperationRequest| {
        table.line(
            "quell.batch.v1.BatchOperationService/StartBatchOperation",
            what,
            fields,
            |to| async {
                BatchOperationServiceClient::new(to.batch)
                    .start_batch_operation(request)
                    .await
                    .map(drop)
            },
        );
    };
    let good = StartBatchOperationRequest {
        target: workload(mark),
        kind: BatchOperationKind::Terminate.into(),
        reason: "a test".to_owned(),
        request_id: mark.to_owned(),
        ..Default::default()
    };
    for (what, target, field) in bad_targets() {
        let at_fault = format!("target{field}");
        line(
            what.clone(),
            &[&at_fault],
            StartBatchOperationRequest {
                target: target.clone(),
                ..good.clone()
            },
        );
        let validated = StartBatchOperationRequest {
            target,
            validate_only: true,
            ..good.clone()
        };
        line(format!("{what}, only validated"), &[&at_fault], validated);
    }
    for kind in [0, 99, -1] {
        let request = StartBatchOperationRequest {
            kind,
            request_id: "ä".to_owned(),
            max_affected: -1,
            sample_size: 101,
            signal: Some(BatchSignal::default()),
            reset: Some(BatchReset::default()),
            include_closed: true,
            ..Default::default()
        };
        let fields = [
            "include_closed",
            "kind",
            "max_affected",
            "reason",
            "request_id",
            "reset",
            "sample_size",
            "signal",
            "target",
        ];
        line(format!("everything at once, with kind {kind}"), &fields, request);
    }
    let signal = StartBatchOperationRequest {
        kind: BatchOperationKind::Signal.into(),
        signal: Some(BatchSignal {
            name: String::new(),
            input: vec!["{".to_owned()],
        }),
        ..good.clone()
    };
    line(
        "a signal of nothing".to_owned(),
        &["signal.input[0]", "signal.name"],
        signal,
    );
    let reset = StartBatchOperationRequest {
        kind: BatchOperationKind::Reset.into(),
        reset: Some(BatchReset {
            current_run_only: true,
            exclude: vec![7],
            ..Default::default()
        }),
        ..good.clone()
    };
    line(
        "a reset to nowhere".to_owned(),
        &["reset", "reset.current_run_only", "reset.exclude[0]"],
        reset,
    );
    let both = StartBatchOperationRequest {
        executions: vec![BatchExecution {
            workflow_id: "quell/gate/1".to_owned(),
            run_id: "\n".to_owned(),
        }],
        ..good
    };
    line(
        "a target and a list of Quell's own".to_owned(),
        &["executions", "executions[0].run_id", "executions[0].workflow_id"],
        both,
    );
}
