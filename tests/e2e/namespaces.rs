//! Cancellations in a namespace beside main: what has the same ids in main is let be, and whose credentials are not good for the
//! namespace can neither see nor touch them.

use crate::{
    cancel::{self, Canceler, get, query, spec, workload},
    details,
    harness::{Apart, Own, channel, mesh, unique},
    locked::scene::bearing,
    outside::{json, program},
    poll::{SOON, eventually, when},
    restore,
};
use quell_api::canceler::v1::{
    AdjustCancellationRequest, CancellationSpec, Engine, GetCancellationRequest, Limits, ListCancellationsRequest,
    Mode, PreviewCancellationRequest, StartCancellationRequest, StopCancellationRequest, Verdict,
};
use quell_cli::dev::{DevMesh, Part};
use sha2::{Digest as _, Sha256};
use tonic::Code;

const BESIDE: &str = "beside";
/// Executions with the same ids in each namespace.
const EACH: i64 = 3;

struct Scene {
    mesh: Apart,
    client: Canceler,
}

impl Scene {
    async fn set() -> Self {
        let shared = mesh().await;
        let builder = DevMesh::builder()
            .services([Part::Canceler])
            .temporal_arg(format!("--namespace={BESIDE}"))
            .env("TEMPORAL_MAIN_MORE_NAMESPACES", BESIDE);
        let mesh = shared.apart("namespaces", builder).await;
        let client = mesh.cancellations();
        Self { mesh, client }
    }

    /// The same ids and the same workload in both.
    async fn start(&self, id: &str) {
        for n in 0..EACH {
            for namespace in ["main", BESIDE] {
                self.mesh.start_by_cli_in(namespace, &format!("{id}-{n}"), id).await;
            }
        }
        self.open(id, "main", EACH).await;
        self.open(id, BESIDE, EACH).await;
    }

    /// Waits until so many are open.
    async fn open(&self, id: &str, namespace: &str, count: i64) {
        eventually(SOON, &format!("{count} are open in {namespace}"), async || {
            let query = format!("WorkloadId=\"{id}\" AND ExecutionStatus=\"Running\"");
            let open = self.mesh.count_in(namespace, &query).await;
            when(open == count, || format!("{open} are"))
        })
        .await;
    }

    /// `quell ... --json` on this mesh; its last line.
    async fn quell(&self, args: &[&str]) -> serde_json::Value {
        let canceler = self.mesh.address(Part::Canceler);
        let ran = program(&self.mesh.quell, &[args, &["--canceler", &canceler, "--json"]].concat())
            .await
            .ok();
        json(ran.lines().last().expect("a line"))
    }

    /// A canceler of the same cancellations that wants to know who calls.
    async fn guarded(&self) -> (Own, Canceler) {
        let entry = |name: &str, namespaces: &str| {
            let hash = hex::encode(Sha256::digest(name));
            format!(
                "- {{name: {name}, role: operator, namespaces: {namespaces}, token_sha256: {hash}, expires: 2100-01-01T00:00:00Z}}\n"
            )
        };
        let entries = entry("of-main", "[main]") + &entry("of-both", &format!("[main, {BESIDE}]"));
        let file = self.mesh.folder("namespaces").join("access.yaml").display().to_string();
        std::fs::write(&file, format!("principals:\n{entries}")).expect("the file can be written");
        let settings = [
            ("QUELL_ACCESS_FILE", file.as_str()),
            ("TEMPORAL_MAIN_MORE_NAMESPACES", BESIDE),
            ("TEMPORAL_CANCELER_TASK_QUEUE", "guarded"),
        ];
        let own = self.mesh.own(Part::Canceler, "guarded", &settings).await;
        let client = Canceler::new(channel(&own.address));
        (own, client)
    }
}

fn within(namespace: &str, spec: CancellationSpec) -> CancellationSpec {
    CancellationSpec {
        namespaces: vec![namespace.to_owned()],
        quiesce: Some(false),
        ..spec
    }
}

fn only_checked(spec: CancellationSpec) -> StartCancellationRequest {
    StartCancellationRequest {
        spec: Some(spec),
        validate_only: true,
        ..Default::default()
    }
}

/// Nothing of this starts anything.
async fn what_is_refused(client: &mut Canceler, id: &str) {
    let preview = PreviewCancellationRequest {
        target: workload(id),
        namespaces: vec!["nowhere".to_owned()],
        ..Default::default()
    };
    let status = client.preview_cancellation(preview).await.unwrap_err();
    assert_eq!(details::bad_fields("a preview of nowhere", &status), ["namespaces[0]"]);
    let nowhere = only_checked(within("nowhere", spec(workload(id))));
    let status = client.start_cancellation(nowhere).await.unwrap_err();
    assert_eq!(
        details::bad_fields("a stop in nowhere", &status),
        ["spec.namespaces[0]"]
    );
    let told = format!("{status:?}");
    assert!(
        told.contains("main") && told.contains(BESIDE),
        "which there are: {told}"
    );
    let by_batch = CancellationSpec {
        engine: Engine::Both.into(),
        ..spec(workload(id))
    };
    let status = client
        .start_cancellation(only_checked(within(BESIDE, by_batch)))
        .await
        .unwrap_err();
    assert_eq!(details::bad_fields("the batch is main's", &status), ["spec.engine"]);
}

