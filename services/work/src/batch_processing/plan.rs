//! The shape of the tree, as pure functions of the parameters: the workflow builds by them, and the api tells the whole before
//! anything starts.

use std::collections::BTreeMap;

/// How many numbers are given to each child of a node; `None` when the node is a leaf.
#[must_use]
pub fn chunk(numbers: u64, batch_size: u32, max_children: u32) -> Option<u64> {
    (numbers > u64::from(batch_size)).then(|| numbers.div_ceil(u64::from(max_children)))
}

/// The tree of a processing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Workflows, the root included.
    pub workflows: u64,
    /// Largest nesting level; 0 when the root is a leaf.
    pub depth: u32,
}

/// The tree for so many numbers. `max_children` is at least 2, or it would have no end.
#[must_use]
pub fn plan(numbers: u64, batch_size: u32, max_children: u32) -> Plan {
    let mut known = BTreeMap::new();
    Plan {
        workflows: workflows(numbers, batch_size, max_children.max(2), &mut known),
        depth: depth(numbers, batch_size, max_children.max(2)),
    }
}

/// The first chunk is never smaller than the last one, so the first child is as deep as any.
fn depth(numbers: u64, batch_size: u32, max_children: u32) -> u32 {
    let mut level = 0;
    let mut numbers = numbers;
    while let Some(size) = chunk(numbers, batch_size, max_children) {
        numbers = size;
        level += 1;
    }
    level
}

/// All chunks but the last are of one size, so a level has few sizes, whatever its width: `known` has those seen before.
fn workflows(numbers: u64, batch_size: u32, max_children: u32, known: &mut BTreeMap<u64, u64>) -> u64 {
    let Some(size) = chunk(numbers, batch_size, max_children) else {
        return 1;
    };
    if let Some(workflows) = known.get(&numbers) {
        return *workflows;
    }
    let mut total = 1_u64;
    let full = workflows(size, batch_size, max_children, known);
    total = total.saturating_add(full.saturating_mul(numbers / size));
    if !numbers.is_multiple_of(size) {
        total = total.saturating_add(workflows(numbers % size, batch_size, max_children, known));
    }
    known.insert(numbers, total);
    total
}

/// Sum of the squares of 1 to n, if it fits 128 bits.
#[must_use]
pub fn sum_of_squares(n: u64) -> Option<u128> {
    let n = u128::from(n);
    // Of two neighbours one is even, and of n, n + 1, 2n + 1 one is a multiple of 3: divided first, so that nothing
    // overflows that need not.
    let mut factors = [n, n + 1, 2 * n + 1];
    for divisor in [2, 3] {
        if let Some(factor) = factors.iter_mut().find(|factor| **factor % divisor == 0) {
            *factor /= divisor;
        }
    }
    let [a, b, c] = factors;
    a.checked_mul(b)?.checked_mul(c)
}

/// Splits what may still appear in the trace among the children of a node: who is in it, and what is left for what is below
/// each of them.
#[must_use]
pub fn traced(budget: u32, children: u64, index: u64) -> Option<u32> {
    let chosen = u64::from(budget).min(children);
    if index >= chosen {
        return None;
    }
    let rest = u64::from(budget) - chosen;
    let share = rest / chosen + u64::from(index < rest % chosen);
    u32::try_from(share).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Workflows and depth by building the whole tree, as the workflow does.
    fn built(numbers: u64, batch_size: u32, max_children: u32) -> Plan {
        let Some(size) = chunk(numbers, batch_size, max_children) else {
            return Plan { workflows: 1, depth: 0 };
        };
        let mut whole = Plan { workflows: 1, depth: 0 };
        let mut left = numbers;
        while left > 0 {
            let part = built(left.min(size), batch_size, max_children);
            whole.workflows += part.workflows;
            whole.depth = whole.depth.max(part.depth + 1);
            left -= left.min(size);
        }
        whole
    }

    #[test]
    fn the_documents_trees() {
        assert_eq!(plan(50, 10, 5), Plan { workflows: 6, depth: 1 });
        assert_eq!(
            plan(2_000, 10, 5),
            Plan {
                workflows: 656,
                depth: 4
            }
        );
        assert_eq!(plan(10, 10, 5), Plan { workflows: 1, depth: 0 });
        assert_eq!(plan(1_000, 10, 10), built(1_000, 10, 10));
    }

    #[test]
    fn the_largest_is_planned_at_once() {
        for max_children in [2, 3, 5, 2_000] {
            let plan = plan(10_069_012_961_344, 1, max_children);
            assert!(plan.workflows > 10_000_000_000_000, "{plan:?}");
        }
    }

    #[test]
    fn sums_are_exact_up_to_the_last_that_fits() {
        assert_eq!(sum_of_squares(0), Some(0));
        assert_eq!(sum_of_squares(50), Some(42_925));
        assert_eq!(sum_of_squares(2_000), Some(2_668_667_000));
        assert!(sum_of_squares(10_069_012_961_344).is_some());
        assert_eq!(sum_of_squares(10_069_012_961_345), None);
        assert_eq!(sum_of_squares(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn the_plan_is_what_is_built(numbers in 1_u64..5_000, batch_size in 1_u32..40, max_children in 2_u32..40) {
            prop_assert_eq!(plan(numbers, batch_size, max_children), built(numbers, batch_size, max_children));
        }

        #[test]
        fn no_node_has_more_children_than_it_may(numbers: u64, batch_size in 1_u32..=2_000, max_children in 2_u32..=2_000) {
            if let Some(size) = chunk(numbers, batch_size, max_children) {
                prop_assert!(size < numbers);
                prop_assert!(numbers.div_ceil(size) <= u64::from(max_children));
            }
        }

        #[test]
        fn the_sum_is_the_sum(n in 0_u64..2_000) {
            prop_assert_eq!(sum_of_squares(n), Some((1..=u128::from(n)).map(|i| i * i).sum()));
        }

        #[test]
        fn no_more_is_traced_than_the_budget(budget in 0_u32..200, children in 1_u64..3_000) {
            let shares: Vec<_> = (0..children).filter_map(|index| traced(budget, children, index)).collect();
            let used = shares.iter().map(|share| share + 1).sum::<u32>();
            prop_assert_eq!(used, if children > 0 { budget } else { 0 });
        }
    }
}
