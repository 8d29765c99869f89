//! Payloads that Temporal would refuse, through the mesh's codec: a workflow and an activity of the test's own, with the same
//! client and the same store that every service uses.

use crate::{
    harness::{Mesh, mesh, unique},
    poll::{LONG, SOON, eventually, when},
};
use quell_mesh::{
    Home, NamespaceClient, PayloadStore, QueueTuning, Registry,
    config::{self, Settings, Sources},
    worker::manager::{DrainReport, Manager},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use temporalio_client::{WorkflowDescribeOptions, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The limit of Temporal for one payload.
const TEMPORALS_LIMIT: usize = 2 << 20;

struct Activities;

#[activities]
impl Activities {
    /// Gives back what it was given.
    #[activity]
    async fn echo(_context: ActivityContext, text: String) -> Result<String, ActivityError> {
        Ok(text)
    }

    /// How long what it was given is.
    #[activity]
    async fn measure(_context: ActivityContext, text: String) -> Result<u64, ActivityError> {
        Ok(text.len() as u64)
    }
}

/// Input, activity input, activity result and result: the payload goes through the codec four times.
#[workflow]
#[derive(Default)]
struct Echo;

#[workflow_methods]
impl Echo {
    #[run]
    async fn run(context: &mut WorkflowContext<Self>, text: String) -> WorkflowResult<String> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(60));
        Ok(context.execute_activity(Activities::echo, text, options).await?)
    }
}

/// Makes a large payload itself and hands it to an activity on another queue, so that the only stored payload is the
/// activity's input.
#[workflow]
#[derive(Default)]
struct HandOver;

#[workflow_methods]
impl HandOver {
    #[run]
    async fn run(context: &mut WorkflowContext<Self>, (size, queue): (u64, String)) -> WorkflowResult<u64> {
        let text = "x".repeat(usize::try_from(size).unwrap_or_default());
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(60))
            .task_queue(queue)
            .build();
        Ok(context.execute_activity(Activities::measure, text, options).await?)
    }
}

