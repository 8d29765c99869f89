//! The server's batch operation, stopped through the batch service.

use std::time::Duration;

use quell_api::batch::v1::{
    GetBatchOperationRequest, StopBatchOperationRequest, batch_operation_service_client::BatchOperationServiceClient,
};
use quell_mesh::{Error, Outgoing, channel};
use quell_sweep::{BatchReport, BatchState};
use tonic::{Code, Request};

use super::messages::StopBatchInput;

/// How long the batch service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Stops an operation and tells how far it had come, or that there is none.
pub(crate) async fn stop((address, shown): (&str, &Outgoing), input: &StopBatchInput) -> Result<BatchReport, Error> {
    let mut client = BatchOperationServiceClient::new(channel(address, shown)?);
    let stopped = BatchReport {
        job_id: input.job_id.clone(),
        state: BatchState::Stopped,
        ..BatchReport::default()
    };
    let mut request = Request::new(GetBatchOperationRequest {
        job_id: input.job_id.clone(),
    });
    request.set_timeout(TIMEOUT);
    // Before it is stopped: a stopped operation does not tell its figures any more.
    let operation = match client.get_batch_operation(request).await {
        Ok(described) => described.into_inner().operation.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => {
            return Ok(BatchReport {
                state: BatchState::Absent,
                ..stopped
            });
        }
        Err(status) => return Err(Error::from_peer("batch", &status)),
    };
    let mut request = Request::new(StopBatchOperationRequest {
        job_id: input.job_id.clone(),
        reason: input.reason.clone(),
    });
    request.set_timeout(TIMEOUT);
    match client.stop_batch_operation(request).await {
        Ok(_) => {}
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(Error::from_peer("batch", &status)),
    }
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(BatchReport {
        total: count(operation.total),
        completed: count(operation.completed),
        failed: count(operation.failed),
        ..stopped
    })
}
