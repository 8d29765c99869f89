//! The activities of the service's own two workflows. Each is safe to kill at any step: what it starts has an id that was decided
//! before, and it looks before it does anything.

use super::{
    activities::failure,
    attempt::{Details, beating},
    loops::{self, Stop, Wanted},
    messages::{Beat, OperationInput, Place, Ran, Survey, SurveyInput},
    owner,
    server::JobServer,
    store::Records,
    survivors, turns,
};
use quell_mesh::{
    activity::earlier,
    error::{Error, Reason},
};
use std::sync::Arc;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// Of the operation's workflow and of the queue's.
pub(crate) struct OperationActivities {
    server: Arc<dyn JobServer>,
    records: Arc<dyn Records>,
}

impl OperationActivities {
    /// Over the batch interface of the main namespace and the records in the canceler's.
    pub(crate) fn new(server: Arc<dyn JobServer>, records: Arc<dyn Records>) -> Self {
        Self { server, records }
    }
}

#[activities]
impl OperationActivities {
    /// Puts an operation in line and waits for its turn.
    #[activity(name = "wait_for_batch_turn")]
    pub(crate) async fn wait_for_batch_turn(
        self: Arc<Self>,
        ctx: ActivityContext,
        place: Place,
    ) -> Result<(), ActivityError> {
        let beat = Details::new(Beat::default());
        let waited = turns::wait_for_turn(&*self.records, &ctx, &place, &beat);
        match beating(&ctx, &beat, waited).await {
            Ok(()) => Ok(()),
            Err(Stop::Failed(error)) => Err(failure(&error)),
            Err(Stop::Told) => Err(told(&ctx).await),
        }
    }

    /// Takes an operation out of the line.
    #[activity(name = "leave_batch_queue")]
    pub(crate) async fn leave_batch_queue(
        self: Arc<Self>,
        _ctx: ActivityContext,
        place: Place,
    ) -> Result<(), ActivityError> {
        let left = self.records.leave(&place.namespace, &place.job_id).await;
        left.map_err(|error| failure(&error))
    }

    /// Starts the job, once, and watches it to its end. Cancelled, it stops the job and tells how far it had come.
    #[activity(name = "run_batch_operation")]
    pub(crate) async fn run_batch_operation(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: OperationInput,
    ) -> Result<Ran, ActivityError> {
        // What the attempt before saw: a job that fails no longer tells it.
        let seen: Beat = earlier(&ctx);
        let beat = Details::new(seen);
        let wanted = Wanted {
            job_id: &input.job_id,
            spec: &input.spec,
            caller: &input.caller,
        };
        match beating(&ctx, &beat, loops::run(&*self.server, &ctx, &wanted, &beat)).await {
            Ok(ran) => {
                tracing::info!(
                    job_id = input.job_id,
                    completed = ran.completed,
                    done = ran.figures.done,
                    failed = ran.figures.failed,
                    "batch operation ended"
                );
                Ok(ran)
            }
            Err(Stop::Failed(error)) => Err(failure(&error)),
            Err(Stop::Told) if owner::wants_stop(&ctx).await => {
                let stopped = loops::stop(&*self.server, &input.job_id, &beat);
                beating(&ctx, &beat, stopped).await.map_err(|error| failure(&error))
            }
            Err(Stop::Told) => Err(interrupted()),
        }
    }

    /// Looks for what the job did not get done.
    #[activity(name = "find_batch_survivors")]
    pub(crate) async fn find_batch_survivors(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: SurveyInput,
    ) -> Result<Survey, ActivityError> {
        let beat = Details::new(Beat::default());
        let look = async {
            // Signals are known by who sent them.
            let identity = self.server.describe(&input.job_id).await?.map(|job| job.identity);
            survivors::find(&*self.server, &ctx, &input, &identity.unwrap_or_default()).await
        };
        let survey = beating(&ctx, &beat, look).await.map_err(|error| failure(&error))?;
        tracing::info!(
            job_id = input.job_id,
            looked_at = survey.looked_at,
            survivors = survey.survivors.len(),
            complete = survey.complete,
            "survivors looked for"
        );
        Ok(survey)
    }

    /// Returns when the slot is free again: the server is done with the operation's job, or its record has ended, or there is none.
    #[activity(name = "hold_batch_slot")]
    pub(crate) async fn hold_batch_slot(
        self: Arc<Self>,
        ctx: ActivityContext,
        job_id: String,
    ) -> Result<(), ActivityError> {
        let beat = Details::new(Beat::default());
        match beating(&ctx, &beat, turns::hold(&*self.records, &ctx, &job_id)).await {
            Ok(()) => Ok(()),
            Err(Stop::Failed(error)) => Err(failure(&error)),
            Err(Stop::Told) => Err(told(&ctx).await),
        }
    }
}

/// The end of an attempt that was told to stop: cancelled when its workflow wants that, and else to be tried again elsewhere.
pub(crate) async fn told(ctx: &ActivityContext) -> ActivityError {
    if owner::wants_stop(ctx).await {
        ActivityError::cancelled()
    } else {
        interrupted()
    }
}

/// A worker that shuts down: the next attempt goes on, elsewhere, and does not have to wait for a heartbeat to be missed.
pub(crate) fn interrupted() -> ActivityError {
    failure(&Error::unavailable(
        Reason::ShuttingDown,
        "the worker of this attempt shuts down",
    ))
}
