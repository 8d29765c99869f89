//! The survey: everything that the cancellation ended is described, and whatever waited for it in vain is found. Changes nothing.
//!
//! An execution that was terminated still names the children that it waited for: what the server's cascade ended is found from there,
//! by Describe and not by the index, which may lag.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use quell_mesh::{Error, PayloadStore};
use sha2::{Digest as _, Sha256};
use temporalio_common::protos::temporal::api::enums::v1::WorkflowExecutionStatus;
use tonic::Status;

use super::{
    messages::{PlanChunk, Surveyed, Why},
    plan::{self, Item, Judged},
    seeds::Ground,
    verdict::{Look, Origin, Seed, Span, by_description, by_history},
};
use crate::cancellation::namespace::Namespace;

/// Executions of one part of the plan.
const CHUNK_ITEMS: usize = 2_000;
/// How often what the cascade has not reached yet is looked at again, and the pause before.
const LOOKS_AGAIN: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Why a survey was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Ours(#[from] Error),
    #[error("describing an execution: {0}")]
    Call(Status),
}

/// The chain that is meant.
fn key(seed: &Seed) -> (String, String) {
    (seed.workflow_id.clone(), seed.first_run_id.clone())
}

/// What a survey needs.
pub(super) struct Surveyor<'a> {
    pub(super) main: &'a Namespace,
    pub(super) payloads: &'a PayloadStore,
    pub(super) ground: &'a Ground,
    /// Calls in flight at once.
    pub(super) concurrency: usize,
    /// Executions described so far.
    pub(super) surveyed: &'a AtomicU64,
}

