//! What a cancellation is about, as it is recorded.

use quell_api::r#type::v1::{AnyOf, Target, target::Selector};
use quell_mesh::{Error, Reason, error::from_temporal};
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};
use tonic_types::FieldViolation;

/// Which open executions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetSpec {
    /// Those with this WorkloadId.
    WorkloadId(String),
    /// Those that this visibility filter matches.
    Query(String),
    /// Those that any of these selects.
    AnyOf(Vec<Self>),
}

impl TargetSpec {
    /// As a caller gave it, checked or not.
    #[must_use]
    pub fn of(target: Option<&Target>) -> Self {
        match target.and_then(|target| target.selector.clone()) {
            Some(Selector::Query(query)) => Self::Query(query.trim().to_owned()),
            Some(Selector::WorkloadId(id)) => Self::WorkloadId(id),
            // Several are not several of several: the check refused those.
            Some(Selector::AnyOf(any)) => {
                let single = |one: &&Target| !matches!(one.selector, Some(Selector::AnyOf(_)));
                Self::AnyOf(
                    any.targets
                        .iter()
                        .filter(single)
                        .map(|one| Self::of(Some(one)))
                        .collect(),
                )
            }
            None => Self::WorkloadId(String::new()),
        }
    }

    /// The single targets that it is made of.
    pub(crate) fn parts(&self) -> &[Self] {
        match self {
            Self::AnyOf(parts) => parts,
            Self::WorkloadId(_) | Self::Query(_) => std::slice::from_ref(self),
        }
    }

    /// The workloads that it names by id: those whose sources can be told to stop.
    #[must_use]
    pub fn workload_ids(&self) -> Vec<String> {
        let id = |part: &Self| match part {
            Self::WorkloadId(id) => Some(id.clone()),
            Self::Query(_) | Self::AnyOf(_) => None,
        };
        self.parts().iter().filter_map(id).collect()
    }

    /// Whether one of its parts is one of the other's, too.
    pub(crate) fn shares_part_with(&self, other: &Self) -> bool {
        self.parts().iter().any(|part| other.parts().contains(part))
    }

    /// Whether all of it is named by id.
    #[must_use]
    pub fn by_id(&self) -> bool {
        self.parts().iter().all(|part| matches!(part, Self::WorkloadId(_)))
    }

    /// The workloads whose executions are all that may be stopped; none when the target is not all by id.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        if self.by_id() { self.workload_ids() } else { Vec::new() }
    }

    /// As callers see it.
    pub(super) fn to_proto(&self) -> Target {
        let selector = match self {
            Self::WorkloadId(id) => Selector::WorkloadId(id.clone()),
            Self::Query(query) => Selector::Query(query.clone()),
            Self::AnyOf(parts) => Selector::AnyOf(AnyOf {
                targets: parts.iter().map(Self::to_proto).collect(),
            }),
        };
        Target {
            selector: Some(selector),
        }
    }
}

/// A refused query is the caller's if the caller wrote it; a missing search attribute is a fault of the set-up.
pub(super) fn query_error(field: &str, target: &TargetSpec, status: Status) -> Error {
    let invalid = |part| Error::InvalidArgument(vec![FieldViolation::new(format!("{field}.{part}"), status.message())]);
    match (status.code(), target) {
        (Code::InvalidArgument, TargetSpec::Query(_)) => invalid("query"),
        // The server saw them as one, and does not say which it means.
        (Code::InvalidArgument, TargetSpec::AnyOf(_)) if !target.by_id() => invalid("any_of"),
        (Code::InvalidArgument, TargetSpec::WorkloadId(_) | TargetSpec::AnyOf(_)) => {
            let text = "the namespace has no search attribute WorkloadId of type Keyword";
            Error::precondition(Reason::SearchAttributeMissing, "WorkloadId", text)
        }
        _ => from_temporal(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_query_is_the_callers_only_when_the_caller_wrote_it() {
        let refused = || Status::invalid_argument("invalid query: column name 'X' is not defined");
        match query_error("spec.target", &TargetSpec::Query("X = 1".into()), refused()) {
            Error::InvalidArgument(violations) => {
                assert_eq!(violations[0].field, "spec.target.query");
                assert!(violations[0].description.contains("column name 'X'"));
            }
            other => panic!("{other:?}"),
        }
        let error = query_error("spec.target", &TargetSpec::WorkloadId("1".into()), refused());
        assert_eq!(error.reason(), Reason::SearchAttributeMissing);
        let error = query_error(
            "spec.target",
            &TargetSpec::WorkloadId("1".into()),
            Status::unavailable("x"),
        );
        assert_eq!(error.reason(), Reason::TemporalUnreachable);
    }
}
