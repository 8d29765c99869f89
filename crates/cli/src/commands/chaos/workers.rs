//! Activity workers that restart all the time.

use crate::dev::{health, wait_until};
use crate::exit::Failure;
use crate::process::{Process, Spec};
use nix::sys::signal::Signal;
use quell_mesh::config::{self, Sources};
use quell_mesh::worker::manager::{Drain, Manager, PollTally};
use quell_mesh::{Home, NamespaceClient, PayloadStore, QueueTuning, Registry, Settings};
use quell_work::probe::ProbeActivities;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Within which a process must be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// On top of the drain timeout: the worker's own stop, the last spans, a busy machine.
const RESERVE: Duration = Duration::from_secs(30);

/// Lines of a log that hold a whole run.
const LINES: usize = 40;

/// What the workers work on.
#[derive(Debug, Clone)]
pub(super) struct Where {
    pub(super) temporal: String,
    pub(super) namespace: String,
    pub(super) queue: String,
    /// For payloads, and the logs of processes.
    pub(super) folder: PathBuf,
}

/// What a worker is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A worker of this process, with the life that every service's worker has.
    Here,
    /// A process of this program, the work service.
    Process(PathBuf),
}

/// What the drains came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) drains: u64,
    pub(super) unclean: Vec<String>,
    pub(super) longest: Duration,
    /// What the polls of all workers brought, by their own account.
    pub(super) polls: PollTally,
}

impl Tally {
    fn polled(&mut self, polls: PollTally) {
        self.polls.tasks += polls.tasks;
        self.polls.begun += polls.begun;
        self.polls.cut += polls.cut;
    }

    fn note(&mut self, took: Duration, unclean: Option<String>) {
        self.drains += 1;
        self.longest = self.longest.max(took);
        self.unclean.extend(unclean);
    }

    fn add(&mut self, other: Self) {
        self.drains += other.drains;
        self.unclean.extend(other.unclean);
        self.longest = self.longest.max(other.longest);
        self.polled(other.polls);
    }
}

/// All workers of a run.
pub(super) struct Fleet {
    stop: watch::Sender<bool>,
    workers: JoinSet<Result<Tally, Failure>>,
}

impl Fleet {
    pub(super) fn start(
        place: &Where,
        kind: &Kind,
        workers: u32,
        up_time: Duration,
        grace: Duration,
    ) -> Result<Self, Failure> {
        let stop = watch::Sender::new(false);
        let env = env(place, grace);
        let sources = Sources {
            env: env.clone(),
            ..Sources::default()
        };
        let settings = config::load(&sources, 0)
            .map_err(|error| Failure::Usage(error.to_string()))?
            .settings;
        let mut fleet = Self {
            stop,
            workers: JoinSet::new(),
        };
        match kind {
            Kind::Here => {
                let payloads = PayloadStore::open(&settings.payload)
                    .map_err(|error| Failure::Other(format!("the payload store cannot be opened: {error}")))?;
                let client = NamespaceClient::new(settings.main.clone(), "quell-chaos", payloads.codec());
                for n in 0..workers {
                    let worker = Here {
                        n,
                        client: client.clone(),
                        settings: settings.clone(),
                        queue: place.queue.clone(),
                    };
                    fleet.workers.spawn(worker.live(up_time, fleet.stop.subscribe()));
                }
            }
            Kind::Process(program) => {
                for n in 0..workers {
                    let mut env = env.clone();
                    env.insert("QUELL_PROBE_TASK_QUEUE".to_owned(), place.queue.clone());
                    let spec = spec(place, program.clone(), env, n, grace)?;
                    fleet.workers.spawn(process(spec, up_time, fleet.stop.subscribe()));
                }
            }
        }
        Ok(fleet)
    }

    /// Drains all workers a last time.
    pub(super) async fn stop(mut self) -> Result<Tally, Failure> {
        self.stop.send_replace(true);
        let mut tally = Tally::default();
        while let Some(worker) = self.workers.join_next().await {
            let worker = worker.map_err(|error| Failure::Other(format!("a worker's task ended badly: {error}")))?;
            tally.add(worker?);
        }
        Ok(tally)
    }
}

/// Waits for the up-time, or for the end of it all. Says whether that has come.
async fn up(up_time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    // Timed out: the end has not come. The sender is there for as long as anybody waits.
    tokio::time::timeout(up_time, stop.wait_for(|stop| *stop)).await.is_ok()
}

/// A worker of this process.
struct Here {
    n: u32,
    client: NamespaceClient,
    settings: Settings,
    queue: String,
}

