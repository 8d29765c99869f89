//! Carries out one part of the plan, level by level.
//!
//! The server has no reset that is pinned to a run: it ends whatever runs under the workflow id. So the current run is described right
//! before each reset, and anything but the run that was terminated is left alone; between the two calls, a few milliseconds, a start
//! of the same id by somebody else would be ended. Repeating is harmless: what was reset is described as such, and the request id, made
//! of the cancellation's and the run's, makes no second one.

use std::collections::{BTreeMap, HashSet};

use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use quell_mesh::{Error, PayloadStore, Reason};
use quell_sweep::CallErrorKind;
use sha2::{Digest as _, Sha256};
use tokio::time::{MissedTickBehavior, interval};
use tonic::Status;
use uuid::Uuid;

use super::{
    calls::is_gone,
    messages::{Beat, Named, PlanChunk, ResetInput, ResetOutput, Why},
    plan::Item,
};
use crate::cancellation::{
    activities::BEAT,
    namespace::Namespace,
    status::{activity_error, call_error},
};
use quell_mesh::Shutdown;
use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// Namespace of our request ids: made once, at random.
const REQUESTS: Uuid = Uuid::from_u128(0x6f1d_9a52_0c1b_4f0e_9d43_7a55_2be1_c7d4);

/// Attempts of an activity that wait for the server, a minute or so each; after those what fails in passing counts as refused.
const PATIENT_ATTEMPTS: u32 = 20;

/// What became of one.
enum Outcome {
    Restored,
    Left(Why, String),
    /// Nothing by now: the server cannot be reached, or is overloaded, for longer than a call is tried again.
    Later(Status),
}

/// Reads a part of the plan.
pub(super) async fn read(payloads: &PayloadStore, chunk: &PlanChunk) -> Result<Vec<Item>, Error> {
    let corrupt = |text: &str| Error::precondition(Reason::PayloadCorrupt, &chunk.key, text);
    let bytes = payloads.get(&chunk.key).await.map_err(|error| match error {
        Error::NotFound { .. } => {
            let text = "this part of the plan is not in the payload store";
            Error::precondition(Reason::PayloadMissing, &chunk.key, text)
        }
        other => other,
    })?;
    if hex::encode(Sha256::digest(&bytes)) != chunk.sha256 {
        return Err(corrupt("this part of the plan does not have the hash that was noted"));
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).map_err(|_| corrupt("this part of the plan cannot be read")))
        .collect()
}

/// Resets one execution.
async fn reset(main: &Namespace, input: &ResetInput, item: &Item, last_try: bool) -> Outcome {
    let refused = |status: Status| {
        let error = call_error(&status);
        if error.kind == CallErrorKind::Permanent || last_try {
            Outcome::Left(Why::Refused, error.reason)
        } else {
            Outcome::Later(status)
        }
    };
    let left = |why| Outcome::Left(why, String::new());
    let current = match main.current(&item.workflow_id).await {
        Ok(Some(current)) => current,
        Ok(None) => return left(Why::Gone),
        Err(status) => return refused(status),
    };
    if current.first_run_id != item.first_run_id {
        return left(Why::StartedAnew);
    }
    // It was the current run when it was surveyed: since then it was reset, by an attempt of ours whose worker was lost.
    if current.run_id != item.run_id {
        return Outcome::Restored;
    }
    let id = &input.asked.cancellation_id;
    let request_id = Uuid::new_v5(&REQUESTS, format!("{id}/{}", item.run_id).as_bytes()).to_string();
    let reason = format!("restoration of cancellation {id}: {}", input.asked.reason);
    let reset = main.reset(&item.workflow_id, &item.run_id, item.event_id, &request_id, &reason);
    match reset.await {
        Ok(()) => Outcome::Restored,
        Err(status) if is_gone(&status) => left(Why::Gone),
        Err(status) => refused(status),
    }
}

