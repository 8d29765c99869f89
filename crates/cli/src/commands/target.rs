//! What a command is about: a workload, or a query.

use quell_api::r#type::v1::Target;
use quell_api::r#type::v1::target::Selector;

/// Exactly one of the two.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct TargetArgs {
    /// All open executions with this WorkloadId.
    #[arg(long, value_name = "ID")]
    pub(super) workload_id: Option<String>,
    /// All open executions that match this visibility filter.
    #[arg(long, value_name = "FILTER")]
    pub(super) query: Option<String>,
}

impl From<TargetArgs> for Target {
    fn from(args: TargetArgs) -> Self {
        let by_id = args.workload_id.map(Selector::WorkloadId);
        Self {
            selector: by_id.or_else(|| args.query.map(Selector::Query)),
        }
    }
}
