//! What is held against an operation before the server gets it: how many it is about, and what is protected.

use super::{
    action::{Action, Execution, Selection},
    server::JobServer,
    spec::Spec,
};
use quell_api::target::OPEN;
use quell_mesh::{
    error::Error,
    visibility::{is_quotable, one_of},
};
use std::time::Duration;

/// Ids of one query: it must stay within what any store takes.
const VALUES: usize = 100;

/// Pauses while the server has no room for a count, in milliseconds.
const PAUSES_MS: [u64; 4] = [100, 300, 1_000, 2_000];

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

/// Refuses an operation on what the configuration protects, whatever it would do to it. Gives the conditions that leave out what comes
/// later; a list gets no longer, and needs none.
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
            let ids = quotable(list)?;
            let open = if spec.action.kind().may_be_closed() {
                String::new()
            } else {
                format!(" AND {OPEN}")
            };
            let mut chunks = Vec::new();
            for ids in ids.chunks(VALUES) {
                let query = format!("{}{open}", one_of("WorkflowId", ids));
                // Proves the query as well: what the namespace may not know after that is an attribute.
                if patiently(server, &query).await? > 0 {
                    chunks.push(query);
                }
            }
            let chunks = &chunks;
            let count = |condition: String| async move {
                let mut sum = 0;
                for chunk in chunks {
                    sum += held(patiently(server, &format!("{chunk} AND {condition}")).await?);
                }
                Ok(sum)
            };
            protected.guard("executions", count).await.map(|_| Vec::new())
        }
    }
}

/// Counts once there is room: a long list takes more questions than a namespace is asked in a second.
async fn patiently(server: &dyn JobServer, query: &str) -> Result<i64, Error> {
    for pause in PAUSES_MS {
        match server.count(query).await {
            Err(Error::ResourceExhausted { .. }) => tokio::time::sleep(Duration::from_millis(pause)).await,
            answer => return answer,
        }
    }
    server.count(query).await
}

/// The workflow ids of a list, which the index is to be asked about.
fn quotable(list: &[Execution]) -> Result<Vec<String>, Error> {
    let ids = list.iter().enumerate().map(|(n, execution)| {
        let id = &execution.workflow_id;
        if is_quotable(id) {
            return Ok(id.clone());
        }
        let text = "cannot be held against what is protected: it has a backslash, or quotes of both kinds";
        Err(Error::invalid(format!("executions[{n}].workflow_id"), text))
    });
    ids.collect()
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
