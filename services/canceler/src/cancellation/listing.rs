//! What a pass lists, and what a look sees: first what matches the target, then what descends from it.
//!
//! A descendant does not carry the target's tag, so no query finds it by that. But whatever descends from an execution has
//! the same root as it; the roots of what was listed are known ([`quell_sweep::Seen`]). So what is open under those roots
//! is listed, and kept when one of its ancestors matches the target: asked for by run id, closed ones too, since a parent is
//! stopped before its children. An ancestor that the index does not have (any more) does not match: its children are left
//! alone.
//!
//! To the machines all this is one listing; only the page tokens, which they do not read, know the difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use quell_api::target::{Filter, OPEN, excluding_own};
use quell_sweep::{PageToken, Row, Scope};
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::{
    namespace::{Namespace, Page},
    query::one_of,
};

/// Values of one `IN`: a query must stay within what any store takes.
const VALUES: usize = 100;
/// Generations between an execution and the ancestor that matches, at most; deeper trees are cut off there.
const GENERATIONS: usize = 64;

/// One listing. It is asked for page by page.
pub(crate) struct Listing {
    main: Namespace,
    filter: Filter,
    /// What lists the matches.
    query: String,
    scope: Scope,
    /// Where descendants are looked for; empty: nowhere.
    roots: Vec<String>,
    /// Runs that were found to match. Only these are remembered: one that does not match now may do so at the next look, when the
    /// index has it, or has its tag.
    matching: Mutex<BTreeSet<String>>,
}

/// Where a listing goes on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    Matches(Vec<u8>),
    /// Under which roots, in chunks of [`VALUES`], and where there.
    Descendants(usize, Vec<u8>),
}

impl Place {
    fn read(token: Option<PageToken>) -> Result<Self, Status> {
        let Some(PageToken(bytes)) = token else {
            return Ok(Self::Matches(Vec::new()));
        };
        serde_json::from_slice(&bytes).map_err(|_| Status::internal("a page token of a listing cannot be read"))
    }

    fn write(&self) -> Result<PageToken, Status> {
        let bytes = serde_json::to_vec(self).map_err(|error| Status::internal(error.to_string()))?;
        Ok(PageToken(bytes))
    }
}

impl Listing {
    /// A listing of what `query` finds, then of what descends from the target under these roots if the scope has descendants.
    pub(crate) fn new(main: Namespace, filter: Filter, query: String, scope: Scope, roots: Vec<String>) -> Self {
        Self {
            main,
            filter,
            query,
            roots: if scope.descendants { roots } else { Vec::new() },
            scope,
            matching: Mutex::default(),
        }
    }

    /// The page at a token; the first without one.
    pub(crate) async fn page(&self, size: i32, token: Option<PageToken>) -> Result<Page, Status> {
        let (rows, next) = match Place::read(token)? {
            Place::Matches(token) => {
                let page = self.main.list(self.query.clone(), size, token_of(token)).await?;
                let next = match page.next {
                    Some(next) => Some(Place::Matches(next.0)),
                    None => (!self.roots.is_empty()).then_some(Place::Descendants(0, Vec::new())),
                };
                (page.rows, next)
            }
            Place::Descendants(0, token) if token.is_empty() && !self.has_children().await? => (Vec::new(), None),
            Place::Descendants(chunk, token) => self.descendants(size, chunk, token).await?,
        };
        let next = next.map(|place| place.write()).transpose()?;
        Ok(Page { rows, next })
    }

    /// Whether anything that is open has a parent at all. One row answers for most workloads, whose descendants all carry the tag
    /// and are stopped by then.
    async fn has_children(&self) -> Result<bool, Status> {
        let query = excluding_own(&format!("ParentWorkflowId IS NOT NULL AND {OPEN}"));
        let page = self.main.list(query, 1, None).await?;
        Ok(!page.rows.is_empty() || page.next.is_some())
    }

    async fn descendants(&self, size: i32, chunk: usize, token: Vec<u8>) -> Result<(Vec<Row>, Option<Place>), Status> {
        let Some(roots) = self.roots.chunks(VALUES).nth(chunk) else {
            return Ok((Vec::new(), None));
        };
        let query = excluding_own(&format!("{} AND {OPEN}", one_of("RootWorkflowId", roots)));
        let page = self.main.list(query, size, token_of(token)).await?;
        let next = match page.next {
            Some(next) => Some(Place::Descendants(chunk, next.0)),
            None => (self.roots.len() > (chunk + 1) * VALUES).then(|| Place::Descendants(chunk + 1, Vec::new())),
        };
        let tagged = |row: &Row| self.scope.workload_id.is_some() && row.workload_id == self.scope.workload_id;
        let rows: Vec<Row> = page.rows.into_iter().filter(|row| !tagged(row)).collect();
        Ok((self.in_scope(rows).await?, next))
    }

