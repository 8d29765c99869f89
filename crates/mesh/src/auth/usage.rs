//! What each account uses: calls a second, calls at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::account::Account;
use super::bucket::Bucket;
use crate::error::{Error, Reason};

/// Accounts that are kept before those that rest are looked for. There may be as many as there are addresses.
const ACCOUNTS: usize = 1_024;

/// What everybody uses now.
#[derive(Debug, Default)]
pub(crate) struct Usage(Mutex<HashMap<Account, Share>>);

#[derive(Debug)]
struct Share {
    bucket: Bucket,
    places: Arc<Semaphore>,
}

/// What one may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub(super) calls_per_second: u32,
    pub(super) calls_at_once: usize,
}

impl Usage {
    /// A place for a call on this account.
    pub(super) fn enter(&self, account: Account, allowed: Allowance) -> Result<OwnedSemaphorePermit, Error> {
        let limited = |message: String, retry_after| Error::ResourceExhausted {
            reason: Reason::RateLimited,
            message,
            retry_after,
        };
        let rate = allowed.calls_per_second;
        let at_once = allowed.calls_at_once.min(Semaphore::MAX_PERMITS);
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ACCOUNTS && all.len() == all.capacity() {
            all.retain(|_, share| Arc::strong_count(&share.places) > 1 || !share.bucket.is_full(now));
        }
        let share = all.entry(account).or_insert_with(|| Share {
            bucket: Bucket::full(rate, now),
            places: Arc::new(Semaphore::new(at_once)),
        });
        share
            .bucket
            .take(rate, now)
            .map_err(|wait| limited(format!("more than {rate} calls a second"), Some(wait)))?;
        let place = share.places.clone().try_acquire_owned();
        place.map_err(|_| limited(format!("more than {at_once} calls at once"), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_its_own_places_and_resting_ones_are_forgotten() {
        let usage = Usage::default();
        let allowed = Allowance {
            calls_per_second: 100,
            calls_at_once: 2,
        };
        let of = |n: u32| Account::of_address(std::net::Ipv4Addr::from_bits(n).into());
        let held = [
            usage.enter(of(0), allowed).unwrap(),
            usage.enter(of(0), allowed).unwrap(),
        ];
        assert_eq!(
            usage.enter(of(0), allowed).unwrap_err().reason(),
            Reason::RateLimited,
            "a third at once"
        );
        drop(usage.enter(of(1), allowed).unwrap());
        for n in 2..20_000 {
            let fast = Allowance {
                calls_per_second: 1_000_000,
                ..allowed
            };
            drop(usage.enter(of(n), fast).unwrap());
        }
        let kept = usage.0.lock().unwrap();
        assert!(kept.len() < 10_000 && kept.contains_key(&of(0)), "{}", kept.len());
        drop(held);
    }
}
