//! Limits that are changed while a cancellation runs, and what a watcher sees of them.

use crate::{
    cancel::{self, Canceler, check_clean, millis, spec, start, watch_to_end, workload},
    details,
    harness::{Mesh, channel, mesh, unique},
    poll::{LONG, SOON, eventually, when},
};
use quell_api::canceler::v1::{
    AdjustCancellationRequest, Cancellation, CancellationSpec, Limits, Phase, Verdict, WatchCancellationRequest,
};
use quell_cli::dev::Part;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// Changes limits; tells what holds then.
pub(crate) async fn adjust(client: &mut Canceler, id: &str, limits: Limits) -> Result<Limits, Status> {
    let request = AdjustCancellationRequest {
        cancellation_id: id.to_owned(),
        limits: Some(limits),
    };
    let answer = client.adjust_cancellation(request).await?.into_inner();
    Ok(answer.limits.expect("the answer has all limits"))
}

/// A cancellation in the middle of a slow sweep.
async fn sweeping(mesh: &Mesh, client: &mut Canceler, id: &str, targets: usize, spec: CancellationSpec) -> String {
    mesh.start_many("Sleeper", id, targets).await;
    mesh.indexed(id, i64::try_from(targets).unwrap()).await;
    let started = start(client, spec).await;
    look(client, &started.cancellation_id, "it stops", |seen| stopped(seen) > 0).await;
    started.cancellation_id
}

/// Looks until a running cancellation is as wanted.
async fn look(client: &mut Canceler, id: &str, what: &str, wanted: impl Fn(&Cancellation) -> bool) -> Cancellation {
    eventually(LONG, what, async || {
        let seen = cancel::get(client, id).await?;
        assert_ne!(seen.phase(), Phase::Done, "too late for {what}: {seen:?}");
        when(wanted(&seen), || format!("{seen:?}"))?;
        Ok(seen)
    })
    .await
}

fn stopped(seen: &Cancellation) -> i64 {
    seen.progress.as_ref().map_or(0, |progress| progress.stopped)
}

fn limit(seen: &Cancellation) -> i32 {
    seen.progress.as_ref().map_or(0, |progress| progress.concurrency_limit)
}

#[tokio::test]
async fn concurrency_and_rate_are_changed_in_a_running_window() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("adjusted");
    let slow = CancellationSpec {
        concurrency: 2,
        ..spec(workload(&id))
    };
    let cancellation = sweeping(&mesh, &mut client, &id, 1_500, slow).await;

    // Almost a standstill: whatever was under way, a stop a second is what may follow.
    let limits = Limits {
        stops_per_second: Some(1),
        ..Limits::default()
    };
    let answered = adjust(&mut client, &cancellation, limits).await.unwrap();
    let asked = Instant::now();
    assert_eq!((answered.concurrency, answered.stops_per_second), (Some(2), Some(1)));
    assert_eq!(answered.deadline, millis(3_600_000));
    let (mut before, mut seen_at) = (0, Instant::now());
    eventually(SOON, "the rate holds", async || {
        // Figures come with heartbeats, so what two looks close to each other see says nothing.
        let took = seen_at.elapsed();
        when(took >= Duration::from_secs(3), || "too soon to tell".to_owned())?;
        let now = stopped(&cancel::get(&mut client, &cancellation).await?);
        let gone = now - before;
        (before, seen_at) = (now, Instant::now());
        when(gone <= 2 + i64::try_from(took.as_secs()).unwrap(), || {
            format!("{gone} in {took:?}")
        })
    })
    .await;
    eprintln!(
        "e2e: a rate limit was seen to hold {:?} after the answer",
        asked.elapsed()
    );
    let (first, since) = (
        stopped(&cancel::get(&mut client, &cancellation).await.unwrap()),
        Instant::now(),
    );
    look(&mut client, &cancellation, "three more are stopped", |seen| {
        stopped(seen) >= first + 3
    })
    .await;
    let more = stopped(&cancel::get(&mut client, &cancellation).await.unwrap()) - first;
    // What was stopped when we looked first may be half a second older than that look.
    let fair = i64::try_from(since.elapsed().as_secs()).unwrap() + 4;
    assert!(more <= fair, "{more} stopped in {:?} at one a second", since.elapsed());

    // More at a time than it was started with, and no rate.
    let limits = Limits {
        concurrency: Some(9),
        stops_per_second: Some(0),
        deadline: None,
    };
    adjust(&mut client, &cancellation, limits).await.unwrap();
    let asked = Instant::now();
    let seen = look(&mut client, &cancellation, "the limit rises", |seen| limit(seen) > 2).await;
    eprintln!(
        "e2e: a raised concurrency was seen {:?} after the answer",
        asked.elapsed()
    );
    assert!(limit(&seen) <= 9, "{seen:?}");
    let shown = seen.limits.as_ref().expect("limits are shown");
    assert_eq!((shown.concurrency, shown.stops_per_second), (Some(9), Some(0)));
    let progress = seen.progress.as_ref().unwrap();
    assert!(
        progress.base_latency.is_some() && progress.latency.is_some(),
        "{progress:?}"
    );

    watch_to_end(&mut client, &cancellation).await;
    let receipt = cancel::receipt(&mut client, &cancellation).await;
    cancel::check_clean_receipt(&receipt);
    assert_eq!(
        receipt.spec.as_ref().unwrap().concurrency,
        2,
        "the receipt keeps what was asked for"
    );
    let changes: Vec<_> = receipt
        .adjustments
        .iter()
        .map(|change| change.limits.unwrap())
        .collect();
    assert_eq!(changes.len(), 2, "{receipt:#?}");
    assert_eq!(
        (changes[0].stops_per_second, changes[1].concurrency),
        (Some(1), Some(9))
    );
    assert_eq!(mesh.running(&id).await, 0);

    // There is nothing left to limit.
    let status = adjust(&mut client, &cancellation, limits).await.unwrap_err();
    assert_eq!(
        details::reason("AdjustCancellation", &status, Code::FailedPrecondition),
        "WRONG_STATE"
    );
    let unknown = unique("nobody");
    details::not_found(
        "AdjustCancellation",
        &adjust(&mut client, &unknown, limits).await.unwrap_err(),
        &unknown,
    );
}

