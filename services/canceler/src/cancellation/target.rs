//! What a cancellation is about, as it is recorded.

use quell_api::r#type::v1::{AnyOf, Target, target::Selector};
use serde::{Deserialize, Serialize};

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
