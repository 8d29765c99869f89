//! What is held against an operation before the server gets it: how many it is about, and what is protected.

use super::{
    action::{Action, Execution, Kind, Selection},
    server::JobServer,
    spec::Spec,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use quell_mesh::error::Error;

/// Descriptions in flight at a time.
const AT_ONCE: usize = 16;

/// Counts what matches. That also proves the query: the server would take a malformed one, fail on it for ever and keep the slot.
pub(crate) async fn counted(server: &dyn JobServer, spec: &Spec) -> Result<i64, Error> {
    match &spec.selection {
        Selection::Query(query) => server.count(query).await,
        Selection::Executions(list) => Ok(i64::try_from(list.len()).unwrap_or(i64::MAX)),
    }
}

/// Counts what matches, and holds it against the cap.
pub(crate) async fn guarded(server: &dyn JobServer, spec: &Spec) -> Result<i64, Error> {
    let matched = counted(server, spec).await?;
    spec.allows(matched)?;
    Ok(matched)
}

/// Refuses an operation on what the configuration protects, whatever it would do to it. Gives the conditions that leave out of a query what
/// comes later.
pub(crate) async fn unprotected(server: &dyn JobServer, spec: &Spec) -> Result<Vec<String>, Error> {
    let protected = server.protected();
    let held = |counted: i64| u64::try_from(counted).unwrap_or(0);
    match &spec.selection {
        Selection::Query(query) => {
            let count =
                |condition: String| async move { Ok(held(server.count(&format!("{query} AND {condition}")).await?)) };
            protected.guard("target", count).await
        }
        Selection::Executions(_) if protected.is_empty() => Ok(Vec::new()),
        Selection::Executions(list) => {
            // By Describe, since the index may not have the youngest yet.
            let closed = spec.action.kind().may_be_closed();
            // The reset of an earlier run ends the current one of that id.
            let resets = spec.action.kind() == Kind::Reset;
            let earlier = list.iter().filter(|one| resets && !one.run_id.is_empty());
            let current = earlier.map(|one| Execution {
                run_id: String::new(),
                ..one.clone()
            });
            let all: Vec<_> = list.iter().cloned().chain(current).collect();
            let seen: Vec<_> = stream::iter(all)
                .map(|execution| async move { server.look(&execution).await })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            let touched = seen.into_iter().flatten().filter(|seen| seen.open || closed);
            let marks: Vec<_> = touched.map(|seen| seen.marks).collect();
            protected.guard_each("executions", &marks).map(|()| Vec::new())
        }
    }
}

/// What the job is to work on, without what is protected. A reset by query is bounded by the newest execution that matches now: when the
/// server's own worker is lost in the middle it starts over, and would reset the runs that it has just put in place (seen: 1,000
/// executions, 2,614 resets).
pub(crate) async fn selection(server: &dyn JobServer, spec: &Spec) -> Result<Selection, Error> {
    let left_out = unprotected(server, spec).await?;
    let Selection::Query(query) = &spec.selection else {
        return Ok(spec.selection.clone());
    };
    let mut query = query.clone();
    for condition in left_out {
        query.push_str(&format!(" AND {condition}"));
    }
    if let Action::Reset(_) = &spec.action {
        let (rows, _) = server.rows(&query, 1, Vec::new()).await?;
        if let Some(newest) = rows.first().and_then(|row| row.start) {
            query.push_str(&format!(" AND StartTime <= \"{}\"", newest.proto()));
        }
    }
    Ok(Selection::Query(query))
}
