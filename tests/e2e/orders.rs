//! Orders that come through: at once, later, each week, by hand.

use crate::{
    command::{last_line, prepared},
    details,
    harness::{mesh, unique},
    outside::{self, json},
    poll::{LONG, SOON, eventually, when},
    shop::{STEPS, cancel, ended, fault, get, place, placing, shop, what},
};
use quell_api::work::v1::{
    CancelOrderRequest, GetOrderRequest, ListOrdersRequest, OrderAction::ChargePayment, OrderFaultKind, OrderStatus,
    PlaceOrderRequest, ScheduleOrderRequest, UnscheduleOrderRequest,
};
use quell_cli::dev::Part;
use tonic::Code;

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
