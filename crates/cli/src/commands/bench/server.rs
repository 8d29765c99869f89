//! Temporal, by bare calls: no codec, no spans.

use crate::dev::innermost;
use crate::exit::Failure;
use quell_mesh::no_retry;
use serde::Serialize;
use std::time::Duration;
use temporalio_client::{Connection, ConnectionOptions};
use temporalio_common::protos::temporal::api::batch::v1::BatchOperationTermination;
use temporalio_common::protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::BatchOperationState;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflow::v1::WorkflowExecutionInfo;
use temporalio_common::protos::temporal::api::workflowservice::v1::start_batch_operation_request::Operation;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    CountWorkflowExecutionsRequest, DescribeBatchOperationRequest, DescribeBatchOperationResponse,
    GetClusterInfoRequest, GetSystemInfoRequest, ListBatchOperationsRequest, ListWorkflowExecutionsRequest,
    StartBatchOperationRequest, StartWorkflowExecutionRequest, StopBatchOperationRequest,
    TerminateWorkflowExecutionRequest,
};
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributes};
use tonic::{Code, Request, Status};
use url::Url;

/// The longest time of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Why, in the history of what is stopped.
const REASON: &str = "quell bench";
/// Type and task queue of the idle executions; nobody works on either.
const IDLE: &str = "QuellBenchIdle";
/// What a killed bench leaves behind ends by itself after this time.
const IDLE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The search attribute that marks a workload.
const WORKLOAD_ID: SearchAttributeKey<String> = SearchAttributeKey::keyword("WorkloadId");

/// An execution whose ids are known.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) workflow_id: String,
    pub(super) run_id: String,
}

impl Known {
    /// A listed row.
    pub(super) fn listed(row: WorkflowExecutionInfo) -> Option<Self> {
        let execution = row.execution?;
        Some(Self {
            workflow_id: execution.workflow_id,
            run_id: execution.run_id,
        })
    }
}

/// What of a workflow id is terminated.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pin {
    /// The chain whose first run is known, as Quell does it.
    Chain,
    /// The run that was listed, as a script does it.
    Run,
    /// Whatever runs under the id.
    Current,
}

/// What can be told about a server.
#[derive(Debug, Clone, Serialize)]
pub(super) struct About {
    pub(super) version: String,
    pub(super) store: String,
    pub(super) visibility_store: String,
    pub(super) history_shards: Option<i32>,
}

/// One namespace of a server. Where nothing else is said the SDK's own retry is on, as any program would have it.
#[derive(Clone)]
pub(super) struct Server {
    connection: Connection,
    namespace: String,
}

