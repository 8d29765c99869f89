//! What a pass lists, and what a look sees: first what matches the target, then what descends from it.
//!
//! A descendant does not carry the target's tag, so no query finds it by that. Nor can it be looked for under the roots of
//! what was listed: a match may come and go between two listings, and leave a child behind. So whatever is open, has a parent and
//! lacks the tag is listed, and kept when one of its ancestors is in the target: one that matches and is open, or was when the
//! cancellation began. What ended before that does not count: what it left behind was not part of what was asked for. An
//! ancestor that the index does not have (any more) does not match: its children are left alone.
//!
//! Trees in which nothing matches are told by one query for a hundred of them, so that a namespace full of other workflows costs
//! little more than its pages.
//!
//! To the machines all this is one listing; only the page tokens, which they do not read, know the difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use quell_api::target::{Filter, OPEN, excluding_own};
use quell_mesh::visibility::{is_quotable, none_of, one_of};
use quell_sweep::{PageToken, Row, Scope};
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::{
    ancestry::{Ancestor, Ancestry, GENERATIONS},
    convert::query_time,
    namespace::{Namespace, Page},
};

/// Values of one `IN`: a query must stay within what any store takes.
const VALUES: usize = 100;
/// Rows of a page when all are wanted; the server's maximum.
const FULL_PAGE: i32 = 1_000;
/// An ancestor that closed this long before the cancellation began still counts: hosts of a cluster do not agree on the time to
/// the second.
const CLOCKS_MS: u64 = 10_000;

/// One listing. It is asked for page by page.
pub(crate) struct Listing {
    main: Namespace,
    /// What lists the matches.
    query: String,
    descent: Option<Descent>,
}

/// How descendants are told from others.
struct Descent {
    /// The target's tags, which a descendant lacks, where it is told by them.
    tags: Vec<String>,
    /// What an ancestor has to match, whether it is open or not.
    filter: Filter,
    /// Since when it may have closed, in milliseconds since the epoch.
    since_ms: u64,
    known: Mutex<Ancestry>,
}

/// Where a listing goes on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    Matches(Vec<u8>),
    Descendants(Round),
}

/// A listing of those that have a parent. When it took several pages, what a chain became meanwhile (its old run gone from a later
/// page, its new one above the first) was seen by none of them: so what has started since its first page is listed again.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Round {
    /// Only what started then or later, in milliseconds since the epoch.
    from_ms: Option<u64>,
    /// Start of the newest on its first page.
    newest_ms: Option<u64>,
    token: Vec<u8>,
}

impl Round {
    /// Where the listing goes on after a page of this round.
    fn after(self, rows: &[Row], next: Option<PageToken>) -> Option<Self> {
        let is_first = self.token.is_empty();
        let newest_ms = if is_first {
            rows.iter().map(|row| row.start_ms).max()
        } else {
            self.newest_ms
        };
        match next {
            Some(PageToken(token)) => Some(Self {
                newest_ms,
                token,
                ..self
            }),
            None => newest_ms.filter(|_| !is_first).map(|newest_ms| Self {
                from_ms: Some(newest_ms),
                ..Self::default()
            }),
        }
    }
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
    /// A listing of what `query` finds, and of nothing else.
    pub(crate) fn of_matches(main: Namespace, query: String) -> Self {
        Self {
            main,
            query,
            descent: None,
        }
    }

    /// A listing of all that is open in the target; if the scope has descendants, of what descends from it, too.
    pub(crate) fn whole(main: Namespace, filter: &Filter, scope: &Scope, since_ms: u64) -> Self {
        let ancestors = filter.as_if_open().filter(|_| scope.descendants);
        Self {
            main,
            query: filter.open(),
            descent: ancestors.map(|filter| Descent {
                tags: scope.workload_ids.clone(),
                filter,
                since_ms: since_ms.saturating_sub(CLOCKS_MS),
                known: Mutex::default(),
            }),
        }
    }

