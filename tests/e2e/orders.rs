//! Orders through the wire, against what their ledger says. The ledger is read as anyone would read it: as a database file.

use crate::{
    command::{last_line, prepared},
    details,
    harness::{Mesh, Own, channel, mesh, unique},
    outside::{self, json},
    poll::{LONG, SOON, eventually, when},
};
use quell_api::work::v1::{
    CancelOrderRequest, GetOrderRequest, ListOrdersRequest, Order, OrderAction, OrderFault, OrderFaultKind, OrderItem,
    OrderSpec, OrderStatus, Payment, PlaceOrderRequest, ScheduleOrderRequest, UnscheduleOrderRequest,
    order_service_client::OrderServiceClient,
};
use quell_cli::dev::Part;
use sqlx::{Row as _, sqlite::SqlitePoolOptions};
use std::{collections::BTreeMap, path::PathBuf};
use tokio::sync::OnceCell;
use tonic::{Code, transport::Channel};

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
async fn shop(mesh: &Mesh) -> &'static Shop {
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

#[tokio::test]
async fn an_order_comes_through_and_its_id_decides() {
    let mesh = mesh().await;
    let shop = shop(&mesh).await;
    let mut client = shop.client();
    let id = unique("through");
    let request = PlaceOrderRequest {
        wait: true,
        ..placing(&id, Vec::new())
    };
    let order = place(&mut client, request.clone()).await;
    assert_eq!(
        (order.status(), order.workflow_status.as_str()),
        (OrderStatus::Completed, "Completed")
    );
    assert!(order.tracking.starts_with("trk-"), "{order:?}");
    assert_eq!((order.failure, order.cancel_requested), (None, false));
    let mut expected = what();
    expected.timeout = Some(prost_types::Duration {
        seconds: 3_600,
        nanos: 0,
    });
    assert_eq!(order.spec, Some(expected));
    assert_eq!(shop.done(&id).await, STEPS);

    // The workflow's own output, as the document has it.
    let ask = ["workflow", "result", "--workflow-id", &format!("order-{id}")];
    let output = json(&mesh.temporal_in(&shop.namespace, &ask).await.ok());
    let expected = serde_json::json!({"status": "completed", "tracking": order.tracking});
    assert_eq!(output["result"], expected, "{output}");

    // The same request again is the same order; another one under its id is refused.
    let again = place(&mut client, request.clone()).await;
    assert_eq!((again.run_id, again.tracking), (order.run_id, order.tracking));
    let mut other = request;
    other.order.as_mut().unwrap().address = "2 Main Street".into();
    let status = client.place_order(other).await.unwrap_err();
    assert_eq!(
        details::reason("PlaceOrder", &status, Code::FailedPrecondition),
        "REQUEST_ID_REUSED"
    );
    assert_eq!(shop.done(&id).await, STEPS);

    let late = CancelOrderRequest {
        order_id: id.clone(),
        reason: String::new(),
    };
    let status = client.cancel_order(late).await.unwrap_err();
    assert_eq!(
        details::reason("CancelOrder", &status, Code::FailedPrecondition),
        "WRONG_STATE"
    );
}

