//! `quell.batch.v1.BatchOperationService`: the gRPC face of the server's batch operations.

use super::{
    identity::Identity,
    job::{Job, Kind, Listed, NewJob},
    page_token,
    server::{JobServer, Started, name_field},
};
use quell_api::{
    batch::v1::{
        GetBatchOperationRequest, GetBatchOperationResponse, ListBatchOperationsRequest, ListBatchOperationsResponse,
        StartBatchOperationRequest, StartBatchOperationResponse, StopBatchOperationRequest, StopBatchOperationResponse,
        batch_operation_service_server::BatchOperationService,
    },
    target::Filter,
    validate::Checker,
};
use quell_mesh::error::{Error, Reason};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};

/// What a batch operation is called in `ResourceInfo`.
const RESOURCE: &str = "batch operation";
/// Executions a second that the server's batch works at, unless an operator changed it (`worker.batcherRPS`).
const SERVER_RATE: i64 = 50;
/// How long the server may count a job in the slot that has ended: it counts in its index, which lags. Longer is somebody
/// else's turn to wait.
const SLOT_LAG: Duration = Duration::from_secs(3);
/// Pause before the slot is asked for again, meanwhile.
const SLOT_PAUSE: Duration = Duration::from_millis(250);
/// Bounds of the wait that a caller is told when the slot is taken.
const RETRY_AFTER: std::ops::RangeInclusive<i64> = 2..=60;

/// The service.
pub(crate) struct Api {
    server: Arc<dyn JobServer>,
}

impl Api {
    /// Over the batch interface of the main namespace.
    pub(crate) fn new(server: Arc<dyn JobServer>) -> Self {
        Self { server }
    }

    pub(crate) async fn start(
        &self,
        request: StartBatchOperationRequest,
    ) -> Result<StartBatchOperationResponse, Error> {
        let mut check = Checker::new();
        let filter = Filter::check(&mut check, "target", request.target.as_ref());
        let kind = Kind::of(request.kind());
        if kind.is_none() {
            check.reject(
                "kind",
                "must be given: BATCH_OPERATION_KIND_TERMINATE or BATCH_OPERATION_KIND_CANCEL",
            );
        }
        check.reason("reason", &request.reason, true);
        check.request_id("request_id", &request.request_id);
        let kind = check
            .finish(kind)
            .map_err(Error::InvalidArgument)?
            .unwrap_or(Kind::Terminate);
        let query = filter.open();
        let repeatable = !request.request_id.is_empty();
        let id = if repeatable {
            request.request_id
        } else {
            uuid::Uuid::new_v4().to_string()
        };
        let id = format!("quell-batch-{id}");

        if repeatable
            && !request.validate_only
            && let Some(first) = self.server.describe(&id).await?
        {
            return first_answer(first, kind, query);
        }
        // A count is also the proof of the query: Start would take a malformed one and keep the slot with it.
        let matched = self
            .server
            .count(&query)
            .await
            .map_err(|error| name_field(error, query_field(&request.target)))?;
        let answer = StartBatchOperationResponse {
            job_id: id.clone(),
            matched,
            query: query.clone(),
        };
        if request.validate_only {
            return Ok(answer);
        }
        let identity = Identity::new(&query, matched, "");
        let job = NewJob {
            id: id.clone(),
            query: query.clone(),
            kind,
            reason: request.reason,
            identity,
        };
        let patience = tokio::time::Instant::now() + SLOT_LAG;
        loop {
            let refused = match self.server.start(&job).await {
                Ok(Started::Taken) => {
                    tracing::info!(job_id = id, matched, ?kind, "batch operation started");
                    return Ok(answer);
                }
                refused => refused,
            };
            // A caller that repeats itself in parallel, or an answer that was lost: the job tells.
            if let Some(first) = self.server.describe(&id).await? {
                return first_answer(first, kind, query);
            }
            match refused? {
                Started::SlotTaken => match self.server.holder().await? {
                    Some(holder) => return Err(slot_taken(&holder)),
                    None if tokio::time::Instant::now() < patience => tokio::time::sleep(SLOT_PAUSE).await,
                    None => return Err(slot_unclear()),
                },
                // The id is a workflow's that is no batch operation.
                Started::Taken | Started::Exists => {
                    return Err(Error::AlreadyExists {
                        kind: "workflow execution",
                        name: id,
                    });
                }
            }
        }
    }

    pub(crate) async fn get(&self, request: GetBatchOperationRequest) -> Result<GetBatchOperationResponse, Error> {
        let mut check = Checker::new();
        check.required_id("job_id", &request.job_id);
        let id = check.finish(request.job_id).map_err(Error::InvalidArgument)?;
        let job = self
            .server
            .describe(&id)
            .await?
            .ok_or_else(|| Error::not_found(RESOURCE, id))?;
        Ok(GetBatchOperationResponse {
            operation: Some(job.proto()),
        })
    }

