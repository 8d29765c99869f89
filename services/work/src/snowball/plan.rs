//! The shape of a tree: which node has how many children, so that no node meets a limit of Temporal.
//!
//! Wanted: every node has at most [`MAX_CHILDREN`] children; a node that is to spawn more spawns helpers instead, each with
//! an equal share; the tree is a pure function of the spec; the total is known before anything starts.
//!
//! Events of one node, at worst (each child in workflow tasks of its own): initiated, started, closed; a pacing timer
//! started and fired; an admission marker; a cancel request and its answer: 8, and 3 for each of at most 5 workflow
//! tasks. 23 per child: 23,000 of the 51,200 that the server allows. Waiting at a closed gate adds to that, ever more
//! slowly ([`crate::snowball::spawner`]).

use serde::{Deserialize, Serialize};

/// Most children of one workflow. Temporal allows 2,000 pending; half of that keeps a wide margin in events as well.
pub const MAX_CHILDREN: u32 = 1_000;

/// Most events that one child adds to its parent's history; see the module.
pub const EVENTS_PER_CHILD: u32 = 23;

/// Largest tree that is taken on: "2M+" with room.
pub const MAX_WORKFLOWS: u64 = 2_500_000;

/// What one node is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its WorkloadId.
    pub workload_id: String,
    /// How long leaves stay open, in milliseconds.
    pub lifetime_ms: u64,
    /// What it spawns; a leaf has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

/// What a spawner is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Workflows of the next level that this node brings about, itself or through helpers.
    pub count: u32,
    /// Children of each node of the levels below.
    pub width: u32,
    /// Levels below this node; at least 1.
    pub depth: u32,
    /// Most starts in flight at once.
    pub concurrency: u32,
    /// Microseconds between two starts; 0 = no limit. An integer, so that a replay computes the same.
    pub interval_us: u64,
    /// How many of the workflows below may be in the trace; see [`crate::snowball::trace`].
    pub traced: u32,
    /// Name of this node's children, once it has one; a continued run keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brood: Option<String>,
}

impl Node {
    /// The same node in its next run, with what is left to do.
    #[must_use]
    pub fn going_on(self, order: Order) -> Self {
        Self {
            order: Some(order),
            ..self
        }
    }
}

impl Order {
    /// Children of this node itself, helpers or not.
    #[must_use]
    pub fn children(&self) -> u32 {
        helpers(self.count).unwrap_or(self.count)
    }

    /// Children that may be in the trace: the first ones, half of the budget at most, so that some is left for their own.
    #[must_use]
    pub fn traced_children(&self) -> u32 {
        if self.depth == 1 && self.count <= MAX_CHILDREN {
            self.traced.min(self.children())
        } else {
            self.traced.div_ceil(2).min(self.children())
        }
    }

    /// What the child at `index` is told.
    #[must_use]
    pub fn child(&self, index: u32, workload_id: &str, lifetime_ms: u64) -> Node {
        let order = self.child_order(index);
        Node {
            workload_id: workload_id.to_owned(),
            lifetime_ms,
            order,
        }
    }

    fn child_order(&self, index: u32) -> Option<Order> {
        let traced = self.traced_of_child(index);
        if let Some(helpers) = helpers(self.count) {
            // A helper stands for a share of this node, and so has a share of its rate.
            let share = self.count / helpers + u32::from(index < self.count % helpers);
            let interval_us = self.interval_us.saturating_mul(u64::from(helpers));
            return Some(Order {
                count: share,
                interval_us,
                traced,
                brood: None,
                ..self.clone()
            });
        }
        (self.depth > 1).then(|| Order {
            count: self.width,
            depth: self.depth - 1,
            traced,
            brood: None,
            ..self.clone()
        })
    }

    /// The rest of the budget, shared among the traced children.
    fn traced_of_child(&self, index: u32) -> u32 {
        let chosen = self.traced_children();
        if index >= chosen {
            return 0;
        }
        let rest = self.traced - chosen;
        rest / chosen + u32::from(index < rest % chosen)
    }

