//! A source that takes its time: in front of the real work service, it passes a Quiesce on when it is let, not before. The contract is
//! public, so a source that answers slowly is what a canceler has to expect; and its phase FENCING lasts as long as a test
//! needs (though never longer than a canceler waits for a source).

use crate::{harness::channel, poll::SOON};
use quell_api::work::v1::{
    QuiesceRequest, QuiesceResponse, ResumeRequest, ResumeResponse,
    source_service_client::SourceServiceClient,
    source_service_server::{SourceService, SourceServiceServer},
};
use std::collections::BTreeSet;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server},
};

/// The slow source. It ends when it is dropped.
pub(crate) struct SlowSource {
    /// Address, with scheme.
    pub address: String,
    held: watch::Sender<BTreeSet<String>>,
    asked: watch::Sender<BTreeSet<String>>,
    _end: DropGuard,
}

impl SlowSource {
    /// Starts one in front of the work service at that address.
    pub(crate) async fn in_front_of(work: &str) -> Self {
        let end = CancellationToken::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (held, asked) = (watch::Sender::default(), watch::Sender::default());
        let face = Face {
            held: held.clone(),
            asked: asked.clone(),
            work: SourceServiceClient::new(channel(work)),
        };
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let ended = end.clone().cancelled_owned();
        tokio::spawn(
            Server::builder()
                .add_service(SourceServiceServer::new(face))
                .serve_with_incoming_shutdown(incoming, ended),
        );
        Self {
            address: format!("http://127.0.0.1:{port}"),
            held,
            asked,
            _end: end.drop_guard(),
        }
    }

    /// Whoever wants that workload quiesced will wait.
    pub(crate) fn hold(&self, workload_id: &str) {
        self.held.send_if_modified(|held| held.insert(workload_id.to_owned()));
    }

    /// Waits until somebody wants that workload quiesced.
    pub(crate) async fn asked(&self, workload_id: &str) {
        let mut asked = self.asked.subscribe();
        let heard = timeout(SOON, asked.wait_for(|asked| asked.contains(workload_id))).await;
        assert!(
            heard.is_ok_and(|heard| heard.is_ok()),
            "nobody wants {workload_id} quiesced"
        );
    }

    /// Waits no longer.
    pub(crate) fn release(&self, workload_id: &str) {
        self.held.send_if_modified(|held| held.remove(workload_id));
    }
}

struct Face {
    held: watch::Sender<BTreeSet<String>>,
    asked: watch::Sender<BTreeSet<String>>,
    work: SourceServiceClient<Channel>,
}

#[tonic::async_trait]
impl SourceService for Face {
    async fn quiesce(&self, request: Request<QuiesceRequest>) -> Result<Response<QuiesceResponse>, Status> {
        let id = request.get_ref().workload_id.clone();
        self.asked.send_if_modified(|asked| asked.insert(id.clone()));
        let mut held = self.held.subscribe();
        let let_go = held.wait_for(|held| !held.contains(&id)).await;
        let_go.map_err(|_| Status::unavailable("this test is over"))?;
        self.work.clone().quiesce(request.into_inner()).await
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<ResumeResponse>, Status> {
        self.work.clone().resume(request.into_inner()).await
    }
}
