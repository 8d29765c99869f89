//! The server's batch interface, with its answers made unambiguous. A trait, so that the logic above it is tested against a
//! server that misbehaves on demand.

use super::{
    executions::Executions,
    identity::NAME,
    job::{Job, Listed, NewJob, State},
    support,
};
use prost::Message as _;
use quell_mesh::{
    Protected,
    error::Error,
    metrics::BATCH_STARTED,
    temporal::{NamespaceClient, no_retry},
};
use std::{sync::Arc, time::Duration};
use temporalio_client::grpc::WorkflowService;
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution,
    enums::v1::ResourceExhaustedCause,
    errordetails::v1::ResourceExhaustedFailure,
    workflowservice::v1::{
        CountWorkflowExecutionsRequest, DescribeBatchOperationRequest, DescribeWorkflowExecutionRequest,
        GetSystemInfoRequest, ListBatchOperationsRequest, StartBatchOperationRequest, StopBatchOperationRequest,
    },
};
use tonic::{Code, Request, Response, Status};
use tonic_types::pb as rpc;
use tracing::Instrument as _;

/// Longest time for one call of the server, its retries included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of a Start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// The server has taken the job.
    Taken,
    /// A job of this id is there already, running or closed.
    Exists,
    /// The slot is taken, by whomever.
    SlotTaken,
}

/// What is asked of the server. Errors are those of [`Error`]; an answer that says "there is none" is not an error.
#[async_trait::async_trait]
pub(crate) trait JobServer: Executions {
    /// What nobody may stop there.
    fn protected(&self) -> &Protected;
    /// Its version, as it tells it.
    async fn version(&self) -> Result<String, Error>;
    /// How many executions match; a query that the server calls invalid is [`Error::InvalidArgument`].
    async fn count(&self, query: &str) -> Result<i64, Error>;
    /// The job, if it is there and is a batch operation.
    async fn describe(&self, id: &str) -> Result<Option<Job>, Error>;
    /// Starts it, in one try: the caller must look before it tries again.
    async fn start(&self, job: &NewJob) -> Result<Started, Error>;
    /// A page of jobs, and the token of the next one.
    async fn list(&self, page_size: i32, token: Vec<u8>) -> Result<(Vec<Listed>, Vec<u8>), Error>;
    /// Stops it; an ended or unknown one is left as it is. Only for ids that [`JobServer::describe`] knows: the server
    /// would terminate any workflow of that id.
    async fn stop(&self, id: &str, reason: &str) -> Result<(), Error>;

    /// Stops what is a batch operation and runs. False when there was nothing to stop.
    async fn stop_running(&self, id: &str, reason: &str) -> Result<bool, Error> {
        let runs = self.describe(id).await?.is_some_and(|job| job.is_running());
        if runs {
            self.stop(id, reason).await?;
        }
        Ok(runs)
    }

    /// The job that has the slot, proven by Describe: the list, as the server's own count of the slot, lags behind.
    async fn holder(&self) -> Result<Option<Job>, Error> {
        let (jobs, _) = self.list(10, Vec::new()).await?;
        for listed in jobs.into_iter().filter(|job| job.state == State::Running) {
            if let Some(job) = self.describe(&listed.id).await?.filter(Job::is_running) {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }
}

/// Names the field whose text the server calls invalid: it does not know where we have it from.
pub(crate) fn name_field(error: Error, field: &str) -> Error {
    match error {
        Error::InvalidArgument(mut violations) => {
            for violation in violations.iter_mut().filter(|violation| violation.field.is_empty()) {
                field.clone_into(&mut violation.field);
            }
            Error::InvalidArgument(violations)
        }
        other => other,
    }
}

/// The real one, in the main namespace.
#[derive(Clone)]
pub(crate) struct TemporalServer {
    namespace: NamespaceClient,
    protected: Arc<Protected>,
}

impl TemporalServer {
    /// Over a namespace's client, with what is protected in it.
    pub(crate) fn new(namespace: NamespaceClient, protected: Protected) -> Self {
        Self {
            namespace,
            protected: Arc::new(protected),
        }
    }

    /// Name of the namespace.
    pub(crate) fn name(&self) -> String {
        self.namespace.namespace().to_owned()
    }

    /// A raw stub: polls and retries would only litter the trace.
    pub(crate) async fn raw(&self) -> Result<Box<dyn WorkflowService>, Error> {
        self.namespace.raw().await
    }

    /// Reads something, with our time limit.
    pub(crate) async fn read<M, R, F>(
        &self,
        message: M,
        ask: impl FnOnce(Box<dyn WorkflowService>, Request<M>) -> F,
    ) -> Result<Result<R, Status>, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let ask = |stub, message| ask(stub, timed(message));
        self.namespace.read(message, ask).await
    }

    /// Whether the workflow of this id is a batch operation, by the memo that the server gives each of them.
    async fn is_job(&self, id: &str) -> Result<bool, Error> {
        let execution = Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: String::new(),
        });
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.name(),
            execution,
        };
        let answer = self
            .read(request, async |mut stub, request| {
                stub.describe_workflow_execution(request).await
            })
            .await??;
        let memo = answer.workflow_execution_info.and_then(|info| info.memo);
        Ok(memo.is_some_and(|memo| memo.fields.contains_key("batch_operation_reason")))
    }
}

/// A request with our time limit.
pub(crate) fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

#[async_trait::async_trait]
impl JobServer for TemporalServer {
    fn protected(&self) -> &Protected {
        &self.protected
    }

