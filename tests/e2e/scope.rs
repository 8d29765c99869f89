//! What a cancellation reaches beyond the executions that match, and what it leaves alone: schedules, descendants without the tag,
//! suspects.

use crate::{
    cancel::{check_clean, run_to_end, spec, start, to_the_end, workload},
    harness::{Shared, mesh, unique},
    outside::json,
    poll::{SOON, eventually, when},
};
use quell_api::canceler::v1::{CancellationSpec, Receipt, Verdict};
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::{
    command::v1::{Command, StartChildWorkflowExecutionCommandAttributes, command::Attributes},
    common::v1::{Payload, SearchAttributes, WorkflowType},
    enums::v1::{CommandType, ParentClosePolicy},
    taskqueue::v1::TaskQueue,
    workflowservice::v1::{
        PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionRequest,
    },
};
use tonic::IntoRequest as _;

/// An execution of a tree that these tests grow by hand: its task queue is its own, so that its one workflow task can be polled for.
struct Node<'a> {
    id: String,
    workflow_type: &'a str,
    tag: Option<&'a str>,
}

fn node<'a>(id: &str, workflow_type: &'a str, tag: Option<&'a str>) -> Node<'a> {
    Node {
        id: id.to_owned(),
        workflow_type,
        tag,
    }
}

impl Node<'_> {
    fn workflow_type(&self) -> Option<WorkflowType> {
        Some(WorkflowType {
            name: self.workflow_type.to_owned(),
        })
    }

    fn queue(&self) -> Option<TaskQueue> {
        Some(TaskQueue {
            name: self.id.clone(),
            ..TaskQueue::default()
        })
    }

    fn attributes(&self) -> Option<SearchAttributes> {
        let payload = Payload {
            metadata: [
                ("encoding".to_owned(), b"json/plain".to_vec()),
                ("type".to_owned(), b"Keyword".to_vec()),
            ]
            .into(),
            data: serde_json::to_vec(self.tag?).expect("a string is JSON"),
            ..Payload::default()
        };
        Some(SearchAttributes {
            indexed_fields: [("WorkloadId".to_owned(), payload)].into(),
        })
    }

    async fn start(&self, client: &Client) {
        let request = StartWorkflowExecutionRequest {
            namespace: "main".to_owned(),
            workflow_id: self.id.clone(),
            workflow_type: self.workflow_type(),
            task_queue: self.queue(),
            request_id: self.id.clone(),
            search_attributes: self.attributes(),
            ..Default::default()
        };
        let mut service = client.connection().workflow_service();
        service
            .start_workflow_execution(request.into_request())
            .await
            .expect("it starts");
    }

    /// Starts children that outlive it: as its worker would, in its first workflow task.
    async fn spawn(&self, client: &Client, children: &[&Node<'_>]) {
        let poll = PollWorkflowTaskQueueRequest {
            namespace: "main".to_owned(),
            task_queue: self.queue(),
            identity: "e2e".to_owned(),
            ..Default::default()
        };
        let mut service = client.connection().workflow_service();
        let task = service
            .poll_workflow_task_queue(poll.into_request())
            .await
            .expect("the poll is answered")
            .into_inner();
        let commands = children.iter().map(|child| Command {
            command_type: CommandType::StartChildWorkflowExecution.into(),
            attributes: Some(Attributes::StartChildWorkflowExecutionCommandAttributes(
                StartChildWorkflowExecutionCommandAttributes {
                    workflow_id: child.id.clone(),
                    workflow_type: child.workflow_type(),
                    task_queue: child.queue(),
                    parent_close_policy: ParentClosePolicy::Abandon.into(),
                    search_attributes: child.attributes(),
                    ..Default::default()
                },
            )),
            ..Default::default()
        });
        let done = RespondWorkflowTaskCompletedRequest {
            namespace: "main".to_owned(),
            task_token: task.task_token,
            identity: "e2e".to_owned(),
            commands: commands.collect(),
            ..Default::default()
        };
        service
            .respond_workflow_task_completed(done.into_request())
            .await
            .expect("the children are started");
    }
}

impl Shared {
    async fn wait_open(&self, ids: &[&str]) {
        eventually(SOON, "the tree is in the index", async || {
            let mut missing = Vec::new();
            for id in ids {
                if self.count(&format!("WorkflowId=\"{id}\" AND CloseTime IS NULL")).await != 1 {
                    missing.push(*id);
                }
            }
            when(missing.is_empty(), || format!("without {missing:?}"))
        })
        .await;
    }
}

