//! Calls of the namespace in which executions are restored. Each is tried again while its failure passes.

use std::{future::Future, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use quell_sweep::{CallErrorKind, DescribeReply};
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution,
    enums::v1::{ParentClosePolicy, WorkflowExecutionStatus},
    history::v1::{HistoryEvent, history_event::Attributes},
    workflowservice::v1::{
        DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryReverseRequest, ListWorkflowExecutionsRequest,
        ResetWorkflowExecutionRequest,
    },
};
use tonic::{Code, Status};

use crate::cancellation::{
    convert::parts_ms,
    namespace::Namespace,
    status::{call_error, describe_error},
};
/// Events of one page of a history.
const PAGE: i32 = 100;

/// An execution as the server describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) run_id: String,
    pub(super) first_run_id: String,
    pub(super) workflow_type: String,
    pub(super) status: WorkflowExecutionStatus,
    /// When it ended, in milliseconds since the epoch; 0 while it runs.
    pub(super) close_ms: u64,
    /// When the run was made by a reset, in milliseconds since the epoch; 0 when it was not.
    pub(super) reset_ms: u64,
    pub(super) parent: Option<Parent>,
    /// Children that it waits for, or waited for when it ended.
    pub(super) children: Vec<Child>,
}

/// The parent that started an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) workflow_id: String,
    /// The run that started it.
    pub(super) run_id: String,
}

/// A child that an execution waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) workflow_id: String,
    /// First run of its chain.
    pub(super) first_run_id: String,
    /// The parent's event that started it.
    pub(super) initiated_id: i64,
    /// Whether the server terminates it with its parent.
    pub(super) cascades: bool,
}

/// How a run ended, and where it can go back to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ending {
    /// Why it was terminated; `None` when it was not.
    pub(super) terminated: Option<String>,
    /// The last completed workflow task before any request to cancel that came with the cancellation; where there is none, the end of
    /// the last scheduled one. `None` when it had no task at all.
    pub(super) event_id: Option<i64>,
    /// Its last completed workflow task, whatever came before it.
    pub(super) last: Option<i64>,
    /// Whether a request to cancel came with the cancellation.
    pub(super) asked: bool,
    /// Whether it started a child after that event, or heard of the end of one.
    pub(super) met_child: bool,
}

/// Tries a call again while it is throttled or fails in passing.
async fn persist<T, F: Future<Output = Result<T, Status>>>(call: impl FnMut() -> F) -> Result<T, Status> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(4))
        .with_max_times(8)
        .with_jitter();
    call.retry(pauses)
        .when(|status: &Status| call_error(status).kind != CallErrorKind::Permanent)
        .await
}

impl Namespace {
    /// The current run of a workflow id; `None` when the server does not know it (any more).
    pub(super) async fn current(&self, workflow_id: &str) -> Result<Option<Described>, Status> {
        let describe = || async {
            let request = DescribeWorkflowExecutionRequest {
                namespace: self.name().to_owned(),
                execution: Some(execution(workflow_id, "")),
            };
            let mut stub = self.stub();
            stub.describe_workflow_execution(self.request(request)).await
        };
        let answer = match persist(describe).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if describe_error(&status) == DescribeReply::Absent => return Ok(None),
            Err(status) => return Err(status),
        };
        let info = answer.workflow_execution_info.unwrap_or_default();
        let status = info.status();
        let run_id = info.execution.unwrap_or_default().run_id;
        let extended = answer.workflow_extended_info.unwrap_or_default();
        let children = answer.pending_children.into_iter().map(|child| Child {
            cascades: child.parent_close_policy() == ParentClosePolicy::Terminate,
            workflow_id: child.workflow_id,
            first_run_id: child.run_id,
            initiated_id: child.initiated_id,
        });
        Ok(Some(Described {
            first_run_id: Some(info.first_run_id)
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| run_id.clone()),
            run_id,
            workflow_type: info.r#type.map(|r#type| r#type.name).unwrap_or_default(),
            status,
            close_ms: info.close_time.map_or(0, |time| parts_ms(time.seconds, time.nanos)),
            reset_ms: extended
                .last_reset_time
                .map_or(0, |time| parts_ms(time.seconds, time.nanos)),
            parent: info
                .parent_execution
                .filter(|parent| !parent.workflow_id.is_empty())
                .map(|parent| Parent {
                    workflow_id: parent.workflow_id,
                    run_id: parent.run_id,
                }),
            // One that has not begun has nothing to be restored.
            children: children.filter(|child| !child.first_run_id.is_empty()).collect(),
        }))
    }

    /// How a closed run ended, and its last completed workflow task. `since_ms` is when the cancellation began.
    pub(super) async fn ending(&self, workflow_id: &str, run_id: &str, since_ms: u64) -> Result<Ending, Status> {
        let mut reader = EndingReader::new(since_ms);
        let mut token = Vec::new();
        loop {
            let page = || async {
                let request = GetWorkflowExecutionHistoryReverseRequest {
                    namespace: self.name().to_owned(),
                    execution: Some(execution(workflow_id, run_id)),
                    maximum_page_size: PAGE,
                    next_page_token: token.clone(),
                };
                let mut stub = self.stub();
                stub.get_workflow_execution_history_reverse(self.request(request)).await
            };
            let answer = persist(page).await?.into_inner();
            let events = answer.history.unwrap_or_default().events;
            if reader.read(&events) || answer.next_page_token.is_empty() {
                return Ok(reader.finish());
            }
            token = answer.next_page_token;
        }
    }

    /// Makes a new run that goes on from that event. Signals and updates that came later come to it again; requests to cancel do
    /// not. The same request id makes no second one, as long as the run that it made is the current one.
    pub(super) async fn reset(
        &self,
        workflow_id: &str,
        run_id: &str,
        event_id: i64,
        request_id: &str,
        reason: &str,
    ) -> Result<(), Status> {
        let reset = || async {
            let request = ResetWorkflowExecutionRequest {
                namespace: self.name().to_owned(),
                workflow_execution: Some(execution(workflow_id, run_id)),
                reason: reason.to_owned(),
                workflow_task_finish_event_id: event_id,
                request_id: request_id.to_owned(),
                identity: self.identity().to_owned(),
                ..ResetWorkflowExecutionRequest::default()
            };
            let mut stub = self.stub();
            stub.reset_workflow_execution(self.request(request)).await
        };
        persist(reset).await.map(drop)
    }

    /// One page of executions that match: workflow id and run id.
    pub(super) async fn matching(
        &self,
        query: &str,
        token: Vec<u8>,
    ) -> Result<(Vec<(String, String)>, Vec<u8>), Status> {
        let list = || async {
            let request = ListWorkflowExecutionsRequest {
                namespace: self.name().to_owned(),
                page_size: 1_000,
                next_page_token: token.clone(),
                query: query.to_owned(),
            };
            let mut stub = self.stub();
            stub.list_workflow_executions(self.request(request)).await
        };
        let answer = persist(list).await?.into_inner();
        let rows = answer.executions.into_iter().filter_map(|info| info.execution);
        let rows = rows.map(|execution| (execution.workflow_id, execution.run_id));
        Ok((rows.collect(), answer.next_page_token))
    }
}

