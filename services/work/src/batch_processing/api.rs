//! The rpcs of [`BatchProcessingService`].

use std::time::Duration;

use quell_api::{
    validate::Checker,
    work::v1::{
        GetBatchProcessingRequest, GetBatchProcessingResponse, ListBatchProcessingsRequest,
        ListBatchProcessingsResponse, StartBatchProcessingRequest, StartBatchProcessingResponse,
        WatchBatchProcessingRequest, batch_processing_service_server::BatchProcessingService,
    },
};
use quell_mesh::{Error, Mesh, NamespaceClient, Reason, Shutdown};
use temporalio_client::{
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions, errors::WorkflowStartError,
};
use temporalio_common::MemoValues;
use tonic::{Request, Response, Status};

use super::{
    QUEUE,
    spec::{self, Checked, Remembered},
    watch::{self, NODE_TYPE, SPEC, Watch},
    workflows::BatchProcessingWorkflow,
};
use crate::{page::Pages, visibility};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(500);
const MAX_INTERVAL: Duration = Duration::from_secs(60);

const PAGES: Pages = Pages {
    rpc: "ListBatchProcessings",
    list: "batch processings",
};

/// How often a Start is tried that finds a processing which is gone when it looks closer.
const TRIES: usize = 3;

/// Serves [`BatchProcessingService`].
#[derive(Clone, Debug)]
pub struct BatchProcessingApi {
    main: NamespaceClient,
    shutdown: Shutdown,
}

impl BatchProcessingApi {
    /// Serves the processings of the main namespace.
    #[must_use]
    pub fn new(mesh: &Mesh) -> Self {
        Self {
            main: mesh.main.clone(),
            shutdown: mesh.shutdown.clone(),
        }
    }

    /// Starts the root, or joins the one that runs. Returns its run id, and whether it was joined.
    async fn start(&self, checked: &Checked) -> Result<(String, bool), Error> {
        let client = self.main.client().await?;
        for _ in 0..TRIES {
            let mut memo = MemoValues::new();
            memo.insert(SPEC, Remembered::from(checked.spec.clone()));
            let options = WorkflowStartOptions::new(QUEUE, checked.processing_id.as_str())
                .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
                .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
                .memo(memo)
                .static_summary(format!("{} workflows", checked.plan.workflows))
                .build();
            let input = spec::root(&checked.spec);
            match client
                .start_workflow(BatchProcessingWorkflow::run, input, options)
                .await
            {
                Ok(handle) => return Ok((handle.info().run_id.clone().unwrap_or_default(), false)),
                Err(WorkflowStartError::AlreadyStarted { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            match visibility::describe(&self.main, &checked.processing_id).await? {
                Some(running) if running.open && running.workflow_type == NODE_TYPE => {
                    return Ok((running.run_id, true));
                }
                Some(other) if other.open => {
                    return Err(Error::AlreadyExists {
                        kind: "workflow of another type",
                        name: checked.processing_id.clone(),
                    });
                }
                // It has ended between the two calls.
                _ => {}
            }
        }
        Err(Error::Aborted {
            reason: Reason::Conflict,
            message: "processings of the same parameters come and go; try again".to_owned(),
        })
    }
}

#[tonic::async_trait]
impl BatchProcessingService for BatchProcessingApi {
    async fn start_batch_processing(
        &self,
        request: Request<StartBatchProcessingRequest>,
    ) -> Result<Response<StartBatchProcessingResponse>, Status> {
        let StartBatchProcessingRequest { spec, validate_only } = request.into_inner();
        let checked = spec::check(spec.unwrap_or_default())?;
        let (run_id, joined) = if validate_only {
            (String::new(), false)
        } else {
            self.start(&checked).await?
        };
        if !validate_only {
            let (processing_id, workflows) = (&checked.processing_id, checked.plan.workflows);
            tracing::info!(processing_id, workflows, joined, "batch processing started");
        }
        Ok(Response::new(StartBatchProcessingResponse {
            processing_id: checked.processing_id,
            run_id,
            spec: Some(checked.spec),
            plan: Some(checked.plan),
            joined,
        }))
    }

    async fn get_batch_processing(
        &self,
        request: Request<GetBatchProcessingRequest>,
    ) -> Result<Response<GetBatchProcessingResponse>, Status> {
        let GetBatchProcessingRequest { processing_id } = request.into_inner();
        required(Checker::new(), &processing_id)?;
        let processing = watch::look(&self.main, &processing_id, "").await?;
        Ok(Response::new(GetBatchProcessingResponse {
            processing: Some(processing),
        }))
    }

    type WatchBatchProcessingStream = Watch;

    async fn watch_batch_processing(
        &self,
        request: Request<WatchBatchProcessingRequest>,
    ) -> Result<Response<Watch>, Status> {
        let WatchBatchProcessingRequest {
            processing_id,
            interval,
        } = request.into_inner();
        let mut check = Checker::new();
        let interval = check.duration("interval", interval, DEFAULT_INTERVAL, MIN_INTERVAL..=MAX_INTERVAL);
        required(check, &processing_id)?;
        // An unknown one is told before the stream begins.
        let root = watch::root(&self.main, &processing_id, "").await?;
        Ok(Response::new(watch::watch(
            self.main.clone(),
            root,
            interval,
            self.shutdown.token(),
        )))
    }

    async fn list_batch_processings(
        &self,
        request: Request<ListBatchProcessingsRequest>,
    ) -> Result<Response<ListBatchProcessingsResponse>, Status> {
        let ListBatchProcessingsRequest { page_size, page_token } = request.into_inner();
        let mut check = Checker::new();
        let wanted = PAGES.wanted(&mut check, page_size, &page_token);
        check.finish(()).map_err(Error::InvalidArgument)?;
        let query = format!("WorkflowType = \"{NODE_TYPE}\" AND ParentWorkflowId IS NULL");
        let (rows, next_page_token) = PAGES.list(&self.main, query, wanted).await?;
        Ok(Response::new(ListBatchProcessingsResponse {
            processings: rows.into_iter().map(watch::listed).collect(),
            next_page_token,
        }))
    }
}

fn required(mut check: Checker, processing_id: &str) -> Result<(), Error> {
    check.required_id("processing_id", processing_id);
    check.finish(()).map_err(Error::InvalidArgument)
}
