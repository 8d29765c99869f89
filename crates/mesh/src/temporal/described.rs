//! One workflow as the server tells of it, without the workflow itself being asked: its description, and the result it left.

use temporalio_client::errors::{WorkflowGetResultError, WorkflowInteractionError};
use temporalio_client::{WorkflowGetResultOptions, WorkflowSignalOptions};
use temporalio_common::data_converters::{
    ActivitySerializationContext, DecodablePayloads, PayloadConverter, SerializationContextData,
    TemporalDeserializable, WorkflowSerializationContext,
};
use temporalio_common::payload_visitor::decode_payloads;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::workflow::v1::{PendingActivityInfo, WorkflowExecutionInfo};
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeWorkflowExecutionRequest, ListWorkflowExecutionsRequest,
};
use temporalio_common::{HasWorkflowDefinition, Memo, SignalDefinition};

use super::{NamespaceClient, no_retry};
use crate::error::Error;

/// A workflow as the server describes it, or as a listing has it; its payloads are decoded.
#[derive(Debug, Clone, Default)]
pub struct Described {
    /// What a listing has, too.
    pub info: WorkflowExecutionInfo,
    /// Its activities at work; a listing has none.
    pub pending_activities: Vec<PendingActivityInfo>,
    /// Reads its payloads.
    pub converter: PayloadConverter,
}

impl Described {
    /// Its id.
    #[must_use]
    pub fn workflow_id(&self) -> &str {
        self.info
            .execution
            .as_ref()
            .map_or("", |execution| &execution.workflow_id)
    }

    /// What its memo has under a key.
    ///
    /// # Errors
    /// [`Error::Internal`] when that is no `T`.
    pub fn memo<T: TemporalDeserializable + 'static>(&self, key: &str) -> Result<Option<T>, Error> {
        let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
        let memo = Memo::from_raw(self.info.memo.clone(), self.converter.clone(), context);
        memo.get(key)
            .map_err(|error| Error::internal(anyhow::Error::new(error).context(format!("memo {key}"))))
    }

    /// The last heartbeats of its activities, but for those that are no `T`.
    pub fn beats<T: TemporalDeserializable + 'static>(&self) -> impl Iterator<Item = T> {
        let details = self.pending_activities.iter().filter_map(|activity| {
            let context = SerializationContextData::Activity(ActivitySerializationContext::new());
            let payloads = activity.heartbeat_details.clone()?.payloads;
            Some(DecodablePayloads::new(payloads, self.converter.clone(), context))
        });
        details.filter_map(|details| details.deserialize::<T>().ok())
    }
}

impl NamespaceClient {
    /// The last run of a workflow. By a bare stub, without the SDK's retries: for polls, which would only litter the trace.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, without its name (see [`Error::named`]); whatever keeps Temporal from answering.
    pub async fn describe(&self, workflow_id: impl Into<String>) -> Result<Described, Error> {
        let client = self.client().await?;
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.namespace().to_owned(),
            execution: Some(WorkflowExecution {
                workflow_id: workflow_id.into(),
                run_id: String::new(),
            }),
        };
        let answer = self.read(request, async |mut stub, request| {
            stub.describe_workflow_execution(no_retry(request)).await
        });
        let mut described = answer.await??;
        let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
        let converter = &client.options().data_converter;
        decode_payloads(&mut described, converter.codec(), &context).await?;
        Ok(Described {
            info: described.workflow_execution_info.unwrap_or_default(),
            pending_activities: described.pending_activities,
            converter: converter.payload_converter().clone(),
        })
    }

    /// A page of the workflows that match, and where to go on (empty after the last page). By a bare stub, too. One whose memo cannot be
    /// read any more (its key was taken away, say) comes without it: it must not hide the others.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a query or a token that the server does not take; whatever keeps Temporal from answering.
    pub async fn list(
        &self,
        query: String,
        page_size: i32,
        token: Vec<u8>,
    ) -> Result<(Vec<Described>, Vec<u8>), Error> {
        let client = self.client().await?;
        let request = ListWorkflowExecutionsRequest {
            namespace: self.namespace().to_owned(),
            page_size,
            next_page_token: token,
            query,
        };
        let answer = self.read(request, async |mut stub, request| {
            stub.list_workflow_executions(no_retry(request)).await
        });
        let answer = answer.await??;
        let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
        let converter = &client.options().data_converter;
        let mut listed = Vec::with_capacity(answer.executions.len());
        for mut info in answer.executions {
            match decode_payloads(&mut info, converter.codec(), &context)
                .await
                .map_err(Error::from)
            {
                Ok(()) => {}
                Err(error @ Error::FailedPrecondition { .. }) => {
                    let workflow_id = info.execution.as_ref().map(|execution| execution.workflow_id.as_str());
                    tracing::warn!(workflow_id, %error, "the memo of a workflow cannot be read");
                    info.memo = None;
                }
                Err(error) => return Err(error),
            }
            listed.push(Described {
                info,
                pending_activities: Vec::new(),
                converter: converter.payload_converter().clone(),
            });
        }
        Ok((listed, answer.next_page_token))
    }

    /// Signals a workflow; whether it was still there to hear it.
    ///
    /// # Errors
    /// Whatever keeps Temporal from taking the signal.
    pub async fn tell<W, S>(&self, workflow_id: impl Into<String>, signal: S, input: S::Input) -> Result<bool, Error>
    where
        W: HasWorkflowDefinition + 'static,
        S: SignalDefinition<Workflow = W::Run>,
        S::Input: Send,
    {
        let handle = self.client().await?.get_workflow_handle::<W>(workflow_id);
        match handle.signal(signal, input, WorkflowSignalOptions::default()).await {
            Ok(()) => Ok(true),
            Err(WorkflowInteractionError::NotFound(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The result of a workflow; waits for its end. `None` when it ended without one.
    ///
    /// # Errors
    /// As for [`NamespaceClient::describe`].
    pub async fn result<W>(&self, workflow_id: impl Into<String>) -> Result<Option<W::Output>, Error>
    where
        W: HasWorkflowDefinition + 'static,
    {
        let workflow_id = workflow_id.into();
        let handle = self.client().await?.get_workflow_handle::<W>(workflow_id.clone());
        match handle.get_result(WorkflowGetResultOptions::default()).await {
            Ok(result) => Ok(Some(result)),
            Err(
                error @ (WorkflowGetResultError::Failed(_)
                | WorkflowGetResultError::Cancelled { .. }
                | WorkflowGetResultError::Terminated { .. }
                | WorkflowGetResultError::TimedOut),
            ) => {
                tracing::warn!(workflow_id, error = %error, "a workflow ended without a result");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
