//! A model of millions: how long a cancellation takes against what the server can do, what it asks for, and what it holds in
//! memory meanwhile.
//!
//! The machines are the same as everywhere; the server is modelled in bits, so that the memory which grows with the number
//! of executions is two bits for each. Nothing misbehaves here but the cascade: how a cancellation bears the rest is the
//! business of [`super::run`], and does not depend on the size.

mod server;

use std::collections::BTreeMap;

use crate::campaign::{Campaign, CampaignError};
use crate::confirm::{Confirm, ConfirmStep};
use crate::message::{Command, CommandId, Event, PassKind, Planned, QuiesceStatus, Quiesced, Reply};
use crate::outcome::{Outcome, Verdict};
use crate::row::{PageToken, Pin};
use crate::spec::{CampaignSpec, WindowSettings};
use crate::window::{Slot, Step, Window};
use server::Server;

/// What a reservation takes, in microseconds: a heartbeat whose reply is waited for.
const RESERVE_US: u64 = 5_000;
/// What a small activity takes, in microseconds.
const ACTIVITY_US: u64 = 50_000;

/// How the executions hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// None has a parent.
    Flat,
    /// One root; each has so many children, the last level but as many as are left. The server's cascade goes down it, and
    /// forgets two in a hundred.
    Tree {
        /// Children of each.
        fan_out: u64,
    },
}

/// What is modelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleSpec {
    /// Open executions at the start.
    pub executions: u64,
    /// How they hang together.
    pub shape: Shape,
    /// Executions that the server can close in a second, the cascade's included.
    pub stops_per_second: u64,
    /// Calls that it works on at the same time; more wait.
    pub at_once: u32,
    /// Lag of its index, in milliseconds.
    pub lag_ms: u64,
    /// Rows that a window buffers.
    pub buffer_rows: usize,
}

impl Default for ScaleSpec {
    fn default() -> Self {
        Self {
            executions: 10_000_000,
            shape: Shape::Flat,
            stops_per_second: 2_000,
            at_once: 40,
            lag_ms: 500,
            buffer_rows: WindowSettings::default().buffer_rows,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleReport {
    /// How it ended.
    pub verdict: Verdict,
    /// Modelled time to the verdict, in seconds.
    pub seconds: f64,
    /// Modelled time until nothing was open, in seconds.
    pub zero_seconds: f64,
    /// What the server needs at least: executions by stops a second, in seconds.
    pub limit_seconds: f64,
    /// Open at the end, in truth.
    pub open: u64,
    /// Closed by our stops, in truth.
    pub stopped: u64,
    /// Closed by the cascade.
    pub cascaded: u64,
    /// Calls.
    pub calls: Calls,
    /// Most rows that a window held at a time: buffered, in flight, or waiting for another try.
    pub peak_rows: u64,
    /// Most outcomes that waited for the journal at a time.
    pub peak_outcomes: u64,
    /// What the modelled server itself held in memory, in bytes: it grows with the number of executions.
    pub model_bytes: u64,
}

/// Calls that were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Pages listed, looks included.
    pub lists: u64,
    /// Counts.
    pub counts: u64,
    /// Stops.
    pub stops: u64,
    /// Of those, stops of what was closed already.
    pub late_stops: u64,
    /// Describes.
    pub describes: u64,
    /// Reservations.
    pub reservations: u64,
}

impl ScaleReport {
    /// Time to the verdict as a multiple of what the server needs at least.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.seconds / self.limit_seconds
    }
}

enum Task {
    Until(u64, Box<Reply>),
    Window(Box<Window>),
    Confirm(Box<Confirm>),
}

enum Call {
    List(Option<PageToken>, PassKind, u32),
    Stop(Slot, Pin),
    Describe(Slot, String),
    Reserve(u64),
    MeasureLag,
    Look(u32, Option<PageToken>),
}

struct Scale {
    spec: ScaleSpec,
    server: Server,
    now_us: u64,
    /// Calls on their way: when they are answered, and when they were sent.
    calls: BTreeMap<(u64, u64), (u64, Call)>,
    next_call: u64,
    made: Calls,
    peak_rows: u64,
    peak_outcomes: usize,
    kind: PassKind,
}

/// Models one cancellation; `progress` hears of what is left, now and then, and says whether to go on.
///
/// # Errors
/// [`CampaignError`] when there is nothing to model: a number in the spec is zero.
pub fn model(spec: &ScaleSpec, progress: &mut dyn FnMut(u64) -> bool) -> Result<Option<ScaleReport>, CampaignError> {
    if spec.executions == 0 || spec.stops_per_second == 0 || spec.at_once == 0 {
        return Err(CampaignError::Spec {
            field: "executions, stops_per_second and at_once",
            rule: "at least 1",
        });
    }
    let mut campaign = Campaign::new(CampaignSpec {
        max_affected: spec.executions.saturating_mul(2),
        window: WindowSettings {
            buffer_rows: spec.buffer_rows,
            ..WindowSettings::default()
        },
        ..CampaignSpec::default()
    })?;
    let mut scale = Scale {
        spec: *spec,
        server: Server::new(spec),
        now_us: 0,
        calls: BTreeMap::new(),
        next_call: 0,
        made: Calls::default(),
        peak_rows: 0,
        peak_outcomes: 0,
        kind: PassKind::Open,
    };
    let mut tasks: BTreeMap<CommandId, Task> = BTreeMap::new();
    let mut told = 0_u64;
    while campaign.outcome().is_none() {
        for (id, command) in campaign.next() {
            tasks.insert(id, scale.begin(&command));
        }
        // The sweep has one command outstanding at a time.
        let Some((id, mut task)) = tasks.pop_first() else {
            break;
        };
        let reply = loop {
            if let Some(reply) = scale.step(&mut task) {
                break reply;
            }
            told += 1;
            if told.is_multiple_of(1_000) && !progress(scale.server.open()) {
                return Ok(None);
            }
        };
        scale.calls.clear();
        campaign.apply(Event::Completed { id, reply });
    }
    Ok(campaign.outcome().map(|outcome| scale.report(outcome)))
}

impl Scale {
    fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    fn begin(&mut self, command: &Command) -> Task {
        let soon = |reply| Task::Until(self.now_us + ACTIVITY_US, Box::new(reply));
        match command {
            Command::QuiesceSources { .. } => soon(Reply::Quiesced(Quiesced {
                status: QuiesceStatus::NotConfigured,
                fence_ms: self.server.fence_ms(),
                detail: String::new(),
            })),
            Command::PlanPass { kind, .. } => {
                self.made.counts += 2;
                let planned = Planned {
                    count: self.server.count(*kind),
                    open: self.server.count(PassKind::Open),
                    windows: Vec::new(),
                };
                Task::Until(self.now_us + ACTIVITY_US, Box::new(Reply::Planned(planned)))
            }
            Command::RunWindow { spec, kind, .. } => {
                self.kind = *kind;
                Task::Window(Box::new(Window::new(spec.clone())))
            }
            Command::Confirm { spec, .. } => Task::Confirm(Box::new(Confirm::new(spec.clone()))),
            Command::Wait { ms } => Task::Until(self.now_us + ms * 1_000, Box::new(Reply::Waited)),
            // Only the engine BOTH has a batch.
            Command::StartBatch { .. } | Command::TrackBatch { .. } | Command::StopBatch { .. } => soon(Reply::Waited),
        }
    }

