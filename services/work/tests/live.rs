//! What needs a Temporal server, run by hand: `QUELL_LIVE_TEMPORAL=http://127.0.0.1:7233 cargo test -p quell-work --test live --
//! --ignored --nocapture`. The namespace is `main`, with the search attribute WorkloadId.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by failing"
)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, WorkflowDescribeOptions, WorkflowFetchHistoryOptions,
    WorkflowGetResultOptions, WorkflowStartOptions, WorkflowTerminateOptions,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ChildWorkflowOptions, ContinueAsNewOptions, ParentClosePolicy, Runtime, Worker, WorkerOptions, WorkflowContext,
    WorkflowResult,
};

/// A parent with one child that continues as new once, and then waits.
#[workflow]
#[derive(Default)]
struct Continuing;

#[workflow_methods]
impl Continuing {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, round: u32) -> WorkflowResult<()> {
        if round == 0 {
            let options = ChildWorkflowOptions::builder()
                .workflow_id(format!("{}-child", ctx.workflow_id()))
                .parent_close_policy(ParentClosePolicy::Terminate)
                .build();
            ctx.start_child_workflow(Waiting::run, (), options).await?;
            match ctx.continue_as_new(1, ContinueAsNewOptions::default())? {}
        }
        ctx.timer(Duration::from_secs(60)).await;
        Ok(())
    }
}

#[workflow]
#[derive(Default)]
struct Waiting;

#[workflow_methods]
impl Waiting {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        ctx.timer(Duration::from_secs(60)).await;
        Ok(())
    }
}

async fn client() -> Client {
    let address = std::env::var("QUELL_LIVE_TEMPORAL").expect("QUELL_LIVE_TEMPORAL names a server");
    let options = ConnectionOptions::new(temporalio_client::Url::parse(&address).unwrap())
        .identity("quell-work-live".to_owned())
        .build();
    Client::new(
        Connection::connect(options).await.unwrap(),
        ClientOptions::new("main").build(),
    )
    .unwrap()
}

/// Why `snowball::plan` builds a tree instead of letting a wide parent continue as new: the server applies the parent close
/// policy when a run closes, although its chain goes on.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server"]
async fn a_parent_that_continues_as_new_loses_its_children() {
    let client = client().await;
    let queue = format!("live-{}", uuid::Uuid::new_v4());
    let options = WorkerOptions::new(queue.clone())
        .register_workflow::<Continuing>()
        .unwrap()
        .register_workflow::<Waiting>()
        .unwrap()
        .build();
    let runtime = Runtime::from_current_tokio(Default::default()).unwrap();
    let mut worker = Worker::new(&runtime, client.clone(), options).unwrap();
    let stop = worker.shutdown_handle();
    let handle = tokio::runtime::Handle::current();
    let running = tokio::task::spawn_blocking(move || handle.block_on(async move { worker.run().await.is_ok() }));

    let parent = client
        .start_workflow(
            Continuing::run,
            0,
            WorkflowStartOptions::new(queue.clone(), queue.clone()).build(),
        )
        .await
        .unwrap();
    let child = client.get_workflow_handle::<Waiting>(format!("{queue}-child"));
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Ok(description) = child.describe(WorkflowDescribeOptions::default()).await {
            let status = format!("{:?}", description.status());
            if status != "Running" {
                break status;
            }
        }
        assert!(Instant::now() < deadline, "the child lives on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status, "Terminated");
    let chain = client.get_workflow_handle::<Continuing>(queue);
    assert_eq!(
        format!(
            "{:?}",
            chain
                .describe(WorkflowDescribeOptions::default())
                .await
                .unwrap()
                .status()
        ),
        "Running"
    );
    chain.terminate(WorkflowTerminateOptions::default()).await.unwrap();
    assert!(parent.get_result(WorkflowGetResultOptions::default()).await.is_err());
    stop();
    assert!(running.await.unwrap());
}

/// Writes histories for `tests/replay.rs`: `QUELL_LIVE_RECORD="name=workflow-id name=workflow-id"`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server and executions"]
async fn record_histories() {
    let client = client().await;
    let wanted = std::env::var("QUELL_LIVE_RECORD").expect("QUELL_LIVE_RECORD names executions");
    for pair in wanted.split_whitespace() {
        let (name, id) = pair.split_once('=').expect("name=workflow-id");
        let handle = client.get_workflow_handle::<Waiting>(id);
        let json = handle
            .fetch_history(WorkflowFetchHistoryOptions::default())
            .to_json()
            .await
            .unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/histories/{name}.json"));
        std::fs::write(path, json).unwrap();
    }
}
