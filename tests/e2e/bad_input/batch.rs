//! Bad input for the batch service.

use super::{Table, bad_ids, bad_pages, bad_targets};
use crate::cancel::workload;
use quell_api::batch::v1::{
    BatchExecution, BatchOperationKind, BatchSignal, DescribeServerRequest, GetBatchOperationRequest,
    ListBatchOperationsRequest, ListSurvivorsRequest, StartBatchOperationRequest, StopBatchOperationRequest,
    WatchBatchOperationRequest, batch_operation_service_client::BatchOperationServiceClient,
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
        validate_only: false,
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
    for kind in [0, 3, -1] {
        let request = StartBatchOperationRequest {
            target: None,
            kind,
            reason: String::new(),
            request_id: "ä".to_owned(),
            validate_only: false,
        };
        let fields = ["kind", "reason", "request_id", "target"];
        line(format!("everything at once, with kind {kind}"), &fields, request);
    }
}
