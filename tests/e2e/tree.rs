//! Trees of executions that tests grow by hand: each has a task queue of its own, on which the test is its worker.

use crate::{
    harness::Shared,
    poll::{SOON, eventually, when},
};
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::{
    command::v1::{
        Command, ContinueAsNewWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
        command::Attributes,
    },
    common::v1::{Payload, SearchAttributes, WorkflowType},
    enums::v1::{CommandType, ParentClosePolicy},
    taskqueue::v1::TaskQueue,
    workflowservice::v1::{
        PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionRequest,
    },
};
use tonic::IntoRequest as _;

/// An execution of such a tree.
pub(crate) struct Node<'a> {
    /// Workflow id, and task queue.
    pub id: String,
    workflow_type: &'a str,
    /// Its WorkloadId.
    tag: Option<&'a str>,
}

pub(crate) fn node<'a>(id: &str, workflow_type: &'a str, tag: Option<&'a str>) -> Node<'a> {
    Node {
        id: id.to_owned(),
        workflow_type,
        tag,
    }
}

impl Node<'_> {
    fn workflow_type(&self) -> Option<WorkflowType> {
        Some(WorkflowType {
            name: self.workflow_type.to_owned(),
        })
    }

    fn queue(&self) -> Option<TaskQueue> {
        Some(TaskQueue {
            name: self.id.clone(),
            ..TaskQueue::default()
        })
    }

    fn attributes(&self) -> Option<SearchAttributes> {
        let payload = Payload {
            metadata: [
                ("encoding".to_owned(), b"json/plain".to_vec()),
                ("type".to_owned(), b"Keyword".to_vec()),
            ]
            .into(),
            data: serde_json::to_vec(self.tag?).expect("a string is JSON"),
            ..Payload::default()
        };
        Some(SearchAttributes {
            indexed_fields: [("WorkloadId".to_owned(), payload)].into(),
        })
    }

    /// Starts it.
    pub(crate) async fn start(&self, client: &Client) {
        let request = StartWorkflowExecutionRequest {
            namespace: "main".to_owned(),
            workflow_id: self.id.clone(),
            workflow_type: self.workflow_type(),
            task_queue: self.queue(),
            request_id: self.id.clone(),
            search_attributes: self.attributes(),
            ..Default::default()
        };
        let mut service = client.connection().workflow_service();
        service
            .start_workflow_execution(request.into_request())
            .await
            .expect("it starts");
    }

    /// Starts children that outlive it: as its worker would, in its first workflow task.
    pub(crate) async fn spawn(&self, client: &Client, children: &[&Node<'_>]) {
        let commands = children.iter().map(|child| Command {
            command_type: CommandType::StartChildWorkflowExecution.into(),
            attributes: Some(Attributes::StartChildWorkflowExecutionCommandAttributes(
                StartChildWorkflowExecutionCommandAttributes {
                    workflow_id: child.id.clone(),
                    workflow_type: child.workflow_type(),
                    task_queue: child.queue(),
                    parent_close_policy: ParentClosePolicy::Abandon.into(),
                    search_attributes: child.attributes(),
                    ..Default::default()
                },
            )),
            ..Default::default()
        });
        self.answer(client, commands.collect()).await;
    }

    /// Continues as new, once its children are started.
    pub(crate) async fn continue_as_new(&self, client: &Client) {
        let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
            workflow_type: self.workflow_type(),
            task_queue: self.queue(),
            search_attributes: self.attributes(),
            ..Default::default()
        };
        let command = Command {
            command_type: CommandType::ContinueAsNewWorkflowExecution.into(),
            attributes: Some(Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(attributes)),
            ..Default::default()
        };
        self.answer(client, vec![command]).await;
    }

    /// Answers its next workflow task, as its worker would.
    async fn answer(&self, client: &Client, commands: Vec<Command>) {
        let poll = PollWorkflowTaskQueueRequest {
            namespace: "main".to_owned(),
            task_queue: self.queue(),
            identity: "e2e".to_owned(),
            ..Default::default()
        };
        let mut service = client.connection().workflow_service();
        // A poll may end without a task, before the server has made it.
        let task_token = eventually(SOON, "its task comes", async || {
            let answer = service.poll_workflow_task_queue(poll.clone().into_request()).await;
            let token = answer.map_err(|status| status.to_string())?.into_inner().task_token;
            when(!token.is_empty(), || "no task".to_owned())?;
            Ok(token)
        })
        .await;
        let done = RespondWorkflowTaskCompletedRequest {
            namespace: "main".to_owned(),
            task_token,
            identity: "e2e".to_owned(),
            commands,
            ..Default::default()
        };
        service
            .respond_workflow_task_completed(done.into_request())
            .await
            .expect("its commands are taken");
    }
}

impl Shared {
    /// Waits until the index has all of them open.
    pub(crate) async fn wait_open(&self, ids: &[&str]) {
        eventually(SOON, "the tree is in the index", async || {
            let mut missing = Vec::new();
            for id in ids {
                if self.count(&format!("WorkflowId=\"{id}\" AND CloseTime IS NULL")).await != 1 {
                    missing.push(*id);
                }
            }
            when(missing.is_empty(), || format!("without {missing:?}"))
        })
        .await;
    }
}

impl Shared {
    /// Terminates what a test has left open.
    pub(crate) async fn tidy(&self, nodes: &[&Node<'_>]) {
        for node in nodes {
            self.temporal_in("main", &["workflow", "terminate", "--workflow-id", &node.id])
                .await
                .ok();
        }
    }
}
