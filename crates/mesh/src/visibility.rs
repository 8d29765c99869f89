//! Values in visibility queries, which must not leave their quotes, and in what the index answers.

use temporalio_common::protos::temporal::api::common::v1::SearchAttributes;

/// Those whose attribute has one of these values. What cannot be quoted is left out, and with nothing left nothing is found: a query
/// that an id could change is no help to anybody.
#[must_use]
pub fn one_of(attribute: &str, values: &[String]) -> String {
    match list(values) {
        Some(list) => format!("{attribute} IN ({list})"),
        None => format!("{attribute} = \"\""),
    }
}

/// Those whose attribute has none of these values, or is not set. Empty when no value can be quoted: then all have.
#[must_use]
pub fn none_of(attribute: &str, values: &[String]) -> String {
    list(values).map_or_else(String::new, |list| {
        format!("({attribute} IS NULL OR {attribute} NOT IN ({list}))")
    })
}

/// Whether a value can be asked for.
#[must_use]
pub fn is_quotable(value: &str) -> bool {
    !value.is_empty() && quoted(value).is_some()
}

/// The WorkloadId among the search attributes of an execution, or of a start.
#[must_use]
pub fn workload_tag(attributes: Option<SearchAttributes>) -> Option<String> {
    let payload = attributes?.indexed_fields.remove("WorkloadId")?;
    match serde_json::from_slice(&payload.data).ok()? {
        serde_json::Value::String(id) => Some(id),
        // Some stores answer with a list of one.
        serde_json::Value::Array(ids) => ids.into_iter().find_map(|id| id.as_str().map(str::to_owned)),
        _ => None,
    }
}

/// Those that can be quoted, as a query lists them; nothing when none can.
fn list(values: &[String]) -> Option<String> {
    let quoted: Vec<String> = values.iter().filter_map(|value| quoted(value)).collect();
    (!quoted.is_empty()).then(|| quoted.join(", "))
}

fn quoted(value: &str) -> Option<String> {
    if value.contains('\\') || value.chars().any(char::is_control) {
        return None;
    }
    let quote = ['"', '\''].into_iter().find(|quote| !value.contains(*quote))?;
    Some(format!("{quote}{value}{quote}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_quotes() {
        let values = ["a", "b\" OR \"\" = \"", "c\\", "d\n", "it's \"", "e f"].map(str::to_owned);
        assert_eq!(
            one_of("RunId", &values),
            "RunId IN (\"a\", 'b\" OR \"\" = \"', \"e f\")"
        );
        assert_eq!(one_of("RunId", &values[2..5]), "RunId = \"\"");
        assert_eq!(
            none_of("TaskQueue", &values[2..6]),
            "(TaskQueue IS NULL OR TaskQueue NOT IN (\"e f\"))"
        );
        assert_eq!(none_of("TaskQueue", &values[2..5]), "");
        assert!(is_quotable("a") && !is_quotable("") && !is_quotable("it's \""));
    }
}
