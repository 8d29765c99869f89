//! What an operation is asked to do: checked once, when it is asked for, and then carried by its workflow.

use super::{
    action::{Action, Exclude, Execution, Kind, Reset, ResetTo, Selection, Signal},
    server::name_field,
};
use quell_api::{
    batch::v1::{self as pb, StartBatchOperationRequest, batch_reset::To},
    ids::is_own,
    target::{Filter, OPEN},
    validate::Checker,
};
use quell_mesh::{
    confirmation::Token,
    error::{Error, Reason},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Most executions of a list: what the server takes unless it was told otherwise
/// (`frontend.MaxExecutionCountBatchOperationPerNamespace`).
pub(crate) const MAX_LIST: usize = 1_000;
/// Executions that an operation may affect when nothing is said; the canceler's own figure.
const DEFAULT_MAX_AFFECTED: i64 = 10_000;
const MOST_AFFECTED: i64 = 100_000_000;
/// Longest id of a workflow, a run, a build or a signal, in bytes.
const MAX_ID: usize = 1_000;
const MAX_ARGUMENTS: usize = 100;
/// As many as there are kinds of events to exclude.
const MAX_EXCLUDE: usize = 3;
const MAX_INPUT: usize = 1 << 20;
/// Holds for every execution; a condition must stand before the exclusions.
const ANY: &str = "StartTime > \"1970-01-01T00:00:00Z\"";

/// An operation as it was asked for, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// What is done.
    pub(crate) action: Action,
    /// To which executions.
    pub(crate) selection: Selection,
    /// Why.
    pub(crate) reason: String,
    /// The most executions that may be affected; 0: no limit, for callers who guard themselves.
    pub(crate) max_affected: i64,
}

impl Spec {
    /// Checks a request, noting every bad field. What it gives is good for use only when none was noted.
    pub(crate) fn check(check: &mut Checker, request: &StartBatchOperationRequest) -> Self {
        let kind = Kind::of(request.kind());
        if kind.is_none() {
            check.reject(
                "kind",
                "must be given, and be one of TERMINATE, CANCEL, SIGNAL, DELETE, RESET",
            );
        }
        let action = action(check, kind, request);
        let selection = selection(check, kind, request);
        check.reason("reason", &request.reason, true);
        let max_affected = check.int(
            "max_affected",
            request.max_affected,
            DEFAULT_MAX_AFFECTED,
            1..=MOST_AFFECTED,
        );
        Self {
            action,
            selection,
            reason: request.reason.clone(),
            max_affected,
        }
    }

    /// A digest of all of it: two requests of one id are the same when this is.
    pub(crate) fn digest(&self) -> String {
        // It is made of strings, numbers and lists: its Debug form is complete and stable within one version, and a repeat
        // that meets another version would only be refused.
        hex(&Sha256::digest(format!("{self:?}").as_bytes()))
    }

    /// What the job's identity remembers of the selection.
    pub(crate) fn subject(&self) -> String {
        match &self.selection {
            Selection::Query(query) => query.clone(),
            Selection::Executions(list) => format!("{list:?}"),
        }
    }

    /// The query, or "" for a list.
    pub(crate) fn query(&self) -> &str {
        match &self.selection {
            Selection::Query(query) => query,
            Selection::Executions(_) => "",
        }
    }

    /// What a confirmation token is good for.
    pub(crate) fn confirmed(&self) -> String {
        format!("batch.{:?}.{}", self.action, self.subject())
    }

