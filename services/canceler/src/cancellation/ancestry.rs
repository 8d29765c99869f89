//! Who descends from whom, as far as it was looked up.

use std::collections::BTreeMap;

use quell_sweep::Row;

/// Generations between an execution and the ancestor that matches, at most; deeper trees are cut off there. Each that is not known
/// costs a query, for a page of executions together.
pub(crate) const GENERATIONS: usize = 1_000;
/// Trees without a match that are remembered while a listing goes on.
const TREES: usize = 100_000;

/// What is known of a run that may be an ancestor. One that the index does not have does not match, and has no parent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ancestor {
    /// Whether it is in the target, or was when the cancellation began.
    pub(crate) matches: bool,
    /// Run id of its parent.
    pub(crate) parent_run_id: Option<String>,
    /// Its workflow id, when it continued as new: then its chain tells whether it matches.
    pub(crate) continued: Option<String>,
}

impl Ancestor {
    /// One that matches; its parents do not matter any more.
    pub(crate) const MATCHES: Self = Self {
        matches: true,
        ..Self::NONE
    };
    const NONE: Self = Self {
        matches: false,
        parent_run_id: None,
        continued: None,
    };
}

/// What is known of runs that may be ancestors, and of trees.
#[derive(Debug, Default)]
pub(crate) struct Ancestry {
    pub(crate) runs: BTreeMap<String, Ancestor>,
    /// Whether something matches, by the workflow id of the root.
    trees: BTreeMap<String, bool>,
}

impl Ancestry {
    /// Keeps only what cannot change: what was in the target.
    pub(crate) fn forget(&mut self) {
        self.runs.retain(|_, ancestor| ancestor.matches);
        self.trees.retain(|_, matches| *matches);
    }

    /// Whether its tree was looked up.
    pub(crate) fn has_tree(&self, root: &str) -> bool {
        self.trees.contains_key(root)
    }

    /// Notes whether something matches in the tree of this root.
    pub(crate) fn note_tree(&mut self, root: &str, matches: bool) {
        if self.trees.len() >= TREES {
            self.trees.retain(|_, matches| *matches);
        }
        self.trees.insert(root.to_owned(), matches);
    }

    /// Whether nothing in its tree matches.
    pub(crate) fn is_barren(&self, row: &Row) -> bool {
        self.trees.get(&row.root_workflow_id) == Some(&false)
    }

    /// Whether an ancestor matches, as far as is known.
    pub(crate) fn descends(&self, row: &Row) -> bool {
        // A root's row names the root itself: nobody descends from himself.
        let root = self
            .runs
            .get(&row.root_run_id)
            .filter(|_| row.root_run_id != row.run_id);
        root.is_some_and(|root| root.matches) || self.last_known(row).is_ok_and(|ancestor| ancestor.matches)
    }

    /// What has to be looked up to know more: the root, and the nearest ancestor that is not known.
    pub(crate) fn unknown(&self, row: &Row) -> Vec<String> {
        if self.descends(row) {
            return Vec::new();
        }
        let root =
            (!row.root_run_id.is_empty() && !self.runs.contains_key(&row.root_run_id)).then_some(&row.root_run_id);
        root.into_iter().chain(self.last_known(row).err()).cloned().collect()
    }

    /// Goes up from parent to parent: to the one that matches or has no parent, or, as an error, to the first that is not known.
    fn last_known<'a>(&'a self, row: &'a Row) -> Result<&'a Ancestor, &'a String> {
        let mut last = &Ancestor::NONE;
        let mut parent = row.parent_run_id.as_ref();
        for _ in 0..GENERATIONS {
            let Some(run_id) = parent.filter(|_| !last.matches) else {
                break;
            };
            last = self.runs.get(run_id).ok_or(run_id)?;
            parent = last.parent_run_id.as_ref();
        }
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(run_id: &str, parent: Option<&str>, root: &str) -> Row {
        Row {
            run_id: run_id.to_owned(),
            root_run_id: root.to_owned(),
            parent_run_id: parent.map(str::to_owned),
            ..Row::default()
        }
    }

    #[test]
    fn ancestors_are_followed_until_one_matches() {
        let mut ancestry = Ancestry::default();
        let leaf = row("leaf", Some("mid"), "root");
        assert_eq!(ancestry.unknown(&leaf), ["root", "mid"]);
        ancestry.runs.insert("root".to_owned(), Ancestor::default());
        let parent_run_id = Some("tagged".to_owned());
        ancestry.runs.insert(
            "mid".to_owned(),
            Ancestor {
                parent_run_id,
                ..Ancestor::default()
            },
        );
        assert_eq!(ancestry.unknown(&leaf), ["tagged"]);
        assert!(!ancestry.descends(&leaf));
        ancestry.runs.insert("tagged".to_owned(), Ancestor::MATCHES);
        assert!(ancestry.descends(&leaf) && ancestry.unknown(&leaf).is_empty());
        // A neighbour under the same root, whose own ancestors do not match.
        ancestry.runs.insert("other".to_owned(), Ancestor::default());
        let neighbour = row("n", Some("other"), "root");
        assert!(!ancestry.descends(&neighbour) && ancestry.unknown(&neighbour).is_empty());
    }

    #[test]
    fn a_root_that_matches_is_enough_but_not_for_itself() {
        let mut ancestry = Ancestry::default();
        ancestry.runs.insert("root".to_owned(), Ancestor::MATCHES);
        assert!(ancestry.descends(&row("leaf", Some("unknown"), "root")));
        assert!(!ancestry.descends(&row("root", None, "root")));
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let mut ancestry = Ancestry::default();
        for (run_id, parent) in [("a", "b"), ("b", "a")] {
            let parent_run_id = Some(parent.to_owned());
            ancestry.runs.insert(
                run_id.to_owned(),
                Ancestor {
                    parent_run_id,
                    ..Ancestor::default()
                },
            );
        }
        assert!(!ancestry.descends(&row("x", Some("a"), "")));
    }

    #[test]
    fn trees_are_remembered_as_long_as_there_is_room() {
        let mut ancestry = Ancestry::default();
        let leaf = row("leaf", Some("p"), "r");
        let leaf = Row {
            root_workflow_id: "w".to_owned(),
            ..leaf
        };
        assert!(!ancestry.is_barren(&leaf) && !ancestry.has_tree("w"));
        ancestry.note_tree("w", false);
        ancestry.note_tree("fruitful", true);
        assert!(ancestry.is_barren(&leaf));
        (0..TREES).for_each(|n| ancestry.note_tree(&n.to_string(), false));
        assert!(ancestry.trees.len() < TREES && ancestry.has_tree("fruitful"));
        ancestry.forget();
        assert!(!ancestry.is_barren(&leaf) && ancestry.has_tree("fruitful"));
    }
}
