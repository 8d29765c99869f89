//! How calls end: answered by the model, or lost with the process that made them.

use super::{Call, Run, RunningWindow, Sent, Task};
use crate::confirm::Confirm;
use crate::message::{Command, CommandId, PassKind, StartRange};
use crate::row::{CallError, CallErrorKind, DescribeReply, Row};
use crate::sim::{Mutation, server::Page};
use crate::window::{AskedRun, Checkpoint, TargetResult, Window};

impl Run<'_> {
    /// Takes a window's outcomes to the journal.
    pub(super) fn journal(&mut self, id: CommandId) {
        if let Some(Task::Window(running)) = self.tasks.get_mut(&id) {
            for outcome in running.window.take_outcomes() {
                self.journaled += 1;
                if outcome.result == TargetResult::Asked {
                    running.asked.push(AskedRun {
                        first_run_id: outcome.first_run_id,
                        run_id: outcome.run_id.clone(),
                    });
                }
                self.journaled_twice += u64::from(!running.journaled.insert(outcome.run_id));
            }
        }
    }

    /// The process is gone: of its calls some are still carried out, then a new attempt begins from the last heartbeat.
    pub(super) fn crash(&mut self, id: CommandId) {
        self.crashes += 1;
        let written = self.asked(id);
        self.journal(id);
        // The last of what was asked may not have been written yet.
        let lost = self.asked(id).saturating_sub(written);
        let lost = self
            .server
            .chance()
            .below(u64::try_from(lost).unwrap_or(u64::MAX).saturating_add(1));
        let written = self.asked(id).saturating_sub(usize::try_from(lost).unwrap_or(0));
        let by_run = self.is(Mutation::PinByRunId);
        let terminates = self.is(Mutation::AskTerminates);
        let is_durable = !self.is(Mutation::ReservationNotDurable);
        let sent: Vec<_> = self.calls.extract_if(.., |_, sent| sent.by == id).collect();
        for (_, sent) in sent {
            let is_done = self.server.chance().percent(50);
            match (sent.call, self.tasks.get_mut(&id)) {
                (Call::Stop(_, pin), Some(Task::Window(running))) if is_done => {
                    let asks = running.spec.ask.is_some() && !terminates;
                    self.server.end_now(&pin, by_run, asks);
                }
                (Call::Reserve(upto), Some(Task::Window(running))) if is_done && is_durable => {
                    running.reserved = running.reserved.max(upto);
                }
                _ => {}
            }
        }
        let forgets = self.is(Mutation::ReservationForgotten);
        match self.tasks.get_mut(&id) {
            Some(Task::Window(running)) => {
                let RunningWindow { spec, heartbeat, .. } = &**running;
                let reserved = if forgets {
                    0
                } else {
                    running.reserved.max(heartbeat.reserved)
                };
                let checkpoint = Checkpoint { reserved, ..*heartbeat };
                running.window = Window::resume(spec.clone(), checkpoint);
                running.asked.truncate(written);
                running.window.take_over(running.asked.iter().cloned());
                running.journaled.clear();
                running.new_seen = 0;
            }
            Some(Task::Confirm(confirm)) => {
                if let Some(Command::Confirm { spec, .. }) = self.commands.get(&id) {
                    **confirm = Confirm::new(spec.clone());
                }
            }
            _ => {}
        }
    }

    /// How many requests to end the journal has of a window.
    fn asked(&self, id: CommandId) -> usize {
        match self.tasks.get(&id) {
            Some(Task::Window(running)) => running.asked.len(),
            _ => 0,
        }
    }

    pub(super) fn answer(&mut self, sent: Sent) {
        let Sent { by, at_ms, call } = sent;
        match call {
            Call::MeasureLag(_) | Call::Look(..) | Call::DescribeForLook(..) => self.answer_confirm(by, at_ms, call),
            Call::List(_) | Call::Stop(..) | Call::Describe(..) | Call::Reserve(_) => {
                self.answer_window(by, at_ms, call);
            }
        }
    }

    /// Start times that the mutation leaves in view.
    fn bounded(&self, range: StartRange) -> StartRange {
        let to_ms = match range.to_ms {
            _ if self.is(Mutation::FenceBoundsSweep) => Some(self.fence_ms),
            to_ms => to_ms,
        };
        StartRange { to_ms, ..range }
    }

    fn answer_window(&mut self, id: CommandId, at_ms: u64, call: Call) {
        let now_ms = self.server.now_ms();
        let fence_ms = self.fence_ms;
        let by_run = self.is(Mutation::PinByRunId);
        let terminates = self.is(Mutation::AskTerminates);
        let by_workflow_id = self.is(Mutation::CurrentRunDescribed);
        let beats = self.server.chance().percent(self.scenario.beat_percent);
        let Some(Task::Window(running)) = self.tasks.get(&id) else {
            return;
        };
        let (kind, range) = (running.kind, self.bounded(running.range));
        let rows = usize::try_from(running.spec.settings.page_size).unwrap_or(usize::MAX);
        let Some(Task::Window(running)) = self.tasks.get_mut(&id) else {
            return;
        };
        let window = &mut running.window;
        match call {
            Call::List(token) => {
                let token = token.as_ref();
                let page = Page {
                    kind,
                    range,
                    rows,
                    token,
                    is_look: false,
                };
                match self.server.list(page) {
                    Ok((rows, next)) => {
                        let is_new = |row: &&Row| row.start_ms >= fence_ms && row.workflow_type == "client";
                        running.new_seen += u64::try_from(rows.iter().filter(is_new).count()).unwrap_or_default();
                        window.on_page(now_ms, rows, next);
                    }
                    Err(error) => window.on_page_error(now_ms, error),
                }
            }
            Call::Stop(slot, pin) => {
                let asks = running.spec.ask.is_some() && !terminates;
                let mut reply = self.server.stop(&pin, by_run, asks);
                if let Some(mutation) = self.scenario.mutation {
                    reply = mutation.mutate_stop(reply);
                }
                window.on_stop(now_ms, slot, reply, (now_ms - at_ms) * 1_000);
            }
            Call::Describe(slot, workflow_id, run_id) => {
                let reply = if by_workflow_id {
                    self.server.describe(&workflow_id)
                } else {
                    self.server.describe_listed(&run_id)
                };
                window.on_describe(now_ms, slot, reply);
            }
            Call::Reserve(upto) => {
                window.on_reserved(upto);
                if self.scenario.mutation != Some(Mutation::ReservationNotDurable) {
                    running.reserved = running.reserved.max(upto);
                }
            }
            Call::MeasureLag(_) | Call::Look(..) | Call::DescribeForLook(..) => {}
        }
        if beats {
            running.heartbeat = running.window.checkpoint();
        }
    }

    fn answer_confirm(&mut self, id: CommandId, at_ms: u64, call: Call) {
        let now_ms = self.server.now_ms();
        let range = self.bounded(StartRange::ALL);
        let scenario = self.scenario;
        let is = |mutation| scenario.mutation == Some(mutation);
        let Some(Task::Confirm(confirm)) = self.tasks.get_mut(&id) else {
            return;
        };
        match call {
            Call::MeasureLag(lag_ms) => match self.server.meets_errors() {
                (false, false) => {
                    self.measured_lag_ms = lag_ms;
                    confirm.on_lag(now_ms, if is(Mutation::LagIgnored) { 0 } else { lag_ms });
                }
                _ => confirm.on_lag_error(
                    now_ms,
                    CallError {
                        kind: CallErrorKind::Transient,
                        reason: "a canary could not be started".to_owned(),
                    },
                ),
            },
            Call::Look(rows, token) => {
                let page = Page {
                    kind: PassKind::Open,
                    range,
                    rows: usize::try_from(rows).unwrap_or(usize::MAX),
                    token: token.as_ref(),
                    is_look: true,
                };
                match self.server.list(page) {
                    Ok((_, _)) if is(Mutation::CountForList) && self.server.count(PassKind::Open, range) == 0 => {
                        confirm.on_look(now_ms, at_ms, Vec::new(), None);
                    }
                    Ok((rows, _)) if is(Mutation::LookAtFirstPageOnly) => confirm.on_look(now_ms, at_ms, rows, None),
                    Ok((rows, next)) => confirm.on_look(now_ms, at_ms, rows, next),
                    Err(error) => confirm.on_look_error(now_ms, error),
                }
            }
            Call::DescribeForLook(slot, workflow_id) => {
                let reply = match self.server.describe(&workflow_id) {
                    DescribeReply::Open { .. } if is(Mutation::AliveTakenForStale) => DescribeReply::Closed,
                    DescribeReply::Closed if is(Mutation::StaleTakenForAlive) || is(Mutation::CountForList) => {
                        DescribeReply::Open {
                            row: Row {
                                workflow_id,
                                workload_id: Some(super::WORKLOAD.to_owned()),
                                ..Row::default()
                            },
                            first_run_id: String::new(),
                        }
                    }
                    reply => reply,
                };
                confirm.on_describe(now_ms, slot, reply);
            }
            Call::List(_) | Call::Stop(..) | Call::Describe(..) | Call::Reserve(_) => {}
        }
    }
}
