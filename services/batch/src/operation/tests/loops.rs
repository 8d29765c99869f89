//! Starting once, and watching to the end.

use super::{Fake, records::FakeRecords, unavailable};
use crate::operation::{
    action::{Action, Execution, Selection, Signal},
    activities::{Request, failure},
    attempt::{Attempt, Details},
    executions::{Row, Seen},
    job::{Job, State},
    loops::{self, Stop, Wanted, track},
    messages::{Beat, Source},
    spec::Spec,
};
use quell_api::batch_activities::{BatchCancelInput, TrackBatchOutput};
use quell_mesh::error::{Error, Reason};
use serde::Serialize;
use std::{sync::Mutex, time::Duration};
use temporalio_sdk::activities::ActivityError;

/// An attempt whose pauses take no time; the n-th one runs a scripted step.
pub(super) struct Scripted<F>(Mutex<(usize, F)>);

impl<F: FnMut(usize) -> bool + Send> Scripted<F> {
    pub(super) fn new(step: F) -> Self {
        Self(Mutex::new((0, step)))
    }

    pub(super) fn pauses(&self) -> usize {
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

pub(super) fn request() -> Request {
    Request::checked(input("WorkloadId = \"1\"", "mine"), "run", "7", "quell/cancellation/1").unwrap()
}

fn beat() -> Details<Beat> {
    Details::new(Beat::default())
}

async fn start_once(
    server: &Fake,
    attempt: &impl Attempt,
    request: &Request,
    beat: &Details<Beat>,
) -> Result<Job, Stop> {
    let wanted = Wanted {
        job_id: &request.job_id,
        spec: &request.spec,
        caller: &request.caller,
    };
    loops::start_once(server, attempt, &wanted, beat)
        .await
        .map(|(job, _)| job)
}

#[tokio::test]
async fn a_job_is_started_once_over_attempts() {
    let server = Fake::default();
    let attempt = Scripted::new(|_| false);
    let first = start_once(&server, &attempt, &request(), &beat()).await.unwrap();
    assert_eq!((first.id.as_str(), first.start_time_ms()), ("mine", 1_700_000_001_000));
    // The worker was killed; another attempt. Its own job in the slot must not look like a stranger's.
    let again = start_once(&server, &attempt, &request(), &beat()).await.unwrap();
    assert_eq!(again.start_time, first.start_time);
    server.end("mine", State::Failed, 0, 0);
    start_once(&server, &attempt, &request(), &beat()).await.unwrap();
    assert_eq!((server.world().starts, attempt.pauses()), (1, 0));
}

#[tokio::test]
async fn a_lost_answer_does_not_start_a_second_job() {
    let server = Fake::default();
    server.world().lose_answer = true;
    start_once(&server, &Scripted::new(|_| false), &request(), &beat())
        .await
        .unwrap();
    assert_eq!(server.world().starts, 1);
}

#[tokio::test]
async fn a_strangers_job_is_waited_for() {
    let server = Fake::with_job("theirs", State::Running);
    let told = beat();
    let attempt = Scripted::new(|n| {
        let holder = told.get().holder.unwrap();
        assert_eq!((holder.job_id.as_str(), holder.ours), ("theirs", false));
        if n == 3 {
            server.end("theirs", State::Completed, 5, 0);
        }
        false
    });
    start_once(&server, &attempt, &request(), &told).await.unwrap();
    assert_eq!((attempt.pauses(), server.world().starts), (3, 4));
    assert_eq!(
        server.world().counts.len(),
        4,
        "the cap is held against what matches when the slot is free"
    );
}

#[tokio::test]
async fn waiting_for_the_slot_can_be_cancelled() {
    let server = Fake::with_job("theirs", State::Running);
    let result = start_once(&server, &Scripted::new(|n| n == 2), &request(), &beat()).await;
    assert!(matches!(result, Err(Stop::Told)));
    assert!(!server.world().jobs.contains_key("mine"));
}

#[tokio::test]
async fn a_malformed_query_never_becomes_a_job() {
    let server = Fake::default();
    server.world().invalid = Some("invalid query: syntax error".to_owned());
    let Err(Stop::Failed(error)) = start_once(&server, &Scripted::new(|_| false), &request(), &beat()).await else {
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
    let Err(Stop::Failed(error)) = start_once(&server, &Scripted::new(|_| false), &request(), &beat()).await else {
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
        checked.spec.query(),
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
    let output = track(&*server, &FakeRecords::default(), &attempt, "mine", &figures)
        .await
        .unwrap();
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
    let records = FakeRecords::default();
    let output = track(
        &*server,
        &records,
        &Scripted::new(|_| false),
        "mine",
        &Details::new(seen),
    )
    .await
    .unwrap();
    assert!(!output.completed);
    assert_eq!((output.total, output.done), (200, 70));
}

#[tokio::test]
async fn an_unknown_job_fails_for_good() {
    let figures = Details::new(TrackBatchOutput::default());
    let records = FakeRecords::default();
    let attempt = Scripted::new(|_| false);
    let Err(Stop::Failed(error)) = track(&Fake::default(), &records, &attempt, "nope", &figures).await else {
        panic!("it must fail");
    };
    assert_eq!(error.reason(), Reason::NotFound);
    let ActivityError::Application(failure) = failure(&error) else {
        panic!("an application failure")
    };
    assert!(failure.is_non_retryable());
}

#[tokio::test]
async fn more_than_may_be_affected_never_becomes_a_job() {
    let server = Fake::default();
    let mut request = request();
    request.spec.max_affected = 199;
    let Err(Stop::Failed(error)) = start_once(&server, &Scripted::new(|_| false), &request, &beat()).await else {
        panic!("it must fail");
    };
    assert_eq!(error.reason(), Reason::MaxAffectedExceeded);
    assert_eq!(server.world().starts, 0);
    let ActivityError::Application(failure) = failure(&error) else {
        panic!("an application failure")
    };
    assert!(failure.is_non_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_jobs_progress_is_counted_where_the_server_is_silent() {
    let server = Fake::default();
    let request = request();
    let wanted = Wanted {
        job_id: "mine",
        spec: &request.spec,
        caller: "",
    };
    let told = beat();
    let attempt = Scripted::new(|n| {
        match n {
            1 => {
                assert_eq!((told.get().figures.total, told.get().figures.done), (200, 0));
                server.world().matches = Some(150);
                // The index is asked every two seconds; the clock is the test's.
                server.world().counts.clear();
            }
            2 => server.end("mine", State::Completed, 200, 0),
            _ => panic!("it has ended"),
        }
        false
    });
    let ran = loops::run(&server, &attempt, &wanted, &told).await.unwrap();
    assert!(ran.completed);
    assert_eq!((ran.figures.done, ran.figures.source), (200, Source::Server));
}

#[tokio::test]
async fn a_signals_progress_is_sampled() {
    use crate::operation::{messages::Figures, progress::Meter};
    let server = Fake::default();
    let seen = |n: usize| Seen {
        open: true,
        history_length: 2,
        row: Row {
            execution: Execution {
                workflow_id: format!("w-{n}"),
                run_id: String::new(),
            },
            ..Row::default()
        },
        ..Seen::default()
    };
    server.world().executions = (0..100).map(seen).collect();
    let spec = Spec {
        action: Action::Signal(Signal {
            name: "s".to_owned(),
            input: Vec::new(),
        }),
        selection: Selection::Query("q".to_owned()),
        reason: "why".to_owned(),
        max_affected: 0,
    };
    let mut meter = Meter::before(&server, &spec, 100).await;
    // The server goes from the newest: half of the list is done.
    for seen in server.world().executions.iter_mut().take(50) {
        seen.history_length = 5;
    }
    let job = super::job("mine", State::Running);
    let figures = meter.read(&server, &spec, &job, &Figures::default()).await;
    assert_eq!(
        (figures.total, figures.done, figures.source),
        (100, 50, Source::Sampled)
    );
}

#[tokio::test]
async fn a_reset_never_meets_the_runs_that_it_put_in_place() {
    use crate::operation::{
        action::{Reset, ResetTo},
        job::Moment,
    };
    let server = Fake::default();
    server.world().executions = vec![Seen {
        row: Row {
            start: Some(Moment::new(1_700_000_000, 0)),
            ..Row::default()
        },
        ..Seen::default()
    }];
    let mut request = request();
    request.spec.action = Action::Reset(Reset {
        to: ResetTo::First,
        current_run_only: false,
        exclude: Vec::new(),
    });
    start_once(&server, &Scripted::new(|_| false), &request, &beat())
        .await
        .unwrap();
    let bound = " AND StartTime <= \"2023-11-14T22:13:20Z\"";
    assert_eq!(server.world().queries, [format!("{}{bound}", request.spec.query())]);
}