/// Settings as a service would have them, with a store of the test's own.
fn settings(mesh: &Mesh, store: &Path) -> Settings {
    let env = [
        ("TEMPORAL_MAIN_ADDRESS", mesh.temporal_address()),
        ("TEMPORAL_MAIN_NAMESPACE", "main".to_owned()),
        ("QUELL_PAYLOAD_URL", store.display().to_string()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).into();
    config::load(
        &Sources {
            env,
            ..Default::default()
        },
        0,
    )
    .expect("the settings are valid")
    .settings
}

fn client(settings: &Settings) -> NamespaceClient {
    let payloads = PayloadStore::open(&settings.payload).expect("the store can be opened");
    NamespaceClient::new(settings.main.clone(), "e2e-payloads", payloads.codec())
}

/// A worker of the test's own, with the life that every service's worker has.
struct Running {
    drain: CancellationToken,
    run: JoinHandle<DrainReport>,
}

impl Running {
    fn start(settings: &Settings, client: &NamespaceClient, registry: Registry) -> Self {
        let manager =
            Manager::new(registry, &[], client, client, "e2e-payloads", &settings.worker).expect("no mistakes");
        let drain = CancellationToken::new();
        let run = manager.run(drain.clone());
        Self {
            drain,
            run: tokio::spawn(async { run.await.expect("the SDK's runtime can be made") }),
        }
    }

    async fn stop(self) {
        self.drain.cancel();
        let report = tokio::time::timeout(SOON, self.run)
            .await
            .expect("the worker ends")
            .expect("and does not panic");
        assert!(report.is_clean(), "{report:?}");
    }
}

/// A queue of the main namespace, with nothing on it yet.
fn queue(name: &str) -> Registry {
    Registry::new().queue(name, Home::Main, QueueTuning::default())
}

fn stored(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the store can be read") {
            let path = entry.expect("the store can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_1_5_and_30_mb_go_through() {
    let mesh = mesh().await;
    let store = mesh.folder("payloads-large");
    let settings = settings(&mesh, &store);
    let connection = client(&settings);
    let name = unique("echo");
    let registry = queue(&name).workflow::<Echo>(&name).activities(&name, Activities);
    let worker = Running::start(&settings, &connection, registry);
    let client = connection.connected().await;
    for megabytes in [1, 5, 30] {
        let text = format!("{megabytes}:").repeat((megabytes << 20) / 2);
        let id = unique("echo");
        let start = WorkflowStartOptions::new(name.clone(), id.clone()).build();
        let workflow = client.start_workflow(Echo::run, text.clone(), start).await.unwrap();
        let result = tokio::time::timeout(LONG, workflow.get_result(WorkflowGetResultOptions::default())).await;
        let result = result.expect("the workflow ends").expect("the workflow succeeds");
        assert!(result == text, "{megabytes} MB came back as {} bytes", result.len());

        // What Temporal itself keeps is small: the payload was never there.
        let described = mesh
            .temporal_in("main", &["workflow", "describe", "--workflow-id", &id])
            .await
            .ok();
        let size = crate::outside::json(&described)["workflowExecutionInfo"]["historySizeBytes"]
            .as_str()
            .map(str::to_owned);
        let size: usize = size.and_then(|size| size.parse().ok()).expect("a history has a size");
        assert!(
            size < 100_000,
            "a history of {size} bytes for a payload of {megabytes} MB"
        );
    }
    // Equal payloads are kept once, however often they pass.
    assert_eq!(stored(&store).len(), 3);
    worker.stop().await;
}

/// Spoils a stored payload in one of two ways, and gives back what it was.
fn spoil(what: &str, blob: &Path) -> Vec<u8> {
    let whole = std::fs::read(blob).expect("the payload is stored");
    if what == "missing" {
        std::fs::remove_file(blob).expect("it can be removed");
    } else {
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(blob, bytes).expect("it can be changed");
    }
    whole
}

/// What a spoilt payload is called.
const SPOILT: [(&str, &str); 2] = [("corrupt", "PAYLOAD_CORRUPT"), ("missing", "PAYLOAD_MISSING")];

/// The SDK answers an input that cannot be decoded with a failure that the activity's retry policy may repeat. So the failure
/// must say what is wrong where an operator looks, and a payload that is repaired must let the work go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_input_is_named_at_the_activity_and_works_once_repaired() {
    let mesh = mesh().await;
    for (what, reason) in SPOILT {
        let store = mesh.folder(&format!("payloads-{what}"));
        let settings = settings(&mesh, &store);
        let connection = client(&settings);
        let (name, activity_queue) = (unique("hand-over"), unique("measure"));
        let workflows = Running::start(&settings, &connection, queue(&name).workflow::<HandOver>(&name));
        let client = connection.connected().await;
        let size = 3 * TEMPORALS_LIMIT as u64;
        let start = WorkflowStartOptions::new(name, unique("hand-over")).build();
        let workflow = client
            .start_workflow(HandOver::run, (size, activity_queue.clone()), start)
            .await
            .unwrap();
        let pending = async || {
            let described = workflow.describe(WorkflowDescribeOptions::default()).await;
            let activities = described
                .map_err(|error| error.to_string())?
                .raw()
                .pending_activities
                .clone();
            activities
                .into_iter()
                .next()
                .ok_or_else(|| "no activity is pending".to_owned())
        };
        let blob = eventually(SOON, "the activity is scheduled, its input stored", async || {
            pending().await?;
            let files = stored(&store);
            if let [blob] = files.as_slice() {
                Ok(blob.clone())
            } else {
                Err(format!("{files:?}"))
            }
        })
        .await;
        let whole = spoil(what, &blob);
        let registry = queue(&activity_queue).activities(&activity_queue, Activities);
        let activities = Running::start(&settings, &connection, registry);

        eventually(SOON, &format!("the activity's failure says {reason}"), async || {
            let failure = pending().await?.last_failure.ok_or("it has not failed yet")?;
            when(failure.message.contains(reason), || failure.message.clone())
        })
        .await;
        std::fs::write(&blob, whole).unwrap();
        let result = tokio::time::timeout(LONG, workflow.get_result(WorkflowGetResultOptions::default())).await;
        assert_eq!(result.expect("the workflow ends").expect("the workflow succeeds"), size);
        activities.stop().await;
        workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_result_is_an_error_for_its_caller_at_once() {
    let mesh = mesh().await;
    for (what, reason) in SPOILT {
        let store = mesh.folder(&format!("payloads-result-{what}"));
        let settings = settings(&mesh, &store);
        let connection = client(&settings);
        let name = unique("echo");
        let registry = queue(&name).workflow::<Echo>(&name).activities(&name, Activities);
        let worker = Running::start(&settings, &connection, registry);
        let client = connection.connected().await;
        let start = WorkflowStartOptions::new(name.clone(), unique("echo")).build();
        let workflow = client
            .start_workflow(Echo::run, "x".repeat(TEMPORALS_LIMIT), start)
            .await
            .unwrap();
        workflow
            .get_result(WorkflowGetResultOptions::default())
            .await
            .expect("it is whole at first");
        for blob in stored(&store) {
            spoil(what, &blob);
        }
        let result = tokio::time::timeout(SOON, workflow.get_result(WorkflowGetResultOptions::default())).await;
        let error = result.expect("no retry can help").expect_err("it is spoilt");
        let told = format!("{:#}", anyhow::Error::from(error));
        assert!(told.contains(reason), "{told}");
        worker.stop().await;
    }
}
