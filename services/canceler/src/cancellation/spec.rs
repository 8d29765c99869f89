//! What is to be stopped, and within which limits: a checked [`Spec`], with every default filled in.
//!
//! The spec is the recorded input of the workflow, so it outlives this code: every field has a default, and names are only
//! ever added. The proto form is made from it for answers, never kept.

use std::time::Duration;

use quell_api::{canceler::v1 as pb, target::Filter, validate::Checker};
use quell_mesh::config::CancelSettings;
use quell_sweep::{CampaignSpec, Engine, LimiterSpec, Mode, Scope, WindowSettings};
use serde::{Deserialize, Serialize};

use super::{convert::duration, target::TargetSpec};

/// Most executions that a cancellation stops when the caller says nothing.
pub(crate) const DEFAULT_MAX_AFFECTED: u64 = 10_000;
const DEFAULT_DEADLINE: Duration = Duration::from_secs(3_600);
const DEFAULT_GRACE: Duration = Duration::from_secs(60);

/// A checked request to cancel, with all defaults filled in. Durations are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// Which open executions.
    pub target: TargetSpec,
    /// In which namespaces; none in a cancellation from before there could be others than main's.
    pub namespaces: Vec<String>,
    /// Why.
    pub reason: String,
    /// How.
    pub engine: Engine,
    /// What becomes of what is open.
    pub mode: Mode,
    /// How long what was asked to end may take.
    pub grace_ms: u64,
    /// Whether the caller left the engine to us.
    pub auto: bool,
    /// Whether what descends from the target is stopped, too.
    pub include_descendants: bool,
    /// The most executions that may be stopped.
    pub max_affected: u64,
    /// Most stops in flight.
    pub concurrency: u32,
    /// Whether the source is told to stop first.
    pub quiesce: bool,
    /// Whether a source that does not stop blocks the cancellation.
    pub require_quiesce: bool,
    /// How long the whole may take.
    pub deadline_ms: u64,
    /// Empty looks in a row that count as zero.
    pub looks: u32,
    /// How long to confirm before sweeping anew.
    pub confirm_timeout_ms: u64,
    /// Longest pause between two looks.
    pub confirm_poll_ms: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            target: TargetSpec::WorkloadId(String::new()),
            namespaces: Vec::new(),
            reason: String::new(),
            engine: Engine::Sweep,
            mode: Mode::Terminate,
            grace_ms: millis(DEFAULT_GRACE),
            auto: false,
            include_descendants: true,
            max_affected: DEFAULT_MAX_AFFECTED,
            concurrency: 750,
            quiesce: true,
            require_quiesce: false,
            deadline_ms: millis(DEFAULT_DEADLINE),
            looks: 3,
            confirm_timeout_ms: 240_000,
            confirm_poll_ms: 5_000,
        }
    }
}

impl Spec {
    /// Checks a spec as a caller gave it; violations are noted under `spec.*`, all of them.
    pub fn check(
        check: &mut Checker,
        given: Option<&pb::CancellationSpec>,
        defaults: &CancelSettings,
    ) -> (Self, Filter) {
        let empty = pb::CancellationSpec::default();
        if given.is_none() {
            check.reject("spec", "must be given");
        }
        let given = given.unwrap_or(&empty);
        let filter = Filter::check(check, "spec.target", given.target.as_ref());
        check.reason("spec.reason", &given.reason, true);
        let (auto, engine) = match pb::Engine::try_from(given.engine) {
            Ok(pb::Engine::Unspecified | pb::Engine::Auto) => (true, Engine::Sweep),
            Ok(pb::Engine::Sweep) => (false, Engine::Sweep),
            Ok(pb::Engine::Both) => (false, Engine::Both),
            Err(_) => {
                check.reject("spec.engine", "is not an engine that this version knows");
                (true, Engine::Sweep)
            }
        };
        let mode = mode(check, "spec.mode", given.mode);
        if engine == Engine::Both && mode != Mode::Terminate {
            check.reject(
                "spec.engine",
                "must not be BOTH unless the mode is TERMINATE: the server's batch terminates",
            );
        }
        let max_affected = check.int(
            "spec.max_affected",
            given.max_affected,
            i64::try_from(DEFAULT_MAX_AFFECTED).unwrap_or(i64::MAX),
            1..=100_000_000,
        );
        let concurrency = check.int(
            "spec.concurrency",
            given.concurrency,
            i32::try_from(defaults.concurrency).unwrap_or(750),
            1..=750,
        );
        let secs = Duration::from_secs;
        let deadline = check.duration(
            "spec.deadline",
            given.deadline,
            DEFAULT_DEADLINE,
            secs(5)..=secs(7 * 86_400),
        );
        let grace = if given.grace.is_some() && mode == Mode::Terminate {
            check.reject(
                "spec.grace",
                "must be absent unless the mode is CANCEL or CANCEL_THEN_TERMINATE",
            );
            DEFAULT_GRACE
        } else {
            check.duration("spec.grace", given.grace, DEFAULT_GRACE, secs(1)..=secs(3_600))
        };
        if mode != Mode::Terminate && grace >= deadline {
            check.reject("spec.grace", "must be shorter than the deadline");
        }
        let looks = check.int("spec.looks", given.looks, 3, 2..=20);
        let confirm_timeout = check.duration(
            "spec.confirm_timeout",
            given.confirm_timeout,
            defaults.confirm_timeout,
            secs(1)..=secs(3_600),
        );
        let confirm_poll = check.duration(
            "spec.confirm_poll",
            given.confirm_poll,
            defaults.confirm_poll,
            Duration::from_millis(100)..=secs(300),
        );
        let target = TargetSpec::of(given.target.as_ref());
        let by_id = target.by_id();
        let quiesce = given.quiesce.unwrap_or(true) && !target.workload_ids().is_empty();
        if given.require_quiesce && !(quiesce && by_id) {
            check.reject(
                "spec.require_quiesce",
                "needs quiesce, and a target by workload_id, or by several: nobody else can be told to stop",
            );
        }
        let include_descendants = given.include_descendants.unwrap_or(true);
        if include_descendants && !by_id && !filter.is_nothing() && filter.as_if_open().is_none() {
            check.reject(
                "spec.include_descendants",
                "must be false for a query that asks how or when an execution ended (other than ExecutionStatus = 'Running'): what \
                 descends from a stopped one could not be told any more",
            );
        }
        let spec = Self {
            target,
            namespaces: given.namespaces.clone(),
            reason: given.reason.trim().to_owned(),
            engine,
            mode,
            grace_ms: millis(grace),
            auto,
            include_descendants,
            // The checker let nothing below 1 through; a rejected value is never used.
            max_affected: u64::try_from(max_affected).unwrap_or(DEFAULT_MAX_AFFECTED),
            concurrency: u32::try_from(concurrency).unwrap_or(1),
            quiesce,
            require_quiesce: given.require_quiesce,
            deadline_ms: millis(deadline),
            looks: u32::try_from(looks).unwrap_or(3),
            confirm_timeout_ms: millis(confirm_timeout),
            confirm_poll_ms: millis(confirm_poll),
        };
        (spec, filter)
    }

