//! The two loops behind the activities: start a job once, watch it to its end. They know nothing of workers, so that they are
//! tested without one.

use super::{
    activities::Request,
    attempt::{Attempt, Details},
    identity::Identity,
    job::{Kind, NewJob, State},
    server::{JobServer, Started, name_field},
};
use quell_api::batch_activities::{BatchCancelOutput, TrackBatchOutput};
use quell_mesh::error::Error;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Pause between two looks at a job.
const POLL: Duration = Duration::from_secs(1);
/// First pause while somebody else has the slot; doubled up to [`SLOT_WAIT_MAX`]. Each try costs one of the ten List and
/// Count calls a second that a namespace has.
const SLOT_WAIT: Duration = Duration::from_secs(1);
/// Longest pause while somebody else has the slot.
const SLOT_WAIT_MAX: Duration = Duration::from_secs(8);

/// Why a loop ended without a result.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The attempt was told to stop.
    Told,
    /// It failed.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Heartbeat of `batch_cancel_workflows`: what it is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartProgress {
    /// Job id.
    pub(crate) job_id: String,
    /// Starts that were refused because the slot was taken.
    pub(crate) refused: u32,
    /// Who holds the slot: a job id; empty when nobody is waited for, or when the holder has ended meanwhile.
    pub(crate) waiting_for: String,
}

/// Starts the job, or finds it started; waits for the slot as long as it takes.
pub(crate) async fn start_once(
    server: &dyn JobServer,
    attempt: &impl Attempt,
    request: &Request,
    progress: &Details<StartProgress>,
) -> Result<BatchCancelOutput, Stop> {
    let mut counted = None;
    let mut wait = SLOT_WAIT;
    loop {
        // First of all: the attempt before may have started it, and our own job in the slot looks like a stranger's.
        if let Some(job) = server.describe(&request.job_id).await? {
            if attempt.is_stopped() {
                return Err(Stop::Told);
            }
            return Ok(BatchCancelOutput {
                job_id: job.id.clone(),
                start_time_ms: job.start_time_ms(),
            });
        }
        // A count proves the query: the server would take a malformed one, fail on it for ever and keep the slot.
        let matched = match counted {
            Some(matched) => matched,
            None => *counted.insert(
                server
                    .count(&request.query)
                    .await
                    .map_err(|error| name_field(error, "query"))?,
            ),
        };
        if attempt.is_stopped() {
            return Err(Stop::Told);
        }
        let job = NewJob {
            id: request.job_id.clone(),
            query: request.query.clone(),
            kind: Kind::Terminate,
            reason: request.reason.clone(),
            identity: Identity::new(&request.query, matched, &request.caller),
        };
        match server.start(&job).await {
            Ok(Started::Taken) => wait = SLOT_WAIT,
            Ok(Started::SlotTaken) => {
                // Ours? The next look tells. If not, somebody else's: wait for its end.
                if server.describe(&request.job_id).await?.is_some() {
                    continue;
                }
                let waiting_for = server.holder().await?.map_or_else(String::new, |job| job.id);
                let refused = progress.get().refused.saturating_add(1);
                tracing::info!(
                    job_id = request.job_id,
                    waiting_for,
                    refused,
                    "batch slot is taken, waiting"
                );
                progress.set(StartProgress {
                    job_id: request.job_id.clone(),
                    refused,
                    waiting_for,
                });
                if attempt.pause(wait).await {
                    return Err(Stop::Told);
                }
                wait = (wait * 2).min(SLOT_WAIT_MAX);
            }
            // A rival attempt of ours was faster; or the id is a workflow's that is no batch operation, for ever.
            Ok(Started::Exists) => {
                if server.describe(&request.job_id).await?.is_none() {
                    let name = request.job_id.clone();
                    return Err(Stop::Failed(Error::AlreadyExists {
                        kind: "workflow execution",
                        name,
                    }));
                }
            }
            // Also when an answer was lost: the next look tells what became of it.
            Err(error) if error.is_retryable() => {
                tracing::warn!(job_id = request.job_id, %error, "start of the batch operation is in doubt, looking again");
                if attempt.pause(SLOT_WAIT).await {
                    return Err(Stop::Told);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Watches the job until it ends.
pub(crate) async fn track(
    server: &dyn JobServer,
    attempt: &impl Attempt,
    job_id: &str,
    figures: &Details<TrackBatchOutput>,
) -> Result<TrackBatchOutput, Stop> {
    loop {
        let Some(job) = server.describe(job_id).await? else {
            return Err(Stop::Failed(Error::not_found("batch operation", job_id)));
        };
        let seen = figures.get();
        let now = match job.state {
            // The server's own heartbeat may not be there yet, and is gone once the job failed.
            State::Running | State::Failed => TrackBatchOutput {
                completed: false,
                total: job.total.max(seen.total),
                done: job.done.max(seen.done),
                failed: job.failed.max(seen.failed),
            },
            State::Completed => TrackBatchOutput {
                completed: true,
                total: job.total,
                done: job.done,
                failed: job.failed,
            },
        };
        figures.set(now.clone());
        if !job.is_running() {
            return Ok(now);
        }
        if attempt.pause(POLL).await {
            return Err(Stop::Told);
        }
    }
}