/// Carries out a part of the plan. `before` is what the attempt before this one had come to.
pub(super) async fn run(
    ctx: &ActivityContext,
    main: &Namespace,
    shutdown: &Shutdown,
    items: &[Item],
    input: &ResetInput,
    before: Beat,
) -> Result<ResetOutput, ActivityError> {
    let mut progress = Progress::new(before.checkpoint, input);
    let concurrency = usize::try_from(input.asked.concurrency.max(1)).unwrap_or(1);
    let mut calls = FuturesUnordered::new();
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = usize::try_from(progress.output.done).unwrap_or(usize::MAX);
    let mut ends = ctx.is_cancelled() || shutdown.is_requested();
    let mut later = None;
    // One that fails for ever must not hold up all others for ever.
    let last_try = ctx.info().attempt >= PATIENT_ATTEMPTS;
    loop {
        while !ends && calls.len() < concurrency {
            let Some(item) = items.get(next) else { break };
            // A level begins when all of the one above it is done.
            let begun = items.get(next.wrapping_sub(1));
            if !calls.is_empty() && begun.is_some_and(|begun| begun.level != item.level) {
                break;
            }
            let at = next;
            next += 1;
            if progress.parent_is_lost(item) {
                progress.note(at, item, Outcome::Left(Why::ParentNotRestored, String::new()));
                continue;
            }
            calls.push(async move { (at, reset(main, input, item, last_try).await) }.boxed());
        }
        if calls.is_empty() && (ends || next >= items.len()) {
            break;
        }
        tokio::select! {
            biased;
            Some((at, outcome)) = calls.next() => match (outcome, items.get(at)) {
                (Outcome::Later(status), _) => {
                    ends = true;
                    later = Some(status);
                }
                (outcome, Some(item)) => progress.note(at, item, outcome),
                (_, None) => {}
            },
            _ = tick.tick() => ctx.record_heartbeat(progress.beat()).await?,
            // What is in flight is waited for: what was reset has to be counted.
            () = ctx.cancelled(), if !ends => ends = true,
            () = shutdown.requested(), if !ends => ends = true,
        }
    }
    if let Some(status) = later.filter(|_| !ctx.is_cancelled()) {
        ctx.record_heartbeat(progress.beat()).await?;
        return Err(activity_error("resetting an execution", &status));
    }
    if ends && !ctx.is_cancelled() && next < items.len() {
        ctx.record_heartbeat(progress.beat()).await?;
        let failure = ApplicationFailure::new(anyhow::anyhow!("handed over: this worker shuts down"));
        return Err(ActivityError::application(failure));
    }
    progress.give_up(items);
    Ok(progress.output)
}

/// How far a part is. Outcomes come in any order; only what has no gap before it is in the checkpoint.
struct Progress {
    output: ResetOutput,
    /// Outcomes after a gap, and whether that item is a leaf.
    ahead: BTreeMap<u64, (Outcome, Named, bool)>,
    lost_parents: HashSet<String>,
}

impl Progress {
    fn new(output: ResetOutput, input: &ResetInput) -> Self {
        let lost = input.lost_parents.iter().chain(&output.lost_parents);
        Self {
            lost_parents: lost.cloned().collect(),
            ahead: BTreeMap::new(),
            output,
        }
    }

    fn parent_is_lost(&self, item: &Item) -> bool {
        item.parent
            .as_ref()
            .is_some_and(|parent| self.lost_parents.contains(parent))
    }

    fn note(&mut self, at: usize, item: &Item, outcome: Outcome) {
        let named = Named {
            workflow_id: item.workflow_id.clone(),
            run_id: item.run_id.clone(),
            workflow_type: item.workflow_type.clone(),
            ..Named::default()
        };
        if matches!(outcome, Outcome::Left(..)) && !item.leaf {
            self.lost_parents.insert(item.workflow_id.clone());
        }
        self.ahead.insert(at as u64, (outcome, named, item.leaf));
        while let Some((outcome, named, leaf)) = self.ahead.remove(&self.output.done) {
            self.output.done += 1;
            match outcome {
                Outcome::Restored => self.output.restored += 1,
                Outcome::Left(why, detail) => {
                    if !leaf {
                        self.output.lost_parents.push(named.workflow_id.clone());
                    }
                    self.output.left.note(why, || Named { detail, ..named });
                }
                // Never noted: it has no outcome.
                Outcome::Later(_) => {}
            }
        }
    }

