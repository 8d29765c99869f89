//! Payloads that Temporal would refuse, through the mesh's codec: a workflow and an activity of the test's own, with the same
//! client and the same store that every service uses.

use crate::{
    harness::{Mesh, mesh, unique},
    poll::{LONG, SOON, eventually},
};
use quell_mesh::{
    NamespaceClient, PayloadStore,
    config::{self, Settings, Sources},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowStartOptions,
    errors::WorkflowGetResultError,
};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, Runtime, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use tokio::task::JoinHandle;

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

async fn client(mesh: &Mesh, store: &Path) -> Client {
    let settings = settings(mesh, store);
    let payloads = PayloadStore::open(&settings.payload).expect("the store can be opened");
    NamespaceClient::new(settings.main, "e2e-payloads", payloads.codec())
        .connected()
        .await
}

/// A worker of the test's own; it ends with the runtime's test.
struct Running {
    shutdown: Box<dyn Fn() + Send + Sync>,
    run: JoinHandle<Result<(), String>>,
}

impl Running {
    fn start(client: &Client, options: WorkerOptions) -> Self {
        let runtime = Runtime::from_current_tokio(Default::default()).expect("a runtime");
        let mut worker = Worker::new(&runtime, client.clone(), options).expect("a worker");
        let shutdown = Box::new(worker.shutdown_handle());
        let handle = tokio::runtime::Handle::current();
        // `run` is not Send: one blocking thread drives it.
        let run = tokio::task::spawn_blocking(move || {
            let ran = handle.block_on(worker.run()).map_err(|error| format!("{error:?}"));
            drop(runtime);
            ran
        });
        Self { shutdown, run }
    }

    async fn stop(self) {
        (self.shutdown)();
        let ended = tokio::time::timeout(SOON, self.run).await.expect("the worker ends");
        ended.expect("the worker did not panic").expect("the worker ends well");
    }
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
    let client = client(&mesh, &store).await;
    let queue = unique("echo");
    let options = WorkerOptions::new(queue.clone())
        .register_workflow::<Echo>()
        .unwrap()
        .register_activities(Activities)
        .build();
    let worker = Running::start(&client, options);
    for megabytes in [1, 5, 30] {
        let text = format!("{megabytes}:").repeat((megabytes << 20) / 2);
        let id = unique("echo");
        let start = WorkflowStartOptions::new(queue.clone(), id.clone()).build();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_or_missing_payload_fails_clearly_and_is_not_retried() {
    let mesh = mesh().await;
    for (what, reason) in [("corrupt", "PAYLOAD_CORRUPT"), ("missing", "PAYLOAD_MISSING")] {
        let store = mesh.folder(&format!("payloads-{what}"));
        let client = client(&mesh, &store).await;
        let (queue, activity_queue) = (unique("hand-over"), unique("measure"));
        let workflows = WorkerOptions::new(queue.clone())
            .register_workflow::<HandOver>()
            .unwrap()
            .build();
        let workflows = Running::start(&client, workflows);
        let id = unique("hand-over");
        let input = (3 * TEMPORALS_LIMIT as u64, activity_queue.clone());
        let start = WorkflowStartOptions::new(queue, id).build();
        let workflow = client.start_workflow(HandOver::run, input, start).await.unwrap();
        let blob = eventually(
            SOON,
            "the activity's input is stored, and the activity scheduled",
            async || {
                let described = workflow
                    .describe(WorkflowDescribeOptions::default())
                    .await
                    .map_err(|error| error.to_string())?;
                if described.raw().pending_activities.is_empty() {
                    return Err("not scheduled yet".to_owned());
                }
                let files = stored(&store);
                if let [blob] = files.as_slice() {
                    Ok(blob.clone())
                } else {
                    Err(format!("{files:?}"))
                }
            },
        )
        .await;
        if what == "missing" {
            std::fs::remove_file(&blob).unwrap();
        } else {
            let mut bytes = std::fs::read(&blob).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&blob, bytes).unwrap();
        }
        let activities = WorkerOptions::new(activity_queue)
            .register_activities(Activities)
            .build();
        let activities = Running::start(&client, activities);

        let result = tokio::time::timeout(LONG, workflow.get_result(WorkflowGetResultOptions::default())).await;
        let error = result
            .unwrap_or_else(|_| panic!("a {what} payload is retried for ever"))
            .expect_err("it cannot succeed");
        assert!(matches!(error, WorkflowGetResultError::Failed { .. }), "{error:?}");
        assert!(
            format!("{error:?}").contains(reason),
            "a {what} payload is not named: {error:?}"
        );
        let events = workflow
            .fetch_history(WorkflowFetchHistoryOptions::default())
            .into_events()
            .await
            .unwrap();
        let attempts = events.iter().filter_map(|event| match event.attributes.as_ref() {
            Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started.attempt),
            _ => None,
        });
        assert_eq!(attempts.collect::<Vec<_>>(), [1], "retrying cannot help");
        activities.stop().await;
        workflows.stop().await;
    }
}
