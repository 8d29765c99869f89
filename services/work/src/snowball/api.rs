//! The rpcs of [`SnowballService`].

use std::{sync::Arc, time::Duration};

use quell_api::{
    validate::Checker,
    work::v1::{
        CancelSnowballRequest, CancelSnowballResponse, GetSnowballRequest, GetSnowballResponse, ListSnowballsRequest,
        ListSnowballsResponse, SnowballSpec, StartSnowballRequest, StartSnowballResponse, WatchSnowballRequest,
        snowball_service_server::SnowballService,
    },
};
use quell_mesh::{Error, Mesh, NamespaceClient, Reason, Shutdown};
use serde::{Deserialize, Serialize};
use temporalio_client::{
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowSignalOptions, WorkflowStartOptions,
    errors::WorkflowStartError,
};
use temporalio_common::{MemoValues, search_attributes::SearchAttributes};
use tonic::{Request, Response, Status};

use super::{
    life::Nature,
    plan::{Client, MAX_CHILDREN, Relay},
    spec::{self, Checked},
    watch::{self, ROOT_TYPE, SPEC, Watch},
    workflows::CancelableWorkflow,
};
use crate::{page::Pages, source::Gates, visibility::WORKLOAD};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(500);
const MAX_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_REASON: &str = "cancelled by request";

const PAGES: Pages = Pages {
    rpc: "ListSnowballs",
    list: "snowballs",
};

/// Serves [`SnowballService`].
#[derive(Clone, Debug)]
pub struct SnowballApi {
    main: NamespaceClient,
    gates: Gates,
    shutdown: Shutdown,
    default_workload: Arc<str>,
}

/// What of a spec is remembered in the root's memo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Remembered {
    width: u32,
    depth: u32,
    concurrency: u32,
    rate_per_second: f64,
    lifetime_ms: u64,
    workload_id: String,
    /// What was not there from the beginning: an older memo lacks it.
    #[serde(default)]
    more: More,
}

/// What a spec asks for beyond the plain tree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct More {
    relay: Option<Relay>,
    nature: Option<Nature>,
    client: Option<Client>,
    max_children: Option<u32>,
}

impl Remembered {
    fn new(checked: &Checked) -> Self {
        let SnowballSpec {
            width,
            depth,
            concurrency,
            rate_per_second,
            workload_id,
            ..
        } = checked.spec.clone();
        let node = &checked.node;
        let order = node.order.as_ref();
        Self {
            width,
            depth,
            concurrency,
            rate_per_second,
            lifetime_ms: checked.node.lifetime_ms,
            workload_id,
            more: More {
                relay: order.and_then(|order| order.relay.clone()),
                nature: node.nature.clone(),
                client: node.client,
                max_children: order.map(|order| order.most).filter(|most| *most != MAX_CHILDREN),
            },
        }
    }
}

impl SnowballApi {
    /// Serves the snowballs of the main namespace.
    #[must_use]
    pub fn new(mesh: &Mesh, gates: Gates) -> Self {
        Self {
            main: mesh.main.clone(),
            gates,
            shutdown: mesh.shutdown.clone(),
            default_workload: mesh.settings.workload_id.as_str().into(),
        }
    }

