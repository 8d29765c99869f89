//! Orders through the wire, against what their ledger says. The ledger is read as anyone would read it: as a database file.

use crate::{
    harness::{Mesh, Own, channel, unique},
    outside::json,
    poll::{LONG, eventually, when},
};
use quell_api::work::v1::{
    CancelOrderRequest, GetOrderRequest, Order, OrderAction, OrderFault, OrderFaultKind, OrderItem, OrderSpec, Payment,
    PlaceOrderRequest, order_service_client::OrderServiceClient,
};
use quell_cli::dev::Part;
use sqlx::{Row as _, sqlite::SqlitePoolOptions};
use std::{collections::BTreeMap, path::PathBuf};
use tokio::sync::OnceCell;
use tonic::transport::Channel;

pub(crate) type Orders = OrderServiceClient<Channel>;

use OrderAction::{CancelShipment, ChargePayment, RefundPayment, ReleaseInventory, ReserveInventory, ScheduleShipment};

/// The steps, in their order.
pub(crate) const STEPS: [OrderAction; 3] = [ChargePayment, ReserveInventory, ScheduleShipment];

/// A work service that allows failures on demand, alone on the queue `orders` of a namespace of its own.
pub(crate) struct Shop {
    pub(crate) own: Own,
    pub(crate) namespace: String,
    ledger: PathBuf,
}

impl Shop {
    pub(crate) async fn open(mesh: &Mesh, name: &str, settings: &[(&str, &str)]) -> Self {
        let namespace = unique(name);
        mesh.create_namespace(&namespace).await;
        let ledger = mesh.folder(&namespace).join("ledger.db");
        let url = format!("sqlite://{}", ledger.display());
        let common = [
            ("TEMPORAL_MAIN_NAMESPACE", namespace.as_str()),
            ("QUELL_ORDERS_LEDGER_URL", &url),
            ("QUELL_ORDERS_FAULTS", "true"),
            ("TEMPORAL_ACTIVITY_INITIAL_INTERVAL_SECONDS", "0.1"),
        ];
        let own = mesh
            .own(Part::Work, &namespace, &[&common[..], settings].concat())
            .await;
        Self { own, namespace, ledger }
    }

    pub(crate) fn client(&self) -> Orders {
        Orders::new(channel(&self.own.address))
    }

    /// What was done for every order, in order, from the file.
    pub(crate) async fn journal(&self) -> BTreeMap<String, Vec<OrderAction>> {
        let url = format!("sqlite://{}?mode=ro", self.ledger.display());
        let pool = SqlitePoolOptions::new()
            .connect(&url)
            .await
            .expect("the ledger is there");
        let rows = sqlx::query("SELECT order_id, action FROM order_ledger ORDER BY sequence");
        let mut journal = BTreeMap::<String, Vec<OrderAction>>::new();
        for row in rows.fetch_all(&pool).await.expect("it can be read") {
            let (order, action): (String, String) = (row.get(0), row.get(1));
            let action = OrderAction::from_str_name(&format!("ORDER_ACTION_{}", action.to_uppercase()));
            journal.entry(order).or_default().push(action.expect("a known action"));
        }
        pool.close().await;
        journal
    }

    /// What was done for one order.
    pub(crate) async fn done(&self, order_id: &str) -> Vec<OrderAction> {
        self.journal()
            .await
            .remove(&format!("order-{order_id}"))
            .unwrap_or_default()
    }
}

/// The shop of all tests that do it no harm.
pub(crate) async fn shop(mesh: &Mesh) -> &'static Shop {
    static SHARED: OnceCell<Shop> = OnceCell::const_new();
    SHARED.get_or_init(|| Shop::open(mesh, "shop", &[])).await
}

/// What undoes a step.
pub(crate) fn undo(step: OrderAction) -> OrderAction {
    match step {
        ChargePayment => RefundPayment,
        ReserveInventory => ReleaseInventory,
        _ => CancelShipment,
    }
}

/// The journal of an order that came through, or of one that got so far and was undone in reverse; each effect once.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn settled(actions: &[OrderAction]) -> Result<(), String> {
    let done: Vec<_> = actions
        .iter()
        .copied()
        .filter(|action| STEPS.contains(action))
        .collect();
    let undone: Vec<_> = actions
        .iter()
        .copied()
        .filter(|action| !STEPS.contains(action))
        .collect();
    let reverse: Vec<_> = done.iter().rev().map(|step| undo(*step)).collect();
    if done[..] != STEPS[..done.len().min(STEPS.len())] {
        return Err(format!("the steps are not those of an order: {actions:?}"));
    }
    if actions[..done.len()] != done[..] {
        return Err(format!("something was done after something was undone: {actions:?}"));
    }
    if done.len() == STEPS.len() && undone.is_empty() || undone == reverse {
        Ok(())
    } else {
        Err(format!("neither complete nor undone in reverse: {actions:?}"))
    }
}

