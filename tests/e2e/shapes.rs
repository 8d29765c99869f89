//! Snowballs of every shape, started by the command, and that none of them meets a limit of the server.

use crate::{
    cancel::{Snowballs, look_at},
    command::{last_line, prepared},
    harness::{Mesh, authority, channel, mesh, unique},
    outside::{self, json},
    poll::{LONG, SOON, eventually, holds, when},
};
use quell_api::work::v1::{
    CancelSnowballRequest, QuiesceRequest, ResumeRequest, Snowball, SnowballPacing, SnowballShape, SnowballSpec,
    StartSnowballRequest,
};
use quell_cli::dev::{DevMesh, Part};
use std::{collections::BTreeMap, time::Duration};
use temporalio_common::protos::temporal::api::workflowservice::v1::ListWorkflowExecutionsRequest;
use tonic::IntoRequest as _;

/// One that was started.
struct Started {
    id: String,
    workload: String,
}

/// `quell snowball start`, one level deep, with a workload of its own.
async fn start(mesh: &Mesh, workload: String, args: &str) -> Started {
    let mut all = vec![
        "snowball",
        "start",
        "--json",
        "--depth",
        "1",
        "--workload-id",
        &workload,
    ];
    all.extend(args.split_whitespace());
    let ran = outside::run(&mut prepared(mesh, &all)).await;
    assert_eq!(ran.code, 0, "{args}: {}{}", ran.out, ran.err);
    let id = last_line(&ran)["snowball_id"].as_str().expect("an id").to_owned();
    Started { id, workload }
}

fn count(snowball: &Snowball, status: &str) -> i64 {
    let counts = snowball.counts.iter();
    counts
        .filter(|count| count.status == status)
        .map(|count| count.count)
        .sum()
}

/// Waits until a look shows what is wanted.
async fn shows(client: &mut Snowballs, id: &str, what: &str, wanted: impl Fn(&Snowball) -> bool) -> Snowball {
    eventually(LONG, what, async || {
        let snowball = look_at(client, id).await?;
        if wanted(&snowball) {
            Ok(snowball)
        } else {
            Err(format!("{snowball:?}"))
        }
    })
    .await
}

/// What the index tells of a child: when it was started, in milliseconds, and whether it has a parent.
struct Child {
    at: i64,
    has_parent: bool,
}

/// The children of a root by their number, and the start of the root.
async fn children(mesh: &Mesh, started: &Started) -> (i64, BTreeMap<u32, Child>) {
    let request = ListWorkflowExecutionsRequest {
        namespace: "main".to_owned(),
        page_size: 1_000,
        query: format!("WorkflowId STARTS_WITH \"{}\"", started.id),
        ..Default::default()
    };
    let client = mesh.plain_client().await;
    let mut service = client.connection().workflow_service();
    let rows = service
        .list_workflow_executions(request.into_request())
        .await
        .expect("Temporal lists")
        .into_inner();
    let (mut root, mut children) = (0, BTreeMap::new());
    for row in rows.executions {
        let start = row.start_time.expect("a start time");
        let at = start.seconds * 1_000 + i64::from(start.nanos) / 1_000_000;
        let id = row.execution.expect("an execution").workflow_id;
        if id == started.id {
            root = at;
        } else {
            let number = id.rsplit('-').next().and_then(|number| number.parse().ok());
            let has_parent = row
                .parent_execution
                .is_some_and(|parent| !parent.workflow_id.is_empty());
            children.insert(number.expect("a number"), Child { at, has_parent });
        }
    }
    (root, children)
}

/// All of them, none before the pace allows: later is a slow machine's right, earlier is wrong.
async fn paced(mesh: &Mesh, started: &Started, all: usize, not_before_ms: &[(u32, i64)]) {
    let (root, children) = children(mesh, started).await;
    assert_eq!(children.len(), all, "{}", started.workload);
    for (number, due) in not_before_ms {
        let after = children[number].at - root;
        assert!(
            after >= *due,
            "{}: {number} was started after {after} ms",
            started.workload
        );
    }
}

