//! The ledger on a real SQLite file; with QUELL_TEST_LEDGER_URL the same tests use the database of that URL (PostgreSQL).

use super::*;

/// A ledger of the test's own, and the folder that keeps its file. With QUELL_TEST_LEDGER_URL the database of that URL, which
/// other tests may use as well: orders differ by their names.
fn ledger() -> (Ledger, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = std::env::var("QUELL_TEST_LEDGER_URL")
        .unwrap_or_else(|_| format!("sqlite://{}/ledger.db", folder.path().display()));
    (Ledger::new(Some(SecretString::from(url))), folder)
}

fn order(what: &str) -> String {
    format!("order-{what}-{}", uuid::Uuid::new_v4())
}

async fn actions(ledger: &Ledger, order: &str) -> Vec<Action> {
    let entries = ledger.entries(order).await.unwrap();
    entries
        .iter()
        .map(|entry| Action::of_wire(entry.action).unwrap())
        .collect()
}

#[tokio::test]
async fn a_step_is_done_once_and_undone_once() {
    let (ledger, _folder) = ledger();
    let id = order("once");
    let first = ledger
        .apply(&id, Action::ChargePayment, "p1".into(), "{}")
        .await
        .unwrap();
    let again = ledger
        .apply(&id, Action::ChargePayment, "p2".into(), "{}")
        .await
        .unwrap();
    assert_eq!((first, again), (Applied::Done("p1".into()), Applied::Done("p1".into())));
    for _ in 0..2 {
        assert_eq!(
            ledger.undo(&id, Action::ChargePayment).await.unwrap(),
            Some("p1".into())
        );
    }
    let late = ledger
        .apply(&id, Action::ChargePayment, "p3".into(), "{}")
        .await
        .unwrap();
    assert_eq!(late, Applied::TooLate);
    assert_eq!(
        actions(&ledger, &id).await,
        [Action::ChargePayment, Action::RefundPayment]
    );
}

#[tokio::test]
async fn what_was_never_done_is_void_and_cannot_come_late() {
    let (ledger, _folder) = ledger();
    let id = order("void");
    for _ in 0..2 {
        assert_eq!(ledger.undo(&id, Action::ReserveInventory).await.unwrap(), None);
    }
    let late = ledger
        .apply(&id, Action::ReserveInventory, "r1".into(), "[]")
        .await
        .unwrap();
    assert_eq!(late, Applied::TooLate);
    assert_eq!(actions(&ledger, &id).await, []);
}

#[tokio::test]
async fn orders_do_not_meet() {
    let (ledger, _folder) = ledger();
    let (one, other) = (order("one"), order("other"));
    ledger
        .apply(&one, Action::ChargePayment, "p1".into(), "{}")
        .await
        .unwrap();
    ledger.undo(&other, Action::ChargePayment).await.unwrap();
    assert_eq!(actions(&ledger, &one).await, [Action::ChargePayment]);
    assert_eq!(actions(&ledger, &other).await, []);
}

/// Replicas have a pool each; the database alone decides between them.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_takes_effect() {
    let (first, _folder) = ledger();
    let second = Ledger::new(Some(first.0.url.clone()));
    first.entries("nobody").await.unwrap();
    for round in 0..20 {
        let id = order(&format!("race-{round}"));
        let calls = (0..8).map(|n| {
            let (ledger, id) = (if n % 2 == 0 { first.clone() } else { second.clone() }, id.clone());
            tokio::spawn(async move {
                if n < 5 {
                    ledger
                        .apply(&id, Action::ScheduleShipment, format!("s{n}"), "{}")
                        .await
                        .map(drop)
                } else {
                    ledger.undo(&id, Action::ScheduleShipment).await.map(drop)
                }
            })
        });
        for call in futures::future::join_all(calls).await {
            call.unwrap().unwrap();
        }
        let actions = actions(&first, &id).await;
        let undone = [Action::ScheduleShipment, Action::CancelShipment];
        // Undone, or void: never left done, since an undo came.
        assert!(actions == undone || actions.is_empty(), "{actions:?}");
    }
}
