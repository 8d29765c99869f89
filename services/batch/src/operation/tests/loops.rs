//! Starting once, and watching to the end.

use super::{Fake, unavailable};
use crate::operation::{
    activities::{Request, failure},
    attempt::{Attempt, Details},
    job::State,
    loops::{StartProgress, Stop, start_once, track},
};
use quell_api::batch_activities::{BatchCancelInput, TrackBatchOutput};
use quell_mesh::error::{Error, Reason};
use serde::Serialize;
use std::{sync::Mutex, time::Duration};
use temporalio_sdk::activities::ActivityError;

/// An attempt whose pauses take no time; the n-th one runs a scripted step.
struct Scripted<F>(Mutex<(usize, F)>);

impl<F: FnMut(usize) -> bool + Send> Scripted<F> {
    fn new(step: F) -> Self {
        Self(Mutex::new((0, step)))
    }

    fn pauses(&self) -> usize {
        self.0.lock().unwrap().0
    }
}

#[async_trait::async_trait]
impl<F: FnMut(usize) -> bool + Send> Attempt for Scripted<F> {
    fn is_stopped(&self) -> bool {
        false
    }

    async fn pause(&self, _time: Duration) -> bool {
        let mut script = self.0.lock().unwrap();
        script.0 += 1;
        let n = script.0;
        assert!(n < 50, "it waits for ever");
        (script.1)(n)
    }

    async fn beat<D: Serialize + Send + Sync + 'static>(&self, _details: D) {}
}

fn input(query: &str, job_id: &str) -> BatchCancelInput {
    BatchCancelInput {
        query: query.to_owned(),
        reason: "why".to_owned(),
        job_id: job_id.to_owned(),
    }
}

fn request() -> Request {
    Request::checked(input("WorkloadId = \"1\"", "mine"), "run", "7", "quell/cancellation/1").unwrap()
}

fn progress() -> Details<StartProgress> {
    Details::new(StartProgress::default())
}

#[tokio::test]
async fn a_job_is_started_once_over_attempts() {
    let server = Fake::default();
    let attempt = Scripted::new(|_| false);
    let first = start_once(&server, &attempt, &request(), &progress()).await.unwrap();
    assert_eq!(
        (first.job_id.as_str(), first.start_time_ms),
        ("mine", 1_700_000_001_000)
    );
    // The worker was killed; another attempt. Its own job in the slot must not look like a stranger's.
    let again = start_once(&server, &attempt, &request(), &progress()).await.unwrap();
    assert_eq!(again.start_time_ms, first.start_time_ms);
    server.end("mine", State::Failed, 0, 0);
    start_once(&server, &attempt, &request(), &progress()).await.unwrap();
    assert_eq!((server.world().starts, attempt.pauses()), (1, 0));
}

#[tokio::test]
async fn a_lost_answer_does_not_start_a_second_job() {
    let server = Fake::default();
    server.world().lose_answer = true;
    start_once(&server, &Scripted::new(|_| false), &request(), &progress())
        .await
        .unwrap();
    assert_eq!(server.world().starts, 1);
}

#[tokio::test]
async fn a_strangers_job_is_waited_for() {
    let server = Fake::with_job("theirs", State::Running);
    let told = progress();
    let attempt = Scripted::new(|n| {
        assert_eq!(told.get().waiting_for, "theirs");
        if n == 3 {
            server.end("theirs", State::Completed, 5, 0);
        }
        false
    });
    start_once(&*server, &attempt, &request(), &told).await.unwrap();
    assert_eq!((told.get().refused, server.world().starts), (3, 4));
    assert_eq!(server.world().counts.len(), 1, "the query is proven once");
}

#[tokio::test]
async fn waiting_for_the_slot_can_be_cancelled() {
    let server = Fake::with_job("theirs", State::Running);
    let result = start_once(&*server, &Scripted::new(|n| n == 2), &request(), &progress()).await;
    assert!(matches!(result, Err(Stop::Told)));
    assert!(!server.world().jobs.contains_key("mine"));
}

