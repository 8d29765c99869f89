//! Orders whose worker is killed (SIGKILL: no drain, no word), at every step and at random: each ends complete or fully undone, by
//! the ledger.

use crate::{
    harness::{mesh, unique},
    poll::{LONG, VERY_LONG, eventually},
    shop::{Orders, Shop, ended, fault, get, has_ended, held, place, placing, settled},
};
use quell_api::work::v1::{CancelOrderRequest, OrderAction, OrderFault, OrderFaultKind, OrderStatus};
use std::time::Duration;
use tokio::time::Instant;

use OrderAction::{CancelShipment, ChargePayment, RefundPayment, ReleaseInventory, ReserveInventory, ScheduleShipment};

/// Longer than it takes the server to notice a dead worker (10 s) and the next one to go on.
const ROUND: Duration = Duration::from_secs(25);

/// Each of the six activities, before its effect and after it, is caught and its worker killed; the next one ends the order.
#[tokio::test]
async fn an_order_killed_at_every_step_ends_complete_or_fully_undone() {
    let mesh = mesh().await;
    let shop = Shop::open(&mesh, "killed-shop", &[]).await;
    let mut client = shop.client();
    let mut orders = Vec::new();
    for after_effect in [false, true] {
        for action in [ChargePayment, ReserveInventory, ScheduleShipment] {
            let id = unique("killed-forward");
            let hold = vec![fault(action, OrderFaultKind::Hold, 1, after_effect)];
            orders.push((id, action, hold, OrderStatus::Completed));
        }
        for action in [CancelShipment, ReleaseInventory, RefundPayment] {
            let id = unique("killed-backward");
            let hold = fault(action, OrderFaultKind::Hold, 1, after_effect);
            // Done, but never acknowledged: there is something to undo at each step.
            let fails = fault(ScheduleShipment, OrderFaultKind::Error, 100, true);
            orders.push((id, action, vec![hold, fails], OrderStatus::Failed));
        }
    }
    for (id, _, faults, _) in &orders {
        place(&mut client, placing(id, faults.clone())).await;
    }
    for (id, action, _, _) in &orders {
        held(&mesh, &shop.namespace, id, *action).await;
    }
    shop.own.process.kill().await.expect("it can be killed");
    shop.own.process.start().expect("it can be started again");
    shop.own.ready().await;

    for (id, action, _, status) in &orders {
        let order = ended(&mut client, id).await;
        assert_eq!(order.status(), *status, "{action:?}: {order:?}");
        let journal = shop.done(id).await;
        assert_eq!(settled(&journal), Ok(()), "{action:?}: {order:?}");
        let expected = if *status == OrderStatus::Completed { 3 } else { 6 };
        assert_eq!(journal.len(), expected, "{action:?}: {journal:?}");
    }
}

/// A small generator of our own: what a seed does must not change with a library.
struct Seed(u64);

