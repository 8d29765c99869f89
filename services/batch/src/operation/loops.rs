//! The loops over a job: start it once, watch it to its end, stop it. They know nothing of workers, so that they are tested without
//! one.

use super::{
    attempt::{Attempt, Details},
    guards::{guarded, selection},
    identity::Identity,
    job::{Job, NewJob, State},
    messages::{Beat, Figures, Holder, Ran},
    progress::{Meter, joined},
    server::{JobServer, Started, name_field},
    spec::Spec,
    store::{RESOURCE, Records},
};
use quell_api::batch_activities::TrackBatchOutput;
use quell_mesh::error::Error;
use std::time::Duration;

/// Pause between two looks at a job.
const POLL: Duration = Duration::from_secs(1);
/// First pause while somebody else has the slot; doubled up to [`SLOT_WAIT_MAX`]. Each try costs one of the ten List and
/// Count calls a second that a namespace has, or, for a list where something is protected, a Describe of each.
const SLOT_WAIT: Duration = Duration::from_secs(1);
/// Longest pause while somebody else has the slot.
const SLOT_WAIT_MAX: Duration = Duration::from_secs(8);
/// Looks at a job that was stopped, until the server says so.
const STOP_LOOKS: u32 = 10;
/// Pause between two of them.
const STOP_POLL: Duration = Duration::from_millis(200);

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

/// A job that is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Its id, the same for all attempts.
    pub(crate) job_id: &'a str,
    /// What it does.
    pub(crate) spec: &'a Spec,
    /// Workflow id of the caller; empty for a gRPC call.
    pub(crate) caller: &'a str,
}

/// Starts the job, or finds it started, and watches it to its end.
pub(crate) async fn run(
    server: &dyn JobServer,
    attempt: &impl Attempt,
    wanted: &Wanted<'_>,
    beat: &Details<Beat>,
) -> Result<Ran, Stop> {
    let (mut job, mut meter) = start_once(server, attempt, wanted, beat).await?;
    loop {
        let figures = meter.read(server, wanted.spec, &job, &beat.get().figures).await;
        beat.set(Beat {
            figures: figures.clone(),
            ..Beat::default()
        });
        if !job.is_running() {
            return Ok(Ran {
                completed: job.state == State::Completed,
                figures,
            });
        }
        if attempt.pause(POLL).await {
            return Err(Stop::Told);
        }
        job = look(server, wanted.job_id).await?;
    }
}

/// Starts the job, or finds it started; waits for the slot as long as it takes.
pub(crate) async fn start_once(
    server: &dyn JobServer,
    attempt: &impl Attempt,
    wanted: &Wanted<'_>,
    beat: &Details<Beat>,
) -> Result<(Job, Meter), Stop> {
    let mut meter = None;
    let mut wait = SLOT_WAIT;
    loop {
        // First of all: the attempt before may have started it, and our own job in the slot looks like a stranger's.
        if let Some(job) = server.describe(wanted.job_id).await? {
            if attempt.is_stopped() {
                return Err(Stop::Told);
            }
            return Ok((job, meter.map_or_else(Meter::late, |(_, meter)| meter)));
        }
        let matched = match &meter {
            Some((matched, _)) => *matched,
            None => {
                let matched = guarded(server, wanted.spec)
                    .await
                    .map_err(|error| name_field(error, "query"))?;
                meter = Some((matched, Meter::before(server, wanted.spec, matched).await));
                matched
            }
        };
        if attempt.is_stopped() {
            return Err(Stop::Told);
        }
        let job = NewJob {
            id: wanted.job_id.to_owned(),
            selection: selection(server, wanted.spec).await?,
            action: wanted.spec.action.clone(),
            reason: wanted.spec.reason.clone(),
            identity: Identity::new(&wanted.spec.subject(), matched, wanted.caller),
        };
        match server.start(&job).await {
            Ok(Started::Taken) => wait = SLOT_WAIT,
            Ok(Started::SlotTaken) => {
                // Ours? The next look tells. If not, somebody else's: wait for its end.
                if server.describe(wanted.job_id).await?.is_some() {
                    continue;
                }
                // Whatever was counted is old by the time the slot is free.
                meter = None;
                let holder = server.holder().await?.map(|job| Holder {
                    ours: Identity::parse(&job.identity).is_some(),
                    job_id: job.id,
                });
                tracing::info!(job_id = wanted.job_id, ?holder, "batch slot is taken, waiting");
                beat.set(Beat {
                    position: 1,
                    holder,
                    ..beat.get()
                });
                if attempt.pause(wait).await {
                    return Err(Stop::Told);
                }
                wait = (wait * 2).min(SLOT_WAIT_MAX);
            }
            // A rival attempt of ours was faster; or the id is a workflow's that is no batch operation, for ever.
            Ok(Started::Exists) => {
                if server.describe(wanted.job_id).await?.is_none() {
                    let name = wanted.job_id.to_owned();
                    return Err(Stop::Failed(Error::AlreadyExists {
                        kind: "workflow execution",
                        name,
                    }));
                }
            }
            // Also when an answer was lost: the next look tells what became of it.
            Err(error) if error.is_retryable() => {
                tracing::warn!(job_id = wanted.job_id, %error, "start of the batch operation is in doubt, looking again");
                if attempt.pause(SLOT_WAIT).await {
                    return Err(Stop::Told);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Stops the job, if it is there, and tells how far it had come.
pub(crate) async fn stop(server: &dyn JobServer, job_id: &str, beat: &Details<Beat>) -> Result<Ran, Error> {
    if server.stop_running(job_id, "the operation was stopped").await? {
        tracing::info!(job_id, "batch operation stopped");
    }
    let mut looks = 0;
    loop {
        let Some(job) = server.describe(job_id).await? else {
            return Ok(Ran::default());
        };
        looks += 1;
        if !job.is_running() || looks == STOP_LOOKS {
            return Ok(Ran {
                completed: job.state == State::Completed,
                figures: joined(&beat.get().figures, &job),
            });
        }
        tokio::time::sleep(STOP_POLL).await;
    }
}

/// Watches a job, whosever it is, until it ends.
pub(crate) async fn track(
    server: &dyn JobServer,
    records: &dyn Records,
    attempt: &impl Attempt,
    job_id: &str,
    told: &Details<TrackBatchOutput>,
) -> Result<TrackBatchOutput, Stop> {
    loop {
        let Some(job) = server.describe(job_id).await? else {
            match records.read(job_id).await? {
                // Ended without a job.
                Some(record) if record.ended => return Ok(told.get()),
                Some(_) if attempt.pause(POLL).await => return Err(Stop::Told),
                Some(_) => continue,
                None => return Err(Stop::Failed(Error::not_found(RESOURCE, job_id))),
            }
        };
        let seen = told.get();
        let before = Figures {
            total: seen.total,
            done: seen.done,
            failed: seen.failed,
            ..Figures::default()
        };
        let now = joined(&before, &job);
        let now = TrackBatchOutput {
            completed: job.state == State::Completed,
            total: now.total,
            done: now.done,
            failed: now.failed,
        };
        told.set(now.clone());
        if !job.is_running() {
            return Ok(now);
        }
        if attempt.pause(POLL).await {
            return Err(Stop::Told);
        }
    }
}

async fn look(server: &dyn JobServer, job_id: &str) -> Result<Job, Error> {
    server
        .describe(job_id)
        .await?
        .ok_or_else(|| Error::not_found(RESOURCE, job_id))
}
