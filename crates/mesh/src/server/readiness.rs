//! Whether the service can do its work, and if not, why.
//!
//! SERVING means: every namespace that the service needs answers, and a worker polls each of its queues. Anything else is
//! NOT_SERVING with a reason. `grpc.health.v1` has no field for a reason, so it is told in two other places: in the log
//! when it changes, and to every caller, whose rpc fails with UNAVAILABLE and that reason (see [`super::call`]).

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::error::Reason;
use crate::metrics::READY;
use crate::shutdown::Shutdown;
use crate::temporal::{ConnectionState, NamespaceClient};
use crate::worker::manager::QueueState;

/// Ready, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The service can do its work.
    Ready,
    /// It cannot, for this reason.
    NotReady {
        /// The stable reason.
        reason: Reason,
        /// In a few words.
        message: String,
    },
}

impl Readiness {
    fn not_ready(reason: Reason, message: impl Into<String>) -> Self {
        Self::NotReady {
            reason,
            message: message.into(),
        }
    }
}

/// What readiness follows from.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) namespaces: Vec<NamespaceClient>,
    pub(crate) queues: watch::Receiver<BTreeMap<String, QueueState>>,
    pub(crate) shutdown: Shutdown,
    pub(crate) services: Vec<&'static str>,
    pub(crate) health: HealthReporter,
    pub(crate) readiness: watch::Sender<Readiness>,
}

impl Supervisor {
    /// Publishes readiness to health and to the rpcs, until a shutdown was requested and published.
    pub(crate) async fn run(self) {
        let states: Vec<_> = self.namespaces.iter().map(NamespaceClient::health).collect();
        let mut changes: Vec<BoxStream<'static, ()>> = states
            .iter()
            .map(|state| WatchStream::new(state.clone()).map(|_| ()).boxed())
            .collect();
        changes.push(WatchStream::new(self.queues.clone()).map(|_| ()).boxed());
        let mut changes = stream::select_all(changes);
        loop {
            if self.shutdown.is_requested() {
                self.publish(Readiness::not_ready(
                    Reason::ShuttingDown,
                    "the service is shutting down",
                ))
                .await;
                return;
            }
            let named: Vec<_> = states.iter().map(|state| state.borrow().clone()).collect();
            let queues = self.queues.borrow().clone();
            self.publish(judge(&named, &queues)).await;
            tokio::select! {
                () = self.shutdown.requested() => {}
                Some(()) = changes.next() => {}
            }
        }
    }

    async fn publish(&self, new: Readiness) {
        let changed = self.readiness.send_if_modified(|old| {
            let changed = *old != new;
            if changed {
                *old = new.clone();
            }
            changed
        });
        if !changed {
            return;
        }
        READY.with([]).set(i64::from(new == Readiness::Ready));
        let status = match &new {
            Readiness::Ready => {
                tracing::info!("serving");
                ServingStatus::Serving
            }
            Readiness::NotReady { reason, message } => {
                tracing::warn!(reason = reason.as_str(), detail = message, "not serving");
                ServingStatus::NotServing
            }
        };
        // The empty name stands for the whole process.
        for service in self.services.iter().copied().chain([""]) {
            self.health.set_service_status(service, status).await;
        }
    }
}

fn judge(namespaces: &[ConnectionState], queues: &BTreeMap<String, QueueState>) -> Readiness {
    for state in namespaces {
        match state {
            ConnectionState::Connected => {}
            ConnectionState::Idle => {
                return Readiness::not_ready(Reason::TemporalUnreachable, "connecting to Temporal");
            }
            ConnectionState::Unavailable { reason, message } => return Readiness::not_ready(*reason, message.clone()),
        }
    }
    for (queue, state) in queues {
        match state {
            QueueState::Polling => {}
            QueueState::Starting => {
                return Readiness::not_ready(
                    Reason::WorkerNotReady,
                    format!("the worker of queue {queue:?} is starting"),
                );
            }
            QueueState::Failed(_) => {
                return Readiness::not_ready(
                    Reason::WorkerNotReady,
                    format!("the worker of queue {queue:?} failed and is restarted"),
                );
            }
            QueueState::Draining => {
                return Readiness::not_ready(
                    Reason::WorkerNotReady,
                    format!("the worker of queue {queue:?} is draining"),
                );
            }
            QueueState::Stopped => {
                return Readiness::not_ready(
                    Reason::WorkerNotReady,
                    format!("the worker of queue {queue:?} has stopped"),
                );
            }
        }
    }
    Readiness::Ready
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(state: QueueState) -> BTreeMap<String, QueueState> {
        BTreeMap::from([("q".to_owned(), state)])
    }

    fn reason(readiness: &Readiness) -> Option<Reason> {
        match readiness {
            Readiness::Ready => None,
            Readiness::NotReady { reason, .. } => Some(*reason),
        }
    }

    #[test]
    fn ready_needs_every_namespace_and_every_worker() {
        let lost = ConnectionState::Unavailable {
            reason: Reason::NamespaceNotFound,
            message: "gone".into(),
        };
        let connected = ConnectionState::Connected;
        assert_eq!(
            judge(std::slice::from_ref(&connected), &queues(QueueState::Polling)),
            Readiness::Ready
        );
        assert_eq!(judge(&[], &BTreeMap::new()), Readiness::Ready);
        assert_eq!(
            reason(&judge(&[connected.clone(), lost], &queues(QueueState::Polling))),
            Some(Reason::NamespaceNotFound)
        );
        assert_eq!(
            reason(&judge(&[ConnectionState::Idle], &BTreeMap::new())),
            Some(Reason::TemporalUnreachable)
        );
        for state in [
            QueueState::Starting,
            QueueState::Failed("x".into()),
            QueueState::Draining,
            QueueState::Stopped,
        ] {
            assert_eq!(
                reason(&judge(std::slice::from_ref(&connected), &queues(state))),
                Some(Reason::WorkerNotReady)
            );
        }
    }
}
