//! Failures on demand, for tests: an order carries them, where the setting `orders.faults` allows it, and its activities obey.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

use super::messages::Action;

/// Between two heartbeats of an activity that is held.
const BEAT: Duration = Duration::from_millis(500);

/// How an activity fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// For good.
    Refused,
    /// In a way that is worth another try.
    Error,
    /// It never returns.
    Hold,
}

/// A failure on demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which activity.
    pub action: Action,
    /// How.
    pub kind: Kind,
    /// Attempts that are affected, from the first.
    pub attempts: u32,
    /// Whether it strikes after the effect.
    pub after_effect: bool,
}

/// Lets a fault strike, if there is one for this attempt and this moment.
///
/// # Errors
/// The failure that was asked for; for a held activity its cancellation.
pub async fn strike(
    ctx: &ActivityContext,
    action: Action,
    fault: Option<&Fault>,
    after_effect: bool,
) -> Result<(), ActivityError> {
    let attempt = ctx.info().attempt;
    let Some(fault) = fault.filter(|fault| fault.after_effect == after_effect && attempt <= fault.attempts) else {
        return Ok(());
    };
    match fault.kind {
        Kind::Refused => {
            let (kind, words) = refusal(action);
            Err(ActivityError::application(
                ApplicationFailure::builder(anyhow::anyhow!(words))
                    .type_name(kind.to_owned())
                    .non_retryable(true)
                    .build(),
            ))
        }
        Kind::Error => Err(ActivityError::application(
            ApplicationFailure::builder(anyhow::anyhow!("failed on demand at attempt {attempt}"))
                .type_name("FailedOnDemand".to_owned())
                .build(),
        )),
        Kind::Hold => {
            let mut beat = tokio::time::interval(BEAT);
            loop {
                tokio::select! {
                    () = ctx.cancelled() => return Err(ActivityError::cancelled()),
                    _ = beat.tick() => ctx.record_heartbeat("held on demand".to_owned()).await?,
                }
            }
        }
    }
}

fn refusal(action: Action) -> (&'static str, &'static str) {
    match action.undo() {
        Action::RefundPayment => ("CardDeclined", "the card was declined"),
        Action::ReleaseInventory => ("OutOfStock", "an item is out of stock"),
        _ => ("AddressRefused", "nobody ships to this address"),
    }
}
