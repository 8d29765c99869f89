//! Runs the machines against the model: the workflow's and the activities' shells in small, on one simulated clock.

mod begin;
mod calls;

use std::collections::{BTreeMap, HashSet};

use super::{Mutation, Report, Scenario, Stuck, server::Server};
use crate::campaign::Campaign;
use crate::confirm::{Confirm, ConfirmStep};
use crate::message::{BatchReport, Command, CommandId, Event, PassKind, Reply, StartRange};
use crate::outcome::Outcome;
use crate::row::{PageToken, Pin};
use crate::spec::WindowSpec;
use crate::window::{AskedRun, Checkpoint, Slot, Step, Window};

/// Steps after which a run counts as stuck.
const MAX_STEPS: u64 = 3_000_000;
/// How long after its deadline a run counts as stuck, in milliseconds.
const MAX_LATE_MS: u64 = 60_000;
/// Crashes in one run: at more of them in each window no window would ever end.
const MAX_CRASHES: u64 = 20;
/// Moments in a hundred, of those at which it may be, at which the campaign is carried over to a new workflow run.
const CARRIED_PERCENT: u64 = 3;
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
    /// Runs that this attempt gave an outcome.
    journaled: HashSet<String>,
    /// What all attempts asked, as far as the journal has it.
    asked: Vec<AskedRun>,
    /// Rows of the client that this attempt listed, started after the fence.
    new_seen: u64,
}

/// A call on its way; it is carried out when it is answered.
enum Call {
    List(Option<PageToken>),
    Stop(Slot, Pin),
    /// By workflow id, and the run that was listed.
    Describe(Slot, String, String),
    Reserve(u64),
    /// With what it will find.
    MeasureLag(u64),
    Look(u32, Option<PageToken>),
    DescribeForLook(Slot, String),
}

/// A call and who made it when.
struct Sent {
    by: CommandId,
    at_ms: u64,
    call: Call,
}

struct Run<'a> {
    scenario: &'a Scenario,
    server: Server,
    commands: BTreeMap<CommandId, Command>,
    tasks: BTreeMap<CommandId, Task>,
    calls: BTreeMap<(u64, u64), Sent>,
    next_call: u64,
    /// What each waiting task said it waits for.
    wakes: BTreeMap<CommandId, u64>,
    fence_ms: u64,
    measured_lag_ms: u64,
    journaled: u64,
    journaled_twice: u64,
    new_seen: u64,
    crashes: u64,
}

/// Runs one scenario to its end.
///
/// # Errors
/// [`Stuck`] when there is none, which is a bug by itself.
pub fn run(scenario: &Scenario) -> Result<Report, Stuck> {
    let server = Server::new(scenario);
    let began_ms = server.now_ms();
    let mut run = Run {
        scenario,
        server,
        commands: BTreeMap::new(),
        tasks: BTreeMap::new(),
        calls: BTreeMap::new(),
        next_call: 0,
        wakes: BTreeMap::new(),
        fence_ms: 0,
        measured_lag_ms: 0,
        journaled: 0,
        journaled_twice: 0,
        new_seen: 0,
        crashes: 0,
    };
    let refused = |error: crate::campaign::CampaignError| Stuck::Refused(error.to_string());
    let mut campaign = Campaign::new(run.spec()).map_err(refused)?;
    let mut signals = run.signals(began_ms);
    let latest_ms = began_ms + scenario.deadline_ms + MAX_LATE_MS;
    for _ in 0..MAX_STEPS {
        for (id, command) in campaign.next() {
            let task = run.begin(&command);
            run.commands.insert(id, command);
            run.tasks.insert(id, task);
        }
        if let Some(outcome) = campaign.outcome() {
            return match run.tasks.len() {
                0 => Ok(run.report(began_ms, outcome.clone())),
                running => Err(Stuck::EndedTooEarly(running)),
            };
        }
        run.cancel(&campaign);
        if let Some((id, reply)) = run.pump() {
            run.tasks.remove(&id);
            run.commands.remove(&id);
            run.calls.retain(|_, sent| sent.by != id);
            campaign.apply(Event::Completed { id, reply });
            if campaign.is_quiet() && run.server.chance().percent(CARRIED_PERCENT) {
                campaign = carried_over(&campaign)?;
            }
            continue;
        }
        let progress = || format!("{:?}", campaign.progress());
        let next_ms = [run.next_wake(), signals.keys().next().copied()];
        let Some(wake_ms) = next_ms.into_iter().flatten().min() else {
            return Err(Stuck::Idle(progress()));
        };
        if wake_ms > latest_ms {
            return Err(Stuck::TooLong(MAX_LATE_MS, progress()));
        }
        run.server.advance(wake_ms);
        if signals.first_key_value().is_some_and(|(at_ms, _)| *at_ms <= wake_ms)
            && let Some((_, event)) = signals.pop_first()
        {
            campaign.apply(event);
        }
    }
    Err(Stuck::TooManySteps(MAX_STEPS, format!("{:?}", campaign.progress())))
}

/// As continue-as-new carries it.
fn carried_over(campaign: &Campaign) -> Result<Campaign, Stuck> {
    let lost = |error: serde_json::Error| Stuck::Lost(error.to_string());
    let text = serde_json::to_string(campaign).map_err(lost)?;
    let read: Campaign = serde_json::from_str(&text).map_err(lost)?;
    read.resume().map_err(|error| Stuck::Lost(error.to_string()))
}

