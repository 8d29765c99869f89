//! Orders that do not come through: whatever was begun is undone in reverse, and tried again where that is worth it.

use crate::{
    details,
    harness::{mesh, unique},
    shop::{Orders, STEPS, cancel, ended, fault, held, place, placing, settled, shop},
};
use quell_api::work::v1::{
    CancelOrderRequest,
    OrderAction::{CancelShipment, ChargePayment, RefundPayment, ReleaseInventory, ReserveInventory, ScheduleShipment},
    OrderFaultKind, OrderStatus, PlaceOrderRequest,
};
use tonic::Code;

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