#[tokio::test]
async fn a_malformed_query_never_becomes_a_job() {
    let server = Fake::default();
    server.world().invalid = Some("invalid query: syntax error".to_owned());
    let Err(Stop::Failed(error)) = start_once(&server, &Scripted::new(|_| false), &request(), &progress()).await else {
        panic!("it must fail");
    };
    assert_eq!(server.world().starts, 0);
    let ActivityError::Application(failure) = failure(&error) else {
        panic!("an application failure")
    };
    assert!(failure.is_non_retryable() && failure.to_string().contains("query: invalid query: syntax error"));
    assert_eq!(failure.type_name(), Some("INVALID_ARGUMENT"));
}

#[tokio::test]
async fn the_id_of_an_ordinary_workflow_is_refused() {
    let server = Fake::default();
    server.world().workflows.push("mine".to_owned());
    let Err(Stop::Failed(error)) = start_once(&server, &Scripted::new(|_| false), &request(), &progress()).await else {
        panic!("it must fail");
    };
    assert_eq!(error.reason(), Reason::AlreadyExists);
}

#[test]
fn an_unreachable_server_is_tried_again() {
    let ActivityError::Application(failure) = failure(&unavailable()) else {
        panic!("an application failure")
    };
    assert!(!failure.is_non_retryable());
    assert_eq!(failure.type_name(), Some("TEMPORAL_UNREACHABLE"));
}

#[test]
fn the_input_is_checked_and_the_job_id_is_stable() {
    let checked = Request::checked(input(" A = 1 OR B = 2 ", ""), "run", "7", "w").unwrap();
    assert_eq!(checked.job_id, "quell-batch/run/7");
    assert_eq!(
        checked.query,
        "(A = 1 OR B = 2) AND NOT WorkflowId STARTS_WITH \"quell/\" AND NOT WorkflowId STARTS_WITH \"quell-\""
    );
    let mut bad = input("TemporalNamespaceDivision IS NOT NULL", "");
    bad.reason = String::new();
    let Err(Error::InvalidArgument(violations)) = Request::checked(bad, "run", "7", "w") else {
        panic!("refused")
    };
    assert_eq!(
        violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(),
        ["query", "reason"]
    );
    assert!(Request::checked(input("  ", "x"), "run", "7", "w").is_err());
}

#[tokio::test]
async fn a_job_is_watched_to_its_end() {
    let server = Fake::with_job("mine", State::Running);
    let figures = Details::new(TrackBatchOutput::default());
    let attempt = Scripted::new(|n| {
        match n {
            1 => {
                let mut world = server.world();
                let job = world.jobs.get_mut("mine").unwrap();
                (job.total, job.done) = (200, 50);
            }
            2 => {
                assert_eq!((figures.get().total, figures.get().done), (200, 50));
                server.end("mine", State::Completed, 199, 1);
            }
            _ => panic!("it has ended"),
        }
        false
    });
    let output = track(&*server, &attempt, "mine", &figures).await.unwrap();
    assert!(output.completed);
    assert_eq!((output.total, output.done, output.failed), (200, 199, 1));
}

#[tokio::test]
async fn the_figures_of_a_stopped_job_are_those_seen_last() {
    let server = Fake::with_job("mine", State::Failed);
    let seen = TrackBatchOutput {
        completed: false,
        total: 200,
        done: 70,
        failed: 0,
    };
    let output = track(&*server, &Scripted::new(|_| false), "mine", &Details::new(seen))
        .await
        .unwrap();
    assert!(!output.completed);
    assert_eq!((output.total, output.done), (200, 70));
}

#[tokio::test]
async fn an_unknown_job_fails_for_good() {
    let figures = Details::new(TrackBatchOutput::default());
    let Err(Stop::Failed(error)) = track(&Fake::default(), &Scripted::new(|_| false), "nope", &figures).await else {
        panic!("it must fail");
    };
    assert_eq!(error.reason(), Reason::NotFound);
    let ActivityError::Application(failure) = failure(&error) else {
        panic!("an application failure")
    };
    assert!(failure.is_non_retryable());
}
