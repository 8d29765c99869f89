//! One look at a processing, and the stream of looks.

use std::{pin::Pin, time::Duration};

use futures::{FutureExt as _, Stream, future::BoxFuture, stream};
use quell_api::{
    r#type::v1::StatusCount,
    work::v1::{BatchProcessing, BatchProcessingResult, WatchBatchProcessingResponse},
};
use quell_mesh::{Error, NamespaceClient, Reason};
use temporalio_client::{
    Client, WorkflowExecutionInfo, WorkflowGetResultOptions, WorkflowHandle, errors::WorkflowGetResultError,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    spec::{Remembered, plan_of},
    workflows::{BatchProcessingWorkflow, NodeResult},
};
use crate::visibility::{self, Execution};

/// Workflow type of every node.
pub const NODE_TYPE: &str = "BatchProcessingWorkflow";

/// Memo key of the spec, which only roots have.
pub const SPEC: &str = "spec";

/// How long looks may fail before a watcher is told. Shorter hiccups are none of its business.
const PATIENCE: Duration = Duration::from_secs(15);

/// The stream of a watch.
pub type Watch = Pin<Box<dyn Stream<Item = Result<WatchBatchProcessingResponse, Status>> + Send>>;

/// A run of the root of a processing; the last one when `run_id` is empty.
///
/// # Errors
/// `NotFound` when no node of that id is known; Temporal's, translated.
pub async fn root(main: &NamespaceClient, processing_id: &str, run_id: &str) -> Result<Execution, Error> {
    visibility::describe_run(main, processing_id, run_id)
        .await?
        .filter(|root| root.workflow_type == NODE_TYPE)
        .ok_or_else(|| Error::not_found("batch processing", processing_id))
}

/// A processing with its counts, and its result or failure once it has ended.
///
/// # Errors
/// As for [`root`].
pub async fn look(main: &NamespaceClient, processing_id: &str, run_id: &str) -> Result<BatchProcessing, Error> {
    let root = root(main, processing_id, run_id).await?;
    let open = root.open;
    let mut processing = listed(root);
    let query = format!("RootRunId = \"{}\"", processing.run_id);
    let counts = visibility::count_by_status(main, &query).await?;
    processing.counts = counts
        .into_iter()
        .map(|(status, count)| StatusCount { status, count })
        .collect();
    if !open {
        let handle = handle(main, processing_id, &processing.run_id).await?;
        match handle.get_result(only_this_run()).await {
            Ok(result) => processing.result = Some(wire(result)),
            Err(error) => processing.failure = words(error)?,
        }
    }
    Ok(processing)
}

/// A processing as a list shows it.
#[must_use]
pub fn listed(root: Execution) -> BatchProcessing {
    let spec = root.memo::<Remembered>(SPEC).map(Into::into);
    BatchProcessing {
        plan: spec.as_ref().map(plan_of),
        spec,
        processing_id: root.workflow_id,
        run_id: root.run_id,
        status: root.status.to_owned(),
        start_time: root.start_time,
        close_time: root.close_time,
        counts: Vec::new(),
        result: None,
        failure: String::new(),
    }
}

async fn handle(
    main: &NamespaceClient,
    processing_id: &str,
    run_id: &str,
) -> Result<WorkflowHandle<Client, BatchProcessingWorkflow>, Error> {
    let info = WorkflowExecutionInfo::builder()
        .namespace(main.namespace())
        .workflow_id(processing_id)
        .run_id(run_id)
        .build();
    Ok(WorkflowHandle::new(main.client().await?, info))
}

fn only_this_run() -> WorkflowGetResultOptions {
    WorkflowGetResultOptions::builder().follow_runs(false).build()
}

/// Why there is no result. What is no end of the workflow is an error.
fn words(error: WorkflowGetResultError) -> Result<String, Error> {
    match error {
        WorkflowGetResultError::Failed(failure) => Ok(chain(&*failure)),
        WorkflowGetResultError::Cancelled { .. } => Ok("it was cancelled".to_owned()),
        WorkflowGetResultError::Terminated { .. } => Ok("it was terminated".to_owned()),
        WorkflowGetResultError::TimedOut => Ok("it timed out".to_owned()),
        other => Err(other.into()),
    }
}

/// An error with its causes: of a tree only the deepest says what happened.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let said = cause.to_string();
        if words.last().is_none_or(|last| !last.contains(&said)) {
            words.push(said);
        }
    }
    words.join(": ")
}

fn wire(result: NodeResult) -> BatchProcessingResult {
    let digits = |numbers: Vec<super::number::Number>| numbers.iter().map(ToString::to_string).collect();
    BatchProcessingResult {
        total_numbers: result.total_numbers,
        workflows: result.workflows,
        depth: result.depth,
        sum: result.sum.to_string(),
        first_results: digits(result.first_results),
        last_results: digits(result.last_results),
    }
}

struct Watcher {
    main: NamespaceClient,
    processing_id: String,
    run_id: String,
    interval: Duration,
    told: CancellationToken,
    next: Instant,
    /// Completes when the root has ended, so that nobody waits for the interval to learn of it.
    ended: Option<BoxFuture<'static, ()>>,
    over: bool,
}

/// Looks every `interval`, and once more when the root has ended. Ends after that, with an error that lasts, when the stream is
/// dropped, or, with UNAVAILABLE and SHUTTING_DOWN, when the service drains.
pub fn watch(main: NamespaceClient, root: Execution, interval: Duration, told: CancellationToken) -> Watch {
    let (client, id, run) = (main.clone(), root.workflow_id.clone(), root.run_id.clone());
    let ended = async move {
        if let Ok(handle) = handle(&client, &id, &run).await
            && let Err(error) = handle
                .get_result(only_this_run())
                .await
                .map_or_else(words, |_| Ok(String::new()))
        {
            // The looks go on, and meet the same trouble if it lasts.
            tracing::debug!(processing_id = id, %error, "the end of a processing cannot be waited for");
            std::future::pending::<()>().await;
        }
    };
    let watcher = Watcher {
        main,
        processing_id: root.workflow_id,
        run_id: root.run_id,
        interval,
        told,
        next: Instant::now(),
        ended: root.open.then(|| ended.boxed()),
        over: false,
    };
    Box::pin(stream::unfold(watcher, |mut watcher| async move {
        watcher.step().await.map(|item| (item, watcher))
    }))
}

impl Watcher {
    async fn step(&mut self) -> Option<Result<WatchBatchProcessingResponse, Status>> {
        if self.over {
            return None;
        }
        let mut failing_since = None;
        loop {
            let ended = async {
                match &mut self.ended {
                    Some(ended) => ended.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(self.next) => {}
                () = ended => self.ended = None,
                () = self.told.cancelled() => {
                    self.over = true;
                    return Some(Err(Error::unavailable(Reason::ShuttingDown, "this replica shuts down; watch again").into()));
                }
            }
            let now = Instant::now();
            self.next = now + self.interval;
            match look(&self.main, &self.processing_id, &self.run_id).await {
                Ok(processing) => {
                    self.over = processing.close_time.is_some();
                    return Some(Ok(WatchBatchProcessingResponse {
                        processing: Some(processing),
                    }));
                }
                Err(error) => {
                    let since = *failing_since.get_or_insert(now);
                    if !error.is_retryable() || now - since > PATIENCE {
                        self.over = true;
                        return Some(Err(error.into()));
                    }
                    tracing::debug!(processing_id = self.processing_id, %error, "no look at a watched processing");
                }
            }
        }
    }
}
