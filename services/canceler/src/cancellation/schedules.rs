//! Schedules that start the target: paused before the fence is taken, given back when the cancellation is over.
//!
//! A schedule cannot be asked for by what it starts, so each of the namespace is described; those whose action carries the
//! target's WorkloadId are the target's. One that starts something which only tags itself later, or which starts the target in
//! its turn, goes unseen here: the confirmation meets what it starts.
//!
//! A paused schedule carries our note. By it a second attempt knows what the first one had paused, and nothing is given back
//! that somebody else has touched meanwhile.

use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use futures::{StreamExt as _, stream};
use quell_mesh::visibility::workload_tag;
use serde::{Deserialize, Serialize};
use temporalio_common::protos::temporal::api::{
    schedule::v1::{ScheduleListEntry, SchedulePatch, ScheduleState, schedule_action::Action},
    workflowservice::v1::{DescribeScheduleRequest, ListSchedulesRequest, PatchScheduleRequest},
};
use tonic::{Code, Status};

use super::{
    namespace::Namespace,
    status::{call_error, is_passing},
};

/// Calls in flight at a time: as many as a small server serves without a queue.
const AT_ONCE: usize = 8;
/// How long schedules may hold up the fence: every second of it is a second of growth.
const LIMIT: Duration = Duration::from_secs(10);
/// How the notes of schedules begin that a cancellation has paused.
const NOTE: &str = "paused by quell/cancellation/";
/// Schedules of a page, as asked for.
const PAGE: i32 = 1_000;

/// A schedule that was paused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Paused {
    /// Its id.
    pub schedule_id: String,
    /// The note that it had, put back with it; empty when it had none, or when an attempt that was lost had replaced it.
    pub note: String,
}

/// What became of the target's schedules.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Paused by us.
    pub(crate) paused: Vec<Paused>,
    /// Whether one may be paused that is not among them.
    pub(crate) unsure: bool,
    /// For an operator: what could not be looked at or paused.
    pub(crate) problems: Vec<String>,
}

/// What Describe says of a schedule.
struct Described {
    schedule_id: String,
    is_targets: bool,
    state: ScheduleState,
}

/// Pauses what starts executions with one of these WorkloadIds and is not paused yet. What another cancellation has paused is taken over: it
/// would be given back at that one's end.
pub(crate) async fn pause(main: &Namespace, cancellation_id: &str, workload_ids: &[String]) -> Found {
    let mut found = Found::default();
    let note = note(cancellation_id);
    let described = describe_all(main, workload_ids, &mut found.problems).await;
    // An attempt that was lost may have paused one which cannot be looked at now.
    found.unsure = !found.problems.is_empty();
    for Described { schedule_id, state, .. } in described.into_iter().filter(|one| one.is_targets) {
        let ours = state.notes.starts_with(NOTE);
        let paused = Paused {
            schedule_id,
            note: if ours { String::new() } else { state.notes.clone() },
        };
        if state.paused && (!ours || state.notes == note) {
            found.paused.extend(ours.then_some(paused));
            continue;
        }
        let patch = SchedulePatch {
            pause: note.clone(),
            ..SchedulePatch::default()
        };
        match main.patch_schedule(&paused.schedule_id, patch).await {
            Ok(()) => found.paused.push(paused),
            Err(status) => {
                found.problems.push(problem(&paused.schedule_id, "paused", &status));
                found.unsure = true;
            }
        }
    }
    found
}

/// What starts executions with one of these WorkloadIds and is not paused, and what could not be looked at. Changes nothing.
pub(crate) async fn find(main: &Namespace, workload_ids: &[String]) -> (Vec<String>, Vec<String>) {
    let mut problems = Vec::new();
    let described = describe_all(main, workload_ids, &mut problems).await;
    let active = described.into_iter().filter(|one| one.is_targets && !one.state.paused);
    (active.map(|one| one.schedule_id).collect(), problems)
}

/// Gives back what was paused, as far as it still carries our note; when that is not all that may be paused, what starts
/// executions with one of these WorkloadIds is searched for our note, too. Says what could not be given back; one that is gone, or that
/// somebody else has touched, is nobody's problem.
///
/// # Errors
/// When the server did not answer for one of them, so that another try is worth it: the last such answer. The others are given
/// back all the same.
pub(crate) async fn give_back(
    main: &Namespace,
    cancellation_id: &str,
    paused: &[Paused],
    search: &[String],
) -> Result<Vec<String>, Status> {
    let mut problems = Vec::new();
    let mut paused = paused.to_vec();
    if !search.is_empty() {
        let note = note(cancellation_id);
        let described = describe_all(main, search, &mut problems).await;
        let forgotten = described.into_iter().filter(|one| one.state.notes == note);
        paused.extend(forgotten.map(|one| Paused {
            schedule_id: one.schedule_id,
            note: String::new(),
        }));
    }
    let mut unanswered = None;
    for one in paused {
        match give_one_back(main, cancellation_id, &one).await {
            Ok(()) => {}
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) if matches!(status.code(), Code::PermissionDenied | Code::InvalidArgument) => {
                problems.push(problem(&one.schedule_id, "given back", &status));
            }
            Err(status) => unanswered = Some(status),
        }
    }
    unanswered.map_or(Ok(problems), Err)
}

