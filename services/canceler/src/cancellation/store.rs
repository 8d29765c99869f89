//! Cancellations as workflows of the canceler namespace: started, found, listed, told to stop, and their receipts.

use quell_api::{
    canceler::v1 as pb,
    ids::cancellation_workflow,
    target::{Filter, OPEN},
};
use quell_mesh::{Described, Error, NamespaceClient, PayloadStore, Reason, config::CancelSettings};
use temporalio_client::{
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions, errors::WorkflowStartError,
};
use temporalio_common::MemoValues;

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
    // It may end between the two calls.
    let told = canceler.tell::<BulkCancelWorkflow, _>(cancellation_workflow(id), BulkCancelWorkflow::stop, reason);
    told.await.map(drop)
}

/// Changes the limits of one that runs; tells what holds then.
pub(crate) async fn adjust(canceler: &NamespaceClient, id: &str, limits: Limits) -> Result<pb::Limits, Error> {
    let view = View::read(canceler, id).await?;
    let adjust = BulkCancelWorkflow::adjust;
    // It may end between the two calls.
    if view.ended
        || !canceler
            .tell::<BulkCancelWorkflow, _>(cancellation_workflow(id), adjust, limits)
            .await?
    {
        let text = "it has ended: there is nothing left to limit";
        return Err(Error::precondition(Reason::WrongState, format!("{KIND}/{id}"), text));
    }
    Ok(view.standing.limits.with(limits).in_force(&view.about.spec))
}

/// The receipt of one that has ended.
pub(crate) async fn receipt(canceler: &NamespaceClient, id: &str) -> Result<Receipt, Error> {
    let view = View::read(canceler, id).await?;
    if !view.ended {
        let text = "it is still running; its receipt comes with its end";
        return Err(Error::precondition(Reason::WrongState, format!("{KIND}/{id}"), text));
    }
    let receipt = canceler.result::<BulkCancelWorkflow>(cancellation_workflow(id)).await;
    receipt.map_err(|error| error.named(KIND, id))?.ok_or_else(|| {
        let text = "its workflow was ended from outside, or failed: there is no receipt";
        Error::precondition(Reason::WrongState, format!("{KIND}/{id}"), text)
    })
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
    let prefix = cancellation_workflow("");
    let query =
        format!("WorkflowType = \"BulkCancelWorkflow\" AND WorkflowId STARTS_WITH \"{prefix}\" AND {condition}");
    let (rows, next) = canceler.list(query, page_size, token).await?;
    let view = |row: &Described| {
        let workflow_id = row.workflow_id();
        View::of(workflow_id.strip_prefix(&prefix).unwrap_or(workflow_id), row)
    };
    let mut views = rows.iter().map(view).collect::<Result<Vec<_>, _>>()?;
    // Stores list what is open first, then by time of closing.
    views.sort_by_key(|view| std::cmp::Reverse(view.start_ms));
    Ok((views, next))
}
