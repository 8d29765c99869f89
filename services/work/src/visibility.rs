//! Bare calls of Temporal: no codec, no spans. Polls and looks belong here, or every trace drowns in them.

use quell_mesh::{Error, NamespaceClient, no_retry};
use temporalio_common::{
    protos::temporal::api::{
        common::v1::{Payload, WorkflowExecution},
        enums::v1::WorkflowExecutionStatus,
        workflow::v1::WorkflowExecutionInfo,
        workflowservice::v1::{
            CountWorkflowExecutionsRequest, CountWorkflowExecutionsResponse, DescribeWorkflowExecutionRequest,
            ListWorkflowExecutionsRequest,
        },
    },
    search_attributes::{SearchAttributeKey, SearchAttributes},
};

/// The search attribute by which a workload is found.
pub const WORKLOAD: SearchAttributeKey<String> = SearchAttributeKey::keyword("WorkloadId");

/// One execution, as Describe or a list shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Execution {
    /// Workflow id.
    pub workflow_id: String,
    /// Run id.
    pub run_id: String,
    /// Workflow type.
    pub workflow_type: String,
    /// Status as Temporal names it: `Running`, `Completed`, ...
    pub status: &'static str,
    /// Whether it is open (Running or Paused).
    pub open: bool,
    /// Start of the run.
    pub start_time: Option<prost_types::Timestamp>,
    /// End of the run; none while it is open.
    pub close_time: Option<prost_types::Timestamp>,
    /// When the server will time it out; only from Describe, and only when it has such a limit.
    pub expires_at: Option<prost_types::Timestamp>,
    /// Its WorkloadId; empty when it has none.
    pub workload_id: String,
    /// The memo, undecoded.
    memo: std::collections::HashMap<String, Payload>,
}

impl Execution {
    /// A memo value that was written as JSON, if it is there and readable.
    #[must_use]
    pub fn memo<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(&self.memo.get(key)?.data).ok()
    }

    fn new(info: WorkflowExecutionInfo) -> Self {
        let execution = info.execution.unwrap_or_default();
        let status = WorkflowExecutionStatus::try_from(info.status).unwrap_or(WorkflowExecutionStatus::Unspecified);
        Self {
            workflow_id: execution.workflow_id,
            run_id: execution.run_id,
            workflow_type: info.r#type.map(|kind| kind.name).unwrap_or_default(),
            status: status_name(status),
            open: matches!(
                status,
                WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused
            ),
            start_time: info.start_time.map(|at| timestamp(at.seconds, at.nanos)),
            close_time: info.close_time.map(|at| timestamp(at.seconds, at.nanos)),
            expires_at: None,
            workload_id: info
                .search_attributes
                .as_ref()
                .and_then(|attributes| SearchAttributes::from_proto(attributes).get(&WORKLOAD))
                .unwrap_or_default(),
            memo: info.memo.map(|memo| memo.fields).unwrap_or_default(),
        }
    }
}

/// The SDK's protos have a time of their own, whose crate is not ours to name.
fn timestamp(seconds: i64, nanos: i32) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos }
}

fn status_name(status: WorkflowExecutionStatus) -> &'static str {
    match status {
        WorkflowExecutionStatus::Unspecified => "Unspecified",
        WorkflowExecutionStatus::Running => "Running",
        WorkflowExecutionStatus::Completed => "Completed",
        WorkflowExecutionStatus::Failed => "Failed",
        WorkflowExecutionStatus::Canceled => "Canceled",
        WorkflowExecutionStatus::Terminated => "Terminated",
        WorkflowExecutionStatus::ContinuedAsNew => "ContinuedAsNew",
        WorkflowExecutionStatus::TimedOut => "TimedOut",
        WorkflowExecutionStatus::Paused => "Paused",
    }
}

/// The current run of a workflow id, or `None` when Temporal does not know it. Strongly consistent.
///
/// # Errors
/// Temporal's, translated.
pub async fn describe(main: &NamespaceClient, workflow_id: &str) -> Result<Option<Execution>, Error> {
    describe_run(main, workflow_id, "").await
}

/// One run of a workflow id (the current one when `run_id` is empty), or `None` when Temporal does not know it. Strongly
/// consistent.
///
/// # Errors
/// Temporal's, translated.
pub async fn describe_run(main: &NamespaceClient, workflow_id: &str, run_id: &str) -> Result<Option<Execution>, Error> {
    let request = DescribeWorkflowExecutionRequest {
        namespace: main.namespace().to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            run_id: run_id.to_owned(),
        }),
    };
    let answer = main.read(request, async |mut stub, request| {
        stub.describe_workflow_execution(tonic::Request::new(request)).await
    });
    match answer.await?.map_err(Error::from) {
        Ok(answer) => {
            let mut execution = Execution::new(answer.workflow_execution_info.unwrap_or_default());
            execution.expires_at = answer
                .workflow_extended_info
                .and_then(|more| more.execution_expiration_time)
                .map(|at| timestamp(at.seconds, at.nanos));
            Ok(Some(execution))
        }
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn count_rows(main: &NamespaceClient, query: String) -> Result<CountWorkflowExecutionsResponse, Error> {
    let request = CountWorkflowExecutionsRequest {
        namespace: main.namespace().to_owned(),
        query,
    };
    // Visibility has a rate limit of its own; whoever looks again and again does not want a late answer to an old question.
    let answer = main.read(request, async |mut stub, request| {
        stub.count_workflow_executions(no_retry(request)).await
    });
    Ok(answer.await??)
}

/// How many executions match. Eventually consistent.
///
/// # Errors
/// Temporal's, translated.
pub async fn count(main: &NamespaceClient, query: String) -> Result<i64, Error> {
    Ok(count_rows(main, query).await?.count)
}

/// How many executions match, by status. Eventually consistent.
///
/// # Errors
/// Temporal's, translated.
pub async fn count_by_status(main: &NamespaceClient, query: &str) -> Result<Vec<(String, i64)>, Error> {
    let answer = count_rows(main, format!("{query} GROUP BY ExecutionStatus")).await?;
    let mut counts: Vec<(String, i64)> = answer
        .groups
        .into_iter()
        .filter_map(|group| {
            let status = serde_json::from_slice(&group.group_values.first()?.data).ok()?;
            Some((status, group.count))
        })
        .collect();
    counts.sort_unstable();
    Ok(counts)
}

/// One page of executions and the token of the next page (empty after the last).
///
/// # Errors
/// Temporal's, translated.
pub async fn list(
    main: &NamespaceClient,
    query: String,
    page_size: i32,
    page_token: Vec<u8>,
) -> Result<(Vec<Execution>, Vec<u8>), Error> {
    let request = ListWorkflowExecutionsRequest {
        namespace: main.namespace().to_owned(),
        page_size,
        next_page_token: page_token,
        query,
    };
    let answer = main.read(request, async |mut stub, request| {
        stub.list_workflow_executions(tonic::Request::new(request)).await
    });
    let page = answer.await??;
    Ok((
        page.executions.into_iter().map(Execution::new).collect(),
        page.next_page_token,
    ))
}