#[test]
fn a_settled_journal_is_told_from_any_other() {
    for good in [
        &[][..],
        &STEPS,
        &[ChargePayment, RefundPayment],
        &[ChargePayment, ReserveInventory, ReleaseInventory, RefundPayment],
    ] {
        assert_eq!(settled(good), Ok(()), "{good:?}");
    }
    for bad in [
        &[ChargePayment][..],
        &[RefundPayment],
        &[ReserveInventory, ReleaseInventory],
        &[ChargePayment, ChargePayment, RefundPayment],
        &[ChargePayment, RefundPayment, RefundPayment],
        &[ChargePayment, ReserveInventory, RefundPayment, ReleaseInventory],
        &[ChargePayment, ReserveInventory, ReleaseInventory],
        &[ChargePayment, RefundPayment, ReserveInventory, ReleaseInventory],
        &[ChargePayment, ReserveInventory, ScheduleShipment, CancelShipment],
    ] {
        assert!(settled(bad).is_err(), "{bad:?}");
    }
}

pub(crate) fn what() -> OrderSpec {
    OrderSpec {
        payment: Some(Payment {
            token: "tok_visa".into(),
            amount_minor: 9_999,
            currency: "EUR".into(),
        }),
        items: vec![OrderItem {
            sku: "book".into(),
            quantity: 2,
        }],
        address: "1 Main Street".into(),
        timeout: None,
    }
}

pub(crate) fn fault(action: OrderAction, kind: OrderFaultKind, attempts: u32, after_effect: bool) -> OrderFault {
    OrderFault {
        action: action.into(),
        kind: kind.into(),
        attempts,
        after_effect,
    }
}

pub(crate) fn placing(order_id: &str, faults: Vec<OrderFault>) -> PlaceOrderRequest {
    PlaceOrderRequest {
        order: Some(what()),
        order_id: order_id.to_owned(),
        faults,
        ..Default::default()
    }
}

pub(crate) async fn place(client: &mut Orders, request: PlaceOrderRequest) -> Order {
    let answer = client.place_order(request).await.expect("it is placed");
    answer.into_inner().order.expect("an answer has it")
}

pub(crate) async fn get(client: &mut Orders, order_id: &str) -> Order {
    let request = GetOrderRequest {
        order_id: order_id.to_owned(),
        include_ledger: true,
    };
    let answer = client.get_order(request).await.expect("it is there").into_inner();
    answer.order.expect("an answer has it")
}

pub(crate) fn has_ended(order: &Order) -> bool {
    order.close_time.is_some()
}

pub(crate) async fn ended(client: &mut Orders, order_id: &str) -> Order {
    eventually(LONG, "the order has ended", async || {
        let order = get(client, order_id).await;
        if has_ended(&order) {
            Ok(order)
        } else {
            Err(format!("{order:?}"))
        }
    })
    .await
}

/// Waits until an activity of an order beats, as Temporal itself tells: it is held then.
pub(crate) async fn held(mesh: &Mesh, namespace: &str, order_id: &str, action: OrderAction) {
    let id = format!("order-{order_id}");
    let name = action.as_str_name().trim_start_matches("ORDER_ACTION_").to_lowercase();
    eventually(LONG, &format!("{id} is held at {name}"), async || {
        let describe = ["workflow", "describe", "--workflow-id", &id];
        let shown = mesh.temporal_in(namespace, &describe).await.ok();
        let pending = &json(&shown)["pendingActivities"];
        let held = pending.as_array().is_some_and(|all| {
            all.iter().any(|one| {
                one["activityType"]["name"] == name.as_str()
                    && one["heartbeatDetails"].to_string().contains("held on demand")
            })
        });
        when(held, || pending.to_string())
    })
    .await;
}

pub(crate) async fn cancel(client: &mut Orders, order_id: &str, reason: &str) {
    let request = CancelOrderRequest {
        order_id: order_id.to_owned(),
        reason: reason.to_owned(),
    };
    client.cancel_order(request).await.expect("it is open");
}
