//! The activities of an order. What a provider of payments, a warehouse or a carrier would do is an entry in the ledger here: the
//! form of the calls, their keys and their failures are those of the real thing.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

use super::{
    faults,
    ledger::{Applied, Ledger},
    messages::{Action, Item, PaymentDetails, StepInput, StepOutput},
};

/// Between two heartbeats; the heartbeat timeout is ten seconds ([`super::saga`]).
const BEAT: Duration = Duration::from_secs(2);

/// The activities of orders.
#[derive(Clone, Debug)]
pub struct OrderActivities {
    ledger: Ledger,
}

impl OrderActivities {
    /// Activities that act on this ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    async fn step<T: Serialize>(
        &self,
        ctx: ActivityContext,
        action: Action,
        prefix: &str,
        input: StepInput<T>,
    ) -> Result<StepOutput, ActivityError> {
        faults::strike(&ctx, action, input.fault.as_ref(), false).await?;
        let reference = format!("{prefix}-{}", uuid::Uuid::new_v4().simple());
        let details = serde_json::to_string(&input.details).map_err(anyhow::Error::from)?;
        let applying = self.ledger.apply(&input.order, action, reference, &details);
        let reference = match beating(&ctx, applying).await? {
            Applied::Done(reference) => reference,
            Applied::TooLate => {
                return Err(ActivityError::application(
                    ApplicationFailure::builder(anyhow::anyhow!("the order was undone before this step came"))
                        .type_name("StepVoid".to_owned())
                        .non_retryable(true)
                        .build(),
                ));
            }
        };
        faults::strike(&ctx, action, input.fault.as_ref(), true).await?;
        Ok(StepOutput { reference })
    }

    async fn undo(
        &self,
        ctx: ActivityContext,
        step: Action,
        input: StepInput<()>,
    ) -> Result<StepOutput, ActivityError> {
        faults::strike(&ctx, step.undo(), input.fault.as_ref(), false).await?;
        let undone = beating(&ctx, self.ledger.undo(&input.order, step)).await?;
        faults::strike(&ctx, step.undo(), input.fault.as_ref(), true).await?;
        Ok(StepOutput {
            reference: undone.unwrap_or_default(),
        })
    }
}

/// Waits for the ledger and lets the server know meanwhile that somebody does. Not cut short by a cancel: it is quick, and a known end
/// is better than an unknown one.
async fn beating<T>(
    ctx: &ActivityContext,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, ActivityError> {
    let mut beat = tokio::time::interval(BEAT);
    tokio::pin!(call);
    loop {
        tokio::select! {
            done = &mut call => return done.map_err(|error| {
                // Its words may name the database's host.
                tracing::warn!(%error, "the ledger of orders does not answer");
                anyhow::anyhow!("the ledger does not answer").into()
            }),
            _ = beat.tick() => ctx.record_heartbeat(()).await?,
        }
    }
}

#[activities]
impl OrderActivities {
    /// Takes the money. Gives the number of the payment.
    #[activity(name = "charge_payment")]
    pub async fn charge_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: StepInput<PaymentDetails>,
    ) -> Result<StepOutput, ActivityError> {
        self.step(ctx, Action::ChargePayment, "pay", input).await
    }

    /// Takes the items from stock. Gives the number of the reservation.
    #[activity(name = "reserve_inventory")]
    pub async fn reserve_inventory(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: StepInput<Vec<Item>>,
    ) -> Result<StepOutput, ActivityError> {
        self.step(ctx, Action::ReserveInventory, "res", input).await
    }

    /// Books the shipment. Gives the tracking number.
    #[activity(name = "schedule_shipment")]
    pub async fn schedule_shipment(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: StepInput<String>,
    ) -> Result<StepOutput, ActivityError> {
        self.step(ctx, Action::ScheduleShipment, "trk", input).await
    }

    /// Undoes `schedule_shipment`.
    #[activity(name = "cancel_shipment")]
    pub async fn cancel_shipment(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: StepInput<()>,
    ) -> Result<StepOutput, ActivityError> {
        self.undo(ctx, Action::ScheduleShipment, input).await
    }

    /// Undoes `reserve_inventory`.
    #[activity(name = "release_inventory")]
    pub async fn release_inventory(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: StepInput<()>,
    ) -> Result<StepOutput, ActivityError> {
        self.undo(ctx, Action::ReserveInventory, input).await
    }

    /// Undoes `charge_payment`.
    #[activity(name = "refund_payment")]
    pub async fn refund_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: StepInput<()>,
    ) -> Result<StepOutput, ActivityError> {
        self.undo(ctx, Action::ChargePayment, input).await
    }
}
