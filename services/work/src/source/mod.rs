//! The gate of a workload: how a cancellation tells the sources to stop, and how a source obeys.
//!
//! # The contract, for any producer
//! The gate of a workload is closed while an execution with the workflow id `quell/gate/<workload_id>` is open in the main
//! namespace, whatever its type. Describe (strongly consistent) is the way to ask; nobody needs to call this service, and
//! the gate holds although no worker runs. Its execution timeout is its time to live. Whoever starts workflows with
//! that WorkloadId asks before it starts, at least every half second while it goes on, and starts nothing when it cannot
//! ask.
//!
//! # How this service obeys
//! [`gates`] closes, opens and reads gates; reads go through a cache per process (one Describe every 200 ms per workload,
//! however many spawners ask). [`admission`] decides how many starts may be in flight in this process and who waits how
//! long. [`activities`] joins both to what a spawner asks, as a local activity: its answer is in the spawner's history, and
//! costs no call of the server.
//!
//! From the reply of Quiesce to the last start that a spawner asks for: 200 ms (cache) + 300 ms (burst). What is in
//! flight then still appears: at most [`admission::BUDGET`] per replica, 0.4 s at 150 starts a second.

pub mod activities;
pub mod admission;
pub mod api;
pub mod gates;
pub mod workflows;

pub use activities::SourceActivities;
pub use api::SourceApi;
pub use gates::Gates;
pub use workflows::Gate;