#[tokio::test]
async fn a_refusal_fails_the_order_at_once_and_undoes_what_was_done() {
    let mesh = mesh().await;
    let shop = shop(&mesh).await;
    let mut client = shop.client();
    let kinds = ["CardDeclined", "OutOfStock", "AddressRefused"];
    for (done, (step, kind)) in STEPS.into_iter().zip(kinds).enumerate() {
        let id = unique("refused");
        let request = PlaceOrderRequest {
            wait: true,
            ..placing(&id, vec![fault(step, OrderFaultKind::Refused, 1, false)])
        };
        let order = place(&mut client, request).await;
        assert_eq!(
            (order.status(), order.workflow_status.as_str()),
            (OrderStatus::Failed, "Failed")
        );
        let failure = order.failure.expect("it says why");
        assert_eq!((failure.action(), failure.r#type.as_str()), (step, kind));
        assert!(order.tracking.is_empty());
        let journal = shop.done(&id).await;
        assert_eq!(settled(&journal), Ok(()));
        assert_eq!(journal.len(), 2 * done, "{journal:?}");
    }
}

/// Each activity, undoing ones too, fails twice before it takes effect, or after it: the effect is there and its acknowledgement
/// is not. It is tried again, and the effect is there once.
#[tokio::test]
async fn what_is_worth_another_try_is_tried_again_and_takes_effect_once() {
    let mesh = mesh().await;
    let shop = shop(&mesh).await;
    let mut client = shop.client();
    for after_effect in [false, true] {
        let again = |action| fault(action, OrderFaultKind::Error, 2, after_effect);
        let id = unique("again");
        place(&mut client, placing(&id, STEPS.map(again).to_vec())).await;
        let order = ended(&mut client, &id).await;
        assert_eq!(order.status(), OrderStatus::Completed, "{order:?}");
        assert_eq!(shop.done(&id).await, STEPS);

        // The last step never succeeds: its five attempts are used up, and all is undone, each at its third try.
        let id = unique("in-vain");
        let mut faults = vec![fault(ScheduleShipment, OrderFaultKind::Error, 100, after_effect)];
        faults.extend([CancelShipment, ReleaseInventory, RefundPayment].map(again));
        place(&mut client, placing(&id, faults)).await;
        let order = ended(&mut client, &id).await;
        assert_eq!(order.status(), OrderStatus::Failed, "{order:?}");
        let failure = order.failure.expect("it says why");
        assert_eq!(
            (failure.action(), failure.r#type.as_str()),
            (ScheduleShipment, "FailedOnDemand")
        );
        let journal = shop.done(&id).await;
        assert_eq!(settled(&journal), Ok(()));
        // Whether the shipment was booked is what the fault decides.
        assert_eq!(journal.contains(&CancelShipment), after_effect, "{journal:?}");
        assert_eq!(order.ledger.len(), journal.len());
    }
}

#[tokio::test]
async fn a_cancel_ends_the_running_activity_and_undoes_the_order() {
    let mesh = mesh().await;
    let shop = shop(&mesh).await;
    let mut client = shop.client();
    for step in STEPS {
        for after_effect in [false, true] {
            let id = unique("cancelled");
            place(
                &mut client,
                placing(&id, vec![fault(step, OrderFaultKind::Hold, 100, after_effect)]),
            )
            .await;
            held(&mesh, &shop.namespace, &id, step).await;
            cancel(&mut client, &id, "changed my mind").await;
            cancel_again(&mut client, &id).await;
            let order = ended(&mut client, &id).await;
            assert_eq!(
                (order.status(), order.workflow_status.as_str()),
                (OrderStatus::Cancelled, "Completed")
            );
            assert_eq!(
                (order.cancel_requested, order.cancel_reason.as_str()),
                (true, "changed my mind")
            );
            let failure = order.failure.expect("it says why");
            assert_eq!((failure.action(), failure.r#type.as_str()), (step, "Cancelled"));
            let journal = shop.done(&id).await;
            assert_eq!(settled(&journal), Ok(()));
            assert_eq!(journal.contains(&step), after_effect, "{journal:?}");

            // The common query, as any client may ask it.
            let query = [
                "workflow",
                "query",
                "--type",
                "cancel_state",
                "--workflow-id",
                &format!("order-{id}"),
            ];
            let answer = mesh.temporal_in(&shop.namespace, &query).await.ok();
            assert!(answer.contains("changed my mind"), "{answer}");
        }
    }
}

/// Only the first reason counts; the order may have ended meanwhile.
async fn cancel_again(client: &mut Orders, order_id: &str) {
    let request = CancelOrderRequest {
        order_id: order_id.to_owned(),
        reason: "another reason".to_owned(),
    };
    if let Err(status) = client.cancel_order(request).await {
        assert_eq!(
            details::reason("CancelOrder", &status, Code::FailedPrecondition),
            "WRONG_STATE"
        );
    }
}

#[tokio::test]
async fn a_cancel_request_of_temporals_undoes_the_order_too() {
    let mesh = mesh().await;
    let shop = shop(&mesh).await;
    let mut client = shop.client();
    let id = unique("requested");
    place(
        &mut client,
        placing(&id, vec![fault(ReserveInventory, OrderFaultKind::Hold, 100, true)]),
    )
    .await;
    held(&mesh, &shop.namespace, &id, ReserveInventory).await;
    let request = ["workflow", "cancel", "--workflow-id", &format!("order-{id}")];
    mesh.temporal_in(&shop.namespace, &request).await.ok();
    let order = ended(&mut client, &id).await;
    assert_eq!(
        (order.status(), order.workflow_status.as_str()),
        (OrderStatus::Cancelled, "Canceled")
    );
    assert!(order.cancel_requested, "{order:?}");
    assert_eq!(
        shop.done(&id).await,
        [ChargePayment, ReserveInventory, ReleaseInventory, RefundPayment]
    );
}

#[tokio::test]
async fn an_order_that_takes_too_long_is_undone() {
    let mesh = mesh().await;
    let shop = shop(&mesh).await;
    let mut client = shop.client();
    let id = unique("late");
    let mut request = placing(&id, vec![fault(ScheduleShipment, OrderFaultKind::Hold, 100, true)]);
    request.order.as_mut().unwrap().timeout = Some(prost_types::Duration { seconds: 3, nanos: 0 });
    place(&mut client, request).await;
    let order = ended(&mut client, &id).await;
    assert_eq!(
        (order.status(), order.workflow_status.as_str()),
        (OrderStatus::TimedOut, "Failed")
    );
    assert_eq!(
        order.failure.as_ref().map(|failure| failure.r#type.as_str()),
        Some("OrderTimeout")
    );
    assert_eq!(settled(&shop.done(&id).await), Ok(()));

    // Ended from outside, it is not undone, and says so.
    let id = unique("outside");
    place(
        &mut client,
        placing(&id, vec![fault(ReserveInventory, OrderFaultKind::Hold, 100, false)]),
    )
    .await;
    held(&mesh, &shop.namespace, &id, ReserveInventory).await;
    let terminate = ["workflow", "terminate", "--workflow-id", &format!("order-{id}")];
    mesh.temporal_in(&shop.namespace, &terminate).await.ok();
    let order = ended(&mut client, &id).await;
    assert_eq!(
        (order.status(), order.workflow_status.as_str()),
        (OrderStatus::Unsettled, "Terminated")
    );
    assert_eq!(shop.done(&id).await, [ChargePayment]);
}

#[tokio::test]
async fn a_delayed_order_begins_later_or_not_at_all() {
    let mesh = mesh().await;
    let shop = shop(&mesh).await;
    let mut client = shop.client();
    let id = unique("delayed");
    let request = PlaceOrderRequest {
        start_delay: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        wait: true,
        ..placing(&id, Vec::new())
    };
    let order = place(&mut client, request.clone()).await;
    assert_eq!(order.status(), OrderStatus::Completed, "{order:?}");
    let (placed, charged) = (
        order.start_time.unwrap(),
        get(&mut client, &id).await.ledger[0].time.unwrap(),
    );
    assert!(charged.seconds - placed.seconds >= 1, "{placed:?} {charged:?}");
    assert_eq!(place(&mut client, request).await.run_id, order.run_id);

    let id = unique("never");
    let request = PlaceOrderRequest {
        start_delay: Some(prost_types::Duration {
            seconds: 86_400,
            nanos: 0,
        }),
        ..placing(&id, Vec::new())
    };
    assert_eq!(place(&mut client, request).await.status(), OrderStatus::Running);
    cancel(&mut client, &id, "not tomorrow").await;
    let order = ended(&mut client, &id).await;
    assert_eq!(
        (order.status(), order.cancel_reason.as_str()),
        (OrderStatus::Cancelled, "not tomorrow")
    );
    assert_eq!(shop.done(&id).await, []);
}

#[tokio::test]
async fn a_schedule_places_an_order_each_time() {
    let mesh = mesh().await;
    let shop = shop(&mesh).await;
    let mut client = shop.client();
    let id = unique("weekly");
    let request = ScheduleOrderRequest {
        order: Some(what()),
        schedule_id: id.clone(),
        every: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        limit: 2,
        validate_only: false,
    };
    client.schedule_order(request.clone()).await.unwrap();
    let status = client.schedule_order(request).await.unwrap_err();
    assert_eq!(
        details::reason("ScheduleOrder", &status, Code::AlreadyExists),
        "ALREADY_EXISTS"
    );
    let list = ListOrdersRequest {
        order_id_prefix: format!("{id}-"),
        ..Default::default()
    };
    let orders = eventually(LONG, "both orders have come through", async || {
        let orders = client.list_orders(list.clone()).await.unwrap().into_inner().orders;
        let completed = orders
            .iter()
            .filter(|order| order.status() == OrderStatus::Completed)
            .count();
        if completed == 2 {
            Ok(orders)
        } else {
            Err(format!("{orders:?}"))
        }
    })
    .await;
    let mut references = Vec::new();
    for order in &orders {
        let order = get(&mut client, &order.order_id).await;
        assert_eq!(
            order.spec.as_ref().map(|spec| spec.address.as_str()),
            Some("1 Main Street")
        );
        assert_eq!(shop.done(&order.order_id).await, STEPS);
        references.extend(order.ledger.into_iter().map(|entry| entry.reference));
    }
    references.sort();
    references.dedup();
    assert_eq!(references.len(), 6, "each is an order of its own: {references:?}");

    let end = UnscheduleOrderRequest {
        schedule_id: id.clone(),
    };
    client.unschedule_order(end.clone()).await.unwrap();
    let status = client.unschedule_order(end).await.unwrap_err();
    details::not_found("UnscheduleOrder", &status, &id);
}

/// The shared services run as they would in production.
#[tokio::test]
async fn failures_on_demand_are_refused_where_they_are_not_allowed() {
    let mesh = mesh().await;
    let mut client = mesh.orders();
    let id = unique("no-faults");
    let request = placing(&id, vec![fault(ChargePayment, OrderFaultKind::Refused, 1, false)]);
    let status = client.place_order(request).await.unwrap_err();
    assert_eq!(details::unmet("PlaceOrder", &status), ["faults"]);
    assert_eq!(mesh.status("main", &format!("order-{id}")).await, None);

    let request = PlaceOrderRequest {
        validate_only: true,
        ..placing(&id, Vec::new())
    };
    let order = place(&mut client, request).await;
    assert_eq!((order.order_id.as_str(), order.run_id.as_str()), (id.as_str(), ""));
    assert_eq!(mesh.status("main", &format!("order-{id}")).await, None);
    let get = GetOrderRequest {
        order_id: id.clone(),
        include_ledger: false,
    };
    details::not_found("GetOrder", &client.get_order(get).await.unwrap_err(), &id);
}

#[tokio::test]
async fn orders_by_the_command_and_by_grpcurl() {
    let mesh = mesh().await;
    let id = unique("by-hand");
    let quell = async |args: &[&str]| outside::run(&mut prepared(&mesh, args)).await;
    let what = [
        "--payment",
        "tok",
        "--amount",
        "4200",
        "--item",
        "book=2",
        "--address",
        "1 Main Street",
    ];
    let ran = quell(&[&["order", "place", "--wait", "--json", "--id", &id], &what[..]].concat()).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let placed = last_line(&ran);
    assert_eq!(placed["status"], "completed", "{placed}");
    assert!(
        placed["tracking"]
            .as_str()
            .is_some_and(|tracking| tracking.starts_with("trk-")),
        "{placed}"
    );
    let got = last_line(&quell(&["order", "get", &id, "--json"]).await);
    let actions: Vec<_> = got["ledger"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].clone())
        .collect();
    assert_eq!(
        actions,
        ["charge_payment", "reserve_inventory", "schedule_shipment"],
        "{got}"
    );
    eventually(SOON, "it is listed", async || {
        let ran = quell(&["order", "list", "--prefix", &id]).await;
        when(ran.out.contains(&id) && ran.out.contains("COMPLETED"), || {
            ran.out.clone()
        })
    })
    .await;

    let later = format!("{id}-later");
    let ran = quell(&[&["order", "place", "--start-delay", "1h", "--id", &later], &what[..]].concat()).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(quell(&["order", "cancel", &later, "--reason", "no"]).await.code, 0);
    let ask = serde_json::json!({"orderId": later}).to_string();
    eventually(SOON, "it is cancelled", async || {
        let ran = mesh
            .grpcurl(Part::Work, &["-d", &ask], &["quell.work.v1.OrderService/GetOrder"])
            .await;
        when(ran.out.contains("ORDER_STATUS_CANCELLED"), || {
            format!("{}{}", ran.out, ran.err)
        })
    })
    .await;
    assert_eq!(quell(&["order", "cancel", &later]).await.code, 1);

    let (scheduled, every) = (format!("{id}-weekly"), ["--every", "168h", "--id"]);
    let ran = quell(&[&["order", "schedule"], &every[..], &[&scheduled], &what[..]].concat()).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(quell(&["order", "unschedule", &scheduled]).await.code, 0);
}
