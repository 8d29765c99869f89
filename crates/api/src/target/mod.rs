//! From a [`Target`] to the visibility queries that everything of a cancellation uses. One place, so that the exclusions can
//! never be forgotten: our own executions, and the server's (`TemporalNamespaceDivision`).

mod query;

use crate::{
    ids::OWN_PREFIXES,
    r#type::v1::{Target, target::Selector},
    validate::Checker,
};

/// Longest visibility filter that is taken, in characters.
pub const MAX_QUERY: usize = 4_000;

/// Open: Running or Paused. `ExecutionStatus = "Paused"` is an invalid query before Temporal 1.30; this holds on every version.
pub const OPEN: &str = "CloseTime IS NULL";

/// A checked target's filter, without status and exclusions: `WorkloadId = "x"`, or the caller's query.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Filter(String);

impl Filter {
    /// Checks a target and makes its filter. Violations are noted under `field` (for example `spec.target`).
    ///
    /// Whether its attributes exist only the server can say; that a query selects something by name, does not touch the
    /// server's own workflows and is a filter and nothing else is checked here.
    pub fn check(check: &mut Checker, field: &str, target: Option<&Target>) -> Self {
        let nothing = Self(String::new());
        match target.and_then(|target| target.selector.as_ref()) {
            None => {
                check.reject(
                    field,
                    "workload_id or query must be given: an empty target is never read as \"all\"",
                );
                nothing
            }
            Some(Selector::WorkloadId(id)) => {
                check.workload_id(&format!("{field}.workload_id"), id);
                Self(format!("WorkloadId = \"{id}\""))
            }
            Some(Selector::Query(query)) => match query_problem(query) {
                Some(problem) => {
                    check.reject(&format!("{field}.query"), problem);
                    nothing
                }
                None => Self(query.trim().to_owned()),
            },
        }
    }

    /// All open executions of the target, ours excluded.
    pub fn open(&self) -> String {
        self.with(OPEN)
    }

    /// Whether it is that of a target which was refused.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// The same filter for an execution that may have closed meanwhile: it matches if it did while it ran. `None` when that cannot
    /// be told, because the caller's filter asks how or when an execution ended.
    #[must_use]
    pub fn as_if_open(&self) -> Option<Self> {
        query::as_if_open(&self.0).map(Self)
    }

    /// The executions of the target for which `condition` holds, ours excluded. The caller's text comes last and in
    /// parentheses, so that nothing in it could take an exclusion away, even if [`Filter::check`] had overlooked it.
    pub fn with(&self, condition: &str) -> String {
        format!("{} AND ({})", excluding_own(condition), self.0)
    }
}

/// All executions for which `condition` holds, ours excluded, of the target or not.
#[must_use]
pub fn excluding_own(condition: &str) -> String {
    let mut query = condition.to_owned();
    for prefix in OWN_PREFIXES {
        query.push_str(&format!(" AND NOT WorkflowId STARTS_WITH \"{prefix}\""));
    }
    query
}

/// What is wrong with a caller's filter, as far as can be told without the server.
fn query_problem(query: &str) -> Option<String> {
    let query = query.trim();
    if query.is_empty() {
        return Some("must not be empty: an empty filter would match everything".to_owned());
    }
    if query.chars().count() > MAX_QUERY {
        return Some(format!("must have at most {MAX_QUERY} characters"));
    }
    query::problem(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: Option<Selector>) -> Result<String, String> {
        let mut check = Checker::new();
        let filter = Filter::check(&mut check, "target", Some(&Target { selector }));
        check
            .finish(filter.open())
            .map_err(|v| format!("{}: {}", v[0].field, v[0].description))
    }

    #[test]
    fn a_workload_id_becomes_a_query_without_our_own() {
        assert_eq!(
            check(Some(Selector::WorkloadId("1".into()))).unwrap(),
            "CloseTime IS NULL AND NOT WorkflowId STARTS_WITH \"quell/\" AND NOT WorkflowId STARTS_WITH \"quell-\" \
             AND (WorkloadId = \"1\")"
        );
    }

    #[test]
    fn a_query_comes_last_and_in_parentheses() {
        let query = "WorkflowType = 'A' OR WorkloadId = \"it's (\"";
        let open = check(Some(Selector::Query(query.into()))).unwrap();
        assert!(open.starts_with("CloseTime IS NULL AND NOT "), "{open}");
        assert!(open.ends_with(&format!(" AND ({query})")), "{open}");
    }

    #[test]
    fn what_is_empty_or_cannot_be_quoted_is_refused() {
        assert!(check(None).is_err());
        for query in ["", "   ", "\n", &"x".repeat(MAX_QUERY + 1)] {
            assert!(check(Some(Selector::Query(query.into()))).is_err(), "{query}");
        }
        for id in ["", "a\" OR \"\" = \"", "x\\", "x\n"] {
            assert!(check(Some(Selector::WorkloadId(id.into()))).is_err(), "{id}");
        }
    }
}
