use super::*;
use proptest::prelude::*;

fn order(width: u32, depth: u32, traced: u32) -> Order {
    Order {
        count: width,
        width,
        depth,
        concurrency: 50,
        interval_us: 100,
        traced,
        brood: None,
        most: MAX_CHILDREN,
        relay: None,
    }
}

fn root() -> Node {
    Node {
        workload_id: "w".into(),
        lifetime_ms: 0,
        order: None,
        nature: None,
        turn: 0,
        client: None,
    }
}

/// Walks the whole tree: workflows below, most children of a node, traced workflows.
fn walk(order: &Order) -> (u64, u32, u32) {
    let (mut total, mut widest, mut traced) = (0, 0, 0);
    // One link after the other, since a relay may have ten thousand.
    let mut link = Some(order.clone());
    while let Some(order) = link.take() {
        widest = widest.max(order.children());
        traced += order.traced_children();
        for index in 0..order.children() {
            total += 1;
            if order.successor() == Some(index) {
                link = Some(order.passed_on(None));
            } else if let Some(order) = order.child(index, &root()).order {
                let (more, children, sampled) = walk(&order);
                total += more;
                widest = widest.max(children);
                traced += sampled;
            }
        }
    }
    (total, widest, traced)
}

/// Width and depth of trees that can be walked in a moment: up to some 100,000 workflows.
fn small_trees() -> impl Strategy<Value = (u32, u32)> {
    let widest = [100_000_u32, 330, 50, 18, 10, 7, 5, 4, 3, 3];
    (1_u32..=10).prop_flat_map(move |depth| (1..=widest[depth as usize - 1], Just(depth)))
}

proptest! {
    #[test]
    fn no_node_is_too_wide_and_the_total_is_right(
        (width, depth) in small_trees(), traced in 0_u32..=50, relay in any::<bool>(), most in 10_u32..=MAX_CHILDREN,
    ) {
        let relay = relay.then_some(Relay { endless: false, tide: None });
        let order = Order { most, relay, ..order(width, depth, traced) };
        let (total, widest, sampled) = walk(&order);
        prop_assert_eq!(Some(total), order.workflows());
        prop_assert!(widest <= most);
        prop_assert!(sampled <= traced, "{} of {}", sampled, traced);
    }

    #[test]
    fn shares_add_up(count in 1_u32..=5_000_000, depth in 1_u32..=3) {
        let order = order(count, depth, 0);
        if helpers(count, MAX_CHILDREN).is_some() {
            let shares: u64 =
                (0..order.children()).filter_map(|i| order.child(i, &root()).order).map(|o| u64::from(o.count)).sum();
            prop_assert_eq!(shares, u64::from(count));
        }
    }
}

#[test]
fn a_small_tree_is_what_the_contract_says() {
    assert_eq!(order(10, 2, 50).workflows(), Some(110));
    assert_eq!(order(1_000, 2, 50).workflows(), Some(1_001_000));
    assert_eq!(order(1_001, 1, 50).workflows(), Some(1_003));
    assert_eq!(order(100_000, 1, 50).workflows(), Some(100_100));
    assert_eq!(order(u32::MAX, 10, 50).workflows(), Some(u64::MAX));
}

#[test]
fn a_helper_has_a_share_of_the_rate() {
    let order = order(4_000, 1, 50);
    assert_eq!(order.children(), 4);
    let helper = order.child(0, &root()).order.unwrap();
    assert_eq!((helper.count, helper.depth, helper.interval_us), (1_000, 1, 400));
    assert_eq!(helper.child(0, &root()).order, None);
}

#[test]
fn an_endless_relay_has_no_total_and_always_a_next_link() {
    let relay = Some(Relay {
        endless: true,
        tide: None,
    });
    let mut link = Order {
        relay,
        ..order(3, 2, 50)
    };
    for _ in 0..5 {
        assert_eq!(
            (link.workflows(), link.children(), link.successor()),
            (None, 1_000, Some(999))
        );
        // Below the relay trees grow as ever.
        let child = link.child(0, &root()).order.unwrap();
        assert_eq!((child.relay.clone(), child.workflows()), (None, Some(3)));
        link = link.passed_on(None);
    }
}

/// What runs since before there were relays is read as it was meant.
#[test]
fn an_old_order_is_read() {
    let old = r#"{"workload_id":"w","lifetime_ms":5,"order":{"count":3,"width":3,"depth":1,"concurrency":50,
        "interval_us":0,"traced":50}}"#;
    let node: Node = serde_json::from_str(old).unwrap();
    let expected = Order {
        interval_us: 0,
        ..order(3, 1, 50)
    };
    assert_eq!(node.order, Some(expected));
    assert_eq!((node.nature.clone(), node.turn, node.client), (None, 0, None));
    // And what is new is not written where it is not used: an older worker can read it.
    let again = serde_json::to_value(&node).unwrap();
    assert_eq!(again, serde_json::from_str::<serde_json::Value>(old).unwrap());
}

/// The worst history stays far from the limit.
const _: () = assert!(MAX_CHILDREN * EVENTS_PER_CHILD < 51_200 / 2);