    /// Starts the root, or finds the one that the same request started before. Returns its run id.
    async fn start(&self, checked: &Checked) -> Result<String, Error> {
        let remembered = Remembered::new(checked);
        let mut memo = MemoValues::new();
        memo.insert(SPEC, remembered.clone());
        let tagged = checked.node.client.is_none() && !checked.node.is_tagged_late();
        let summary = match checked.planned {
            0 => "workflows without end".to_owned(),
            planned => format!("{planned} workflows"),
        };
        let options = WorkflowStartOptions::new(self.main.task_queue(), checked.snowball_id.as_str())
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .maybe_search_attributes(
                tagged.then(|| SearchAttributes::new([WORKLOAD.value_set(remembered.workload_id.clone())])),
            )
            .memo(memo)
            .static_summary(summary)
            .build();
        let client = self.main.client().await?;
        match client
            .start_workflow(CancelableWorkflow::run, checked.node.clone(), options)
            .await
        {
            Ok(handle) => Ok(handle.info().run_id.clone().unwrap_or_default()),
            Err(WorkflowStartError::AlreadyStarted { .. }) => {
                let root = watch::root(&self.main, &checked.snowball_id).await;
                match root.map(|root| (root.memo::<Remembered>(SPEC), root.run_id)) {
                    Ok((Some(before), run_id)) if before == remembered => Ok(run_id),
                    Ok(_) | Err(Error::NotFound { .. }) => Err(Error::precondition(
                        Reason::RequestIdReused,
                        "request_id",
                        "it was used for another snowball, or by somebody else",
                    )),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[tonic::async_trait]
impl SnowballService for SnowballApi {
    async fn start_snowball(
        &self,
        request: Request<StartSnowballRequest>,
    ) -> Result<Response<StartSnowballResponse>, Status> {
        let request = request.into_inner();
        let validate_only = request.validate_only;
        let checked = spec::check(request, &self.default_workload)?;
        let run_id = if validate_only {
            String::new()
        } else {
            self.start(&checked).await?
        };
        if !validate_only {
            let (snowball_id, workload_id) = (&checked.snowball_id, &checked.spec.workload_id);
            tracing::info!(snowball_id, workload_id, planned = checked.planned, "snowball started");
        }
        let heeds = checked.node.client.is_none_or(|client| !client.heedless);
        Ok(Response::new(StartSnowballResponse {
            held: heeds && self.gates.is_closed(&checked.spec.workload_id).await == Some(true),
            snowball_id: checked.snowball_id,
            run_id,
            spec: Some(checked.spec),
            planned_workflows: checked.planned,
        }))
    }

    async fn get_snowball(
        &self,
        request: Request<GetSnowballRequest>,
    ) -> Result<Response<GetSnowballResponse>, Status> {
        let GetSnowballRequest { snowball_id } = request.into_inner();
        required(Checker::new(), &snowball_id)?;
        let (snowball, _) = watch::look(&self.main, &snowball_id).await?;
        Ok(Response::new(GetSnowballResponse {
            snowball: Some(snowball),
        }))
    }

    type WatchSnowballStream = Watch;

    async fn watch_snowball(&self, request: Request<WatchSnowballRequest>) -> Result<Response<Watch>, Status> {
        let WatchSnowballRequest { snowball_id, interval } = request.into_inner();
        let mut check = Checker::new();
        let interval = check.duration("interval", interval, DEFAULT_INTERVAL, MIN_INTERVAL..=MAX_INTERVAL);
        required(check, &snowball_id)?;
        // An unknown one is told before the stream begins.
        watch::root(&self.main, &snowball_id).await?;
        Ok(Response::new(watch::watch(
            self.main.clone(),
            snowball_id,
            interval,
            self.shutdown.token(),
        )))
    }

    async fn list_snowballs(
        &self,
        request: Request<ListSnowballsRequest>,
    ) -> Result<Response<ListSnowballsResponse>, Status> {
        let ListSnowballsRequest { page_size, page_token } = request.into_inner();
        let mut check = Checker::new();
        let wanted = PAGES.wanted(&mut check, page_size, &page_token);
        check.finish(()).map_err(Error::InvalidArgument)?;
        // A run that was continued as new is the same snowball as the run after it.
        let query = format!("WorkflowType = \"{ROOT_TYPE}\" AND ExecutionStatus != \"ContinuedAsNew\"");
        let (rows, next_page_token) = PAGES.list(&self.main, query, wanted).await?;
        Ok(Response::new(ListSnowballsResponse {
            snowballs: rows.into_iter().map(watch::without_counts).collect(),
            next_page_token,
        }))
    }

    async fn cancel_snowball(
        &self,
        request: Request<CancelSnowballRequest>,
    ) -> Result<Response<CancelSnowballResponse>, Status> {
        let CancelSnowballRequest { snowball_id, reason } = request.into_inner();
        let mut check = Checker::new();
        check.reason("reason", &reason, false);
        required(check, &snowball_id)?;
        let root = watch::root(&self.main, &snowball_id).await?;
        let ended = || {
            Error::precondition(
                Reason::WrongState,
                snowball_id.as_str(),
                "the snowball's root has ended already",
            )
        };
        if !root.open {
            return Err(ended().into());
        }
        let reason = if reason.trim().is_empty() {
            DEFAULT_REASON.to_owned()
        } else {
            reason
        };
        let handle = self
            .main
            .client()
            .await?
            .get_workflow_handle::<CancelableWorkflow>(snowball_id.clone());
        let sent = handle
            .signal(
                CancelableWorkflow::cancel,
                reason.clone(),
                WorkflowSignalOptions::default(),
            )
            .await;
        match sent.map_err(Error::from) {
            Ok(()) => {}
            // It was open a moment ago.
            Err(Error::NotFound { .. }) => return Err(ended().into()),
            Err(error) => return Err(error.into()),
        }
        tracing::info!(snowball_id, reason, "snowball asked to stop");
        Ok(Response::new(CancelSnowballResponse {}))
    }
}

fn required(mut check: Checker, snowball_id: &str) -> Result<(), Error> {
    check.required_id("snowball_id", snowball_id);
    check.finish(()).map_err(Error::InvalidArgument)
}