async fn give_one_back(main: &Namespace, cancellation_id: &str, paused: &Paused) -> Result<(), Status> {
    let note = note(cancellation_id);
    let state = main.describe_schedule(&paused.schedule_id, &[]).await?.state;
    if !state.paused || state.notes != note {
        return Ok(());
    }
    let unpause = if paused.note.is_empty() {
        format!("given back by {note}")
    } else {
        paused.note.clone()
    };
    let patch = SchedulePatch {
        unpause,
        ..SchedulePatch::default()
    };
    main.patch_schedule(&paused.schedule_id, patch).await
}

/// The note of a schedule that this cancellation has paused.
fn note(cancellation_id: &str) -> String {
    format!("{NOTE}{cancellation_id}")
}

fn problem(schedule_id: &str, what: &str, status: &Status) -> String {
    let reason = call_error(status).reason;
    format!("schedule {schedule_id:?} could not be {what}: {reason}")
}

/// Describes all schedules of the namespace, as far as that can be done in time.
async fn describe_all(main: &Namespace, workload_ids: &[String], problems: &mut Vec<String>) -> Vec<Described> {
    let started = Instant::now();
    let mut described = Vec::new();
    let mut token = Vec::new();
    loop {
        let (entries, next) = match main.list_schedules(token).await {
            Ok(page) => page,
            Err(status) => {
                let reason = call_error(&status).reason;
                problems.push(format!("schedules could not be listed: {reason}"));
                return described;
            }
        };
        let mut answers = stream::iter(entries)
            .map(|entry| async move {
                let answer = main.describe_schedule(&entry.schedule_id, workload_ids).await;
                (entry.schedule_id, answer)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((schedule_id, answer)) = answers.next().await {
            match answer {
                Ok(one) => described.push(one),
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => problems.push(problem(&schedule_id, "looked at", &status)),
            }
            if started.elapsed() > LIMIT {
                let seen = described.len();
                problems.push(format!(
                    "only {seen} schedules were looked at within {} s: one of the others may start executions",
                    LIMIT.as_secs()
                ));
                return described;
            }
        }
        if next.is_empty() {
            return described;
        }
        token = next;
    }
}

/// Calls again what the server refuses for the moment: the schedule of a busy namespace takes one query at a time, and one refusal is no
/// reason to let it go on starting executions.
async fn persist<T, F: Future<Output = Result<T, Status>>>(call: impl FnMut() -> F) -> Result<T, Status> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(6)
        .with_jitter();
    call.retry(pauses)
        .when(|status: &Status| is_passing(status.code()))
        .await
}

impl Namespace {
    async fn list_schedules(&self, token: Vec<u8>) -> Result<(Vec<ScheduleListEntry>, Vec<u8>), Status> {
        let request = ListSchedulesRequest {
            namespace: self.name().to_owned(),
            maximum_page_size: PAGE,
            next_page_token: token,
            query: String::new(),
        };
        let list = || async { self.stub().list_schedules(self.request(request.clone())).await };
        let answer = persist(list).await?.into_inner();
        Ok((answer.schedules, answer.next_page_token))
    }

    async fn describe_schedule(&self, schedule_id: &str, workload_ids: &[String]) -> Result<Described, Status> {
        let request = DescribeScheduleRequest {
            namespace: self.name().to_owned(),
            schedule_id: schedule_id.to_owned(),
        };
        let describe = || async { self.stub().describe_schedule(self.request(request.clone())).await };
        let schedule = persist(describe).await?.into_inner().schedule.unwrap_or_default();
        let tag = match schedule.action.and_then(|action| action.action) {
            Some(Action::StartWorkflow(start)) => workload_tag(start.search_attributes),
            None => None,
        };
        Ok(Described {
            schedule_id: schedule_id.to_owned(),
            is_targets: tag.is_some_and(|tag| workload_ids.contains(&tag)),
            state: schedule.state.unwrap_or_default(),
        })
    }

    async fn patch_schedule(&self, schedule_id: &str, patch: SchedulePatch) -> Result<(), Status> {
        let request = PatchScheduleRequest {
            namespace: self.name().to_owned(),
            schedule_id: schedule_id.to_owned(),
            patch: Some(patch),
            identity: self.identity().to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
        };
        persist(|| async { self.stub().patch_schedule(self.request(request.clone())).await }).await?;
        Ok(())
    }
}
