//! A processing's spec: checked, with defaults, and as what its root is told.

use quell_api::{
    validate::Checker,
    work::v1::{BatchProcessingPlan, BatchProcessingSpec},
};
use quell_mesh::Error;
use serde::{Deserialize, Serialize};

use super::{
    QUEUE, SQUARE_NUMBER, plan,
    workflows::{ProcessingConfig, WorkflowNodeInput},
};
use crate::snowball::trace::TRACED;

/// Half of what Temporal allows one workflow: 2,000 pending activities (`limit.numPendingActivities.error`) and 2,000 pending children
/// (`limit.numPendingChildExecutions.error`). At the very limit the server is busy with one workflow's state for minutes (ran:
/// 2,000 children, 595 workflow tasks, 3 of them timed out). A node of 1,000 has at most 9,000 events (three for each child or
/// activity, and three for each of two workflow tasks) of the 51,200 that a history may have.
const MOST_PENDING: u32 = 1_000;

const DEFAULT_NUMBERS: u64 = 2_000;
const DEFAULT_BATCH_SIZE: u32 = 10;
const DEFAULT_MAX_CHILDREN: u32 = 5;
// With these no id comes near the 1,000 bytes that Temporal allows, whatever the tree.
const LONGEST_ACTIVITY: usize = 100;
const LONGEST_QUEUE: usize = 200;

/// A request that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Workflow id of the root.
    pub processing_id: String,
    /// The spec with all defaults.
    pub spec: BatchProcessingSpec,
    /// The tree.
    pub plan: BatchProcessingPlan,
}

/// Checks a spec.
///
/// # Errors
/// `InvalidArgument` with every bad field.
pub fn check(spec: BatchProcessingSpec) -> Result<Checked, Error> {
    let mut check = Checker::new();
    let batch_size = check.int("spec.batch_size", spec.batch_size, DEFAULT_BATCH_SIZE, 1..=MOST_PENDING);
    let max_children = check.int(
        "spec.max_children",
        spec.max_children,
        DEFAULT_MAX_CHILDREN,
        2..=MOST_PENDING,
    );
    let activity = or_default(spec.activity, SQUARE_NUMBER);
    let activity_queue = or_default(spec.activity_queue, QUEUE);
    name(&mut check, "spec.activity", &activity, LONGEST_ACTIVITY);
    name(&mut check, "spec.activity_queue", &activity_queue, LONGEST_QUEUE);
    if activity == SQUARE_NUMBER && activity_queue != QUEUE {
        check.reject(
            "spec.activity_queue",
            format!("must be left out for {SQUARE_NUMBER}, which this service runs itself"),
        );
    }
    let total_numbers = match spec.total_numbers {
        0 => DEFAULT_NUMBERS,
        numbers => numbers,
    };
    if activity == SQUARE_NUMBER && plan::sum_of_squares(total_numbers).is_none() {
        check.reject(
            "spec.total_numbers",
            "is too large: the sum of the squares would overflow 128 bits; at most 10,069,012,961,344",
        );
    }
    let spec = BatchProcessingSpec {
        total_numbers,
        batch_size,
        max_children,
        activity,
        activity_queue,
    };
    let processing_id = id(&spec);
    let plan = plan_of(&spec);
    check
        .finish(Checked {
            processing_id,
            spec,
            plan,
        })
        .map_err(Error::InvalidArgument)
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

fn name(check: &mut Checker, field: &str, text: &str, longest: usize) {
    if text.len() > longest {
        check.reject(field, format!("must have at most {longest} characters"));
    } else if !text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    {
        check.reject(field, "may contain only letters, digits, '-', '_' and '.'");
    }
}

/// Two specs that differ have ids that differ, and no id is that of another's child.
fn id(spec: &BatchProcessingSpec) -> String {
    let BatchProcessingSpec {
        total_numbers,
        batch_size,
        max_children,
        activity,
        activity_queue,
    } = spec;
    let work = match (activity.as_str(), activity_queue.as_str()) {
        (SQUARE_NUMBER, _) => String::new(),
        (activity, QUEUE) => format!("{activity}-"),
        (activity, queue) => format!("{activity}@{queue}-"),
    };
    format!("batch-processing-{work}{total_numbers}-b{batch_size}-c{max_children}")
}

/// The tree of a checked spec.
#[must_use]
pub fn plan_of(spec: &BatchProcessingSpec) -> BatchProcessingPlan {
    let plan = plan::plan(spec.total_numbers, spec.batch_size, spec.max_children);
    BatchProcessingPlan {
        workflows: plan.workflows,
        depth: plan.depth,
        activities: spec.total_numbers,
    }
}

/// What the root is told.
#[must_use]
pub fn root(spec: &BatchProcessingSpec) -> WorkflowNodeInput {
    WorkflowNodeInput {
        start: 1,
        end: spec.total_numbers,
        depth: 0,
        config: ProcessingConfig {
            batch_size: spec.batch_size,
            max_children: spec.max_children,
            activity: spec.activity.clone(),
            activity_queue: if spec.activity_queue == QUEUE {
                String::new()
            } else {
                spec.activity_queue.clone()
            },
        },
        traced: TRACED,
    }
}

/// What of a spec is kept in the root's memo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    total_numbers: u64,
    batch_size: u32,
    max_children: u32,
    activity: String,
    activity_queue: String,
}

