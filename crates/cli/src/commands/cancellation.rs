//! The short commands about cancellations: preview, list, abort.

use super::target::TargetArgs;
use crate::clients::{Addresses, unary};
use crate::exit::{self, Failure};
use crate::ui::Ui;
use crate::view::{cancellation_json, cancellation_line, preview_json, preview_lines};
use quell_api::canceler::v1::{ListCancellationsRequest, PreviewCancellationRequest, StopCancellationRequest};
use serde_json::json;

/// Arguments of `quell preview`.
#[derive(Debug, clap::Args)]
pub(super) struct PreviewArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How many executions to name.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=100))]
    sample: i32,
}

pub(super) async fn preview(ui: Ui, addresses: &Addresses, args: PreviewArgs) -> Result<u8, Failure> {
    let request = PreviewCancellationRequest {
        target: Some(args.target.into()),
        sample_size: args.sample,
    };
    let answer = addresses
        .cancellations()
        .await?
        .preview_cancellation(unary(request))
        .await?
        .into_inner();
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