    /// The page at a token; the first without one.
    pub(crate) async fn page(&self, size: i32, token: Option<PageToken>) -> Result<Page, Status> {
        let mut place = Some(Place::read(token)?);
        let mut rows = Vec::new();
        if let Some(Place::Matches(token)) = place {
            let page = self.main.list(self.query.clone(), size, token_of(token)).await?;
            rows = page.rows;
            place = match page.next {
                Some(next) => Some(Place::Matches(next.0)),
                None => self.descent.is_some().then(|| Place::Descendants(Round::default())),
            };
        }
        // With nothing of the target left, a look is one page as long as few others have a parent.
        if rows.is_empty()
            && let Some(descent) = &self.descent
            && let Some(Place::Descendants(round)) = place
        {
            (rows, place) = self.descendants(descent, round).await?;
        }
        let next = place.map(|place| place.write()).transpose()?;
        Ok(Page { rows, next })
    }

    /// How many descend from the target, and whether there may be more than this many pages show.
    pub(crate) async fn count_descendants(&self, pages: usize) -> Result<(u64, bool), Status> {
        let mut found = BTreeSet::new();
        let Some(descent) = &self.descent else {
            return Ok((0, false));
        };
        let mut round = Round::default();
        for _ in 0..pages {
            let (rows, next) = self.descendants(descent, round).await?;
            found.extend(rows.into_iter().map(|row| row.run_id));
            match next {
                Some(Place::Descendants(next)) => round = next,
                _ => return Ok((count_of(&found), false)),
            }
        }
        Ok((count_of(&found), true))
    }

    async fn descendants(&self, descent: &Descent, round: Round) -> Result<(Vec<Row>, Option<Place>), Status> {
        if round == Round::default() {
            // A listing begins: what did not match before may do so now, when the index has it, or has its tag.
            descent.known().forget();
        }
        let mut query = format!("ParentWorkflowId IS NOT NULL AND {OPEN}");
        if !descent.tags.is_empty() {
            query.push_str(&format!(" AND {}", none_of("WorkloadId", &descent.tags)));
        }
        if let Some(from_ms) = round.from_ms {
            query = format!("StartTime >= {} AND {query}", query_time(from_ms));
        }
        let token = token_of(round.token.clone());
        let page = self.main.list(excluding_own(&query), FULL_PAGE, token).await?;
        let next = round.after(&page.rows, page.next).map(Place::Descendants);
        Ok((descent.of(&self.main, page.rows).await?, next))
    }
}

impl Descent {
    /// Those of the rows that have an ancestor in the target.
    async fn of(&self, main: &Namespace, mut rows: Vec<Row>) -> Result<Vec<Row>, Status> {
        self.find_trees(main, &rows).await?;
        rows.retain(|row| !self.known().is_barren(row));
        for _ in 0..GENERATIONS {
            let unknown: BTreeSet<String> = {
                let known = self.known();
                rows.iter().flat_map(|row| known.unknown(row)).collect()
            };
            if unknown.is_empty() {
                break;
            }
            self.look_up(main, unknown.into_iter().collect()).await?;
        }
        let known = self.known();
        rows.retain(|row| known.descends(row));
        rows.iter_mut().for_each(|row| row.descends = true);
        Ok(rows)
    }

    /// Finds out in which trees something matches.
    async fn find_trees(&self, main: &Namespace, rows: &[Row]) -> Result<(), Status> {
        let roots: BTreeSet<String> = {
            let known = self.known();
            let roots = rows.iter().map(|row| &row.root_workflow_id);
            // Where the server does not say which tree it is, or the id cannot be asked for, the parents tell.
            roots
                .filter(|root| is_quotable(root) && !known.has_tree(root))
                .cloned()
                .collect()
        };
        let roots: Vec<String> = roots.into_iter().collect();
        for roots in roots.chunks(VALUES) {
            let page = main
                .list(self.matching("RootWorkflowId", roots), FULL_PAGE, None)
                .await?;
            let all = page.next.is_some();
            let fruitful: BTreeSet<String> = page.rows.into_iter().map(root_of).collect();
            let mut known = self.known();
            for root in roots {
                known.note_tree(root, all || fruitful.contains(root));
            }
        }
        Ok(())
    }

