//! Limits of each principal: calls a second, calls at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Grant;
use super::bucket::Bucket;
use crate::config::GuardSettings;
use crate::error::{Error, Reason};

/// What each principal uses.
#[derive(Debug, Default)]
pub(crate) struct Usage(Mutex<HashMap<Arc<str>, Share>>);

/// Calls a second, and calls at once.
type Share = (Bucket, Arc<Semaphore>);

impl Usage {
    /// A place for a call of this principal.
    pub(super) fn enter(&self, grant: &Grant, settings: &GuardSettings) -> Result<OwnedSemaphorePermit, Error> {
        let limited = |message: String, retry_after| Error::ResourceExhausted {
            reason: Reason::RateLimited,
            message,
            retry_after,
        };
        let rate = grant.calls_per_second.unwrap_or(settings.calls_per_second);
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (bucket, places) = all.entry(grant.principal.name.clone()).or_insert_with(|| {
            let places = settings.calls_per_principal.min(Semaphore::MAX_PERMITS);
            (Bucket::full(rate, now), Arc::new(Semaphore::new(places)))
        });
        bucket
            .take(rate, now)
            .map_err(|wait| limited(format!("more than {rate} calls a second"), Some(wait)))?;
        places.clone().try_acquire_owned().map_err(|_| {
            limited(
                format!("more than {} calls at once", settings.calls_per_principal),
                None,
            )
        })
    }
}
