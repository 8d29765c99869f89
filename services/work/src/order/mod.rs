//! Orders: a saga of three steps, each of which is undone, in reverse order and exactly once, when the order does not come through.
//!
//! # The saga
//! [`saga`] runs `charge_payment`, `reserve_inventory`, `schedule_shipment`. When a step fails for good, when the order is
//! cancelled (by its signal, or by a cancel request of Temporal's), or when its own timeout passes, whatever was *begun* is undone
//! in reverse. Begun, not done: a worker that died, or a reply that was lost, leaves a step whose effect nobody knows.
//!
//! # Exactly once
//! Temporal runs an activity at least once; what makes its effect happen once is the [`ledger`]. Each step of an order has one row
//! there, keyed by workflow id and step, and only three ways: nothing -> done -> undone, or nothing -> void. A step that is
//! repeated finds `done` and returns what it gave before. Undoing a step that never took effect writes `void`, and an attempt of
//! that step that was cut off from the world and comes late is refused by it. What really happened is appended to a journal in the
//! same transaction.
//!
//! # Its state
//! The workflow writes its state into its memo whenever it begins something and when it ends, so GetOrder is one Describe: it answers
//! although no worker runs, and for orders that were ended from outside.
//!
//! # Limits
//! Orders have the central timeouts and retries (`temporal.workflows`, `temporal.activities`). They travel in the order's input:
//! a replay must not meet others. Undoing has no limit of attempts. The order's own timeout leaves a sixth of the run timeout for
//! it, since an execution that Temporal times out is ended without a word.

pub mod activities;
pub mod api;
pub mod faults;
pub mod ledger;
pub mod messages;
pub mod saga;
pub mod spec;
pub mod start;
pub mod view;
pub mod workflows;

pub use activities::OrderActivities;
pub use api::OrderApi;
pub use ledger::Ledger;
pub use workflows::OrderWorkflow;

/// The task queue of orders.
pub const QUEUE: &str = "orders";

/// Workflow id of an order.
#[must_use]
pub fn workflow_id(order_id: &str) -> String {
    format!("order-{order_id}")
}

/// Id of a schedule in Temporal.
#[must_use]
pub fn schedule_id(schedule_id: &str) -> String {
    format!("order-schedule-{schedule_id}")
}
