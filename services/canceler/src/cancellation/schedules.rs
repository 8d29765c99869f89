//! Schedules that start the target: paused before the fence is taken, given back when the cancellation is over.
//!
//! A schedule cannot be asked for by what it starts, so each of the namespace is described; those whose action carries the
//! target's WorkloadId are the target's. One that starts something which only tags itself later, or which starts the target in
//! its turn, goes unseen here: the confirmation meets what it starts.
//!
//! A paused schedule carries our note. By it a second attempt knows what the first one had paused, and nothing is given back
//! that somebody else has touched meanwhile.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use quell_api::ids::cancellation_workflow;
use serde::{Deserialize, Serialize};
use temporalio_common::protos::temporal::api::{
    schedule::v1::{ScheduleListEntry, SchedulePatch, ScheduleState, schedule_action::Action},
    workflowservice::v1::{DescribeScheduleRequest, ListSchedulesRequest, PatchScheduleRequest},
};
use tonic::{Code, Status};

use super::{
    namespace::{Namespace, workload_tag},
    status::call_error,
};

/// Calls in flight at a time: as many as a small server serves without a queue.
const AT_ONCE: usize = 8;
/// How long schedules may hold up the fence: every second of it is a second of growth.
const LIMIT: Duration = Duration::from_secs(10);
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
    /// For an operator: what could not be looked at or paused.
    pub(crate) problems: Vec<String>,
}

/// What Describe says of a schedule.
struct Described {
    schedule_id: String,
    is_targets: bool,
    state: ScheduleState,
}

/// Pauses what starts executions with this WorkloadId and is not paused yet.
pub(crate) async fn pause(main: &Namespace, cancellation_id: &str, workload_id: &str) -> Found {
    let mut found = Found::default();
    let note = note(cancellation_id);
    let described = describe_all(main, workload_id, &mut found.problems).await;
    for Described { schedule_id, state, .. } in described.into_iter().filter(|one| one.is_targets) {
        let mut paused = Paused {
            schedule_id,
            note: state.notes,
        };
        if state.paused {
            if paused.note == note {
                paused.note.clear();
                found.paused.push(paused);
            }
            continue;
        }
        let patch = SchedulePatch {
            pause: note.clone(),
            ..SchedulePatch::default()
        };
        match main.patch_schedule(&paused.schedule_id, patch).await {
            Ok(()) => found.paused.push(paused),
            Err(status) => found.problems.push(problem(&paused.schedule_id, "paused", &status)),
        }
    }
    found
}

/// Gives back what was paused, as far as it still carries our note. Says what could not be given back; one that is gone, or that
/// somebody else has touched, is nobody's problem.
///
/// # Errors
/// When the server cannot be reached, so that another try is worth it.
pub(crate) async fn give_back(
    main: &Namespace,
    cancellation_id: &str,
    paused: &[Paused],
) -> Result<Vec<String>, Status> {
    let note = note(cancellation_id);
    let mut problems = Vec::new();
    for Paused { schedule_id, note: old } in paused {
        let state = match main.describe_schedule(schedule_id, "").await {
            Ok(described) => described.state,
            Err(status) if status.code() == Code::NotFound => continue,
            Err(status) => return Err(status),
        };
        if !state.paused || state.notes != note {
            continue;
        }
        let unpause = if old.is_empty() {
            format!("given back by {note}")
        } else {
            old.clone()
        };
        let patch = SchedulePatch {
            unpause,
            ..SchedulePatch::default()
        };
        match main.patch_schedule(schedule_id, patch).await {
            Err(status) if matches!(status.code(), Code::PermissionDenied | Code::InvalidArgument) => {
                problems.push(problem(schedule_id, "given back", &status));
            }
            result => result?,
        }
    }
    Ok(problems)
}

/// Gives back all that this cancellation has paused, for one whose list of them is lost: found anew, by our note. Best effort; what
/// stays paused says by its note who did it.
pub(crate) async fn undo(main: &Namespace, cancellation_id: &str, workload_id: &str) {
    let mut problems = Vec::new();
    let described = describe_all(main, workload_id, &mut problems).await;
    let ours = |one: Described| Paused {
        schedule_id: one.schedule_id,
        note: String::new(),
    };
    let paused: Vec<_> = described.into_iter().filter(|one| one.is_targets).map(ours).collect();
    match give_back(main, cancellation_id, &paused).await {
        Ok(more) => problems.extend(more),
        Err(status) => problems.push(call_error(&status).reason),
    }
    for problem in problems {
        tracing::warn!(cancellation_id, problem, "schedules of a cancellation that was stopped");
    }
}

/// The note of a schedule that this cancellation has paused.
fn note(cancellation_id: &str) -> String {
    format!("paused by {}", cancellation_workflow(cancellation_id))
}

fn problem(schedule_id: &str, what: &str, status: &Status) -> String {
    let reason = call_error(status).reason;
    format!("schedule {schedule_id:?} could not be {what}: {reason}")
}

/// Describes all schedules of the namespace, as far as that can be done in time.
async fn describe_all(main: &Namespace, workload_id: &str, problems: &mut Vec<String>) -> Vec<Described> {
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
                let answer = main.describe_schedule(&entry.schedule_id, workload_id).await;
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

impl Namespace {
    async fn list_schedules(&self, token: Vec<u8>) -> Result<(Vec<ScheduleListEntry>, Vec<u8>), Status> {
        let request = ListSchedulesRequest {
            namespace: self.name().to_owned(),
            maximum_page_size: PAGE,
            next_page_token: token,
            query: String::new(),
        };
        let answer = self.stub().list_schedules(self.request(request)).await?.into_inner();
        Ok((answer.schedules, answer.next_page_token))
    }

    async fn describe_schedule(&self, schedule_id: &str, workload_id: &str) -> Result<Described, Status> {
        let request = DescribeScheduleRequest {
            namespace: self.name().to_owned(),
            schedule_id: schedule_id.to_owned(),
        };
        let answer = self.stub().describe_schedule(self.request(request)).await?;
        let schedule = answer.into_inner().schedule.unwrap_or_default();
        let tag = match schedule.action.and_then(|action| action.action) {
            Some(Action::StartWorkflow(start)) => workload_tag(start.search_attributes),
            None => None,
        };
        Ok(Described {
            schedule_id: schedule_id.to_owned(),
            is_targets: tag.as_deref() == Some(workload_id),
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
        self.stub().patch_schedule(self.request(request)).await?;
        Ok(())
    }
}
