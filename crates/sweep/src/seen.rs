//! What the listed rows have in common: by it those are found that may belong to a workload without carrying its tag.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::row::Row;

/// Workflow types that are told apart.
const TYPES: usize = 50;

/// What the listed rows have in common. Small whatever their number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Their workflow types; at most 50.
    pub types: BTreeSet<String>,
    /// Start of the oldest, in milliseconds by the server's clock; unset before the first.
    pub first_start_ms: Option<u64>,
    /// Whether there were, or may have been, more types.
    pub more: bool,
}

impl Seen {
    /// Takes a row in.
    pub(crate) fn note(&mut self, row: &Row) {
        self.insert(&row.workflow_type);
        self.started(row.start_ms);
    }

    /// Takes in what another has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.types.iter().for_each(|workflow_type| self.insert(workflow_type));
        other.first_start_ms.into_iter().for_each(|at_ms| self.started(at_ms));
        self.more |= other.more;
    }

    fn started(&mut self, at_ms: u64) {
        self.first_start_ms = Some(self.first_start_ms.map_or(at_ms, |first| first.min(at_ms)));
    }

    fn insert(&mut self, workflow_type: &str) {
        if self.types.contains(workflow_type) {
            return;
        }
        if self.types.len() < TYPES {
            self.types.insert(workflow_type.to_owned());
        } else {
            self.more = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize) -> Row {
        Row {
            workflow_type: format!("T{n}"),
            start_ms: 1_000 - u64::try_from(n).unwrap(),
            ..Row::default()
        }
    }

    #[test]
    fn it_stays_small_and_says_so() {
        let (mut first, mut all) = (Seen::default(), Seen::default());
        (0..TYPES).for_each(|n| first.note(&row(n)));
        first.note(&row(0));
        assert!(!first.more);
        all.note(&row(TYPES));
        all.merge(&first);
        assert!(all.more);
        assert_eq!((all.types.len(), all.first_start_ms), (TYPES, Some(950)));
    }
}
