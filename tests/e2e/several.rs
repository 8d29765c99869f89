//! Several targets that are one: stopped together, each source told, and nobody else's.

use crate::{
    cancel::{
        any_of, check_clean, millis, query, run_to_end, shown_as_running, snowball, spec, start, stop, to_the_end,
        workload,
    },
    details,
    harness::{mesh, unique},
    outside::json,
    poll::{SOON, eventually, when},
};
use quell_api::{
    canceler::v1::{CancellationSpec, Mode, StartCancellationRequest},
    work::v1::SnowballSpec,
};
use quell_cli::dev::Part;
use tonic::Code;

/// Two snowballs by id and sleepers by a query; a neighbour is let be. By the command, as an operator would.
#[tokio::test]
async fn several_targets_are_stopped_as_one() {
    let mesh = mesh().await;
    let (one, two, three, other) = (unique("any-1"), unique("any-2"), unique("any-3"), unique("other"));
    for id in [&one, &two] {
        let shape = SnowballSpec {
            width: 10,
            depth: 2,
            concurrency: 4,
            workload_id: id.clone(),
            ..SnowballSpec::default()
        };
        snowball(&mut mesh.snowballs(), shape).await;
    }
    mesh.start_many("Sleeper", &three, 5).await;
    mesh.start_many("Sleeper", &other, 3).await;
    mesh.indexed(&three, 5).await;
    mesh.indexed(&other, 3).await;
    for id in [&one, &two] {
        eventually(SOON, "it grows", async || {
            let running = mesh.running(id).await;
            when(running > 5, || format!("{running} run"))
        })
        .await;
    }
    let filter = format!("WorkloadId = '{three}'");
    let (work, canceler, batch) = (Part::Work, Part::Canceler, Part::Batch);
    let addresses = [work, canceler, batch].map(|part| mesh.address(part));
    let [work, canceler, batch] = &addresses;
    let stopped = crate::outside::program(
        &mesh.quell,
        &[
            "stop",
            "--work",
            work,
            "--canceler",
            canceler,
            "--batch",
            batch,
            "--workload-id",
            &one,
            "--workload-id",
            &two,
            "--query",
            &filter,
            "--reason",
            "three at once",
            "--yes",
            "--json",
        ],
    )
    .await
    .ok();
    let ended = json(stopped.lines().last().expect("a line"));
    let receipt = &ended["receipt"];
    assert_eq!(receipt["verdict"], "CLEAN", "{receipt}");
    let targets = &receipt["spec"]["target"]["any_of"];
    assert_eq!(
        *targets,
        serde_json::json!([{ "workload_id": one }, { "workload_id": two }, { "query": filter }]),
        "{receipt}"
    );
    for id in [&one, &two, &three] {
        assert_eq!(mesh.running(id).await, 0, "{id}");
    }
    assert_eq!(mesh.running(&other).await, 3, "nobody asked for that one");
    // Each source that can be told keeps still.
    for id in [&one, &two] {
        let quell = ["resume", "--work", work, "--workload-id", id, "--json"];
        for held in [true, false] {
            let resumed = crate::outside::program(&mesh.quell, &quell).await.ok();
            assert_eq!(json(&resumed)["was_quiesced"], held, "{resumed}");
        }
    }
    check_clean(&run_to_end(&mut mesh.cancellations(), spec(workload(&other))).await);
}

/// What has one of its parts, or open executions, in common with a running cancellation is refused; what has not is not.
#[tokio::test]
async fn a_part_of_a_running_cancellation_is_not_stopped_by_another() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let (one, two, apart) = (unique("part-1"), unique("part-2"), unique("apart"));
    for id in [&one, &two, &apart] {
        mesh.start_many("Sleeper", id, 3).await;
        mesh.indexed(id, 3).await;
    }
    // Asked, and nobody hears it: they stay open as long as the grace is.
    let slow = CancellationSpec {
        mode: Mode::Cancel.into(),
        grace: millis(600_000),
        ..spec(any_of([workload(&one), workload(&two)]))
    };
    let first = start(&mut client, slow).await;
    shown_as_running(&mut client, &one, &first.cancellation_id).await;
    let validated = |target| StartCancellationRequest {
        spec: Some(spec(target)),
        validate_only: true,
        ..Default::default()
    };
    let same_part = any_of([workload(&two), workload(&apart)]);
    let in_other_words = query(format!("WorkflowId STARTS_WITH '{two}-'"));
    for target in [workload(&one), same_part, in_other_words] {
        let status = client.start_cancellation(validated(target)).await.unwrap_err();
        let reason = details::reason("Start", &status, Code::FailedPrecondition);
        assert_eq!(reason, "CANCELLATION_RUNNING", "{status:?}");
        assert!(status.message().contains(&first.cancellation_id), "{status:?}");
    }
    let other = query(format!("WorkloadId = '{apart}'"));
    client
        .start_cancellation(validated(other))
        .await
        .expect("nothing in common with it");
    stop(&mut client, &first, "enough").await;
    to_the_end(&mut client, first).await;
    for id in [&one, &two, &apart] {
        check_clean(&run_to_end(&mut client, spec(workload(id))).await);
    }
}
