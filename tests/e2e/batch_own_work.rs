//! Batch processing of somebody else's work, on a queue that his worker serves.

use crate::{
    batch_processing::{get, settled, start, watched},
    harness::{Mesh, mesh, unique},
    poll::{SOON, eventually, when},
};
use quell_api::work::v1::BatchProcessingSpec;
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use theirs::Theirs;

/// Work of somebody else's: activities that are called by their names only.
mod theirs {
    #![allow(dead_code, reason = "the macro makes a handle for each, for calls by type")]

    use serde::{Deserialize, Serialize};
    use temporalio_macros::activities;
    use temporalio_sdk::{
        ApplicationFailure,
        activities::{ActivityContext, ActivityError},
    };

    /// A worker of somebody else's with work of its own.
    pub(super) struct Theirs;

    #[derive(Serialize, Deserialize)]
    pub(super) struct Item {
        number: u64,
    }

    #[activities]
    impl Theirs {
        /// Plain JSON numbers are as good as strings.
        #[activity(name = "cube_number")]
        async fn cube_number(_ctx: ActivityContext, item: Item) -> Result<u64, ActivityError> {
            Ok(item.number.pow(3))
        }

        #[activity(name = "largest_number")]
        async fn largest_number(_ctx: ActivityContext, _item: Item) -> Result<String, ActivityError> {
            Ok(u128::MAX.to_string())
        }

        #[activity(name = "refuse_seven")]
        async fn refuse_seven(_ctx: ActivityContext, item: Item) -> Result<u64, ActivityError> {
            if item.number == 7 {
                return Err(ActivityError::application(ApplicationFailure::non_retryable(
                    anyhow::anyhow!("seven is not for us"),
                )));
            }
            Ok(0)
        }
    }
}

/// Runs until it is dropped.
struct Plugged(Option<Box<dyn Fn() + Send + Sync>>);

impl Drop for Plugged {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}

async fn plugged_in(mesh: &Mesh, queue: &str) -> Plugged {
    let options = WorkerOptions::new(queue).register_activities(Theirs).build();
    let runtime = Runtime::from_current_tokio(Default::default()).expect("a runtime");
    let mut worker = Worker::new(&runtime, mesh.plain_client().await, options).expect("a worker");
    let stop = worker.shutdown_handle();
    // Its run is not Send; a test's runtime has one thread and would wait for a blocking task, so it gets its own.
    std::thread::spawn(move || {
        let own = tokio::runtime::Builder::new_current_thread().enable_all().build();
        own.expect("a runtime")
            .block_on(async move { worker.run().await.is_ok() })
    });
    Plugged(Some(Box::new(stop)))
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_your_own_fails_with_its_reason() {
    let mesh = mesh().await;
    let mut client = mesh.batch_processings();
    let queue = unique("their-queue");
    let _worker = plugged_in(&mesh, &queue).await;
    let of = |activity: &str| BatchProcessingSpec {
        total_numbers: 20,
        batch_size: 5,
        max_children: 2,
        activity: activity.to_owned(),
        activity_queue: queue.clone(),
    };
    let started = start(&mut client, of("refuse_seven")).await;
    let (ended, _) = watched(&mut client, &started.processing_id).await;
    assert_eq!((ended.status.as_str(), &ended.result), ("Failed", &None));
    assert!(ended.failure.contains("seven is not for us"), "{}", ended.failure);

    let started = start(&mut client, of("largest_number")).await;
    let (ended, _) = watched(&mut client, &started.processing_id).await;
    assert_eq!((ended.status.as_str(), &ended.result), ("Failed", &None));
    assert!(ended.failure.contains("does not fit 128 bits"), "{}", ended.failure);
    // What was still running below ends with it.
    eventually(SOON, "the tree has ended", async || {
        let processing = get(&mut client, &started.processing_id).await;
        let running = processing.counts.iter().any(|count| count.status == "Running");
        when(!running, || format!("{:?}", processing.counts))
    })
    .await;
}

#[tokio::test]
async fn a_start_joins_what_runs_and_runs_anew_what_has_ended() {
    let mesh = mesh().await;
    let mut client = mesh.batch_processings();
    // An activity that nobody has yet: it runs until somebody does.
    let queue = unique("late-queue");
    let spec = BatchProcessingSpec {
        total_numbers: 12,
        batch_size: 4,
        max_children: 3,
        activity: "cube_number".into(),
        activity_queue: queue.clone(),
    };
    let first = start(&mut client, spec.clone()).await;
    assert!(!first.joined);
    let (second, third) = tokio::join!(
        async { start(&mut mesh.batch_processings(), spec.clone()).await },
        async { start(&mut mesh.batch_processings(), spec.clone()).await }
    );
    for other in [second, third] {
        assert_eq!((other.run_id.as_str(), other.joined), (first.run_id.as_str(), true));
    }
    let running = get(&mut client, &first.processing_id).await;
    assert_eq!((running.status.as_str(), running.result), ("Running", None));

    // Terminated in the middle, it has ended; its children, which the server still terminates, are waited for.
    let terminate = ["workflow", "terminate", "--workflow-id", &first.processing_id];
    mesh.temporal_in("main", &terminate).await.ok();
    let ended = get(&mut client, &first.processing_id).await;
    assert_eq!(
        (ended.status.as_str(), ended.failure.as_str()),
        ("Terminated", "it was terminated")
    );
    let anew = start(&mut client, spec).await;
    assert!(!anew.joined && anew.run_id != first.run_id, "{anew:?}");

    let _worker = plugged_in(&mesh, &queue).await;
    let (ended, _) = watched(&mut client, &anew.processing_id).await;
    assert_eq!(ended.run_id, anew.run_id);
    let result = ended.result.expect("it completed");
    // The sum of the first cubes is the square of the sum of the numbers.
    assert_eq!((result.sum.as_str(), result.workflows, result.depth), ("6084", 4, 1));
    // Only the new run is counted.
    settled(&mut client, &anew.processing_id, 4).await;
}
