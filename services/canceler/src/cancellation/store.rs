//! Cancellations as workflows of the canceler namespace: started, found, listed, told to stop, and their receipts.

use quell_api::{
    canceler::v1 as pb,
    ids::cancellation_workflow,
    target::{Filter, OPEN},
};
use quell_mesh::{
    Error, NamespaceClient, PayloadStore, Reason, config::CancelSettings, error::from_temporal, no_retry,
};
use temporalio_client::{
    WorkflowGetResultOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowSignalOptions,
    WorkflowStartOptions,
    errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowStartError},
};
use temporalio_common::{
    MemoValues,
    data_converters::{SerializationContextData, WorkflowSerializationContext},
    payload_visitor::decode_payloads,
    protos::temporal::api::workflowservice::v1::ListWorkflowExecutionsRequest,
};

use super::{
    journal::{self, Chunk},
    limits::Limits,
    messages::{About, CancelInput, MEMO_ABOUT},
    receipt::Receipt,
    spec::Spec,
    view::View,
    workflows::BulkCancelWorkflow,
};

const KIND: &str = "cancellation";

/// What is needed to start a cancellation.
pub(crate) struct NewCancellation {
    pub(crate) id: String,
    pub(crate) spec: Spec,
    pub(crate) filter: Filter,
    pub(crate) matched: u64,
    pub(crate) requested_by: String,
    pub(crate) trace_id: String,
    pub(crate) settings: CancelSettings,
}

