//! From a [`Target`] to the visibility queries that everything of a cancellation uses. One place, so that the exclusions can
//! never be forgotten: our own executions, and the server's (`TemporalNamespaceDivision`).

mod query;

use std::ops::RangeInclusive;

use crate::{
    ids::OWN_PREFIXES,
    r#type::v1::{Target, target::Selector},
    validate::Checker,
};

/// Longest visibility filter that is taken, in characters; of several together, too.
pub const MAX_QUERY: usize = 4_000;

/// How many targets may be one.
pub const ANY_OF: RangeInclusive<usize> = 2..=20;

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
        match target.and_then(|target| target.selector.as_ref()) {
            None => {
                check.reject(
                    field,
                    "workload_id, query or any_of must be given: an empty target is never read as \"all\"",
                );
                Self(String::new())
            }
            Some(Selector::WorkloadId(id)) => {
                check.workload_id(&format!("{field}.workload_id"), id);
                Self(format!("WorkloadId = \"{id}\""))
            }
            Some(Selector::Query(query)) => match query_problem(query) {
                Some(problem) => {
                    check.reject(&format!("{field}.query"), problem);
                    Self(String::new())
                }
                None => Self(query.trim().to_owned()),
            },
            Some(Selector::AnyOf(any)) => Self::any_of(check, &format!("{field}.any_of.targets"), &any.targets),
        }
    }

    fn any_of(check: &mut Checker, field: &str, targets: &[Target]) -> Self {
        let nothing = Self(String::new());
        if !ANY_OF.contains(&targets.len()) {
            let (least, most) = (ANY_OF.start(), ANY_OF.end());
            check.reject(field, format!("must be {least} to {most} targets"));
            return nothing;
        }
        let mut filters = Vec::with_capacity(targets.len());
        for (at, target) in targets.iter().enumerate() {
            let field = format!("{field}[{at}]");
            if matches!(target.selector, Some(Selector::AnyOf(_))) {
                check.reject(&format!("{field}.any_of"), "must not stand within an any_of");
                continue;
            }
            filters.push(Self::check(check, &field, Some(target)).0);
        }
        let filter = filters
            .iter()
            .map(|one| format!("({one})"))
            .collect::<Vec<_>>()
            .join(" OR ");
        if filters.len() < targets.len() || filters.iter().any(String::is_empty) {
            return nothing;
        }
        if filter.chars().count() > MAX_QUERY {
            check.reject(field, format!("must have at most {MAX_QUERY} characters together"));
            return nothing;
        }
        Self(filter)
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

    /// What is in both targets.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(format!("({}) AND ({})", self.0, other.0))
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
    use crate::r#type::v1::AnyOf;

    fn any_of(selectors: impl IntoIterator<Item = Selector>) -> Option<Selector> {
        let targets = selectors.into_iter().map(|one| Target { selector: Some(one) });
        Some(Selector::AnyOf(AnyOf {
            targets: targets.collect(),
        }))
    }

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
    fn several_are_one_filter_and_each_is_checked() {
        let one = || Selector::WorkloadId("1".into());
        let query = |text: &str| Selector::Query(text.into());
        let open = check(any_of([one(), query("A = 'x' OR B = 'y'")])).unwrap();
        assert!(
            open.ends_with(" AND ((WorkloadId = \"1\") OR (A = 'x' OR B = 'y'))"),
            "{open}"
        );
        for (bad, field) in [
            (any_of([]), "target.any_of.targets"),
            (any_of([one()]), "target.any_of.targets"),
            (any_of(std::iter::repeat_with(one).take(21)), "target.any_of.targets"),
            (
                any_of([one(), any_of([one(), one()]).unwrap()]),
                "target.any_of.targets[1].any_of",
            ),
            (any_of([one(), query(" ")]), "target.any_of.targets[1].query"),
            (
                any_of([one(), query("CloseTime IS NULL")]),
                "target.any_of.targets[1].query",
            ),
            (
                any_of(std::iter::repeat_with(|| query(&format!("A = '{}'", "x".repeat(1_990)))).take(3)),
                "target.any_of.targets",
            ),
        ] {
            let problem = check(bad).unwrap_err();
            assert!(problem.starts_with(&format!("{field}: ")), "{field}: {problem}");
        }
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
