//! The loops around a turn: wait for it, hold it, and wait for an operation that somebody else wants started. As the loops over a job, they
//! know nothing of workers.

use super::{
    activities::StartProgress,
    attempt::{Attempt, Details},
    guards::{guarded, unprotected},
    loops::Stop,
    messages::{Beat, Holder, OperationInput, Place, Waiting},
    record::Record,
    server::{JobServer, name_field},
    store::{RESOURCE, Records},
};
use quell_api::batch_activities::BatchCancelOutput;
use quell_mesh::error::{Error, Reason};
use quell_mesh::metrics::{BATCH_QUEUE, BATCH_WAIT};
use std::time::{Duration, Instant};

/// Pause between two looks, for whoever is next; who stands further behind looks less often.
const POLL: Duration = Duration::from_secs(1);
/// The longest pause, in places.
const FAR: u32 = 10;
/// Looks for which an operation that has come may be missing from the line: the line is published a workflow task later.
const UNSEEN: u32 = 5;

/// Puts an operation in line and waits for its turn. A line that it is missing from, because somebody ended the queue, is entered again.
pub(crate) async fn wait_for_turn(
    records: &dyn Records,
    attempt: &impl Attempt,
    place: &Place,
    beat: &Details<Beat>,
) -> Result<(), Stop> {
    let mut unseen = UNSEEN;
    let asked = Instant::now();
    loop {
        let line = records.line(&place.namespace).await?;
        BATCH_QUEUE
            .with([])
            .set(i64::try_from(line.waiting.len()).unwrap_or(i64::MAX));
        if line.is_turn_of(&place.job_id) {
            BATCH_WAIT.with([]).record(asked.elapsed());
            return Ok(());
        }
        let position = line.position(&place.job_id);
        if position.is_some() {
            unseen = 0;
        } else {
            unseen += 1;
        }
        if unseen > UNSEEN {
            records.enter(&place.namespace, waiting(place)).await?;
            unseen = 1;
        }
        beat.set(Beat {
            position: position.unwrap_or(0),
            holder: line.holder.map(|holder| Holder {
                job_id: holder.job_id,
                ours: true,
            }),
            ..Beat::default()
        });
        if attempt.pause(POLL * position.unwrap_or(1).clamp(1, FAR)).await {
            return Err(Stop::Told);
        }
    }
}

fn waiting(place: &Place) -> Waiting {
    Waiting {
        job_id: place.job_id.clone(),
        kind: place.kind,
    }
}

/// Returns when the slot is free of the operation.
pub(crate) async fn hold(records: &dyn Records, attempt: &impl Attempt, job_id: &str) -> Result<(), Stop> {
    loop {
        match records.read(job_id).await? {
            None => return Ok(()),
            Some(record) if record.is_through() => return Ok(()),
            Some(_) => {}
        }
        if attempt.pause(POLL).await {
            return Err(Stop::Told);
        }
    }
}

/// Begins an operation, once, and returns when the server has its job.
pub(crate) async fn until_started(
    server: &dyn JobServer,
    records: &dyn Records,
    attempt: &impl Attempt,
    input: &OperationInput,
    progress: &Details<StartProgress>,
) -> Result<BatchCancelOutput, Stop> {
    let job_id = &input.job_id;
    loop {
        // First of all: the attempt before may have begun it.
        if let Some(job) = server.describe(job_id).await? {
            if attempt.is_stopped() {
                return Err(Stop::Told);
            }
            return Ok(BatchCancelOutput {
                start_time_ms: job.start_time_ms(),
                job_id: job.id,
            });
        }
        match records.read(job_id).await? {
            Some(record) if record.ended => return Err(Stop::Failed(ended(&record))),
            Some(record) => {
                let before = progress.get();
                progress.set(StartProgress {
                    job_id: job_id.clone(),
                    refused: before.refused.saturating_add(1),
                    waiting_for: record.beat.holder.map(|holder| holder.job_id).unwrap_or_default(),
                });
            }
            None => {
                // Before it is in line: a query that the server does not take is told at once.
                guarded(server, &input.spec)
                    .await
                    .map_err(|error| name_field(error, "query"))?;
                unprotected(server, &input.spec).await?;
                if attempt.is_stopped() {
                    return Err(Stop::Told);
                }
                if records.start(input.clone()).await? {
                    tracing::info!(job_id, "batch operation queued");
                }
            }
        }
        if attempt.pause(POLL).await {
            return Err(Stop::Told);
        }
    }
}

/// Why an operation that has ended never had a job.
fn ended(record: &Record) -> Error {
    let problem = record.proto(None).problem;
    let text = if problem.is_empty() {
        "it was stopped while it was queued".to_owned()
    } else {
        problem
    };
    Error::precondition(Reason::WrongState, format!("{RESOURCE}/{}", record.job_id), text)
}
