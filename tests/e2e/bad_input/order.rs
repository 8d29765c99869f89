//! Bad input for orders.

use super::{Table, bad_durations, bad_ids, bad_pages};
use crate::cancel::millis;
use quell_api::work::v1::{
    CancelOrderRequest, GetOrderRequest, ListOrdersRequest, OrderFault, OrderItem, OrderSpec, Payment,
    PlaceOrderRequest, ScheduleOrderRequest, UnscheduleOrderRequest, order_service_client::OrderServiceClient,
};

pub(super) fn good() -> OrderSpec {
    OrderSpec {
        payment: Some(Payment {
            token: "tok".to_owned(),
            amount_minor: 100,
            currency: "EUR".to_owned(),
        }),
        items: vec![OrderItem {
            sku: "book".to_owned(),
            quantity: 1,
        }],
        address: "1 Main Street".to_owned(),
        timeout: None,
    }
}

/// Orders that nobody could deliver, each with the fields at fault.
fn bad_orders() -> Vec<(&'static str, Option<OrderSpec>, Vec<&'static str>)> {
    let paid = |token: &str, amount_minor, currency: &str| {
        Some(OrderSpec {
            payment: Some(Payment {
                token: token.to_owned(),
                amount_minor,
                currency: currency.to_owned(),
            }),
            ..good()
        })
    };
    let of_items = |items| Some(OrderSpec { items, ..good() });
    let item = |sku: &str, quantity| OrderItem {
        sku: sku.to_owned(),
        quantity,
    };
    let everything = vec![
        "order.address",
        "order.items",
        "order.payment.amount_minor",
        "order.payment.currency",
        "order.payment.token",
    ];
    let mut orders = vec![
        ("no order", None, everything.clone()),
        ("an empty order", Some(OrderSpec::default()), everything),
        (
            "a card number",
            paid("4111 1111 1111 1111", 1, "EUR"),
            vec!["order.payment.token"],
        ),
        (
            "a huge token",
            paid(&"x".repeat(1_000_000), 1, "EUR"),
            vec!["order.payment.token"],
        ),
        (
            "a control character",
            paid("a\u{0}", 1, "EUR"),
            vec!["order.payment.token"],
        ),
        (
            "nothing to pay",
            paid("tok", 0, "EUR"),
            vec!["order.payment.amount_minor"],
        ),
        (
            "less than nothing",
            paid("tok", i64::MIN, "EUR"),
            vec!["order.payment.amount_minor"],
        ),
        (
            "more than there is",
            paid("tok", i64::MAX, "EUR"),
            vec!["order.payment.amount_minor"],
        ),
        ("small letters", paid("tok", 1, "eur"), vec!["order.payment.currency"]),
        (
            "no currency",
            paid("tok", 1, "\u{20ac}"),
            vec!["order.payment.currency"],
        ),
        ("no items", of_items(Vec::new()), vec!["order.items"]),
        ("too many items", of_items(vec![item("a", 1); 101]), vec!["order.items"]),
        (
            "an item without a name, and too many of it",
            of_items(vec![item("a", 1), item(" ", 1_000_001)]),
            vec!["order.items[1].quantity", "order.items[1].sku"],
        ),
        (
            "a huge address",
            Some(OrderSpec {
                address: "x".repeat(1_001),
                ..good()
            }),
            vec!["order.address"],
        ),
        (
            "a timeout that leaves no time to undo",
            Some(OrderSpec {
                timeout: millis(6_000_001),
                ..good()
            }),
            vec!["order.timeout"],
        ),
    ];
    for (what, timeout) in bad_durations() {
        let spec = OrderSpec {
            timeout: Some(timeout),
            ..good()
        };
        orders.push((what, Some(spec), vec!["order.timeout"]));
    }
    orders
}

