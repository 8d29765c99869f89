//! `quell failures`: every failed stop of a cancellation, one a line.

use crate::clients::{Addresses, unary};
use crate::exit::{self, Failure};
use crate::ui::Ui;
use crate::view::{stop_failure_json, stop_failure_line};
use quell_api::canceler::v1::ListFailuresRequest;
use serde_json::json;

/// The largest page that the service gives.
const PAGE: i32 = 1_000;

/// Arguments of `quell failures`.
#[derive(Debug, clap::Args)]
pub(super) struct FailuresArgs {
    /// Id of the cancellation.
    cancellation_id: String,
    /// Only failures of this pass [default: of all].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(i32).range(0..))]
    pass: i32,
    /// Most failures to list.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit: usize,
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, args: FailuresArgs) -> Result<u8, Failure> {
    let mut client = addresses.cancellations().await?;
    let mut request = ListFailuresRequest {
        cancellation_id: args.cancellation_id,
        pass: args.pass,
        ..ListFailuresRequest::default()
    };
    let mut failures = Vec::new();
    let more = loop {
        let left = args.limit.saturating_sub(failures.len());
        request.page_size = i32::try_from(left).unwrap_or(PAGE).clamp(1, PAGE);
        let page = client.list_failures(unary(request.clone())).await?.into_inner();
        for failure in page.failures.iter().take(left) {
            ui.line(stop_failure_line(failure));
            failures.push(stop_failure_json(failure));
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || failures.len() >= args.limit {
            break !request.page_token.is_empty();
        }
    };
    if failures.is_empty() {
        ui.line("no failures");
    }
    if more {
        ui.line(format!("there are more than {}: --limit shows more", failures.len()));
    }
    ui.result(&json!({ "failures": failures, "more": more }));
    Ok(exit::OK)
}
