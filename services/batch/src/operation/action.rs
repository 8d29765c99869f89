//! What is done to which executions, in our words and in the server's.

use quell_api::batch::v1::BatchOperationKind;
use serde::{Deserialize, Serialize};
use temporalio_common::protos::temporal::api::{
    batch::v1::{
        BatchOperationCancellation, BatchOperationDeletion, BatchOperationReset, BatchOperationSignal,
        BatchOperationTermination,
    },
    common::v1::{Payload, Payloads, ResetOptions, WorkflowExecution, reset_options::Target},
    enums::v1::{BatchOperationType, ResetReapplyExcludeType, ResetType},
    workflowservice::v1::{StartBatchOperationRequest, start_batch_operation_request::Operation},
};

/// What is done to each execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Terminate.
    Terminate,
    /// Request cancellation.
    Cancel,
    /// Signal.
    Signal,
    /// Delete.
    Delete,
    /// Reset.
    Reset,
}

impl Kind {
    /// Whether it may be done to what has closed.
    pub(crate) const fn may_be_closed(self) -> bool {
        matches!(self, Self::Delete | Self::Reset)
    }

    /// In one word, for metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Cancel => "cancel",
            Self::Signal => "signal",
            Self::Delete => "delete",
            Self::Reset => "reset",
        }
    }
}

/// The same with what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Terminate.
    Terminate,
    /// Request cancellation.
    Cancel,
    /// Signal.
    Signal(Signal),
    /// Delete.
    Delete,
    /// Reset.
    Reset(Reset),
}

/// A signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signal {
    /// Its name.
    pub(crate) name: String,
    /// Its arguments, each a JSON document.
    pub(crate) input: Vec<String>,
}

/// A reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reset {
    /// To where.
    pub(crate) to: ResetTo,
    /// Never to an earlier run.
    pub(crate) current_run_only: bool,
    /// What is not applied again.
    pub(crate) exclude: Vec<Exclude>,
}

/// To where a reset goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ResetTo {
    /// The first workflow task.
    First,
    /// The last one.
    Last,
    /// The first one of a build.
    BuildId(String),
}

/// What a reset does not apply again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Exclude {
    /// Signals.
    Signal,
    /// Updates.
    Update,
    /// Nexus events.
    Nexus,
}

/// Which executions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Selection {
    /// What a query matches, complete with status and exclusions.
    Query(String),
    /// These.
    Executions(Vec<Execution>),
}

/// One execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Execution {
    /// Workflow id.
    pub(crate) workflow_id: String,
    /// Run id; empty for the current run.
    pub(crate) run_id: String,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Terminate, Self::Cancel, Self::Signal, Self::Delete, Self::Reset];

    /// From a request; `None` for one that was not told.
    pub(crate) fn of(kind: BatchOperationKind) -> Option<Self> {
        match kind {
            BatchOperationKind::Unspecified => None,
            BatchOperationKind::Terminate => Some(Self::Terminate),
            BatchOperationKind::Cancel => Some(Self::Cancel),
            BatchOperationKind::Signal => Some(Self::Signal),
            BatchOperationKind::Delete => Some(Self::Delete),
            BatchOperationKind::Reset => Some(Self::Reset),
        }
    }

    /// From the server's number; `None` for kinds that are not ours.
    #[expect(
        deprecated,
        reason = "the names that servers before the ..._WORKFLOW ones answer with"
    )]
    pub(crate) fn of_server(number: i32) -> Option<Self> {
        use BatchOperationType as Type;
        match Type::try_from(number).ok()? {
            Type::Terminate | Type::TerminateWorkflow => Some(Self::Terminate),
            Type::Cancel | Type::CancelWorkflow => Some(Self::Cancel),
            Type::Signal | Type::SignalWorkflow => Some(Self::Signal),
            Type::Delete | Type::DeleteWorkflow => Some(Self::Delete),
            Type::Reset | Type::ResetWorkflow => Some(Self::Reset),
            _ => None,
        }
    }

    /// As the contract names it.
    pub(crate) fn proto(self) -> BatchOperationKind {
        match self {
            Self::Terminate => BatchOperationKind::Terminate,
            Self::Cancel => BatchOperationKind::Cancel,
            Self::Signal => BatchOperationKind::Signal,
            Self::Delete => BatchOperationKind::Delete,
            Self::Reset => BatchOperationKind::Reset,
        }
    }
}

impl Action {
    /// Without what it needs.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Terminate => Kind::Terminate,
            Self::Cancel => Kind::Cancel,
            Self::Signal(_) => Kind::Signal,
            Self::Delete => Kind::Delete,
            Self::Reset(_) => Kind::Reset,
        }
    }

    /// For the server, in the name of `identity`.
    pub(crate) fn operation(&self, identity: String) -> Operation {
        match self {
            Self::Terminate => Operation::TerminationOperation(BatchOperationTermination {
                details: None,
                identity,
            }),
            Self::Cancel => Operation::CancellationOperation(BatchOperationCancellation { identity }),
            Self::Delete => Operation::DeletionOperation(BatchOperationDeletion { identity }),
            Self::Signal(signal) => Operation::SignalOperation(BatchOperationSignal {
                signal: signal.name.clone(),
                input: Some(payloads(&signal.input)),
                header: None,
                identity,
            }),
            Self::Reset(reset) => Operation::ResetOperation(reset.operation(identity)),
        }
    }
}

impl Reset {
    #[expect(
        deprecated,
        reason = "servers before 1.23 know the type only; newer ones ignore it beside the options"
    )]
    fn operation(&self, identity: String) -> BatchOperationReset {
        let (target, reset_type) = match &self.to {
            ResetTo::First => (Target::FirstWorkflowTask(()), ResetType::FirstWorkflowTask),
            ResetTo::Last => (Target::LastWorkflowTask(()), ResetType::LastWorkflowTask),
            ResetTo::BuildId(build) => (Target::BuildId(build.clone()), ResetType::Unspecified),
        };
        let exclude = self.exclude.iter().map(|kind| match kind {
            Exclude::Signal => ResetReapplyExcludeType::Signal.into(),
            Exclude::Update => ResetReapplyExcludeType::Update.into(),
            Exclude::Nexus => ResetReapplyExcludeType::Nexus.into(),
        });
        BatchOperationReset {
            identity,
            options: Some(ResetOptions {
                target: Some(target),
                current_run_only: self.current_run_only,
                reset_reapply_exclude_types: exclude.collect(),
                ..ResetOptions::default()
            }),
            reset_type: reset_type.into(),
            ..BatchOperationReset::default()
        }
    }
}

impl Selection {
    /// Writes itself into a request. The field for lists is the one that every server knows; its successor came with 1.30.
    #[expect(deprecated, reason = "see above")]
    pub(crate) fn write(&self, request: &mut StartBatchOperationRequest) {
        match self {
            Self::Query(query) => request.visibility_query.clone_from(query),
            Self::Executions(list) => {
                request.executions = list
                    .iter()
                    .map(|execution| WorkflowExecution {
                        workflow_id: execution.workflow_id.clone(),
                        run_id: execution.run_id.clone(),
                    })
                    .collect();
            }
        }
    }
}

/// JSON documents as every SDK's default converter writes them.
fn payloads(documents: &[String]) -> Payloads {
    let one = |document: &String| Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: document.clone().into_bytes(),
        ..Payload::default()
    };
    Payloads {
        payloads: documents.iter().map(one).collect(),
    }
}
