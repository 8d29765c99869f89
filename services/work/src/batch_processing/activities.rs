//! Activities of a processing.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use serde::{Deserialize, Serialize};
use temporalio_common::ActivityDefinition;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::number::Number;

/// What the activity for one number gets, whatever its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberInput {
    /// The number.
    pub number: u64,
}

/// The activities that this service has itself.
#[derive(Debug, Clone, Copy)]
pub struct BatchProcessingActivities;

#[activities]
impl BatchProcessingActivities {
    /// The square of a number.
    #[activity(name = "square_number")]
    pub async fn square_number(_ctx: ActivityContext, input: NumberInput) -> Result<Number, ActivityError> {
        // The square of 64 bits always fits 128.
        Ok(Number(u128::from(input.number).pow(2)))
    }
}

/// An activity that is named by a request: any that takes a [`NumberInput`] and gives a [`Number`].
#[derive(Clone, Debug)]
pub struct PerNumber(pub String);

impl ActivityDefinition for PerNumber {
    type Input = NumberInput;
    type Output = Number;

    fn name(&self) -> &str {
        &self.0
    }
}
