//! The payload store lost in the middle of a cancellation: what hangs on it fails clearly, what does not goes on, and all of it is
//! well once the store is back. What the receipt says is true throughout.

use crate::{
    adjust::adjust,
    cancel::{self, Canceler, check_clean, check_clean_receipt, run_to_end, spec, workload},
    command::prepared,
    details,
    harness::{Mesh, Own, mesh, unique},
    outside::{self, Ran},
    poll::{LONG, SOON, eventually, when},
    slow_source::SlowSource,
};
use quell_api::canceler::v1::{
    CancellationSpec, GetCancellationRequest, GetReceiptRequest, Limits, ListCancellationsRequest, ListFailuresRequest,
    Receipt,
};
use quell_cli::dev::Part;
use std::path::{Path, PathBuf};
use tonic::{Code, Status};

/// A canceler with a store and a namespace of its own.
struct Scene {
    mesh: Mesh,
    source: SlowSource,
    own: Own,
    client: Canceler,
    namespace: String,
    store: PathBuf,
}

impl Scene {
    async fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        let mesh = mesh().await;
        let source = SlowSource::in_front_of(&mesh.address(Part::Work)).await;
        // A namespace, too, since nobody else can read what lies in this store.
        let (namespace, store) = (unique(name), mesh.folder(name).join("store"));
        mesh.create_namespace(&namespace).await;
        let url = store.display().to_string();
        let ours = [
            ("TEMPORAL_CANCELER_NAMESPACE", namespace.as_str()),
            ("QUELL_PAYLOAD_URL", url.as_str()),
            ("QUELL_WORK_ADDRESS", source.address.as_str()),
        ];
        let own = mesh.own(Part::Canceler, name, &[&ours, settings].concat()).await;
        Self {
            client: Canceler::new(own.channel()),
            mesh,
            source,
            own,
            namespace,
            store,
        }
    }

    /// Begins a cancellation of so many, at that rate, and waits until some are stopped.
    async fn stopping(&mut self, id: &str, count: usize, stops_per_second: i32, reason: &str) -> String {
        self.mesh.start_many("Sleeper", id, count).await;
        self.mesh.indexed(id, i64::try_from(count).expect("a few")).await;
        // Limited before anything can be stopped.
        self.source.hold(id);
        let spec = CancellationSpec {
            reason: reason.to_owned(),
            ..spec(workload(id))
        };
        let started = cancel::start(&mut self.client, spec).await.cancellation_id;
        self.limit(&started, stops_per_second).await;
        self.source.release(id);
        eventually(LONG, "it stops", async || {
            let seen = cancel::get(&mut self.client, &started).await?;
            let stopped = seen.progress.as_ref().map_or(0, |progress| progress.stopped);
            when(stopped > 0, || format!("{seen:?}"))
        })
        .await;
        started
    }

    async fn limit(&mut self, cancellation: &str, stops_per_second: i32) {
        let limits = Limits {
            stops_per_second: Some(stops_per_second),
            ..Limits::default()
        };
        eventually(SOON, "the limit is taken", async || {
            adjust(&mut self.client, cancellation, limits)
                .await
                .map_err(|status| status.to_string())
        })
        .await;
    }

    /// A file in the place of the folder: nothing can be written or read there, not even by root.
    fn lose(&self) {
        std::fs::rename(&self.store, self.away()).expect("the store can be moved");
        std::fs::write(&self.store, "no folder").expect("a file can be put there");
    }

    fn give_back(&self) {
        std::fs::remove_file(&self.store).expect("the file can be removed");
        std::fs::rename(self.away(), &self.store).expect("the store can be moved back");
    }

    fn away(&self) -> PathBuf {
        self.store.with_extension("away")
    }

    async fn failures(&mut self, cancellation: &str) -> Result<(), Status> {
        let request = ListFailuresRequest {
            cancellation_id: cancellation.to_owned(),
            ..ListFailuresRequest::default()
        };
        self.client.list_failures(request).await.map(drop)
    }

    async fn verify(&self, cancellation: &str) -> Ran {
        let mut verify = prepared(&self.mesh, &["receipt", "verify", cancellation]);
        verify
            .env("QUELL_CANCELER_ADDRESS", &self.own.address)
            .env("TEMPORAL_CANCELER_NAMESPACE", &self.namespace)
            .env("QUELL_PAYLOAD_URL", &self.store);
        outside::run(&mut verify).await
    }
}

/// An error that says what is wrong, and nothing of where the store is.
fn check_unavailable(what: &str, store: &Path, status: &Status) {
    assert_eq!(
        details::reason(what, status, Code::Unavailable),
        "PAYLOAD_STORE_UNAVAILABLE"
    );
    let place = store.display().to_string();
    assert!(!status.message().contains(&place), "{}", status.message());
}

