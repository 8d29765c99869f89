//! `kill -9` of each part, Temporal itself included, in each phase of a cancellation. Nobody helps: what was begun ends by itself once
//! the part is back, CLEAN, and its receipt is true by what Temporal's own command line says of each execution.
//!
//! One kill serves all phases: a mesh of its own on a file database has a cancellation in each of
//! them, held there by what happens in earnest: a source that is slow to answer, a rate limit, a grace, a slow batch, many looks.

use crate::{
    adjust::adjust,
    cancel::{
        self, Canceler, check_clean_receipt, check_journal_after_a_kill, grown, millis, snowball, spec, workload,
    },
    harness::{Apart, channel, mesh},
    killed::operations,
    outside::json,
    poll::{LONG, SOON, eventually, when},
    slow_source::SlowSource,
    tree::node,
};
use jiff::Timestamp;
use quell_api::{
    batch::v1::BatchOperationState,
    canceler::v1::{CancellationSpec, Engine, Limits, Mode, Phase, Receipt},
    work::v1::{SnowballPacing, SnowballShape, SnowballSpec},
};
use quell_cli::dev::{DevMesh, Part, Ports};
use std::{collections::BTreeMap, path::Path};
use tempfile::TempDir;

/// What nobody may touch.
const NEIGHBOURS: usize = 4;
/// At one a second, more than are stopped before all cancellations are in their phases.
const MANY: usize = 60;
/// The same for the server's batch.
const BATCHED: usize = 40;

#[tokio::test]
async fn each_part_killed_in_each_phase_costs_time_and_nothing_else() {
    let mut scene = Scene::set().await;
    scene.mesh.start_many("Sleeper", "neighbour", NEIGHBOURS).await;

    let receipts = scene.kill("canceler", &[Part::Canceler]).await;
    // Its question was lost with it, and asked anew by the next process.
    let fenced = &receipts["fencing"];
    assert!(
        ["accepted", "effective"].contains(&fenced.quiesce.as_str()),
        "{fenced:#?}"
    );

    // The two that a cancellation can do without, and both at once.
    let receipts = scene.kill("peers", &[Part::Work, Part::Batch]).await;
    assert!(receipts["batch"].batch_claimed > 0, "{:#?}", receipts["batch"]);

    scene.kill("temporal", &[Part::Temporal]).await;
    assert_eq!(scene.mesh.running("neighbour").await, NEIGHBOURS as i64);
}

/// Cancellations, and the phase in which each is to be met; one more is held in FENCING.
const HELD: [(&str, Phase); 6] = [
    ("striking", Phase::Striking),
    ("sweeping", Phase::Sweeping),
    ("batch", Phase::Sweeping),
    ("queued", Phase::Striking),
    ("asking", Phase::Asking),
    ("confirming", Phase::Confirming),
];

/// What the test works with.
struct Scene {
    mesh: Apart,
    source: SlowSource,
    client: Canceler,
    /// Which kill it is about.
    round: &'static str,
    /// Ids of its cancellations by name.
    ids: BTreeMap<&'static str, String>,
    /// With Temporal's database, which outlives its server.
    _folder: TempDir,
}

impl Scene {
    async fn set() -> Self {
        let shared = mesh().await;
        let ports = Ports::free().expect("there are free ports");
        let source = SlowSource::in_front_of(&format!("http://127.0.0.1:{}", ports.work)).await;
        let folder = quick_folder();
        let builder = DevMesh::builder()
            .ports(ports)
            .db_file(folder.path().join("temporal.db"))
            .env_of(Part::Canceler, "QUELL_WORK_ADDRESS", &source.address)
            .temporal_arg("--dynamic-config-value")
            .temporal_arg("worker.batcherRPS=1");
        let mesh = shared.apart("killed-phases", builder).await;
        Self {
            client: mesh.cancellations(),
            mesh,
            source,
            round: "",
            ids: BTreeMap::new(),
            _folder: folder,
        }
    }