    /// Lets a task do what it can now, then lets the time go on to what happens next.
    fn step(&mut self, task: &mut Task) -> Option<Reply> {
        let now_ms = self.now_ms();
        let wake_ms = match task {
            Task::Until(at_us, reply) if *at_us <= self.now_us => return Some((**reply).clone()),
            Task::Until(at_us, _) => Some(at_us.div_ceil(1_000)),
            Task::Window(window) => loop {
                let call = match window.next(now_ms) {
                    Step::List { token } => Call::List(token, self.kind, 1_000),
                    Step::Stop { slot, pin } => Call::Stop(slot, pin),
                    Step::Describe { slot, workflow_id, .. } => Call::Describe(slot, workflow_id),
                    Step::Reserve { upto } => Call::Reserve(upto),
                    Step::Wait { until_ms } => break until_ms,
                    Step::Done(result) => return Some(Reply::WindowDone(*result)),
                };
                self.send(call);
            },
            Task::Confirm(confirm) => loop {
                let call = match confirm.next(now_ms) {
                    ConfirmStep::MeasureLag => Call::MeasureLag,
                    ConfirmStep::Look { page_size, token } => Call::Look(page_size, token),
                    ConfirmStep::Describe { slot, workflow_id } => Call::Describe(slot, workflow_id),
                    ConfirmStep::Wait { until_ms } => break until_ms,
                    ConfirmStep::Done(confirmed) => return Some(Reply::Confirmed(confirmed)),
                };
                self.send(call);
            },
        };
        let wake_us = wake_ms.map(|at_ms| at_ms.saturating_mul(1_000));
        let call_us = self.calls.first_key_value().map(|((at_us, _), _)| *at_us);
        let next_us = [wake_us, call_us, self.server.next_us()].into_iter().flatten().min();
        self.now_us = next_us.unwrap_or(self.now_us + 1_000).max(self.now_us);
        self.server.advance(self.now_us);
        while let Some(entry) = self.calls.first_entry().filter(|entry| entry.key().0 <= self.now_us) {
            let (sent_us, call) = entry.remove();
            self.answer(task, sent_us, call);
        }
        None
    }

