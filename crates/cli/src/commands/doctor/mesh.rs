//! The three services and the payload store they share.

use super::Finding;
use crate::dev::{health_on, innermost};
use bytes::Bytes;
use quell_mesh::payload::OversizeCodec;
use quell_mesh::{Outgoing, PayloadStore, Settings, grpc};
use std::time::Duration;

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the object lies that is written and read back.
const CHECK_KEY: &str = "quell-doctor/check";

/// Whether each service answers and says SERVING, which includes its worker and its namespaces.
pub(super) async fn services(settings: &Settings) -> Vec<Finding> {
    let peers = &settings.peers;
    let services = [
        ("work", "QUELL_WORK_ADDRESS", &peers.work_address),
        ("canceler", "QUELL_CANCELER_ADDRESS", &peers.canceler_address),
        ("batch", "QUELL_BATCH_ADDRESS", &peers.batch_address),
    ];
    let shown = match Outgoing::open(&peers.credentials) {
        Ok(shown) => shown,
        Err(reason) => {
            return vec![Finding::bad(
                "credentials for the services",
                reason,
                "correct the file, or its variable",
            )];
        }
    };
    let shown = &shown;
    let checks = services.map(|(name, variable, address)| async move {
        let what = format!("{name} service");
        let asked = async {
            let dialling = shown
                .connect(address, grpc::configure)
                .map_err(|reason| format!("{address}: {reason}"))?;
            let channel = dialling
                .now()
                .await
                .map_err(|error| format!("{address}: {}", innermost(&error)))?;
            health_on(channel, address, "").await
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        match answer.unwrap_or_else(|_| Err(format!("{address}: no answer within {} s", PATIENCE.as_secs()))) {
            Ok(()) => Finding::ok(what, format!("{address} is SERVING")),
            Err(reason) if reason.contains("NOT_SERVING") => Finding::bad(
                what,
                reason,
                "its log says why: its namespace cannot be reached, or it drains",
            ),
            Err(reason) => Finding::bad(what, reason, format!("start quell-{name}, or set {variable}")),
        }
    });
    futures::future::join_all(checks).await
}

/// Whether the payload store of our own configuration takes and gives. Whether the services use the same one cannot be
/// seen from outside, and the finding says so.
pub(super) async fn payload_store(settings: &Settings) -> (Vec<Finding>, Option<OversizeCodec>) {
    let what = "payload store";
    let url = &settings.payload.url;
    let todo = "set QUELL_PAYLOAD_URL to a folder that can be written to, or to an object store";
    let store = match PayloadStore::open(&settings.payload) {
        Ok(store) => store,
        Err(error) => return (vec![Finding::bad(what, format!("{url}: {error}"), todo)], None),
    };
    let written = Bytes::from(uuid::Uuid::new_v4().to_string());
    let read_back = match store.put(CHECK_KEY, written.clone()).await {
        Ok(()) => store.get(CHECK_KEY).await,
        Err(error) => Err(error),
    };
    let finding = match read_back {
        Ok(read) if read == written => Finding::ok(what, format!("{url}: written and read back")),
        Ok(_) => Finding::bad(what, format!("{url}: what was read is not what was written"), todo),
        Err(error) => Finding::bad(what, format!("{url}: {error}"), todo),
    };
    let sharing = if is_local(url) {
        "a local folder: every replica must run on this machine, or mount it at the same place; no rpc shows \
         which store a service uses, so compare their --print-config"
    } else {
        "no rpc shows which store a service uses: compare payload.url in their --print-config"
    };
    (
        vec![finding, Finding::note("payload store shared", sharing)],
        Some(store.codec()),
    )
}

fn is_local(url: &str) -> bool {
    url.starts_with('/') || url.starts_with("file:")
}