/// Whoever may act in main only knows nothing of the cancellation in the other namespace.
async fn what_scopes_keep_apart(scene: &Scene, id: &str, cancellation_id: &str) {
    let (_own, client) = scene.guarded().await;
    let refused = |what: &str, status: tonic::Status| {
        let reason = details::reason(what, &status, Code::PermissionDenied);
        assert_eq!(reason, "NAMESPACE_NOT_ALLOWED", "{what}");
    };
    let preview = || PreviewCancellationRequest {
        target: workload(id),
        namespaces: vec![BESIDE.to_owned()],
        ..Default::default()
    };
    let start = || only_checked(within(BESIDE, spec(workload(id))));
    let one = || GetCancellationRequest {
        cancellation_id: cancellation_id.to_owned(),
    };
    let stop = || StopCancellationRequest {
        cancellation_id: cancellation_id.to_owned(),
        ..Default::default()
    };
    let shown = async |token| {
        let mut client = client.clone();
        let all = bearing(ListCancellationsRequest::default(), token);
        let listed = client.list_cancellations(all).await.expect("a list").into_inner();
        let mut ids = listed.cancellations.iter().map(|one| &one.cancellation_id);
        ids.any(|id| id == cancellation_id)
    };
    let mut of = client.clone();
    let main = Some("of-main");
    refused(
        "preview",
        of.preview_cancellation(bearing(preview(), main)).await.unwrap_err(),
    );
    refused(
        "start",
        of.start_cancellation(bearing(start(), main)).await.unwrap_err(),
    );
    refused("get", of.get_cancellation(bearing(one(), main)).await.unwrap_err());
    refused("stop", of.stop_cancellation(bearing(stop(), main)).await.unwrap_err());
    refused(
        "restore",
        of.restore_cancellation(bearing(restore::of(cancellation_id), main))
            .await
            .unwrap_err(),
    );
    assert!(!shown(main).await, "it is not listed either");
    // In main he may, and whoever may in both may in both.
    let in_main = only_checked(spec(workload(id)));
    of.start_cancellation(bearing(in_main, main))
        .await
        .expect("main is his");
    let both = Some("of-both");
    of.preview_cancellation(bearing(preview(), both))
        .await
        .expect("his, too");
    of.start_cancellation(bearing(start(), both)).await.expect("his, too");
    of.get_cancellation(bearing(one(), both)).await.expect("his, too");
    assert!(shown(both).await);
}

#[tokio::test]
async fn what_is_stopped_beside_main_is_stopped_there_only() {
    let mut scene = Scene::set().await;
    let id = unique("beside");
    scene.start(&id).await;
    what_is_refused(&mut scene.client, &id).await;
    let preview = scene
        .quell(&["preview", "--workload-id", &id, "--namespace", BESIDE])
        .await;
    assert_eq!(preview["open"], EACH, "{preview}");

    let stop = [
        "stop",
        "--workload-id",
        &id,
        "--namespace",
        BESIDE,
        "--reason",
        "beside",
        "--yes",
    ];
    let ended = scene.quell(&stop).await;
    let receipt = &ended["receipt"];
    assert_eq!(receipt["verdict"], "CLEAN", "{receipt}");
    assert_eq!(receipt["spec"]["namespaces"], serde_json::json!([BESIDE]), "{receipt}");
    assert_eq!(receipt["stopped"], EACH, "{receipt}");
    scene.open(&id, BESIDE, 0).await;
    scene.open(&id, "main", EACH).await;
    let cancellation_id = ended["cancellation_id"].as_str().expect("an id").to_owned();
    let shown = get(&mut scene.client, &cancellation_id).await.expect("it is there");
    assert_eq!(shown.spec.expect("a spec").namespaces, [BESIDE]);
    what_scopes_keep_apart(&scene, &id, &cancellation_id).await;

    // What is undone is undone where it was done. Meanwhile main's target is nobody else's.
    scene
        .client
        .restore_cancellation(restore::of(&cancellation_id))
        .await
        .expect("it is restored");
    scene
        .client
        .start_cancellation(only_checked(within(
            "main",
            spec(query(format!("WorkloadId = '{id}'"))),
        )))
        .await
        .expect("another namespace has nothing in common with it");
    let (_, report) = restore::watched(&mut scene.client, &cancellation_id).await;
    assert_eq!(report.restored, EACH, "{report:#?}");
    scene.open(&id, BESIDE, EACH).await;
    scene.open(&id, "main", EACH).await;

    both_at_once(&mut scene, &id).await;
}