/// Two trees whose executions outlive their parents:
///
/// ```text
/// root (tagged) -> child -> grandchild             neighbour -> tagged -> deep
///                                                            -> sibling
/// ```
/// and beside them one that has a tagged one's type, and no tag.
#[tokio::test]
async fn what_descends_is_stopped_and_what_only_looks_like_it_is_named() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let plain = mesh.plain_client().await;
    let id = unique("descent");
    let name = |part: &str| format!("{id}-{part}");
    let of_type = name("Type");
    let root = node(&name("root"), &of_type, Some(&id));
    let child = node(&name("child"), "Untagged", None);
    let grandchild = node(&name("grandchild"), "Untagged", None);
    let neighbour = node(&name("neighbour"), "Neighbour", None);
    let tagged = node(&name("tagged"), &of_type, Some(&id));
    let deep = node(&name("deep"), "Untagged", None);
    let sibling = node(&name("sibling"), "Neighbour", None);
    let suspect = node(&name("suspect"), &of_type, None);
    root.start(&plain).await;
    root.spawn(&plain, &[&child]).await;
    child.spawn(&plain, &[&grandchild]).await;
    neighbour.start(&plain).await;
    neighbour.spawn(&plain, &[&tagged, &sibling]).await;
    tagged.spawn(&plain, &[&deep]).await;
    suspect.start(&plain).await;
    let all = [
        &root,
        &child,
        &grandchild,
        &neighbour,
        &tagged,
        &deep,
        &sibling,
        &suspect,
    ];
    mesh.wait_open(&all.map(|node| node.id.as_str())).await;

    // Not asked for: they are left alone, and not missed either.
    let only_matches = CancellationSpec {
        include_descendants: Some(false),
        max_affected: 1,
        ..spec(workload(&name("nobody")))
    };
    assert_eq!(run_to_end(&mut client, only_matches).await.receipt.stopped, 0);

    let ended = run_to_end(&mut client, spec(workload(&id))).await;
    check_clean(&ended);
    for (node, status) in [
        (&root, "TERMINATED"),
        (&child, "TERMINATED"),
        (&grandchild, "TERMINATED"),
        (&tagged, "TERMINATED"),
        (&deep, "TERMINATED"),
        (&neighbour, "RUNNING"),
        (&sibling, "RUNNING"),
        (&suspect, "RUNNING"),
    ] {
        assert_eq!(
            mesh.status("main", &node.id).await.as_deref(),
            Some(status),
            "{}",
            node.id
        );
    }
    let Receipt {
        stopped,
        descendants,
        suspects,
        suspect_count,
        ..
    } = &ended.receipt;
    assert_eq!(
        (*stopped, *descendants, *suspect_count),
        (5, 3, 1),
        "{:#?}",
        ended.receipt
    );
    assert_eq!(suspects[0].workflow_id, suspect.id);
    for open in [&neighbour, &suspect, &sibling] {
        mesh.temporal_in("main", &["workflow", "terminate", "--workflow-id", &open.id])
            .await
            .ok();
    }
}

#[tokio::test]
async fn descendants_are_left_alone_on_request() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let plain = mesh.plain_client().await;
    let id = unique("no-descent");
    let root = node(&format!("{id}-root"), "Tree", Some(&id));
    let child = node(&format!("{id}-child"), "Untagged", None);
    root.start(&plain).await;
    root.spawn(&plain, &[&child]).await;
    mesh.wait_open(&[&root.id, &child.id]).await;
    let only_matches = CancellationSpec {
        include_descendants: Some(false),
        ..spec(workload(&id))
    };
    let ended = run_to_end(&mut client, only_matches).await;
    check_clean(&ended);
    assert_eq!((ended.receipt.stopped, ended.receipt.descendants), (1, 0));
    assert_eq!(mesh.status("main", &child.id).await.as_deref(), Some("RUNNING"));
    mesh.temporal_in("main", &["workflow", "terminate", "--workflow-id", &child.id])
        .await
        .ok();
}

/// A schedule that starts the target every second; another beside it that starts something else.
#[tokio::test]
async fn a_schedule_of_the_target_is_paused_and_given_back() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("schedule");
    let (ours, other) = (format!("{id}-ours"), format!("{id}-other"));
    for (schedule, tag) in [(&ours, id.clone()), (&other, format!("{id}-not"))] {
        let attribute = format!("WorkloadId=\"{tag}\"");
        let create = [
            "schedule",
            "create",
            "--schedule-id",
            schedule,
            "--interval",
            "1s",
            "--overlap-policy",
            "AllowAll",
            "--type",
            "Scheduled",
            "--task-queue",
            "nobody",
            "--workflow-id",
            schedule,
            "--search-attribute",
            &attribute,
        ];
        mesh.temporal_in("main", &create).await.ok();
    }
    let state = async |schedule: &str| {
        let ran = mesh
            .temporal_in("main", &["schedule", "describe", "--schedule-id", schedule])
            .await
            .ok();
        let state = &json(&ran)["schedule"]["state"];
        let paused = state["paused"].as_bool().unwrap_or_default();
        (paused, state["notes"].as_str().unwrap_or_default().to_owned())
    };
    eventually(SOON, "the schedule starts executions", async || {
        let running = mesh.running(&id).await;
        when(running >= 2, || format!("{running} running"))
    })
    .await;

    let started = start(&mut client, spec(workload(&id))).await;
    let workflow = format!("quell/cancellation/{}", started.cancellation_id);
    eventually(
        SOON,
        "the schedule is paused by the cancellation, and says so",
        async || {
            let (paused, notes) = state(&ours).await;
            // It may be over already: then it was paused and given back.
            when(notes.contains(&workflow), || {
                format!("paused {paused}, notes {notes:?}")
            })
        },
    )
    .await;
    let ended = to_the_end(&mut client, started).await;
    assert_eq!(ended.receipt.verdict(), Verdict::Clean, "{:#?}", ended.receipt);
    assert_eq!(ended.receipt.schedules, std::slice::from_ref(&ours));
    assert!(ended.receipt.warnings.is_empty(), "{:?}", ended.receipt.warnings);
    // Given back: it starts anew. The other was never touched.
    assert!(!state(&ours).await.0);
    assert_eq!(state(&other).await, (false, String::new()));
    eventually(SOON, "the schedule goes on", async || {
        let running = mesh.running(&id).await;
        when(running >= 1, || format!("{running} running"))
    })
    .await;

    for schedule in [&ours, &other] {
        mesh.temporal_in("main", &["schedule", "delete", "--schedule-id", schedule])
            .await
            .ok();
    }
    for tag in [id.clone(), format!("{id}-not")] {
        check_clean(&run_to_end(&mut client, spec(workload(&tag))).await);
    }
}
