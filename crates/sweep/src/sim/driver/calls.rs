//! How calls end: answered by the model, or lost with the process that made them.

use super::{Call, PAGE, Run, RunningWindow, Task};
use crate::message::{CommandId, PassKind, Reply, StartRange};
use crate::row::DescribeReply;
use crate::sim::Mutation;
use crate::window::{Checkpoint, Window, WindowResult};

impl Run<'_> {
    pub(super) fn window_done(&mut self, id: CommandId, result: WindowResult) -> Reply {
        if let Some(Task::Window(running)) = self.tasks.get_mut(&id) {
            self.journaled += u64::try_from(running.window.take_outcomes().len()).unwrap_or(u64::MAX);
        }
        Reply::WindowDone(result)
    }

    /// The process is gone: of its calls some are still carried out, then a new attempt begins from the last heartbeat.
    pub(super) fn crash(&mut self, id: CommandId) {
        self.crashes += 1;
        let by_run = self.by_run();
        for (of, call) in std::mem::take(&mut self.calls).into_values() {
            match call {
                Call::Stop(_, pin) if of == id => {
                    if self.server.chance().percent(50) {
                        self.server.stop_now(&pin, by_run);
                    }
                }
                _ if of == id => {}
                call => {
                    self.next_call += 1;
                    self.calls
                        .insert((self.server.now_ms() + 1, self.next_call), (of, call));
                }
            }
        }
        let forgets = self.scenario.mutation == Some(Mutation::ReservationForgotten);
        if let Some(Task::Window(running)) = self.tasks.get_mut(&id) {
            self.journaled += u64::try_from(running.window.take_outcomes().len()).unwrap_or(u64::MAX);
            let reserved = if forgets {
                0
            } else {
                running.reserved.max(running.heartbeat.reserved)
            };
            running.window = Window::resume(
                running.spec.clone(),
                Checkpoint {
                    reserved,
                    ..running.heartbeat
                },
            );
        }
    }

    fn by_run(&self) -> bool {
        self.scenario.mutation == Some(Mutation::PinByRunId)
    }

    fn described(&self, reply: DescribeReply) -> DescribeReply {
        match reply {
            DescribeReply::Open { .. } if self.scenario.mutation == Some(Mutation::DescribeSaysClosed) => {
                DescribeReply::Closed
            }
            reply => reply,
        }
    }

    pub(super) fn answer(&mut self, id: CommandId, call: Call) {
        let now_ms = self.server.now_ms();
        let by_run = self.by_run();
        let described = match &call {
            Call::Describe(_, run_id) => Some(self.server.describe_listed(run_id)),
            Call::DescribeForLook(_, workflow_id) => Some(self.server.describe(workflow_id)),
            _ => None,
        };
        let described = described.map(|reply| self.described(reply));
        let beats = self.server.chance().percent(20);
        match (self.tasks.get_mut(&id), call, described) {
            (Some(Task::Window(running)), call, described) => {
                let RunningWindow {
                    window, kind, range, ..
                } = &mut **running;
                match (call, described) {
                    (Call::List(token), _) => match self.server.list(*kind, *range, PAGE, token.as_ref(), false) {
                        Ok((rows, next)) => window.on_page(now_ms, rows, next),
                        Err(error) => window.on_page_error(now_ms, error),
                    },
                    (Call::Stop(slot, pin), _) => {
                        let reply = self.server.stop(&pin, by_run);
                        window.on_stop(now_ms, slot, reply, 5_000);
                    }
                    (Call::Describe(slot, _), Some(reply)) => window.on_describe(now_ms, slot, reply),
                    (Call::Reserve(upto), _) => {
                        window.on_reserved(upto);
                        running.reserved = running.reserved.max(upto);
                    }
                    _ => {}
                }
                if beats {
                    running.heartbeat = running.window.checkpoint();
                }
            }
            (Some(Task::Confirm(confirm)), Call::MeasureLag, _) => {
                let ignored = self.scenario.mutation == Some(Mutation::LagIgnored);
                confirm.on_lag(now_ms, if ignored { 0 } else { self.scenario.lag_ms });
            }
            (Some(Task::Confirm(confirm)), Call::Look(page, token, at_ms), _) => {
                let page = usize::try_from(page).unwrap_or(PAGE).min(PAGE);
                match self
                    .server
                    .list(PassKind::Open, StartRange::ALL, page, token.as_ref(), true)
                {
                    Ok((rows, next)) => confirm.on_look(now_ms, at_ms, rows, next),
                    Err(error) => confirm.on_look_error(now_ms, error),
                }
            }
            (Some(Task::Confirm(confirm)), Call::DescribeForLook(slot, _), Some(reply)) => {
                confirm.on_describe(now_ms, slot, reply);
            }
            _ => {}
        }
    }
}
