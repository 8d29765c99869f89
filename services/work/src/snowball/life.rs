//! How a leaf ends: drawn from its workflow id and the number of its run, so that a replay, and a run after a reset, draw the same.

use serde::{Deserialize, Serialize};

/// Millionths of a whole, in which probabilities are kept.
pub const WHOLE: u32 = 1_000_000;

/// Longest lifetime, 30 days in milliseconds: where the tail of a distribution is cut.
pub const LONGEST_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// How leaves end, and when nodes get their tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nature {
    /// How lifetimes are distributed.
    pub lifetime: Lifetime,
    /// How many of a million leaves fail.
    pub fails: u32,
    /// How many of a million that do not fail continue as new.
    pub continues: u32,
    /// Late tagging: how long after its start a node upserts its WorkloadId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_after_ms: Option<u64>,
}

/// How lifetimes are distributed around a node's `lifetime_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Lifetime {
    /// Exactly that.
    #[default]
    Fixed,
    /// Evenly from here to that.
    Uniform {
        /// The shortest.
        from_ms: u64,
    },
    /// That is the mean.
    Exponential,
}

/// What is to become of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// How long it waits.
    pub lifetime_ms: u64,
    /// What it does then.
    pub end: End,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Completed.
    Complete,
    /// Failed.
    Fail,
    /// In another run.
    Continue,
}

impl Nature {
    /// The fate of a leaf in one of its runs.
    #[must_use]
    pub fn fate(&self, workflow_id: &str, turn: u32, lifetime_ms: u64) -> Fate {
        let mut chance = Chance::new(workflow_id, turn);
        let lifetime_ms = match self.lifetime {
            Lifetime::Fixed => lifetime_ms,
            Lifetime::Uniform { from_ms } => {
                from_ms + chance.below(lifetime_ms.saturating_sub(from_ms).saturating_add(1))
            }
            Lifetime::Exponential => chance.exponential(lifetime_ms),
        };
        // In this order, whatever the probabilities: one that is changed leaves the other draws alone.
        let (fails, continues) = (chance.happens(self.fails), chance.happens(self.continues));
        let end = match (fails, continues) {
            (true, _) => End::Fail,
            (false, true) => End::Continue,
            (false, false) => End::Complete,
        };
        Fate { lifetime_ms, end }
    }
}

/// SplitMix64, seeded by a hash. Ours, since what a seed gives must never change while histories live.
struct Chance(u64);

impl Chance {
    fn new(workflow_id: &str, turn: u32) -> Self {
        // FNV-1a.
        let bytes = workflow_id.bytes().chain(turn.to_be_bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly below `end`, but for a bias of `end` in 2^64.
    fn below(&mut self, end: u64) -> u64 {
        let scaled = (u128::from(self.next()) * u128::from(end)) >> 64;
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    fn happens(&mut self, of_a_million: u32) -> bool {
        self.below(u64::from(WHOLE)) < u64::from(of_a_million)
    }

    /// By the logarithm in binary fixed point: floating point is not the same on every machine. With u = m / 2^k, 1 <= m < 2:
    /// -ln u = (k - log2 m) ln 2.
    fn exponential(&mut self, mean_ms: u64) -> u64 {
        let u = self.next() | 1;
        let k = u.leading_zeros() + 1;
        // m in 1.62 fixed point.
        let mut m = u128::from(u) << (k - 1) >> 1;
        let mut log2 = 0_u64;
        for _ in 0..32 {
            m = (m * m) >> 62;
            log2 <<= 1;
            if m >= 1 << 63 {
                m >>= 1;
                log2 |= 1;
            }
        }
        // In 32nds of bits; ln 2 times 2^32 is 2977044471.8.
        let bits = (u128::from(k) << 32) - u128::from(log2);
        let nats = (bits * 2_977_044_472) >> 32;
        let drawn = (nats * u128::from(mean_ms)) >> 32;
        u64::try_from(drawn).unwrap_or(u64::MAX).min(LONGEST_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(nature: &Nature, lifetime_ms: u64) -> Vec<Fate> {
        (0..20_000)
            .map(|n| nature.fate(&format!("snowball-x-{n}"), 0, lifetime_ms))
            .collect()
    }

    #[test]
    fn the_shares_are_what_was_asked_for() {
        let nature = Nature {
            fails: 250_000,
            continues: 500_000,
            ..Default::default()
        };
        let fates = fates(&nature, 7);
        let share = |end| fates.iter().filter(|fate| fate.end == end).count();
        // A quarter fails; of the others half continues. Each within some five standard deviations.
        for (end, expected) in [(End::Fail, 5_000), (End::Continue, 7_500), (End::Complete, 7_500)] {
            assert!(share(end).abs_diff(expected) < 350, "{end:?}: {}", share(end));
        }
        assert!(fates.iter().all(|fate| fate.lifetime_ms == 7));
    }

    #[test]
    fn nothing_and_everything_are_certain() {
        for (fails, continues, expected) in [(0, 0, End::Complete), (WHOLE, 0, End::Fail), (0, WHOLE, End::Continue)] {
            let nature = Nature {
                fails,
                continues,
                ..Default::default()
            };
            assert!(fates(&nature, 0).iter().all(|fate| fate.end == expected));
        }
    }

    #[test]
    fn a_uniform_lifetime_is_uniform() {
        let nature = Nature {
            lifetime: Lifetime::Uniform { from_ms: 1_000 },
            ..Default::default()
        };
        let drawn: Vec<_> = fates(&nature, 3_000).iter().map(|fate| fate.lifetime_ms).collect();
        assert!(drawn.iter().all(|ms| (1_000..=3_000).contains(ms)));
        for quarter in 0..4 {
            let from = 1_000 + quarter * 500;
            let share = drawn.iter().filter(|ms| (from..from + 500).contains(*ms)).count();
            assert!(share.abs_diff(5_000) < 350, "{quarter}: {share}");
        }
    }

    #[test]
    fn an_exponential_lifetime_is_exponential() {
        let nature = Nature {
            lifetime: Lifetime::Exponential,
            ..Default::default()
        };
        let mean = 1_000_000;
        let drawn: Vec<_> = fates(&nature, mean).iter().map(|fate| fate.lifetime_ms).collect();
        // Of e^-x the lifetimes longer than x means.
        for (tenths, expected) in [(1, 18_097), (10, 7_358), (20, 2_707), (40, 366)] {
            let longer = drawn.iter().filter(|ms| **ms * 10 > tenths * mean).count();
            assert!(longer.abs_diff(expected) < 350, "{tenths}: {longer}");
        }
        let sum: u64 = drawn.iter().sum();
        assert!((sum / 20_000).abs_diff(mean) < mean / 25, "{sum}");
    }

    /// What a leaf draws is kept in no history: were it to change, runs in flight would.
    #[test]
    fn what_is_drawn_never_changes() {
        let nature = Nature {
            lifetime: Lifetime::Exponential,
            fails: 500_000,
            continues: 500_000,
            tag_after_ms: None,
        };
        let drawn: Vec<_> = (0..3).map(|turn| nature.fate("snowball-a-1", turn, 60_000)).collect();
        let expected = "[Fate { lifetime_ms: 3409, end: Continue }, Fate { lifetime_ms: 12808, end: Complete }, Fate { lifetime_ms: 40277, end: Continue }]";
        assert_eq!(format!("{drawn:?}"), expected);
    }
}
