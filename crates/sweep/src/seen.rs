//! What the listed rows have in common: by it those are found that belong to a workload without carrying its tag.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::row::Row;

/// Roots that are told apart. Each hundred costs a listing, in each pass and each look.
const ROOTS: usize = 500;
/// Workflow types that are told apart.
const TYPES: usize = 50;

/// What the listed rows have in common. Small whatever their number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Workflow ids of the roots of their trees; at most 500. What descends from a listed execution has the same root.
    pub roots: BTreeSet<String>,
    /// Their workflow types; at most 50.
    pub types: BTreeSet<String>,
    /// Start of the oldest, in milliseconds by the server's clock; unset before the first.
    pub first_start_ms: Option<u64>,
    /// Whether there were more roots or types than are told apart.
    pub more: bool,
}

impl Seen {
    /// Takes a row in.
    pub(crate) fn note(&mut self, row: &Row) {
        let root = if row.root_workflow_id.is_empty() {
            &row.workflow_id
        } else {
            &row.root_workflow_id
        };
        self.more |= !insert(&mut self.roots, root, ROOTS);
        self.more |= !insert(&mut self.types, &row.workflow_type, TYPES);
        self.started(row.start_ms);
    }

    /// Takes in what another has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        for root in &other.roots {
            self.more |= !insert(&mut self.roots, root, ROOTS);
        }
        for workflow_type in &other.types {
            self.more |= !insert(&mut self.types, workflow_type, TYPES);
        }
        other.first_start_ms.into_iter().for_each(|at_ms| self.started(at_ms));
        self.more |= other.more;
    }

    fn started(&mut self, at_ms: u64) {
        self.first_start_ms = Some(self.first_start_ms.map_or(at_ms, |first| first.min(at_ms)));
    }
}

/// Whether it is in the set now.
fn insert(set: &mut BTreeSet<String>, value: &str, most: usize) -> bool {
    if set.contains(value) {
        return true;
    }
    set.len() < most && set.insert(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize, root: &str) -> Row {
        Row {
            workflow_id: format!("w{n}"),
            workflow_type: format!("T{}", n % 2),
            root_workflow_id: root.to_owned(),
            start_ms: 1_000 - u64::try_from(n).unwrap(),
            ..Row::default()
        }
    }

    #[test]
    fn a_root_without_a_root_is_its_own() {
        let mut seen = Seen::default();
        seen.note(&row(1, ""));
        seen.note(&row(2, "r"));
        seen.note(&row(3, "r"));
        assert_eq!(seen.roots, ["r", "w1"].map(str::to_owned).into());
        assert_eq!(seen.types, ["T0", "T1"].map(str::to_owned).into());
        assert_eq!((seen.first_start_ms, seen.more), (Some(997), false));
    }

    #[test]
    fn it_stays_small_and_says_so() {
        let (mut first, mut all) = (Seen::default(), Seen::default());
        (0..ROOTS).for_each(|n| first.note(&row(n, "")));
        assert!(!first.more);
        all.note(&row(ROOTS, ""));
        all.merge(&first);
        assert!(all.more);
        assert_eq!(all.roots.len(), ROOTS);
        assert_eq!(all.first_start_ms, Some(500));
    }
}
