//! The outside world: programs and clients that know nothing of Quell. What they say is the tests' independent evidence.

use crate::{
    harness::{Shared, authority},
    poll::{SOON, eventually, when},
};
use futures::{StreamExt as _, TryStreamExt as _};
use quell_cli::dev::Part;
use serde_json::Value;
use std::{path::Path, time::Duration};
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, Url};
use temporalio_common::protos::temporal::api::{
    common::v1::{Payload, SearchAttributes, WorkflowType},
    taskqueue::v1::TaskQueue,
    workflowservice::v1::StartWorkflowExecutionRequest,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    time::timeout,
};
use tonic::IntoRequest as _;

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(60);

/// What a command left behind.
pub(crate) struct Ran {
    /// Exit code; -1 when it was killed.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Standard output of a command that must succeed.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }
}

/// Runs a prepared command to its end.
pub(crate) async fn run(command: &mut Command) -> Ran {
    run_within(COMMAND, command).await
}

/// The same for a command that has more to do.
pub(crate) async fn run_within(limit: Duration, command: &mut Command) -> Ran {
    let shown = format!("{:?}", command.as_std());
    let running = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = timeout(limit, running)
        .await
        .unwrap_or_else(|_| panic!("does not end within {limit:?}: {shown}"));
    let output = output.unwrap_or_else(|error| panic!("{shown}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Runs a program.
pub(crate) async fn program(path: &Path, args: &[&str]) -> Ran {
    run(Command::new(path).args(args)).await
}

/// The Temporal CLI on the shared server: an operator's own eyes.
impl Shared {
    /// `temporal <args> --address ... -o json` in a namespace.
    pub(crate) async fn temporal_in(&self, namespace: &str, args: &[&str]) -> Ran {
        let address = self.temporal();
        let tail = ["--address", &address, "--namespace", namespace, "-o", "json"];
        program(&self.temporal_cli, &[args, &tail].concat()).await
    }

    /// Makes a namespace, for a work service of the test's own: the queues of batch processings and orders have fixed names, so only
    /// in a namespace of its own is it alone on them.
    pub(crate) async fn create_namespace(&self, namespace: &str) {
        self.temporal_in(namespace, &["operator", "namespace", "create"])
            .await
            .ok();
    }

    /// Executions of the main namespace that match, counted by `temporal workflow count`.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        self.count_in("main", query).await
    }

    /// The same in another namespace.
    pub(crate) async fn count_in(&self, namespace: &str, query: &str) -> i64 {
        let answer = json(
            &self
                .temporal_in(namespace, &["workflow", "count", "--query", query])
                .await
                .ok(),
        );
        // protobuf's JSON writes 64-bit numbers as text and leaves a zero out
        answer["count"].as_str().unwrap_or("0").parse().expect("a number")
    }

    /// Running executions of a workload: the very question of the main job.
    pub(crate) async fn running(&self, workload_id: &str) -> i64 {
        self.count(&format!("WorkloadId=\"{workload_id}\" AND ExecutionStatus=\"Running\""))
            .await
    }

    /// Status of an execution by `temporal workflow describe`, such as `RUNNING` or `TERMINATED`; none when there is no such.
    pub(crate) async fn status(&self, namespace: &str, workflow_id: &str) -> Option<String> {
        let ran = self
            .temporal_in(namespace, &["workflow", "describe", "--workflow-id", workflow_id])
            .await;
        if ran.code != 0 {
            assert!(ran.err.contains("not found"), "{}", ran.err);
            return None;
        }
        let status = json(&ran.out)["workflowExecutionInfo"]["status"]
            .as_str()
            .expect("a status")
            .to_owned();
        Some(status.trim_start_matches("WORKFLOW_EXECUTION_STATUS_").to_owned())
    }

    /// Starts a workflow as any Go program would: with `temporal workflow start`, on a queue that nobody polls.
    pub(crate) async fn start_by_cli(&self, workflow_id: &str, workload_id: &str) {
        self.start_by_cli_in("main", workflow_id, workload_id).await;
    }

    /// The same in another namespace.
    pub(crate) async fn start_by_cli_in(&self, namespace: &str, workflow_id: &str, workload_id: &str) {
        let attribute = format!("WorkloadId=\"{workload_id}\"");
        let start = [
            "workflow",
            "start",
            "--type",
            "ForeignWorkflow",
            "--task-queue",
            "nobody",
            "--workflow-id",
            workflow_id,
        ];
        self.temporal_in(namespace, &[&start[..], &["--search-attribute", &attribute]].concat())
            .await
            .ok();
    }

    /// A plain client of the main namespace, without anything of Quell's on it.
    pub(crate) async fn plain_client(&self) -> Client {
        let url: Url = self.temporal_address().parse().expect("a valid address");
        let connection = Connection::connect(ConnectionOptions::new(url).identity("e2e").build()).await;
        let options = ClientOptions::new("main").build();
        Client::new(connection.expect("Temporal runs"), options).expect("the options are valid")
    }

    /// Waits until the index shows so many of a workload as running.
    pub(crate) async fn indexed(&self, workload_id: &str, count: i64) {
        eventually(SOON, "all of them are in the index", async || {
            let running = self.running(workload_id).await;
            when(running == count, || format!("{running} running"))
        })
        .await;
    }

    /// Starts many workflows by the plain client, on a queue that nobody polls: `<workload>-<type>-<n>`.
    pub(crate) async fn start_many(&self, workflow_type: &str, workload_id: &str, count: usize) {
        let client = self.plain_client().await;
        futures::stream::iter(0..count)
            .map(|n| {
                start_one(
                    &client,
                    workflow_type,
                    format!("{workload_id}-{workflow_type}-{n}"),
                    workload_id,
                )
            })
            .buffer_unordered(32)
            .try_collect::<Vec<()>>()
            .await
            .expect("Temporal starts them");
    }

    /// `grpcurl -plaintext <args before> <service's address> <args after>`.
    pub(crate) async fn grpcurl(&self, part: Part, before: &[&str], after: &[&str]) -> Ran {
        self.grpcurl_at(&self.address(part), before, after).await
    }

    /// The same for any address.
    pub(crate) async fn grpcurl_at(&self, address: &str, before: &[&str], after: &[&str]) -> Ran {
        let address = authority(address);
        program(&self.grpcurl, &[&["-plaintext"], before, &[&address], after].concat()).await
    }

    /// A service's page of metrics.
    pub(crate) async fn metrics(&self, part: Part) -> Result<String, String> {
        http_get(&self.metrics_page(part), "/metrics").await
    }

    /// A document of Jaeger's query API.
    pub(crate) async fn jaeger(&self, path: &str) -> Result<Value, String> {
        let body = http_get(&self.jaeger_query(), path).await?;
        serde_json::from_str(&body).map_err(|error| format!("{path}: {error}: {body:.200}"))
    }
}

/// Starts one workflow by a plain client.
pub(crate) async fn start_one(
    client: &Client,
    workflow_type: &str,
    workflow_id: String,
    workload_id: &str,
) -> Result<(), tonic::Status> {
    let tag = Payload {
        metadata: [
            ("encoding".to_owned(), b"json/plain".to_vec()),
            ("type".to_owned(), b"Keyword".to_vec()),
        ]
        .into(),
        data: serde_json::to_vec(workload_id).expect("a string is JSON"),
        ..Default::default()
    };
    let request = StartWorkflowExecutionRequest {
        namespace: "main".to_owned(),
        workflow_id,
        workflow_type: Some(WorkflowType {
            name: workflow_type.to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "nobody".to_owned(),
            ..Default::default()
        }),
        request_id: uuid::Uuid::new_v4().to_string(),
        search_attributes: Some(SearchAttributes {
            indexed_fields: [("WorkloadId".to_owned(), tag)].into(),
        }),
        ..Default::default()
    };
    client
        .connection()
        .workflow_service()
        .start_workflow_execution(request.into_request())
        .await
        .map(drop)
}

/// A JSON text.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in: {text}"))
}

/// GET by HTTP/1.0, which needs no client: the server closes when it is done.
/// A document over HTTP.
pub(crate) async fn http_get(authority: &str, path: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{authority}: {error}");
    let mut stream = TcpStream::connect(authority).await.map_err(failed)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200 ") {
        Ok(body.to_owned())
    } else {
        Err(format!("{path}: {status}"))
    }
}
