//! The phases of a long workflow, as spans.

use std::time::SystemTime;

use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use temporalio_sdk::WorkflowContext;

use super::workflow::{IDS, New, span};
use super::workflow_attributes;

/// Phases after which a run goes on in a new trace: a phase has a handful of spans, and a trace should have no more than 300.
const LONG: u32 = 24;

/// The phases of one workflow run. A phase is two spans: `Phase:X` when it begins, below which everything is that is called in it,
/// and `PhaseDone:X` below that when it ends, which tells how long it took. A run of very many phases goes on in new traces, each
/// linked with the one before.
#[derive(Debug, Default)]
pub struct Phases {
    /// The root of the trace that is written now; none for the run's own.
    root: Option<Context>,
    now: Option<Phase>,
    begun: u32,
}

#[derive(Debug)]
struct Phase {
    /// By what it is told from the next.
    key: (String, u32),
    context: Context,
    since: Option<SystemTime>,
}

impl Phases {
    /// The context of what is called now, in this phase and its nth round. A new phase or round ends the one before, of which
    /// `attributes` tells what it came to. Call it at the same points in every replay.
    pub fn at<W>(
        &mut self,
        ctx: &WorkflowContext<W>,
        name: &str,
        round: u32,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Context {
        if let Some(now) = self.now.as_ref().filter(|now| now.key.0 == name && now.key.1 == round) {
            return now.context.clone();
        }
        self.end(ctx, attributes());
        let ids = ctx.random_stream(IDS);
        let first_time = !ctx.is_replaying_history_events();
        let of_workflow = || workflow_attributes(ctx.workflow_id(), ctx.run_id());
        if self.begun > 0 && self.begun.is_multiple_of(LONG) {
            let before = self.root.clone().unwrap_or_else(Context::current);
            let part = self.begun / LONG + 1;
            let name = format!("RunWorkflow:{} part {part}", ctx.info().workflow_type());
            let mut new = New::instant(name, SpanKind::Internal, of_workflow());
            new.link = Some(&before);
            self.root = Some(span(&ids, &Context::new(), first_time, new));
        }
        self.begun += 1;
        let parent = self.root.clone().unwrap_or_else(Context::current);
        let mut attributes = of_workflow();
        attributes.push(KeyValue::new("quell.round", i64::from(round)));
        let new = New::instant(format!("Phase:{name}"), SpanKind::Internal, attributes);
        let context = span(&ids, &parent, first_time, new);
        self.now = Some(Phase {
            key: (name.to_owned(), round),
            context: context.clone(),
            since: ctx.workflow_time(),
        });
        context
    }

    /// Ends the phase, if there is one.
    pub fn end<W>(&mut self, ctx: &WorkflowContext<W>, attributes: Vec<KeyValue>) {
        let Some(Phase {
            key: (name, _),
            context,
            since,
        }) = self.now.take()
        else {
            return;
        };
        let mut new = New::instant(format!("PhaseDone:{name}"), SpanKind::Internal, attributes);
        new.since = since;
        span(
            &ctx.random_stream(IDS),
            &context,
            !ctx.is_replaying_history_events(),
            new,
        );
    }
}
