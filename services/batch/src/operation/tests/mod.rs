//! The logic above the server, against a server that misbehaves on demand.

mod api;
mod loops;
mod records;
mod refused;
mod replay;
mod turns;

use super::{
    action::{Execution, Kind, Selection},
    executions::{Executions, Row, Seen, Sought},
    job::{Job, Listed, Moment, NewJob, State},
    server::{JobServer, Started},
};
use quell_mesh::{
    Protected,
    error::{Error, Reason},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

/// A server with one slot, in memory. It keeps the server's words: a second Start of a running job is refused as "slot
/// taken", of a closed one as "exists".
#[derive(Default)]
struct Fake(Mutex<World>, Protected);

#[derive(Default)]
struct World {
    jobs: BTreeMap<String, Job>,
    starts: u32,
    /// Queries of jobs that were taken.
    queries: Vec<String>,
    stops: Vec<String>,
    counts: Vec<String>,
    /// What a count says; 200 when it is not set.
    matches: Option<i64>,
    /// Its version; 1.29.1 when it is not set.
    version: Option<&'static str>,
    /// What can be listed and described.
    executions: Vec<Seen>,
    /// Starts that are refused although the slot is free: the server's count lags.
    lag: u32,
    /// Ids of ordinary workflows.
    workflows: Vec<String>,
    /// The next Start takes the job, and its answer is lost.
    lose_answer: bool,
    invalid: Option<String>,
    /// How many executions of each target are protected.
    held: i64,
    down: bool,
    clock: i64,
}

impl Fake {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn with_job(id: &str, state: State) -> Arc<Self> {
        let fake = Self::default();
        fake.world().jobs.insert(id.to_owned(), job(id, state));
        Arc::new(fake)
    }

    fn end(&self, id: &str, state: State, done: i64, failed: i64) {
        let mut world = self.world();
        let job = world.jobs.get_mut(id).unwrap();
        job.state = state;
        // As the server: a failed job has no figures.
        let told = if state == State::Completed {
            (done + failed, done, failed)
        } else {
            (0, 0, 0)
        };
        (job.total, job.done, job.failed) = told;
    }
}

fn job(id: &str, state: State) -> Job {
    Job {
        id: id.to_owned(),
        state,
        kind: Some(Kind::Terminate),
        start_time: Some(Moment {
            seconds: 1_700_000_000,
            nanos: 5_000_000,
        }),
        close_time: None,
        total: 0,
        done: 0,
        failed: 0,
        identity: "somebody".to_owned(),
        reason: "why".to_owned(),
    }
}

fn unavailable() -> Error {
    Error::unavailable(Reason::TemporalUnreachable, "gone")
}

#[async_trait::async_trait]
impl Executions for Fake {
    async fn rows(&self, _query: &str, page_size: i32, token: Vec<u8>) -> Result<(Vec<Row>, Vec<u8>), Error> {
        let skip = usize::from(token.first().copied().unwrap_or(0));
        let world = self.world();
        let rows: Vec<_> = world
            .executions
            .iter()
            .map(|seen| seen.row.clone())
            .skip(skip)
            .collect();
        let size = usize::try_from(page_size).unwrap();
        let next = if rows.len() > size {
            vec![u8::try_from(skip + size).unwrap()]
        } else {
            Vec::new()
        };
        Ok((rows.into_iter().take(size).collect(), next))
    }

    async fn look(&self, execution: &Execution) -> Result<Option<Seen>, Error> {
        let world = self.world();
        let found = world.executions.iter().find(|seen| seen.row.execution == *execution);
        Ok(found.cloned())
    }

    async fn was_signalled(&self, _execution: &Execution, _signal: Sought<'_>) -> Result<bool, Error> {
        Ok(false)
    }
}

#[async_trait::async_trait]
impl JobServer for Fake {
    fn protected(&self) -> &Protected {
        &self.1
    }

    async fn count(&self, query: &str) -> Result<i64, Error> {
        let mut world = self.world();
        world.counts.push(query.to_owned());
        if self.1.types.iter().any(|one| query.contains(one)) {
            return Ok(world.held);
        }
        world
            .invalid
            .clone()
            .map_or(Ok(world.matches.unwrap_or(200)), |text| Err(Error::invalid("", text)))
    }

    async fn version(&self) -> Result<String, Error> {
        let world = self.world();
        if world.down {
            return Err(unavailable());
        }
        Ok(world.version.unwrap_or("1.29.1").to_owned())
    }

    async fn describe(&self, id: &str) -> Result<Option<Job>, Error> {
        let world = self.world();
        if world.down {
            Err(unavailable())
        } else {
            Ok(world.jobs.get(id).cloned())
        }
    }

    async fn start(&self, new: &NewJob) -> Result<Started, Error> {
        let mut world = self.world();
        world.starts += 1;
        if world.lag > 0 {
            world.lag -= 1;
            return Ok(Started::SlotTaken);
        }
        if world.jobs.values().any(Job::is_running) {
            return Ok(Started::SlotTaken);
        }
        if world.jobs.contains_key(&new.id) || world.workflows.contains(&new.id) {
            return Ok(Started::Exists);
        }
        world.clock += 1;
        if let Selection::Query(query) = &new.selection {
            world.queries.push(query.clone());
        }
        let mut taken = job(&new.id, State::Running);
        taken.kind = Some(new.action.kind());
        taken.identity = new.identity.to_string();
        taken.start_time = Some(Moment {
            seconds: 1_700_000_000 + world.clock,
            nanos: 0,
        });
        world.jobs.insert(new.id.clone(), taken);
        if std::mem::take(&mut world.lose_answer) {
            Err(unavailable())
        } else {
            Ok(Started::Taken)
        }
    }

    async fn list(&self, page_size: i32, token: Vec<u8>) -> Result<(Vec<Listed>, Vec<u8>), Error> {
        if token == b"bad" {
            return Err(Error::invalid("", "invalid next page token"));
        }
        let skip = usize::from(token.first().copied().unwrap_or(0));
        let size = usize::try_from(page_size).unwrap();
        let world = self.world();
        let page: Vec<_> = world
            .jobs
            .values()
            .skip(skip)
            .take(size)
            .map(|job| Listed {
                id: job.id.clone(),
                state: job.state,
                start_time: job.start_time,
                close_time: None,
            })
            .collect();
        let next = skip + page.len();
        Ok((
            page,
            if next < world.jobs.len() {
                vec![u8::try_from(next).unwrap()]
            } else {
                Vec::new()
            },
        ))
    }

    async fn stop(&self, id: &str, _reason: &str) -> Result<(), Error> {
        self.world().stops.push(id.to_owned());
        self.end(id, State::Failed, 0, 0);
        Ok(())
    }
}
