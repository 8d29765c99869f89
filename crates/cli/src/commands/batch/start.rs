//! `quell batch start`.

use super::{client, report, until_ended};
use crate::clients::{Addresses, unary};
use crate::commands::stop::typed;
use crate::commands::target;
use crate::exit::{self, Failure};
use crate::ui::Ui;
use quell_api::batch::v1::{
    BatchExecution, BatchOperationKind, BatchReset, BatchSignal, ResetExclude, StartBatchOperationRequest,
    StartBatchOperationResponse, batch_reset::To,
};
use quell_api::r#type::v1::target::Selector;
use serde_json::{Value, json};
use std::io::IsTerminal as _;

/// What is done to each execution.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KindArg {
    Terminate,
    Cancel,
    Signal,
    Delete,
    Reset,
}

/// To where a reset goes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ResetToArg {
    /// The first workflow task.
    First,
    /// The last completed one.
    Last,
}

/// Events that a reset does not apply again.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ExcludeArg {
    Signal,
    Update,
    Nexus,
}

/// One of the three: what is given several times is one target.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// All open executions with this WorkloadId; may be repeated.
    #[arg(long, value_name = "ID")]
    workload_id: Vec<String>,
    /// All open executions that match this visibility filter; may be repeated.
    #[arg(long, value_name = "FILTER")]
    query: Vec<String>,
    /// This execution; may be given up to 1,000 times.
    #[arg(long = "execution", value_name = "WORKFLOW_ID[@RUN_ID]", value_parser = parse_execution)]
    executions: Vec<BatchExecution>,
}

/// Arguments of `quell batch start`.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct StartArgs {
    /// What is done to each execution.
    #[arg(value_enum)]
    kind: KindArg,
    #[command(flatten)]
    which: WhichArgs,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Name of the signal.
    #[arg(long, value_name = "NAME", required_if_eq("kind", "signal"))]
    signal: Option<String>,
    /// An argument of the signal, as JSON; may be given several times.
    #[arg(long = "input", value_name = "JSON", requires = "signal")]
    input: Vec<String>,
    /// To where a reset goes.
    #[arg(long, value_enum, conflicts_with = "reset_build_id")]
    reset_to: Option<ResetToArg>,
    /// Reset to the first workflow task of this build.
    #[arg(long, value_name = "ID")]
    reset_build_id: Option<String>,
    /// With --reset-build-id: never to an earlier run.
    #[arg(long, requires = "reset_build_id")]
    current_run_only: bool,
    /// Events that a reset does not apply again; may be given several times.
    #[arg(long = "exclude", value_enum)]
    exclude: Vec<ExcludeArg>,
    /// Closed executions, too; for delete and reset.
    #[arg(long)]
    include_closed: bool,
    /// The most executions that may be affected [default: 10,000].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(i64).range(0..))]
    max_affected: i64,
    /// Decides the job id: a repeated call returns the first operation.
    #[arg(long)]
    request_id: Option<String>,
    /// The token of `--validate-only --json`: lets it start although more match than --max-affected.
    #[arg(long, value_name = "TOKEN", conflicts_with = "request_id")]
    confirmation_token: Option<String>,
    /// Do not ask, on a terminal, for the count to be typed.
    #[arg(long)]
    yes: bool,
    /// Fail when the slot is taken, instead of waiting for it.
    #[arg(long)]
    no_wait: bool,
    /// Only check, count and name some; start nothing.
    #[arg(long)]
    validate_only: bool,
    /// Return at once, without watching it.
    #[arg(long)]
    detach: bool,
}

/// `id`, or `id@run` where what follows the last @ is a run id.
fn parse_execution(text: &str) -> Result<BatchExecution, String> {
    let is_run = |run: &str| run.len() == 36 && run.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let (workflow_id, run_id) = match text.rsplit_once('@') {
        Some((id, run)) if is_run(run) => (id, run),
        _ => (text, ""),
    };
    if workflow_id.is_empty() {
        return Err("has no workflow id".to_owned());
    }
    Ok(BatchExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    })
}

impl StartArgs {
    fn reset(&self) -> Option<BatchReset> {
        let to = match (&self.reset_build_id, self.reset_to) {
            (Some(build), _) => To::BuildId(build.clone()),
            (None, Some(ResetToArg::First)) => To::FirstWorkflowTask(true),
            (None, Some(ResetToArg::Last)) => To::LastWorkflowTask(true),
            // Whatever else was given for a reset, the service says what is missing.
            (None, None) if self.exclude.is_empty() => return None,
            (None, None) => return Some(BatchReset::default()),
        };
        let exclude = self.exclude.iter().map(|kind| match kind {
            ExcludeArg::Signal => ResetExclude::Signal.into(),
            ExcludeArg::Update => ResetExclude::Update.into(),
            ExcludeArg::Nexus => ResetExclude::Nexus.into(),
        });
        Some(BatchReset {
            to: Some(to),
            current_run_only: self.current_run_only,
            exclude: exclude.collect(),
        })
    }
}

