//! Recursive batch processing: the same work for each of the numbers 1 to n, as a tree of workflows.
//!
//! # Why a tree
//! Temporal allows one workflow 2,000 pending children, 2,000 pending activities, and a history of 51,200 events. A node that
//! gets more than `batch_size` numbers cuts them into chunks of ceil(numbers / max_children) and gives each to a child; any other
//! node is a leaf and runs one activity for each number. So a node's history depends on the two limits alone, and n only makes
//! the tree deeper. [`plan`] knows the whole tree before anything starts; [`spec`] refuses what would break a limit.
//!
//! # What makes it fast
//! The server is the slow part: each child and each activity is a few writes of its database. What this service can do is to
//! need no others: a leaf's activities come back with the completion of the workflow task that asked for them (eager
//! activities), and nobody waits for a poll to go round. docs/benchmarks.md has the figures.
//!
//! # Ids
//! The id of a processing is its parameters, and its children's ids are its own with `-c0`, `-c1`, ... for each level. So a
//! Start while it runs joins it. After it has ended, however it did, a Start runs anew; a child of an earlier run that is still
//! being terminated is waited for ([`workflows`]).
//!
//! # Traces
//! The first 50 nodes are in the trace, as with snowballs ([`crate::snowball::trace`]); activities count as nodes here.

pub mod activities;
pub mod api;
pub mod number;
pub mod plan;
pub mod spec;
pub mod watch;
pub mod workflows;

pub use activities::BatchProcessingActivities;
pub use api::BatchProcessingApi;
pub use workflows::BatchProcessingWorkflow;

/// The task queue on which the tree is worked on.
pub const QUEUE: &str = "batch-processing-task-queue";

/// Type of the activity that is run when none is named.
pub const SQUARE_NUMBER: &str = "square_number";
