//! Requests: checked, all bad fields at once, and held against the cancellation before anything is started.

use quell_api::{canceler::v1 as pb, validate::Checker};
use quell_mesh::{Error, Mesh};

use super::{
    messages::Asked,
    seeds::Ground,
    store::{self, View},
};
use crate::cancellation::{Namespaces, convert::count, guards, store::running};

const DEFAULT_REASON: &str = "restored by request";
const DEFAULT_STOP_REASON: &str = "stopped by request";
const DEFAULT_MAX_AFFECTED: i64 = 10_000;
const MAX_AFFECTED: i64 = 1_000_000;
const DEFAULT_CONCURRENCY: i32 = 16;
const MAX_CONCURRENCY: i32 = 200;

/// Starts a restoration, or joins the one that runs.
///
/// # Errors
/// [`Error::InvalidArgument`] with every bad field; [`Error::NotFound`]; [`Error::FailedPrecondition`] when one of the guards
/// refuses.
pub(crate) async fn restore(
    mesh: &Mesh,
    namespaces: &Namespaces,
    request: pb::RestoreCancellationRequest,
    requested_by: String,
) -> Result<pb::RestoreCancellationResponse, Error> {
    let mut check = Checker::new();
    check.required_id("cancellation_id", &request.cancellation_id);
    check.reason("reason", &request.reason, false);
    let max_affected = check.int(
        "max_affected",
        request.max_affected,
        DEFAULT_MAX_AFFECTED,
        1..=MAX_AFFECTED,
    );
    let concurrency = check.int(
        "concurrency",
        request.concurrency,
        DEFAULT_CONCURRENCY,
        1..=MAX_CONCURRENCY,
    );
    check.finish(()).map_err(Error::InvalidArgument)?;
    let id = request.cancellation_id;
    let max_affected = u64::try_from(max_affected).unwrap_or(0);

    let ground = Ground::of(&mesh.canceler, &mesh.payloads, &id).await?;
    // Reads all of the journal, so that a chunk that is missing or changed refuses the whole.
    let stopped = ground.seeds(&mesh.payloads, max_affected).await?.stopped;
    let main = namespaces.connect(ground.spec.namespace()).await?;
    let (running, undone) = (running(&mesh.canceler).await?, guards::undone(&mesh.canceler).await?);
    guards::alone(&main, &mesh.canceler, &running, &ground.spec, None).await?;
    guards::not_restored(&main, &undone, &ground.spec, Some(&id)).await?;
    let response = |joined| pb::RestoreCancellationResponse {
        cancellation_id: id.clone(),
        stopped: count(stopped),
        joined,
    };
    if request.validate_only {
        return Ok(response(false));
    }
    let asked = Asked {
        cancellation_id: id.clone(),
        namespace: ground.spec.namespace().to_owned(),
        reason: if request.reason.trim().is_empty() {
            DEFAULT_REASON.to_owned()
        } else {
            request.reason
        },
        requested_by,
        max_affected,
        concurrency: u32::try_from(concurrency).unwrap_or(1),
        resume: if request.resume_sources.unwrap_or(true) {
            ground.spec.target.workload_ids()
        } else {
            Vec::new()
        },
    };
    let started = store::start(&mesh.canceler, asked).await?;
    tracing::info!(cancellation_id = id, stopped, started, "restoration asked for");
    Ok(response(!started))
}

/// Asks a restoration to end. One that has ended already is left as it is.
///
/// # Errors
/// [`Error::InvalidArgument`] with every bad field; [`Error::NotFound`].
pub(crate) async fn stop(mesh: &Mesh, request: pb::StopRestorationRequest) -> Result<(), Error> {
    let mut check = Checker::new();
    check.required_id("cancellation_id", &request.cancellation_id);
    check.reason("reason", &request.reason, false);
    check.finish(()).map_err(Error::InvalidArgument)?;
    let reason = Some(request.reason).filter(|reason| !reason.trim().is_empty());
    let reason = reason.unwrap_or_else(|| DEFAULT_STOP_REASON.to_owned());
    store::stop(&mesh.canceler, &request.cancellation_id, reason).await
}

/// The last restoration of a cancellation.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub(crate) async fn get(mesh: &Mesh, id: &str) -> Result<pb::Restoration, Error> {
    Ok(View::read(&mesh.canceler, id).await?.to_proto())
}
