//! The registry: each workflow and activity is declared once, with its queue.
//!
//! It is built by plain calls, and nothing fails while it is built: mistakes are collected, and the manager refuses to
//! start with all of them named. A mistake is a handler declared twice on a queue, a handler on a queue that was not
//! declared, a queue declared twice, or a queue that nothing handles. Each would otherwise show as a workflow
//! that hangs, months later.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use temporalio_common::WorkflowDefinition;
use temporalio_sdk::WorkerOptions;
use temporalio_sdk::activities::{ActivityDefinitions, ActivityImplementer};
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk::runtime::{AutoscalingOptions, PollerBehavior};
use temporalio_sdk::workflows::WorkflowImplementation;

use super::inflight::InFlight;
use crate::config::TuningSettings;

/// Which namespace a queue's worker polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// The namespace whose workflows are started and stopped.
    Main,
    /// The namespace that cancellations run in.
    Canceler,
}

/// How much a queue's worker takes on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueTuning {
    /// Activities at once (default 100).
    pub activities: usize,
    /// Local activities at once (default 100).
    pub local_activities: usize,
    /// Workflow tasks at once (default 100).
    pub workflow_tasks: usize,
    /// Polls for workflow tasks at once (default 5), half of them for workflows that are not in memory: a poll takes one task,
    /// so the first tasks of new workflows come no faster than those polls go round.
    pub workflow_pollers: usize,
    /// Polls for activities at once (default 5).
    pub activity_pollers: usize,
    /// Whether the number of polls follows the load, up to the two numbers above (default no: a steady number is at hand when a
    /// cancellation begins).
    pub autoscale_pollers: bool,
    /// Workflows kept in memory between tasks (default 1000); a larger one replays less.
    pub cached_workflows: usize,
    /// Longest pause between two heartbeats that reach the server (default 500 ms). The SDK's own is 0.8 of the heartbeat
    /// timeout: progress would be seconds old.
    pub heartbeat_throttle: Duration,
    /// Activities a second that this worker starts (default: no limit).
    pub activities_per_second: Option<u32>,
}

impl Default for QueueTuning {
    fn default() -> Self {
        Self {
            activities: 100,
            local_activities: 100,
            workflow_tasks: 100,
            workflow_pollers: 5,
            activity_pollers: 5,
            autoscale_pollers: false,
            cached_workflows: 1000,
            heartbeat_throttle: Duration::from_millis(500),
            activities_per_second: None,
        }
    }
}

/// All mistakes of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryError(pub Vec<String>);

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the worker's registry has {} mistake(s): {}",
            self.0.len(),
            self.0.join("; ")
        )
    }
}

impl std::error::Error for RegistryError {}

/// What the workers of a service handle. See the module.
#[derive(Default)]
pub struct Registry {
    queues: BTreeMap<String, Queue>,
    uses: Vec<Home>,
    problems: Vec<String>,
}

/// One queue with its handlers.
pub(crate) struct Queue {
    pub(crate) home: Home,
    pub(crate) options: WorkerOptions,
    pub(crate) inflight: InFlight,
    tuning: QueueTuning,
    workflows: Vec<&'static str>,
    activities: Vec<String>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.home, &self.workflows, &self.activities).fmt(f)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queues.fmt(f)
    }
}

impl Registry {
    /// An empty one: the service has no worker.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a queue and the namespace that its worker polls.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>, home: Home, tuning: QueueTuning) -> Self {
        let name = name.into();
        if self.queues.contains_key(&name) {
            self.problems.push(format!("queue {name:?} is declared twice"));
            return self;
        }
        let inflight = InFlight::of_queue(&name);
        let mut options = WorkerOptions::new(&name).build();
        options.activity_inbound_interceptor(inflight.clone());
        self.queues.insert(
            name,
            Queue {
                home,
                options,
                inflight,
                tuning,
                workflows: Vec::new(),
                activities: Vec::new(),
            },
        );
        self
    }

    /// Declares that a workflow type is handled on a queue.
    #[must_use]
    pub fn workflow<W>(mut self, queue: &str) -> Self
    where
        W: WorkflowImplementation,
        <W::Run as WorkflowDefinition>::Input: Send,
    {
        let name = W::name();
        let Some(declared) = self.queues.get_mut(queue) else {
            self.problems.push(undeclared("workflow", name, queue));
            return self;
        };
        if declared.workflows.contains(&name) {
            self.problems
                .push(format!("workflow {name:?} is declared twice on queue {queue:?}"));
            return self;
        }
        if let Err(error) = declared.options.register_workflow::<W>() {
            self.problems
                .push(format!("workflow {name:?} on queue {queue:?}: {error}"));
        }
        declared.workflows.push(name);
        self
    }

    /// Declares that all activities of an implementer are handled on a queue.
    #[must_use]
    pub fn activities<A>(mut self, queue: &str, activities: A) -> Self
    where
        A: ActivityImplementer + Send + Sync + 'static,
    {
        let shared = Arc::new(activities);
        let mut names = ActivityDefinitions::default();
        A::register_all(shared.clone(), &mut names);
        let names = names_of(&names);
        let Some(declared) = self.queues.get_mut(queue) else {
            self.problems
                .extend(names.iter().map(|name| undeclared("activity", name, queue)));
            return self;
        };
        let mut fresh = true;
        for name in names {
            if declared.activities.contains(&name) {
                self.problems
                    .push(format!("activity {name:?} is declared twice on queue {queue:?}"));
                fresh = false;
            } else {
                declared.activities.push(name);
            }
        }
        if fresh {
            declared.options.register_activities(Shared(shared));
        }
        self
    }

    /// Declares that the service needs a namespace beside the homes of its queues: it is SERVING only when all of
    /// them can be reached.
    #[must_use]
    pub fn uses(mut self, home: Home) -> Self {
        self.uses.push(home);
        self
    }

    /// The namespaces that the service needs: homes of its queues, and what [`Registry::uses`] adds.
    #[must_use]
    pub fn homes(&self) -> Vec<Home> {
        let mut homes: Vec<Home> = self
            .queues
            .values()
            .map(|queue| queue.home)
            .chain(self.uses.iter().copied())
            .collect();
        homes.sort_unstable();
        homes.dedup();
        homes
    }

    /// The queues to work on: all, or those of `only`.
    ///
    /// # Errors
    /// Every mistake of the registry, and every name of `only` that is not a queue of it.
    pub(crate) fn into_queues(mut self, only: &[String]) -> Result<BTreeMap<String, Queue>, RegistryError> {
        let known = self
            .queues
            .keys()
            .map(|name| format!("{name:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        for (name, queue) in &self.queues {
            if queue.workflows.is_empty() && queue.activities.is_empty() {
                self.problems
                    .push(format!("queue {name:?} has no workflow and no activity"));
            }
        }
        for name in only {
            if !self.queues.contains_key(name) {
                let known = if known.is_empty() { "none" } else { &known };
                self.problems
                    .push(format!("there is no queue {name:?}; known queues: {known}"));
            }
        }
        if !self.problems.is_empty() {
            return Err(RegistryError(self.problems));
        }
        if !only.is_empty() {
            self.queues.retain(|name, _| only.contains(name));
        }
        Ok(self.queues)
    }
}