impl From<StartArgs> for StartBatchOperationRequest {
    fn from(args: StartArgs) -> Self {
        let reset = args.reset();
        let by_id = args.which.workload_id.into_iter().map(Selector::WorkloadId);
        let mut selectors = by_id
            .chain(args.which.query.into_iter().map(Selector::Query))
            .peekable();
        Self {
            // Without one there is a list.
            target: selectors.peek().is_some().then(|| target::any_of(selectors)),
            kind: match args.kind {
                KindArg::Terminate => BatchOperationKind::Terminate,
                KindArg::Cancel => BatchOperationKind::Cancel,
                KindArg::Signal => BatchOperationKind::Signal,
                KindArg::Delete => BatchOperationKind::Delete,
                KindArg::Reset => BatchOperationKind::Reset,
            }
            .into(),
            reason: args.reason,
            request_id: args.request_id.unwrap_or_default(),
            validate_only: args.validate_only,
            executions: args.which.executions,
            signal: args.signal.map(|name| BatchSignal {
                name,
                input: args.input,
            }),
            reset,
            include_closed: args.include_closed,
            max_affected: args.max_affected,
            no_wait: args.no_wait,
            sample_size: 0,
            confirmation_token: args.confirmation_token.unwrap_or_default(),
        }
    }
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, args: StartArgs) -> Result<u8, Failure> {
    let detach = args.detach;
    let asks = !args.yes && !args.validate_only && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let mut request = StartBatchOperationRequest::from(args);
    if asks || request.validate_only {
        let only = StartBatchOperationRequest {
            validate_only: true,
            ..request.clone()
        };
        let seen = ask_service(addresses, only).await?;
        ui.line(format!("{} executions match", seen.matched));
        for one in &seen.sample {
            ui.line(format!("{} {} ({})", one.workflow_id, one.run_id, one.workflow_type));
        }
        if request.validate_only {
            ui.result(&started_json(&seen));
            return Ok(exit::OK);
        }
        if !typed(seen.matched, &format!("{} them", verb(&request)))? {
            return Err(Failure::Other("nothing was started: that is not the count".to_owned()));
        }
        // Whoever has typed the count has seen it; a cap that was given all the same holds.
        if request.max_affected == 0 && request.request_id.is_empty() && request.confirmation_token.is_empty() {
            request.confirmation_token = seen.confirmation_token;
        }
    }
    let started = ask_service(addresses, request).await?;
    ui.line(format!("{} queued over {} executions", started.job_id, started.matched));
    if detach {
        ui.result(&started_json(&started));
        return Ok(exit::OK);
    }
    let operation = until_ended(ui, addresses, &started.job_id).await?;
    Ok(report(ui, &operation))
}

async fn ask_service(
    addresses: &Addresses,
    request: StartBatchOperationRequest,
) -> Result<StartBatchOperationResponse, Failure> {
    let mut client = client(addresses).await?;
    Ok(client.start_batch_operation(unary(request)).await?.into_inner())
}

/// What is done, in one word.
fn verb(request: &StartBatchOperationRequest) -> String {
    let name = request.kind().as_str_name();
    name.trim_start_matches("BATCH_OPERATION_KIND_").to_lowercase()
}

fn started_json(started: &StartBatchOperationResponse) -> Value {
    let sample = started
        .sample
        .iter()
        .map(|one| json!({ "workflow_id": one.workflow_id, "run_id": one.run_id, "workflow_type": one.workflow_type }));
    json!({
        "job_id": started.job_id,
        "matched": started.matched,
        "query": started.query,
        "sample": sample.collect::<Vec<_>>(),
        "confirmation_token": started.confirmation_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_may_carry_its_run() {
        let run = "01a1fdf2-079f-779d-9927-ca1c679b21fd";
        let parsed = |text: &str| parse_execution(text).map(|one| (one.workflow_id, one.run_id));
        let pair = |id: &str, run: &str| Ok((id.to_owned(), run.to_owned()));
        assert_eq!(parsed("order-1"), pair("order-1", ""));
        assert_eq!(parsed("a@b.org"), pair("a@b.org", ""));
        assert_eq!(parsed(&format!("a@b.org@{run}")), pair("a@b.org", run));
        assert!(parsed("").is_err() && parsed(&format!("@{run}")).is_err());
    }
}
