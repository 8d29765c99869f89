//! Records in memory.

use crate::operation::{
    job::Moment,
    messages::{About, Beat, Figures, Holder, Line, OperationInput, Stage, Survey, Verdict, Waiting},
    record::Record,
    store::Records,
};
use quell_mesh::error::Error;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

/// Records, and a line in which each operation that begins stands at once.
#[derive(Default)]
pub(super) struct FakeRecords(Mutex<World>);

#[derive(Default)]
struct World {
    records: BTreeMap<String, Record>,
    surveys: BTreeMap<String, Survey>,
    line: Line,
    started: Vec<String>,
    caps: BTreeMap<String, i64>,
    stopped: Vec<(String, String)>,
    entered: u32,
}

impl FakeRecords {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Record)) {
        change(self.world().records.get_mut(id).unwrap());
    }

    pub(super) fn started(&self) -> Vec<String> {
        self.world().started.clone()
    }

    /// The most executions that an operation may affect.
    pub(super) fn cap(&self, id: &str) -> i64 {
        self.world().caps[id]
    }

    pub(super) fn stopped(&self) -> Vec<(String, String)> {
        self.world().stopped.clone()
    }

    pub(super) fn entered(&self) -> u32 {
        self.world().entered
    }

    pub(super) fn waits_for(&self, id: &str, other: &str) {
        self.change(id, |record| {
            record.standing.stage = Stage::Granted;
            record.beat = Beat {
                holder: Some(Holder {
                    job_id: other.to_owned(),
                    ours: false,
                }),
                ..Beat::default()
            };
        });
    }

    pub(super) fn runs(&self, id: &str) {
        self.change(id, |record| {
            record.standing.stage = Stage::Granted;
            record.beat = Beat {
                figures: Figures {
                    start: Some(Moment::new(1, 0)),
                    ..Figures::default()
                },
                ..Beat::default()
            };
        });
    }

    pub(super) fn end(&self, id: &str, verdict: Verdict) {
        self.change(id, |record| {
            record.ended = true;
            record.standing.stage = Stage::Ended;
            record.standing.verdict = Some(verdict);
            record.closed = Some(Moment::new(2, 0));
        });
    }

    pub(super) fn survive(&self, id: &str, survey: Survey) {
        self.world().surveys.insert(id.to_owned(), survey);
    }

    /// Gives the turn to the next.
    pub(super) fn advance(&self) {
        self.world().line.advance();
    }

    /// The queue is ended from outside.
    pub(super) fn lose_line(&self) {
        self.world().line = Line::default();
    }
}

#[async_trait::async_trait]
impl Records for FakeRecords {
    async fn start(&self, input: OperationInput) -> Result<bool, Error> {
        let mut world = self.world();
        if world.records.contains_key(&input.job_id) {
            return Ok(false);
        }
        world.started.push(input.job_id.clone());
        world.caps.insert(input.job_id.clone(), input.spec.max_affected);
        world.line.enter(Waiting {
            job_id: input.job_id.clone(),
            kind: input.spec.action.kind(),
        });
        if world.line.holder.is_none() {
            world.line.advance();
        }
        let record = Record {
            job_id: input.job_id.clone(),
            about: About {
                kind: Some(input.spec.action.kind()),
                matched: input.matched,
                digest: input.spec.digest(),
                ..About::default()
            },
            ..Record::default()
        };
        world.records.insert(input.job_id, record);
        Ok(true)
    }

    async fn read(&self, job_id: &str) -> Result<Option<Record>, Error> {
        Ok(self.world().records.get(job_id).cloned())
    }

    async fn stop(&self, job_id: &str, reason: &str) -> Result<(), Error> {
        self.world().stopped.push((job_id.to_owned(), reason.to_owned()));
        Ok(())
    }

    async fn survey(&self, job_id: &str) -> Result<Survey, Error> {
        Ok(self.world().surveys.get(job_id).cloned().unwrap_or_default())
    }

    async fn enter(&self, _namespace: &str, new: Waiting) -> Result<(), Error> {
        let mut world = self.world();
        world.entered += 1;
        world.line.enter(new);
        Ok(())
    }

    async fn leave(&self, _namespace: &str, job_id: &str) -> Result<(), Error> {
        self.world().line.leave(job_id);
        Ok(())
    }

    async fn line(&self, _namespace: &str) -> Result<Line, Error> {
        Ok(self.world().line.clone())
    }
}