    /// Raises the cap for whoever has seen how many it is about.
    pub(crate) fn raise(&mut self, token: &Token, matched: i64) -> Result<(), Error> {
        let [cap, matched] = [self.max_affected, matched].map(|n| u64::try_from(n).unwrap_or(0));
        self.max_affected = i64::try_from(token.cap(cap, matched)?).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Holds a count against the cap.
    pub(crate) fn allows(&self, matched: i64) -> Result<(), Error> {
        if self.max_affected == 0 || matched <= self.max_affected {
            return Ok(());
        }
        let text = format!(
            "{matched} executions match, and max_affected is {}: raise it, or give the confirmation_token of a call with validate_only",
            self.max_affected
        );
        Err(Error::precondition(Reason::MaxAffectedExceeded, "max_affected", text))
    }

    /// What the server says of the query, with the field that it came from.
    pub(crate) fn name_field(error: Error, request: &StartBatchOperationRequest) -> Error {
        use quell_api::r#type::v1::target::Selector;
        let field = match request.target.as_ref().and_then(|target| target.selector.as_ref()) {
            Some(Selector::WorkloadId(_)) => "target.workload_id",
            Some(Selector::AnyOf(_)) => "target.any_of",
            Some(Selector::Query(_)) | None => "target.query",
        };
        name_field(error, field)
    }
}

/// The first 128 bits, in hex.
fn hex(digest: &[u8]) -> String {
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn selection(check: &mut Checker, kind: Option<Kind>, request: &StartBatchOperationRequest) -> Selection {
    let may_be_closed = kind.is_some_and(Kind::may_be_closed);
    if request.include_closed && !(may_be_closed && request.executions.is_empty()) {
        check.reject("include_closed", "is for a target with kind DELETE or RESET only");
    }
    if request.executions.is_empty() {
        let filter = Filter::check(check, "target", request.target.as_ref());
        let condition = if request.include_closed { ANY } else { OPEN };
        return Selection::Query(filter.with(condition));
    }
    if request.target.is_some() {
        check.reject("executions", "must not be given together with a target");
    }
    if request.executions.len() > MAX_LIST {
        check.reject("executions", format!("must be at most {MAX_LIST}"));
        return Selection::Executions(Vec::new());
    }
    let mut list = Vec::with_capacity(request.executions.len());
    for (n, execution) in request.executions.iter().enumerate() {
        let field = format!("executions[{n}].workflow_id");
        id(check, &field, &execution.workflow_id);
        if is_own(&execution.workflow_id) {
            check.reject(&field, "is Quell's own");
        }
        if !execution.run_id.is_empty() && uuid::Uuid::try_parse(&execution.run_id).is_err() {
            check.reject(&format!("executions[{n}].run_id"), "is no run id: those are UUIDs");
        }
        list.push(Execution {
            workflow_id: execution.workflow_id.clone(),
            run_id: execution.run_id.clone(),
        });
    }
    Selection::Executions(list)
}

fn action(check: &mut Checker, kind: Option<Kind>, request: &StartBatchOperationRequest) -> Action {
    if request.signal.is_some() && kind != Some(Kind::Signal) {
        check.reject("signal", "is for kind SIGNAL only");
    }
    if request.reset.is_some() && kind != Some(Kind::Reset) {
        check.reject("reset", "is for kind RESET only");
    }
    match kind {
        None | Some(Kind::Terminate) => Action::Terminate,
        Some(Kind::Cancel) => Action::Cancel,
        Some(Kind::Delete) => Action::Delete,
        Some(Kind::Signal) => match &request.signal {
            Some(given) => Action::Signal(signal(check, given)),
            None => {
                check.reject("signal", "must be given");
                Action::Terminate
            }
        },
        Some(Kind::Reset) => match &request.reset {
            Some(given) => Action::Reset(reset(check, given)),
            None => {
                check.reject("reset", "must be given");
                Action::Terminate
            }
        },
    }
}

fn id(check: &mut Checker, field: &str, value: &str) {
    if value.is_empty() {
        check.reject(field, "must be given");
    } else if value.len() > MAX_ID {
        check.reject(field, format!("must have at most {MAX_ID} bytes"));
    } else if value.chars().any(char::is_control) {
        check.reject(field, "must not contain control characters");
    }
}

fn signal(check: &mut Checker, given: &pb::BatchSignal) -> Signal {
    id(check, "signal.name", &given.name);
    let input = "signal.input";
    if given.input.len() > MAX_ARGUMENTS {
        check.reject(input, format!("must be at most {MAX_ARGUMENTS} arguments"));
    } else if given.input.iter().map(String::len).sum::<usize>() > MAX_INPUT {
        check.reject(input, "must have at most 1 MiB in all");
    } else {
        for (n, argument) in given.input.iter().enumerate() {
            if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(argument) {
                check.reject(&format!("{input}[{n}]"), format!("is no JSON document: {error}"));
            }
        }
    }
    Signal {
        name: given.name.clone(),
        input: given.input.clone(),
    }
}

fn reset(check: &mut Checker, given: &pb::BatchReset) -> Reset {
    let to = match &given.to {
        Some(To::FirstWorkflowTask(true)) => ResetTo::First,
        Some(To::LastWorkflowTask(true)) => ResetTo::Last,
        Some(To::BuildId(build)) => {
            id(check, "reset.build_id", build);
            ResetTo::BuildId(build.clone())
        }
        Some(To::FirstWorkflowTask(false)) => {
            check.reject("reset.first_workflow_task", "must be true when it is given");
            ResetTo::First
        }
        Some(To::LastWorkflowTask(false)) => {
            check.reject("reset.last_workflow_task", "must be true when it is given");
            ResetTo::Last
        }
        None => {
            check.reject(
                "reset",
                "first_workflow_task, last_workflow_task or build_id must be given",
            );
            ResetTo::Last
        }
    };
    if given.current_run_only && !matches!(to, ResetTo::BuildId(_)) {
        check.reject("reset.current_run_only", "is for build_id only");
    }
    let mut exclude = Vec::new();
    if given.exclude.len() > MAX_EXCLUDE {
        check.reject("reset.exclude", format!("must be at most {MAX_EXCLUDE}"));
    }
    for (n, kind) in given.exclude.iter().enumerate() {
        match pb::ResetExclude::try_from(*kind) {
            Ok(pb::ResetExclude::Signal) => exclude.push(Exclude::Signal),
            Ok(pb::ResetExclude::Update) => exclude.push(Exclude::Update),
            Ok(pb::ResetExclude::Nexus) => exclude.push(Exclude::Nexus),
            Ok(pb::ResetExclude::Unspecified) | Err(_) => {
                check.reject(&format!("reset.exclude[{n}]"), "is not known");
            }
        }
    }
    Reset {
        to,
        current_run_only: given.current_run_only,
        exclude,
    }
}