impl Here {
    async fn live(self, up_time: Duration, mut stop: watch::Receiver<bool>) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        let failed = |error: String| Failure::Other(format!("an activity worker could not be made: {error}"));
        loop {
            let registry = Registry::new()
                .queue(self.queue.clone(), Home::Main, QueueTuning::default())
                .activities(&self.queue, ProbeActivities);
            let identity = format!("quell-chaos-{}-{}", self.n, tally.drains);
            let worker = &self.settings.worker;
            let manager = Manager::new(registry, &[], &self.client, &self.client, &identity, worker)
                .map_err(|error| failed(error.to_string()))?;
            let drain = Drain::default();
            let running = tokio::spawn(manager.run(drain.clone()));
            let last = up(up_time, &mut stop).await;
            let began = Instant::now();
            drain.begin(began + worker.drain_timeout);
            let report = running
                .await
                .map_err(|error| failed(error.to_string()))?
                .map_err(|error| failed(format!("{error:#}")))?;
            report.queues.iter().for_each(|queue| tally.polled(queue.polls));
            tally.note(began.elapsed(), (!report.is_clean()).then(|| format!("{report:?}")));
            if last {
                return Ok(tally);
            }
        }
    }
}

/// Settings of a worker, as variables.
fn env(place: &Where, grace: Duration) -> BTreeMap<String, String> {
    [
        ("QUELL_HOST", "127.0.0.1".to_owned()),
        ("TEMPORAL_MAIN_ADDRESS", place.temporal.clone()),
        ("TEMPORAL_MAIN_NAMESPACE", place.namespace.clone()),
        (
            "QUELL_PAYLOAD_URL",
            place.folder.join("chaos-payloads").display().to_string(),
        ),
        ("QUELL_DRAIN_TIMEOUT_SECONDS", grace.as_secs_f64().to_string()),
        // Nobody balances calls over these.
        ("QUELL_SHUTDOWN_DELAY_SECONDS", "0.001".to_owned()),
        // What a process did, we read in its log.
        ("QUELL_LOG_FORMAT", "json".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn spec(
    place: &Where,
    program: PathBuf,
    mut env: BTreeMap<String, String>,
    n: u32,
    grace: Duration,
) -> Result<(Spec, String), Failure> {
    let port = crate::ports::free(1)?.first().copied().unwrap_or_default();
    env.insert("QUELL_PORT".to_owned(), port.to_string());
    env.insert("QUELL_METRICS_PORT".to_owned(), "0".to_owned());
    let settings = config::table();
    let inherited = settings.iter().map(|setting| setting.env.to_owned());
    let name = format!("chaos-worker-{n}");
    let spec = Spec {
        program,
        args: vec!["--queue".into(), place.queue.clone().into()],
        env_remove: inherited
            .chain(["QUELL_CONFIG".to_owned()])
            .filter(|name| !env.contains_key(name))
            .collect(),
        env,
        dir: place.folder.clone(),
        log: place.folder.join(format!("{name}.log")),
        grace: grace + RESERVE,
        name,
    };
    Ok((spec, format!("http://127.0.0.1:{port}")))
}

/// A worker that is a process. Its up-time begins when it says that it serves.
async fn process(
    (spec, address): (Spec, String),
    up_time: Duration,
    mut stop: watch::Receiver<bool>,
) -> Result<Tally, Failure> {
    let longest = spec.grace;
    let process = Process::new(spec);
    let mut tally = Tally::default();
    loop {
        process.start()?;
        wait_until(READY_WITHIN, || health(&address, ""))
            .await
            .map_err(|reason| Failure::Other(format!("{}: {reason}\n{}", process.name(), process.log_tail(20))))?;
        let last = up(up_time, &mut stop).await;
        let began = Instant::now();
        process.signal(Signal::SIGTERM)?;
        let unclean = match tokio::time::timeout(longest, process.wait()).await {
            Ok(status) => {
                let status = status?;
                (!status.success()).then(|| format!("{}: {status}\n{}", process.name(), process.log_tail(5)))
            }
            Err(_) => {
                process.kill().await?;
                Some(format!("{} had to be killed", process.name()))
            }
        };
        tally.note(began.elapsed(), unclean);
        tally.polled(told(&process.log_tail(LINES)));
        if last {
            return Ok(tally);
        }
    }
}

/// What a process said of its worker's polls in its last run: nothing, when there was no worker yet.
fn told(log: &str) -> PollTally {
    let lines = log
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_last_run = lines.take_while(|line| line["message"] != "listening");
    let drained = of_last_run.find(|line| line["message"] == "worker drained");
    drained.map_or_else(PollTally::default, |line| {
        let number = |field: &str| line[field].as_u64().unwrap_or_default();
        PollTally {
            tasks: number("tasks"),
            begun: number("begun"),
            cut: number("polls_cut"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_of_its_last_run_only() {
        let drained = r#"{"message":"worker drained","tasks":7,"begun":6,"polls_cut":2}"#;
        let listening = r#"{"message":"listening","address":"x"}"#;
        let tally = PollTally {
            tasks: 7,
            begun: 6,
            cut: 2,
        };
        assert_eq!(told(&format!("{listening}\nno json\n{drained}\n{{}}\n")), tally);
        assert_eq!(told(&format!("{drained}\n{listening}\n")), PollTally::default());
    }
}
