//! The rpcs of [`SourceService`].

use std::time::Duration;

use prost_types::Timestamp;
use quell_api::{
    ids::gate_workflow,
    validate::Checker,
    work::v1::{
        QuiesceRequest, QuiesceResponse, QuiesceState, ResumeRequest, ResumeResponse,
        source_service_server::SourceService,
    },
};
use quell_mesh::{Error, Mesh, NamespaceClient, Shutdown};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::gates::{Gates, LONGEST};
use crate::visibility;

const DEFAULT_TTL: Duration = Duration::from_secs(3_600);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// For how long nothing must have been seen starting before a quiesce is called effective.
const QUIET: Duration = Duration::from_secs(1);
/// Pause between two looks; List and Count share ten calls a second of a whole namespace.
const LOOK: Duration = Duration::from_millis(250);
/// Time that is left for the answer when the caller's deadline comes.
const MARGIN: Duration = Duration::from_millis(500);

/// Serves [`SourceService`].
#[derive(Clone, Debug)]
pub struct SourceApi {
    main: NamespaceClient,
    gates: Gates,
    shutdown: Shutdown,
    request_timeout: Duration,
}

impl SourceApi {
    /// Serves the gates of the main namespace.
    #[must_use]
    pub fn new(mesh: &Mesh, gates: Gates) -> Self {
        Self {
            main: mesh.main.clone(),
            gates,
            shutdown: mesh.shutdown.clone(),
            request_timeout: mesh.settings.server.request_timeout,
        }
    }

    /// Waits until for [`QUIET`] nothing of the workload was seen starting after the gate was closed. Says no more than it
    /// saw: visibility lags behind, so a start may still show up later.
    async fn wait_until_effective(&self, workload_id: &str, gate_time: Timestamp, deadline: Instant) -> bool {
        // The count of what started since the gate closed only ever grows; while it stands still, nothing starts.
        let query = format!("WorkloadId = \"{workload_id}\" AND StartTime >= \"{gate_time}\"");
        let told = self.shutdown.token();
        let mut quiet: Option<(i64, Instant)> = None;
        loop {
            let looked = Instant::now();
            match visibility::count(&self.main, query.clone()).await {
                Ok(count) => match quiet {
                    Some((before, since)) if before == count => {
                        if since.elapsed() >= QUIET {
                            return true;
                        }
                    }
                    _ => quiet = Some((count, looked)),
                },
                // What could not be looked at was not quiet.
                Err(error) => {
                    tracing::debug!(workload_id, %error, "no look at a quiesced workload");
                    quiet = None;
                }
            }
            if looked + LOOK >= deadline {
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep_until(looked + LOOK) => {}
                () = told.cancelled() => return false,
            }
        }
    }
}

#[tonic::async_trait]
impl SourceService for SourceApi {
    async fn quiesce(&self, request: Request<QuiesceRequest>) -> Result<Response<QuiesceResponse>, Status> {
        let came = Instant::now();
        let limit = crate::deadline::of(request.metadata())
            .unwrap_or(self.request_timeout)
            .min(self.request_timeout);
        let QuiesceRequest {
            workload_id,
            ttl,
            wait,
            reason,
        } = request.into_inner();
        let mut check = Checker::new();
        check.workload_id("workload_id", &workload_id);
        let ttl = check.duration("ttl", ttl, DEFAULT_TTL, Duration::from_secs(1)..=LONGEST);
        let wait = check.duration("wait", wait, Duration::ZERO, Duration::ZERO..=MAX_WAIT);
        check.reason("reason", &reason, false);
        check.finish(()).map_err(Error::InvalidArgument)?;

        let gate_time = self.gates.close(&workload_id, ttl, &reason).await?;
        tracing::info!(workload_id, ttl_s = ttl.as_secs(), reason, "gate closed");
        let mut state = QuiesceState::Accepted;
        if !wait.is_zero() {
            let deadline = came + wait.min(limit.saturating_sub(MARGIN));
            if self.wait_until_effective(&workload_id, gate_time, deadline).await {
                state = QuiesceState::Effective;
            }
        }
        Ok(Response::new(QuiesceResponse {
            state: state.into(),
            gate_workflow_id: gate_workflow(&workload_id),
            gate_time: Some(gate_time),
        }))
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<ResumeResponse>, Status> {
        let ResumeRequest { workload_id } = request.into_inner();
        let mut check = Checker::new();
        check.workload_id("workload_id", &workload_id);
        check.finish(()).map_err(Error::InvalidArgument)?;
        let was_quiesced = self.gates.open(&workload_id).await?;
        tracing::info!(workload_id, was_quiesced, "gate open");
        Ok(Response::new(ResumeResponse { was_quiesced }))
    }
}
