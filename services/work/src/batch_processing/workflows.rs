//! `BatchProcessingWorkflow`: one node of the tree, the root as well as a leaf.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use std::{cell::RefCell, time::Duration};

use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, ChildWorkflowOptions, ParentClosePolicy,
    StartChildWorkflowExecutionFailedCause, TimerOptions, WorkflowCancellationToken, WorkflowContext, WorkflowResult,
    WorkflowTermination,
    error::ChildWorkflowStartError,
    workflows::{join_all, select},
};

use super::{
    SQUARE_NUMBER,
    activities::{NumberInput, PerNumber},
    number::Number,
    plan,
};
use crate::snowball::trace;

/// How many results of either end are kept.
const ENDS: usize = 10;

/// One attempt of an activity. There is no limit to its time in the queue: a busy worker must not make it fail.
const START_TO_CLOSE: Duration = Duration::from_secs(30);

/// How often a child is tried while one of its id from an earlier run is still being terminated, a second apart.
const CHILD_TRIES: u32 = 120;

/// What a node is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowNodeInput {
    /// First number.
    pub start: u64,
    /// Last number.
    pub end: u64,
    /// Nesting level of this node; 0 for the root.
    #[serde(default)]
    pub depth: u32,
    /// The same for the whole tree.
    #[serde(default)]
    pub config: ProcessingConfig,
    /// How many nodes and activities below may be in the trace.
    #[serde(default)]
    pub traced: u32,
}

/// What is the same for the whole tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessingConfig {
    /// Most numbers of a leaf.
    pub batch_size: u32,
    /// Most children of a node.
    pub max_children: u32,
    /// Type of the activity for each number.
    pub activity: String,
    /// Its task queue; empty for the tree's own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub activity_queue: String,
}

impl Default for ProcessingConfig {
    fn default() -> Self {
        Self {
            batch_size: 10,
            max_children: 5,
            activity: SQUARE_NUMBER.to_owned(),
            activity_queue: String::new(),
        }
    }
}

/// What a node and all below it have done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeResult {
    /// Numbers processed.
    pub total_numbers: u64,
    /// Workflows, this one included.
    pub workflows: u64,
    /// Largest nesting level.
    pub depth: u32,
    /// Sum of the results.
    pub sum: Number,
    /// Results of the first ten numbers.
    pub first_results: Vec<Number>,
    /// Results of the last ten numbers.
    pub last_results: Vec<Number>,
}

impl NodeResult {
    /// A leaf's: the results of its numbers in their order. `None` when the sum does not fit 128 bits.
    #[must_use]
    pub fn of_leaf(depth: u32, results: &[Number]) -> Option<Self> {
        Some(Self {
            total_numbers: results.len() as u64,
            workflows: 1,
            depth,
            sum: results.iter().try_fold(Number(0), |sum, one| sum.checked_add(*one))?,
            first_results: results.iter().take(ENDS).copied().collect(),
            last_results: results[results.len().saturating_sub(ENDS)..].to_vec(),
        })
    }

    /// A node's: the results of its children in their order. `None` when the sum does not fit 128 bits.
    #[must_use]
    pub fn of_children(depth: u32, children: &[Self]) -> Option<Self> {
        let mut whole = Self {
            workflows: 1,
            depth,
            ..Self::default()
        };
        for child in children {
            whole.total_numbers += child.total_numbers;
            whole.workflows += child.workflows;
            whole.depth = whole.depth.max(child.depth);
            whole.sum = whole.sum.checked_add(child.sum)?;
            whole.first_results.extend(&child.first_results);
            whole.first_results.truncate(ENDS);
            whole.last_results.extend(&child.last_results);
            let surplus = whole.last_results.len().saturating_sub(ENDS);
            whole.last_results.drain(..surplus);
        }
        Some(whole)
    }
}

/// One node of the tree.
#[workflow]
#[derive(Default)]
pub struct BatchProcessingWorkflow;

