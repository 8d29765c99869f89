//! The test's own mesh, and what Temporal says of its executions.

use super::{AT_ONCE, EACH, protected::PROTECTED};
use crate::{
    harness::{Mesh, channel},
    outside::start_one,
    poll::{LONG, SOON, eventually, when},
};
use futures::{StreamExt as _, TryStreamExt as _};
use quell_api::batch::v1::{
    BatchOperation, GetBatchOperationRequest, ListSurvivorsRequest, StartBatchOperationRequest, Survivor,
    batch_operation_service_client::BatchOperationServiceClient,
};
use quell_cli::dev::{DevMesh, Part};
use std::collections::BTreeMap;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, Url};
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution,
    enums::v1::WorkflowExecutionStatus,
    history::v1::history_event::Attributes,
    workflowservice::v1::{
        DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse, GetWorkflowExecutionHistoryRequest,
        ListWorkflowExecutionsRequest,
    },
};
use tonic::{Code, IntoRequest as _, transport::Channel};

/// A mesh of the test's own: Temporal, work, batch.
pub(super) struct Own {
    pub(super) dev: DevMesh,
    pub(super) client: Client,
    pub(super) batches: BatchOperationServiceClient<Channel>,
}

impl Own {
    pub(super) async fn start(mesh: &Mesh, name: &str, dynamic: &[&str]) -> Self {
        let mut builder = DevMesh::builder()
            .binaries(mesh.binaries())
            .folder(mesh.folder(name))
            .services([Part::Work, Part::Batch]);
        // Not only for what is refused: each operation must do the same with the conditions that leave it out.
        for (setting, value) in PROTECTED {
            builder = builder.env_of(Part::Batch, setting, value);
        }
        for setting in dynamic {
            builder = builder.temporal_arg("--dynamic-config-value").temporal_arg(*setting);
        }
        let dev = builder.start().await.expect("a mesh of the test's own starts");
        let url: Url = dev.temporal_address().parse().expect("a valid address");
        let connection = Connection::connect(ConnectionOptions::new(url).identity("e2e").build()).await;
        let client = Client::new(connection.expect("Temporal runs"), ClientOptions::new("main").build());
        Self {
            batches: BatchOperationServiceClient::new(channel(&dev.address(Part::Batch))),
            client: client.expect("the options are valid"),
            dev,
        }
    }

    pub(super) async fn start_many(&self, id: &str) -> Vec<String> {
        let ids: Vec<String> = (0..EACH).map(|n| format!("{id}-{n}")).collect();
        futures::stream::iter(ids.clone())
            .map(|workflow| start_one(&self.client, "Sleeper", workflow, id))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .expect("Temporal starts them");
        ids
    }

    /// Starts an operation over `EACH` workflows, once they are in the index, and waits for its end.
    pub(super) async fn run(&self, request: StartBatchOperationRequest) -> BatchOperation {
        let validate = StartBatchOperationRequest {
            validate_only: true,
            ..request.clone()
        };
        if request.executions.is_empty() {
            eventually(SOON, "all of them are in the index", async || {
                let answer = self.batches.clone().start_batch_operation(validate.clone()).await;
                let matched = answer.map_err(|status| status.to_string())?.into_inner().matched;
                when(matched == EACH as i64, || format!("{matched} match"))
            })
            .await;
        }
        let started = self.batches.clone().start_batch_operation(request).await;
        let job_id = started.expect("it is taken").into_inner().job_id;
        eventually(LONG, &format!("{job_id} ends"), async || {
            let request = GetBatchOperationRequest { job_id: job_id.clone() };
            let answer = self.batches.clone().get_batch_operation(request).await;
            let operation = answer.map_err(|status| status.to_string())?.into_inner().operation;
            let operation = operation.ok_or("an empty answer")?;
            when(operation.close_time.is_some(), || format!("{operation:?}"))?;
            Ok(operation)
        })
        .await
    }

    pub(super) async fn survivors(&self, job_id: &str) -> Vec<Survivor> {
        let mut request = ListSurvivorsRequest {
            job_id: job_id.to_owned(),
            page_size: 700,
            ..ListSurvivorsRequest::default()
        };
        let mut all = Vec::new();
        loop {
            let page = self.batches.clone().list_survivors(request.clone()).await;
            let page = page.expect("it has ended").into_inner();
            all.extend(page.survivors);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return all;
            }
        }
    }

    /// Describes one by one: the newest run, or `None` where there is none.
    pub(super) async fn describe(&self, ids: &[String]) -> BTreeMap<String, Option<DescribeWorkflowExecutionResponse>> {
        let answers = futures::stream::iter(ids.to_vec()).map(|id| async move {
            let described = self.describe_run(&id, "").await;
            (id, described)
        });
        answers.buffer_unordered(AT_ONCE).collect().await
    }

    pub(super) async fn describe_run(
        &self,
        workflow_id: &str,
        run_id: &str,
    ) -> Option<DescribeWorkflowExecutionResponse> {
        let request = DescribeWorkflowExecutionRequest {
            namespace: "main".to_owned(),
            execution: Some(execution(workflow_id, run_id)),
        };
        let mut stub = self.client.connection().workflow_service();
        match stub.describe_workflow_execution(request.into_request()).await {
            Ok(answer) => Some(answer.into_inner()),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("{workflow_id}: {status}"),
        }
    }

    /// Workflow ids of what matches, at most 1,000.
    pub(super) async fn listed(&self, query: &str) -> Vec<String> {
        let request = ListWorkflowExecutionsRequest {
            namespace: "main".to_owned(),
            page_size: 1_000,
            query: query.to_owned(),
            ..ListWorkflowExecutionsRequest::default()
        };
        let mut stub = self.client.connection().workflow_service();
        let answer = stub.list_workflow_executions(request.into_request()).await;
        let rows = answer.expect("the query is valid").into_inner().executions;
        rows.into_iter()
            .filter_map(|row| row.execution)
            .map(|execution| execution.workflow_id)
            .collect()
    }

    pub(super) async fn all_are(&self, ids: &[String], wanted: WorkflowExecutionStatus) {
        for (id, described) in self.describe(ids).await {
            let info = described.and_then(|answer| answer.workflow_execution_info);
            assert_eq!(info.map(|info| info.status()), Some(wanted), "{id}");
        }
    }

    /// Names and arguments of the signals in a history, as text.
    pub(super) async fn signals(&self, workflow_id: &str) -> Vec<(String, Vec<String>)> {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: "main".to_owned(),
            execution: Some(execution(workflow_id, "")),
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let mut stub = self.client.connection().workflow_service();
        let answer = stub.get_workflow_execution_history(request.into_request()).await;
        let history = answer.expect("it is there").into_inner().history.expect("a history");
        let signals = history.events.into_iter().filter_map(|event| match event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => Some(signal),
            _ => None,
        });
        signals
            .map(|signal| {
                let payloads = signal.input.unwrap_or_default().payloads;
                let text = payloads
                    .into_iter()
                    .map(|one| String::from_utf8(one.data).expect("JSON"));
                (signal.signal_name, text.collect())
            })
            .collect()
    }
}

/// Names an execution; an empty run id means the current run.
pub(super) fn execution(workflow_id: &str, run_id: &str) -> WorkflowExecution {
    WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    }
}
