//! Probes: do workers lose tasks? Many workflows of one activity each, and a count of what became of the activities.
//!
//! A worker that stops badly takes tasks with it: the server has handed them out, no function has begun, and after the
//! start-to-close timeout they fail, or are tried again where attempts are left. A probe makes that visible. One attempt, by
//! default: a retry that hides a loss is no cure.
//!
//! [`workflows::ProbeRun`] starts the workflows, by an activity on the service's own queue; each [`workflows::ProbeWorkflow`] runs
//! `probe` on a queue that can be served by other workers than the workflows ([`activities`]), so that those can be restarted alone.
//!
//! *Lost* or only *timed out* is told by a sign that the activity gives when it begins: a heartbeat, which the server hands to the
//! workflow with the timeout. Where an activity cannot time out by itself it gives none, and every timeout is a loss.
//!
//! What became of an activity is written into the WorkloadId of its workflow (`<probe>/lost`, ...), unless it completed: so
//! the counts are queries ([`view`]), and a probe of any size needs no state of its own.

pub mod activities;
pub mod api;
pub mod spec;
pub mod view;
pub mod workflows;

pub use activities::{ProbeActivities, ProbeStarter};
pub use api::ProbeApi;
pub use workflows::{ProbeRun, ProbeWorkflow};