#[workflow_methods]
impl BatchProcessingWorkflow {
    /// Processes its numbers, itself or through children, and adds up.
    ///
    /// A cancel request ends it at once, and the server then terminates what is below. It is not handed on child by child:
    /// everything here has a token of its own, since a request that meets the result of what it is to cancel in one
    /// workflow task would fail that task for ever (see [`crate::snowball::wait`]).
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: WorkflowNodeInput) -> WorkflowResult<NodeResult> {
        check(&input)?;
        let failed = WorkflowCancellationToken::new();
        let failure = RefCell::new(None);
        let fail = |termination: WorkflowTermination| {
            failure.borrow_mut().get_or_insert(termination);
            failed.cancel();
        };
        let node = Node {
            ctx: &*ctx,
            input: &input,
            fail: &fail,
        };
        // In this order: a token that is cancelled while the workflow is polled wakes nobody, so whoever listens comes after.
        let result = select! {
            result = node.process().fuse() => result,
            () = failed.cancelled().fuse() => None,
            _ = ctx.cancelled().fuse() => return Err(WorkflowTermination::cancelled()),
        };
        if let Some(termination) = failure.into_inner() {
            return Err(termination);
        }
        result.ok_or_else(|| refuse("SumOverflow", "the sum does not fit 128 bits"))
    }
}

fn check(input: &WorkflowNodeInput) -> Result<(), WorkflowTermination> {
    let config = &input.config;
    if input.start > input.end || config.batch_size == 0 || config.max_children < 2 {
        return Err(refuse(
            "InvalidInput",
            "start must not be after end, batch_size at least 1, and max_children at least 2",
        ));
    }
    Ok(())
}

fn refuse(kind: &str, message: &'static str) -> WorkflowTermination {
    ApplicationFailure::builder(anyhow::anyhow!(message))
        .type_name(kind.to_owned())
        .non_retryable(true)
        .build()
        .into()
}

struct Node<'a> {
    ctx: &'a WorkflowContext<BatchProcessingWorkflow>,
    input: &'a WorkflowNodeInput,
    /// Takes the first failure, which ends the node.
    fail: &'a dyn Fn(WorkflowTermination),
}

impl Node<'_> {
    async fn process(&self) -> Option<NodeResult> {
        let WorkflowNodeInput { start, end, config, .. } = self.input;
        match plan::chunk(end - start + 1, config.batch_size, config.max_children) {
            None => {
                let results = join_all((*start..=*end).map(|number| self.work(number))).await;
                let results: Vec<_> = results.into_iter().collect::<Option<_>>()?;
                NodeResult::of_leaf(self.input.depth, &results)
            }
            Some(size) => {
                let children = (end - start + 1).div_ceil(size);
                let results = join_all((0..children).map(|index| Box::pin(self.child(index, children, size)))).await;
                let results: Vec<_> = results.into_iter().collect::<Option<_>>()?;
                NodeResult::of_children(self.input.depth, &results)
            }
        }
    }

    /// The work for one number. `None` when it failed for good.
    async fn work(&self, number: u64) -> Option<Number> {
        let WorkflowNodeInput { start, end, config, .. } = self.input;
        let options = ActivityOptions::with_start_to_close_timeout(START_TO_CLOSE)
            .maybe_task_queue((!config.activity_queue.is_empty()).then(|| config.activity_queue.clone()))
            .cancellation_token(WorkflowCancellationToken::new())
            .retry_policy(retries())
            .build();
        let activity = PerNumber(config.activity.clone());
        let call = || self.ctx.execute_activity(activity, NumberInput { number }, options);
        let traced = plan::traced(self.input.traced, end - start + 1, number - start).is_some();
        let running = if traced { call() } else { trace::unsampled(call) };
        match running.await {
            Ok(result) => Some(result),
            Err(error) => {
                (self.fail)(error.into());
                None
            }
        }
    }

    /// The child at an index, from its start to its end. `None` when it did not complete.
    async fn child(&self, index: u64, children: u64, size: u64) -> Option<NodeResult> {
        let start = self.input.start + index * size;
        let traced = plan::traced(self.input.traced, children, index);
        let input = WorkflowNodeInput {
            start,
            end: (start + size - 1).min(self.input.end),
            depth: self.input.depth + 1,
            config: self.input.config.clone(),
            traced: traced.unwrap_or(0),
        };
        let id = format!("{}-c{index}", self.ctx.workflow_id());
        let mut tries = 1;
        let started = loop {
            let options = ChildWorkflowOptions::builder()
                .workflow_id(id.clone())
                .parent_close_policy(ParentClosePolicy::Terminate)
                .cancellation_token(WorkflowCancellationToken::new())
                .build();
            let call = || {
                self.ctx
                    .start_child_workflow(BatchProcessingWorkflow::run, input.clone(), options)
            };
            let starting = if traced.is_some() {
                call()
            } else {
                trace::unsampled(call)
            };
            match starting.await {
                Ok(child) => break child,
                Err(ChildWorkflowStartError::StartFailed {
                    cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
                    ..
                }) if tries < CHILD_TRIES => {
                    tries += 1;
                    let own = WorkflowCancellationToken::new();
                    let pause = TimerOptions::builder(Duration::from_secs(1)).cancellation_token(own);
                    self.ctx.timer(pause.build()).await;
                }
                Err(error) => {
                    (self.fail)(error.into());
                    return None;
                }
            }
        };
        match started.result().await {
            Ok(result) => Some(result),
            Err(error) => {
                (self.fail)(error.into());
                None
            }
        }
    }
}

