//! Schedules that start the target: paused with the fence, and given back whatever happens.

use crate::{
    cancel::{check_clean, run_to_end, spec, start, stop, to_the_end, workload},
    harness::{Shared, mesh, unique},
    outside::json,
    poll::{SOON, eventually, when},
};
use quell_api::canceler::v1::{Verdict, cancellation_service_client::CancellationServiceClient};
use quell_cli::dev::Part;

/// A schedule that starts the target every second; another beside it that starts something else.
#[tokio::test]
async fn a_schedule_of_the_target_is_paused_and_given_back() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("schedule");
    let (ours, other) = (format!("{id}-ours"), format!("{id}-other"));
    mesh.schedule(&ours, &id).await;
    mesh.schedule(&other, &format!("{id}-not")).await;
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
            let (paused, notes) = mesh.schedule_state(&ours).await;
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
    assert!(!mesh.schedule_state(&ours).await.0);
    assert_eq!(mesh.schedule_state(&other).await, (false, String::new()));
    eventually(SOON, "the schedule goes on", async || {
        let running = mesh.running(&id).await;
        when(running >= 1, || format!("{running} running"))
    })
    .await;

    mesh.unschedule(&[&ours, &other]).await;
    for tag in [id.clone(), format!("{id}-not")] {
        check_clean(&run_to_end(&mut client, spec(workload(&tag))).await);
    }
}

/// One that another cancellation has left paused is taken over, or it would come back in the middle; one that a person has paused is
/// that person's.
#[tokio::test]
async fn only_what_a_cancellation_has_paused_is_given_back() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("paused");
    let (left, theirs) = (format!("{id}-left"), format!("{id}-theirs"));
    for (schedule, note) in [
        (&left, "paused by quell/cancellation/that-is-gone"),
        (&theirs, "on holiday"),
    ] {
        mesh.schedule(schedule, &id).await;
        let pause = [
            "schedule",
            "toggle",
            "--schedule-id",
            schedule,
            "--pause",
            "--reason",
            note,
        ];
        mesh.temporal_in("main", &pause).await.ok();
    }
    let ended = run_to_end(&mut client, spec(workload(&id))).await;
    assert_eq!(ended.receipt.verdict(), Verdict::Clean, "{:#?}", ended.receipt);
    assert_eq!(ended.receipt.schedules, std::slice::from_ref(&left));
    assert!(!mesh.schedule_state(&left).await.0);
    assert_eq!(mesh.schedule_state(&theirs).await, (true, "on holiday".to_owned()));
    mesh.unschedule(&[&left, &theirs]).await;
    check_clean(&run_to_end(&mut client, spec(workload(&id))).await);
}

/// The source takes the call and never answers: the cancellation is told to stop before the fence has said what it paused.
#[tokio::test]
async fn what_was_paused_is_given_back_though_the_fence_never_answered() {
    let mesh = mesh().await;
    let id = unique("fence-lost");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", silent.local_addr().expect("it is bound"));
    let queue = format!("{id}-queue");
    let settings = [
        ("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str()),
        ("QUELL_WORK_ADDRESS", address.as_str()),
    ];
    let own = mesh.own(Part::Canceler, &id, &settings).await;
    let mut client = CancellationServiceClient::new(own.channel());
    let schedule = format!("{id}-schedule");
    mesh.schedule(&schedule, &id).await;
    let started = start(&mut client, spec(workload(&id))).await;
    eventually(SOON, "the schedule is paused", async || {
        let (paused, notes) = mesh.schedule_state(&schedule).await;
        when(paused, || notes)
    })
    .await;
    stop(&mut client, &started, "too early").await;
    let ended = to_the_end(&mut client, started).await;
    assert_eq!(ended.receipt.verdict(), Verdict::Aborted, "{:#?}", ended.receipt);
    assert_eq!(ended.receipt.stopped, 0);
    let (paused, notes) = mesh.schedule_state(&schedule).await;
    assert!(!paused && notes.contains("given back"), "{notes}");
    mesh.unschedule(&[&schedule]).await;
    check_clean(&run_to_end(&mut mesh.cancellations(), spec(workload(&id))).await);
}

impl Shared {
    /// Makes a schedule that starts an execution with this WorkloadId every second.
    async fn schedule(&self, schedule: &str, workload_id: &str) {
        let attribute = format!("WorkloadId=\"{workload_id}\"");
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
        self.temporal_in("main", &create).await.ok();
    }

    /// Whether it is paused, and its note. The server takes one query of a schedule at a time, so we may have to ask again.
    async fn schedule_state(&self, schedule: &str) -> (bool, String) {
        let describe = ["schedule", "describe", "--schedule-id", schedule];
        let ran = eventually(SOON, "the schedule is described", async || {
            let ran = self.temporal_in("main", &describe).await;
            if ran.code == 0 { Ok(ran.out) } else { Err(ran.err) }
        })
        .await;
        let state = &json(&ran)["schedule"]["state"];
        let paused = state["paused"].as_bool().unwrap_or_default();
        (paused, state["notes"].as_str().unwrap_or_default().to_owned())
    }

    async fn unschedule(&self, schedules: &[&str]) {
        for schedule in schedules {
            self.temporal_in("main", &["schedule", "delete", "--schedule-id", schedule])
                .await
                .ok();
        }
    }
}
