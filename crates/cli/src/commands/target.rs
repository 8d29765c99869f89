//! What a command is about: workloads, queries, or several of both.

use quell_api::r#type::v1::target::Selector;
use quell_api::r#type::v1::{AnyOf, Target};

/// At least one of the two. Several are one target: whatever any of them selects.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct TargetArgs {
    /// All open executions with this WorkloadId; one that nothing bears is no error. May be repeated.
    #[arg(long, value_name = "ID")]
    pub(super) workload_id: Vec<String>,
    /// All open executions that match this visibility filter; may be repeated.
    #[arg(long, value_name = "FILTER")]
    pub(super) query: Vec<String>,
}

impl From<TargetArgs> for Target {
    fn from(args: TargetArgs) -> Self {
        let by_id = args.workload_id.into_iter().map(Selector::WorkloadId);
        any_of(by_id.chain(args.query.into_iter().map(Selector::Query)))
    }
}

/// One target of all of them; of none, an empty one, which every service refuses.
pub(in crate::commands) fn any_of(selectors: impl Iterator<Item = Selector>) -> Target {
    let single = |selector| Target {
        selector: Some(selector),
    };
    let mut targets: Vec<_> = selectors.map(single).collect();
    if targets.len() < 2 {
        return targets.pop().unwrap_or_default();
    }
    single(Selector::AnyOf(AnyOf { targets }))
}
