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
    joint::{self, JointCancelWorkflow, JointInput},
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
    /// Open executions that matched, by namespace.
    pub(crate) matched: Vec<u64>,
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
            matched: new.matched.iter().sum(),
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
    let started = if new.spec.is_joint() {
        // Whatever has the name of a part is not ours to be one.
        for id in joint::part_ids(&new.id, &new.spec) {
            if find(canceler, &id).await?.is_some() {
                // A first attempt at the same may have come so far.
                if find(canceler, &new.id).await?.is_some() {
                    return Ok(false);
                }
                let text = format!("would name a part {id}, and there is a cancellation of that id");
                return Err(Error::precondition(Reason::RequestIdReused, "request_id", text));
            }
        }
        let run = JointCancelWorkflow::run;
        client.start_workflow(run, new.joint(), options).await.map(drop)
    } else {
        let (spec, matched) = (new.spec.clone(), new.matched.iter().sum());
        let input = new.input(new.id.clone(), spec, matched);
        let run = BulkCancelWorkflow::run;
        client.start_workflow(run, input, options).await.map(drop)
    };
    match started {
        Ok(()) => Ok(true),
        Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl NewCancellation {
    /// Input of one in one namespace.
    fn input(&self, id: String, spec: Spec, matched: u64) -> CancelInput {
        CancelInput {
            campaign: spec.campaign(&id, &self.settings),
            cancellation_id: id,
            spec,
            filter: self.filter.clone(),
            matched,
            requested_by: self.requested_by.clone(),
            trace_id: self.trace_id.clone(),
            carried: None,
            is_part: self.spec.is_joint(),
        }
    }

    /// Input of one in several.
    fn joint(&self) -> JointInput {
        let specs = joint::part_specs(&self.spec, &self.matched);
        let ids = joint::part_ids(&self.id, &self.spec);
        let parts = ids.into_iter().zip(specs).zip(&self.matched);
        JointInput {
            cancellation_id: self.id.clone(),
            spec: self.spec.clone(),
            filter: self.filter.clone(),
            requested_by: self.requested_by.clone(),
            trace_id: self.trace_id.clone(),
            parts: parts
                .map(|((id, spec), matched)| self.input(id, spec, *matched))
                .collect(),
        }
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
    let view = View::read(canceler, id).await?;
    if view.ended {
        return Ok(());
    }
    let workflow_id = cancellation_workflow(id);
    // It may end between the two calls.
    let told = if view.about.spec.is_joint() {
        let stop = JointCancelWorkflow::stop;
        canceler.tell::<JointCancelWorkflow, _>(workflow_id, stop, reason).await
    } else {
        let stop = BulkCancelWorkflow::stop;
        canceler.tell::<BulkCancelWorkflow, _>(workflow_id, stop, reason).await
    };
    told.map(drop)
}

/// Changes the limits of one that runs; tells what holds then.
pub(crate) async fn adjust(canceler: &NamespaceClient, id: &str, limits: Limits) -> Result<pb::Limits, Error> {
    let view = View::read(canceler, id).await?;
    let workflow_id = cancellation_workflow(id);
    // It may end between the two calls.
    let heard = if view.ended {
        false
    } else if view.about.spec.is_joint() {
        let adjust = JointCancelWorkflow::adjust;
        canceler
            .tell::<JointCancelWorkflow, _>(workflow_id, adjust, limits)
            .await?
    } else {
        let adjust = BulkCancelWorkflow::adjust;
        canceler
            .tell::<BulkCancelWorkflow, _>(workflow_id, adjust, limits)
            .await?
    };
    if !heard {
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
    let workflow_id = cancellation_workflow(id);
    let receipt = if view.about.spec.is_joint() {
        canceler.result::<JointCancelWorkflow>(workflow_id).await
    } else {
        canceler.result::<BulkCancelWorkflow>(workflow_id).await
    };
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
    let view = View::read(canceler, id).await?;
    let parts = joint::part_ids(id, &view.about.spec);
    if !parts.is_empty() {
        return Err(joint::by_part(id, &parts));
    }
    let receipt = if view.ended {
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
    let (mut views, next) = list_those(canceler, "ExecutionStatus != \"ContinuedAsNew\"", page_size, token).await?;
    for view in views.iter_mut().filter(|view| !view.ended) {
        joint::view::fill(canceler, view).await?;
    }
    Ok((views, next))
}

/// Those that are running, without their parts; at most a page of them.
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
    // The parts of a joint one are its children.
    let query = format!(
        "WorkflowType IN (\"BulkCancelWorkflow\", \"JointCancelWorkflow\") AND ParentWorkflowId IS NULL \
         AND WorkflowId STARTS_WITH \"{prefix}\" AND {condition}"
    );
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
