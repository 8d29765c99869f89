//! The visibility queries of a cancellation. All are made from a checked [`Filter`], which never forgets the exclusions.

use quell_api::target::{Filter, OPEN, excluding_own};
use quell_mesh::visibility::one_of;
use quell_sweep::{PassKind, StartRange};

use super::convert::query_time;

/// What one window of a pass lists.
#[must_use]
pub(crate) fn window(filter: &Filter, kind: PassKind, range: StartRange) -> String {
    let mut condition = match kind {
        // A parent outside the scope cannot be asked for: those executions come with the next pass, which lists all.
        PassKind::Roots => format!("ParentWorkflowId IS NULL AND {OPEN}"),
        PassKind::Open => OPEN.to_owned(),
        PassKind::NewSince(fence_ms) => format!("StartTime >= {} AND {OPEN}", query_time(fence_ms)),
    };
    if let Some(from_ms) = range.from_ms {
        condition = format!("StartTime >= {} AND {condition}", query_time(from_ms));
    }
    if let Some(to_ms) = range.to_ms {
        condition = format!("StartTime < {} AND {condition}", query_time(to_ms));
    }
    filter.with(&condition)
}

/// What the server's batch operation is given: open, and started before the fence.
#[must_use]
pub(crate) fn batch(filter: &Filter, fence_ms: u64) -> String {
    filter.with(&format!("StartTime < {} AND {OPEN}", query_time(fence_ms)))
}

/// What closed since then, whoever closed it. SQL stores take what is open for closed in the year 9999, so both is asked.
#[must_use]
pub(crate) fn closed_since(filter: &Filter, since_ms: u64) -> String {
    filter.with(&format!(
        "CloseTime >= {} AND CloseTime IS NOT NULL",
        query_time(since_ms)
    ))
}

/// What started since then, open or closed.
#[must_use]
pub(crate) fn started_since(filter: &Filter, since_ms: u64) -> String {
    filter.with(&format!("StartTime >= {}", query_time(since_ms)))
}

/// What may belong to the target and does not carry its tag: open, of its types, started since.
#[must_use]
pub(crate) fn suspects(types: &[String], since_ms: u64) -> String {
    excluding_own(&format!(
        "{} AND StartTime >= {} AND WorkloadId IS NULL AND {OPEN}",
        one_of("WorkflowType", types),
        query_time(since_ms)
    ))
}

/// The canaries of a cancellation. Its id has no character that needs quoting.
#[must_use]
pub(crate) fn canaries(cancellation_id: &str) -> String {
    format!("WorkflowId STARTS_WITH \"quell-canary/{cancellation_id}/\" AND {OPEN}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quell_api::{
        r#type::v1::{Target, target::Selector},
        validate::Checker,
    };

    #[test]
    fn every_query_excludes_our_own() {
        let mut check = Checker::new();
        let target = Target {
            selector: Some(Selector::WorkloadId("1".into())),
        };
        let filter = Filter::check(&mut check, "target", Some(&target));
        let range = StartRange {
            from_ms: Some(0),
            to_ms: Some(1_000),
        };
        let queries = [
            window(&filter, PassKind::Roots, StartRange::ALL),
            window(&filter, PassKind::Open, range),
            window(&filter, PassKind::NewSince(5), StartRange::ALL),
            batch(&filter, 5),
            closed_since(&filter, 5),
            started_since(&filter, 5),
        ];
        for query in &queries {
            assert!(query.ends_with(" AND (WorkloadId = \"1\")"), "{query}");
            assert!(
                query.contains("NOT WorkflowId STARTS_WITH \"quell/\" AND NOT WorkflowId STARTS_WITH \"quell-\""),
                "{query}"
            );
        }
        assert!(queries[0].contains("ParentWorkflowId IS NULL AND CloseTime IS NULL"));
        assert!(queries[1].contains(
            "StartTime < \"1970-01-01T00:00:01.000Z\" AND StartTime >= \"1970-01-01T00:00:00.000Z\" AND CloseTime IS NULL"
        ));
        assert!(queries[2].contains("StartTime >= \"1970-01-01T00:00:00.005Z\" AND CloseTime IS NULL"));
    }

    #[test]
    fn suspects_have_no_tag() {
        let suspects = suspects(&["a".to_owned()], 5);
        assert!(suspects.starts_with(
            "WorkflowType IN (\"a\") AND StartTime >= \"1970-01-01T00:00:00.005Z\" AND WorkloadId IS NULL AND CloseTime IS NULL"
        ));
        assert!(suspects.contains("NOT WorkflowId STARTS_WITH \"quell/\""));
    }
}
