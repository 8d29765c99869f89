//! `quell batch`: Temporal's own server-side batch operations, through the batch service and its queue.

mod show;
mod start;

use super::missing;
use super::outlive::{Away, outlive};
use crate::clients::{Addresses, Channel, connect, unary};
use crate::exit::{self, Failure};
use crate::ui::{Meter, Ui, human_duration};
use crate::view::duration;
use quell_api::batch::v1::{
    BatchOperation, BatchOperationState, GetBatchOperationRequest, ListBatchOperationsRequest, ListSurvivorsRequest,
    StopBatchOperationRequest, WatchBatchOperationRequest, batch_operation_service_client::BatchOperationServiceClient,
};
use serde_json::json;

/// The largest page that the service gives.
const PAGE: i32 = 1_000;
/// What can be done with batch operations. Exit codes: 0 completed, with nothing failed and nobody left; 1 failed; 2 completed, but some
/// failed or survived; 4 stopped.
#[derive(Debug, clap::Subcommand)]
pub(super) enum BatchCommand {
    /// Queues one and watches it until it has ended. Ctrl-C leaves it in the queue, or running.
    Start(Box<start::StartArgs>),
    /// Lists them: those in the queue, first in line first, then what the server keeps.
    List {
        /// Most operations to list.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
    },
    /// Shows one.
    Get {
        /// Job id.
        job_id: String,
        /// Also what it did not get done, one a line; at most so many.
        #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10000")]
        survivors: Option<usize>,
    },
    /// Watches one until it has ended.
    Watch {
        /// Job id.
        job_id: String,
    },
    /// Stops one; what it did stays done. A queued one leaves the queue.
    Stop {
        /// Job id.
        job_id: String,
        /// Why.
        #[arg(long, default_value = "quell batch stop")]
        reason: String,
    },
}

type Client = BatchOperationServiceClient<Channel>;

pub(super) async fn run(ui: Ui, addresses: &Addresses, command: BatchCommand) -> Result<u8, Failure> {
    match command {
        BatchCommand::Start(args) => start::run(ui, addresses, *args).await,
        BatchCommand::List { limit } => list(ui, addresses, limit).await,
        BatchCommand::Get { job_id, survivors } => get(ui, addresses, job_id, survivors).await,
        BatchCommand::Watch { job_id } => {
            let operation = until_ended(ui, addresses, &job_id).await?;
            Ok(report(ui, &operation))
        }
        BatchCommand::Stop { job_id, reason } => {
            let request = StopBatchOperationRequest {
                job_id: job_id.clone(),
                reason,
            };
            client(addresses).await?.stop_batch_operation(unary(request)).await?;
            ui.line(format!("{job_id} was told to stop"));
            ui.result(&json!({ "job_id": job_id }));
            Ok(exit::OK)
        }
    }
}

async fn client(addresses: &Addresses) -> Result<Client, Failure> {
    Ok(Client::new(
        connect("batch", &addresses.batch, &addresses.credentials).await?,
    ))
}

async fn list(ui: Ui, addresses: &Addresses, limit: i32) -> Result<u8, Failure> {
    let mut client = client(addresses).await?;
    let mut request = ListBatchOperationsRequest {
        page_size: limit,
        ..ListBatchOperationsRequest::default()
    };
    let wanted = usize::try_from(limit).unwrap_or(0);
    let mut operations = Vec::new();
    // A page ends where the queue does: one page may be less than there is.
    loop {
        let page = client.list_batch_operations(unary(request.clone())).await?.into_inner();
        operations.extend(page.operations);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || operations.len() >= wanted {
            break;
        }
    }
    operations.truncate(wanted);
    for operation in &operations {
        ui.line(show::line(operation));
    }
    if operations.is_empty() {
        ui.line("no batch operations");
    }
    let operations: Vec<_> = operations.iter().map(show::json).collect();
    ui.result(&json!({ "operations": operations }));
    Ok(exit::OK)
}

async fn get(ui: Ui, addresses: &Addresses, job_id: String, survivors: Option<usize>) -> Result<u8, Failure> {
    let mut client = client(addresses).await?;
    let request = GetBatchOperationRequest { job_id: job_id.clone() };
    let answer = client.get_batch_operation(unary(request)).await?.into_inner();
    let operation = answer.operation.ok_or_else(|| missing("operation"))?;
    for line in show::lines(&operation) {
        ui.line(line);
    }
    let mut shown = show::json(&operation);
    if let Some(most) = survivors {
        let mut named = Vec::new();
        let mut request = ListSurvivorsRequest {
            job_id,
            ..ListSurvivorsRequest::default()
        };
        loop {
            let left = most.saturating_sub(named.len());
            request.page_size = i32::try_from(left).unwrap_or(PAGE).clamp(1, PAGE);
            let page = client.list_survivors(unary(request.clone())).await?.into_inner();
            for survivor in page.survivors.iter().take(left) {
                ui.line(show::survivor_line(survivor));
                named.push(show::survivor_json(survivor));
            }
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() || named.len() >= most {
                break;
            }
        }
        shown["named_survivors"] = json!(named);
    }
    ui.result(&shown);
    Ok(exit::OK)
}

/// Shows how it ended, and gives the exit code.
fn report(ui: Ui, operation: &BatchOperation) -> u8 {
    for line in show::lines(operation) {
        ui.line(line);
    }
    ui.result(&show::json(operation));
    match operation.state() {
        BatchOperationState::Completed if operation.failed == 0 && operation.survivors == 0 => exit::OK,
        BatchOperationState::Completed => exit::RESIDUE,
        BatchOperationState::Stopped => exit::ABORTED,
        _ => exit::FAILED,
    }
}

/// Shows the progress of an operation until it has ended, and gives its last state.
async fn until_ended(ui: Ui, addresses: &Addresses, job_id: &str) -> Result<BatchOperation, Failure> {
    let mut meter = ui.meter();
    let outcome = outlive("batch", "operation", &mut meter, async |meter, away| {
        stream(addresses, job_id, meter, away).await
    })
    .await;
    meter.finish();
    outcome
}

/// One stream: to the end of the operation, or of the stream.
async fn stream(
    addresses: &Addresses,
    job_id: &str,
    meter: &mut Meter,
    away: &mut Away,
) -> Result<Option<BatchOperation>, Failure> {
    let request = WatchBatchOperationRequest {
        job_id: job_id.to_owned(),
    };
    let mut looks = client(addresses)
        .await?
        .watch_batch_operation(request)
        .await?
        .into_inner();
    while let Some(look) = looks.message().await? {
        away.answered();
        let operation = look.operation.ok_or_else(|| missing("operation"))?;
        progress(meter, &operation);
        if operation.close_time.is_some() {
            return Ok(Some(operation));
        }
    }
    Ok(None)
}

fn progress(meter: &mut Meter, operation: &BatchOperation) {
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    let phase = if operation.checking {
        "checking".to_owned()
    } else {
        show::state_name(operation).to_lowercase()
    };
    let message = if operation.state() == BatchOperationState::Queued {
        show::waiting(operation)
    } else {
        let mut message = format!(
            "done, {}{:.0} a second",
            show::estimated(operation),
            operation.rate_per_second
        );
        if let Some(time) = duration(operation.eta.as_ref()) {
            message.push_str(&format!(", ends in about {}", human_duration(time)));
        }
        if operation.failed > 0 {
            message.push_str(&format!(", {} failed", operation.failed));
        }
        message
    };
    meter.show(&phase, count(operation.completed), count(operation.total), &message);
}