    async fn count(&self, query: &str) -> Result<i64, Error> {
        let request = CountWorkflowExecutionsRequest {
            namespace: self.name(),
            query: query.to_owned(),
        };
        let answer = self.read(request, async |mut stub, request| {
            stub.count_workflow_executions(request).await
        });
        Ok(answer.await??.count)
    }

    async fn version(&self) -> Result<String, Error> {
        let request = GetSystemInfoRequest::default();
        let answer = self.read(request, async |mut stub, request| stub.get_system_info(request).await);
        Ok(answer.await??.server_version)
    }

    async fn describe(&self, id: &str) -> Result<Option<Job>, Error> {
        let request = DescribeBatchOperationRequest {
            namespace: self.name(),
            job_id: id.to_owned(),
        };
        let answer = self.read(request, async |mut stub, request| {
            stub.describe_batch_operation(request).await
        });
        match answer.await? {
            Ok(answer) => Ok(Job::of(answer)),
            // The server stumbles over a completed workflow that is no batch operation, for want of the figures that it
            // looks for, and masks what it stumbled over.
            Err(status) if status.code() == Code::Unknown && !self.is_job(id).await? => Ok(None),
            Err(status) if support::is_switched_off(&status) => Err(support::switched_off()),
            Err(status) => match Error::from(status) {
                Error::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn start(&self, job: &NewJob) -> Result<Started, Error> {
        let identity = job.identity.to_string();
        let mut request = StartBatchOperationRequest {
            namespace: self.name(),
            job_id: job.id.clone(),
            reason: job.reason.clone(),
            operation: Some(job.action.operation(identity)),
            ..StartBatchOperationRequest::default()
        };
        job.selection.write(&mut request);
        let mut request = no_retry(request);
        request.set_timeout(CALL_TIMEOUT);
        let span = tracing::info_span!(
            "StartBatchOperation",
            otel.kind = "client",
            kind = job.action.kind().word()
        );
        let mut stub = self.raw().await?;
        match stub.start_batch_operation(request).instrument(span).await {
            Ok(_) => {
                BATCH_STARTED.with([job.action.kind().word()]).inc();
                Ok(Started::Taken)
            }
            Err(status) if is_slot_taken(&status) => Ok(Started::SlotTaken),
            Err(status) if status.code() == Code::AlreadyExists => Ok(Started::Exists),
            Err(status) if support::is_switched_off(&status) => Err(support::switched_off()),
            Err(status) => Err(status.into()),
        }
    }

    async fn list(&self, page_size: i32, token: Vec<u8>) -> Result<(Vec<Listed>, Vec<u8>), Error> {
        let request = ListBatchOperationsRequest {
            namespace: self.name(),
            page_size,
            next_page_token: token,
        };
        let answer = self.read(request, async |mut stub, request| {
            stub.list_batch_operations(request).await
        });
        let answer = answer.await??;
        Ok((
            answer.operation_info.into_iter().map(Listed::of).collect(),
            answer.next_page_token,
        ))
    }

    async fn stop(&self, id: &str, reason: &str) -> Result<(), Error> {
        let request = StopBatchOperationRequest {
            namespace: self.name(),
            job_id: id.to_owned(),
            reason: reason.to_owned(),
            identity: NAME.to_owned(),
        };
        match self.raw().await?.stop_batch_operation(timed(request)).await {
            Ok(_) => Ok(()),
            Err(status) => match Error::from(status) {
                // The server's word for "already completed" too: it ended between our look and our stop.
                Error::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }
}

/// Whether the slot is taken. The same code also means a rate limit: the cause tells them apart, and the words do where no
/// details came.
fn is_slot_taken(status: &Status) -> bool {
    if status.code() != Code::ResourceExhausted {
        return false;
    }
    let cause = rpc::Status::decode(status.details())
        .ok()
        .and_then(|rich| {
            rich.details
                .into_iter()
                .find(|any| any.type_url.ends_with("ResourceExhaustedFailure"))
        })
        .and_then(|any| ResourceExhaustedFailure::decode(any.value.as_slice()).ok())
        .map(|failure| failure.cause());
    match cause {
        Some(ResourceExhaustedCause::Unspecified) | None => status.message().contains("concurrent batch operations"),
        Some(cause) => cause == ResourceExhaustedCause::ConcurrentLimit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exhausted(cause: Option<ResourceExhaustedCause>, message: &str) -> Status {
        let details = cause.map(|cause| prost_types::Any {
            type_url: "type.googleapis.com/temporal.api.errordetails.v1.ResourceExhaustedFailure".into(),
            value: ResourceExhaustedFailure {
                cause: cause.into(),
                ..Default::default()
            }
            .encode_to_vec(),
        });
        let rich = rpc::Status {
            code: Code::ResourceExhausted.into(),
            message: message.into(),
            details: details.into_iter().collect(),
        };
        Status::with_details(Code::ResourceExhausted, message, rich.encode_to_vec().into())
    }

    #[test]
    fn a_full_slot_is_told_from_a_rate_limit() {
        let full = "Max concurrent batch operations is reached";
        assert!(is_slot_taken(&exhausted(
            Some(ResourceExhaustedCause::ConcurrentLimit),
            full
        )));
        assert!(is_slot_taken(&Status::resource_exhausted(full)));
        assert!(!is_slot_taken(&exhausted(
            Some(ResourceExhaustedCause::RpsLimit),
            "namespace rate limit exceeded"
        )));
        assert!(!is_slot_taken(&Status::resource_exhausted(
            "namespace rate limit exceeded"
        )));
        assert!(!is_slot_taken(&Status::unavailable(full)));
    }
}
