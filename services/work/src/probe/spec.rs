//! A probe's spec: checked, with defaults, and as the orders that its workflows get.

use std::time::Duration;

use quell_api::{
    validate::Checker,
    work::v1::{ProbeSpec, StartProbeRequest},
};
use quell_mesh::Error;
use serde::{Deserialize, Serialize};

const DEFAULT_SLEEP: Duration = Duration::from_millis(100);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_SLEEP: Duration = Duration::from_secs(3_600);
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_TIMEOUT: Duration = Duration::from_secs(2 * 3_600);
const MIN_HEARTBEAT: Duration = Duration::from_millis(500);
const MAX_HEARTBEAT: Duration = Duration::from_secs(3_600);
const MAX_QUEUE: usize = 200;

/// What one activity is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOrder {
    /// Id of the probe.
    pub probe_id: String,
    /// How long to take, in milliseconds.
    pub sleep_ms: u64,
    /// Start-to-close timeout, in milliseconds.
    pub timeout_ms: u64,
    /// Heartbeat timeout, in milliseconds; 0 = none.
    pub heartbeat_ms: u64,
    /// Attempts, the first included.
    pub attempts: u32,
    /// Task queue of the activity.
    pub task_queue: String,
}

impl ProbeOrder {
    /// Whether it may time out by itself, or be tried again: then it leaves a sign when it begins.
    #[must_use]
    pub fn leaves_sign(&self) -> bool {
        self.attempts > 1 || self.heartbeat_ms > 0 || self.sleep_ms >= self.timeout_ms
    }
}

/// What a probe is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOrder {
    /// Number of workflows.
    pub workflows: u32,
    /// Starts in flight at once.
    pub concurrency: u32,
    /// What each is told.
    pub order: ProbeOrder,
}

impl RunOrder {
    /// The spec that it was made of.
    #[must_use]
    pub fn spec(&self) -> ProbeSpec {
        ProbeSpec {
            workflows: self.workflows,
            activity_sleep: duration(self.order.sleep_ms),
            activity_timeout: duration(self.order.timeout_ms),
            heartbeat_timeout: duration(self.order.heartbeat_ms),
            attempts: self.order.attempts,
            activity_task_queue: self.order.task_queue.clone(),
            concurrency: self.concurrency,
        }
    }
}

/// Checks a request. `default_queue` stands for a task queue that is left out.
///
/// # Errors
/// `InvalidArgument` with every bad field.
pub fn check(request: StartProbeRequest, default_queue: &str) -> Result<RunOrder, Error> {
    let mut check = Checker::new();
    check.request_id("request_id", &request.request_id);
    let spec = request.spec.unwrap_or_default();
    let workflows = check.int("spec.workflows", spec.workflows, 100, 1..=100_000);
    let sleep = check.duration(
        "spec.activity_sleep",
        spec.activity_sleep,
        DEFAULT_SLEEP,
        Duration::ZERO..=MAX_SLEEP,
    );
    let timeout = check.duration(
        "spec.activity_timeout",
        spec.activity_timeout,
        DEFAULT_TIMEOUT,
        MIN_TIMEOUT..=MAX_TIMEOUT,
    );
    let none = prost_types::Duration::default();
    let heartbeat = spec
        .heartbeat_timeout
        .filter(|heartbeat| *heartbeat != none)
        .map_or(Duration::ZERO, |heartbeat| {
            check.duration(
                "spec.heartbeat_timeout",
                Some(heartbeat),
                MIN_HEARTBEAT,
                MIN_HEARTBEAT..=MAX_HEARTBEAT,
            )
        });
    let attempts = check.int("spec.attempts", spec.attempts, 1, 1..=100);
    let task_queue = if spec.activity_task_queue.is_empty() {
        default_queue.to_owned()
    } else {
        spec.activity_task_queue
    };
    if task_queue.chars().count() > MAX_QUEUE || task_queue.chars().any(char::is_control) {
        check.reject(
            "spec.activity_task_queue",
            format!("must have at most {MAX_QUEUE} characters and no control characters"),
        );
    }
    let concurrency = check.int("spec.concurrency", spec.concurrency, 50, 1..=200);
    let key = if request.request_id.is_empty() {
        uuid::Uuid::new_v4().to_string()
    } else {
        request.request_id
    };
    check
        .finish(RunOrder {
            workflows,
            concurrency,
            order: ProbeOrder {
                probe_id: format!("probe-{key}"),
                sleep_ms: millis(sleep),
                timeout_ms: millis(timeout),
                heartbeat_ms: millis(heartbeat),
                attempts,
                task_queue,
            },
        })
        .map_err(Error::InvalidArgument)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn duration(ms: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_millis(ms)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn everything_has_the_documents_default() {
        let run = check(StartProbeRequest::default(), "queue").unwrap();
        assert_eq!((run.workflows, run.concurrency), (100, 50));
        let order = &run.order;
        assert_eq!((order.sleep_ms, order.timeout_ms, order.heartbeat_ms), (100, 10_000, 0));
        assert_eq!((order.attempts, order.task_queue.as_str()), (1, "queue"));
        assert!(!order.leaves_sign());
        let again = StartProbeRequest {
            spec: Some(run.spec()),
            request_id: order.probe_id.trim_start_matches("probe-").to_owned(),
            validate_only: false,
        };
        assert_eq!(check(again, "other").unwrap(), run);
    }

    #[test]
    fn every_bad_field_is_told_at_once() {
        let bad = StartProbeRequest {
            spec: Some(ProbeSpec {
                workflows: 100_001,
                activity_sleep: seconds(-1),
                activity_timeout: seconds(0),
                heartbeat_timeout: seconds(3_601),
                attempts: 101,
                activity_task_queue: "a\nb".into(),
                concurrency: 201,
            }),
            request_id: "no spaces".into(),
            validate_only: true,
        };
        let Err(Error::InvalidArgument(violations)) = check(bad, "queue") else {
            panic!("it is refused");
        };
        let fields: Vec<_> = violations.into_iter().map(|violation| violation.field).collect();
        assert_eq!(
            fields,
            [
                "request_id",
                "spec.workflows",
                "spec.activity_sleep",
                "spec.activity_timeout",
                "spec.heartbeat_timeout",
                "spec.attempts",
                "spec.activity_task_queue",
                "spec.concurrency"
            ]
        );
    }

    #[test]
    fn what_can_time_out_by_itself_leaves_a_sign() {
        let with = |sleep, timeout, heartbeat, attempts| {
            let spec = ProbeSpec {
                activity_sleep: seconds(sleep),
                activity_timeout: seconds(timeout),
                heartbeat_timeout: seconds(heartbeat),
                attempts,
                ..ProbeSpec::default()
            };
            let request = StartProbeRequest {
                spec: Some(spec),
                ..StartProbeRequest::default()
            };
            check(request, "queue").unwrap().order.leaves_sign()
        };
        assert!(!with(8, 9, 0, 1));
        assert!(with(8, 8, 0, 1) && with(8, 5, 0, 1));
        assert!(with(1, 9, 2, 1));
        assert!(with(1, 9, 0, 2));
    }
}
