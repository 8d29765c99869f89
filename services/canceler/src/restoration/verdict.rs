//! What becomes of one execution: judged by what the server says of it. Pure.

use temporalio_common::protos::temporal::api::enums::v1::WorkflowExecutionStatus as Status;

use super::{
    calls::{Described, Ending},
    messages::Why,
    seeds::CLOCKS_APART_MS,
};

/// What the server writes on a child that it terminates with its parent.
const BY_PARENT: &str = "by parent close policy";

/// How an execution came to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The journal has it as stopped.
    Journal,
    /// A parent waited for it when that was terminated.
    Cascade,
    /// A parent that was restored before waits for it now.
    Waited,
    /// The journal lacks it; the index has it as terminated.
    Index,
    /// The journal has it as asked to end, and not as stopped.
    Asked,
}

/// An execution to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seed {
    pub(super) workflow_id: String,
    /// First run of its chain; empty when only the index knows it.
    pub(super) first_run_id: String,
    /// The run that was listed; empty when a parent named it.
    pub(super) run_id: String,
    pub(super) workflow_type: String,
    pub(super) origin: Origin,
}

/// The cancellation, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    /// Some time before it began, since clocks differ; in milliseconds since the epoch.
    pub(super) since_ms: u64,
    /// When it ended.
    pub(super) end_ms: u64,
    /// What it wrote on each execution that it stopped.
    pub(super) reason: String,
}

impl Span {
    /// Whether what closed then did so before the cancellation had ended, as far as clocks can tell.
    fn ended_by(&self, close_ms: u64) -> bool {
        close_ms <= self.end_ms.saturating_add(CLOCKS_APART_MS)
    }
}

/// What is known by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Its history decides.
    Candidate,
    /// It is to be reset to this event.
    Reset(i64),
    /// It is not.
    Left(Why, String),
    /// It ended after it was asked to.
    Asked {
        /// The event before the request, if there is one.
        back_to: Option<i64>,
        /// Whether going back there takes its end back: it ended as Canceled, and has met no child since.
        clean: bool,
        /// How it ended.
        how: String,
    },
    /// It ended by itself, as far as anybody can tell: none of the cancellation's, unless a parent that is reset waits for it in vain. Then
    /// this, its last task, is done once more.
    ByItself(i64),
    /// It is about to be terminated by the cascade: look again.
    Unsettled,
    /// It has nothing to do with the cancellation.
    Stranger,
}

impl Look {
    fn left(why: Why) -> Self {
        Self::Left(why, String::new())
    }
}

/// By the description of the current run of its workflow id alone.
pub(super) fn by_description(seed: &Seed, current: Option<&Described>, span: &Span) -> Look {
    let Some(current) = current else {
        return match seed.origin {
            Origin::Journal | Origin::Cascade => Look::left(Why::Gone),
            // What was asked may have ended long before it was: the server takes such a request all the same.
            Origin::Waited | Origin::Index | Origin::Asked => Look::Stranger,
        };
    };
    let same_chain = match seed.origin {
        // Which chain it was nobody knows any more, once another run is there: a reset keeps it, and says so.
        Origin::Index => current.run_id == seed.run_id || current.reset_ms >= span.end_ms,
        // Listed in the middle of its chain, and not found to be so: the server takes a request to what has closed, whichever chain that was.
        Origin::Asked => current.first_run_id == seed.first_run_id || current.run_id == seed.run_id,
        _ => current.first_run_id == seed.first_run_id,
    };
    if !same_chain {
        return match seed.origin {
            Origin::Asked => Look::Stranger,
            _ => Look::left(Why::StartedAnew),
        };
    }
    if current.reset_ms >= span.end_ms {
        return Look::left(Why::AlreadyRestored);
    }
    let open = matches!(current.status, Status::Running | Status::Paused);
    // The server's cascade may be late; whatever else was terminated after the end was so by somebody else.
    let in_time = seed.origin == Origin::Cascade || span.ended_by(current.close_ms);
    if current.status == Status::Terminated && current.close_ms >= span.since_ms && in_time {
        return Look::Candidate;
    }
    match seed.origin {
        // What is open, or another run, was reset first and has continued as new since.
        Origin::Journal if open || current.run_id != seed.run_id => Look::left(Why::AlreadyRestored),
        Origin::Cascade if open => Look::Unsettled,
        // It ended by itself while its parent was down: that never heard of it, and would wait for it for ever.
        Origin::Cascade if current.close_ms >= span.since_ms => Look::Candidate,
        Origin::Waited if !open && (span.since_ms..=span.end_ms).contains(&current.close_ms) => Look::Candidate,
        // Not in time perhaps: its parent may wait for it all the same.
        Origin::Asked if !open && current.close_ms >= span.since_ms && current.status != Status::Terminated => {
            Look::Candidate
        }
        Origin::Journal | Origin::Cascade => Look::Left(Why::NotTerminated, ended(current.status)),
        // What was asked and did not end, or not in answer to that, is where it would be.
        Origin::Waited | Origin::Index | Origin::Asked => Look::Stranger,
    }
}

