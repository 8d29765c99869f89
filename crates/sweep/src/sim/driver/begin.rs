//! How commands begin: what the campaign and its parts are told, and what the small activities do.

use std::collections::HashSet;

use super::{Run, RunningWindow, Task, WORKLOAD};
use crate::confirm::Confirm;
use crate::message::{
    BatchReport, BatchState, Command, CommandId, PassKind, Planned, QuiesceStatus, Quiesced, Reply, StartRange,
};
use crate::sim::Mutation;
use crate::spec::{CampaignSpec, RetrySpec, WindowSettings};
use crate::window::{Checkpoint, Window};

impl Run<'_> {
    pub(super) fn spec(&self) -> CampaignSpec {
        let settings = WindowSettings {
            page_size: 20,
            list_interval_ms: 20,
            buffer_rows: self.scenario.buffer_rows,
            reserve_chunk: 5,
            late_sample: 4,
            retry: RetrySpec {
                first_delay_ms: 20,
                max_delay_ms: 500,
                max_attempts: 8,
                max_throttled: 30,
            },
            ..WindowSettings::default()
        };
        let tag = (!self.scenario.filter_target).then(|| WORKLOAD.to_owned());
        let mut spec = CampaignSpec {
            engine: self.scenario.engine,
            version: 2,
            mode: self.scenario.mode,
            grace_ms: self.scenario.grace_ms,
            max_affected: self.scenario.max_affected,
            require_quiesce: self.scenario.require_quiesce,
            window_concurrency: self.scenario.windows,
            window: settings,
            ..CampaignSpec::default()
        };
        spec.scope.workload_ids = tag.into_iter().collect();
        if let Some(mutation) = self.scenario.mutation {
            mutation.mutate_spec(&mut spec);
        }
        spec
    }

    pub(super) fn begin(&mut self, command: &Command) -> Task {
        let now_ms = self.server.now_ms();
        let soon_ms = now_ms + 1 + self.server.chance().below(30);
        let soon = |reply| Task::Until(soon_ms, Box::new(reply));
        let ended = |job_id: &str, state| BatchReport {
            job_id: job_id.to_owned(),
            state,
            ..BatchReport::default()
        };
        match command {
            Command::QuiesceSources { quiesce } => {
                let accepted = *quiesce && self.server.quiesce();
                let status = if accepted {
                    QuiesceStatus::Accepted
                } else {
                    QuiesceStatus::Refused
                };
                self.fence_ms = now_ms;
                soon(Reply::Quiesced(Quiesced {
                    status,
                    fence_ms: now_ms,
                    detail: String::new(),
                }))
            }
            Command::StartBatch { job_id, fence_ms } => {
                let (refused, lost) = self.server.meets_errors();
                if !refused && self.server.batch_ended().is_none() && self.server.batch_left() == 0 {
                    self.server.start_batch(*fence_ms);
                }
                // Another command's reply is as good as none.
                soon(if refused || lost {
                    Reply::Waited
                } else {
                    Reply::BatchStarted { job_id: job_id.clone() }
                })
            }
            Command::TrackBatch { job_id } => Task::Batch(job_id.clone()),
            Command::StopBatch { job_id } => soon(self.stop_batch(|state| ended(job_id, state))),
            Command::PlanPass { kind, .. } => {
                let count = self.server.count(*kind, StartRange::ALL);
                let open = self.server.count(PassKind::Open, StartRange::ALL);
                let windows = if self.scenario.windows > 1 {
                    halves(now_ms)
                } else {
                    Vec::new()
                };
                soon(Reply::Planned(Planned { count, open, windows }))
            }
            Command::RunWindow { kind, range, spec, .. } => Task::Window(Box::new(RunningWindow {
                kind: *kind,
                range: *range,
                spec: spec.clone(),
                window: Window::new(spec.clone()),
                heartbeat: Checkpoint::default(),
                reserved: 0,
                journaled: HashSet::new(),
                asked: Vec::new(),
                new_seen: 0,
            })),
            Command::Confirm { spec, .. } => Task::Confirm(Box::new(Confirm::new(spec.clone()))),
            Command::Wait { ms } => Task::Until(now_ms + ms, Box::new(Reply::Waited)),
        }
    }

    fn stop_batch(&mut self, ended: impl Fn(BatchState) -> BatchReport) -> Reply {
        if self.is(Mutation::BatchLeftRunning) {
            return Reply::BatchEnded(ended(BatchState::Stopped));
        }
        let (_, lost) = self.server.meets_errors();
        match self.server.stop_batch() {
            _ if lost => Reply::Waited,
            Some(completed) => Reply::BatchEnded(BatchReport {
                completed,
                ..ended(BatchState::Stopped)
            }),
            None => Reply::BatchEnded(ended(BatchState::Absent)),
        }
    }

    /// Begins a small activity anew whose process crashed after its work and before its answer; a timer has none.
    pub(super) fn begins_anew(&mut self, id: CommandId) -> bool {
        let Some(command) = self.commands.get(&id).cloned() else {
            return false;
        };
        if !matches!(
            command,
            Command::QuiesceSources { .. } | Command::PlanPass { .. } | Command::StartBatch { .. }
        ) {
            return false;
        }
        self.crashes += 1;
        let task = self.begin(&command);
        self.tasks.insert(id, task);
        true
    }
}

/// Two windows that cover all start times.
fn halves(now_ms: u64) -> Vec<StartRange> {
    let middle = Some(now_ms.saturating_sub(500));
    vec![
        StartRange {
            from_ms: None,
            to_ms: middle,
        },
        StartRange {
            from_ms: middle,
            to_ms: None,
        },
    ]
}