    /// One kill of these parts, with a cancellation in each phase; its receipts by name.
    async fn kill(&mut self, round: &'static str, parts: &[Part]) -> BTreeMap<&'static str, Receipt> {
        self.round = round;
        self.ids.clear();
        self.grow().await;
        self.begin().await;
        for part in parts {
            self.mesh.kill(*part).await;
        }
        self.source.release(&self.workload("fencing"));
        self.mesh.start(parts).await;
        for name in ["striking", "sweeping"] {
            self.limit(name, 0).await;
        }
        self.check().await
    }

    /// The workload of a cancellation.
    fn workload(&self, name: &str) -> String {
        format!("{name}-{}", self.round)
    }

    /// The workloads: most of them flat, one a tree whose leaves outlive their root, one that still grows.
    async fn grow(&self) {
        let mesh = &self.mesh;
        let flat = [
            ("striking", MANY),
            ("batch", BATCHED),
            ("queued", 5),
            ("asking", 5),
            ("confirming", 3),
        ];
        for (name, count) in flat {
            mesh.start_many("Sleeper", &self.workload(name), count).await;
        }
        let tree = self.workload("sweeping");
        let leaves: Vec<_> = (0..MANY)
            .map(|n| node(&format!("{tree}-leaf-{n}"), "Leaf", Some(&tree)))
            .collect();
        let plain = mesh.plain_client().await;
        let root = node(&format!("{tree}-root"), "Root", Some(&tree));
        root.start(&plain).await;
        root.spawn(&plain, &leaves.iter().collect::<Vec<_>>()).await;
        let endless = SnowballSpec {
            workload_id: self.workload("fencing"),
            width: 1,
            depth: 1,
            rate_per_second: 5.0,
            lifetime: millis(3_600_000),
            pacing: Some(SnowballPacing {
                shape: SnowballShape::Tree.into(),
                endless: true,
                ..Default::default()
            }),
            ..Default::default()
        };
        let endless = snowball(&mut mesh.snowballs(), endless).await;
        grown(&mut mesh.snowballs(), &endless.snowball_id, 2).await;
        for (name, count) in flat.into_iter().chain([("sweeping", MANY + 1)]) {
            let count = i64::try_from(count).expect("a few");
            mesh.indexed(&self.workload(name), count).await;
        }
    }

    /// Starts all cancellations, those that cannot be held for long last, and returns when each is in its phase: the last one's
    /// question is on its way.
    async fn begin(&mut self) {
        for name in ["striking", "sweeping"] {
            // Limited before anything can be stopped.
            let id = self.workload(name);
            self.source.hold(&id);
            self.start(name, spec(workload(&id))).await;
            self.limit(name, 1).await;
            self.source.release(&id);
        }
        let both = |id: String| CancellationSpec {
            engine: Engine::Both.into(),
            ..spec(workload(&id))
        };
        self.start("batch", both(self.workload("batch"))).await;
        let job_id = format!("quell-batch/{}", self.ids["batch"]);
        let batches = channel(&self.mesh.address(Part::Batch));
        eventually(SOON, "the batch runs", async || {
            let jobs = operations(&batches).await?;
            let runs = jobs
                .iter()
                .any(|job| job.job_id == job_id && job.state() == BatchOperationState::Running);
            when(runs, || format!("{jobs:?}"))
        })
        .await;
        self.start("queued", both(self.workload("queued"))).await;
        self.arrive().await;

        let asking = CancellationSpec {
            mode: Mode::CancelThenTerminate.into(),
            grace: millis(30_000),
            ..spec(workload(&self.workload("asking")))
        };
        self.start("asking", asking).await;
        let confirming = CancellationSpec {
            looks: 20,
            ..spec(workload(&self.workload("confirming")))
        };
        self.start("confirming", confirming).await;
        self.arrive().await;
        let id = self.workload("fencing");
        self.source.hold(&id);
        self.start("fencing", spec(workload(&id))).await;
        self.source.asked(&id).await;
    }

    async fn start(&mut self, name: &'static str, spec: CancellationSpec) {
        let started = cancel::start(&mut self.client, spec).await;
        self.ids.insert(name, started.cancellation_id);
    }

    /// Limits how many a cancellation stops a second.
    async fn limit(&mut self, name: &str, stops_per_second: i32) {
        let limits = Limits {
            stops_per_second: Some(stops_per_second),
            ..Limits::default()
        };
        let (client, id) = (&mut self.client, &self.ids[name]);
        eventually(SOON, "the limit is taken", async || {
            adjust(client, id, limits).await.map_err(|status| status.to_string())
        })
        .await;
    }

    /// Waits until all that were started are in their phases at once.
    async fn arrive(&mut self) {
        let Self { client, ids, .. } = self;
        eventually(LONG, "each is in its phase", async || {
            for (name, phase) in HELD {
                let Some(id) = ids.get(name) else { continue };
                let seen = cancel::get(client, id).await?;
                assert_ne!(seen.phase(), Phase::Done, "{name} was too fast: {seen:?}");
                when(seen.phase() == phase, || format!("{name}: {seen:?}"))?;
            }
            Ok(())
        })
        .await;
    }

    /// Each cancellation to its end, and its receipt against the world.
    async fn check(&mut self) -> BTreeMap<&'static str, Receipt> {
        let mut receipts = BTreeMap::new();
        for (name, id) in self.ids.clone() {
            let receipt = cancel::eventual_receipt(&mut self.client, &id).await;
            check_clean_receipt(&receipt);
            check_journal_after_a_kill(&receipt, &self.mesh.payloads());
            self.check_against_temporal(&self.workload(name), &receipt).await;
            receipts.insert(name, receipt);
        }
        receipts
    }

    /// What Temporal's command line says of each execution of the workload: none is open, all that the journal calls stopped were
    /// terminated, and what closed since the fence is what the receipt counts.
    async fn check_against_temporal(&self, workload_id: &str, receipt: &Receipt) {
        let filter = format!("WorkloadId=\"{workload_id}\"");
        let list = ["workflow", "list", "--limit", "5000", "--query", &filter];
        let listed = json(&self.mesh.temporal_in("main", &list).await.ok());
        let fence: Timestamp = {
            let fence = receipt.fence_time.as_ref().expect("a fence was taken");
            Timestamp::new(fence.seconds, fence.nanos).expect("a time")
        };
        let (mut closed, mut statuses) = (0, BTreeMap::new());
        for execution in listed.as_array().expect("a list") {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let closed_at: Timestamp = text(&execution["closeTime"])
                .parse()
                .unwrap_or_else(|error| panic!("{workload_id}: {error}: {execution}"));
            closed += i64::from(closed_at >= fence);
            let run = text(&execution["execution"]["runId"]);
            statuses.insert(run, text(&execution["status"]));
        }
        assert_eq!(
            receipt.stopped + receipt.closed_by_others,
            closed,
            "{workload_id}: {receipt:#?}"
        );
        for outcome in cancel::journal(receipt, &self.mesh.payloads()) {
            let run = outcome["run_id"].as_str().expect("an outcome names its run");
            let status = statuses.get(run).map_or("", String::as_str);
            let stopped = outcome["result"] == "stopped";
            assert!(
                !stopped || status == "WORKFLOW_EXECUTION_STATUS_TERMINATED",
                "{workload_id}: {outcome} is {status}"
            );
        }
        assert_eq!(self.mesh.running(workload_id).await, 0);
    }
}

/// A folder that outlives a process but need not outlive a power cut: on a disk that others use, the server's syncs take seconds.
fn quick_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    folder.expect("a temporary folder can be made")
}
