//! Watchers: however many watch one restoration, this process reads it once per 500 ms.

use std::time::Duration;

use futures::{Stream, stream::unfold};
use quell_api::canceler::v1 as pb;
use quell_mesh::{Error, NamespaceClient, Reason, Shutdown};
use tokio::time::Instant;
use tonic::Status;

use super::store::View;
use crate::cancellation::hub::{Hub, Read, Reader};

const PERIOD: Duration = Duration::from_millis(500);
/// How long Temporal may be away before watchers are told.
const PATIENCE: Duration = Duration::from_secs(30);

type Seen = Result<pb::Restoration, Status>;

/// Reads restorations and tells watchers.
#[derive(Clone)]
pub(crate) struct Watchers {
    canceler: NamespaceClient,
    shutdown: Shutdown,
    hub: Hub<Seen>,
}

impl Watchers {
    pub(crate) fn new(canceler: NamespaceClient, shutdown: Shutdown) -> Self {
        Self {
            canceler,
            shutdown,
            hub: Hub::new(PERIOD),
        }
    }

    /// Looks until the restoration has ended; the last look has its report.
    pub(crate) fn watch(&self, id: &str) -> impl Stream<Item = Result<pb::WatchRestorationResponse, Status>> + use<> {
        let mut seen = self.hub.follow(id, || WatchReader {
            canceler: self.canceler.clone(),
            id: id.to_owned(),
            last: None,
            good_at: Instant::now(),
        });
        seen.mark_changed();
        let told = self.shutdown.token();
        unfold(Some((seen, told)), |state| async move {
            let (mut seen, told) = state?;
            loop {
                tokio::select! {
                    changed = seen.changed() => {
                        if changed.is_err() {
                            return None;
                        }
                    }
                    () = told.cancelled() => {
                        let status = Error::unavailable(Reason::ShuttingDown, "this replica shuts down; watch again").into();
                        return Some((Err(status), None));
                    }
                }
                let looked = seen.borrow_and_update().clone();
                return match looked {
                    None => continue,
                    Some(Err(status)) => Some((Err(status), None)),
                    Some(Ok(restoration)) => {
                        let ended = restoration.verdict() != pb::RestorationVerdict::Unspecified;
                        let message = pb::WatchRestorationResponse {
                            restoration: Some(restoration),
                        };
                        Some((Ok(message), (!ended).then_some((seen, told))))
                    }
                };
            }
        })
    }
}

/// Looks at one restoration, for all who watch it.
struct WatchReader {
    canceler: NamespaceClient,
    id: String,
    last: Option<View>,
    good_at: Instant,
}

impl Reader for WatchReader {
    type Item = Seen;

    async fn read(&mut self) -> Read<Seen> {
        let mut view = match View::read(&self.canceler, &self.id).await {
            Ok(view) => view,
            Err(error) if error.is_retryable() && self.good_at.elapsed() < PATIENCE => return Read::Nothing,
            Err(error) => return Read::Last(Err(Status::from(error))),
        };
        self.good_at = Instant::now();
        if let Some(last) = &self.last {
            view.not_before(last);
        }
        let (ended, told) = (view.ended, view.to_proto());
        self.last = Some(view);
        if ended {
            Read::Last(Ok(told))
        } else {
            Read::Now(Ok(told))
        }
    }
}
