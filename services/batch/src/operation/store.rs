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
use quell_mesh::{Described, NamespaceClient, error::Error};
use temporalio_client::{
    WorkflowGetResultOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions,
    errors::WorkflowStartError,
};
use temporalio_common::{MemoValues, protos::temporal::api::enums::v1::WorkflowExecutionStatus};

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

    /// A workflow, if there is one.
    async fn describe(&self, workflow_id: String) -> Result<Option<Described>, Error> {
        match self.canceler.describe(workflow_id).await {
            Ok(described) => Ok(Some(described)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
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
        Record::of(job_id, &described).map(Some)
    }

    async fn stop(&self, job_id: &str, reason: &str) -> Result<(), Error> {
        let (workflow_id, reason) = (batch_operation_workflow(job_id), reason.to_owned());
        let told = self
            .canceler
            .tell::<BatchOperationWorkflow, _>(workflow_id, BatchOperationWorkflow::stop, reason);
        told.await.map(drop)
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
        let (workflow_id, job_id) = (batch_queue_workflow(namespace), job_id.to_owned());
        let told = self
            .canceler
            .tell::<BatchQueueWorkflow, _>(workflow_id, BatchQueueWorkflow::leave, job_id);
        told.await.map(drop)
    }

    async fn line(&self, namespace: &str) -> Result<Line, Error> {
        let Some(described) = self.describe(batch_queue_workflow(namespace)).await? else {
            return Ok(Line::default());
        };
        // The memo of one that was ended from outside gives no turns.
        if described.info.status() != WorkflowExecutionStatus::Running {
            return Ok(Line::default());
        }
        Ok(described.memo(MEMO_LINE)?.unwrap_or_default())
    }
}