impl Surveyor<'_> {
    /// Looks at everything and writes the plan; nothing is written when more than `max_affected` would be reset.
    pub(super) async fn run(&self, max_affected: u64, folder: &str) -> Result<Surveyed, Failed> {
        let seeds = self.ground.seeds(self.payloads, max_affected).await?;
        // What a stopped parent waits for is judged as its child, asked or not: nobody else would wake the parent.
        let (asked, stopped): (Vec<_>, Vec<_>) = seeds.all.into_iter().partition(|seed| seed.origin == Origin::Asked);
        let mut known = HashSet::new();
        let mut judged = self.look_around(stopped, &mut known).await?;
        let asked = asked.into_iter().filter(|seed| !known.contains(&key(seed))).collect();
        judged.extend(self.look_around(asked, &mut known).await?);
        if self.ground.lacking {
            judged = self.add_from_index(judged).await?;
        }
        let plan = plan::order(judged);
        let [stopped, cascade, found, ended_when_asked] = plan.origins;
        let planned = plan.items.len() as u64;
        let mut surveyed = Surveyed {
            stopped,
            cascade,
            found,
            ended_when_asked,
            planned,
            levels: plan.levels,
            plan: Vec::new(),
            left: plan.left,
            warnings: Vec::new(),
        };
        if self.ground.lacking {
            surveyed.warnings.push(
                "the journal lacks some of what was stopped: it was looked for in the index, by the cancellation's reason".to_owned(),
            );
        }
        if planned <= max_affected {
            surveyed.plan = self.write(folder, &plan.items).await?;
        }
        Ok(surveyed)
    }

    /// Looks at these, and at whatever hangs on them, but for what is known already.
    async fn look_around(
        &self,
        seeds: Vec<Seed>,
        known: &mut HashSet<(String, String)>,
    ) -> Result<Vec<Judged>, Failed> {
        known.extend(seeds.iter().map(key));
        let mut judged: Vec<Judged> = Vec::new();
        let mut frontier = seeds;
        while !frontier.is_empty() {
            let level = self.look_at(frontier).await?;
            frontier = Vec::new();
            for one in &level {
                let origin = match &one.look {
                    Look::Reset(_) | Look::Asked { .. } => Origin::Cascade,
                    Look::Left(Why::AlreadyRestored, _) => Origin::Waited,
                    _ => continue,
                };
                for child in one.children.iter().filter(|child| child.cascades) {
                    let seed = Seed {
                        workflow_id: child.workflow_id.clone(),
                        first_run_id: child.first_run_id.clone(),
                        run_id: String::new(),
                        workflow_type: String::new(),
                        origin,
                    };
                    if known.insert(key(&seed)) {
                        frontier.push(seed);
                    }
                }
            }
            judged.extend(level.into_iter().filter(|one| one.look != Look::Stranger));
        }
        Ok(judged)
    }

    async fn look_at(&self, seeds: Vec<Seed>) -> Result<Vec<Judged>, Failed> {
        let mut looks = stream::iter(seeds)
            .map(|seed| self.judge(seed))
            .buffer_unordered(self.concurrency);
        let mut judged = Vec::new();
        while let Some(one) = looks.next().await {
            judged.push(one?);
            self.surveyed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(judged)
    }

    async fn judge(&self, seed: Seed) -> Result<Judged, Failed> {
        let span: &Span = &self.ground.span;
        let mut looks = 0;
        let (current, mut look) = loop {
            let current = self.main.current(&seed.workflow_id).await.map_err(Failed::Call)?;
            let look = by_description(&seed, current.as_ref(), span);
            looks += 1;
            if look != Look::Unsettled || looks > LOOKS_AGAIN {
                break (current.unwrap_or_default(), look);
            }
            tokio::time::sleep(PAUSE).await;
        };
        if look == Look::Candidate {
            let ending = self.main.ending(&seed.workflow_id, &current.run_id, span.since_ms);
            look = by_history(&seed, &current, &ending.await.map_err(Failed::Call)?, span);
        }
        let workflow_type = Some(current.workflow_type).filter(|name| !name.is_empty());
        // What was restored and has ended since waits for nobody: what became of its children then is none of ours.
        let ended = !matches!(
            current.status,
            WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused
        );
        let children = match &look {
            Look::Left(Why::AlreadyRestored, _) if ended => Vec::new(),
            // Nor does what comes to its end once more.
            Look::ByItself(_) => Vec::new(),
            _ => current.children,
        };
        Ok(Judged {
            run_id: current.run_id,
            first_run_id: current.first_run_id,
            workflow_type: workflow_type.unwrap_or_else(|| seed.workflow_type.clone()),
            parent: current.parent,
            children,
            look,
            seed,
        })
    }

    /// Adds what the index has as terminated by the cancellation, and what hangs on that.
    async fn add_from_index(&self, mut judged: Vec<Judged>) -> Result<Vec<Judged>, Failed> {
        let known: HashSet<(String, String)> = judged
            .iter()
            .map(|one| (one.seed.workflow_id.clone(), one.run_id.clone()))
            .collect();
        let mut seeds = Vec::new();
        let mut token = Vec::new();
        loop {
            let (rows, next) = self
                .main
                .matching(&self.ground.query(), token)
                .await
                .map_err(Failed::Call)?;
            let rows = rows.into_iter().filter(|row| !known.contains(row));
            seeds.extend(rows.map(|(workflow_id, run_id)| Seed {
                workflow_id,
                first_run_id: String::new(),
                run_id,
                workflow_type: String::new(),
                origin: Origin::Index,
            }));
            if next.is_empty() {
                break;
            }
            token = next;
        }
        let mut chains: HashSet<(String, String)> = judged
            .iter()
            .map(|one| (one.seed.workflow_id.clone(), one.first_run_id.clone()))
            .collect();
        for one in self.look_around(seeds, &mut HashSet::new()).await? {
            if chains.insert((one.seed.workflow_id.clone(), one.first_run_id.clone())) {
                judged.push(one);
            }
        }
        Ok(judged)
    }

    async fn write(&self, folder: &str, items: &[Item]) -> Result<Vec<PlanChunk>, Error> {
        let mut chunks = Vec::new();
        for (number, part) in items.chunks(CHUNK_ITEMS).enumerate() {
            let mut lines = Vec::new();
            for item in part {
                serde_json::to_writer(&mut lines, item).map_err(Error::internal)?;
                lines.push(b'\n');
            }
            let chunk = PlanChunk {
                key: format!("{folder}/{number:05}.jsonl"),
                sha256: hex::encode(Sha256::digest(&lines)),
                items: part.len() as u64,
            };
            self.payloads.put(&chunk.key, Bytes::from(lines)).await?;
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}
