//! The rpcs of [`ProbeService`].

use std::sync::Arc;

use quell_api::{
    validate::Checker,
    work::v1::{
        GetProbeRequest, GetProbeResponse, StartProbeRequest, StartProbeResponse, probe_service_server::ProbeService,
    },
};
use quell_mesh::{Error, Mesh, NamespaceClient, Reason};
use temporalio_client::{
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions, errors::WorkflowStartError,
};
use temporalio_common::MemoValues;
use tonic::{Request, Response, Status};

use super::{
    spec::{self, RunOrder},
    view,
    workflows::ProbeRun,
};

/// Serves [`ProbeService`].
#[derive(Clone, Debug)]
pub struct ProbeApi {
    main: NamespaceClient,
    default_queue: Arc<str>,
}

impl ProbeApi {
    /// Serves the probes of the main namespace.
    #[must_use]
    pub fn new(mesh: &Mesh) -> Self {
        Self {
            main: mesh.main.clone(),
            default_queue: mesh.settings.probe_task_queue.as_str().into(),
        }
    }

    /// Starts the run, or finds the one that the same request started before. Returns its run id.
    async fn start(&self, run: &RunOrder) -> Result<String, Error> {
        let probe_id = run.order.probe_id.as_str();
        let mut memo = MemoValues::new();
        memo.insert(view::ORDER, run.clone());
        let options = WorkflowStartOptions::new(self.main.task_queue(), probe_id)
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .memo(memo)
            .static_summary(format!("{} probes", run.workflows))
            .build();
        let client = self.main.client().await?;
        match client.start_workflow(ProbeRun::run, run.clone(), options).await {
            Ok(handle) => Ok(handle.info().run_id.clone().unwrap_or_default()),
            Err(WorkflowStartError::AlreadyStarted { .. }) => match view::run(&self.main, probe_id).await {
                Ok((execution, before)) if before == *run => Ok(execution.run_id),
                Ok(_) | Err(Error::NotFound { .. }) => Err(Error::precondition(
                    Reason::RequestIdReused,
                    "request_id",
                    "it was used for another probe, or by somebody else",
                )),
                Err(error) => Err(error),
            },
            Err(error) => Err(error.into()),
        }
    }
}

#[tonic::async_trait]
impl ProbeService for ProbeApi {
    async fn start_probe(&self, request: Request<StartProbeRequest>) -> Result<Response<StartProbeResponse>, Status> {
        let request = request.into_inner();
        let validate_only = request.validate_only;
        let run = spec::check(request, &self.default_queue)?;
        let run_id = if validate_only {
            String::new()
        } else {
            self.start(&run).await?
        };
        if !validate_only {
            tracing::info!(
                probe_id = run.order.probe_id,
                workflows = run.workflows,
                "probe started"
            );
        }
        let spec = run.spec();
        Ok(Response::new(StartProbeResponse {
            probe_id: run.order.probe_id,
            run_id,
            spec: Some(spec),
        }))
    }

    async fn get_probe(&self, request: Request<GetProbeRequest>) -> Result<Response<GetProbeResponse>, Status> {
        let GetProbeRequest { probe_id } = request.into_inner();
        let mut check = Checker::new();
        check.required_id("probe_id", &probe_id);
        check.finish(()).map_err(Error::InvalidArgument)?;
        let probe = view::look(&self.main, &probe_id).await?;
        Ok(Response::new(GetProbeResponse { probe: Some(probe) }))
    }
}