#[tokio::test]
async fn a_deadline_is_put_off_and_brought_forward() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let id = unique("deadline");
    let short = CancellationSpec {
        concurrency: 1,
        deadline: millis(20_000),
        ..spec(workload(&id))
    };
    // So many that they last until the rate holds, a second or so after it was asked for.
    let cancellation = sweeping(&mesh, &mut client, &id, 1_500, short).await;
    let limits = |deadline, rate| Limits {
        stops_per_second: rate,
        deadline: millis(deadline),
        ..Limits::default()
    };
    adjust(&mut client, &cancellation, limits(3_600_000, Some(1)))
        .await
        .unwrap();
    eventually(LONG, "it goes on after its first deadline", async || {
        let seen = cancel::get(&mut client, &cancellation).await?;
        assert_ne!(seen.phase(), Phase::Done, "{seen:?}");
        let start = cancel::at(seen.start_time.as_ref());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let elapsed = i64::try_from(now.as_millis()).unwrap() - start;
        when(elapsed > 23_000, || format!("{elapsed} ms after its start"))
    })
    .await;
    assert!(mesh.running(&id).await > 0);

    adjust(&mut client, &cancellation, limits(5_000, None)).await.unwrap();
    watch_to_end(&mut client, &cancellation).await;
    let receipt = cancel::receipt(&mut client, &cancellation).await;
    assert_eq!(receipt.verdict(), Verdict::Blocked, "{receipt:#?}");
    assert!(receipt.explanation.contains("deadline"), "{}", receipt.explanation);
    assert_eq!(receipt.adjustments.len(), 2, "{receipt:#?}");
    check_clean(&cancel::run_to_end(&mut client, spec(workload(&id))).await);
}

/// A thousand watchers of one cancellation: each sees it end. (That they cost one read in half a second is a unit test of the hub.)
#[tokio::test]
async fn a_thousand_watchers_all_see_the_end() {
    const WATCHERS: usize = 1_000;
    /// An HTTP/2 connection carries some hundred streams.
    const CONNECTIONS: usize = 10;
    let mesh = mesh().await;
    let id = unique("watched");
    let queue = unique("canceler-queue");
    let own = mesh
        .own(Part::Canceler, &id, &[("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str())])
        .await;
    let mut client = Canceler::new(own.channel());
    let slow = CancellationSpec {
        concurrency: 1,
        ..spec(workload(&id))
    };
    let cancellation = sweeping(&mesh, &mut client, &id, 300, slow).await;
    let limits = Limits {
        stops_per_second: Some(1),
        ..Limits::default()
    };
    adjust(&mut client, &cancellation, limits).await.unwrap();

    let channels: Vec<_> = (0..CONNECTIONS).map(|_| channel(&own.address)).collect();
    let mut watchers = Vec::new();
    for n in 0..WATCHERS {
        let mut client = Canceler::new(channels[n % CONNECTIONS].clone());
        let request = WatchCancellationRequest {
            cancellation_id: cancellation.clone(),
        };
        let mut stream = client
            .watch_cancellation(request)
            .await
            .expect("the watch begins")
            .into_inner();
        watchers.push(tokio::spawn(async move {
            let mut last = None;
            while let Some(message) = stream.message().await? {
                last = message.cancellation;
            }
            Ok::<_, Status>(last)
        }));
    }
    // All of them watch: let it go on.
    let fast = Limits {
        concurrency: Some(50),
        stops_per_second: Some(0),
        deadline: None,
    };
    adjust(&mut client, &cancellation, fast).await.unwrap();
    let mut done = 0;
    for watcher in watchers {
        let last = tokio::time::timeout(LONG, watcher).await.expect("it ends").unwrap();
        let last = last.expect("no watch breaks").expect("at least one look");
        assert_eq!(
            (last.phase(), last.verdict()),
            (Phase::Done, Verdict::Clean),
            "{last:?}"
        );
        done += 1;
    }
    assert_eq!(done, WATCHERS);
}
