//! Activities of snowballs.

#![allow(
    missing_docs,
    reason = "the SDK's macros generate items without docs; everything written here has them"
)]

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of a snowball.
#[derive(Debug, Clone, Copy)]
pub struct SnowballActivities;

#[activities]
impl SnowballActivities {
    /// A random UUID. Randomness is an effect: a workflow asks for it once, and its history remembers the answer.
    #[activity(name = "generate_uuid")]
    pub async fn generate_uuid(_ctx: ActivityContext) -> Result<String, ActivityError> {
        Ok(uuid::Uuid::new_v4().to_string())
    }
}