/// What was restored beside main, and what main had all the time, in one; `main` first.
async fn both_at_once(scene: &mut Scene, id: &str) {
    let both = ["--namespace", "main", "--namespace", BESIDE];
    let preview = scene
        .quell(&[&["preview", "--workload-id", id], &both[..]].concat())
        .await;
    assert_eq!(preview["open"], 2 * EACH, "{preview}");
    let each = serde_json::json!([{ "namespace": "main", "open": EACH }, { "namespace": BESIDE, "open": EACH }]);
    assert_eq!(preview["namespaces"], each, "{preview}");

    // The cap is for all together; whoever has seen the sum may go above it.
    let few = || StartCancellationRequest {
        spec: Some(CancellationSpec {
            namespaces: vec!["main".to_owned(), BESIDE.to_owned()],
            max_affected: 2 * EACH - 1,
            quiesce: Some(false),
            ..spec(workload(id))
        }),
        ..Default::default()
    };
    let status = scene.client.start_cancellation(few()).await.unwrap_err();
    let reason = details::reason("above the cap", &status, Code::FailedPrecondition);
    assert_eq!(reason, "MAX_AFFECTED_EXCEEDED");
    let seen = StartCancellationRequest {
        confirmation_token: preview["confirmation_token"].as_str().expect("a token").to_owned(),
        ..few()
    };
    let started = scene
        .client
        .start_cancellation(seen)
        .await
        .expect("it starts")
        .into_inner();
    assert_eq!(started.matched, 2 * EACH);
    let ended = cancel::to_the_end(&mut scene.client, started).await;
    let receipt = &ended.receipt;
    assert_eq!(
        (receipt.verdict(), receipt.stopped),
        (Verdict::Clean, 2 * EACH),
        "{receipt:#?}"
    );
    let last = ended.watched.last().expect("a look");
    assert_eq!(last.progress.expect("figures").stopped, 2 * EACH);
    for (n, namespace) in ["main", BESIDE].into_iter().enumerate() {
        let part = &receipt.parts[n];
        assert_eq!((part.namespace.as_str(), part.stopped), (namespace, EACH));
        assert_eq!(last.parts[n].verdict(), Verdict::Clean, "{last:#?}");
        let own = cancel::receipt(&mut scene.client, &part.cancellation_id).await;
        cancel::check_clean_receipt(&own);
        cancel::check_journal(&own, &scene.mesh.payloads());
        scene.open(id, namespace, 0).await;
    }
    let verified = scene.quell(&["receipt", "verify", &receipt.cancellation_id]).await;
    assert_eq!(verified["verified"], true, "{verified}");
    // What only a part has is asked of a part; it is the whole that is listed.
    let status = scene
        .client
        .restore_cancellation(restore::of(&receipt.cancellation_id))
        .await
        .unwrap_err();
    let reason = details::reason("the whole", &status, Code::FailedPrecondition);
    assert_eq!(reason, "WRONG_STATE");
    assert!(
        status.message().contains(&receipt.parts[1].cancellation_id),
        "{status:?}"
    );
    let listed = scene.quell(&["list"]).await;
    let listed = listed["cancellations"].as_array().expect("a list").clone();
    let of = |id: &str| listed.iter().filter(|one| one["cancellation_id"] == id).count();
    assert_eq!(
        (of(&receipt.cancellation_id), of(&receipt.parts[0].cancellation_id)),
        (1, 0)
    );
    told_to_all(scene, id).await;
}

/// What the whole is told its parts are told: a change of limits, and to end.
async fn told_to_all(scene: &mut Scene, id: &str) {
    for namespace in ["main", BESIDE] {
        scene.mesh.start_by_cli_in(namespace, &format!("{id}-more"), id).await;
        scene.open(id, namespace, 1).await;
    }
    // Asked, and nobody hears it: they stay open as long as the grace is.
    let slow = CancellationSpec {
        namespaces: vec!["main".to_owned(), BESIDE.to_owned()],
        quiesce: Some(false),
        mode: Mode::Cancel.into(),
        grace: cancel::millis(600_000),
        ..spec(workload(id))
    };
    let started = cancel::start(&mut scene.client, slow).await;
    let limits = AdjustCancellationRequest {
        cancellation_id: started.cancellation_id.clone(),
        limits: Some(Limits {
            concurrency: Some(3),
            ..Default::default()
        }),
    };
    scene.client.adjust_cancellation(limits).await.expect("it is changed");
    for n in 1..=2 {
        let part = format!("{}.{n}", started.cancellation_id);
        eventually(SOON, "each part has the limit", async || {
            let limits = get(&mut scene.client.clone(), &part).await?.limits.unwrap_or_default();
            when(limits.concurrency == Some(3), || format!("{limits:?}"))
        })
        .await;
    }
    cancel::stop(&mut scene.client, &started, "enough").await;
    let receipt = cancel::to_the_end(&mut scene.client, started).await.receipt;
    assert_eq!(receipt.verdict(), Verdict::Aborted, "{receipt:#?}");
    assert!(
        receipt.parts.iter().all(|part| part.explanation.contains("enough")),
        "{receipt:#?}"
    );
    scene.open(id, "main", 1).await;
    scene.open(id, BESIDE, 1).await;
}
