//! Operations and their queue as workflows of the canceler namespace: started, read, told. A trait, so that what stands above is tested
//! against records that misbehave on demand.

use super::{
    messages::{About, Line, MEMO_ABOUT, MEMO_LINE, OperationInput, Survey, Waiting},
    record::Record,
    workflows::{BatchOperationWorkflow, BatchQueueWorkflow},
};
use quell_api::{
    batch_activities::BATCH_QUEUE,
    ids::{batch_operation_workflow, batch_queue_workflow},
};
use quell_mesh::{NamespaceClient, error::Error, no_retry};
use temporalio_client::{
    WorkflowGetResultOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowSignalOptions,
    WorkflowStartOptions,
    errors::{WorkflowInteractionError, WorkflowStartError},
};
use temporalio_common::{
    Memo, MemoValues,
    data_converters::{SerializationContextData, WorkflowSerializationContext},
    payload_visitor::decode_payloads,
    protos::temporal::api::{
        common::v1::WorkflowExecution,
        enums::v1::WorkflowExecutionStatus,
        workflowservice::v1::{DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse},
    },
};

/// What an operation is called in `ResourceInfo`.
pub(crate) const RESOURCE: &str = "batch operation";

/// The records of operations, and the queue.
#[async_trait::async_trait]
pub(crate) trait Records: Send + Sync + 'static {
    /// Begins the record of an operation: it goes to the queue by itself. False when there is, or was, one of that id.
    async fn start(&self, input: OperationInput) -> Result<bool, Error>;
    /// A record, if there is one.
    async fn read(&self, job_id: &str) -> Result<Option<Record>, Error>;
    /// Tells an operation to stop. One that has ended is left as it is.
    async fn stop(&self, job_id: &str, reason: &str) -> Result<(), Error>;
    /// What survived an operation that has ended.
    async fn survey(&self, job_id: &str) -> Result<Survey, Error>;
    /// Puts an operation in line; one that is there keeps its place.
    async fn enter(&self, namespace: &str, new: Waiting) -> Result<(), Error>;
    /// Takes an operation out of the line.
    async fn leave(&self, namespace: &str, job_id: &str) -> Result<(), Error>;
    /// The line now; empty when there is no queue.
    async fn line(&self, namespace: &str) -> Result<Line, Error>;
}

/// The real ones.
#[derive(Clone)]
pub(crate) struct TemporalRecords {
    canceler: NamespaceClient,
}

impl TemporalRecords {
    /// In the canceler namespace.
    pub(crate) fn new(canceler: NamespaceClient) -> Self {
        Self { canceler }
    }

    /// The description of a workflow, if there is one. By a bare stub: polls would only litter the trace.
    /// A workflow as the server describes it, its payloads decoded.
    async fn describe(&self, workflow_id: String) -> Result<Option<DescribeWorkflowExecutionResponse>, Error> {
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.canceler.namespace().to_owned(),
            execution: Some(WorkflowExecution {
                workflow_id,
                run_id: String::new(),
            }),
        };
        let answer = self
            .canceler
            .raw()
            .await?
            .describe_workflow_execution(no_retry(request))
            .await;
        let mut described = match answer.map_err(Error::from) {
            Ok(answer) => answer.into_inner(),
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let client = self.canceler.client().await?;
        let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
        decode_payloads(&mut described, client.options().data_converter.codec(), &context).await?;
        Ok(Some(described))
    }
}

/// One that has ended between our look and our word is as good as told.
fn heard(result: Result<(), WorkflowInteractionError>) -> Result<(), Error> {
    match result {
        Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[async_trait::async_trait]
impl Records for TemporalRecords {
    async fn start(&self, input: OperationInput) -> Result<bool, Error> {
        let mut memo = MemoValues::new();
        memo.insert(
            MEMO_ABOUT,
            About {
                kind: Some(input.spec.action.kind()),
                query: input.spec.query().to_owned(),
                reason: input.spec.reason.clone(),
                matched: input.matched,
                digest: input.spec.digest(),
                caller: input.caller.clone(),
            },
        );
        // No run or execution timeout: it waits as long as the slot is taken.
        let options = WorkflowStartOptions::new(BATCH_QUEUE, batch_operation_workflow(&input.job_id))
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .memo(memo)
            .static_summary(
                format!("{:?} in a batch: {}", input.spec.action.kind(), input.spec.query())
                    .chars()
                    .take(200)
                    .collect::<String>(),
            )
            .build();
        let client = self.canceler.client().await?;
        match client.start_workflow(BatchOperationWorkflow::run, input, options).await {
            Ok(_) => Ok(true),
            Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self, job_id: &str) -> Result<Option<Record>, Error> {
        let Some(described) = self.describe(batch_operation_workflow(job_id)).await? else {
            return Ok(None);
        };
        let client = self.canceler.client().await?;
        Record::of(job_id, described, client.options().data_converter.payload_converter()).map(Some)
    }

    async fn stop(&self, job_id: &str, reason: &str) -> Result<(), Error> {
        let client = self.canceler.client().await?;
        let handle = client.get_workflow_handle::<BatchOperationWorkflow>(batch_operation_workflow(job_id));
        let told = handle.signal(
            BatchOperationWorkflow::stop,
            reason.to_owned(),
            WorkflowSignalOptions::default(),
        );
        heard(told.await)
    }

    async fn survey(&self, job_id: &str) -> Result<Survey, Error> {
        let client = self.canceler.client().await?;
        let handle = client.get_workflow_handle::<BatchOperationWorkflow>(batch_operation_workflow(job_id));
        let result = handle.get_result(WorkflowGetResultOptions::default()).await;
        result.map_err(|error| Error::from(error).named(RESOURCE, job_id))
    }

    async fn enter(&self, namespace: &str, new: Waiting) -> Result<(), Error> {
        let client = self.canceler.client().await?;
        let options = WorkflowStartOptions::new(BATCH_QUEUE, batch_queue_workflow(namespace))
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .static_summary(format!("queue for the batch slot of {namespace}"))
            .build();
        // In the input, too: a queue that begins with an empty line would end before it hears of anybody.
        let first = Line {
            holder: None,
            waiting: vec![new.clone()],
        };
        client
            .signal_with_start_workflow(BatchQueueWorkflow::run, first, BatchQueueWorkflow::enter, new, options)
            .await?;
        Ok(())
    }

    async fn leave(&self, namespace: &str, job_id: &str) -> Result<(), Error> {
        let client = self.canceler.client().await?;
        let handle = client.get_workflow_handle::<BatchQueueWorkflow>(batch_queue_workflow(namespace));
        let told = handle.signal(
            BatchQueueWorkflow::leave,
            job_id.to_owned(),
            WorkflowSignalOptions::default(),
        );
        heard(told.await)
    }

    async fn line(&self, namespace: &str) -> Result<Line, Error> {
        let Some(described) = self.describe(batch_queue_workflow(namespace)).await? else {
            return Ok(Line::default());
        };
        let info = described.workflow_execution_info.unwrap_or_default();
        // The memo of one that was ended from outside gives no turns.
        if info.status() != WorkflowExecutionStatus::Running {
            return Ok(Line::default());
        }
        let client = self.canceler.client().await?;
        let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
        let converter = client.options().data_converter.payload_converter().clone();
        let memo = Memo::from_raw(info.memo, converter, context);
        let line = memo.get::<Line>(MEMO_LINE).map_err(Error::internal)?;
        Ok(line.unwrap_or_default())
    }
}