    /// What was chosen and why, where the caller left the engine to us; empty otherwise. It is always the sweep: the server's batch
    /// would only be the faster one with nothing that has a parent, and there it stops 50 a second where the sweep was measured at
    /// several times that (docs/benchmarks.md).
    #[must_use]
    pub fn engine_reason(&self) -> &'static str {
        if self.auto {
            "SWEEP: it stops parents first and as many at a time as the server takes; the server's batch stops the newest first, children \
             before their parents, and 50 a second"
        } else {
            ""
        }
    }

    /// The namespace that it works in, the first where there are several; empty in one from before there could be others than main's.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespaces.first().map_or("", String::as_str)
    }

    /// Whether it works in several namespaces.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.namespaces.len() > 1
    }

    /// The filter of its target, which was checked when the spec was.
    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter::check(&mut Checker::new(), "spec.target", self.to_proto().target.as_ref())
    }

    /// What the machines are told. It becomes part of the workflow's input: a campaign in flight keeps the values it began with.
    #[must_use]
    pub fn campaign(&self, cancellation_id: &str, settings: &CancelSettings) -> CampaignSpec {
        CampaignSpec {
            engine: self.engine,
            // Whoever takes such a campaign over must know what asking is.
            version: if self.mode == Mode::Terminate { 1 } else { 2 },
            mode: self.mode,
            grace_ms: self.grace_ms,
            scope: Scope {
                workload_ids: self.target.tags(),
                descendants: self.include_descendants,
                protected_types: settings.protected.types.clone(),
                protected_workloads: settings.protected.workloads.clone(),
            },
            max_affected: self.max_affected,
            quiesce: self.quiesce,
            require_quiesce: self.require_quiesce,
            looks: self.looks,
            confirm_timeout_ms: self.confirm_timeout_ms,
            confirm_poll_ms: self.confirm_poll_ms,
            // A caller's request id holds no slash: no job of the batch service's gRPC face has this id.
            batch_job_id: format!("quell-batch/{cancellation_id}"),
            window: WindowSettings {
                limiter: LimiterSpec {
                    max: self.concurrency,
                    initial: LimiterSpec::default().initial.min(self.concurrency),
                },
                ..WindowSettings::default()
            },
            ..CampaignSpec::default()
        }
    }

    /// As callers see it.
    #[must_use]
    pub fn to_proto(&self) -> pb::CancellationSpec {
        pb::CancellationSpec {
            target: Some(self.target.to_proto()),
            reason: self.reason.clone(),
            engine: match self.engine {
                _ if self.auto => pb::Engine::Auto,
                Engine::Sweep => pb::Engine::Sweep,
                Engine::Both => pb::Engine::Both,
            }
            .into(),
            max_affected: i64::try_from(self.max_affected).unwrap_or(i64::MAX),
            concurrency: i32::try_from(self.concurrency).unwrap_or(i32::MAX),
            quiesce: Some(self.quiesce),
            require_quiesce: self.require_quiesce,
            deadline: Some(duration(self.deadline_ms)),
            looks: i32::try_from(self.looks).unwrap_or(i32::MAX),
            confirm_timeout: Some(duration(self.confirm_timeout_ms)),
            confirm_poll: Some(duration(self.confirm_poll_ms)),
            include_descendants: Some(self.include_descendants),
            mode: mode_to_proto(self.mode).into(),
            grace: (self.mode != Mode::Terminate).then(|| duration(self.grace_ms)),
            namespaces: self.namespaces.clone(),
        }
    }
}

/// The mode as a caller gave it.
pub(super) fn mode(check: &mut Checker, field: &str, given: i32) -> Mode {
    match pb::Mode::try_from(given) {
        Ok(pb::Mode::Unspecified | pb::Mode::Terminate) => Mode::Terminate,
        Ok(pb::Mode::Cancel) => Mode::Cancel,
        Ok(pb::Mode::CancelThenTerminate) => Mode::CancelThenTerminate,
        Err(_) => {
            check.reject(field, "is not a mode that this version knows");
            Mode::Terminate
        }
    }
}

fn mode_to_proto(mode: Mode) -> pb::Mode {
    match mode {
        Mode::Terminate => pb::Mode::Terminate,
        Mode::Cancel => pb::Mode::Cancel,
        Mode::CancelThenTerminate => pb::Mode::CancelThenTerminate,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