pub(super) fn orders(table: &mut Table, mark: &str) {
    let mut place = |what: &str, fields: &[&str], request: PlaceOrderRequest| {
        table.line("quell.work.v1.OrderService/PlaceOrder", what, fields, |to| async {
            OrderServiceClient::new(to.work).place_order(request).await.map(drop)
        });
    };
    let with = |order| PlaceOrderRequest {
        order,
        order_id: mark.to_owned(),
        ..Default::default()
    };
    for (what, order, fields) in bad_orders() {
        place(what, &fields, with(order));
    }
    for (what, start_delay) in bad_durations() {
        let request = PlaceOrderRequest {
            start_delay: Some(start_delay),
            ..with(Some(good()))
        };
        place(what, &["start_delay"], request);
    }
    let fault = |action, kind, attempts, after_effect| OrderFault {
        action,
        kind,
        attempts,
        after_effect,
    };
    let request = PlaceOrderRequest {
        order_id: "not an id".to_owned(),
        faults: vec![fault(0, 0, 101, false), fault(99, 99, 0, false), fault(6, 1, 0, true)],
        validate_only: true,
        ..with(Some(good()))
    };
    let fields = [
        "faults[0].action",
        "faults[0].attempts",
        "faults[0].kind",
        "faults[1].action",
        "faults[1].kind",
        "faults[2].after_effect",
        "faults[2].kind",
        "order_id",
    ];
    place("faults that are none", &fields, request);

    schedules(table, mark);
    for (what, order_id) in bad_ids() {
        let request = GetOrderRequest {
            order_id: order_id.clone(),
            include_ledger: true,
        };
        table.line("quell.work.v1.OrderService/GetOrder", what, &["order_id"], |to| async {
            OrderServiceClient::new(to.work).get_order(request).await.map(drop)
        });
        let request = CancelOrderRequest {
            order_id,
            reason: "x".repeat(501),
        };
        let fields = ["order_id", "reason"];
        table.line("quell.work.v1.OrderService/CancelOrder", what, &fields, |to| async {
            OrderServiceClient::new(to.work).cancel_order(request).await.map(drop)
        });
    }
    let mut list = |what: &str, field: &str, request: ListOrdersRequest| {
        table.line("quell.work.v1.OrderService/ListOrders", what, &[field], |to| async {
            OrderServiceClient::new(to.work).list_orders(request).await.map(drop)
        });
    };
    for (what, page_size, page_token, field) in bad_pages() {
        let request = ListOrdersRequest {
            page_size,
            page_token,
            order_id_prefix: String::new(),
        };
        list(what, field, request);
    }
    for order_id_prefix in [
        "a\" OR WorkflowId != \"".to_owned(),
        "a'b".to_owned(),
        "x".repeat(100_000),
    ] {
        let request = ListOrdersRequest {
            order_id_prefix,
            ..Default::default()
        };
        list("a prefix that is none", "order_id_prefix", request);
    }
}

fn schedules(table: &mut Table, mark: &str) {
    let mut schedule = |what: &str, fields: &[&str], request: ScheduleOrderRequest| {
        table.line("quell.work.v1.OrderService/ScheduleOrder", what, fields, |to| async {
            OrderServiceClient::new(to.work).schedule_order(request).await.map(drop)
        });
    };
    let with = |order, every| ScheduleOrderRequest {
        order,
        schedule_id: mark.to_owned(),
        every,
        ..Default::default()
    };
    for (what, order, fields) in bad_orders() {
        schedule(what, &fields, with(order, millis(3_600_000)));
    }
    schedule("no interval", &["every"], with(Some(good()), None));
    schedule("all the time", &["every"], with(Some(good()), millis(999)));
    for (what, every) in bad_durations() {
        schedule(what, &["every"], with(Some(good()), Some(every)));
    }
    let too_many = ScheduleOrderRequest {
        limit: 1_000_001,
        schedule_id: String::new(),
        ..with(Some(good()), millis(1_000))
    };
    schedule("too many for nobody", &["limit", "schedule_id"], too_many);
    for schedule_id in [String::new(), "a b".to_owned(), "x".repeat(101)] {
        let request = UnscheduleOrderRequest { schedule_id };
        let rpc = "quell.work.v1.OrderService/UnscheduleOrder";
        table.line(rpc, "no id", &["schedule_id"], |to| async {
            OrderServiceClient::new(to.work)
                .unschedule_order(request)
                .await
                .map(drop)
        });
    }
}
