//! Which refusals the audit keeps.
//!
//! A refusal costs its sender nothing, so they may come by the thousand. Each account has a share of its own: whoever is known
//! [`PER_ACCOUNT`] a second, an address as many, and all addresses together [`OF_STRANGERS`], however many they are. So no flood of
//! strangers hides what a known principal tried, nor that of one address what another did. What is not kept is counted, and said by the
//! next one of the account that is kept; when a flood ends, its last one is kept for that.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::Event;
use crate::auth::{Account, Bucket};
use crate::metrics::AUDIT_SUPPRESSED;

/// Refusals a second of one account.
pub const PER_ACCOUNT: u32 = 5;
/// Refusals a second of all addresses at which nobody is known.
pub const OF_STRANGERS: u32 = 20;
/// Addresses that are told from each other; more are one account.
const ADDRESSES: usize = 4_096;

/// What has been refused of late.
#[derive(Debug)]
pub(super) struct Refusals {
    shares: HashMap<Account, Share>,
    strangers: Bucket,
}

#[derive(Debug)]
struct Share {
    bucket: Bucket,
    /// The last one that was not kept.
    last: Option<Box<Event>>,
    /// How many were not, that one too.
    suppressed: u64,
}

impl Refusals {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            shares: HashMap::new(),
            strangers: Bucket::full(OF_STRANGERS, now),
        }
    }

    /// Gives the event back if it is to be kept.
    pub(super) fn sift(&mut self, account: Account, mut event: Event, now: Instant) -> Option<Event> {
        let account = match account {
            Account::Address(_) if self.shares.len() >= ADDRESSES && !self.shares.contains_key(&account) => {
                Account::Address(Ipv4Addr::UNSPECIFIED.into())
            }
            known => known,
        };
        let stranger = matches!(account, Account::Address(_));
        let share = self.shares.entry(account).or_insert_with(|| Share {
            bucket: Bucket::full(PER_ACCOUNT, now),
            last: None,
            suppressed: 0,
        });
        let kept = share.bucket.take(PER_ACCOUNT, now).is_ok()
            && (!stranger || self.strangers.take(OF_STRANGERS, now).is_ok());
        if kept {
            event.suppressed = std::mem::take(&mut share.suppressed);
            share.last = None;
            return Some(event);
        }
        AUDIT_SUPPRESSED.with([]).inc();
        share.suppressed += 1;
        share.last = Some(Box::new(event));
        None
    }

    /// The last ones of floods that are over; at the end, of all.
    pub(super) fn settle(&mut self, end: bool, now: Instant) -> Vec<Event> {
        let mut settled = Vec::new();
        self.shares.retain(|_, share| {
            if (end || share.bucket.is_full(now))
                && let Some(mut last) = share.last.take()
            {
                last.suppressed = std::mem::take(&mut share.suppressed) - 1;
                settled.push(*last);
            }
            share.last.is_some() || !share.bucket.is_full(now)
        });
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(n: u32) -> Account {
        Account::of_address(Ipv4Addr::from_bits(n).into())
    }

    fn kept(refusals: &mut Refusals, account: &Account, times: u32, now: Instant) -> Vec<Event> {
        (0..times)
            .filter_map(|_| refusals.sift(account.clone(), Event::default(), now))
            .collect()
    }

    #[test]
    fn a_flood_of_strangers_hides_nobody_who_is_known() {
        let now = Instant::now();
        let mut refusals = Refusals::new(now);
        let mut of_strangers = 0;
        for n in 0..10_000 {
            of_strangers += kept(&mut refusals, &address(n), 10, now).len();
        }
        assert_eq!(of_strangers, 2 * OF_STRANGERS as usize);
        assert!(refusals.shares.len() <= ADDRESSES + 1);
        let viewer = Account::Principal("viewer".into());
        assert_eq!(kept(&mut refusals, &viewer, 3, now).len(), 3);
    }

    #[test]
    fn what_was_not_kept_is_said_by_the_next_one_or_by_the_last() {
        let start = Instant::now();
        let mut refusals = Refusals::new(start);
        let first = kept(&mut refusals, &address(1), 100, start);
        assert_eq!(first.len(), 2 * PER_ACCOUNT as usize);
        assert!(first.iter().all(|event| event.suppressed == 0));
        assert!(refusals.settle(false, start).is_empty(), "it may go on");
        let later = start + Duration::from_millis(300);
        let next = kept(&mut refusals, &address(1), 100, later);
        assert_eq!((next.len(), next[0].suppressed), (1, 90));
        let over = start + Duration::from_secs(60);
        let settled = refusals.settle(false, over);
        assert_eq!((settled.len(), settled[0].suppressed), (1, 98));
        assert!(refusals.shares.is_empty(), "nothing is kept of who rests");
        kept(&mut refusals, &address(1), 11, over);
        assert_eq!(refusals.settle(true, over).len(), 1, "at the end all are said");
    }
}
