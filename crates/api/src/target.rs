//! From a [`Target`] to the visibility queries that everything of a cancellation uses. One place, so that the exclusions can
//! never be forgotten: our own executions, and the server's (`TemporalNamespaceDivision`).

use crate::{
    ids::OWN_PREFIXES,
    r#type::v1::{Target, target::Selector},
    validate::Checker,
};

/// Longest visibility filter that is taken, in characters.
pub const MAX_QUERY: usize = 4_000;

/// Open: Running or Paused. `ExecutionStatus = "Paused"` is an invalid query before Temporal 1.30; this holds on every version.
pub const OPEN: &str = "CloseTime IS NULL";

/// A checked target's filter, without status and exclusions: `WorkloadId = "x"`, or the caller's query in parentheses.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Filter(String);

impl Filter {
    /// Checks a target and makes its filter. Violations are noted under `field` (for example `spec.target`).
    ///
    /// Whether a query is well-formed only the server can say; that it is not empty, does not name the server's own
    /// workflows and is not trivially true is checked here.
    pub fn check(check: &mut Checker, field: &str, target: Option<&Target>) -> Self {
        let nothing = Self(String::new());
        match target.and_then(|target| target.selector.as_ref()) {
            None => {
                check.reject(field, "workload_id or query must be given: an empty target is never read as \"all\"");
                nothing
            }
            Some(Selector::WorkloadId(id)) => {
                check.workload_id(&format!("{field}.workload_id"), id);
                Self(format!("WorkloadId = \"{id}\""))
            }
            Some(Selector::Query(query)) => {
                let field = format!("{field}.query");
                match query_problem(query) {
                    Some(problem) => {
                        check.reject(&field, problem);
                        nothing
                    }
                    None => Self(format!("({})", query.trim())),
                }
            }
        }
    }

    /// All open executions of the target, ours excluded.
    pub fn open(&self) -> String {
        self.with(OPEN)
    }

    /// The executions of the target for which `condition` holds, ours excluded.
    pub fn with(&self, condition: &str) -> String {
        let mut query = format!("{} AND {condition}", self.0);
        for prefix in OWN_PREFIXES {
            query.push_str(&format!(" AND NOT WorkflowId STARTS_WITH \"{prefix}\""));
        }
        query
    }
}

/// What is wrong with a caller's filter, as far as can be told without the server.
fn query_problem(query: &str) -> Option<String> {
    let trimmed = query.trim();
    if trimmed.is_empty() {
        return Some("must not be empty: an empty filter would match everything".to_owned());
    }
    if trimmed.chars().count() > MAX_QUERY {
        return Some(format!("must have at most {MAX_QUERY} characters"));
    }
    if trimmed.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return Some("must not contain control characters".to_owned());
    }
    let bare = outside_quotes(trimmed).map(|bare| bare.to_ascii_lowercase());
    let Some(bare) = bare else {
        return Some("has an unbalanced quote".to_owned());
    };
    let mut depth = 0_i32;
    for c in bare.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth < 0 {
            break;
        }
    }
    if depth != 0 {
        return Some("has unbalanced parentheses".to_owned());
    }
    if bare.contains("temporalnamespacedivision") {
        return Some("must not name TemporalNamespaceDivision: those are the server's own workflows".to_owned());
    }
    if bare.contains("order by") || bare.contains("group by") || bare.contains(';') || bare.contains("--") {
        return Some("must be a filter only: no ORDER BY, no GROUP BY, no comment, no ';'".to_owned());
    }
    if !names_a_set(&bare) {
        return Some(
            "matches (nearly) everything: name a WorkloadId, WorkflowType, WorkflowId, TaskQueue or another attribute".to_owned(),
        );
    }
    None
}

/// The text outside quotes, each quoted part replaced by `""`; `None` when a quote stays open. Backquoted attribute names are
/// kept as text, so that they cannot hide one.
fn outside_quotes(query: &str) -> Option<String> {
    let mut out = String::with_capacity(query.len());
    let mut chars = query.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => {
                loop {
                    match chars.next()? {
                        '\\' => {
                            chars.next()?;
                        }
                        end if end == c => break,
                        _ => {}
                    }
                }
                out.push_str("\"\"");
            }
            '`' => {}
            other => out.push(other),
        }
    }
    Some(out)
}

/// Whether a filter says more than "open", "started some time" or "any status": attributes that every execution has in
/// common select nothing. A positive condition on some other attribute is asked for. `NOT`, `!=` and `OR` can still widen a
/// filter again, which is what `max_affected` and Preview are for.
fn names_a_set(bare: &str) -> bool {
    const COMMON: [&str; 8] =
        ["closetime", "starttime", "executiontime", "executionstatus", "historylength", "executionduration", "statetransitioncount", "historysizebytes"];
    const WORDS: [&str; 10] = ["and", "or", "not", "is", "null", "in", "between", "starts_with", "true", "false"];
    // What follows a comparison is a value; the words before one are attributes.
    bare.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty() && !word.chars().all(|c| c.is_ascii_digit()))
        .any(|word| !COMMON.contains(&word) && !WORDS.contains(&word))
        && !bare.replace(' ', "").contains("startswith\"\"\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: Option<Selector>) -> Result<String, String> {
        let mut check = Checker::new();
        let filter = Filter::check(&mut check, "target", Some(&Target { selector }));
        check.finish(filter.open()).map_err(|v| format!("{}: {}", v[0].field, v[0].description))
    }

    #[test]
    fn a_workload_id_becomes_a_query_without_our_own() {
        assert_eq!(
            check(Some(Selector::WorkloadId("1".into()))).unwrap(),
            "WorkloadId = \"1\" AND CloseTime IS NULL AND NOT WorkflowId STARTS_WITH \"quell/\" AND NOT WorkflowId STARTS_WITH \"quell-\""
        );
    }

    #[test]
    fn a_query_is_taken_in_parentheses() {
        let query = "WorkflowType = 'A' OR WorkloadId = \"it's (\"";
        assert!(check(Some(Selector::Query(query.into()))).unwrap().starts_with(&format!("({query}) AND CloseTime IS NULL")));
    }

    #[test]
    fn what_could_match_everything_is_refused() {
        for query in [
            "",
            "   ",
            "CloseTime IS NULL",
            "ExecutionStatus = 'Running'",
            "StartTime > '2020-01-01T00:00:00Z' AND ExecutionStatus = \"Running\"",
            "true",
            "1 = 1",
            "TemporalNamespaceDivision IS NOT NULL AND WorkloadId = 'x'",
            "`TemporalNamespaceDivision` = 'x'",
            "WorkloadId = 'x' ORDER BY StartTime",
            "WorkloadId = 'x') OR (WorkloadId != 'x'",
            "WorkloadId = 'x",
        ] {
            assert!(check(Some(Selector::Query(query.into()))).is_err(), "{query}");
        }
        assert!(check(None).is_err());
        for id in ["", "a\" OR \"\" = \"", "x\\", "x\n"] {
            assert!(check(Some(Selector::WorkloadId(id.into()))).is_err(), "{id}");
        }
    }
}