impl Queue {
    /// Names of its workflow types.
    pub(crate) fn workflows(&self) -> &[&'static str] {
        &self.workflows
    }

    /// Names of its activity types.
    pub(crate) fn activities(&self) -> &[String] {
        &self.activities
    }

    /// Sets how much its worker takes on: what the operator says, else what the service declared.
    pub(crate) fn tune(&mut self, settings: &TuningSettings) {
        let tuning = self.tuning.overruled(&self.options.task_queue, settings);
        let pollers = |least: usize, most: usize| {
            let most = most.max(least);
            if tuning.autoscale_pollers {
                PollerBehavior::Autoscaling(
                    AutoscalingOptions::builder()
                        .minimum(least)
                        .maximum(most)
                        .initial(most.min(5))
                        .build(),
                )
            } else {
                PollerBehavior::SimpleMaximum(most)
            }
        };
        let slots = TunerHolder::builder()
            .workflow_task_slot_supplier(FixedSizeSlotSupplier::new(tuning.workflow_tasks))
            .activity_task_slot_supplier(FixedSizeSlotSupplier::new(tuning.activities))
            .local_activity_task_slot_supplier(FixedSizeSlotSupplier::new(tuning.local_activities))
            .nexus_task_slot_supplier(FixedSizeSlotSupplier::new(1))
            .build();
        let options = &mut self.options;
        options.tuner = slots.into();
        options.workflow_task_poller_behavior = Some(pollers(2, tuning.workflow_pollers));
        options.activity_task_poller_behavior = Some(pollers(1, tuning.activity_pollers));
        options.nonsticky_to_sticky_poll_ratio = 0.5;
        options.max_cached_workflows = tuning.cached_workflows;
        options.max_heartbeat_throttle_interval = tuning.heartbeat_throttle;
        options.default_heartbeat_throttle_interval = tuning.heartbeat_throttle;
        // Every activity comes by a poll: one that came in the answer to a workflow task would come when polls are quiet already.
        options.max_eager_activity_reservations_per_workflow_task = 0;
        options.max_worker_activities_per_second = tuning.activities_per_second.map(f64::from);
    }
}

impl QueueTuning {
    /// With what the operator says in the place of what the service declared.
    fn overruled(self, queue: &str, settings: &TuningSettings) -> Self {
        let or = |said: Option<u32>, own: usize| said.and_then(|n| usize::try_from(n).ok()).unwrap_or(own);
        Self {
            activities: or(settings.activities, self.activities),
            local_activities: or(settings.local_activities, self.local_activities),
            workflow_tasks: or(settings.workflow_tasks, self.workflow_tasks),
            workflow_pollers: or(settings.workflow_pollers, self.workflow_pollers),
            activity_pollers: or(settings.activity_pollers, self.activity_pollers),
            autoscale_pollers: settings.autoscale_pollers || self.autoscale_pollers,
            cached_workflows: or(settings.cached_workflows, self.cached_workflows),
            heartbeat_throttle: self.heartbeat_throttle,
            activities_per_second: settings
                .activities_per_second
                .get(queue)
                .copied()
                .or(self.activities_per_second),
        }
    }
}

fn undeclared(kind: &str, name: &str, queue: &str) -> String {
    format!("{kind} {name:?} is on queue {queue:?}, which is not declared")
}

/// Lets one instance be registered more than once: for its names, and in the worker's options.
struct Shared<A>(Arc<A>);

impl<A: ActivityImplementer> ActivityImplementer for Shared<A> {
    fn register_all(self: Arc<Self>, definitions: &mut ActivityDefinitions) {
        A::register_all(self.0.clone(), definitions);
    }
}

/// The activity names of a set. The SDK shows them in `Debug` only; a test guards the form.
fn names_of(definitions: &ActivityDefinitions) -> Vec<String> {
    let text = format!("{definitions:?}");
    let list = text
        .find('[')
        .zip(text.rfind(']'))
        .and_then(|(from, to)| text.get(from..=to))
        .unwrap_or("[]");
    // Debug of a list of strings is JSON for the names that Temporal allows in practice.
    let mut names: Vec<String> = serde_json::from_str(list).unwrap_or_default();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests;
