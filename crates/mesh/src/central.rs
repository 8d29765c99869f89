//! The central timeouts and retries (`temporal.workflows`, `temporal.activities`), and typed starts by them.
//!
//! A workflow must not read settings: a replay on another day would decide otherwise. So whoever starts it gives it the [`Limits`]
//! of that moment in its input, and every activity of it gets its options from there ([`Limits::activity`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporalio_client::{
    Client, WorkflowGetResultOptions, WorkflowHandle, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
    WorkflowStartOptions,
};
use temporalio_common::{HasWorkflowDefinition, RetryPolicy};
use temporalio_sdk::{ActivityOptions, WorkflowCancellationToken};

use crate::config::{self, Settings, Sources};
use crate::error::Error;
use crate::{Mesh, NamespaceClient};

/// The central timeouts and retries of activities, as they were when a workflow was started. Part of its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// One attempt, in milliseconds.
    pub start_to_close_ms: u64,
    /// Attempts of an activity, the first included.
    pub maximum_attempts: u32,
    /// Factor between pauses.
    pub backoff_coefficient: f64,
    /// Pause before the second attempt, in milliseconds.
    pub initial_interval_ms: u64,
    /// Longest pause, in milliseconds.
    pub maximum_interval_ms: u64,
    /// Failure types that are not tried again.
    pub non_retryable_error_types: Vec<String>,
}

impl Limits {
    /// Those of the settings.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let activities = &settings.activities;
        Self {
            start_to_close_ms: millis(activities.start_to_close),
            maximum_attempts: activities.maximum_attempts,
            backoff_coefficient: activities.backoff_coefficient,
            initial_interval_ms: millis(activities.initial_interval),
            maximum_interval_ms: millis(activities.maximum_interval),
            non_retryable_error_types: activities.non_retryable_error_types.clone(),
        }
    }

    /// How often, and with which pauses, an activity is tried.
    #[must_use]
    pub fn retries(&self) -> RetryPolicy {
        RetryPolicy::builder()
            .initial_interval(Duration::from_millis(self.initial_interval_ms))
            .backoff_coefficient(self.backoff_coefficient)
            .maximum_interval(Duration::from_millis(self.maximum_interval_ms))
            .maximum_attempts(self.maximum_attempts)
            .non_retryable_error_types(self.non_retryable_error_types.clone())
            .build()
    }

    /// Options of an activity that ends when `token` is cancelled.
    #[must_use]
    pub fn activity(&self, token: WorkflowCancellationToken) -> ActivityOptions {
        ActivityOptions::with_start_to_close_timeout(Duration::from_millis(self.start_to_close_ms))
            .cancellation_token(token)
            .retry_policy(self.retries())
            .build()
    }
}

/// The defaults of docs/configuration.md, for a workflow that is started by something else than a service (Temporal's own command
/// line, a schedule of somebody's).
impl Default for Limits {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "constants; a test loads them")]
        let config = config::load(&Sources::default(), 0).expect("the defaults of the table are valid");
        Self::of(&config.settings)
    }
}

/// A duration as it travels.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Mesh {
    /// Options of a workflow's start with the central timeouts; an id that is open is refused. More can be set on what is returned.
    #[must_use]
    pub fn start_options(&self, queue: &str, id: impl Into<String>) -> WorkflowStartOptions {
        let timeouts = &self.settings.workflows;
        WorkflowStartOptions::new(queue, id)
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .execution_timeout(timeouts.execution)
            .run_timeout(timeouts.run)
            .task_timeout(timeouts.task)
            .build()
    }

    /// Starts a workflow of the main namespace and returns. Its input and its queries, signals and result by the handle are typed.
    ///
    /// # Errors
    /// `AlreadyExists` when an execution of that id is open; Temporal's, translated.
    pub async fn start<W>(
        &self,
        workflow: W,
        queue: &str,
        id: &str,
        input: W::Input,
    ) -> Result<WorkflowHandle<Client, W>, Error>
    where
        W: HasWorkflowDefinition,
        W::Input: Send,
    {
        let options = self.start_options(queue, id);
        started(&self.main, workflow, input, options).await
    }

    /// Starts a workflow of the main namespace and waits for its output.
    ///
    /// # Errors
    /// As for [`Mesh::start`]; how it ended, if it did not complete.
    pub async fn execute<W>(&self, workflow: W, queue: &str, id: &str, input: W::Input) -> Result<W::Output, Error>
    where
        W: HasWorkflowDefinition,
        W::Input: Send,
    {
        let handle = self.start(workflow, queue, id, input).await?;
        Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
    }
}

async fn started<W>(
    namespace: &NamespaceClient,
    workflow: W,
    input: W::Input,
    options: WorkflowStartOptions,
) -> Result<WorkflowHandle<Client, W>, Error>
where
    W: HasWorkflowDefinition,
    W::Input: Send,
{
    let id = options.workflow_id.clone();
    let client = namespace.client().await?;
    let handle = client.start_workflow(workflow, input, options).await;
    handle.map_err(|error| Error::from(error).named("workflow execution", &id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document's config.yaml, and Temporal's own values where it says nothing.
    #[test]
    fn the_defaults_are_the_documents() {
        let expected = Limits {
            start_to_close_ms: 1_200_000,
            maximum_attempts: 5,
            backoff_coefficient: 2.0,
            initial_interval_ms: 1_000,
            maximum_interval_ms: 100_000,
            non_retryable_error_types: Vec::new(),
        };
        assert_eq!(Limits::default(), expected);
    }

    /// What is configured is what an activity is started with.
    #[test]
    fn limits_become_options() {
        let flags = [
            ("temporal.activities.start_to_close_timeout_s", "7"),
            ("temporal.activities.retry.maximum_attempts", "2"),
            ("temporal.activities.retry.backoff_coefficient", "1.5"),
            ("temporal.activities.retry.non_retryable_error_types", "CardDeclined"),
        ];
        let sources = Sources {
            flags: flags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Sources::default()
        };
        let limits = Limits::of(&config::load(&sources, 0).unwrap().settings);
        let retries = limits.retries();
        assert_eq!((limits.start_to_close_ms, limits.maximum_attempts), (7_000, 2));
        assert_eq!(retries.maximum_attempts(), 2);
        assert!((retries.backoff_coefficient() - 1.5).abs() < f64::EPSILON);
        assert_eq!(retries.non_retryable_error_types(), ["CardDeclined"]);
    }
}