/// By the end of its history.
pub(super) fn by_history(seed: &Seed, current: &Described, ending: &Ending, span: &Span) -> Look {
    let Some(reason) = &ending.terminated else {
        return match (seed.origin, ending.event_id) {
            // Its last task is done once more, and its parent hears of its end.
            (Origin::Cascade | Origin::Waited, Some(event_id)) => Look::Reset(event_id),
            (Origin::Cascade | Origin::Waited, None) => Look::left(Why::NoWorkflowTask),
            (Origin::Journal, _) => Look::left(Why::NotTerminated),
            // Whatever has completed or failed may have done so whether it was asked or not: for itself it is not done once more.
            (Origin::Asked, back_to) if ending.asked && span.ended_by(current.close_ms) => Look::Asked {
                back_to,
                clean: current.status == Status::Canceled && !ending.met_child,
                how: ended(current.status),
            },
            (Origin::Asked, _) => ending.last.map_or(Look::Stranger, Look::ByItself),
            (Origin::Index, _) => Look::Stranger,
        };
    };
    let ours = *reason == span.reason;
    let cascade = reason == BY_PARENT;
    let by_us = match seed.origin {
        Origin::Journal | Origin::Cascade | Origin::Waited | Origin::Asked => ours || cascade,
        Origin::Index => ours,
    };
    match (by_us, seed.origin, ending.event_id) {
        (false, Origin::Index, _) => Look::Stranger,
        (false, ..) => Look::left(Why::TerminatedByOthers),
        (true, _, Some(event_id)) => Look::Reset(event_id),
        (true, _, None) => Look::left(Why::NoWorkflowTask),
    }
}

