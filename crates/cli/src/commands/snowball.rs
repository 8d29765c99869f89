//! `quell snowball`: workloads that grow.

use super::{missing, parse_duration};
use crate::clients::{Addresses, unary};
use crate::exit::{self, Failure};
use crate::ui::Ui;
use crate::view::{snowball_json, time};
use quell_api::work::v1::{
    CancelSnowballRequest, ListSnowballsRequest, Snowball, WatchSnowballRequest, WatchSnowballResponse,
};
use serde_json::json;

mod start;

use start::StartArgs;

/// What can be done with snowballs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum SnowballCommand {
    /// Starts one and returns.
    Start(Box<StartArgs>),
    /// Shows one until nothing of it is open. Ctrl-C leaves it alone.
    Watch {
        /// Id, as `start` printed it.
        snowball_id: String,
        /// Time between two lines.
        #[arg(long, default_value = "1s", value_parser = parse_duration)]
        interval: prost_types::Duration,
    },
    /// Lists them, newest first.
    List {
        /// Most snowballs to list.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
    },
    /// Tells one to stop spawning and to cancel its own children.
    Cancel {
        /// Id, as `start` printed it.
        snowball_id: String,
        /// Why.
        #[arg(long, default_value = "quell snowball cancel")]
        reason: String,
    },
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, command: SnowballCommand) -> Result<u8, Failure> {
    match command {
        SnowballCommand::Start(args) => start(ui, addresses, *args).await,
        SnowballCommand::Watch { snowball_id, interval } => watch(ui, addresses, snowball_id, interval).await,
        SnowballCommand::List { limit } => list(ui, addresses, limit).await,
        SnowballCommand::Cancel { snowball_id, reason } => cancel(ui, addresses, snowball_id, reason).await,
    }
}

async fn start(ui: Ui, addresses: &Addresses, args: StartArgs) -> Result<u8, Failure> {
    let validate_only = args.validate_only;
    let answer = addresses
        .snowballs()
        .await?
        .start_snowball(unary(args.into()))
        .await?
        .into_inner();
    let workload_id = answer
        .spec
        .as_ref()
        .map(|spec| spec.workload_id.clone())
        .unwrap_or_default();
    let verb = if validate_only { "would start" } else { "started" };
    let planned = match answer.planned_workflows {
        0 => "no end".to_owned(),
        planned => format!("{planned} workflows planned below it"),
    };
    ui.line(format!("{verb} {} with {planned}", answer.snowball_id));
    ui.line(format!(
        "WorkloadId {workload_id:?}; watch it with: quell snowball watch {}",
        answer.snowball_id
    ));
    if answer.held {
        ui.line(format!(
            "HELD: a cancellation has told the source of WorkloadId {workload_id:?} to keep still; nothing grows until its time is over, or: \
             quell resume --workload-id {workload_id:?}"
        ));
    }
    ui.result(&json!({
        "snowball_id": answer.snowball_id,
        "run_id": answer.run_id,
        "workload_id": workload_id,
        "planned_workflows": answer.planned_workflows,
        "held": answer.held,
    }));
    Ok(exit::OK)
}

async fn watch(
    ui: Ui,
    addresses: &Addresses,
    snowball_id: String,
    interval: prost_types::Duration,
) -> Result<u8, Failure> {
    let request = WatchSnowballRequest {
        snowball_id,
        interval: Some(interval),
    };
    let mut looks = addresses.snowballs().await?.watch_snowball(request).await?.into_inner();
    let mut last = None;
    while let Some(look) = looks.message().await? {
        ui.line(look_line(&look));
        last = look.snowball.or(last);
    }
    let last = last.ok_or_else(|| missing("snowball"))?;
    ui.result(&snowball_json(&last));
    Ok(exit::OK)
}

fn look_line(look: &WatchSnowballResponse) -> String {
    let snowball = look.snowball.clone().unwrap_or_default();
    let (open, total) = (snowball.open, snowball.total);
    format!(
        "root {:10} open {open:>8} all {total:>8} {:+8.1} a second",
        snowball.root_status, look.growth_per_second
    )
}

async fn list(ui: Ui, addresses: &Addresses, limit: i32) -> Result<u8, Failure> {
    let mut client = addresses.snowballs().await?;
    let request = ListSnowballsRequest {
        page_size: limit,
        page_token: String::new(),
    };
    let answer = client.list_snowballs(unary(request)).await?.into_inner();
    for snowball in &answer.snowballs {
        ui.line(list_line(snowball));
    }
    if answer.snowballs.is_empty() {
        ui.line("no snowballs");
    }
    let snowballs: Vec<_> = answer.snowballs.iter().map(listed_json).collect();
    ui.result(&json!({ "snowballs": snowballs, "more": !answer.next_page_token.is_empty() }));
    Ok(exit::OK)
}

fn list_line(snowball: &Snowball) -> String {
    let started = time(snowball.start_time.as_ref()).unwrap_or_default();
    format!(
        "{:40} {:12} {started} WorkloadId {:?}",
        snowball.snowball_id, snowball.root_status, snowball.workload_id
    )
}

/// Lists carry no counts; zeros would be lies.
fn listed_json(snowball: &Snowball) -> serde_json::Value {
    let mut value = snowball_json(snowball);
    if let Some(fields) = value.as_object_mut() {
        for absent in ["counts", "open", "total"] {
            fields.remove(absent);
        }
    }
    value
}

async fn cancel(ui: Ui, addresses: &Addresses, snowball_id: String, reason: String) -> Result<u8, Failure> {
    let request = CancelSnowballRequest {
        snowball_id: snowball_id.clone(),
        reason,
    };
    addresses.snowballs().await?.cancel_snowball(unary(request)).await?;
    ui.line(format!(
        "{snowball_id} was told to stop; see it end with: quell snowball watch {snowball_id}"
    ));
    ui.result(&json!({ "snowball_id": snowball_id }));
    Ok(exit::OK)
}