fn execution(workflow_id: &str, run_id: &str) -> WorkflowExecution {
    WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    }
}

/// Whether a refusal says that the run to go back to is not there any more.
pub(super) fn is_gone(status: &Status) -> bool {
    status.code() == Code::NotFound
}

/// Reads a history from its end.
struct EndingReader {
    since_ms: u64,
    first: bool,
    ending: Ending,
    /// Where it can go back to without a completed task.
    scheduled: Option<i64>,
    /// Its last event that is about a child.
    child: i64,
}

impl EndingReader {
    fn new(since_ms: u64) -> Self {
        Self {
            since_ms,
            first: true,
            ending: Ending::default(),
            scheduled: None,
            child: 0,
        }
    }

    /// Takes in events, the newest first; tells whether that is enough.
    fn read(&mut self, events: &[HistoryEvent]) -> bool {
        for event in events {
            if std::mem::take(&mut self.first)
                && let Some(Attributes::WorkflowExecutionTerminatedEventAttributes(terminated)) = &event.attributes
            {
                self.ending.terminated = Some(terminated.reason.clone());
            }
            let at_ms = event.event_time.map_or(0, |time| parts_ms(time.seconds, time.nanos));
            match &event.attributes {
                // A request to cancel that the execution has heard is undone with it.
                Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(_)) if at_ms >= self.since_ms => {
                    self.ending.asked = true;
                    self.ending.event_id = None;
                    self.scheduled = None;
                }
                Some(
                    Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(_)
                    | Attributes::ChildWorkflowExecutionCompletedEventAttributes(_)
                    | Attributes::ChildWorkflowExecutionFailedEventAttributes(_)
                    | Attributes::ChildWorkflowExecutionCanceledEventAttributes(_)
                    | Attributes::ChildWorkflowExecutionTimedOutEventAttributes(_)
                    | Attributes::ChildWorkflowExecutionTerminatedEventAttributes(_),
                ) => self.child = self.child.max(event.event_id),
                Some(Attributes::WorkflowTaskScheduledEventAttributes(_)) => {
                    self.scheduled = self.scheduled.or(Some(event.event_id + 1));
                }
                Some(Attributes::WorkflowTaskCompletedEventAttributes(_)) => {
                    let Ending { event_id, last, .. } = &mut self.ending;
                    last.get_or_insert(event.event_id);
                    event_id.get_or_insert(event.event_id);
                }
                _ => {}
            }
            if self.ending.event_id.is_some() && at_ms < self.since_ms {
                return true;
            }
        }
        false
    }

    fn finish(self) -> Ending {
        let event_id = self.ending.event_id.or(self.scheduled);
        Ending {
            event_id,
            met_child: event_id.is_some_and(|event_id| self.child > event_id),
            ..self.ending
        }
    }
}

#[cfg(test)]
mod tests;
