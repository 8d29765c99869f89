//! Runs the machines against the model: the workflow's and the activities' shells in small, on one simulated clock.

mod calls;

use std::collections::BTreeMap;

use super::{Mutation, Report, Scenario, server::Server};
use crate::campaign::Campaign;
use crate::confirm::{Confirm, ConfirmStep};
use crate::message::{
    BatchReport, BatchState, Command, CommandId, Event, PassKind, Planned, QuiesceStatus, Quiesced, Reply, StartRange,
};
use crate::row::{PageToken, Pin, Scope};
use crate::spec::{CampaignSpec, RetrySpec, WindowSettings, WindowSpec};
use crate::window::{Checkpoint, Slot, Step, Window};

/// Rows of a page: few, so that there are many pages.
const PAGE: usize = 7;
/// Steps after which a run counts as hung.
const MAX_STEPS: u64 = 3_000_000;
/// Crashes in one run: at more of them in each window no window would ever end.
const MAX_CRASHES: u64 = 20;
const WORKLOAD: &str = "1";

/// An activity (or a timer) that is running.
enum Task {
    /// Ends at this time with this answer.
    Until(u64, Box<Reply>),
    Batch(String),
    Window(Box<RunningWindow>),
    Confirm(Box<Confirm>),
}

struct RunningWindow {
    kind: PassKind,
    range: StartRange,
    spec: WindowSpec,
    window: Window,
    /// As last recorded by a heartbeat: may be old.
    heartbeat: Checkpoint,
    /// As recorded durably.
    reserved: u64,
}

/// A call on its way; it is carried out when it is answered.
enum Call {
    List(Option<PageToken>),
    Stop(Slot, Pin),
    /// By the run that was listed.
    Describe(Slot, String),
    Reserve(u64),
    MeasureLag,
    Look(u32, Option<PageToken>, u64),
    DescribeForLook(Slot, String),
}

struct Run<'a> {
    scenario: &'a Scenario,
    server: Server,
    tasks: BTreeMap<CommandId, Task>,
    calls: BTreeMap<(u64, u64), (CommandId, Call)>,
    next_call: u64,
    /// What each waiting task said it waits for.
    wakes: BTreeMap<CommandId, u64>,
    journaled: u64,
    crashes: u64,
}

/// Runs one scenario to its end.
///
/// # Panics
/// When the campaign hangs, has nothing to do without an outcome, or does not survive serialisation: each is a bug that
/// no report could tell of.
#[must_use]
#[expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a broken machine must stop the simulator at once"
)]
pub fn run(scenario: &Scenario) -> Report {
    let server = Server::new(scenario);
    let begin_ms = server.now_ms();
    let mut run = Run {
        scenario,
        server,
        tasks: BTreeMap::new(),
        calls: BTreeMap::new(),
        next_call: 0,
        wakes: BTreeMap::new(),
        journaled: 0,
        crashes: 0,
    };
    let mut campaign = Campaign::new(run.spec()).expect("a valid spec");
    let mut signals: BTreeMap<u64, Event> = BTreeMap::new();
    signals.insert(
        begin_ms + scenario.deadline_ms,
        Event::DeadlineReached { starters: Vec::new() },
    );
    if let Some(at_ms) = scenario.stop_at_ms {
        signals.insert(
            begin_ms + at_ms,
            Event::StopRequested {
                reason: "enough".to_owned(),
            },
        );
    }
    for _ in 0..MAX_STEPS {
        for (id, command) in campaign.next() {
            let task = run.begin(command);
            run.tasks.insert(id, task);
        }
        if let Some(outcome) = campaign.outcome() {
            assert!(
                run.tasks.is_empty(),
                "an outcome while {} commands run",
                run.tasks.len()
            );
            return run.report(outcome.clone());
        }
        run.cancel(&campaign);
        if let Some((id, reply)) = run.pump() {
            run.tasks.remove(&id);
            run.calls.retain(|_, (of, _)| *of != id);
            campaign.apply(match reply {
                Some(reply) => Event::Completed { id, reply },
                None => Event::Failed {
                    id,
                    reason: "cancelled".to_owned(),
                },
            });
            if campaign.is_quiet() && run.server.chance().percent(5) {
                let text = serde_json::to_string(&campaign).expect("a campaign is serialisable");
                let read: Campaign = serde_json::from_str(&text).expect("what was written can be read");
                campaign = read.resume().expect("its version is known");
            }
            continue;
        }
        let wake_ms = [run.next_wake(), signals.keys().next().copied()]
            .into_iter()
            .flatten()
            .min();
        let Some(wake_ms) = wake_ms else {
            panic!("nothing to wait for, and no outcome")
        };
        run.server.advance(wake_ms);
        if signals.keys().next().is_some_and(|at_ms| *at_ms <= wake_ms)
            && let Some((_, event)) = signals.pop_first()
        {
            campaign.apply(event);
        }
    }
    panic!("no outcome after {MAX_STEPS} steps: {:?}", campaign.progress());
}

