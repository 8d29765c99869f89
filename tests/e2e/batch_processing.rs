//! Recursive batch processing, through the wire and by the command, with Temporal's own words as the witness.

use crate::{
    command::{last_line, prepared},
    details,
    harness::{mesh, unique},
    outside::{self, json},
    poll::{LONG, SOON, VERY_LONG, eventually, when},
};
use quell_api::work::v1::{
    BatchProcessing, BatchProcessingPlan, BatchProcessingResult, BatchProcessingSpec, GetBatchProcessingRequest,
    ListBatchProcessingsRequest, StartBatchProcessingRequest, StartBatchProcessingResponse,
    WatchBatchProcessingRequest, batch_processing_service_client::BatchProcessingServiceClient,
};
use quell_cli::dev::Part;
use tonic::{Code, transport::Channel};

pub(crate) type Processings = BatchProcessingServiceClient<Channel>;

fn squares(total_numbers: u64) -> BatchProcessingSpec {
    BatchProcessingSpec {
        total_numbers,
        ..Default::default()
    }
}

pub(crate) async fn start(client: &mut Processings, spec: BatchProcessingSpec) -> StartBatchProcessingResponse {
    let request = StartBatchProcessingRequest {
        spec: Some(spec),
        validate_only: false,
    };
    client
        .start_batch_processing(request)
        .await
        .expect("it is started")
        .into_inner()
}

pub(crate) async fn get(client: &mut Processings, processing_id: &str) -> BatchProcessing {
    let request = GetBatchProcessingRequest {
        processing_id: processing_id.to_owned(),
    };
    let answer = client.get_batch_processing(request).await.expect("it is there");
    answer.into_inner().processing.expect("an answer has it")
}

/// Watches to the end; the stream ends by itself. Gives the last message and how many there were.
pub(crate) async fn watched(client: &mut Processings, processing_id: &str) -> (BatchProcessing, usize) {
    let request = WatchBatchProcessingRequest {
        processing_id: processing_id.to_owned(),
        interval: Some(prost_types::Duration {
            seconds: 0,
            nanos: 500_000_000,
        }),
    };
    let mut looks = client
        .watch_batch_processing(request)
        .await
        .expect("it is there")
        .into_inner();
    let (mut last, mut count) = (None, 0);
    let all = async {
        while let Some(look) = looks.message().await.expect("the watch goes on") {
            last = look.processing;
            count += 1;
        }
    };
    tokio::time::timeout(VERY_LONG, all).await.expect("it ends");
    (last.expect("at least one look"), count)
}

fn digits(numbers: impl Iterator<Item = u64>) -> Vec<String> {
    numbers.map(|n| (n * n).to_string()).collect()
}

fn counted(processing: &BatchProcessing) -> Vec<(&str, i64)> {
    let counts = processing.counts.iter();
    counts.map(|count| (count.status.as_str(), count.count)).collect()
}

/// Waits until the index has all of a run of a tree, then gives its counts.
pub(crate) async fn settled(client: &mut Processings, processing_id: &str, workflows: i64) -> BatchProcessing {
    eventually(SOON, "the index has the whole tree", async || {
        let processing = get(client, processing_id).await;
        if counted(&processing) == [("Completed", workflows)] {
            Ok(processing)
        } else {
            Err(format!("{:?}", processing.counts))
        }
    })
    .await
}

#[tokio::test]
async fn fifty_numbers_make_six_workflows() {
    let mesh = mesh().await;
    let mut client = mesh.batch_processings();
    let started = start(&mut client, squares(50)).await;
    assert_eq!(started.processing_id, "batch-processing-50-b10-c5");
    let plan = BatchProcessingPlan {
        workflows: 6,
        depth: 1,
        activities: 50,
    };
    assert_eq!(started.plan, Some(plan));

    let (ended, _) = watched(&mut client, &started.processing_id).await;
    let expected = BatchProcessingResult {
        total_numbers: 50,
        workflows: 6,
        depth: 1,
        sum: "42925".into(),
        first_results: digits(1..=10),
        last_results: digits(41..=50),
    };
    assert_eq!(ended.result, Some(expected));
    assert_eq!((ended.status.as_str(), ended.failure.as_str()), ("Completed", ""));
    assert_eq!((ended.run_id, ended.spec), (started.run_id, started.spec));
    settled(&mut client, &started.processing_id, 6).await;

    // What Temporal itself shows: five leaves below the root, ten activities each.
    for leaf in 0..5 {
        let id = format!("batch-processing-50-b10-c5-c{leaf}");
        let shown = mesh
            .temporal_in("main", &["workflow", "show", "--workflow-id", &id])
            .await
            .ok();
        let scheduled = shown.matches("EVENT_TYPE_ACTIVITY_TASK_SCHEDULED").count();
        assert_eq!(scheduled, 10, "{id}: {shown}");
        assert!(!shown.contains("scheduleToCloseTimeout\": \"30s"), "{shown}");
        assert!(shown.contains("\"startToCloseTimeout\": \"30s\""), "{shown}");
    }
}