/// Nothing of the target is open, and each outcome is in the journal or said to be lacking.
async fn check_whole(scene: &Scene, id: &str, count: usize, receipt: &Receipt) {
    check_clean_receipt(receipt);
    assert_eq!(scene.mesh.running(id).await, 0);
    let gone = receipt.stopped + receipt.closed_by_others;
    assert_eq!(usize::try_from(gone).ok(), Some(count), "{receipt:#?}");
    let written = i64::try_from(cancel::journal(receipt, &scene.store).len()).expect("a few");
    let told = receipt.stopped + receipt.already_closed + receipt.failed;
    assert_eq!(written + receipt.journal_lacks, told, "{receipt:#?}");
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_costs_itself_and_never_the_cancellation() {
    const COUNT: usize = 120;
    let mut scene = Scene::start("journal-lost", &[]).await;
    let id = unique("journal-lost");
    let cancellation = scene.stopping(&id, COUNT, 4, "a test").await;
    let journal = scene.store.join("journal").join(&cancellation);
    eventually(SOON, "some of the journal is written", async || {
        // While a chunk is being written, its name ends otherwise.
        let chunks = std::fs::read_dir(&journal).map_err(|error| error.to_string())?;
        let whole = |chunk: std::io::Result<std::fs::DirEntry>| {
            chunk.is_ok_and(|chunk| chunk.path().extension().is_some_and(|extension| extension == "jsonl"))
        };
        when(chunks.into_iter().any(whole), || "nothing yet".to_owned())
    })
    .await;

    scene.lose();
    let status = scene.failures(&cancellation).await.expect_err("the store is gone");
    check_unavailable("ListFailures", &scene.store, &status);
    eventually(SOON, "a chunk is given up, and the log says so", async || {
        let log = scene.own.process.log_tail(100);
        let tried = log.matches("journal chunk not written").count();
        when(tried >= 3, || log)
    })
    .await;
    cancel::get(&mut scene.client, &cancellation)
        .await
        .expect("it needs no store");
    scene.give_back();
    scene.limit(&cancellation, 0).await;
    let receipt = cancel::eventual_receipt(&mut scene.client, &cancellation).await;
    check_whole(&scene, &id, COUNT, &receipt).await;
    assert!(receipt.journal_lacks > 0 && receipt.journal.len() >= 2, "{receipt:#?}");
    let said = |text: &str| receipt.warnings.iter().any(|warning| warning.contains(text));
    assert!(said("the payload store could not be written"), "{receipt:#?}");
    scene.failures(&cancellation).await.expect("the store is back");
    let ran = scene.verify(&cancellation).await;
    assert!(ran.out.contains("lacks"), "{}{}", ran.out, ran.err);

    // Gone for good, and with it what was written: the receipt stands, and says what to look for; whoever looks is told.
    std::fs::remove_dir_all(&scene.store).expect("the store can be removed");
    assert_eq!(cancel::receipt(&mut scene.client, &cancellation).await, receipt);
    let ran = scene.verify(&cancellation).await;
    assert_ne!(ran.code, 0, "{}{}", ran.out, ran.err);

    let id = unique("journal-anew");
    scene.mesh.start_many("Sleeper", &id, 5).await;
    scene.mesh.indexed(&id, 5).await;
    let ended = run_to_end(&mut scene.client, spec(workload(&id))).await;
    check_clean(&ended);
    check_whole(&scene, &id, 5, &ended.receipt).await;
    assert_eq!(ended.receipt.journal_lacks, 0, "{:#?}", ended.receipt);
}

/// With a threshold so low, and a reason so long, that what it is asked, told and remembers lies in the store: without that, nothing of it
/// can be read or go on.
#[tokio::test]
async fn a_cancellation_whose_own_payloads_are_out_of_reach_goes_on_when_they_are_back() {
    const COUNT: usize = 60;
    let mut scene = Scene::start("payloads-lost", &[("QUELL_PAYLOAD_THRESHOLD_BYTES", "1024")]).await;
    let id = unique("payloads-lost");
    let cancellation = scene.stopping(&id, COUNT, 2, &"ж".repeat(500)).await;
    let state = GetCancellationRequest {
        cancellation_id: cancellation.clone(),
    };

    scene.lose();
    let status = scene.client.get_cancellation(state.clone()).await;
    check_unavailable(
        "GetCancellation",
        &scene.store,
        &status.expect_err("its memo is out of reach"),
    );
    eventually(SOON, "what it has to write is refused", async || {
        let log = scene.own.process.log_tail(100);
        when(log.contains("payload store: cannot write"), || log)
    })
    .await;
    assert!(scene.mesh.running(&id).await > 0, "lost too late");
    scene.give_back();
    scene.limit(&cancellation, 0).await;
    let receipt = cancel::eventual_receipt(&mut scene.client, &cancellation).await;
    check_whole(&scene, &id, COUNT, &receipt).await;

    let receipt = GetReceiptRequest {
        cancellation_id: cancellation.clone(),
    };
    scene.lose();
    let status = scene.client.get_receipt(receipt.clone()).await;
    check_unavailable("GetReceipt", &scene.store, &status.expect_err("it is out of reach"));
    scene.give_back();

    // Gone for good: that is said of it, and it hides nothing else.
    std::fs::remove_dir_all(&scene.store).expect("the store can be removed");
    let status = scene.client.get_receipt(receipt).await.expect_err("it is gone");
    assert_eq!(
        details::reason("GetReceipt", &status, Code::FailedPrecondition),
        "PAYLOAD_MISSING"
    );
    let all = scene
        .client
        .list_cancellations(ListCancellationsRequest::default())
        .await;
    let all = all.expect("others may be there").into_inner().cancellations;
    assert!(all.iter().any(|one| one.cancellation_id == cancellation), "{all:?}");
    let id = unique("payloads-anew");
    scene.mesh.start_many("Sleeper", &id, 5).await;
    scene.mesh.indexed(&id, 5).await;
    check_clean(&run_to_end(&mut scene.client, spec(workload(&id))).await);
}
