//! `quell stop`: starts a cancellation and watches it.

use super::cancellation::fetch_preview;
use super::receipt::fetch_receipt;
use super::target::TargetArgs;
use super::{parse_duration, watch};
use crate::clients::{Addresses, unary};
use crate::exit::{self, Failure};
use crate::ui::Ui;
use crate::view::{duration, preview_json, preview_lines, receipt_json, receipt_lines, wanted};
use quell_api::canceler::v1::{
    CancellationSpec, Engine, Mode, PreviewCancellationRequest, Receipt, StartCancellationRequest,
    StartCancellationResponse,
};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// How executions are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum EngineArg {
    /// Left to Quell, which says what it chose and why.
    Auto,
    /// Roots first, then everything open in parallel, until nothing is left.
    Sweep,
    /// The server's batch operation is triggered, and what is new is swept meanwhile.
    Both,
}

impl From<EngineArg> for Engine {
    fn from(arg: EngineArg) -> Self {
        match arg {
            EngineArg::Auto => Self::Auto,
            EngineArg::Sweep => Self::Sweep,
            EngineArg::Both => Self::Both,
        }
    }
}

/// What becomes of what is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ModeArg {
    /// It is terminated, without its code being told.
    Terminate,
    /// It is asked to end, within --grace; what does not is left running, and is the residue.
    Cancel,
    /// It is asked to end, within --grace; what does not is terminated.
    CancelThenTerminate,
}

impl From<ModeArg> for Mode {
    fn from(arg: ModeArg) -> Self {
        match arg {
            ModeArg::Terminate => Self::Terminate,
            ModeArg::Cancel => Self::Cancel,
            ModeArg::CancelThenTerminate => Self::CancelThenTerminate,
        }
    }
}

/// Arguments of `quell stop`. What is not given the service decides.
#[derive(Debug, clap::Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The namespace in which it is stopped: main's, or one that the canceler is configured with beside it; may be repeated [default: main's].
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,
    /// Why; stored on every stopped execution and in the receipt.
    #[arg(long)]
    reason: String,
    /// How executions are stopped.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineArg,
    /// What becomes of what is open.
    #[arg(long, value_enum, default_value = "terminate")]
    mode: ModeArg,
    /// How long what was asked to end may take, from when all have been asked [default: 60s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    grace: Option<prost_types::Duration>,
    /// The most executions that may be stopped. More at the start are refused, unless a token or the typed count allows them; on the way it ends ABORTED [default: 10000].
    #[arg(long, value_name = "N")]
    max_affected: Option<i64>,
    /// Most stops in flight at once [default: 750].
    #[arg(long, value_name = "N")]
    concurrency: Option<i32>,
    /// Stop only what matches itself, not what descends from it.
    #[arg(long)]
    no_descendants: bool,
    /// Do not tell the work service to stop spawning, and leave schedules as they are.
    #[arg(long, conflicts_with = "require_quiesce")]
    no_quiesce: bool,
    /// End before anything is stopped when the source cannot be told to stop spawning.
    #[arg(long)]
    require_quiesce: bool,
    /// How long it may take in all; the source is held for as long and a minute more, also after the end [default: 1h].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    deadline: Option<prost_types::Duration>,
    /// Empty looks in a row that count as zero [default: 3].
    #[arg(long, value_name = "N")]
    looks: Option<i32>,
    /// How long to confirm before sweeping anew [default: 240s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    confirm_timeout: Option<prost_types::Duration>,
    /// Longest pause between two looks [default: 5s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    confirm_poll: Option<prost_types::Duration>,
    /// Decides the id: a repeated call watches the first cancellation.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// The token of a preview (`quell preview --json`): lets it start although more match than --max-affected.
    #[arg(long, value_name = "TOKEN", conflicts_with = "request_id")]
    confirmation_token: Option<String>,
    /// Do not ask, on a terminal, for the count to be typed.
    #[arg(long)]
    yes: bool,
    /// Show what would be stopped, as `quell preview` does; start nothing. Does not look at --max-affected.
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    /// Only check, --max-affected too; start nothing.
    #[arg(long)]
    validate_only: bool,
    /// Start it and return without watching.
    #[arg(long)]
    detach: bool,
}

