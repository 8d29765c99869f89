//! What workflow and activities of an order tell each other, and what the workflow tells the world.

use quell_api::work::v1::OrderAction;
use quell_mesh::CancelState;
pub use quell_mesh::{Limits, central::millis};
use serde::{Deserialize, Serialize};

use super::faults::Fault;

/// An activity of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Takes the money.
    ChargePayment,
    /// Takes the items from stock.
    ReserveInventory,
    /// Books the shipment.
    ScheduleShipment,
    /// Undoes `ScheduleShipment`.
    CancelShipment,
    /// Undoes `ReserveInventory`.
    ReleaseInventory,
    /// Undoes `ChargePayment`.
    RefundPayment,
}

/// The steps, in their order.
pub const STEPS: [Action; 3] = [
    Action::ChargePayment,
    Action::ReserveInventory,
    Action::ScheduleShipment,
];

impl Action {
    /// All, in the order of the contract.
    pub const ALL: [Self; 6] = [
        Self::ChargePayment,
        Self::ReserveInventory,
        Self::ScheduleShipment,
        Self::CancelShipment,
        Self::ReleaseInventory,
        Self::RefundPayment,
    ];

    /// Its name: of the activity, and in the ledger.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChargePayment => "charge_payment",
            Self::ReserveInventory => "reserve_inventory",
            Self::ScheduleShipment => "schedule_shipment",
            Self::CancelShipment => "cancel_shipment",
            Self::ReleaseInventory => "release_inventory",
            Self::RefundPayment => "refund_payment",
        }
    }

    /// What undoes a step; what undoes is itself.
    #[must_use]
    pub const fn undo(self) -> Self {
        match self {
            Self::ChargePayment | Self::RefundPayment => Self::RefundPayment,
            Self::ReserveInventory | Self::ReleaseInventory => Self::ReleaseInventory,
            Self::ScheduleShipment | Self::CancelShipment => Self::CancelShipment,
        }
    }

    /// The action of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// As the contract has it.
    #[must_use]
    pub const fn wire(self) -> OrderAction {
        match self {
            Self::ChargePayment => OrderAction::ChargePayment,
            Self::ReserveInventory => OrderAction::ReserveInventory,
            Self::ScheduleShipment => OrderAction::ScheduleShipment,
            Self::CancelShipment => OrderAction::CancelShipment,
            Self::ReleaseInventory => OrderAction::ReleaseInventory,
            Self::RefundPayment => OrderAction::RefundPayment,
        }
    }

    /// The one of the contract, unless it is unspecified or unknown.
    #[must_use]
    pub fn of_wire(action: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|ours| i32::from(ours.wire()) == action)
    }
}

/// What is paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDetails {
    /// The payment provider's token.
    pub token: String,
    /// Amount in the currency's smallest unit.
    pub amount_minor: i64,
    /// Currency by ISO 4217.
    pub currency: String,
}

/// A line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What.
    pub sku: String,
    /// How many.
    pub quantity: u32,
}

/// What was asked for; kept in the memo as well, where a repeated request is compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// What is paid.
    pub payment: PaymentDetails,
    /// What is taken from stock.
    pub items: Vec<Item>,
    /// Where it goes.
    pub address: String,
    /// How long the order may take, in milliseconds.
    pub timeout_ms: u64,
    /// How long after its placement it begins, in milliseconds.
    #[serde(default)]
    pub start_delay_ms: u64,
    /// Failures on demand, for tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// Input of `OrderWorkflow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderInput {
    /// What was asked for.
    pub request: OrderRequest,
    /// The central limits.
    pub limits: Limits,
}

/// Output of `OrderWorkflow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOutput {
    /// `completed`; `cancelled` after the cancel signal.
    pub status: String,
    /// Tracking number of the shipment of a completed order.
    pub tracking: Option<String>,
}

/// Input of every activity of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInput<T> {
    /// Workflow id of the order: with the step, the idempotency key.
    pub order: String,
    /// What the step is about; nothing for what undoes one.
    pub details: T,
    /// A failure on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// Output of every activity of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutput {
    /// What it gave: number of the payment or reservation, tracking number. For what undoes a step: what was undone, or nothing when
    /// there was nothing to undo.
    pub reference: String,
}

/// Where an order is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its steps are run.
    #[default]
    Running,
    /// It is being undone.
    Compensating,
    /// All steps are done.
    Completed,
    /// Cancelled and undone.
    Cancelled,
    /// Failed and undone.
    Failed,
    /// Given up at its timeout, and undone.
    TimedOut,
}

/// Where a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    #[default]
    Waiting,
    /// Begun.
    Running,
    /// Done.
    Done,
    /// Failed, cancelled or timed out; its effect is not known.
    Failed,
    /// Being undone.
    Undoing,
    /// Undone, or void.
    Undone,
}

/// One step of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub action: Action,
    /// How far.
    pub state: StepState,
    /// What it gave.
    pub reference: String,
}

/// Why an order did not come through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed.
    pub action: Option<Action>,
    /// Type of the failure.
    #[serde(rename = "type")]
    pub kind: String,
    /// In words.
    pub message: String,
}

/// The state of an order, as its memo and its query `order_state` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    /// Where it is.
    pub phase: Phase,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Whether and why it was asked to stop.
    pub cancel: CancelState,
    /// Why it did not come through.
    pub failure: Option<Failure>,
}

impl Default for OrderState {
    fn default() -> Self {
        let waiting = |action| Step {
            action,
            state: StepState::Waiting,
            reference: String::new(),
        };
        Self {
            phase: Phase::Running,
            steps: STEPS.map(waiting).to_vec(),
            cancel: CancelState::default(),
            failure: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for action in Action::ALL {
            assert_eq!(Action::named(action.name()), Some(action));
            assert_eq!(Action::of_wire(action.wire().into()), Some(action));
            assert_eq!(action.undo().undo(), action.undo());
            assert!(!STEPS.contains(&action.undo()));
        }
        assert_eq!(Action::of_wire(0), None);
        assert_eq!(Action::named("nothing"), None);
    }
}
