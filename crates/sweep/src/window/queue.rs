//! What was listed and is not begun yet, and which of it comes next.
//!
//! First whatever has children, or no parent at all (a root need not even wait for the end of the listing): the oldest first, so that
//! parents go before their children. Then the
//! leaves, the newest first: their parents are gone by then, so the server's cascade is after them too, and it comes
//! from the oldest parents on. From the other end both meet once; from the same end most of our stops came too late
//! (measured: 3,400 of 4,500).

use std::collections::{BTreeMap, BTreeSet};

use super::flow::Target;

/// Start time and run id.
type Key = (u64, String);

/// What was listed and is not begun yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Whatever may have children.
    heads: BTreeMap<Key, Target>,
    /// What has a parent and, by the whole listing, no children; empty until the listing has ended.
    leaves: BTreeMap<Key, Target>,
    /// Workflow ids that were listed as somebody's parent; until the listing has ended.
    parents: BTreeSet<String>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.heads.len().saturating_add(self.leaves.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.leaves.is_empty()
    }

    /// How many of it may have children.
    pub(super) fn heads(&self) -> usize {
        self.heads.len()
    }

    /// How many of it have a parent and no children.
    pub(super) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Whether the run that the target was listed with waits here.
    pub(super) fn contains(&self, start_ms: u64, run_id: &str) -> bool {
        let key = (start_ms, run_id.to_owned());
        self.heads.contains_key(&key) || self.leaves.contains_key(&key)
    }

    /// Takes one in. Of the parents so many are known; there are more only when the listing is longer than the buffer, and
    /// then the order holds within the buffer only.
    pub(super) fn push(&mut self, target: Target, known_parents: usize) {
        let parent = target.row.parent_workflow_id.as_ref();
        if let Some(parent) = parent.filter(|_| self.parents.len() < known_parents) {
            self.parents.insert(parent.clone());
        }
        self.heads
            .insert((target.row.start_ms, target.row.run_id.clone()), target);
    }

    /// The listing has ended: nothing more comes, and it is known who has children.
    pub(super) fn complete(&mut self) {
        let parents = std::mem::take(&mut self.parents);
        let is_leaf =
            |target: &Target| target.row.parent_workflow_id.is_some() && !parents.contains(&target.row.workflow_id);
        let (leaves, heads) = std::mem::take(&mut self.heads)
            .into_iter()
            .partition(|(_, target)| is_leaf(target));
        self.heads = heads;
        self.leaves = leaves;
    }

    /// The next one.
    pub(super) fn peek(&self) -> Option<&Target> {
        let head = self.heads.first_key_value();
        head.or_else(|| self.leaves.last_key_value()).map(|(_, target)| target)
    }

    /// Takes the next one.
    pub(super) fn pop(&mut self) -> Option<Target> {
        let head = self.heads.pop_first();
        head.or_else(|| self.leaves.pop_last()).map(|(_, target)| target)
    }

    /// Takes all.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Target> + use<> {
        let heads = std::mem::take(&mut self.heads);
        heads
            .into_values()
            .chain(std::mem::take(&mut self.leaves).into_values())
    }
}