    /// Workflows below this node once it is fully grown, helpers included.
    #[must_use]
    pub fn workflows(&self) -> u64 {
        let below = (1..self.depth).fold(0_u64, |below, _| level(self.width, below));
        level(self.count, below)
    }
}

/// Workflows below a node with `count` children, each of which has `below` of its own.
fn level(count: u32, below: u64) -> u64 {
    all_helpers(count).saturating_add(u64::from(count).saturating_mul(below.saturating_add(1)))
}

/// Helpers directly below a node that is to bring about `count` workflows; `None` when it needs none.
fn helpers(count: u32) -> Option<u32> {
    (count > MAX_CHILDREN).then(|| count.div_ceil(MAX_CHILDREN).min(MAX_CHILDREN))
}

/// Helpers below such a node, on all levels.
fn all_helpers(count: u32) -> u64 {
    let Some(helpers) = helpers(count) else { return 0 };
    let (share, larger) = (count / helpers, u64::from(count % helpers));
    let smaller = u64::from(helpers) - larger;
    u64::from(helpers) + larger * all_helpers(share + 1) + smaller * all_helpers(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(width: u32, depth: u32, traced: u32) -> Order {
        Order {
            count: width,
            width,
            depth,
            concurrency: 50,
            interval_us: 100,
            traced,
            brood: None,
        }
    }

    /// Walks the whole tree: workflows below, most children of a node, traced workflows.
    fn walk(order: &Order) -> (u64, u32, u32) {
        let (mut total, mut widest, mut traced) = (0, order.children(), order.traced_children());
        for index in 0..order.children() {
            total += 1;
            if let Some(order) = order.child(index, "w", 0).order {
                let (more, children, sampled) = walk(&order);
                total += more;
                widest = widest.max(children);
                traced += sampled;
            }
        }
        (total, widest, traced)
    }

    /// Width and depth of trees that can be walked in a moment: up to some 100,000 workflows.
    fn small_trees() -> impl Strategy<Value = (u32, u32)> {
        let widest = [100_000_u32, 330, 50, 18, 10, 7, 5, 4, 3, 3];
        (1_u32..=10).prop_flat_map(move |depth| (1..=widest[depth as usize - 1], Just(depth)))
    }

    proptest! {
        #[test]
        fn no_node_is_too_wide_and_the_total_is_right((width, depth) in small_trees(), traced in 0_u32..=50) {
            let order = order(width, depth, traced);
            let (total, widest, sampled) = walk(&order);
            prop_assert_eq!(total, order.workflows());
            prop_assert!(widest <= MAX_CHILDREN);
            prop_assert!(sampled <= traced, "{} of {}", sampled, traced);
        }

        #[test]
        fn shares_add_up(count in 1_u32..=5_000_000, depth in 1_u32..=3) {
            let order = order(count, depth, 0);
            if helpers(count).is_some() {
                let shares: u64 =
                    (0..order.children()).filter_map(|i| order.child(i, "w", 0).order).map(|o| u64::from(o.count)).sum();
                prop_assert_eq!(shares, u64::from(count));
            }
        }
    }

    #[test]
    fn a_small_tree_is_what_the_contract_says() {
        assert_eq!(order(10, 2, 50).workflows(), 110);
        assert_eq!(order(1_000, 2, 50).workflows(), 1_001_000);
        assert_eq!(order(1_001, 1, 50).workflows(), 1_003);
        assert_eq!(order(100_000, 1, 50).workflows(), 100_100);
        assert_eq!(order(u32::MAX, 10, 50).workflows(), u64::MAX);
    }

    #[test]
    fn a_helper_has_a_share_of_the_rate() {
        let order = order(4_000, 1, 50);
        assert_eq!(order.children(), 4);
        let helper = order.child(0, "w", 0).order.unwrap();
        assert_eq!((helper.count, helper.depth, helper.interval_us), (1_000, 1, 400));
        assert_eq!(helper.child(0, "w", 0).order, None);
    }

    /// The worst history stays far from the limit.
    const _: () = assert!(MAX_CHILDREN * EVENTS_PER_CHILD < 51_200 / 2);
}