#[tokio::test]
async fn a_snowball_comes_in_every_shape() {
    let mesh = mesh().await;
    let (mut client, mut sources) = (mesh.snowballs(), mesh.sources());
    let quiesced = [unique("heeds"), unique("heedless")];
    for workload in &quiesced {
        let quiesce = QuiesceRequest {
            workload_id: workload.clone(),
            ..Default::default()
        };
        sources.quiesce(quiesce).await.unwrap();
    }
    let [heeds, heedless] = quiesced;
    let ramp = "--width 12 --shape ramp --to 6 --period 3s --lifetime 0s";
    let ramp = start(&mesh, unique("ramp"), ramp).await;
    let bursts = "--width 12 --shape bursts --burst 5 --period 2s --lifetime 0s";
    let bursts = start(&mesh, unique("bursts"), bursts).await;
    // More than one spawner: the pace goes on from one to the next.
    let ebb = "--width 10 --shape ebb-and-flow --to 5 --period 4s --lifetimes uniform --lifetime 1s --max-children 10";
    let ebb = start(&mesh, unique("ebb"), ebb).await;
    let endless = "--endless --rate 15 --max-children 10 --lifetimes exponential --lifetime 1s";
    let endless = start(&mesh, unique("endless"), endless).await;
    let fails = start(&mesh, unique("fails"), "--width 6 --fail 1 --lifetime 0s").await;
    let renewed = "--width 3 --continue-as-new 1 --lifetime 1s";
    let renewed = start(&mesh, unique("renewed"), renewed).await;
    let late = start(&mesh, unique("late"), "--width 3 --tag-after 1s").await;
    let client_of = |more: &str| format!("--width 5 --lifetime 0s --producer {more}");
    let heeds = start(&mesh, heeds, &client_of("client")).await;
    let heedless = start(
        &mesh,
        heedless,
        &client_of("heedless-client --shape bursts --burst 3 --period 1s"),
    )
    .await;

    for (one, total) in [(&ramp, 13), (&bursts, 13), (&ebb, 11)] {
        let what = format!("{} comes to its end", one.workload);
        let ended = shows(&mut client, &one.id, &what, |snowball| {
            (snowball.total, snowball.open) == (total, 0)
        })
        .await;
        assert_eq!(
            (ended.root_status.as_str(), count(&ended, "Completed")),
            ("Completed", total),
            "{ended:?}"
        );
    }
    // The curves, by hand: t^2 to 9 at 3 s, then 6 a second; 5 each 2 s; 1.25 t^2 to 5 at 2 s, then falling.
    paced(&mesh, &ramp, 12, &[(1, 1_000), (4, 2_000), (9, 3_000), (11, 3_333)]).await;
    paced(&mesh, &bursts, 12, &[(5, 2_000), (9, 2_000), (10, 4_000)]).await;
    paced(&mesh, &ebb, 10, &[(5, 2_000), (9, 3_105)]).await;

    let failed = shows(&mut client, &fails.id, "all leaves have failed", |s| {
        (s.total, s.open) == (7, 0)
    })
    .await;
    assert_eq!(
        (count(&failed, "Failed"), failed.root_status.as_str()),
        (6, "Completed"),
        "{failed:?}"
    );

    a_client_starts_without_parents(&mesh, &heedless).await;
    holds(
        Duration::from_millis(500),
        "a client that asks stands at its gate",
        async || {
            let snowball = look_at(&mut mesh.snowballs(), &heeds.id).await?;
            when(
                (snowball.total, snowball.root_status.as_str()) == (0, "Running"),
                || format!("{snowball:?}"),
            )
        },
    )
    .await;
    let resume = ResumeRequest {
        workload_id: heeds.workload.clone(),
    };
    sources.resume(resume).await.unwrap();
    a_client_starts_without_parents(&mesh, &heeds).await;

    shows(&mut client, &late.id, "all of it is tagged at last", |s| s.total == 4).await;
    is_tagged_late(&mesh, &late.id).await;
    shows(&mut client, &renewed.id, "leaves go on in further runs", |s| {
        count(s, "ContinuedAsNew") >= 6 && s.open == 4
    })
    .await;
    // Ten children each, the last of which goes on: at least four spawners.
    shows(&mut client, &endless.id, "it goes on", |s| s.total > 35 && s.open >= 4).await;
    for one in [&late, &renewed, &endless] {
        let request = CancelSnowballRequest {
            snowball_id: one.id.clone(),
            ..Default::default()
        };
        client.cancel_snowball(request).await.unwrap();
    }
    for one in [&late, &renewed, &endless] {
        let what = format!("{} ends when it is told to", one.workload);
        let ended = shows(&mut client, &one.id, &what, |s| s.open == 0).await;
        assert_eq!(ended.root_status, "Completed", "{ended:?}");
    }
}

/// All of it is started, and ends, with a root that carries no tag.
async fn a_client_starts_without_parents(mesh: &Mesh, started: &Started) {
    let what = format!("{} is started", started.workload);
    let ended = shows(&mut mesh.snowballs(), &started.id, &what, |s| {
        (s.total, s.open, s.root_status.as_str()) == (5, 0, "Completed")
    })
    .await;
    assert_eq!(ended.workload_id, started.workload);
    let (_, children) = children(mesh, started).await;
    assert_eq!(children.len(), 5);
    assert!(children.values().all(|child| !child.has_parent));
}

