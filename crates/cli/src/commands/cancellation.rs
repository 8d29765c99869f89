//! The short commands about cancellations: preview, list, adjust, abort.

use super::stop::ModeArg;
use super::target::TargetArgs;
use super::{missing, parse_duration};
use crate::clients::{Addresses, unary};
use crate::exit::{self, Failure};
use crate::ui::Ui;
use crate::view::{cancellation_json, cancellation_line, limits_json, limits_line, preview_json, preview_lines};
use quell_api::canceler::v1::{
    AdjustCancellationRequest, Limits, ListCancellationsRequest, Mode, PreviewCancellationRequest,
    PreviewCancellationResponse, StopCancellationRequest,
};
use serde_json::json;

/// Arguments of `quell preview`.
#[derive(Debug, clap::Args)]
pub(super) struct PreviewArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The namespace to look in: main's, or one that the canceler is configured with beside it; may be repeated [default: main's].
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,
    /// How many executions to name.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=100))]
    sample: i32,
    /// Do not count what only descends from the target.
    #[arg(long)]
    no_descendants: bool,
    /// The mode of the cancellation that is to follow: the token (printed with --json) is good for this one only.
    #[arg(long, value_enum, default_value = "terminate")]
    mode: ModeArg,
}

/// Asks for a preview.
pub(super) async fn fetch_preview(
    addresses: &Addresses,
    request: PreviewCancellationRequest,
) -> Result<PreviewCancellationResponse, Failure> {
    let mut client = addresses.cancellations().await?;
    Ok(client.preview_cancellation(unary(request)).await?.into_inner())
}

pub(super) async fn preview(ui: Ui, addresses: &Addresses, args: PreviewArgs) -> Result<u8, Failure> {
    let request = PreviewCancellationRequest {
        target: Some(args.target.into()),
        sample_size: args.sample,
        include_descendants: args.no_descendants.then_some(false),
        mode: Mode::from(args.mode).into(),
        namespaces: args.namespace,
    };
    let answer = fetch_preview(addresses, request).await?;
    for line in preview_lines(&answer) {
        ui.line(line);
    }
    ui.result(&preview_json(&answer));
    Ok(exit::OK)
}

/// Arguments of `quell list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Most cancellations to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
    limit: i32,
}

pub(super) async fn list(ui: Ui, addresses: &Addresses, args: ListArgs) -> Result<u8, Failure> {
    let request = ListCancellationsRequest {
        page_size: args.limit,
        page_token: String::new(),
    };
    let answer = addresses
        .cancellations()
        .await?
        .list_cancellations(unary(request))
        .await?
        .into_inner();
    for cancellation in &answer.cancellations {
        ui.line(cancellation_line(cancellation));
    }
    if answer.cancellations.is_empty() {
        ui.line("no cancellations");
    }
    let cancellations: Vec<_> = answer.cancellations.iter().map(cancellation_json).collect();
    ui.result(&json!({ "cancellations": cancellations, "more": !answer.next_page_token.is_empty() }));
    Ok(exit::OK)
}

/// Arguments of `quell adjust`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("limits").required(true).multiple(true))]
pub(super) struct AdjustArgs {
    /// Id of the cancellation.
    cancellation_id: String,
    /// Most stops in flight at once, 1 to 750.
    #[arg(long, value_name = "N", group = "limits")]
    concurrency: Option<i32>,
    /// Most stops that begin a second; 0: no such limit.
    #[arg(long, value_name = "N", group = "limits")]
    rate: Option<i32>,
    /// How long it may take in all, from its start.
    #[arg(long, value_name = "TIME", group = "limits", value_parser = parse_duration)]
    deadline: Option<prost_types::Duration>,
}

pub(super) async fn adjust(ui: Ui, addresses: &Addresses, args: AdjustArgs) -> Result<u8, Failure> {
    let request = AdjustCancellationRequest {
        cancellation_id: args.cancellation_id.clone(),
        limits: Some(Limits {
            concurrency: args.concurrency,
            stops_per_second: args.rate,
            deadline: args.deadline,
        }),
    };
    let mut client = addresses.cancellations().await?;
    let answer = client.adjust_cancellation(unary(request)).await?.into_inner();
    let limits = answer.limits.ok_or_else(|| missing("limits"))?;
    ui.line(limits_line(&limits));
    ui.result(&json!({ "cancellation_id": args.cancellation_id, "limits": limits_json(&limits) }));
    Ok(exit::OK)
}

/// Arguments of `quell abort`.
#[derive(Debug, clap::Args)]
pub(super) struct AbortArgs {
    /// Id of the cancellation.
    cancellation_id: String,
    /// Why; in the receipt.
    #[arg(long, default_value = "quell abort")]
    reason: String,
}

pub(super) async fn abort(ui: Ui, addresses: &Addresses, args: AbortArgs) -> Result<u8, Failure> {
    let AbortArgs {
        cancellation_id,
        reason,
    } = args;
    let request = StopCancellationRequest {
        cancellation_id: cancellation_id.clone(),
        reason,
    };
    addresses
        .cancellations()
        .await?
        .stop_cancellation(unary(request))
        .await?;
    ui.line(format!(
        "{cancellation_id} was told to end; see it end with: quell watch {cancellation_id}"
    ));
    ui.result(&json!({ "cancellation_id": cancellation_id }));
    Ok(exit::OK)
}
