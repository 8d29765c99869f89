//! What the configuration protects is refused, whatever is to be done to it, and nothing is done to anything.

use super::{listed, own::Own, request, signal};
use crate::{
    details,
    harness::unique,
    outside::start_one,
    poll::{SOON, eventually, when},
};
use quell_api::batch::v1::{BatchOperationKind, StartBatchOperationRequest};
use temporalio_common::protos::temporal::api::enums::v1::WorkflowExecutionStatus;
use tonic::Code;

/// The settings of the batch service.
pub(super) const PROTECTED: [(&str, &str); 3] = [
    ("QUELL_PROTECTED_TYPES", "Payments,Other"),
    ("QUELL_PROTECTED_WORKLOADS", "payroll"),
    ("QUELL_PROTECTED_QUEUES", "payments-queue"),
];

pub(super) async fn refused(own: &Own) {
    let id = unique("protected");
    let ids = [format!("{id}-plain"), format!("{id}-payments"), format!("{id}-payroll")];
    for (workflow, (kind, tag)) in ids.iter().zip([
        ("Sleeper", id.as_str()),
        ("Payments", id.as_str()),
        ("Sleeper", "payroll"),
    ]) {
        let started = start_one(&own.client, kind, workflow.clone(), tag).await;
        started.expect("Temporal starts it");
    }
    let query = format!("WorkflowId IN (\"{}\") AND CloseTime IS NULL", ids.join("\", \""));
    eventually(SOON, "they are in the index", async || {
        let there = own.listed(&query).await.len();
        when(there == ids.len(), || format!("{there} are there"))
    })
    .await;

    let by_tag = |tag: &str, kind| request(tag, kind);
    let by_list = |ids: &[String]| StartBatchOperationRequest {
        target: None,
        executions: listed(ids),
        signal: Some(signal("note", &[])),
        ..request(&id, BatchOperationKind::Signal)
    };
    for (request, field, held) in [
        (
            by_tag(&id, BatchOperationKind::Terminate),
            "target",
            ["WorkflowType"].as_slice(),
        ),
        (by_tag("payroll", BatchOperationKind::Delete), "target", &["WorkloadId"]),
        (by_list(&ids), "executions", &["WorkflowType", "WorkloadId"]),
    ] {
        for validate_only in [true, false] {
            let request = StartBatchOperationRequest {
                validate_only,
                ..request.clone()
            };
            let refused = own.batches.clone().start_batch_operation(request).await;
            let status = refused.expect_err("it holds what is protected");
            let reason = details::reason("a protected target", &status, Code::FailedPrecondition);
            assert_eq!(reason, "PROTECTED_TARGET");
            assert!(status.message().contains(field), "{status}");
            for attribute in held {
                let told = format!("1 executions whose {attribute} is protected");
                assert!(status.message().contains(&told), "{status}");
            }
        }
    }
    // One that the index may not have yet.
    let young = [format!("{id}-young")];
    let started = start_one(&own.client, "Payments", young[0].clone(), &id).await;
    started.expect("Temporal starts it");
    let refused = own.batches.clone().start_batch_operation(by_list(&young)).await;
    let reason = details::reason(
        "a young one",
        &refused.expect_err("protected"),
        Code::FailedPrecondition,
    );
    assert_eq!(reason, "PROTECTED_TARGET");

    own.all_are(&[&ids[..], &young].concat(), WorkflowExecutionStatus::Running)
        .await;
    let operation = own.run(by_list(&ids[..1])).await;
    assert_eq!(operation.completed, 1, "its neighbours are free: {operation:?}");
}
