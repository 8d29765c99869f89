//! The activities of a restoration.

#![allow(missing_docs, reason = "the macro generates undocumented items")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quell_mesh::{Error, Mesh, NamespaceClient, Outgoing, PayloadStore, Shutdown, activity::earlier};
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tracing::{Instrument as _, field::Empty, info_span};

use super::{
    messages::{Beat, ResetInput, ResetOutput, ResumeInput, Resumed, SurveyInput, Surveyed},
    resetter, resume,
    seeds::Ground,
    survey::{Failed, Surveyor},
};
use crate::cancellation::{
    Namespaces,
    activities::{beating, kept_alive},
    guards,
    namespace::Namespace,
    status::activity_error,
    store::running,
    view::View,
};

/// The activities, and what they stand on.
pub struct RestoreActivities {
    namespaces: Namespaces,
    canceler: NamespaceClient,
    payloads: PayloadStore,
    shutdown: Shutdown,
    work_address: String,
    peers: Outgoing,
}

impl RestoreActivities {
    /// The activities of a service process.
    #[must_use]
    pub fn new(mesh: &Mesh, namespaces: Namespaces) -> Self {
        Self {
            namespaces,
            canceler: mesh.canceler.clone(),
            payloads: mesh.payloads.clone(),
            shutdown: mesh.shutdown.clone(),
            work_address: mesh.settings.peers.work_address.clone(),
            peers: mesh.peers.clone(),
        }
    }
}

#[activities]
impl RestoreActivities {
    /// Describes everything that the cancellation ended, and writes the plan. Changes no execution.
    #[activity(name = "survey_restoration")]
    pub async fn survey_restoration(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: SurveyInput,
    ) -> Result<Surveyed, ActivityError> {
        let span = info_span!(
            "survey",
            stopped = Empty,
            cascade = Empty,
            planned = Empty,
            levels = Empty
        );
        let asked = &input.asked;
        let surveyed = AtomicU64::new(0);
        let work = async {
            let main = self.namespaces.connect(&asked.namespace).await?;
            let ground = Ground::of(&self.canceler, &self.payloads, &asked.cancellation_id).await;
            let ground = ground.map_err(|error| failed(error.into()))?;
            let surveyor = Surveyor {
                main: &main,
                payloads: &self.payloads,
                ground: &ground,
                concurrency: usize::try_from(asked.concurrency.max(1)).unwrap_or(1),
                surveyed: &surveyed,
            };
            let folder = format!("restoration/{}/{}", asked.cancellation_id, input.run_id);
            let output = surveyor.run(asked.max_affected, &folder).await.map_err(failed)?;
            span.record("stopped", output.stopped)
                .record("cascade", output.cascade)
                .record("planned", output.planned)
                .record("levels", output.levels);
            Ok(output)
        };
        let beat = || Beat {
            surveyed: surveyed.load(Ordering::Relaxed),
            ..Beat::default()
        };
        beating(&ctx, beat, work).instrument(span.clone()).await
    }

    /// Resets one part of the plan.
    #[activity(name = "reset_workflows")]
    pub async fn reset_workflows(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ResetInput,
    ) -> Result<ResetOutput, ActivityError> {
        let span = info_span!(
            "reset",
            items = input.chunk.items,
            attempt = ctx.info().attempt,
            restored = Empty,
            left = Empty
        );
        let before: Beat = earlier(&ctx);
        let prepared = async {
            let main = self.namespaces.connect(&input.asked.namespace).await?;
            self.alone(&main, &input.asked.cancellation_id).await?;
            let items = resetter::read(&self.payloads, &input.chunk).await;
            Ok::<_, ActivityError>((main, items.map_err(|error| failed(error.into()))?))
        };
        let work = async {
            // A slow server must not look like a dead worker; told to stop meanwhile, the part still counts what it has done before.
            let (main, items) = kept_alive(&ctx, || before.clone(), prepared).await??;
            let output = resetter::run(&ctx, &main, &self.shutdown, &items, &input, before).await?;
            span.record("restored", output.restored)
                .record("left", output.left.total());
            tracing::info!(
                cancellation_id = input.asked.cancellation_id,
                restored = output.restored,
                left = output.left.total(),
                "part of a restoration done"
            );
            Ok(output)
        };
        work.instrument(span.clone()).await
    }

    /// Tells the source that the workload may spawn again.
    #[activity(name = "resume_source")]
    pub async fn resume_source(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ResumeInput,
    ) -> Result<Resumed, ActivityError> {
        let work = async {
            let main = self.namespaces.connect(&input.namespace).await?;
            self.alone(&main, &input.cancellation_id).await?;
            Ok(resume::run((&self.work_address, &self.peers), &input).await)
        };
        beating(&ctx, Beat::default, work).await
    }
}

impl RestoreActivities {
    /// Fails for good when the target is being stopped again: what is restored now, and a source that is told to go on, would be its
    /// next runaway.
    async fn alone(&self, main: &Namespace, cancellation_id: &str) -> Result<(), ActivityError> {
        let cancellation = View::read(&self.canceler, cancellation_id).await;
        let cancellation = cancellation.map_err(|error| failed(error.into()))?;
        let alone = async {
            let running = running(&self.canceler).await?;
            guards::alone(main, &self.canceler, &running, &cancellation.about.spec, None).await
        };
        alone.await.map_err(|error| failed(error.into()))
    }
}

/// A survey's failure: tried again, unless another try would end the same.
fn failed(failed: Failed) -> ActivityError {
    match failed {
        Failed::Call(status) => activity_error("describing an execution", &status),
        Failed::Ours(error) if error.is_retryable() || matches!(error, Error::Internal { .. }) => {
            ActivityError::application(ApplicationFailure::new(anyhow::anyhow!("{}", error.public_message())))
        }
        Failed::Ours(error) => {
            let text = anyhow::anyhow!("{}", error.public_message());
            ActivityError::application(ApplicationFailure::non_retryable(text))
        }
    }
}
