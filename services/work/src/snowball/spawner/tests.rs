use super::*;
use crate::snowball::plan::{EVENTS_PER_CHILD, MAX_CHILDREN};

/// A node that has all its children and then waits at a gate for 30 days stays below the server's limit.
#[test]
fn waiting_never_fills_a_history() {
    let mut events = MAX_CHILDREN * EVENTS_PER_CHILD;
    let mut waited = Duration::ZERO;
    while waited < Duration::from_secs(30 * 24 * 3_600) {
        waited += least_wait(events);
        events += 6;
    }
    assert!(events < 51_200 - 5_000, "{events}");
}