    /// Those of the rows that have an ancestor which matches the target.
    async fn in_scope(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, Status> {
        let mut ancestry = Ancestry::default();
        ancestry
            .0
            .extend(self.matching().iter().map(|run_id| (run_id.clone(), Ancestor::MATCHES)));
        for _ in 0..GENERATIONS {
            let unknown: BTreeSet<String> = rows.iter().flat_map(|row| ancestry.unknown(row)).collect();
            if unknown.is_empty() {
                break;
            }
            self.look_up(&mut ancestry, unknown.into_iter().collect()).await?;
        }
        rows.retain(|row| ancestry.descends(row));
        rows.iter_mut().for_each(|row| row.descends = true);
        Ok(rows)
    }

    /// Finds out which of these runs match the target, and who the parents of the others are.
    async fn look_up(&self, ancestry: &mut Ancestry, run_ids: Vec<String>) -> Result<(), Status> {
        for run_ids in run_ids.chunks(VALUES) {
            let named = one_of("RunId", run_ids);
            let size = i32::try_from(VALUES).unwrap_or(i32::MAX);
            let matching = self.main.list(self.filter.with(&named), size, None).await?;
            let absent = run_ids.iter().map(|run_id| (run_id.clone(), Ancestor::default()));
            ancestry.0.extend(absent);
            let all_match = matching.rows.len() == run_ids.len();
            for row in matching.rows {
                self.matching().insert(row.run_id.clone());
                ancestry.0.insert(row.run_id, Ancestor::MATCHES);
            }
            if !all_match {
                let any = self.main.list(excluding_own(&named), size, None).await?;
                for row in any.rows {
                    ancestry.0.entry(row.run_id).or_default().parent_run_id = row.parent_run_id;
                }
            }
        }
        Ok(())
    }

    fn matching(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.matching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a run that may be an ancestor. One that the index does not have does not match, and has no parent.
#[derive(Clone, Debug, Default)]
struct Ancestor {
    matches: bool,
    parent_run_id: Option<String>,
}

impl Ancestor {
    const MATCHES: Self = Self {
        matches: true,
        parent_run_id: None,
    };
}

/// Ancestors by run id.
#[derive(Debug, Default)]
struct Ancestry(BTreeMap<String, Ancestor>);

impl Ancestry {
    /// Whether an ancestor matches, as far as is known.
    fn descends(&self, row: &Row) -> bool {
        // A root's row names the root itself: nobody descends from himself.
        let root = self.0.get(&row.root_run_id).filter(|_| row.root_run_id != row.run_id);
        root.is_some_and(|root| root.matches) || self.last_known(row).is_ok_and(|ancestor| ancestor.matches)
    }

    /// What has to be looked up to know more: the root, and the nearest ancestor that is not known.
    fn unknown(&self, row: &Row) -> Vec<String> {
        if self.descends(row) {
            return Vec::new();
        }
        let root = (!row.root_run_id.is_empty() && !self.0.contains_key(&row.root_run_id)).then_some(&row.root_run_id);
        root.into_iter().chain(self.last_known(row).err()).cloned().collect()
    }

    /// Goes up from parent to parent: to the one that matches or has no parent, or, as an error, to the first that is not known.
    fn last_known<'a>(&'a self, row: &'a Row) -> Result<&'a Ancestor, &'a String> {
        const NONE: &Ancestor = &Ancestor {
            matches: false,
            parent_run_id: None,
        };
        let mut last = NONE;
        let mut parent = row.parent_run_id.as_ref();
        for _ in 0..GENERATIONS {
            let Some(run_id) = parent.filter(|_| !last.matches) else {
                break;
            };
            last = self.0.get(run_id).ok_or(run_id)?;
            parent = last.parent_run_id.as_ref();
        }
        Ok(last)
    }
}

fn token_of(token: Vec<u8>) -> Option<PageToken> {
    (!token.is_empty()).then_some(PageToken(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_their_token() {
        for place in [Place::Matches(vec![0, 255]), Place::Descendants(3, vec![7])] {
            let token = place.write().unwrap();
            assert_eq!(Place::read(Some(token)).unwrap(), place);
        }
        assert_eq!(Place::read(None).unwrap(), Place::Matches(Vec::new()));
        assert!(Place::read(Some(PageToken(b"x".to_vec()))).is_err());
    }

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
        ancestry.0.insert("root".to_owned(), Ancestor::default());
        let parent_run_id = Some("tagged".to_owned());
        ancestry.0.insert(
            "mid".to_owned(),
            Ancestor {
                matches: false,
                parent_run_id,
            },
        );
        assert_eq!(ancestry.unknown(&leaf), ["tagged"]);
        assert!(!ancestry.descends(&leaf));
        ancestry.0.insert("tagged".to_owned(), Ancestor::MATCHES);
        assert!(ancestry.descends(&leaf) && ancestry.unknown(&leaf).is_empty());
        // A neighbour under the same root, whose own ancestors do not match.
        ancestry.0.insert("other".to_owned(), Ancestor::default());
        let neighbour = row("n", Some("other"), "root");
        assert!(!ancestry.descends(&neighbour) && ancestry.unknown(&neighbour).is_empty());
    }

    #[test]
    fn a_root_that_matches_is_enough_but_not_for_itself() {
        let mut ancestry = Ancestry::default();
        ancestry.0.insert("root".to_owned(), Ancestor::MATCHES);
        assert!(ancestry.descends(&row("leaf", Some("unknown"), "root")));
        assert!(!ancestry.descends(&row("root", None, "root")));
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let mut ancestry = Ancestry::default();
        for (run_id, parent) in [("a", "b"), ("b", "a")] {
            let parent_run_id = Some(parent.to_owned());
            ancestry.0.insert(
                run_id.to_owned(),
                Ancestor {
                    matches: false,
                    parent_run_id,
                },
            );
        }
        assert!(!ancestry.descends(&row("x", Some("a"), "")));
    }
}