impl Run<'_> {
    fn is(&self, mutation: Mutation) -> bool {
        self.scenario.mutation == Some(mutation)
    }

    /// The deadline, and a request to stop.
    fn signals(&self, began_ms: u64) -> BTreeMap<u64, Event> {
        let mut signals = BTreeMap::new();
        if !self.is(Mutation::DeadlineIgnored) {
            let event = Event::DeadlineReached { starters: Vec::new() };
            signals.insert(began_ms + self.scenario.deadline_ms, event);
        }
        if let Some(at_ms) = self.scenario.stop_at_ms {
            let reason = "enough".to_owned();
            signals.insert(began_ms + at_ms, Event::StopRequested { reason });
        }
        signals
    }

    /// Windows end with what they did; anything else ends without an answer.
    fn cancel(&mut self, campaign: &Campaign) {
        if !campaign.wants_cancel() {
            return;
        }
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
    fn pump(&mut self) -> Option<(CommandId, Reply)> {
        let now_ms = self.server.now_ms();
        while let Some(entry) = self.calls.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let sent = entry.remove();
            self.answer(sent);
        }
        self.wakes.clear();
        let ids: Vec<CommandId> = self.tasks.keys().copied().collect();
        ids.into_iter()
            .find_map(|id| self.pump_task(id, now_ms).map(|reply| (id, reply)))
    }

    fn pump_task(&mut self, id: CommandId, now_ms: u64) -> Option<Reply> {
        loop {
            let dice = self.server.chance().below(1_000);
            let crashes = dice < self.scenario.crash_permille && self.crashes < MAX_CRASHES;
            let call = match self.tasks.get_mut(&id)? {
                Task::Until(at_ms, reply) if *at_ms <= now_ms => {
                    let reply = (**reply).clone();
                    if crashes && self.begins_anew(id) {
                        continue;
                    }
                    return Some(reply);
                }
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
                    let ended = self.server.batch_ended();
                    return ended.map(|completed| Reply::BatchEnded(report(completed)));
                }
                Task::Window(_) | Task::Confirm(_) if crashes => {
                    self.crash(id);
                    continue;
                }
                Task::Window(running) => match running.window.next(now_ms) {
                    Step::List { token } => Call::List(token),
                    Step::Stop { slot, pin } => Call::Stop(slot, pin),
                    Step::Describe {
                        slot,
                        workflow_id,
                        run_id,
                    } => Call::Describe(slot, workflow_id, run_id),
                    Step::Reserve { upto } => Call::Reserve(upto),
                    Step::Wait { until_ms } => {
                        self.wakes.extend(until_ms.map(|at_ms| (id, at_ms)));
                        return None;
                    }
                    Step::Done(result) => {
                        self.new_seen += running.new_seen;
                        self.journal(id);
                        return Some(Reply::WindowDone(*result));
                    }
                },
                Task::Confirm(confirm) => match confirm.next(now_ms) {
                    ConfirmStep::MeasureLag => Call::MeasureLag(self.server.measure_lag()),
                    ConfirmStep::Look { page_size, token } => Call::Look(page_size, token),
                    ConfirmStep::Describe { slot, workflow_id } => Call::DescribeForLook(slot, workflow_id),
                    ConfirmStep::Wait { until_ms } => {
                        self.wakes.extend(until_ms.map(|at_ms| (id, at_ms)));
                        return None;
                    }
                    ConfirmStep::Done(confirmed) => return Some(Reply::Confirmed(confirmed)),
                },
            };
            self.send(id, call);
        }
    }

    fn send(&mut self, by: CommandId, call: Call) {
        let at_ms = self.server.now_ms();
        let takes_ms = match call {
            Call::MeasureLag(lag_ms) if !self.is(Mutation::LagIgnored) => 1 + lag_ms,
            Call::Reserve(_) => 1 + self.server.chance().below(12),
            _ => self.server.latency_ms(),
        };
        self.next_call += 1;
        self.calls
            .insert((at_ms + takes_ms, self.next_call), Sent { by, at_ms, call });
    }

    /// When something happens next: an answer, or what a task waits for.
    fn next_wake(&self) -> Option<u64> {
        let call = self.calls.keys().next().map(|(at_ms, _)| *at_ms);
        let wake_ms = self.wakes.values().copied().chain(call).min()?;
        Some(wake_ms.max(self.server.now_ms() + 1))
    }

    fn report(self, began_ms: u64, outcome: Outcome) -> Report {
        let (stopped_by_us, strangers_stopped) = self.server.stopped_by_us();
        Report {
            outcome,
            began_ms,
            ended_ms: self.server.now_ms(),
            open: self.server.open(),
            asked_by_us: self.server.asked_by_us(),
            stopped_by_us,
            stopped_by_batch: self.server.stopped_by_batch(),
            batch_left: self.server.batch_left(),
            strangers_stopped,
            measured_lag_ms: self.measured_lag_ms,
            journaled: self.journaled,
            journaled_twice: self.journaled_twice,
            new_seen: self.new_seen,
            crashes: self.crashes,
            lost_replies: self.server.lost_replies,
            calls: self.server.calls,
        }
    }
}
