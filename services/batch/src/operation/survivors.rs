//! The look for survivors, when the server is done with a job: what it says it did is not taken for done. Whatever the query still shows
//! (or the list names) is described, one by one, and what was not done is named with its state.

use super::{
    action::{Action, Execution, Selection},
    attempt::Attempt,
    executions::{Row, Seen, Sought},
    job::Moment,
    messages::{Fate, Survey, SurveyInput, Survivor},
    server::JobServer,
    spec::Spec,
};
use futures::{StreamExt as _, TryStreamExt as _};
use quell_mesh::error::Error;
use std::time::Duration;

/// Executions that are looked at, at most; so many survivors are named.
const MOST: usize = 10_000;
/// Rows of one listing.
const PAGE: i32 = 1_000;
/// Describes at once.
const AT_ONCE: usize = 16;
/// Looks, while all that is left is stale: the index lags, and deletion takes its time.
const LOOKS: usize = 5;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_secs(1);

/// Names what was not done. Told to stop, it ends with what it has, not complete.
pub(crate) async fn find(
    server: &dyn JobServer,
    attempt: &impl Attempt,
    input: &SurveyInput,
    identity: &str,
) -> Result<Survey, Error> {
    let mut look = 1;
    loop {
        let survey = once(server, input, identity).await?;
        let settled = survey
            .survivors
            .iter()
            .all(|one| !matches!(one.fate, Fate::Stale | Fate::Closed | Fate::Unknown));
        if settled || look == LOOKS || attempt.pause(PAUSE).await {
            return Ok(survey);
        }
        look += 1;
    }
}

async fn once(server: &dyn JobServer, input: &SurveyInput, identity: &str) -> Result<Survey, Error> {
    let (rows, complete) = rows(server, &input.spec).await?;
    let looked_at = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let fates: Vec<Option<Survivor>> = futures::stream::iter(rows)
        .map(|row| async { judge(server, input, identity, row).await })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(Survey {
        survivors: fates.into_iter().flatten().collect(),
        looked_at,
        complete,
    })
}

/// What could be a survivor, and whether that is all.
async fn rows(server: &dyn JobServer, spec: &Spec) -> Result<(Vec<Row>, bool), Error> {
    let query = match &spec.selection {
        Selection::Query(query) => query,
        Selection::Executions(list) => {
            let row = |execution: &Execution| Row {
                execution: execution.clone(),
                ..Row::default()
            };
            return Ok((list.iter().map(row).collect(), true));
        }
    };
    let mut rows = Vec::new();
    let mut token = Vec::new();
    loop {
        let (page, next) = server.rows(query, PAGE, token).await?;
        rows.extend(page);
        if next.is_empty() || rows.len() >= MOST {
            let complete = next.is_empty() && rows.len() <= MOST;
            rows.truncate(MOST);
            return Ok((rows, complete));
        }
        token = next;
    }
}

async fn judge(
    server: &dyn JobServer,
    input: &SurveyInput,
    identity: &str,
    row: Row,
) -> Result<Option<Survivor>, Error> {
    let listed = matches!(input.spec.selection, Selection::Query(_));
    let (row, fate) = match server.look(&row.execution).await {
        Ok(None) => return Ok(None),
        Ok(Some(seen)) => {
            let signalled = match &input.spec.action {
                Action::Signal(signal) => {
                    let sought = Sought {
                        name: &signal.name,
                        identity,
                        since: input.start,
                    };
                    server.was_signalled(&seen.row.execution, sought).await?
                }
                Action::Terminate | Action::Cancel | Action::Delete | Action::Reset(_) => false,
            };
            match fate(&input.spec.action, &seen, signalled, input.start, listed) {
                None => return Ok(None),
                Some(fate) => (seen.row, fate),
            }
        }
        // One that cannot be described is named; a server that is away is another matter.
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "an execution could not be described");
            (row, Fate::Unknown)
        }
    };
    Ok(Some(Survivor {
        workflow_id: row.execution.workflow_id,
        run_id: row.execution.run_id,
        workflow_type: row.workflow_type,
        start: row.start,
        root_workflow_id: row.root_workflow_id,
        fate,
    }))
}

