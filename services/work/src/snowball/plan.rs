//! The shape of a tree: which node has how many children, so that no node meets a limit of Temporal.
//!
//! Wanted: every node has at most [`MAX_CHILDREN`] children (or fewer, where the spec says so); a node that is to spawn more
//! spawns helpers instead, each with an equal share; the tree is a pure function of the spec; the total is known before anything
//! starts.
//!
//! Helpers spawn at the same time. Where one pace is to hold for all of a level, or the level has no end, they cannot: there a
//! [`Relay`] spawns, one workflow after the other, each the last child of the one before. A chain of any length meets no limit,
//! since each link's history is bounded by its own children.
//!
//! Events of one node, at worst (each child in workflow tasks of its own): initiated, started, closed; a pacing timer
//! started and fired; an admission marker; a cancel request and its answer: 8, and 3 for each of at most 5 workflow
//! tasks. 23 per child: 23,000 of the 51,200 that the server allows. Waiting at a closed gate adds to that, ever more
//! slowly ([`crate::snowball::spawner`]).

use serde::{Deserialize, Serialize};

use super::{life::Nature, tide::Tide};

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
    /// How leaves end and when nodes are tagged; without one, after their lifetime and at their start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nature: Option<Nature>,
    /// How often a leaf has continued as new.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turn: u32,
    /// The root only: a client starts the first level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
}

/// A producer outside of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Whether it starts whatever the gate says.
    pub heedless: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn max_children() -> u32 {
    MAX_CHILDREN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_max_children(number: &u32) -> bool {
    *number == MAX_CHILDREN
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
    /// Most children of one node.
    #[serde(default = "max_children", skip_serializing_if = "is_max_children")]
    pub most: u32,
    /// Spawners one after the other, instead of helpers at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
}

/// A relay of spawners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Whether it goes on for ever; `count` means nothing then.
    pub endless: bool,
    /// The pace, if it is not steady.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tide: Option<Tide>,
}

impl Node {
    /// A node below this one, without an order.
    #[must_use]
    pub fn below(&self) -> Self {
        Self {
            workload_id: self.workload_id.clone(),
            lifetime_ms: self.lifetime_ms,
            order: None,
            nature: self.nature.clone(),
            turn: 0,
            client: None,
        }
    }

    /// Whether nodes get no tag at their start.
    #[must_use]
    pub fn is_tagged_late(&self) -> bool {
        self.tag_after_ms().is_some()
    }

    /// How long after its start a node upserts its tag, if it is tagged late.
    #[must_use]
    pub fn tag_after_ms(&self) -> Option<u64> {
        self.nature.as_ref().and_then(|nature| nature.tag_after_ms)
    }

    /// A leaf in its next run.
    #[must_use]
    pub fn next_turn(self) -> Self {
        Self {
            turn: self.turn.saturating_add(1),
            ..self
        }
    }

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
        match &self.relay {
            Some(relay) if relay.endless => self.most,
            Some(_) => self.count.min(self.most),
            None => helpers(self.count, self.most).unwrap_or(self.count),
        }
    }

    /// The last child of a link of a relay that has a next one.
    #[must_use]
    pub fn successor(&self) -> Option<u32> {
        let relay = self.relay.as_ref()?;
        (relay.endless || self.count > self.most).then(|| self.most - 1)
    }

    /// What the next link of a relay is told.
    #[must_use]
    pub fn passed_on(&self, tide: Option<Tide>) -> Self {
        Self {
            count: self.count.saturating_sub(self.most - 1),
            traced: 0,
            brood: None,
            relay: self.relay.as_ref().map(|relay| Relay {
                endless: relay.endless,
                tide,
            }),
            ..self.clone()
        }
    }

    /// Children that may be in the trace: the first ones, half of the budget at most, so that some is left for their own.
    #[must_use]
    pub fn traced_children(&self) -> u32 {
        if self.depth == 1 && self.count <= self.most && self.successor().is_none() {
            self.traced.min(self.children())
        } else {
            self.traced.div_ceil(2).min(self.children())
        }
    }

    /// What the child at `index` of a node is told; the successor of a relay is told [`Order::passed_on`] instead.
    #[must_use]
    pub fn child(&self, index: u32, parent: &Node) -> Node {
        Node {
            order: self.child_order(index),
            ..parent.below()
        }
    }

    fn child_order(&self, index: u32) -> Option<Order> {
        let traced = self.traced_of_child(index);
        if self.relay.is_none()
            && let Some(helpers) = helpers(self.count, self.most)
        {
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
        self.next_level(traced)
    }

    /// What a workflow of the level below is told; nothing when it is a leaf.
    #[must_use]
    pub fn next_level(&self, traced: u32) -> Option<Self> {
        (self.depth > 1).then(|| Order {
            count: self.width,
            depth: self.depth - 1,
            traced,
            brood: None,
            relay: None,
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

    /// Workflows below this node once it is fully grown, helpers and later links included; `None` when it has no end.
    #[must_use]
    pub fn workflows(&self) -> Option<u64> {
        let below = self.below_a_child();
        match &self.relay {
            Some(relay) if relay.endless => None,
            Some(_) => Some(all(self.count, below).saturating_add(self.links())),
            None => Some(level(self.count, self.most, below)),
        }
    }

    /// Workflows below each child of the first level.
    #[must_use]
    pub fn below_a_child(&self) -> u64 {
        (1..self.depth).fold(0_u64, |below, _| level(self.width, self.most, below))
    }

    /// Later links of a relay: each but the last starts `most - 1` of the level.
    fn links(&self) -> u64 {
        let share = u64::from(self.most - 1).max(1);
        u64::from(self.count.saturating_sub(self.most)).div_ceil(share)
    }
}

/// So many workflows, each with `below` of its own.
fn all(count: u32, below: u64) -> u64 {
    u64::from(count).saturating_mul(below.saturating_add(1))
}

/// Workflows below a node with `count` children, each of which has `below` of its own.
fn level(count: u32, most: u32, below: u64) -> u64 {
    all_helpers(count, most).saturating_add(all(count, below))
}

/// Helpers directly below a node that is to bring about `count` workflows; `None` when it needs none.
fn helpers(count: u32, most: u32) -> Option<u32> {
    (count > most).then(|| count.div_ceil(most).min(most))
}

/// Helpers below such a node, on all levels.
fn all_helpers(count: u32, most: u32) -> u64 {
    let Some(helpers) = helpers(count, most) else { return 0 };
    let (share, larger) = (count / helpers, u64::from(count % helpers));
    let smaller = u64::from(helpers) - larger;
    u64::from(helpers) + larger * all_helpers(share + 1, most) + smaller * all_helpers(share, most)
}

#[cfg(test)]
mod tests;
