//! The namespace in which executions are stopped, call by call.
//!
//! These are bare stubs: no codec, no spans (a sweep would drown its own trace), and for the calls that a machine drives no
//! retry by the SDK, so that the machine sees every answer itself.

use std::{collections::BTreeMap, time::Duration};

use quell_mesh::{NamespaceClient, no_retry, visibility::workload_tag};
use quell_sweep::{CallError, CallErrorKind, DescribeReply, PageToken, Pin, Row, StopReply};
use temporalio_client::{Client, grpc::WorkflowService};
use temporalio_common::protos::temporal::api::{
    common::v1::{Payload, SearchAttributes, WorkflowExecution, WorkflowType},
    enums::v1::{EventType, WorkflowExecutionStatus},
    history::v1::history_event::Attributes,
    taskqueue::v1::TaskQueue,
    workflow::v1::WorkflowExecutionInfo,
    workflowservice::v1::{
        CountWorkflowExecutionsRequest, DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryRequest,
        ListWorkflowExecutionsRequest, RequestCancelWorkflowExecutionRequest, StartWorkflowExecutionRequest,
        TerminateWorkflowExecutionRequest,
    },
};
use tonic::{Code, Request, Status};

use super::{
    ancestry::Ancestor,
    budget::Budget,
    convert::parts_ms,
    spec::Spec,
    status::{describe_error, stop_error},
};

/// Longest time of one call. Longer than any healthy answer, shorter than a heartbeat timeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// Rows, newest first.
    pub(crate) rows: Vec<Row>,
    /// Where to go on; unset after the last page.
    pub(crate) next: Option<PageToken>,
}

/// The namespace in which executions are stopped. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Namespace {
    client: Client,
    name: String,
    is_main: bool,
    identity: String,
    budget: Budget,
}

