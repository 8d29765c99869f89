//! `quell resume`: a source that a cancellation has told to keep still goes on.

use crate::clients::{Addresses, unary};
use crate::exit::{self, Failure};
use crate::ui::Ui;
use quell_api::work::v1::ResumeRequest;
use serde_json::json;

/// Arguments of `quell resume`.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    /// WorkloadId whose source goes on.
    #[arg(long, value_name = "ID")]
    workload_id: String,
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, args: ResumeArgs) -> Result<u8, Failure> {
    let ResumeArgs { workload_id } = args;
    let request = ResumeRequest {
        workload_id: workload_id.clone(),
    };
    let mut client = addresses.sources().await?;
    let was_quiesced = client.resume(unary(request)).await?.into_inner().was_quiesced;
    ui.line(if was_quiesced {
        format!("the source of WorkloadId {workload_id:?} goes on")
    } else {
        format!("the source of WorkloadId {workload_id:?} was not held")
    });
    ui.result(&json!({ "workload_id": workload_id, "was_quiesced": was_quiesced }));
    Ok(exit::OK)
}