    /// Finds out which of these runs match, and who the parents of the others are.
    async fn look_up(&self, main: &Namespace, run_ids: Vec<String>) -> Result<(), Status> {
        for run_ids in run_ids.chunks(VALUES) {
            let matching = main.list(self.matching("RunId", run_ids), FULL_PAGE, None).await?;
            let matching: BTreeSet<String> = matching.rows.into_iter().map(|row| row.run_id).collect();
            let others: Vec<String> = run_ids.iter().filter(|id| !matching.contains(*id)).cloned().collect();
            let mut found = if others.is_empty() {
                BTreeMap::new()
            } else {
                main.ancestors(excluding_own(&one_of("RunId", &others))).await?
            };
            self.follow_chains(main, &mut found).await?;
            let mut known = self.known();
            for run_id in run_ids {
                let ancestor = if matching.contains(run_id) {
                    Ancestor::MATCHES
                } else {
                    found.remove(run_id).unwrap_or_default()
                };
                known.runs.insert(run_id.clone(), ancestor);
            }
        }
        Ok(())
    }

    /// A run that continued as new is in the target when a later run of its chain is. Another chain under the same workflow id is
    /// told by its first run.
    async fn follow_chains(&self, main: &Namespace, found: &mut BTreeMap<String, Ancestor>) -> Result<(), Status> {
        for (run_id, ancestor) in found.iter_mut() {
            let Some(workflow_id) = ancestor.continued.clone().filter(|id| is_quotable(id)) else {
                continue;
            };
            let named = std::slice::from_ref(&workflow_id);
            let matching = main
                .list(self.matching("WorkflowId", named), FULL_PAGE, None)
                .await?
                .rows;
            if matching.is_empty() {
                continue;
            }
            let Some(first) = main.first_run(workflow_id.clone(), run_id.clone()).await? else {
                continue;
            };
            for row in matching {
                let of_chain = main.first_run(workflow_id.clone(), row.run_id).await?;
                if of_chain.as_ref() == Some(&first) {
                    ancestor.matches = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// What is in the target, or was when the cancellation began, and has one of these values.
    fn matching(&self, attribute: &str, values: &[String]) -> String {
        let since = query_time(self.since_ms);
        let named = one_of(attribute, values);
        self.filter
            .with(&format!("({OPEN} OR CloseTime >= {since}) AND {named}"))
    }

    fn known(&self) -> MutexGuard<'_, Ancestry> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Workflow id of the root of its tree: its own where the server does not say.
fn root_of(row: Row) -> String {
    if row.root_workflow_id.is_empty() {
        row.workflow_id
    } else {
        row.root_workflow_id
    }
}

fn count_of(found: &BTreeSet<String>) -> u64 {
    u64::try_from(found.len()).unwrap_or(u64::MAX)
}

fn token_of(token: Vec<u8>) -> Option<PageToken> {
    (!token.is_empty()).then_some(PageToken(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_their_token() {
        let round = Round {
            from_ms: Some(1),
            newest_ms: None,
            token: vec![7],
        };
        for place in [Place::Matches(vec![0, 255]), Place::Descendants(round)] {
            let token = place.write().unwrap();
            assert_eq!(Place::read(Some(token)).unwrap(), place);
        }
        assert_eq!(Place::read(None).unwrap(), Place::Matches(Vec::new()));
        assert!(Place::read(Some(PageToken(b"x".to_vec()))).is_err());
    }

    fn started(at_ms: &[u64]) -> Vec<Row> {
        let row = |start_ms: &u64| Row {
            start_ms: *start_ms,
            ..Row::default()
        };
        at_ms.iter().map(row).collect()
    }

    #[test]
    fn several_pages_are_followed_by_what_started_meanwhile() {
        let token = |n| Some(PageToken(vec![n]));
        assert_eq!(Round::default().after(&started(&[5, 9, 3]), None), None);
        let second = Round::default().after(&started(&[9, 5]), token(1)).unwrap();
        assert_eq!((second.newest_ms, second.token.as_slice()), (Some(9), [1].as_slice()));
        let third = second.after(&started(&[4]), token(2)).unwrap();
        assert_eq!(third.newest_ms, Some(9));
        let again = third.after(&started(&[1]), None).unwrap();
        assert_eq!((again.from_ms, again.newest_ms), (Some(9), None));
        assert!(again.token.is_empty());
        // One page: nothing can have been missed.
        assert_eq!(again.after(&started(&[12, 9]), None), None);
    }
}