impl Run<'_> {
    fn spec(&self) -> CampaignSpec {
        let settings = WindowSettings {
            page_size: 7,
            list_interval_ms: 20,
            buffer_rows: 60,
            reserve_chunk: 5,
            retry: RetrySpec {
                first_delay_ms: 20,
                max_delay_ms: 500,
                max_attempts: 8,
                max_throttled: 30,
            },
            ..WindowSettings::default()
        };
        let scope = match self.scenario.mutation {
            Some(Mutation::RowsUnchecked) => Scope::default(),
            _ => Scope {
                workload_id: Some(WORKLOAD.to_owned()),
                ..Scope::default()
            },
        };
        let spec = CampaignSpec {
            engine: self.scenario.engine,
            scope,
            max_affected: self.scenario.max_affected,
            window_concurrency: self.scenario.windows,
            window: settings,
            ..CampaignSpec::default()
        };
        let looks = if self.scenario.mutation == Some(Mutation::LookTooFew) {
            spec.looks - 1
        } else {
            spec.looks
        };
        CampaignSpec { looks, ..spec }
    }

    fn begin(&mut self, command: Command) -> Task {
        let now_ms = self.server.now_ms();
        let soon_ms = now_ms + 1 + self.server.chance().below(30);
        let ended = |job_id, state| BatchReport {
            job_id,
            state,
            ..BatchReport::default()
        };
        match command {
            Command::QuiesceSources { quiesce } => {
                let accepted = quiesce && self.server.quiesce();
                let status = if accepted {
                    QuiesceStatus::Accepted
                } else {
                    QuiesceStatus::Refused
                };
                let quiesced = Quiesced {
                    status,
                    fence_ms: now_ms,
                    detail: String::new(),
                };
                Task::Until(soon_ms, Box::new(Reply::Quiesced(quiesced)))
            }
            Command::StartBatch { job_id, fence_ms } => {
                let (refused, lost) = self.server.meets_errors();
                if !refused {
                    self.server.start_batch(fence_ms);
                }
                // Another command's reply is as good as none.
                let reply = if refused || lost {
                    Reply::Waited
                } else {
                    Reply::BatchStarted { job_id }
                };
                Task::Until(soon_ms, Box::new(reply))
            }
            Command::TrackBatch { job_id } => Task::Batch(job_id),
            Command::StopBatch { job_id } => {
                let (_, lost) = self.server.meets_errors();
                let reply = match self.server.stop_batch() {
                    _ if lost => Reply::Waited,
                    Some(completed) => Reply::BatchEnded(BatchReport {
                        completed,
                        ..ended(job_id, BatchState::Stopped)
                    }),
                    None => Reply::BatchEnded(ended(job_id, BatchState::Absent)),
                };
                Task::Until(soon_ms, Box::new(reply))
            }
            Command::PlanPass { kind, .. } => {
                let count = self.server.count(kind, StartRange::ALL);
                let open = self.server.count(PassKind::Open, StartRange::ALL);
                let windows = if self.scenario.windows > 1 {
                    halves(now_ms)
                } else {
                    Vec::new()
                };
                Task::Until(soon_ms, Box::new(Reply::Planned(Planned { count, open, windows })))
            }
            Command::RunWindow { kind, range, spec, .. } => {
                let window = Window::new(spec.clone());
                let heartbeat = Checkpoint::default();
                Task::Window(Box::new(RunningWindow {
                    kind,
                    range,
                    spec,
                    window,
                    heartbeat,
                    reserved: 0,
                }))
            }
            Command::Confirm { spec, .. } => Task::Confirm(Box::new(Confirm::new(spec))),
            Command::Wait { ms } => Task::Until(now_ms + ms, Box::new(Reply::Waited)),
        }
    }

    /// Windows end with what they did; anything else ends without an answer.
    fn cancel(&mut self, campaign: &Campaign) {
        let now_ms = self.server.now_ms();
        for (id, task) in &mut self.tasks {
            match task {
                Task::Window(running) if campaign.should_cancel(*id) => running.window.stop(),
                Task::Until(..) | Task::Batch(_) | Task::Confirm(_) if campaign.should_cancel(*id) => {
                    *task = Task::Until(now_ms, Box::new(Reply::Waited));
                }
                _ => {}
            }
        }
    }

    /// Lets every task do what it can now; the first that ends, with its answer.
    fn pump(&mut self) -> Option<(CommandId, Option<Reply>)> {
        let now_ms = self.server.now_ms();
        while let Some(entry) = self.calls.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let (id, call) = entry.remove();
            self.answer(id, call);
        }
        self.wakes.clear();
        let ids: Vec<CommandId> = self.tasks.keys().copied().collect();
        for id in ids {
            if let Some(reply) = self.pump_task(id, now_ms) {
                return Some((id, Some(reply)));
            }
        }
        None
    }

    fn pump_task(&mut self, id: CommandId, now_ms: u64) -> Option<Reply> {
        loop {
            let dice = self.server.chance().below(1_000);
            let crashes = dice < self.scenario.crash_permille && self.crashes < MAX_CRASHES;
            let call = match self.tasks.get_mut(&id)? {
                Task::Until(at_ms, reply) if *at_ms <= now_ms => return Some((**reply).clone()),
                Task::Until(at_ms, _) => {
                    self.wakes.insert(id, *at_ms);
                    return None;
                }
                Task::Batch(job_id) => {
                    self.wakes.insert(id, now_ms + 20);
                    let report = |completed| BatchReport {
                        job_id: job_id.clone(),
                        completed,
                        ..BatchReport::default()
                    };
                    return self
                        .server
                        .batch_ended()
                        .map(|completed| Reply::BatchEnded(report(completed)));
                }
                Task::Window(_) if crashes => {
                    self.crash(id);
                    continue;
                }
                Task::Window(running) => match running.window.next(now_ms) {
                    Step::List { token } => Call::List(token),
                    Step::Stop { slot, pin } => Call::Stop(slot, pin),
                    Step::Describe { slot, run_id, .. } => Call::Describe(slot, run_id),
                    Step::Reserve { upto } => Call::Reserve(upto),
                    Step::Wait { until_ms } => {
                        self.wakes.extend(until_ms.map(|at_ms| (id, at_ms)));
                        return None;
                    }
                    Step::Done(result) => return Some(self.window_done(id, result)),
                },
                Task::Confirm(confirm) => match confirm.next(now_ms) {
                    ConfirmStep::MeasureLag => Call::MeasureLag,
                    ConfirmStep::Look { page_size, token } => Call::Look(page_size, token, now_ms),
                    ConfirmStep::Describe { slot, workflow_id } => Call::DescribeForLook(slot, workflow_id),
                    ConfirmStep::Wait { until_ms } => {
                        self.wakes.extend(until_ms.map(|at_ms| (id, at_ms)));
                        return None;
                    }
                    ConfirmStep::Done(confirmed) => return Some(Reply::Confirmed(confirmed)),
                },
            };
            let takes_ms = match call {
                Call::MeasureLag if self.scenario.mutation != Some(Mutation::LagIgnored) => self.scenario.lag_ms,
                _ => 1 + self.server.chance().below(12),
            };
            self.next_call += 1;
            self.calls.insert((now_ms + takes_ms, self.next_call), (id, call));
        }
    }

    /// When something happens next: an answer, or what a task waits for.
    fn next_wake(&self) -> Option<u64> {
        let call = self.calls.keys().next().map(|(at_ms, _)| *at_ms);
        let wake_ms = self.wakes.values().copied().chain(call).min()?;
        Some(wake_ms.max(self.server.now_ms() + 1))
    }

    fn report(self, outcome: crate::outcome::Outcome) -> Report {
        let (stopped_by_us, strangers_stopped) = self.server.stopped_by_us();
        Report {
            outcome,
            ended_ms: self.server.now_ms(),
            open: self.server.open(),
            stopped_by_us,
            stopped_by_batch: self.server.stopped_by_batch(),
            strangers_stopped,
            journaled: self.journaled,
            crashes: self.crashes,
            lost_replies: self.server.lost_replies,
            calls: self.server.calls,
        }
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