/// Ten attempts over some minutes: enough for workers that come and go, and an activity that nobody has is told in the end.
fn retries() -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .backoff_coefficient(2.0)
        .maximum_interval(Duration::from_secs(60))
        .maximum_attempts(10)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn square(number: u64) -> Number {
        Number(u128::from(number).pow(2))
    }

    /// The whole tree without Temporal.
    fn processed(start: u64, end: u64, depth: u32, batch_size: u32, max_children: u32) -> NodeResult {
        match plan::chunk(end - start + 1, batch_size, max_children) {
            None => NodeResult::of_leaf(depth, &(start..=end).map(square).collect::<Vec<_>>()).unwrap(),
            Some(size) => {
                let starts = (start..=end).step_by(usize::try_from(size).unwrap());
                let children: Vec<_> = starts
                    .map(|first| processed(first, (first + size - 1).min(end), depth + 1, batch_size, max_children))
                    .collect();
                NodeResult::of_children(depth, &children).unwrap()
            }
        }
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        let large = Number(u128::MAX);
        assert_eq!(NodeResult::of_leaf(0, &[large, Number(1)]), None);
        let leaf = NodeResult::of_leaf(1, &[large]).unwrap();
        assert_eq!(NodeResult::of_children(0, &[leaf.clone(), leaf]), None);
    }

    #[test]
    fn what_is_left_out_of_an_input_has_the_documents_defaults() {
        let input: WorkflowNodeInput = serde_json::from_str(r#"{"start": 1, "end": 50}"#).unwrap();
        assert_eq!((input.config.batch_size, input.config.max_children), (10, 5));
        assert_eq!(input.config.activity, SQUARE_NUMBER);
    }

    proptest! {
        #[test]
        fn any_tree_gives_the_same_sum_and_ends(n in 1_u64..3_000, batch_size in 1_u32..30, max_children in 2_u32..30) {
            let result = processed(1, n, 0, batch_size, max_children);
            let expected = plan::plan(n, batch_size, max_children);
            prop_assert_eq!((result.workflows, result.depth), (expected.workflows, expected.depth));
            prop_assert_eq!(result.total_numbers, n);
            prop_assert_eq!(Some(result.sum.0), plan::sum_of_squares(n));
            prop_assert_eq!(result.first_results, (1..=n.min(10)).map(square).collect::<Vec<_>>());
            prop_assert_eq!(result.last_results, (n.saturating_sub(9).max(1)..=n).map(square).collect::<Vec<_>>());
        }
    }
}