    fn send(&mut self, call: Call) {
        let (now_us, server) = (self.now_us, &mut self.server);
        let done_us = match &call {
            Call::List(_, _, rows) | Call::Look(rows, _) => now_us + server.list_us(*rows),
            Call::Stop(_, pin) => server.stop_us(now_us, pin),
            Call::Describe(..) => server.describe_us(now_us),
            Call::Reserve(_) => now_us + RESERVE_US,
            Call::MeasureLag => now_us + 2 * self.spec.lag_ms * 1_000,
        };
        self.next_call += 1;
        self.calls.insert((done_us, self.next_call), (now_us, call));
    }

    fn answer(&mut self, task: &mut Task, sent_us: u64, call: Call) {
        let now_ms = self.now_ms();
        let Self {
            server, made, now_us, ..
        } = self;
        match (task, call) {
            (Task::Window(window), call) => {
                match call {
                    Call::List(token, kind, rows) => {
                        made.lists += 1;
                        let (rows, next) = server.list(kind, token.as_ref(), rows);
                        window.on_page(now_ms, rows, next);
                    }
                    Call::Stop(slot, pin) => {
                        made.stops += 1;
                        let (reply, late) = server.stop(*now_us, &pin);
                        made.late_stops += u64::from(late);
                        window.on_stop(now_ms, slot, reply, *now_us - sent_us);
                    }
                    Call::Describe(slot, workflow_id) => {
                        made.describes += 1;
                        window.on_describe(now_ms, slot, server.describe(&workflow_id));
                    }
                    Call::Reserve(upto) => {
                        made.reservations += 1;
                        window.on_reserved(upto);
                    }
                    Call::MeasureLag | Call::Look(..) => {}
                }
                let counts = window.counts();
                self.peak_rows = self.peak_rows.max(counts.listed - counts.settled());
                self.peak_outcomes = self.peak_outcomes.max(window.take_outcomes().len());
            }
            (Task::Confirm(confirm), Call::MeasureLag) => confirm.on_lag(now_ms, self.spec.lag_ms),
            (Task::Confirm(confirm), Call::Look(rows, token)) => {
                made.lists += 1;
                let (rows, next) = server.list(PassKind::Open, token.as_ref(), rows);
                confirm.on_look(now_ms, sent_us / 1_000, rows, next);
            }
            (Task::Confirm(confirm), Call::Describe(slot, workflow_id)) => {
                made.describes += 1;
                confirm.on_describe(now_ms, slot, server.describe(&workflow_id));
            }
            _ => {}
        }
    }

    fn report(&self, outcome: &Outcome) -> ScaleReport {
        let seconds = |us: u64| std::time::Duration::from_micros(us).as_secs_f64();
        let Self { spec, server, .. } = self;
        ScaleReport {
            verdict: outcome.verdict,
            seconds: seconds(self.now_us),
            zero_seconds: seconds(server.last_close_us()),
            limit_seconds: seconds(spec.executions.saturating_mul(1_000_000) / spec.stops_per_second),
            open: server.open(),
            stopped: server.stopped(),
            cascaded: server.cascaded(),
            calls: self.made,
            peak_rows: self.peak_rows,
            peak_outcomes: u64::try_from(self.peak_outcomes).unwrap_or(u64::MAX),
            model_bytes: server.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modelled(shape: Shape) -> ScaleReport {
        let spec = ScaleSpec {
            executions: 300_000,
            shape,
            buffer_rows: 10_000,
            ..ScaleSpec::default()
        };
        model(&spec, &mut |_| true).unwrap().unwrap()
    }

    #[test]
    fn the_servers_limit_is_all_but_reached_and_what_is_held_is_bounded() {
        for shape in [Shape::Flat, Shape::Tree { fan_out: 200 }, Shape::Tree { fan_out: 3 }] {
            let report = modelled(shape);
            assert_eq!(
                (report.verdict, report.open),
                (Verdict::Clean, 0),
                "{shape:?} {report:?}"
            );
            assert_eq!(report.stopped + report.cascaded, 300_000, "{shape:?} {report:?}");
            assert!(report.ratio() <= 1.1, "{shape:?} {} {report:?}", report.ratio());
            assert!(report.ratio() >= 1.0, "{shape:?} {} {report:?}", report.ratio());
            assert!(report.peak_rows <= 10_000 + 1_000 + 750, "{shape:?} {report:?}");
            assert!(report.peak_outcomes <= 1_000, "{shape:?} {report:?}");
        }
    }

    #[test]
    fn nothing_to_model_is_an_error_and_a_model_can_be_left() {
        let nothing = ScaleSpec {
            executions: 0,
            ..ScaleSpec::default()
        };
        assert!(model(&nothing, &mut |_| true).is_err());
        let some = ScaleSpec {
            executions: 100_000,
            ..ScaleSpec::default()
        };
        assert_eq!(model(&some, &mut |_| false), Ok(None));
    }
}