/// What matches a workload's open executions.
pub(super) fn open(workload_id: &str) -> String {
    format!(r#"WorkloadId = "{workload_id}" AND CloseTime IS NULL"#)
}

/// What matches a workload's closed executions.
pub(super) fn closed(workload_id: &str) -> String {
    format!(r#"WorkloadId = "{workload_id}" AND CloseTime IS NOT NULL"#)
}

fn timed<T>(mut request: Request<T>) -> Request<T> {
    request.set_timeout(CALL_TIMEOUT);
    request
}

impl Server {
    pub(super) async fn connect(address: &str, namespace: &str) -> Result<Self, Failure> {
        let with_scheme = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let url = Url::parse(&with_scheme)
            .map_err(|error| Failure::Usage(format!("{address:?} is no address of Temporal: {error}")))?;
        let connection = Connection::connect(ConnectionOptions::new(url).identity("quell-bench").build()).await;
        let connection = connection
            .map_err(|error| Failure::Other(format!("Temporal does not answer at {address}: {}", innermost(&error))))?;
        Ok(Self {
            connection,
            namespace: namespace.to_owned(),
        })
    }

    /// Version and stores; what the server does not tell stays "not told".
    pub(super) async fn about(&self) -> Result<About, Status> {
        let mut service = self.connection.workflow_service();
        let system = service.get_system_info(timed(Request::new(GetSystemInfoRequest::default())));
        let version = system.await?.into_inner().server_version;
        let cluster = service
            .get_cluster_info(timed(Request::new(GetClusterInfoRequest::default())))
            .await
            .map(tonic::Response::into_inner)
            .ok();
        let told = |text: Option<&String>| text.map_or_else(|| "not told".to_owned(), Clone::clone);
        Ok(About {
            version,
            store: told(cluster.as_ref().map(|cluster| &cluster.persistence_store)),
            visibility_store: told(cluster.as_ref().map(|cluster| &cluster.visibility_store)),
            history_shards: cluster.map(|cluster| cluster.history_shard_count),
        })
    }

    /// Starts an execution that nobody will ever work on.
    pub(super) async fn start_idle(&self, workflow_id: String, workload_id: &str) -> Result<Known, Status> {
        let tag = WORKLOAD_ID
            .try_value_set(workload_id.to_owned())
            .map_err(|error| Status::internal(error.to_string()))?;
        let request = StartWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            // The id makes a repeated call harmless.
            request_id: workflow_id.clone(),
            workflow_id: workflow_id.clone(),
            workflow_type: Some(WorkflowType { name: IDLE.to_owned() }),
            task_queue: Some(TaskQueue {
                name: IDLE.to_owned(),
                ..TaskQueue::default()
            }),
            workflow_execution_timeout: IDLE_LIFE.try_into().ok(),
            search_attributes: Some(SearchAttributes::new([tag]).into_proto()),
            ..StartWorkflowExecutionRequest::default()
        };
        let mut service = self.connection.workflow_service();
        let run_id = service
            .start_workflow_execution(timed(Request::new(request)))
            .await?
            .into_inner()
            .run_id;
        Ok(Known { workflow_id, run_id })
    }

    /// Terminates an execution. False when there was nothing open to terminate.
    pub(super) async fn terminate(&self, execution: Known, pin: Pin) -> Result<bool, Status> {
        let Known { workflow_id, run_id } = execution;
        let (run_id, first_execution_run_id) = match pin {
            Pin::Chain => (String::new(), run_id),
            Pin::Run => (run_id, String::new()),
            Pin::Current => Default::default(),
        };
        let request = TerminateWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_execution: Some(WorkflowExecution { workflow_id, run_id }),
            first_execution_run_id,
            reason: REASON.to_owned(),
            ..TerminateWorkflowExecutionRequest::default()
        };
        let mut service = self.connection.workflow_service();
        match service.terminate_workflow_execution(timed(Request::new(request))).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status),
        }
    }

    /// One page of executions, and the token of the next one (empty after the last).
    pub(super) async fn list(
        &self,
        query: String,
        token: Vec<u8>,
    ) -> Result<(Vec<WorkflowExecutionInfo>, Vec<u8>), Status> {
        let request = Request::new(self.listing(query, 1000, token));
        let mut service = self.connection.workflow_service();
        let page = service.list_workflow_executions(timed(request)).await?.into_inner();
        Ok((page.executions, page.next_page_token))
    }

    /// Whether nothing matches, by a listing of one row, without any retry.
    pub(super) async fn is_empty(&self, query: String) -> Result<bool, Status> {
        let request = no_retry(self.listing(query, 1, Vec::new()));
        let mut service = self.connection.workflow_service();
        let page = service.list_workflow_executions(timed(request)).await?.into_inner();
        Ok(page.executions.is_empty())
    }

    fn listing(&self, query: String, page_size: i32, next_page_token: Vec<u8>) -> ListWorkflowExecutionsRequest {
        ListWorkflowExecutionsRequest {
            namespace: self.namespace.clone(),
            page_size,
            next_page_token,
            query,
        }
    }

    /// How many match.
    pub(super) async fn count(&self, query: String) -> Result<usize, Status> {
        let request = CountWorkflowExecutionsRequest {
            namespace: self.namespace.clone(),
            query,
        };
        let mut service = self.connection.workflow_service();
        let answer = service.count_workflow_executions(timed(Request::new(request))).await?;
        Ok(usize::try_from(answer.into_inner().count).unwrap_or(0))
    }

    /// Whether the namespace's slot for batch operations is taken, as far as the server lists.
    pub(super) async fn batch_runs(&self) -> Result<bool, Status> {
        let request = ListBatchOperationsRequest {
            namespace: self.namespace.clone(),
            page_size: 10,
            next_page_token: Vec::new(),
        };
        let mut service = self.connection.workflow_service();
        let answer = service.list_batch_operations(timed(Request::new(request))).await?;
        let mut jobs = answer.into_inner().operation_info.into_iter();
        Ok(jobs.any(|job| job.state() == BatchOperationState::Running))
    }

    /// Starts a batch operation that terminates what matches.
    pub(super) async fn start_batch(&self, job_id: &str, query: String) -> Result<(), Status> {
        let request = StartBatchOperationRequest {
            namespace: self.namespace.clone(),
            visibility_query: query,
            job_id: job_id.to_owned(),
            reason: REASON.to_owned(),
            operation: Some(Operation::TerminationOperation(BatchOperationTermination::default())),
            ..StartBatchOperationRequest::default()
        };
        let mut service = self.connection.workflow_service();
        service.start_batch_operation(timed(Request::new(request))).await?;
        Ok(())
    }

    /// What the server tells about a batch operation.
    pub(super) async fn describe_batch(&self, job_id: &str) -> Result<DescribeBatchOperationResponse, Status> {
        let request = DescribeBatchOperationRequest {
            namespace: self.namespace.clone(),
            job_id: job_id.to_owned(),
        };
        let mut service = self.connection.workflow_service();
        let answer = service.describe_batch_operation(timed(Request::new(request))).await?;
        Ok(answer.into_inner())
    }

    /// Stops a batch operation; one that has ended or never was is left as it is.
    pub(super) async fn stop_batch(&self, job_id: &str) -> Result<(), Status> {
        let request = StopBatchOperationRequest {
            namespace: self.namespace.clone(),
            job_id: job_id.to_owned(),
            reason: REASON.to_owned(),
            ..StopBatchOperationRequest::default()
        };
        let mut service = self.connection.workflow_service();
        match service.stop_batch_operation(timed(Request::new(request))).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(status),
        }
    }
}