impl Namespace {
    /// The namespace, once its client is connected.
    ///
    /// # Errors
    /// When there is no connection within the configured wait.
    pub(super) async fn connect(
        namespace: &NamespaceClient,
        budget: Budget,
        is_main: bool,
    ) -> Result<Self, quell_mesh::Error> {
        let client = namespace.client().await?;
        let identity = client.connection().identity().to_owned();
        Ok(Self {
            client,
            name: namespace.namespace().to_owned(),
            is_main,
            identity,
            budget,
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a cancellation works in this one; without a name, as older ones are, it works in main's.
    pub(crate) fn is_of(&self, spec: &Spec) -> bool {
        spec.namespaces.contains(&self.name) || (spec.namespaces.is_empty() && self.is_main)
    }

    /// Who we are to the server.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// A bare stub.
    pub(crate) fn stub(&self) -> Box<dyn WorkflowService> {
        self.client.connection().workflow_service()
    }

    /// A request that the SDK does not repeat, with a time limit.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = no_retry(message);
        request.set_timeout(CALL_TIMEOUT);
        request
    }

    /// How many executions match; for people.
    pub(crate) async fn count(&self, query: String) -> Result<u64, Status> {
        self.budget.turn().await;
        let request = CountWorkflowExecutionsRequest {
            namespace: self.name.clone(),
            query,
        };
        let mut stub = self.stub();
        // A count is never driven by a machine: the SDK may retry it.
        let mut request = Request::new(request);
        request.set_timeout(CALL_TIMEOUT);
        let count = stub.count_workflow_executions(request).await?.into_inner().count;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// One page of what matches, newest first.
    pub(crate) async fn list(&self, query: String, page_size: i32, token: Option<PageToken>) -> Result<Page, Status> {
        let (infos, next) = self.list_infos(query, page_size, token).await?;
        Ok(Page {
            rows: infos.into_iter().map(row).collect(),
            next,
        })
    }

    /// One page of what matches, newest first, each with its task queue; and whether there are more.
    pub(crate) async fn list_queued(
        &self,
        query: String,
        page_size: i32,
    ) -> Result<(Vec<(Row, String)>, bool), Status> {
        let (infos, next) = self.list_infos(query, page_size, None).await?;
        let queued = |info: WorkflowExecutionInfo| {
            let queue = info.task_queue.clone();
            (row(info), queue)
        };
        Ok((infos.into_iter().map(queued).collect(), next.is_some()))
    }

    /// What these runs are to those that descend from them, by run id. At most one page of them.
    pub(crate) async fn ancestors(&self, query: String) -> Result<BTreeMap<String, Ancestor>, Status> {
        let (infos, _) = self.list_infos(query, 1_000, None).await?;
        let ancestor = |info: WorkflowExecutionInfo| {
            let continued = info.status() == WorkflowExecutionStatus::ContinuedAsNew;
            let row = row(info);
            let ancestor = Ancestor {
                matches: false,
                parent_run_id: row.parent_run_id,
                continued: continued.then_some(row.workflow_id),
            };
            (row.run_id, ancestor)
        };
        Ok(infos.into_iter().map(ancestor).collect())
    }

    async fn list_infos(
        &self,
        query: String,
        page_size: i32,
        token: Option<PageToken>,
    ) -> Result<(Vec<WorkflowExecutionInfo>, Option<PageToken>), Status> {
        self.budget.turn().await;
        let request = ListWorkflowExecutionsRequest {
            namespace: self.name.clone(),
            page_size,
            next_page_token: token.map(|token| token.0).unwrap_or_default(),
            query,
        };
        let mut stub = self.stub();
        let answer = stub.list_workflow_executions(self.request(request)).await?.into_inner();
        let next = Some(answer.next_page_token)
            .filter(|token| !token.is_empty())
            .map(PageToken);
        Ok((answer.executions, next))
    }

    /// The current run of a workflow id.
    pub(crate) async fn describe_current(&self, workflow_id: String) -> DescribeReply {
        self.describe(workflow_id, String::new(), is_open).await
    }

    /// One run; open, too, when it continued as new: its chain goes on.
    pub(crate) async fn describe_chain(&self, workflow_id: String, run_id: String) -> DescribeReply {
        let goes_on = |status| is_open(status) || status == WorkflowExecutionStatus::ContinuedAsNew;
        self.describe(workflow_id, run_id, goes_on).await
    }

    async fn describe(
        &self,
        workflow_id: String,
        run_id: String,
        counts_as_open: impl Fn(WorkflowExecutionStatus) -> bool,
    ) -> DescribeReply {
        match self.execution(workflow_id, run_id).await {
            Ok(Some(info)) => match WorkflowExecutionStatus::try_from(info.status) {
                Ok(status) if counts_as_open(status) => {
                    let first_run_id = info.first_run_id.clone();
                    let row = row(info);
                    let first_run_id = if first_run_id.is_empty() {
                        row.run_id.clone()
                    } else {
                        first_run_id
                    };
                    DescribeReply::Open { row, first_run_id }
                }
                Ok(status) if status != WorkflowExecutionStatus::Unspecified => DescribeReply::Closed,
                // A status of a newer server is not taken for closed: that could hide something alive.
                _ => DescribeReply::Error(CallError {
                    kind: CallErrorKind::Permanent,
                    reason: format!("has a status that this version does not know ({})", info.status),
                }),
            },
            Ok(None) => DescribeReply::Absent,
            Err(status) => describe_error(&status),
        }
    }

    async fn execution(&self, workflow_id: String, run_id: String) -> Result<Option<WorkflowExecutionInfo>, Status> {
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.name.clone(),
            execution: Some(WorkflowExecution { workflow_id, run_id }),
        };
        let mut stub = self.stub();
        Ok(stub
            .describe_workflow_execution(self.request(request))
            .await?
            .into_inner()
            .workflow_execution_info)
    }

    /// First run id of the chain that a run belongs to; `None` when the server does not know the run (any more).
    pub(crate) async fn first_run(&self, workflow_id: String, run_id: String) -> Result<Option<String>, Status> {
        match self.execution(workflow_id, run_id).await {
            Ok(info) => Ok(info.map(|info| info.first_run_id).filter(|id| !id.is_empty())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Terminates a chain: an empty run id, pinned by its first run.
    pub(crate) async fn stop(&self, pin: Pin, reason: String) -> StopReply {
        let request = TerminateWorkflowExecutionRequest {
            namespace: self.name.clone(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: pin.workflow_id,
                run_id: String::new(),
            }),
            first_execution_run_id: pin.first_run_id,
            reason,
            identity: self.identity.clone(),
            ..TerminateWorkflowExecutionRequest::default()
        };
        let mut stub = self.stub();
        match stub.terminate_workflow_execution(self.request(request)).await {
            Ok(_) => StopReply::Stopped,
            Err(status) => stop_error(&status),
        }
    }

    /// Asks a chain to end: an empty run id, pinned by its first run. A second request does nothing to a run that was asked before,
    /// and to one that is closed the server says yes as well: asked is not open.
    pub(crate) async fn ask(&self, pin: Pin, reason: String) -> StopReply {
        let request = RequestCancelWorkflowExecutionRequest {
            namespace: self.name.clone(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: pin.workflow_id,
                run_id: String::new(),
            }),
            first_execution_run_id: pin.first_run_id,
            reason,
            identity: self.identity.clone(),
            ..RequestCancelWorkflowExecutionRequest::default()
        };
        let mut stub = self.stub();
        match stub.request_cancel_workflow_execution(self.request(request)).await {
            Ok(_) => StopReply::Stopped,
            Err(status) => stop_error(&status),
        }
    }

    /// Starts a canary: an execution that nobody works on, and that ends by itself after a minute.
    pub(crate) async fn start_canary(&self, workflow_id: String, workload_id: Option<&str>) -> Result<(), Status> {
        let mut fields = std::collections::HashMap::new();
        if let Some(id) = workload_id {
            fields.insert("WorkloadId".to_owned(), keyword(id));
        }
        let request = StartWorkflowExecutionRequest {
            namespace: self.name.clone(),
            // The id makes a lost reply harmless: the server calls the repeated request done.
            request_id: workflow_id.clone(),
            workflow_id,
            workflow_type: Some(WorkflowType {
                name: CANARY_TYPE.to_owned(),
            }),
            task_queue: Some(TaskQueue {
                name: CANARY_QUEUE.to_owned(),
                ..TaskQueue::default()
            }),
            workflow_execution_timeout: CANARY_LIFE.try_into().ok(),
            identity: self.identity.clone(),
            search_attributes: (!fields.is_empty()).then_some(SearchAttributes { indexed_fields: fields }),
            ..StartWorkflowExecutionRequest::default()
        };
        let mut stub = self.stub();
        stub.start_workflow_execution(self.request(request)).await?;
        Ok(())
    }

    /// When an execution started, by the server's clock; `None` when it is unknown.
    pub(crate) async fn start_ms(&self, workflow_id: String) -> Result<Option<u64>, Status> {
        let info = self.execution(workflow_id, String::new()).await?;
        Ok(info
            .and_then(|info| info.start_time)
            .map(|time| parts_ms(time.seconds, time.nanos)))
    }

    /// Identity of the caller that started a run; empty where the history does not say.
    pub(crate) async fn starter_identity(&self, workflow_id: String, run_id: String) -> Result<String, Status> {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: self.name.clone(),
            execution: Some(WorkflowExecution { workflow_id, run_id }),
            maximum_page_size: 1,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let mut stub = self.stub();
        let history = stub
            .get_workflow_execution_history(self.request(request))
            .await?
            .into_inner()
            .history;
        let first = history.and_then(|history| history.events.into_iter().next());
        Ok(match first {
            Some(event) if event.event_type() == EventType::WorkflowExecutionStarted => match event.attributes {
                Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => started.identity,
                _ => String::new(),
            },
            _ => String::new(),
        })
    }
}

/// Workflow type of canaries.
const CANARY_TYPE: &str = "quell.Canary";
/// Their task queue, which nobody polls.
const CANARY_QUEUE: &str = "quell-canary";
/// Their execution timeout: one that we lose ends by itself.
const CANARY_LIFE: Duration = Duration::from_secs(60);

/// Whether a status means open: Running, or Paused (which older servers do not know).
fn is_open(status: WorkflowExecutionStatus) -> bool {
    matches!(
        status,
        WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused
    )
}

/// A keyword as the server wants it.
fn keyword(value: &str) -> Payload {
    Payload {
        metadata: [
            ("encoding".to_owned(), b"json/plain".to_vec()),
            ("type".to_owned(), b"Keyword".to_vec()),
        ]
        .into(),
        data: serde_json::Value::from(value).to_string().into_bytes(),
        ..Default::default()
    }
}

/// A listed or described execution as the machines know it.
fn row(info: WorkflowExecutionInfo) -> Row {
    let workload_id = workload_tag(info.search_attributes);
    let execution = info.execution.unwrap_or_default();
    let root = info.root_execution.unwrap_or_default();
    let parent = info.parent_execution.unwrap_or_default();
    Row {
        workflow_id: execution.workflow_id,
        run_id: execution.run_id,
        workflow_type: info.r#type.map(|r#type| r#type.name).unwrap_or_default(),
        start_ms: info.start_time.map_or(0, |time| parts_ms(time.seconds, time.nanos)),
        root_workflow_id: root.workflow_id,
        root_run_id: root.run_id,
        parent_workflow_id: Some(parent.workflow_id).filter(|id| !id.is_empty()),
        parent_run_id: Some(parent.run_id).filter(|id| !id.is_empty()),
        workload_id,
        descends: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_carries_its_tag_however_the_store_writes_it() {
        for data in ["\"1\"", "[\"1\"]"] {
            let mut payload = keyword("x");
            payload.data = data.as_bytes().to_vec();
            let info = WorkflowExecutionInfo {
                search_attributes: Some(SearchAttributes {
                    indexed_fields: [("WorkloadId".to_owned(), payload)].into(),
                }),
                ..WorkflowExecutionInfo::default()
            };
            assert_eq!(row(info).workload_id.as_deref(), Some("1"), "{data}");
        }
        assert_eq!(keyword("a\"b").data, b"\"a\\\"b\"");
        assert_eq!(row(WorkflowExecutionInfo::default()), Row::default());
    }

    #[test]
    fn paused_is_open() {
        assert!(is_open(WorkflowExecutionStatus::Running) && is_open(WorkflowExecutionStatus::Paused));
        assert!(!is_open(WorkflowExecutionStatus::Terminated) && !is_open(WorkflowExecutionStatus::ContinuedAsNew));
    }
}