#[tokio::test]
async fn two_thousand_numbers_make_the_documents_tree() {
    let mesh = mesh().await;
    let mut client = mesh.batch_processings();
    // Everything left out: the document's own numbers.
    let started = start(&mut client, BatchProcessingSpec::default()).await;
    assert_eq!(started.processing_id, "batch-processing-2000-b10-c5");
    let (ended, looks) = watched(&mut client, &started.processing_id).await;
    let expected = BatchProcessingResult {
        total_numbers: 2_000,
        workflows: 656,
        depth: 4,
        sum: "2668667000".into(),
        first_results: digits(1..=10),
        last_results: digits(1_991..=2_000),
    };
    assert_eq!(ended.result, Some(expected));
    assert!(looks >= 2, "it takes longer than one look");
    settled(&mut client, &started.processing_id, 656).await;
    let leaf = "batch-processing-2000-b10-c5-c0-c0-c0-c0";
    assert_eq!(mesh.status("main", leaf).await.as_deref(), Some("COMPLETED"));
}

#[tokio::test]
async fn nothing_is_started_by_a_check() {
    let mesh = mesh().await;
    let mut client = mesh.batch_processings();
    let request = StartBatchProcessingRequest {
        spec: Some(BatchProcessingSpec {
            total_numbers: 10_069_012_961_344,
            batch_size: 7,
            max_children: 3,
            ..Default::default()
        }),
        validate_only: true,
    };
    let answer = client.start_batch_processing(request).await.unwrap().into_inner();
    assert_eq!(answer.processing_id, "batch-processing-10069012961344-b7-c3");
    assert_eq!((answer.run_id.as_str(), answer.joined), ("", false));
    assert_eq!(answer.plan.map(|plan| plan.activities), Some(10_069_012_961_344));
    assert_eq!(mesh.status("main", &answer.processing_id).await, None);
    let get = GetBatchProcessingRequest {
        processing_id: answer.processing_id.clone(),
    };
    let status = client.get_batch_processing(get).await.unwrap_err();
    details::not_found("GetBatchProcessing", &status, &answer.processing_id);
}

