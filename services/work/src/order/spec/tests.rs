use super::*;
use quell_api::work::v1::OrderAction;
use quell_mesh::config::{Sources, load};

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let set = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let sources = Sources {
        flags: set.collect(),
        ..Sources::default()
    };
    load(&sources, 1).unwrap().settings
}

fn good() -> PlaceOrderRequest {
    PlaceOrderRequest {
        order: Some(OrderSpec {
            payment: Some(Payment {
                token: "tok_visa".into(),
                amount_minor: 9_999,
                currency: "EUR".into(),
            }),
            items: vec![OrderItem {
                sku: "book".into(),
                quantity: 0,
            }],
            address: "1 Main Street".into(),
            timeout: None,
        }),
        order_id: "123".into(),
        ..Default::default()
    }
}

fn fields(request: PlaceOrderRequest) -> Vec<String> {
    match check(request, &settings(&[])) {
        Err(Error::InvalidArgument(violations)) => violations.into_iter().map(|v| v.field).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_left_out_has_defaults() {
    let checked = check(good(), &settings(&[])).unwrap();
    assert_eq!(checked.order_id, "123");
    let OrderInput { request, limits } = checked.input;
    assert_eq!(
        (request.items[0].quantity, request.timeout_ms, request.start_delay_ms),
        (1, 3_600_000, 0)
    );
    assert_eq!((limits.start_to_close_ms, limits.maximum_attempts), (1_200_000, 5));
}

#[test]
fn every_bad_field_is_told_at_once() {
    let expected = [
        "order_id",
        "order.payment.token",
        "order.payment.amount_minor",
        "order.payment.currency",
        "order.items",
        "order.address",
    ];
    let empty = PlaceOrderRequest {
        order_id: "a b".into(),
        ..Default::default()
    };
    assert_eq!(fields(empty), expected);
}

#[test]
fn a_card_number_is_refused_and_a_token_is_not() {
    for (token, card) in [
        ("4111111111111111", true),
        ("4111 1111 1111 1111", true),
        ("4111-1111-1111-1111", true),
        ("tok_4111111111111111", false),
        ("123456", false),
    ] {
        assert_eq!(looks_like_a_card(token), card, "{token}");
    }
}

#[test]
fn there_is_always_time_to_undo() {
    let mut request = good();
    let order = request.order.as_mut().unwrap();
    order.timeout = Some(prost_types::Duration {
        seconds: 6_001,
        nanos: 0,
    });
    assert_eq!(fields(request), ["order.timeout"]);
    let short = settings(&[("temporal.workflows.run_timeout_s", "60")]);
    assert_eq!(check(good(), &short).unwrap().input.request.timeout_ms, 50_000);
}

#[test]
fn faults_are_for_tests() {
    let fault = |action: OrderAction, kind: OrderFaultKind| OrderFault {
        action: action.into(),
        kind: kind.into(),
        ..Default::default()
    };
    let mut request = good();
    request.faults = vec![fault(OrderAction::ChargePayment, OrderFaultKind::Refused)];
    let refused = check(request.clone(), &settings(&[])).unwrap_err();
    assert!(matches!(refused, Error::FailedPrecondition { .. }), "{refused:?}");
    let allowed = check(request.clone(), &settings(&[("orders.faults", "true")])).unwrap();
    assert_eq!(allowed.input.request.faults.len(), 1);

    request.faults = vec![
        fault(OrderAction::RefundPayment, OrderFaultKind::Refused),
        fault(OrderAction::RefundPayment, OrderFaultKind::Hold),
        fault(OrderAction::Unspecified, OrderFaultKind::Unspecified),
        OrderFault {
            attempts: 101,
            after_effect: true,
            ..fault(OrderAction::ChargePayment, OrderFaultKind::Refused)
        },
    ];
    let expected = [
        "faults[0].kind",
        "faults[1].action",
        "faults[2].action",
        "faults[2].kind",
        "faults[3].after_effect",
        "faults[3].attempts",
    ];
    assert_eq!(fields(request), expected);
}
