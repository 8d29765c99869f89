//! The polls of one worker, and how they come to an end without losing a task.
//!
//! A poll is a promise: from the moment at which the server hands it a task, that task is this worker's, and nobody else will get it
//! before it times out. The SDK gives the promise up when it stops: it drops the polls that are open, and what the
//! server had just handed to them is lost (docs/drain.md has the lines). So before the SDK is told to stop,
//! - no poll goes out any more ([`Polls::close`]: those that the SDK makes meanwhile are parked here, and never reach the server),
//! - those that are out are answered, by a task or by "nothing", and
//! - every activity task that came has begun to run ([`Polls::quiet`]).
//!
//! Only then is there nothing that a stop could drop. The parked polls are let go afterwards ([`Polls::end`]).

use std::collections::BTreeSet;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use crate::metrics::{WORKER_POLLS, WORKER_POLLS_CUT, WORKER_TASKS};

/// The polls of one worker. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Polls(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    /// Polls that the server has not answered.
    out: u64,
    /// Tokens of activity tasks that came and have not begun to run.
    handed: BTreeSet<Vec<u8>>,
    /// What came and what became of it, over the worker's life.
    tally: PollTally,
    /// Queue on which the server offers this worker the workflows that it has in memory.
    sticky: Option<String>,
    meters: Option<Meters>,
}

/// What the polls of a queue are counted with.
#[derive(Debug)]
struct Meters {
    out: Gauge,
    tasks: Counter,
    cut: Counter,
}

/// The polls of a worker over its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PollTally {
    /// Activity tasks that came.
    pub tasks: u64,
    /// Those of them that began to run, or were refused.
    pub begun: u64,
    /// Polls that ended without the server's word: dropped, or broken off. Each may have cost a task.
    pub cut: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// Polls are parked.
    Closed,
    /// Parked polls are let go.
    Ended,
}

/// A poll that is out. Its end is counted however it comes: an answer, a failure, or a dropped future.
#[derive(Debug)]
pub(crate) struct Out {
    polls: Polls,
    answered: bool,
}

impl Out {
    /// The server has said what there is: a task, nothing, or why not.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.polls.0.send_modify(|state| {
            state.out = state.out.saturating_sub(1);
            state.tally.cut += u64::from(!self.answered);
            if let Some(meters) = &state.meters {
                meters.out.dec();
                meters.cut.inc_by(u64::from(!self.answered));
            }
        });
    }
}

impl Polls {
    /// The polls of a queue's worker, counted as `quell_worker_*`.
    pub(crate) fn of_queue(queue: &str) -> Self {
        let polls = Self::default();
        polls.0.send_modify(|state| {
            state.meters = Some(Meters {
                out: WORKER_POLLS.with([queue]),
                tasks: WORKER_TASKS.with([queue]),
                cut: WORKER_POLLS_CUT.with([queue]),
            });
        });
        polls
    }

    /// A place for a poll. Waits while polls are parked; none when they are over.
    pub(crate) async fn enter(&self) -> Option<Out> {
        let mut states = self.0.subscribe();
        loop {
            let mut stage = Stage::Open;
            self.0.send_if_modified(|state| {
                stage = state.stage;
                let enters = stage == Stage::Open;
                state.out += u64::from(enters);
                if let Some(meters) = state.meters.as_ref().filter(|_| enters) {
                    meters.out.inc();
                }
                enters
            });
            match stage {
                Stage::Open => {
                    return Some(Out {
                        polls: self.clone(),
                        answered: false,
                    });
                }
                Stage::Ended => return None,
                // The sender lives in `self`.
                Stage::Closed => drop(states.wait_for(|state| state.stage != Stage::Closed).await),
            }
        }
    }

    /// From now on no poll goes out.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.stage = Stage::Closed);
    }

    /// Lets the parked polls go, empty-handed. For after the SDK was told to stop.
    pub(crate) fn end(&self) {
        self.0.send_modify(|state| state.stage = Stage::Ended);
    }

    /// Notes that a poll brought an activity task. While its [`Out`] is held: between the two the worker must never look quiet.
    pub(crate) fn handed(&self, token: Vec<u8>) {
        self.0.send_modify(|state| {
            state.handed.insert(token);
            state.tally.tasks += 1;
            if let Some(meters) = &state.meters {
                meters.tasks.inc();
            }
        });
    }

    /// Notes that the task runs, or was refused.
    pub(crate) fn begun(&self, token: &[u8]) {
        self.0.send_if_modified(|state| {
            let came = state.handed.remove(token);
            state.tally.begun += u64::from(came);
            came
        });
    }

    /// Remembers the worker's own queue.
    pub(crate) fn note_sticky(&self, queue: String) {
        self.0.send_if_modified(|state| {
            let new = state.sticky.is_none();
            if new {
                state.sticky = Some(queue);
            }
            new
        });
    }

    /// The worker's own queue, when it has polled one.
    pub(crate) fn sticky(&self) -> Option<String> {
        self.0.borrow().sticky.clone()
    }

    /// Waits until no poll is out. After [`Polls::close`] it stays so.
    pub(crate) async fn answered(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(|state| state.out == 0).await;
    }

    /// Waits until no poll is out and every task that came has begun.
    pub(crate) async fn quiet(&self) {
        let quiet = |state: &State| state.out == 0 && state.handed.is_empty();
        let _ = self.0.subscribe().wait_for(quiet).await;
    }

    /// What came, and what became of it.
    pub(crate) fn tally(&self) -> PollTally {
        self.0.borrow().tally
    }

    /// Polls that are out, and tasks that came and have not begun.
    pub(crate) fn pending(&self) -> (u64, usize) {
        let state = self.0.borrow();
        (state.out, state.handed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn quiet_means_answered_and_begun() {
        let polls = Polls::default();
        let out = polls.enter().await.unwrap();
        polls.close();
        assert!(polls.answered().now_or_never().is_none());
        polls.handed(vec![1]);
        out.answered();
        assert!(polls.answered().now_or_never().is_some());
        assert!(
            polls.quiet().now_or_never().is_none(),
            "a task came and has not begun: {:?}",
            polls.pending()
        );
        polls.begun(&[2]);
        assert_eq!(polls.pending(), (0, 1));
        polls.begun(&[1]);
        assert!(polls.quiet().now_or_never().is_some());
        let tally = PollTally {
            tasks: 1,
            begun: 1,
            cut: 0,
        };
        assert_eq!(polls.tally(), tally);
    }

    #[tokio::test]
    async fn a_closed_gate_parks_and_lets_go_in_the_end() {
        let polls = Polls::default();
        polls.close();
        let mut parked = Box::pin(polls.enter());
        assert!(parked.as_mut().now_or_never().is_none());
        assert_eq!(polls.pending(), (0, 0), "a parked poll is not out");
        polls.end();
        assert!(parked.await.is_none());
        assert!(polls.enter().await.is_none());
    }

    #[tokio::test]
    async fn a_dropped_poll_is_over() {
        let polls = Polls::default();
        drop(polls.enter().await);
        assert_eq!(polls.pending(), (0, 0));
        assert_eq!(polls.tally().cut, 1, "nobody knows what it would have brought");
    }

    #[test]
    fn the_first_queue_of_its_own_is_kept() {
        let polls = Polls::default();
        polls.note_sticky("a".into());
        polls.note_sticky("b".into());
        assert_eq!(polls.sticky().as_deref(), Some("a"));
    }
}