/// Its history begins without a tag, and has its upsert later.
async fn is_tagged_late(mesh: &Mesh, workflow_id: &str) {
    let shown = mesh
        .temporal_in("main", &["workflow", "show", "--workflow-id", workflow_id])
        .await
        .ok();
    let history = json(&shown);
    let events = history["events"].as_array().expect("events");
    let began = &events[0]["workflowExecutionStartedEventAttributes"];
    assert!(
        began["searchAttributes"]["indexedFields"].get("WorkloadId").is_none(),
        "{began}"
    );
    let upserts = events.iter().filter(|event| {
        event["eventType"]
            .as_str()
            .is_some_and(|kind| kind.contains("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES"))
    });
    assert_eq!(upserts.count(), 1);
    let timers = events
        .iter()
        .filter(|event| event.get("timerFiredEventAttributes").is_some());
    assert_eq!(timers.count(), 1, "it waited first");
}

/// On a server that allows 20 pending children and 600 events, spawners of at most 20 children grow whatever the shape; one that does not
/// know of the limits meets them, or this would show nothing.
#[tokio::test]
async fn no_shape_meets_a_limit_of_the_server() {
    let mesh = mesh().await;
    let mut builder = DevMesh::builder()
        .binaries(mesh.binaries())
        .folder(mesh.folder("small-server"))
        .services([Part::Work]);
    for limit in [
        "limit.numPendingChildExecutions.error=20",
        "limit.historyCount.error=600",
    ] {
        builder = builder.temporal_arg("--dynamic-config-value").temporal_arg(limit);
    }
    let dev = builder.start().await.expect("a mesh of the test's own starts");
    let mut client = Snowballs::new(channel(&dev.address(Part::Work)));
    let pacing = |shape: SnowballShape, endless| {
        Some(SnowballPacing {
            shape: shape.into(),
            endless,
            ..Default::default()
        })
    };
    let within = SnowballSpec {
        max_children: 20,
        depth: 1,
        ..Default::default()
    };
    // Their leaves stay, so that as many children are pending as ever will be.
    let shapes = [
        ("tree", 70, 1, pacing(SnowballShape::Tree, false)),
        ("deep", 6, 2, pacing(SnowballShape::Tree, false)),
        ("bursts", 45, 1, pacing(SnowballShape::Bursts, false)),
        ("endless", 1, 1, pacing(SnowballShape::Tree, true)),
    ];
    let mut grown = Vec::new();
    for (name, width, depth, pacing) in shapes {
        let spec = SnowballSpec {
            workload_id: name.to_owned(),
            width,
            depth,
            rate_per_second: if name == "endless" { 25.0 } else { 0.0 },
            pacing,
            ..within.clone()
        };
        let answer = begin(&mut client, name, spec).await;
        grown.push((name, answer.0, answer.1));
    }
    let beyond = SnowballSpec {
        workload_id: "beyond".to_owned(),
        width: 30,
        max_children: 0,
        ..within
    };
    let (beyond, _) = begin(&mut client, "beyond", beyond).await;
    for (name, id, planned) in &grown {
        let what = format!("{name} grows to its plan");
        let enough = if *planned == 0 { 45 } else { planned + 1 };
        let snowball = shows(&mut client, id, &what, |s| s.total >= enough).await;
        assert_eq!(snowball.open, snowball.total, "{name}: nothing has ended: {snowball:?}");
    }
    let address = authority(&dev.temporal_address());
    eventually(SOON, "the server refuses a child too many", async || {
        let args = [
            "workflow",
            "show",
            "--workflow-id",
            &beyond,
            "--namespace",
            "main",
            "-o",
            "json",
        ];
        let ran = outside::program(&mesh.temporal_cli, &[&args[..], &["--address", &address]].concat()).await;
        when(ran.out.contains("PENDING_CHILD_WORKFLOWS_LIMIT_EXCEEDED"), || {
            ran.err.clone()
        })
    })
    .await;
    for (name, id, _) in &grown {
        let request = CancelSnowballRequest {
            snowball_id: id.clone(),
            ..Default::default()
        };
        client.cancel_snowball(request).await.unwrap();
        let what = format!("{name} ends when it is told to");
        let ended = shows(&mut client, id, &what, |s| s.open == 0).await;
        assert_eq!(
            (count(&ended, "Terminated"), count(&ended, "Failed")),
            (0, 0),
            "{name}: {ended:?}"
        );
    }
}

async fn begin(client: &mut Snowballs, name: &str, spec: SnowballSpec) -> (String, i64) {
    let request = StartSnowballRequest {
        spec: Some(spec),
        request_id: name.to_owned(),
        validate_only: false,
    };
    let started = client.start_snowball(request).await.expect("it starts").into_inner();
    (started.snowball_id, started.planned_workflows)
}