    /// Counts as not tried all that has no outcome.
    fn give_up(&mut self, items: &[Item]) {
        let from = usize::try_from(self.output.done).unwrap_or(usize::MAX);
        for (at, item) in items.iter().enumerate().skip(from) {
            if !self.ahead.contains_key(&(at as u64)) && self.output.done <= at as u64 {
                self.note(at, item, Outcome::Left(Why::NotTried, String::new()));
            }
        }
    }

    fn beat(&self) -> Beat {
        Beat {
            surveyed: 0,
            done: self.output.done + self.ahead.len() as u64,
            checkpoint: self.output.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, parent: Option<&str>) -> Item {
        Item {
            workflow_id: id.into(),
            parent: parent.map(str::to_owned),
            ..Item::default()
        }
    }

    #[test]
    fn a_checkpoint_has_no_gap_and_a_lost_parent_is_remembered() {
        let items = [item("a", None), item("b", None), item("c", None), item("d", Some("b"))];
        let mut progress = Progress::new(ResetOutput::default(), &ResetInput::default());
        progress.note(1, &items[1], Outcome::Left(Why::Refused, "no".into()));
        progress.note(2, &items[2], Outcome::Restored);
        let beat = progress.beat();
        assert_eq!((beat.done, beat.checkpoint.done, beat.checkpoint.restored), (2, 0, 0));
        assert!(progress.parent_is_lost(&items[3]) && !progress.parent_is_lost(&items[0]));
        progress.note(0, &items[0], Outcome::Restored);
        let checkpoint = progress.beat().checkpoint;
        assert_eq!(
            (checkpoint.done, checkpoint.restored, checkpoint.left.total()),
            (3, 2, 1)
        );
        assert_eq!(checkpoint.left.named[0].detail, "no");
        // Given up: what has an outcome keeps it.
        let mut given_up = Progress::new(checkpoint.clone(), &ResetInput::default());
        given_up.give_up(&items);
        assert_eq!(
            (given_up.output.done, given_up.output.left.counts[&Why::NotTried]),
            (4, 1)
        );
        // Of a leaf nobody needs to know.
        let mut leaves = Progress::new(ResetOutput::default(), &ResetInput::default());
        let leaf = Item {
            leaf: true,
            ..item("leaf", None)
        };
        leaves.note(0, &leaf, Outcome::Left(Why::Refused, String::new()));
        assert_eq!((leaves.output.left.total(), leaves.output.lost_parents.len()), (1, 0));
        // The next attempt knows it, too.
        let next = Progress::new(checkpoint, &ResetInput::default());
        assert!(next.parent_is_lost(&items[3]));
    }

    #[tokio::test]
    async fn a_part_of_the_plan_is_held_against_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let settings = quell_mesh::config::PayloadSettings {
            url: folder.path().display().to_string(),
            threshold_bytes: 1 << 20,
            keys: Default::default(),
        };
        let store = PayloadStore::open(&settings).unwrap();
        let lines = b"{\"workflow_id\":\"w\",\"event_id\":4}\n";
        let chunk = PlanChunk {
            key: "restoration/c/r/00000.jsonl".into(),
            sha256: hex::encode(Sha256::digest(lines)),
            items: 1,
        };
        let reason = |error: Error| match error {
            Error::FailedPrecondition { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(read(&store, &chunk).await.unwrap_err()), Reason::PayloadMissing);
        store.put(&chunk.key, bytes::Bytes::from_static(lines)).await.unwrap();
        assert_eq!(read(&store, &chunk).await.unwrap()[0].event_id, 4);
        store.put(&chunk.key, bytes::Bytes::from_static(b"{}\n")).await.unwrap();
        assert_eq!(reason(read(&store, &chunk).await.unwrap_err()), Reason::PayloadCorrupt);
    }
}
