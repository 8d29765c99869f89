//! What is looked up once, at the end: how many closed, how many are open, and who kept starting. From visibility, so estimates for people.

use std::collections::BTreeMap;

use futures::future::join_all;
use quell_api::ids::is_own;
use quell_sweep::{Row, Starter};
use tonic::Status;

use super::{
    messages::{ConcludeInput, Conclusion},
    namespace::Namespace,
    query,
};

/// Suspects that are named.
const NAMED_SUSPECTS: i32 = 20;
/// Starters that are named.
const NAMED: usize = 20;
/// Starters whose identity is looked up, one call each.
const IDENTIFIED: usize = 5;

/// Looks up what the receipt needs.
pub(crate) async fn run(main: &Namespace, input: &ConcludeInput) -> Result<Conclusion, Status> {
    let closed = main
        .count(query::closed_since(&input.task.filter, input.since_ms))
        .await?;
    let open = main.count(input.task.filter.open()).await?;
    let starters = if input.blockers {
        let page = main
            .list(query::started_since(&input.task.filter, input.since_ms), 1_000, None)
            .await?;
        identify(main, page.rows).await
    } else {
        Vec::new()
    };
    let mut conclusion = Conclusion {
        closed: Some(closed),
        open: Some(open),
        starters,
        ..Conclusion::default()
    };
    if !input.types.is_empty() {
        let query = query::suspects(&input.types, input.first_start_ms);
        conclusion.suspects = main.list(query.clone(), NAMED_SUSPECTS, None).await?.rows;
        conclusion.suspects.retain(|row| !is_own(&row.workflow_id));
        // Mostly there is none: then there is nothing to count.
        if !conclusion.suspects.is_empty() {
            conclusion.suspect_count = main.count(query).await?;
        }
    }
    Ok(conclusion)
}

/// Groups what started by type and parent, most frequent first, and finds out the identity of the most frequent.
async fn identify(main: &Namespace, rows: Vec<Row>) -> Vec<Starter> {
    let groups = group(rows);
    let identities = join_all(groups.iter().take(IDENTIFIED).map(|group| {
        let newest = group.newest.clone();
        async move {
            main.starter_identity(newest.0, newest.1)
                .await
                .ok()
                .filter(|identity| !identity.is_empty())
        }
    }))
    .await;
    groups
        .into_iter()
        .zip(identities.into_iter().chain(std::iter::repeat(None)))
        .map(|(group, identity)| Starter {
            identity,
            ..group.starter
        })
        .collect()
}

struct Group {
    starter: Starter,
    /// Workflow id and run id of the newest.
    newest: (String, String),
}

fn group(rows: Vec<Row>) -> Vec<Group> {
    let mut groups: BTreeMap<(String, Option<String>), Group> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| !is_own(&row.workflow_id)) {
        groups
            .entry((row.workflow_type.clone(), row.parent_workflow_id.clone()))
            .or_insert_with(|| Group {
                starter: Starter {
                    workflow_type: row.workflow_type,
                    parent_workflow_id: row.parent_workflow_id,
                    identity: None,
                    seen: 0,
                },
                // Visibility lists the newest first.
                newest: (row.workflow_id, row.run_id),
            })
            .starter
            .seen += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.starter.seen));
    groups.truncate(NAMED);
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(workflow_id: &str, workflow_type: &str, parent: Option<&str>) -> Row {
        Row {
            workflow_id: workflow_id.into(),
            run_id: "r".into(),
            workflow_type: workflow_type.into(),
            parent_workflow_id: parent.map(str::to_owned),
            ..Row::default()
        }
    }

    #[test]
    fn starters_are_grouped_by_type_and_parent_without_our_own() {
        let rows = vec![
            listed("c3", "Child", Some("p")),
            listed("quell-canary/x/1", "quell.Canary", None),
            listed("a1", "A", None),
            listed("c2", "Child", Some("p")),
        ];
        let groups = group(rows);
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].starter.seen, groups[0].newest.0.as_str()), (2, "c3"));
        assert_eq!(groups[1].starter.workflow_type, "A");
    }
}