/// "it ended as Completed"
fn ended(status: Status) -> String {
    format!(
        "it ended as {}",
        status.as_str_name().trim_start_matches("WORKFLOW_EXECUTION_STATUS_")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(origin: Origin) -> Seed {
        Seed {
            workflow_id: "w".into(),
            first_run_id: "first".into(),
            run_id: "r".into(),
            workflow_type: String::new(),
            origin,
        }
    }

    fn span() -> Span {
        Span {
            since_ms: 1_000,
            end_ms: 9_000,
            reason: "too many".into(),
        }
    }

    fn terminated() -> Described {
        Described {
            run_id: "r".into(),
            first_run_id: "first".into(),
            status: Status::Terminated,
            close_ms: 5_000,
            ..Described::default()
        }
    }

    fn left(look: &Look) -> Option<Why> {
        match look {
            Look::Left(why, _) => Some(*why),
            _ => None,
        }
    }

    #[test]
    fn only_what_was_terminated_then_is_reset() {
        let look = |origin, current: &Described| by_description(&seed(origin), Some(current), &span());
        for origin in [Origin::Journal, Origin::Cascade, Origin::Waited, Origin::Index] {
            assert_eq!(look(origin, &terminated()), Look::Candidate);
        }
        // It had continued as new before it was terminated.
        let later_run = Described {
            run_id: "r2".into(),
            ..terminated()
        };
        assert_eq!(look(Origin::Journal, &later_run), Look::Candidate);
        let other_chain = Described {
            first_run_id: "other".into(),
            run_id: "other".into(),
            ..terminated()
        };
        for origin in [Origin::Journal, Origin::Cascade, Origin::Index] {
            assert_eq!(left(&look(origin, &other_chain)), Some(Why::StartedAnew));
        }
        let restored = Described {
            run_id: "r2".into(),
            reset_ms: 9_500,
            status: Status::Running,
            ..terminated()
        };
        for origin in [Origin::Journal, Origin::Cascade, Origin::Waited, Origin::Index] {
            assert_eq!(left(&look(origin, &restored)), Some(Why::AlreadyRestored));
        }
        // Restored, and then terminated again: that was somebody else.
        let again = Described {
            status: Status::Terminated,
            close_ms: 9_800,
            ..restored
        };
        assert_eq!(left(&look(Origin::Journal, &again)), Some(Why::AlreadyRestored));
        let completed = Described {
            status: Status::Completed,
            ..terminated()
        };
        assert_eq!(left(&look(Origin::Journal, &completed)), Some(Why::NotTerminated));
        assert_eq!(
            look(Origin::Cascade, &completed),
            Look::Candidate,
            "its parent waits for it in vain"
        );
        assert_eq!(look(Origin::Waited, &completed), Look::Candidate);
        let completed_later = Described {
            close_ms: 9_001,
            ..completed
        };
        assert_eq!(
            look(Origin::Waited, &completed_later),
            Look::Stranger,
            "its parent hears of it"
        );
        let running = Described {
            status: Status::Running,
            close_ms: 0,
            ..terminated()
        };
        assert_eq!(look(Origin::Cascade, &running), Look::Unsettled);
        assert_eq!(
            look(Origin::Waited, &running),
            Look::Stranger,
            "the restored parent's own child"
        );
        assert_eq!(
            left(&by_description(&seed(Origin::Journal), None, &span())),
            Some(Why::Gone)
        );
    }

    #[test]
    fn the_reason_on_it_tells_whose_it_was() {
        let look = |origin, reason: &str, event_id| {
            let ending = Ending {
                terminated: Some(reason.into()),
                event_id,
                ..Ending::default()
            };
            by_history(&seed(origin), &terminated(), &ending, &span())
        };
        assert_eq!(look(Origin::Journal, "too many", Some(7)), Look::Reset(7));
        assert_eq!(look(Origin::Cascade, BY_PARENT, Some(7)), Look::Reset(7));
        assert_eq!(
            left(&look(Origin::Journal, "mine", Some(7))),
            Some(Why::TerminatedByOthers)
        );
        assert_eq!(
            left(&look(Origin::Cascade, "mine", Some(7))),
            Some(Why::TerminatedByOthers)
        );
        assert_eq!(look(Origin::Index, "mine", Some(7)), Look::Stranger);
        assert_eq!(look(Origin::Index, BY_PARENT, Some(7)), Look::Stranger);
        let by_itself = |origin| {
            let ending = Ending {
                event_id: Some(7),
                ..Ending::default()
            };
            by_history(&seed(origin), &terminated(), &ending, &span())
        };
        assert_eq!(by_itself(Origin::Cascade), Look::Reset(7));
        assert_eq!(left(&by_itself(Origin::Journal)), Some(Why::NotTerminated));
        assert_eq!(
            left(&look(Origin::Journal, "too many", None)),
            Some(Why::NoWorkflowTask)
        );
    }
    #[test]
    fn what_ended_when_it_was_asked_is_told_from_what_did_so_by_itself() {
        let asked = seed(Origin::Asked);
        let closed = |status, close_ms| Described {
            status,
            close_ms,
            ..terminated()
        };
        let look = |current: &Described| by_description(&asked, Some(current), &span());
        let canceled = closed(Status::Canceled, 5_000);
        assert_eq!(look(&canceled), Look::Candidate);
        assert_eq!(look(&closed(Status::Running, 0)), Look::Stranger, "it did not end");
        let later = span().end_ms + CLOCKS_APART_MS + 1;
        assert_eq!(look(&closed(Status::Terminated, later)), Look::Stranger);
        assert_eq!(look(&closed(Status::Completed, 999)), Look::Stranger, "long before");
        let history = |current: &Described, asked_in_time, met_child| {
            let ending = Ending {
                event_id: Some(7),
                last: Some(9),
                asked: asked_in_time,
                met_child,
                ..Ending::default()
            };
            by_history(&asked, current, &ending, &span())
        };
        let ended = |clean, how: &str| Look::Asked {
            back_to: Some(7),
            clean,
            how: format!("it ended as {how}"),
        };
        assert_eq!(history(&canceled, true, false), ended(true, "CANCELED"));
        assert_eq!(history(&canceled, true, true), ended(false, "CANCELED"));
        let by_itself = Look::ByItself(9);
        assert_eq!(history(&canceled, false, false), by_itself, "it never heard it");
        let completed = closed(Status::Completed, 5_000);
        assert_eq!(history(&completed, true, false), ended(false, "COMPLETED"));
        let late = closed(Status::Completed, later);
        assert_eq!(look(&late), Look::Candidate, "its parent may wait for it");
        assert_eq!(history(&late, true, false), by_itself);
        let never_at_work = by_history(&asked, &late, &Ending::default(), &span());
        assert_eq!(never_at_work, Look::Stranger);
    }
}
