//! `quell order`: places orders and looks after them.

use super::{missing, parse_duration};
use crate::clients::{Addresses, unary};
use crate::exit::{self, Failure};
use crate::ui::Ui;
use crate::view::time;
use quell_api::work::v1::{
    CancelOrderRequest, GetOrderRequest, ListOrdersRequest, Order, OrderAction, OrderItem, OrderSpec, OrderStatus,
    OrderStepState, Payment, PlaceOrderRequest, ScheduleOrderRequest, UnscheduleOrderRequest,
};
use serde_json::{Value, json};

/// What can be done with orders.
#[derive(Debug, clap::Subcommand)]
pub(super) enum OrderCommand {
    /// Places one and returns, or with --wait when it has ended (exit code 1 when it did not come through).
    Place(PlaceArgs),
    /// Shows one, with its ledger.
    Get {
        /// Id, as `place` printed it.
        order_id: String,
    },
    /// Tells one to stop; what was done is undone.
    Cancel {
        /// Id, as `place` printed it.
        order_id: String,
        /// Why.
        #[arg(long, default_value = "quell order cancel")]
        reason: String,
    },
    /// Lists them, newest first.
    List {
        /// Most orders to list.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
        /// Only those whose ids begin so.
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Places the same order again and again.
    Schedule {
        #[command(flatten)]
        what: WhatArgs,
        /// Id of the schedule, and beginning of its orders' ids.
        #[arg(long, value_name = "ID")]
        id: String,
        /// Time between two orders.
        #[arg(long, value_parser = parse_duration)]
        every: prost_types::Duration,
        /// Orders until it is done; 0 means no end.
        #[arg(long, default_value_t = 0)]
        limit: u32,
    },
    /// Ends a schedule; orders that it has placed go on.
    Unschedule {
        /// Id of the schedule.
        id: String,
    },
}

/// What is ordered.
#[derive(Debug, clap::Args)]
pub(super) struct WhatArgs {
    /// The payment provider's token; never a card number.
    #[arg(long, value_name = "TOKEN")]
    payment: String,
    /// Amount in the currency's smallest unit.
    #[arg(long, value_name = "CENTS")]
    amount: i64,
    /// Currency by ISO 4217.
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// What is taken from stock; may be repeated.
    #[arg(long = "item", required = true, value_name = "SKU[=QUANTITY]", value_parser = item)]
    items: Vec<OrderItem>,
    /// Where it goes.
    #[arg(long)]
    address: String,
    /// How long the order may take before it is undone [default: 1h].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<prost_types::Duration>,
}

/// Arguments of `quell order place`.
#[derive(Debug, clap::Args)]
pub(super) struct PlaceArgs {
    #[command(flatten)]
    what: WhatArgs,
    /// Decides the id: a repeated call returns the first order.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Wait for its end, at most for half a minute.
    #[arg(long)]
    wait: bool,
    /// How long from now it begins.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    start_delay: Option<prost_types::Duration>,
    /// Only check; start nothing.
    #[arg(long)]
    validate_only: bool,
}

fn item(text: &str) -> Result<OrderItem, String> {
    let (sku, quantity) = match text.rsplit_once('=') {
        Some((sku, quantity)) => {
            let quantity = quantity.parse().ok().filter(|quantity| *quantity > 0);
            (
                sku,
                quantity.ok_or("the quantity must be a whole number of at least 1")?,
            )
        }
        None => (text, 1),
    };
    Ok(OrderItem {
        sku: sku.to_owned(),
        quantity,
    })
}

impl From<WhatArgs> for OrderSpec {
    fn from(args: WhatArgs) -> Self {
        Self {
            payment: Some(Payment {
                token: args.payment,
                amount_minor: args.amount,
                currency: args.currency,
            }),
            items: args.items,
            address: args.address,
            timeout: args.timeout,
        }
    }
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, command: OrderCommand) -> Result<u8, Failure> {
    match command {
        OrderCommand::Place(args) => place(ui, addresses, args).await,
        OrderCommand::Get { order_id } => get(ui, addresses, order_id).await,
        OrderCommand::Cancel { order_id, reason } => cancel(ui, addresses, order_id, reason).await,
        OrderCommand::List { limit, prefix } => list(ui, addresses, limit, prefix).await,
        OrderCommand::Schedule { what, id, every, limit } => {
            let request = ScheduleOrderRequest {
                order: Some(what.into()),
                schedule_id: id.clone(),
                every: Some(every),
                limit,
                validate_only: false,
            };
            addresses.orders().await?.schedule_order(unary(request)).await?;
            ui.line(format!(
                "{id} is scheduled; see its orders with: quell order list --prefix {id}-"
            ));
            ui.result(&json!({ "schedule_id": id }));
            Ok(exit::OK)
        }
        OrderCommand::Unschedule { id } => {
            let request = UnscheduleOrderRequest {
                schedule_id: id.clone(),
            };
            addresses.orders().await?.unschedule_order(unary(request)).await?;
            ui.line(format!("{id} is not scheduled any more"));
            ui.result(&json!({ "schedule_id": id }));
            Ok(exit::OK)
        }
    }
}

async fn place(ui: Ui, addresses: &Addresses, args: PlaceArgs) -> Result<u8, Failure> {
    let (wait, validate_only) = (args.wait, args.validate_only);
    let request = PlaceOrderRequest {
        order: Some(args.what.into()),
        order_id: args.id.unwrap_or_default(),
        wait,
        start_delay: args.start_delay,
        validate_only,
        faults: Vec::new(),
    };
    let answer = addresses
        .orders()
        .await?
        .place_order(unary(request))
        .await?
        .into_inner();
    let order = answer.order.ok_or_else(|| missing("order"))?;
    if validate_only {
        ui.line(format!("would place {}", order.order_id));
    } else {
        show(ui, &order);
    }
    ui.result(&order_json(&order));
    Ok(if wait { of_status(order.status()) } else { exit::OK })
}

/// An order that was waited for and has ended without coming through.
fn of_status(status: OrderStatus) -> u8 {
    match status {
        OrderStatus::Unspecified | OrderStatus::Running | OrderStatus::Completed => exit::OK,
        OrderStatus::Compensating
        | OrderStatus::Cancelled
        | OrderStatus::Failed
        | OrderStatus::TimedOut
        | OrderStatus::Unsettled => exit::FAILED,
    }
}

async fn get(ui: Ui, addresses: &Addresses, order_id: String) -> Result<u8, Failure> {
    let request = GetOrderRequest {
        order_id,
        include_ledger: true,
    };
    let answer = addresses.orders().await?.get_order(unary(request)).await?.into_inner();
    let order = answer.order.ok_or_else(|| missing("order"))?;
    show(ui, &order);
    ui.result(&order_json(&order));
    Ok(exit::OK)
}

async fn cancel(ui: Ui, addresses: &Addresses, order_id: String, reason: String) -> Result<u8, Failure> {
    let request = CancelOrderRequest {
        order_id: order_id.clone(),
        reason,
    };
    addresses.orders().await?.cancel_order(unary(request)).await?;
    ui.line(format!(
        "{order_id} was told to stop; see it end with: quell order get {order_id}"
    ));
    ui.result(&json!({ "order_id": order_id }));
    Ok(exit::OK)
}

async fn list(ui: Ui, addresses: &Addresses, limit: i32, prefix: String) -> Result<u8, Failure> {
    let request = ListOrdersRequest {
        page_size: limit,
        page_token: String::new(),
        order_id_prefix: prefix,
    };
    let answer = addresses
        .orders()
        .await?
        .list_orders(unary(request))
        .await?
        .into_inner();
    for order in &answer.orders {
        ui.line(headline(order));
    }
    if answer.orders.is_empty() {
        ui.line("no orders");
    }
    let orders: Vec<_> = answer.orders.iter().map(order_json).collect();
    ui.result(&json!({ "orders": orders, "more": !answer.next_page_token.is_empty() }));
    Ok(exit::OK)
}

fn headline(order: &Order) -> String {
    let placed = time(order.start_time.as_ref()).unwrap_or_default();
    format!(
        "{:40} {:12} {placed} {}",
        order.order_id,
        status_name(order.status()),
        order.tracking
    )
}

fn show(ui: Ui, order: &Order) {
    ui.line(headline(order).trim_end());
    for step in &order.steps {
        let state = state_name(step.state());
        ui.line(format!("  {:18} {state:8} {}", action_name(step.action()), step.reference).trim_end());
    }
    if let Some(failure) = &order.failure {
        let at = match failure.action() {
            OrderAction::Unspecified => String::new(),
            action => format!(" at {}", action_name(action)),
        };
        ui.line(format!("  {}{at}: {}", failure.r#type, failure.message));
    }
    if !order.ledger.is_empty() {
        ui.line("  ledger:");
    }
    for entry in &order.ledger {
        let at = time(entry.time.as_ref()).unwrap_or_default();
        ui.line(format!("  {at} {:18} {}", action_name(entry.action()), entry.reference));
    }
}

fn status_name(status: OrderStatus) -> &'static str {
    status.as_str_name().trim_start_matches("ORDER_STATUS_")
}

fn action_name(action: OrderAction) -> String {
    action.as_str_name().trim_start_matches("ORDER_ACTION_").to_lowercase()
}

fn state_name(state: OrderStepState) -> String {
    match state {
        OrderStepState::Unspecified => "waiting".to_owned(),
        known => known
            .as_str_name()
            .trim_start_matches("ORDER_STEP_STATE_")
            .to_lowercase(),
    }
}

/// `status` is in small letters when it is the document's output: `completed`.
fn order_json(order: &Order) -> Value {
    let steps = order.steps.iter().map(|step| {
        json!({
            "action": action_name(step.action()),
            "state": state_name(step.state()),
            "reference": step.reference,
        })
    });
    let ledger = order.ledger.iter().map(|entry| {
        json!({
            "sequence": entry.sequence,
            "action": action_name(entry.action()),
            "idempotency_key": entry.idempotency_key,
            "reference": entry.reference,
            "time": time(entry.time.as_ref()),
        })
    });
    let failure = order.failure.as_ref().map(|failure| {
        json!({ "action": action_name(failure.action()), "type": failure.r#type, "message": failure.message })
    });
    json!({
        "order_id": order.order_id,
        "run_id": order.run_id,
        "status": status_name(order.status()).to_lowercase(),
        "workflow_status": order.workflow_status,
        "tracking": order.tracking,
        "steps": steps.collect::<Vec<_>>(),
        "cancel_requested": order.cancel_requested,
        "cancel_reason": order.cancel_reason,
        "failure": failure,
        "start_time": time(order.start_time.as_ref()),
        "close_time": time(order.close_time.as_ref()),
        "ledger": ledger.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_written_with_or_without_a_quantity() {
        let of = |text| item(text).map(|item| (item.sku, item.quantity));
        assert_eq!(of("book"), Ok(("book".to_owned(), 1)));
        assert_eq!(of("book=3"), Ok(("book".to_owned(), 3)));
        assert_eq!(of("a=b=3"), Ok(("a=b".to_owned(), 3)));
        for bad in ["book=", "book=0", "book=-1", "book=x"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_an_order_that_did_not_come_through_fails() {
        assert_eq!(of_status(OrderStatus::Completed), exit::OK);
        assert_eq!(of_status(OrderStatus::Running), exit::OK);
        assert_eq!(of_status(OrderStatus::Failed), exit::FAILED);
    }
}