impl From<BatchProcessingSpec> for Remembered {
    fn from(spec: BatchProcessingSpec) -> Self {
        Self {
            total_numbers: spec.total_numbers,
            batch_size: spec.batch_size,
            max_children: spec.max_children,
            activity: spec.activity,
            activity_queue: spec.activity_queue,
        }
    }
}

impl From<Remembered> for BatchProcessingSpec {
    fn from(spec: Remembered) -> Self {
        Self {
            total_numbers: spec.total_numbers,
            batch_size: spec.batch_size,
            max_children: spec.max_children,
            activity: spec.activity,
            activity_queue: spec.activity_queue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(spec: BatchProcessingSpec) -> Vec<String> {
        match check(spec) {
            Err(Error::InvalidArgument(violations)) => violations.into_iter().map(|v| v.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_documents_processing_is_the_default() {
        let checked = check(BatchProcessingSpec::default()).unwrap();
        assert_eq!(checked.processing_id, "batch-processing-2000-b10-c5");
        let plan = BatchProcessingPlan {
            workflows: 656,
            depth: 4,
            activities: 2_000,
        };
        assert_eq!(checked.plan, plan);
        assert_eq!(root(&checked.spec).config, ProcessingConfig::default());
    }

    #[test]
    fn ids_tell_everything_apart() {
        let of = |activity: &str, queue: &str| {
            let spec = BatchProcessingSpec {
                activity: activity.into(),
                activity_queue: queue.into(),
                ..Default::default()
            };
            check(spec).unwrap().processing_id
        };
        assert_eq!(of("square_number", QUEUE), "batch-processing-2000-b10-c5");
        assert_eq!(of("cube", ""), "batch-processing-cube-2000-b10-c5");
        assert_eq!(of("cube", "python"), "batch-processing-cube@python-2000-b10-c5");
    }

    #[test]
    fn every_bad_field_is_told_at_once() {
        let bad = BatchProcessingSpec {
            total_numbers: 10_069_012_961_345,
            batch_size: 1_001,
            max_children: 1,
            activity: String::new(),
            activity_queue: "else where".into(),
        };
        let expected = [
            "spec.batch_size",
            "spec.max_children",
            "spec.activity_queue",
            "spec.activity_queue",
            "spec.total_numbers",
        ];
        assert_eq!(fields(bad), expected);
    }

    #[test]
    fn the_largest_that_fits_is_taken() {
        let spec = BatchProcessingSpec {
            total_numbers: 10_069_012_961_344,
            ..Default::default()
        };
        assert!(check(spec).is_ok());
        let of_your_own = BatchProcessingSpec {
            total_numbers: u64::MAX,
            max_children: 2,
            batch_size: 1,
            activity: "count".into(),
            ..Default::default()
        };
        // How large its results are nobody knows before.
        assert_eq!(check(of_your_own).unwrap().plan.depth, 64);
    }

    #[test]
    fn the_longest_id_of_the_deepest_tree_is_short_enough() {
        for max_children in [2, 3, 10, 11, 100, 101, 1_000] {
            let spec = BatchProcessingSpec {
                total_numbers: u64::MAX,
                batch_size: 1,
                max_children,
                activity: "a".repeat(LONGEST_ACTIVITY),
                activity_queue: "q".repeat(LONGEST_QUEUE),
            };
            let checked = check(spec).unwrap();
            let child = format!("-c{}", max_children - 1).len();
            let longest = checked.processing_id.len() + child * checked.plan.depth as usize;
            assert!(longest <= 1_000, "{max_children}: {longest}");
        }
    }
}