#[tokio::test]
async fn lists_show_roots_by_pages() {
    let mesh = mesh().await;
    let mut client = mesh.batch_processings();
    let ours = ["batch-processing-23-b3-c4", "batch-processing-24-b3-c4"];
    for total_numbers in [23, 24] {
        let spec = BatchProcessingSpec {
            batch_size: 3,
            max_children: 4,
            ..squares(total_numbers)
        };
        let started = start(&mut client, spec).await;
        watched(&mut client, &started.processing_id).await;
    }
    eventually(SOON, "both are listed, and no child is", async || {
        let mut request = ListBatchProcessingsRequest {
            page_size: 1,
            page_token: String::new(),
        };
        let mut listed = Vec::new();
        loop {
            let page = client
                .list_batch_processings(request.clone())
                .await
                .unwrap()
                .into_inner();
            assert!(page.processings.len() <= 1);
            listed.extend(page.processings);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let ids: Vec<_> = listed.iter().map(|one| one.processing_id.as_str()).collect();
        assert!(!ids.iter().any(|id| id.ends_with("-c0")), "{ids:?}");
        when(ours.iter().all(|id| ids.contains(id)), || format!("{ids:?}"))
    })
    .await;
    let foreign = ListBatchProcessingsRequest {
        page_size: 1,
        page_token: "QUJD".into(),
    };
    let status = client.list_batch_processings(foreign).await.unwrap_err();
    assert_eq!(details::bad_fields("ListBatchProcessings", &status), ["page_token"]);
}

/// SIGKILL in the middle: the same result, by whoever comes next.
#[tokio::test]
async fn a_killed_worker_changes_nothing() {
    let mesh = mesh().await;
    let namespace = unique("killed-tree");
    mesh.create_namespace(&namespace).await;
    let own = mesh
        .own(Part::Work, &namespace, &[("TEMPORAL_MAIN_NAMESPACE", &namespace)])
        .await;
    let mut client = Processings::new(own.channel());
    let started = start(&mut client, squares(400)).await;
    let id = started.processing_id.clone();
    let caught = eventually(LONG, "some of it is done, and some is not", async || {
        let processing = get(&mut client, &id).await;
        assert_eq!(processing.status, "Running", "it was too fast for this test");
        let completed = processing.counts.iter().find(|count| count.status == "Completed");
        if completed.is_some_and(|count| count.count >= 5) {
            Ok(processing)
        } else {
            Err(format!("{:?}", processing.counts))
        }
    })
    .await;
    own.process.kill().await.expect("it can be killed");
    assert_eq!(
        mesh.status(&namespace, &id).await.as_deref(),
        Some("RUNNING"),
        "{caught:?}"
    );
    own.process.start().expect("it can be started again");
    own.ready().await;

    let (ended, _) = watched(&mut client, &id).await;
    let result = ended.result.expect("it completed");
    assert_eq!(ended.run_id, started.run_id);
    // 400 -> 80 -> 16 -> 4: 1 + 5 + 25 + 100.
    assert_eq!(
        (result.sum.as_str(), result.workflows, result.depth),
        ("21413400", 131, 3)
    );
    assert_eq!(result.last_results, digits(391..=400));
}

#[tokio::test]
async fn all_of_it_by_grpcurl() {
    let mesh = mesh().await;
    const SERVICE: &str = "quell.work.v1.BatchProcessingService";
    let call = async |rpc: &str, request: serde_json::Value| {
        let (request, rpc) = (request.to_string(), format!("{SERVICE}/{rpc}"));
        mesh.grpcurl(Part::Work, &["-d", &request], &[&rpc]).await
    };
    let spec = serde_json::json!({"spec": {"totalNumbers": 50, "batchSize": 10, "maxChildren": 6}});
    let started = json(&call("StartBatchProcessing", spec).await.ok());
    assert_eq!(started["processingId"], "batch-processing-50-b10-c6", "{started}");
    let name = serde_json::json!({"processingId": started["processingId"]});
    let watched = call("WatchBatchProcessing", name.clone()).await.ok();
    assert!(watched.contains("\"sum\": \"42925\""), "{watched}");
    let got = json(&call("GetBatchProcessing", name).await.ok());
    assert_eq!(got["processing"]["result"]["sum"], "42925", "{got}");
    assert_eq!(got["processing"]["result"]["lastResults"][9], "2500", "{got}");

    let too_large = serde_json::json!({"spec": {"totalNumbers": "10069012961345"}});
    let refused = call("StartBatchProcessing", too_large).await;
    assert!(refused.err.contains("InvalidArgument"), "{}", refused.err);
    assert!(refused.err.contains("would overflow 128 bits"), "{}", refused.err);
}

#[tokio::test]
async fn the_command_prints_the_documents_report() {
    let mesh = mesh().await;
    let quell = async |args: &[&str]| outside::run_within(VERY_LONG, &mut prepared(&mesh, args)).await;
    let ran = quell(&["square", "60", "12", "6"]).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for line in [
        "BATCH PROCESSING COMPLETE",
        "Total numbers processed: 60",
        "Tree depth (max nesting level): 1",
        "Batch size (activities per leaf): 12",
        "Max children per workflow: 6",
        "Sum of all squares: 73810",
        "First 10 results: [1, 4, 9, 16, 25, 36, 49, 64, 81, 100]",
        "Last 10 results: [2601, 2704, 2809, 2916, 3025, 3136, 3249, 3364, 3481, 3600]",
    ] {
        assert!(
            ran.out.lines().any(|printed| printed == line),
            "{line:?} is missing in:\n{}",
            ran.out
        );
    }
    let ran = quell(&["square", "60", "12", "6", "--json"]).await;
    let result = last_line(&ran);
    assert_eq!(result["sum"], "73810", "{result}");
    assert_eq!(
        (&result["workflows"], &result["depth"]),
        (&7.into(), &1.into()),
        "{result}"
    );

    let ran = quell(&["square", "10069012961345", "--json"]).await;
    assert_eq!(ran.code, 64, "{}{}", ran.out, ran.err);
    assert_eq!(last_line(&ran)["error"]["reason"], "INVALID_ARGUMENT", "{}", ran.out);
    let ran = quell(&["square", "0"]).await;
    assert_eq!(ran.code, 64, "{}{}", ran.out, ran.err);
}

#[tokio::test]
async fn a_foreign_workflow_of_that_id_is_not_joined() {
    let mesh = mesh().await;
    let mut client = mesh.batch_processings();
    let id = "batch-processing-37-b10-c5";
    mesh.start_by_cli(id, &unique("foreign")).await;
    let request = StartBatchProcessingRequest {
        spec: Some(squares(37)),
        validate_only: false,
    };
    let status = client.start_batch_processing(request).await.unwrap_err();
    assert_eq!(
        details::reason("StartBatchProcessing", &status, Code::AlreadyExists),
        "ALREADY_EXISTS"
    );
    assert_eq!(mesh.status("main", id).await.as_deref(), Some("RUNNING"));
    mesh.temporal_in("main", &["workflow", "terminate", "--workflow-id", id])
        .await
        .ok();
}
