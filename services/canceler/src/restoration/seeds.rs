//! Where a restoration begins: what the cancellation's journal has as stopped, or as asked to end.

use std::collections::{HashMap, hash_map::Entry};

use quell_mesh::{Error, NamespaceClient, PayloadStore, Reason};
use quell_sweep::{Engine, TargetOutcome, TargetResult};

use super::verdict::{Origin, Seed, Span};
use crate::cancellation::{
    convert::query_time,
    joint,
    journal::{self, Chunk},
    receipt::Receipt,
    spec::Spec,
    store,
};

/// How far the clocks of the two namespaces may be apart, in milliseconds.
pub(super) const CLOCKS_APART_MS: u64 = 10_000;

/// What the journal has of a cancellation.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    /// Each chain once.
    pub(super) all: Vec<Seed>,
    /// How many of them were stopped.
    pub(super) stopped: u64,
    /// Where each is.
    at: HashMap<(String, String), usize>,
}

impl Seeds {
    fn take(&mut self, outcome: TargetOutcome) {
        let origin = match outcome.result {
            TargetResult::Stopped => Origin::Journal,
            TargetResult::Asked => Origin::Asked,
            _ => return,
        };
        let seed = Seed {
            workflow_id: outcome.workflow_id,
            first_run_id: outcome.first_run_id,
            run_id: outcome.run_id,
            workflow_type: outcome.workflow_type,
            origin,
        };
        let stops = origin == Origin::Journal;
        match self.at.entry((seed.workflow_id.clone(), seed.first_run_id.clone())) {
            Entry::Vacant(new) => {
                new.insert(self.all.len());
                self.stopped += u64::from(stops);
                self.all.push(seed);
            }
            // Asked first, and stopped later.
            Entry::Occupied(known) => {
                let known = &mut self.all[*known.get()];
                if stops && known.origin == Origin::Asked {
                    self.stopped += 1;
                    *known = seed;
                }
            }
        }
    }
}

/// A cancellation that has ended, and its journal.
pub(super) struct Ground {
    pub(super) spec: Spec,
    pub(super) span: Span,
    /// The journal lacks what the index may have.
    pub(super) lacking: bool,
    chunks: Vec<Chunk>,
}

impl Ground {
    /// Reads a receipt.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::FailedPrecondition`] while the cancellation runs, or when it left no receipt.
    pub(super) async fn of(canceler: &NamespaceClient, payloads: &PayloadStore, id: &str) -> Result<Self, Error> {
        let receipt = store::receipt(canceler, id).await?;
        let parts = joint::part_ids(id, &receipt.spec);
        if !parts.is_empty() {
            return Err(joint::by_part(id, &parts));
        }
        let Receipt {
            spec, ledger, end_ms, ..
        } = &receipt;
        Ok(Self {
            spec: spec.clone(),
            span: Span {
                since_ms: ledger.start_ms.saturating_sub(CLOCKS_APART_MS),
                end_ms: *end_ms,
                reason: spec.reason.clone(),
            },
            lacking: ledger.journal_lacks > 0
                || receipt.outcome.totals.uncounted > 0
                || receipt.outcome.totals.lost_windows > 0
                || spec.engine == Engine::Both,
            chunks: journal::chunks(payloads, id, Some(receipt)).await?,
        })
    }

    /// Each chain that the journal has as stopped, or as asked to end, once. Nothing more is read once more than `most` were stopped.
    ///
    /// # Errors
    /// [`Error::FailedPrecondition`] when more were stopped, or when a chunk is missing or is not what was written.
    pub(super) async fn seeds(&self, payloads: &PayloadStore, most: u64) -> Result<Seeds, Error> {
        let mut seeds = Seeds::default();
        for chunk in &self.chunks {
            let outcomes = journal::outcomes(payloads, chunk).await?;
            outcomes.into_iter().for_each(|outcome| seeds.take(outcome));
            if seeds.stopped > most {
                let text = format!("more executions were stopped than max_affected, which is {most}: raise it");
                return Err(Error::precondition(Reason::MaxAffectedExceeded, "max_affected", text));
            }
        }
        Ok(seeds)
    }

    /// What the cancellation may have terminated, as the index has it.
    pub(super) fn query(&self) -> String {
        let from = query_time(self.span.since_ms);
        let to = query_time(self.span.end_ms.saturating_add(CLOCKS_APART_MS));
        self.spec.filter().with(&format!(
            "ExecutionStatus = \"Terminated\" AND CloseTime >= {from} AND CloseTime <= {to}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_counts_once_and_what_was_stopped_after_it_was_asked_as_stopped() {
        let outcome = |id: &str, run_id: &str, result| TargetOutcome {
            workflow_id: id.to_owned(),
            first_run_id: format!("first-{id}"),
            run_id: run_id.to_owned(),
            workflow_type: "T".to_owned(),
            root_workflow_id: String::new(),
            parent_workflow_id: None,
            result,
        };
        let mut seeds = Seeds::default();
        for (id, run_id, result) in [
            ("a", "1", TargetResult::Asked),
            ("b", "1", TargetResult::Asked),
            ("c", "1", TargetResult::AlreadyClosed),
            ("a", "2", TargetResult::Asked),
            ("a", "2", TargetResult::Stopped),
            ("a", "2", TargetResult::Stopped),
            ("a", "2", TargetResult::Asked),
        ] {
            seeds.take(outcome(id, run_id, result));
        }
        let all = seeds
            .all
            .iter()
            .map(|seed| (&*seed.workflow_id, &*seed.run_id, seed.origin));
        let expected = [("a", "2", Origin::Journal), ("b", "1", Origin::Asked)];
        assert_eq!(all.collect::<Vec<_>>(), expected);
        assert_eq!(seeds.stopped, 1);
    }
}