    pub(crate) async fn list(&self, request: ListBatchOperationsRequest) -> Result<ListBatchOperationsResponse, Error> {
        let mut check = Checker::new();
        let page_size = check.page_size("page_size", request.page_size);
        let token = page_token::open(&request.page_token).unwrap_or_else(|| {
            check.reject("page_token", "is not one that this service gave");
            Vec::new()
        });
        let token = check.finish(token).map_err(Error::InvalidArgument)?;
        let (mut jobs, next) = self
            .server
            .list(page_size, token)
            .await
            .map_err(|error| name_field(error, "page_token"))?;
        // The server lists open ones first, then by their ends; with one slot a namespace that differs little.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.start_time));
        Ok(ListBatchOperationsResponse {
            operations: jobs.into_iter().map(Listed::proto).collect(),
            next_page_token: page_token::seal(&next),
        })
    }

    pub(crate) async fn stop(&self, request: StopBatchOperationRequest) -> Result<StopBatchOperationResponse, Error> {
        let mut check = Checker::new();
        check.required_id("job_id", &request.job_id);
        check.reason("reason", &request.reason, true);
        let id = check.finish(request.job_id).map_err(Error::InvalidArgument)?;
        // Describe first: the server would terminate any workflow of that id. An ended one stays as it is.
        if self.server.describe(&id).await?.is_none() {
            return Err(Error::not_found(RESOURCE, id));
        }
        if self.server.stop_running(&id, &request.reason).await? {
            tracing::info!(job_id = id, "batch operation stopped");
        }
        Ok(StopBatchOperationResponse {})
    }
}

/// The refusal while another job has the slot, with a guess of how long it will.
fn slot_taken(holder: &Job) -> Error {
    let left = (holder.total - holder.done - holder.failed).max(0) / SERVER_RATE;
    let seconds = left.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end());
    Error::ResourceExhausted {
        reason: Reason::BatchSlotTaken,
        message: format!("batch operation {:?} holds the namespace's slot", holder.id),
        retry_after: Some(Duration::from_secs(seconds.unsigned_abs())),
    }
}

/// The refusal when the server calls the slot taken, and nobody is seen to hold it.
fn slot_unclear() -> Error {
    Error::ResourceExhausted {
        reason: Reason::BatchSlotTaken,
        message: "the server still counts another batch operation".to_owned(),
        retry_after: Some(Duration::from_secs(RETRY_AFTER.start().unsigned_abs())),
    }
}

/// The answer to a repeated Start, made of the first one. The same request id with another request is refused.
fn first_answer(first: Job, kind: Kind, query: String) -> Result<StartBatchOperationResponse, Error> {
    let identity = Identity::parse(&first.identity);
    let same_query = identity.as_ref().is_none_or(|identity| identity.is_over(&query));
    if first.kind != Some(kind) || !same_query {
        return Err(Error::precondition(
            Reason::RequestIdReused,
            "request_id",
            format!("{RESOURCE} {:?} was started with another target or kind", first.id),
        ));
    }
    let matched = identity.map_or(first.total, |identity| identity.matched);
    Ok(StartBatchOperationResponse {
        job_id: first.id,
        matched,
        query,
    })
}

/// The field that a query of this target came from.
fn query_field(target: &Option<quell_api::r#type::v1::Target>) -> &'static str {
    use quell_api::r#type::v1::target::Selector;
    match target.as_ref().and_then(|target| target.selector.as_ref()) {
        Some(Selector::WorkloadId(_)) => "target.workload_id",
        Some(Selector::Query(_)) | None => "target.query",
    }
}

#[tonic::async_trait]
impl BatchOperationService for Api {
    async fn start_batch_operation(
        &self,
        request: Request<StartBatchOperationRequest>,
    ) -> Result<Response<StartBatchOperationResponse>, Status> {
        Ok(Response::new(self.start(request.into_inner()).await?))
    }

    async fn get_batch_operation(
        &self,
        request: Request<GetBatchOperationRequest>,
    ) -> Result<Response<GetBatchOperationResponse>, Status> {
        Ok(Response::new(self.get(request.into_inner()).await?))
    }

    async fn list_batch_operations(
        &self,
        request: Request<ListBatchOperationsRequest>,
    ) -> Result<Response<ListBatchOperationsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn stop_batch_operation(
        &self,
        request: Request<StopBatchOperationRequest>,
    ) -> Result<Response<StopBatchOperationResponse>, Status> {
        Ok(Response::new(self.stop(request.into_inner()).await?))
    }
}
