//! Watchers: however many watch one restoration, this process reads it once per 500 ms.

use futures::Stream;
use quell_api::canceler::v1 as pb;
use quell_mesh::{NamespaceClient, Shutdown};
use tonic::Status;

use super::store::View;
use crate::cancellation::hub::{Hub, PERIOD, Patience, Read, Reader, Seen, looks};

/// Reads restorations and tells watchers.
#[derive(Clone)]
pub(crate) struct Watchers {
    canceler: NamespaceClient,
    shutdown: Shutdown,
    hub: Hub<Seen<pb::Restoration>>,
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
        let seen = self.hub.follow(id, || WatchReader {
            canceler: self.canceler.clone(),
            id: id.to_owned(),
            last: None,
            patience: Patience::new(),
        });
        looks(seen, &self.shutdown, |restoration: pb::Restoration| {
            let ended = restoration.verdict() != pb::RestorationVerdict::Unspecified;
            let message = pb::WatchRestorationResponse {
                restoration: Some(restoration),
            };
            (message, ended)
        })
    }
}

/// Looks at one restoration, for all who watch it.
struct WatchReader {
    canceler: NamespaceClient,
    id: String,
    last: Option<View>,
    patience: Patience,
}

impl Reader for WatchReader {
    type Item = Seen<pb::Restoration>;

    async fn read(&mut self) -> Read<Self::Item> {
        let look = View::read(&self.canceler, &self.id).await;
        let mut view = match self.patience.with(look) {
            Ok(view) => view,
            Err(read) => return read,
        };
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