/// What is left to do on an execution; `None` where it was done. `listed`: the index showed it, so that a closed one is stale there; in a
/// list of the caller's a closed one is simply closed.
fn fate(action: &Action, seen: &Seen, signalled: bool, start: Moment, listed: bool) -> Option<Fate> {
    let open = |seen: &Seen| {
        if listed && seen.row.start.is_some_and(|began| began > start) {
            Fate::StartedAfter
        } else {
            Fate::Open
        }
    };
    let stale = listed.then_some(Fate::Stale);
    match action {
        Action::Terminate if seen.open => Some(open(seen)),
        Action::Cancel if seen.open && seen.cancel_requested => Some(Fate::CancelRequested),
        Action::Cancel if seen.open => Some(open(seen)),
        Action::Terminate | Action::Cancel => stale,
        Action::Delete if seen.open => Some(open(seen)),
        Action::Delete => Some(Fate::Closed),
        Action::Signal(_) if signalled => None,
        Action::Signal(_) if seen.open => Some(open(seen)),
        Action::Signal(_) => stale,
        // The run was put aside, or is the one that was put in its place.
        Action::Reset(_) if seen.was_reset || seen.last_reset.is_some_and(|at| at >= start) => None,
        Action::Reset(_) if seen.open => Some(open(seen)),
        Action::Reset(_) => Some(Fate::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::action::{Reset, ResetTo, Signal};

    const START: Moment = Moment { seconds: 100, nanos: 0 };

    fn seen(open: bool, started: i64) -> Seen {
        Seen {
            open,
            row: Row {
                start: Some(Moment::new(started, 0)),
                ..Row::default()
            },
            ..Seen::default()
        }
    }

    fn of(action: &Action, seen: &Seen) -> Option<Fate> {
        fate(action, seen, false, START, true)
    }

    #[test]
    fn what_was_not_done_is_told_from_what_is_new_and_what_is_stale() {
        for action in [Action::Terminate, Action::Cancel] {
            assert_eq!(of(&action, &seen(true, 50)), Some(Fate::Open));
            assert_eq!(of(&action, &seen(true, 150)), Some(Fate::StartedAfter));
            assert_eq!(of(&action, &seen(false, 50)), Some(Fate::Stale));
            assert_eq!(
                fate(&action, &seen(false, 50), false, START, false),
                None,
                "of a list: it is done"
            );
        }
        let asked = Seen {
            cancel_requested: true,
            ..seen(true, 50)
        };
        assert_eq!(of(&Action::Cancel, &asked), Some(Fate::CancelRequested));
        assert_eq!(of(&Action::Delete, &seen(false, 50)), Some(Fate::Closed));
    }

    #[test]
    fn a_signal_that_came_and_a_reset_that_was_made_leave_nothing() {
        let signal = Action::Signal(Signal {
            name: "s".to_owned(),
            input: Vec::new(),
        });
        assert_eq!(fate(&signal, &seen(true, 50), true, START, true), None);
        assert_eq!(of(&signal, &seen(true, 50)), Some(Fate::Open));
        let reset = Action::Reset(Reset {
            to: ResetTo::First,
            current_run_only: false,
            exclude: Vec::new(),
        });
        let old = Seen {
            was_reset: true,
            ..seen(false, 50)
        };
        let new = Seen {
            last_reset: Some(Moment::new(120, 0)),
            ..seen(true, 50)
        };
        let before = Seen {
            last_reset: Some(Moment::new(80, 0)),
            ..seen(true, 50)
        };
        assert_eq!((of(&reset, &old), of(&reset, &new)), (None, None));
        assert_eq!(of(&reset, &before), Some(Fate::Open));
    }
}
