//! A good request for each rpc, so that one bad value in it is the only thing to refuse. None starts anything, and none names anything
//! that is there.

use super::order;
use crate::cancel::{any_of, millis, query, spec, workload};
use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MethodDescriptor, Value};
use quell_api::{
    batch::v1::{
        BatchExecution, BatchOperationKind, BatchReset, BatchSignal, StartBatchOperationRequest, batch_reset::To,
    },
    canceler::v1::{
        AdjustCancellationRequest, CancellationSpec, Limits, PreviewCancellationRequest, ReadJournalChunkRequest,
        StartCancellationRequest,
    },
    r#type::v1::Target,
    work::v1::{
        BatchProcessingSpec, OrderFault, PlaceOrderRequest, ProbeSpec, QuiesceRequest, ScheduleOrderRequest,
        SnowballLeaves, SnowballPacing, SnowballSpec, StartBatchProcessingRequest, StartProbeRequest,
        StartSnowballRequest,
    },
};

/// Good requests that have, together, every message in them that the rpc can be given.
pub(super) fn requests(method: &MethodDescriptor, mark: &str) -> Vec<DynamicMessage> {
    let bytes: Vec<Vec<u8>> = match method.name() {
        "StartBatchOperation" => batches(mark).map(|request| request.encode_to_vec()).into(),
        "PreviewCancellation" => [workload(mark), several(mark)]
            .map(|target| {
                encoded(&PreviewCancellationRequest {
                    target,
                    namespaces: vec!["main".to_owned()],
                    ..Default::default()
                })
            })
            .into(),
        "StartCancellation" => [workload(mark), several(mark)]
            .map(|target| {
                encoded(&StartCancellationRequest {
                    spec: Some(CancellationSpec {
                        namespaces: vec!["main".to_owned()],
                        ..spec(target)
                    }),
                    validate_only: true,
                    ..Default::default()
                })
            })
            .into(),
        "AdjustCancellation" => vec![encoded(&AdjustCancellationRequest {
            cancellation_id: mark.to_owned(),
            limits: Some(Limits {
                concurrency: Some(1),
                ..Default::default()
            }),
        })],
        "ReadJournalChunk" => vec![encoded(&ReadJournalChunkRequest {
            cancellation_id: mark.to_owned(),
            key: format!("journal/{mark}/p1-w0-a1-00000.jsonl"),
        })],
        "StartBatchProcessing" => vec![encoded(&StartBatchProcessingRequest {
            spec: Some(BatchProcessingSpec {
                total_numbers: 9,
                ..Default::default()
            }),
            validate_only: true,
        })],
        "PlaceOrder" => vec![encoded(&PlaceOrderRequest {
            order: Some(order::good()),
            order_id: mark.to_owned(),
            validate_only: true,
            faults: vec![OrderFault {
                action: 1,
                kind: 1,
                ..Default::default()
            }],
            ..Default::default()
        })],
        "ScheduleOrder" => vec![encoded(&ScheduleOrderRequest {
            order: Some(order::good()),
            schedule_id: mark.to_owned(),
            every: millis(3_600_000),
            validate_only: true,
            ..Default::default()
        })],
        "StartProbe" => vec![encoded(&StartProbeRequest {
            spec: Some(ProbeSpec::default()),
            validate_only: true,
            ..Default::default()
        })],
        "StartSnowball" => vec![encoded(&StartSnowballRequest {
            spec: Some(SnowballSpec {
                pacing: Some(SnowballPacing::default()),
                leaves: Some(SnowballLeaves::default()),
                ..Default::default()
            }),
            validate_only: true,
            ..Default::default()
        })],
        // A gate that opens by itself at once.
        "Quiesce" => vec![encoded(&QuiesceRequest {
            workload_id: mark.to_owned(),
            ttl: millis(1_000),
            ..Default::default()
        })],
        _ => return vec![plain(method, mark)],
    };
    let decoded = bytes
        .iter()
        .map(|bytes| DynamicMessage::decode(method.input(), bytes.as_slice()));
    decoded.collect::<Result<_, _>>().unwrap()
}

/// Two targets that are one.
fn several(mark: &str) -> Option<Target> {
    any_of([workload(mark), query("WorkflowType = 'None'")])
}

fn encoded(request: &impl Message) -> Vec<u8> {
    request.encode_to_vec()
}

/// Ids and a reason; what else there is has a default.
fn plain(method: &MethodDescriptor, mark: &str) -> DynamicMessage {
    let mut request = DynamicMessage::new(method.input());
    for field in method.input().fields().filter(|field| field.kind() == Kind::String) {
        if field.name().ends_with("_id") {
            request.set_field(&field, Value::String(mark.to_owned()));
        } else if field.name() == "reason" {
            request.set_field(&field, Value::String("a test".to_owned()));
        }
    }
    request
}

fn batches(mark: &str) -> [StartBatchOperationRequest; 3] {
    let of = |kind: BatchOperationKind| StartBatchOperationRequest {
        kind: kind.into(),
        reason: "a test".to_owned(),
        validate_only: true,
        ..Default::default()
    };
    [
        StartBatchOperationRequest {
            target: workload(mark),
            ..of(BatchOperationKind::Terminate)
        },
        StartBatchOperationRequest {
            executions: vec![BatchExecution {
                workflow_id: mark.to_owned(),
                ..Default::default()
            }],
            signal: Some(BatchSignal {
                name: "none".to_owned(),
                input: vec!["1".to_owned()],
            }),
            ..of(BatchOperationKind::Signal)
        },
        StartBatchOperationRequest {
            target: several(mark),
            reset: Some(BatchReset {
                to: Some(To::BuildId("none".to_owned())),
                ..Default::default()
            }),
            ..of(BatchOperationKind::Reset)
        },
    ]
}