impl StopArgs {
    fn into_request(self) -> StartCancellationRequest {
        let spec = CancellationSpec {
            target: Some(self.target.into()),
            reason: self.reason,
            engine: Engine::from(self.engine).into(),
            mode: Mode::from(self.mode).into(),
            grace: self.grace,
            max_affected: self.max_affected.unwrap_or_default(),
            concurrency: self.concurrency.unwrap_or_default(),
            quiesce: self.no_quiesce.then_some(false),
            require_quiesce: self.require_quiesce,
            deadline: self.deadline,
            looks: self.looks.unwrap_or_default(),
            confirm_timeout: self.confirm_timeout,
            confirm_poll: self.confirm_poll,
            include_descendants: self.no_descendants.then_some(false),
            namespaces: self.namespace,
        };
        StartCancellationRequest {
            spec: Some(spec),
            request_id: self.request_id.unwrap_or_default(),
            validate_only: self.validate_only,
            confirmation_token: self.confirmation_token.unwrap_or_default(),
        }
    }
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, args: StopArgs) -> Result<u8, Failure> {
    let (validate_only, detach, dry_run) = (args.validate_only, args.detach, args.dry_run);
    let asks = !args.yes && !validate_only && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let mut request = args.into_request();
    if dry_run || asks {
        let shown = fetch_preview(addresses, preview_of(&request)).await?;
        for line in preview_lines(&shown) {
            ui.line(line);
        }
        if dry_run {
            ui.result(&preview_json(&shown));
            return Ok(exit::OK);
        }
        if !typed(shown.open, "stop them")? {
            return Err(Failure::Other("nothing was stopped: that is not the count".to_owned()));
        }
        // Whoever has typed the count has seen it; a cap that was given all the same holds.
        let is_capped = request.spec.as_ref().is_some_and(|spec| spec.max_affected > 0);
        if request.request_id.is_empty() && request.confirmation_token.is_empty() && !is_capped {
            request.confirmation_token = shown.confirmation_token;
        }
    }
    let started = start(addresses, request).await?;
    let id = &started.cancellation_id;
    let what = started.spec.as_ref().map(wanted).unwrap_or_default();
    let verb = if validate_only { "would start" } else { "cancellation" };
    ui.line(format!("{verb} {id}: {what}, {} open", started.matched));
    if started.matched == 0 {
        ui.line("warning: nothing open matches. Is that the right target? A source that it names is told to keep still all the same");
    }
    if validate_only || detach {
        if detach && !validate_only {
            ui.line(format!("watch it with: quell watch {id}"));
        }
        ui.result(&json!({ "cancellation_id": id, "matched": started.matched }));
        return Ok(exit::OK);
    }
    tokio::select! {
        done = watch::until_done(ui, addresses, id) => { done?; }
        _ = tokio::signal::ctrl_c() => {
            let hint = format!("the cancellation goes on; quell watch {id} watches it, quell abort {id} ends it");
            return Err(Failure::Other(hint));
        }
    }
    let receipt = fetch_receipt(addresses, id.clone()).await?;
    for line in receipt_lines(&receipt) {
        ui.line(line);
    }
    let trace = addresses.trace_url(&receipt.trace_id);
    if let Some(url) = &trace {
        ui.line(format!("see         {url}"));
    }
    let mut summary = summary_json(&receipt);
    summary["trace_url"] = json!(trace);
    ui.result(&summary);
    Ok(exit::of_verdict(receipt.verdict()))
}

/// The preview of what a request would stop.
fn preview_of(request: &StartCancellationRequest) -> PreviewCancellationRequest {
    let spec = request.spec.as_ref();
    PreviewCancellationRequest {
        target: spec.and_then(|spec| spec.target.clone()),
        sample_size: 5,
        include_descendants: spec.and_then(|spec| spec.include_descendants),
        mode: spec.map(|spec| spec.mode).unwrap_or_default(),
        namespaces: spec.map(|spec| spec.namespaces.clone()).unwrap_or_default(),
    }
}

/// Asks on the terminal for the count; tells whether that was typed.
pub(super) fn typed(count: i64, to_do: &str) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| Failure::Other(format!("the terminal cannot be read: {error}"));
    let mut terminal = std::io::stderr();
    write!(terminal, "Type {count} to {to_do}, anything else to leave: ").map_err(failed)?;
    terminal.flush().map_err(failed)?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed).map_err(failed)?;
    Ok(typed.trim() == count.to_string())
}

pub(super) async fn start(
    addresses: &Addresses,
    request: StartCancellationRequest,
) -> Result<StartCancellationResponse, Failure> {
    Ok(addresses
        .cancellations()
        .await?
        .start_cancellation(unary(request))
        .await?
        .into_inner())
}

/// From the start to the first zero, or to the end where there was none.
pub(super) fn seconds_to_zero(receipt: &Receipt) -> f64 {
    let to_zero = duration(receipt.time_to_first_zero.as_ref());
    let (start, end) = (receipt.start_time.as_ref(), receipt.end_time.as_ref());
    let whole = start.zip(end).and_then(|(start, end)| {
        let [start, end] = [start, end].map(|time| jiff::Timestamp::new(time.seconds, time.nanos));
        Duration::try_from(end.ok()?.duration_since(start.ok()?)).ok()
    });
    to_zero.or(whole).unwrap_or_default().as_secs_f64()
}

/// A rate; 0 where no time has passed.
#[expect(clippy::cast_precision_loss, reason = "a count of executions is far below 2^52")]
pub(super) fn rate(count: i64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        (count as f64 / seconds * 10.0).round() / 10.0
    } else {
        0.0
    }
}

/// The short form in front of the whole receipt.
fn summary_json(receipt: &Receipt) -> Value {
    let seconds = seconds_to_zero(receipt);
    let stopped = receipt.stopped;
    let mut value = json!({
        "stopped": stopped,
        "seconds": seconds,
        "rate": rate(stopped.saturating_add(receipt.closed_by_others), seconds),
        "receipt": receipt_json(receipt),
    });
    value["verdict"] = value["receipt"]["verdict"].clone();
    value["cancellation_id"] = json!(receipt.cancellation_id);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn the_time_is_that_of_the_first_zero() {
        let zero = Some(prost_types::Duration { seconds: 4, nanos: 0 });
        let receipt = Receipt {
            start_time: at(100),
            end_time: at(110),
            time_to_first_zero: zero,
            ..Default::default()
        };
        assert!((seconds_to_zero(&receipt) - 4.0).abs() < 1e-9);
        let never = Receipt {
            time_to_first_zero: None,
            ..receipt
        };
        assert!((seconds_to_zero(&never) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_rate_of_no_time_is_none() {
        assert!((rate(500, 2.0) - 250.0).abs() < 1e-9);
        assert!(rate(500, 0.0).abs() < 1e-9);
    }
}
