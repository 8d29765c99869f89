//! Snowballs: trees of workflows that grow as fast as the server takes them, under one WorkloadId.
//!
//! # The tree
//! `CancelableWorkflow` spawns `ChildWorkflow`s, which spawn `ChildWorkflow`s, down to leaves that only wait. Every child
//! has ParentClosePolicy TERMINATE, so terminating a spawner makes the server end everything below it. A spawner stays
//! open until all of its children are closed: only then does "roots first" mean something.
//!
//! Two limits of Temporal stand in the way of size: a history of 51,200 events, and 2,000 pending children of one
//! workflow. The usual answer to the first, continue-as-new, does not work for a parent: the server applies the parent
//! close policy whenever a *run* closes, so a parent that continues as new kills its own children
//! (temporalio/temporal issues 373 and 3666; `tests/live.rs` shows it on a real server). So the shape
//! carries the size: [`plan`] never gives a node more than [`plan::MAX_CHILDREN`] children and puts helper
//! spawners in between where the spec asks for more. A node's history then has a bound that follows from its own
//! children alone, whatever the size of the tree; 2,000,000 is a matter of time. Continue-as-new remains where it is safe:
//! a spawner that waits with no child of its own yet (a closed gate) goes on in a fresh history.
//!
//! Helpers spawn at the same time, each with a share of the rate. A level whose pace changes ([`tide`]), or that has no end, cannot be
//! shared out so: there the spawners are a relay, each the last child of the one before ([`plan::Relay`]). A chain of links has no
//! limit in Temporal, and each link's history is bounded by its own children, so an endless snowball needs no continue-as-new.
//!
//! A client as producer ([`producer`]) starts the first level without parents: what a program outside would do, for which the root
//! stands.
//!
//! # Spawning in bursts
//! [`spawner`] asks for admission ([`crate::source`]), then starts children in N lanes for at most 300 ms, then asks
//! again. An admission says that the gate was open a moment ago and how many starts may be in flight. Both bounds matter
//! for stopping: a start command that the server has taken cannot be taken back, so what is in flight when the gate closes
//! still appears. Unbounded, 70 spawners of concurrency 50 leave 3,500 starts in the server's queue: 20 s of growth after
//! Quiesce. A history holds only what the server said and what admissions said, so that replays decide the same.
//!
//! # Traces
//! A snowball of 5,000 must not make 10,000 spans: [`trace`] gives the tree a budget of sampled children; everything beyond
//! it runs in an unsampled context of the same trace.

pub mod activities;
pub mod api;
pub mod life;
pub mod pace;
pub mod pacing;
pub mod plan;
pub mod producer;
pub mod spawner;
pub mod spec;
pub mod tide;
pub mod trace;
pub mod wait;
pub mod watch;
pub mod workflows;

pub use activities::SnowballActivities;
pub use api::SnowballApi;
pub use producer::SnowballClient;
pub use workflows::{CancelableWorkflow, ChildWorkflow};
