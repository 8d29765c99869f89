//! How long calls take, and when there are too many of them.

use crate::sim::{Scenario, chance::Chance};

/// Calls that may be made in one second.
#[derive(Debug, Default)]
struct Budget {
    limit: u64,
    second: u64,
    used: u64,
}

impl Budget {
    /// Takes one; whether there was one left.
    fn take(&mut self, now_ms: u64) -> bool {
        if self.limit == 0 {
            return true;
        }
        let second = now_ms / 1_000;
        if second != self.second {
            self.second = second;
            self.used = 0;
        }
        self.used += 1;
        self.used <= self.limit
    }
}

#[derive(Debug)]
pub(super) struct Load {
    calls: Budget,
    lists: Budget,
    /// When each of the calls that are worked on is done; empty when the server is always idle.
    free_ms: Vec<u64>,
}

impl Load {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let budget = |limit| Budget {
            limit,
            ..Budget::default()
        };
        let cores = usize::try_from(scenario.cores).unwrap_or_default();
        Self {
            calls: budget(scenario.rps),
            lists: budget(scenario.list_rps),
            free_ms: vec![0; cores],
        }
    }

    pub(super) fn admits(&mut self, now_ms: u64, is_list: bool) -> bool {
        let budget = if is_list { &mut self.lists } else { &mut self.calls };
        budget.take(now_ms)
    }

    /// How long a call takes that is made now: what is before it in the queue, and its own work.
    pub(super) fn latency_ms(&mut self, now_ms: u64, chance: &mut Chance) -> u64 {
        let work_ms = 1 + chance.below(12);
        let Some(free) = self.free_ms.iter_mut().min() else {
            return work_ms;
        };
        *free = now_ms.max(*free) + work_ms;
        *free - now_ms
    }
}
