//! Operations as callers see them: the record, the line and the server's word put together.

use super::{
    job::{Listed, Moment},
    messages::{Fate, Holder, Line, Stage, Survivor},
    page_token::Place,
    record::{Record, foreign},
    server::{JobServer, name_field},
    store::{RESOURCE, Records},
};
use futures::{Stream, stream::unfold};
use quell_api::{batch::v1 as pb, r#type::v1::ExecutionRef};
use quell_mesh::{
    Shutdown,
    error::{Error, Reason},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Pause between two looks of a watcher.
const PERIOD: Duration = Duration::from_millis(500);
/// How long Temporal may be away before a watcher is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at operations.
#[derive(Clone)]
pub(crate) struct Viewer {
    server: Arc<dyn JobServer>,
    records: Arc<dyn Records>,
    namespace: String,
    shutdown: Shutdown,
}

/// Where a watcher is.
struct Watch {
    viewer: Viewer,
    id: String,
    next: Instant,
    good_at: Instant,
    last: Option<pb::BatchOperation>,
}

impl Viewer {
    /// Over the batch interface of the main namespace, of that name, and the records in the canceler's.
    pub(crate) fn new(
        server: Arc<dyn JobServer>,
        records: Arc<dyn Records>,
        namespace: &str,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            server,
            records,
            namespace: namespace.to_owned(),
            shutdown,
        }
    }

    /// One operation.
    ///
    /// # Errors
    /// [`Error::NotFound`] when neither the records nor the server know it.
    pub(crate) async fn get(&self, id: &str) -> Result<pb::BatchOperation, Error> {
        let Some(record) = self.records.read(id).await? else {
            let job = self.server.describe(id).await?;
            return job.as_ref().map(foreign).ok_or_else(|| Error::not_found(RESOURCE, id));
        };
        // Between two steps of its workflow nothing tells whether it has started; and a record that was ended from outside tells
        // nothing at all.
        let unsure = !record.has_started()
            && (record.standing.stage == Stage::Granted || (record.ended && record.standing.verdict.is_none()));
        let job = if unsure { self.server.describe(id).await? } else { None };
        let mut shown = record.proto(job.as_ref());
        if shown.state() == pb::BatchOperationState::Queued {
            let line = self.records.line(&self.namespace).await?;
            let (offset, holder) = self.slot(&line, Some(&record)).await?;
            let place = line.position(id).map_or(1, |position| position.saturating_add(offset));
            shown.queue_position = i32::try_from(place).unwrap_or(i32::MAX);
            shown.holder = holder.filter(|holder| holder.job_id != id).map(Holder::proto);
        }
        Ok(shown)
    }

    /// Who has the slot, and how many of ours stand before the line: the one whose turn it is, while it waits itself.
    async fn slot(&self, line: &Line, known: Option<&Record>) -> Result<(u32, Option<Holder>), Error> {
        let Some(turn) = &line.holder else {
            return Ok((0, None));
        };
        let record = match known.filter(|record| record.job_id == turn.job_id) {
            Some(record) => Some(record.clone()),
            None => self.records.read(&turn.job_id).await?,
        };
        let ours = Holder {
            job_id: turn.job_id.clone(),
            ours: true,
        };
        Ok(match record {
            Some(record) if record.is_queued() => (1, Some(record.beat.holder.unwrap_or(ours))),
            Some(_) => (0, Some(ours)),
            None => (0, None),
        })
    }

    /// A page of operations: first those that wait, then the server's.
    pub(crate) async fn list(
        &self,
        page_size: i32,
        from: Place,
    ) -> Result<(Vec<pb::BatchOperation>, Option<Place>), Error> {
        let size = usize::try_from(page_size).unwrap_or(0);
        let token = match from {
            Place::Server(token) => token,
            Place::Line(offset) => {
                let waiting = self.waiting().await?;
                if offset < waiting.len() {
                    let next = offset.saturating_add(size);
                    let next = if next < waiting.len() {
                        Place::Line(next)
                    } else {
                        Place::Server(Vec::new())
                    };
                    return Ok((waiting.into_iter().skip(offset).take(size).collect(), Some(next)));
                }
                Vec::new()
            }
        };
        let (mut jobs, next) = self
            .server
            .list(page_size, token)
            .await
            .map_err(|error| name_field(error, "page_token"))?;
        // The server lists open ones first, then by their ends; with one slot a namespace that differs little.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.start_time));
        let shown = jobs.into_iter().map(Listed::proto).collect();
        Ok((shown, (!next.is_empty()).then_some(Place::Server(next))))
    }

    /// All that wait, first in line first.
    async fn waiting(&self) -> Result<Vec<pb::BatchOperation>, Error> {
        let line = self.records.line(&self.namespace).await?;
        let (before, holder) = self.slot(&line, None).await?;
        let first = line.holder.iter().filter(|_| before > 0);
        let all = first.chain(&line.waiting).zip(1..);
        Ok(all
            .map(|(waiting, place)| pb::BatchOperation {
                job_id: waiting.job_id.clone(),
                state: pb::BatchOperationState::Queued.into(),
                kind: waiting.kind.proto().into(),
                queue_position: place,
                holder: holder
                    .clone()
                    .filter(|holder| holder.job_id != waiting.job_id)
                    .map(Holder::proto),
                ..pb::BatchOperation::default()
            })
            .collect())
    }

    /// Looks until the operation has ended.
    pub(crate) fn watch(&self, id: String) -> impl Stream<Item = Result<pb::BatchOperation, Error>> + use<> {
        let now = Instant::now();
        let watch = Watch {
            viewer: self.clone(),
            id,
            next: now,
            good_at: now,
            last: None,
        };
        unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            match watch.look().await {
                Ok(operation) => {
                    let ended = operation.close_time.is_some();
                    Some((Ok(operation), (!ended).then_some(watch)))
                }
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

impl Watch {
    /// The next look that shows something new.
    async fn look(&mut self) -> Result<pb::BatchOperation, Error> {
        let told = self.viewer.shutdown.token();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.next) => {}
                () = told.cancelled() => {
                    return Err(Error::unavailable(Reason::ShuttingDown, "this replica shuts down; watch again"));
                }
            }
            self.next = Instant::now() + PERIOD;
            match self.viewer.get(&self.id).await {
                Ok(seen) => {
                    self.good_at = Instant::now();
                    let seen = self.not_before(seen);
                    if self.last.as_ref() != Some(&seen) {
                        self.last = Some(seen.clone());
                        return Ok(seen);
                    }
                }
                Err(error) if error.is_retryable() && self.good_at.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Figures never go back: between two steps of the workflow, or of attempts, less may be known for a moment.
    fn not_before(&self, mut seen: pb::BatchOperation) -> pb::BatchOperation {
        if let Some(last) = &self.last {
            seen.total = seen.total.max(last.total);
            seen.failed = seen.failed.max(last.failed);
            if seen.completed < last.completed {
                seen.completed = last.completed;
                seen.progress_source = last.progress_source;
            }
        }
        seen
    }
}

/// A survivor as the contract shows it.
pub(crate) fn survivor(survivor: Survivor) -> pb::Survivor {
    pb::Survivor {
        state: match survivor.fate {
            Fate::Open => pb::SurvivorState::Open,
            Fate::CancelRequested => pb::SurvivorState::CancelRequested,
            Fate::StartedAfter => pb::SurvivorState::StartedAfter,
            Fate::Stale => pb::SurvivorState::Stale,
            Fate::Closed => pb::SurvivorState::Closed,
            Fate::Unknown => pb::SurvivorState::Unknown,
        }
        .into(),
        execution: Some(ExecutionRef {
            workflow_id: survivor.workflow_id,
            run_id: survivor.run_id,
            workflow_type: survivor.workflow_type,
            start_time: survivor.start.map(Moment::proto),
            root_workflow_id: survivor.root_workflow_id,
        }),
    }
}