impl Seed {
    /// Below `end`.
    fn next(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Up to three faults of different activities. What is held is held for one attempt or two: only a kill ends it, or a cancel.
    fn faults(&mut self) -> Vec<OrderFault> {
        let actions = [
            ChargePayment,
            ReserveInventory,
            ScheduleShipment,
            CancelShipment,
            ReleaseInventory,
            RefundPayment,
        ];
        let first = usize::try_from(self.next(6)).expect("a small number");
        let count = usize::try_from(self.next(4)).expect("a small number");
        (0..count)
            .map(|n| {
                let index = (first + n) % actions.len();
                let after_effect = self.next(2) == 0;
                let attempts = u32::try_from(1 + self.next(3)).expect("a small number");
                match self.next(4) {
                    0 if index < 3 => fault(actions[index], OrderFaultKind::Refused, 1, false),
                    1 => fault(actions[index], OrderFaultKind::Hold, 1, after_effect),
                    // More than the attempts that a step has.
                    2 if index < 3 => fault(actions[index], OrderFaultKind::Error, 100, after_effect),
                    _ => fault(actions[index], OrderFaultKind::Error, attempts, after_effect),
                }
            })
            .collect()
    }
}

/// A few seeds in the suite.
const SEEDS: u64 = 24;

/// The number of seeds: `QUELL_ORDER_SEEDS`, for a long run, or [`SEEDS`].
fn seeds() -> u64 {
    match std::env::var("QUELL_ORDER_SEEDS") {
        Ok(seeds) => seeds.parse().expect("QUELL_ORDER_SEEDS is a number"),
        Err(_) => SEEDS,
    }
}

/// Orders, each with the failures, and perhaps the cancel, of its seed, while their worker is killed again and again. At the end each
/// ledger is one of an order that came through or was undone, and agrees with what the order says of itself. With
/// `QUELL_ORDER_SEEDS=100` a hundred of them: some minutes.
#[tokio::test]
async fn orders_of_a_worker_that_keeps_dying_are_all_settled() {
    let seeds = seeds();
    let mesh = mesh().await;
    let shop = Shop::open(&mesh, "dying-shop", &[]).await;
    let mut client = shop.client();
    let mut orders = Vec::new();
    for seed in 0..seeds {
        let mut chance = Seed(seed);
        let id = unique(&format!("seed-{seed}"));
        place(&mut client, placing(&id, chance.faults())).await;
        orders.push((id, chance));
        // A kill after every twelfth order, wherever the others are.
        if seed % 12 == 11 {
            killed_and_back(&shop).await;
        }
    }
    for (id, chance) in &mut orders {
        if chance.next(4) == 0 {
            cancel_if_open(&mut client, id).await;
        }
    }
    let mut open: Vec<_> = orders.iter().map(|(id, _)| id.clone()).collect();
    // What is held only a kill ends, and an order may be held at three activities, one after the other.
    let deadline = Instant::now() + VERY_LONG;
    while still_open(&mut client, &mut open, ROUND).await > 0 {
        assert!(Instant::now() < deadline, "{} are open: {:?}", open.len(), open.first());
        killed_and_back(&shop).await;
    }
    let journal = shop.journal().await;
    let mut wrong = Vec::new();
    let mut statuses = std::collections::BTreeMap::<&str, u32>::new();
    for (id, _) in &orders {
        let order = get(&mut client, id).await;
        *statuses.entry(order.status().as_str_name()).or_default() += 1;
        let actions = journal.get(&format!("order-{id}")).cloned().unwrap_or_default();
        let through = actions.len() == 3 && settled(&actions).is_ok() && !actions.contains(&RefundPayment);
        if let Err(reason) = settled(&actions) {
            wrong.push(format!("{id}: {reason}: {order:?}"));
        } else if through != (order.status() == OrderStatus::Completed) {
            wrong.push(format!("{id}: {actions:?} but {order:?}"));
        } else if order.status() == OrderStatus::Unsettled {
            wrong.push(format!("{id}: unsettled: {order:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {seeds}:\n{}", wrong.len(), wrong.join("\n"));
    // Or the seeds would show nothing.
    for status in ["ORDER_STATUS_COMPLETED", "ORDER_STATUS_FAILED"] {
        let count = statuses.get(status).copied().unwrap_or_default();
        assert!(u64::from(count) >= seeds / 10, "{statuses:?}");
    }
    eprintln!("{seeds} orders: {statuses:?}");
}

async fn killed_and_back(shop: &Shop) {
    shop.own.process.kill().await.expect("it can be killed");
    shop.own.process.start().expect("it can be started again");
    shop.own.ready().await;
}

/// How many have not ended, by the time that all have or that `patience` is over. Those that have are forgotten.
async fn still_open(client: &mut Orders, open: &mut Vec<String>, patience: Duration) -> usize {
    let end = Instant::now() + patience;
    while let Some(id) = open.last().cloned() {
        if has_ended(&get(client, &id).await) {
            open.pop();
        } else if Instant::now() > end {
            break;
        } else {
            // The next one meanwhile; between two rounds of looks, a pause.
            open.rotate_right(1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    open.len()
}

async fn cancel_if_open(client: &mut Orders, order_id: &str) {
    let request = CancelOrderRequest {
        order_id: order_id.to_owned(),
        reason: "of its seed".to_owned(),
    };
    // It may have ended, and the service may just have come back: a call that is not answered is another seed's luck.
    eventually(LONG, "the cancel is answered", async || {
        match client.cancel_order(request.clone()).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == tonic::Code::FailedPrecondition => Ok(()),
            Err(status) => Err(status.to_string()),
        }
    })
    .await;
}
