//! The executions that operations work on, one by one: listed, described, and asked whether a signal came. For samples, for the
//! measurement of progress, and for the look for survivors.

use super::{action::Execution, job::Moment, server::TemporalServer};
use quell_mesh::{Marks, error::Error, visibility::workload_tag};
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution,
    enums::v1::WorkflowExecutionStatus,
    history::v1::{HistoryEvent, history_event::Attributes},
    workflow::v1::WorkflowExecutionInfo,
    workflowservice::v1::{
        DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryReverseRequest, ListWorkflowExecutionsRequest,
    },
};

/// Events that are looked at, from the end, for a signal. What is older than the job ends the look before.
const EVENTS: i32 = 100;
/// Pages of them.
const EVENT_PAGES: usize = 10;

/// An execution of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) execution: Execution,
    pub(crate) workflow_type: String,
    pub(crate) start: Option<Moment>,
    pub(crate) root_workflow_id: String,
}

/// An execution as Describe tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) row: Row,
    /// By what it may be protected.
    pub(crate) marks: Marks,
    /// Running or Paused.
    pub(crate) open: bool,
    /// Events.
    pub(crate) history_length: i64,
    /// Whether its cancellation was requested.
    pub(crate) cancel_requested: bool,
    /// When the chain was reset last.
    pub(crate) last_reset: Option<Moment>,
    /// Whether a reset has put another run in its place.
    pub(crate) was_reset: bool,
}

/// A signal that is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Who must have sent it.
    pub(crate) identity: &'a str,
    /// When, at the earliest.
    pub(crate) since: Moment,
}

/// What is asked about executions.
#[async_trait::async_trait]
pub(crate) trait Executions: Send + Sync + 'static {
    /// A page of what matches, newest first, and the token of the next one.
    async fn rows(&self, query: &str, page_size: i32, token: Vec<u8>) -> Result<(Vec<Row>, Vec<u8>), Error>;
    /// One execution, if there is one.
    async fn look(&self, execution: &Execution) -> Result<Option<Seen>, Error>;
    /// Whether a signal came to it.
    async fn was_signalled(&self, execution: &Execution, signal: Sought<'_>) -> Result<bool, Error>;
}

#[async_trait::async_trait]
impl Executions for TemporalServer {
    async fn rows(&self, query: &str, page_size: i32, token: Vec<u8>) -> Result<(Vec<Row>, Vec<u8>), Error> {
        let request = ListWorkflowExecutionsRequest {
            namespace: self.name(),
            page_size,
            next_page_token: token,
            query: query.to_owned(),
        };
        let answer = self.read(request, async |mut stub, request| {
            stub.list_workflow_executions(request).await
        });
        let answer = answer.await??;
        Ok((
            answer.executions.into_iter().map(Row::of).collect(),
            answer.next_page_token,
        ))
    }

    async fn look(&self, execution: &Execution) -> Result<Option<Seen>, Error> {
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.name(),
            execution: Some(proto(execution)),
        };
        let answer = self.read(request, async |mut stub, request| {
            stub.describe_workflow_execution(request).await
        });
        let answer = match answer.await? {
            Ok(answer) => answer,
            Err(status) => {
                return match Error::from(status) {
                    Error::NotFound { .. } => Ok(None),
                    error => Err(error),
                };
            }
        };
        let Some(info) = answer.workflow_execution_info else {
            return Ok(None);
        };
        let more = answer.workflow_extended_info.unwrap_or_default();
        Ok(Some(Seen {
            open: matches!(
                info.status(),
                WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused
            ),
            history_length: info.history_length,
            cancel_requested: more.cancel_requested,
            last_reset: more.last_reset_time.map(|time| Moment::new(time.seconds, time.nanos)),
            was_reset: !more.reset_run_id.is_empty(),
            marks: Marks {
                workflow_type: info.r#type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default(),
                workload_id: workload_tag(info.search_attributes.clone()).unwrap_or_default(),
                task_queue: info.task_queue.clone(),
            },
            row: Row::of(info),
        }))
    }

    async fn was_signalled(&self, execution: &Execution, signal: Sought<'_>) -> Result<bool, Error> {
        let mut token = Vec::new();
        for _ in 0..EVENT_PAGES {
            let request = GetWorkflowExecutionHistoryReverseRequest {
                namespace: self.name(),
                execution: Some(proto(execution)),
                maximum_page_size: EVENTS,
                next_page_token: token,
            };
            let answer = self.read(request, async |mut stub, request| {
                stub.get_workflow_execution_history_reverse(request).await
            });
            let answer = answer.await??;
            for event in answer.history.map(|history| history.events).unwrap_or_default() {
                if is_older(&event, signal.since) {
                    return Ok(false);
                }
                if is_sought(&event, signal) {
                    return Ok(true);
                }
            }
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Ok(false)
    }
}

impl Row {
    fn of(info: WorkflowExecutionInfo) -> Self {
        let execution = info.execution.unwrap_or_default();
        Self {
            execution: Execution {
                workflow_id: execution.workflow_id,
                run_id: execution.run_id,
            },
            workflow_type: info.r#type.map(|r#type| r#type.name).unwrap_or_default(),
            start: info.start_time.map(|time| Moment::new(time.seconds, time.nanos)),
            root_workflow_id: info.root_execution.map(|root| root.workflow_id).unwrap_or_default(),
        }
    }

    /// As the contract names it.
    pub(crate) fn proto(self) -> quell_api::r#type::v1::ExecutionRef {
        quell_api::r#type::v1::ExecutionRef {
            workflow_id: self.execution.workflow_id,
            run_id: self.execution.run_id,
            workflow_type: self.workflow_type,
            start_time: self.start.map(Moment::proto),
            root_workflow_id: self.root_workflow_id,
        }
    }
}

fn is_older(event: &HistoryEvent, since: Moment) -> bool {
    event
        .event_time
        .as_ref()
        .is_some_and(|time| Moment::new(time.seconds, time.nanos) < since)
}

fn is_sought(event: &HistoryEvent, signal: Sought<'_>) -> bool {
    matches!(
        &event.attributes,
        Some(Attributes::WorkflowExecutionSignaledEventAttributes(came))
            if came.signal_name == signal.name && came.identity == signal.identity
    )
}

fn proto(execution: &Execution) -> WorkflowExecution {
    WorkflowExecution {
        workflow_id: execution.workflow_id.clone(),
        run_id: execution.run_id.clone(),
    }
}