/// Starts one. Returns false when there is, or was, one of that id: then nothing happened.
pub(crate) async fn start(canceler: &NamespaceClient, new: NewCancellation) -> Result<bool, Error> {
    let client = canceler.client().await?;
    let mut memo = MemoValues::new();
    memo.insert(
        MEMO_ABOUT,
        About {
            spec: new.spec.clone(),
            matched: new.matched,
        },
    );
    // No run or execution timeout: the deadline in the spec rules.
    let options = WorkflowStartOptions::new(canceler.task_queue(), cancellation_workflow(&new.id))
        .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
        .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
        .memo(memo)
        .static_summary(
            format!("cancellation of {}", new.filter.open())
                .chars()
                .take(200)
                .collect::<String>(),
        )
        .build();
    let input = CancelInput {
        campaign: new.spec.campaign(&new.id, &new.settings),
        cancellation_id: new.id,
        spec: new.spec,
        filter: new.filter,
        matched: new.matched,
        requested_by: new.requested_by,
        trace_id: new.trace_id,
        carried: None,
    };
    match client.start_workflow(BulkCancelWorkflow::run, input, options).await {
        Ok(_) => Ok(true),
        Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// One of that id, or `None`.
pub(crate) async fn find(canceler: &NamespaceClient, id: &str) -> Result<Option<View>, Error> {
    match View::read(canceler, id).await {
        Ok(view) => Ok(Some(view)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks one to end. One that has ended already is left as it is.
pub(crate) async fn stop(canceler: &NamespaceClient, id: &str, reason: String) -> Result<(), Error> {
    if View::read(canceler, id).await?.ended {
        return Ok(());
    }
    let handle = canceler
        .client()
        .await?
        .get_workflow_handle::<BulkCancelWorkflow>(cancellation_workflow(id));
    match handle
        .signal(BulkCancelWorkflow::stop, reason, WorkflowSignalOptions::default())
        .await
    {
        // It ended between the two calls.
        Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Changes the limits of one that runs; tells what holds then.
pub(crate) async fn adjust(canceler: &NamespaceClient, id: &str, limits: Limits) -> Result<pb::Limits, Error> {
    let over = || {
        let text = "it has ended: there is nothing left to limit";
        Error::precondition(Reason::WrongState, format!("{KIND}/{id}"), text)
    };
    let view = View::read(canceler, id).await?;
    if view.ended {
        return Err(over());
    }
    let handle = canceler
        .client()
        .await?
        .get_workflow_handle::<BulkCancelWorkflow>(cancellation_workflow(id));
    let options = WorkflowSignalOptions::default();
    match handle.signal(BulkCancelWorkflow::adjust, limits, options).await {
        Ok(()) => Ok(view.standing.limits.with(limits).in_force(&view.about.spec)),
        // It ended between the two calls.
        Err(WorkflowInteractionError::NotFound(_)) => Err(over()),
        Err(error) => Err(error.into()),
    }
}

/// The receipt of one that has ended.
pub(crate) async fn receipt(canceler: &NamespaceClient, id: &str) -> Result<Receipt, Error> {
    let view = View::read(canceler, id).await?;
    if !view.ended {
        let text = "it is still running; its receipt comes with its end";
        return Err(Error::precondition(Reason::WrongState, format!("{KIND}/{id}"), text));
    }
    let handle = canceler
        .client()
        .await?
        .get_workflow_handle::<BulkCancelWorkflow>(cancellation_workflow(id));
    match handle.get_result(WorkflowGetResultOptions::default()).await {
        Ok(receipt) => Ok(receipt),
        Err(
            error @ (WorkflowGetResultError::Failed(_)
            | WorkflowGetResultError::Cancelled { .. }
            | WorkflowGetResultError::Terminated { .. }
            | WorkflowGetResultError::TimedOut),
        ) => {
            tracing::warn!(cancellation_id = id, error = %error, "a cancellation ended without a receipt");
            let text = "its workflow was ended from outside, or failed: there is no receipt";
            Err(Error::precondition(Reason::WrongState, format!("{KIND}/{id}"), text))
        }
        Err(error) => Err(Error::from(error).named(KIND, id)),
    }
}

/// The chunks of a journal: as the receipt names them, or as the payload store has them where there is no receipt (yet).
pub(crate) async fn journal(
    canceler: &NamespaceClient,
    payloads: &PayloadStore,
    id: &str,
) -> Result<Vec<Chunk>, Error> {
    // Also tells an id that is none.
    let ended = View::read(canceler, id).await?.ended;
    let receipt = if ended {
        match receipt(canceler, id).await {
            Ok(receipt) => Some(receipt),
            Err(Error::FailedPrecondition {
                reason: Reason::WrongState,
                ..
            }) => None,
            Err(error) => return Err(error),
        }
    } else {
        None
    };
    journal::chunks(payloads, id, receipt).await
}

/// A page of cancellations, newest first, and where to go on (empty after the last page).
pub(crate) async fn list(
    canceler: &NamespaceClient,
    page_size: i32,
    token: Vec<u8>,
) -> Result<(Vec<View>, Vec<u8>), Error> {
    // Earlier runs of one that continued as new are the same cancellation.
    list_those(canceler, "ExecutionStatus != \"ContinuedAsNew\"", page_size, token).await
}

/// Those that are running; at most a page of them.
pub(crate) async fn running(canceler: &NamespaceClient) -> Result<Vec<View>, Error> {
    Ok(list_those(canceler, OPEN, 1_000, Vec::new()).await?.0)
}

async fn list_those(
    canceler: &NamespaceClient,
    condition: &str,
    page_size: i32,
    token: Vec<u8>,
) -> Result<(Vec<View>, Vec<u8>), Error> {
    let client = canceler.client().await?;
    let prefix = cancellation_workflow("");
    let request = ListWorkflowExecutionsRequest {
        namespace: canceler.namespace().to_owned(),
        page_size,
        next_page_token: token,
        query: format!("WorkflowType = \"BulkCancelWorkflow\" AND WorkflowId STARTS_WITH \"{prefix}\" AND {condition}"),
    };
    let mut stub = client.connection().workflow_service();
    let answer = stub
        .list_workflow_executions(no_retry(request))
        .await
        .map_err(from_temporal)?
        .into_inner();
    let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
    let converter = &client.options().data_converter;
    let mut views = Vec::with_capacity(answer.executions.len());
    for mut info in answer.executions {
        let workflow_id = info
            .execution
            .as_ref()
            .map(|execution| execution.workflow_id.clone())
            .unwrap_or_default();
        let id = workflow_id.strip_prefix(&prefix).unwrap_or(&workflow_id);
        match decode_payloads(&mut info, converter.codec(), &context)
            .await
            .map_err(Error::from)
        {
            Ok(()) => {}
            // One that cannot be read any more (its key was taken away, say) must not hide the others, nor keep new ones from starting.
            Err(error @ Error::FailedPrecondition { .. }) => {
                tracing::warn!(cancellation_id = id, %error, "the memo of a cancellation cannot be read");
                info.memo = None;
            }
            Err(error) => return Err(error),
        }
        views.push(View::of_info(id, info, converter.payload_converter())?);
    }
    // Stores list what is open first, then by time of closing.
    views.sort_by_key(|view| std::cmp::Reverse(view.start_ms));
    Ok((views, answer.next_page_token))
}
