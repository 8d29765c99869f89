//! Who goes when all places are taken.
//!
//! First those on which nobody was let in, whatever they ask of health; then those on which nothing is done; then viewers' ones. Among
//! equals it meets the account that has the most of them, an address's or a principal's, and of those the oldest. So whoever fills the
//! places pushes out himself, and an operator who is at work is never pushed out.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::connection::{State, Worth};
use crate::auth::Account;

/// Of all places, this part of them may go at once: to look for them costs about as much as there are connections.
const PART: usize = 64;

/// All connections, oldest first.
#[derive(Debug)]
pub(super) struct Crowd {
    there: Vec<Weak<State>>,
    places: usize,
}

impl Crowd {
    pub(super) const fn new(places: usize) -> Self {
        Self {
            there: Vec::new(),
            places,
        }
    }

    /// One more.
    pub(super) fn joined(&mut self, state: &Arc<State>) {
        // Those that have gone are swept out now and then.
        if self.there.len() == self.there.capacity() {
            self.there.retain(|state| state.strong_count() > 0);
        }
        self.there.push(Arc::downgrade(state));
    }

    /// Sends some away.
    pub(super) fn make_room(&mut self) {
        let mut by_account: HashMap<(Worth, Account), Vec<Arc<State>>> = HashMap::new();
        for state in self
            .there
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|state| !state.is_closed())
        {
            by_account.entry(state.worth()).or_default().push(state);
        }
        let least = by_account
            .into_iter()
            .filter(|((worth, _), _)| *worth < Worth::Operating)
            .min_by_key(|((worth, _), states)| (*worth, std::cmp::Reverse(states.len())));
        if let Some(((worth, _), states)) = least {
            // Of connections that are of use to somebody, one; of an address's crowd more, but never most of it.
            let many = match worth {
                Worth::Stranger => (self.places / PART).min(states.len() / 2).max(1),
                _ => 1,
            };
            for state in states.iter().take(many) {
                state.close("crowded_out");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::ConnectionInfo;
    use super::*;
    use crate::auth::{Principal, Proof, Role};
    use std::time::Duration;

    fn joined(crowd: &mut Crowd, address: &str) -> ConnectionInfo {
        let address = format!("{address}:1").parse().unwrap();
        let state = State::new(address, Duration::from_secs(20), Duration::from_secs(900));
        let info = ConnectionInfo {
            names: Arc::new([]),
            uncertified: false,
            state: Arc::new(state),
        };
        crowd.joined(&info.state);
        info
    }

    fn principal(name: &str, role: Role) -> Principal {
        Principal {
            name: name.into(),
            role,
            proof: Proof::Token,
        }
    }

    fn open(connections: &[ConnectionInfo]) -> usize {
        connections
            .iter()
            .filter(|connection| !connection.state.is_closed())
            .count()
    }

    #[test]
    fn whoever_fills_the_places_pushes_out_himself() {
        let mut crowd = Crowd::new(100);
        let lonely = joined(&mut crowd, "10.0.0.1");
        let many: Vec<_> = (0..50).map(|_| joined(&mut crowd, "10.0.0.2")).collect();
        // To ask for health is no reason to stay.
        many.iter().for_each(ConnectionInfo::asked);
        for left in (10..50).rev() {
            crowd.make_room();
            assert_eq!(open(&many), left);
        }
        assert!(
            many[0].state.is_closed() && !many[49].state.is_closed(),
            "the oldest first"
        );
        assert!(!lonely.state.is_closed());
    }

    #[test]
    fn strangers_go_before_idle_ones_and_viewers_before_operators() {
        let mut crowd = Crowd::new(100);
        let operator = principal("operator", Role::Operator);
        let viewer = principal("viewer", Role::Viewer);
        let at_work = joined(&mut crowd, "10.0.0.1");
        let _work = at_work.enter(&operator);
        let idle = joined(&mut crowd, "10.0.0.1");
        drop(idle.enter(&operator));
        let looking: Vec<_> = (0..3).map(|_| joined(&mut crowd, "10.0.0.2")).collect();
        let _looks: Vec<_> = looking.iter().map(|connection| connection.enter(&viewer)).collect();
        let stranger = joined(&mut crowd, "10.0.0.3");
        crowd.make_room();
        assert!(stranger.state.is_closed() && !idle.state.is_closed());
        crowd.make_room();
        assert!(idle.state.is_closed() && open(&looking) == 3);
        for left in [2, 1, 0, 0] {
            crowd.make_room();
            assert_eq!(open(&looking), left);
        }
        assert!(!at_work.state.is_closed(), "an operator at work stays");
    }
}
