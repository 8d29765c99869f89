//! Where a restoration begins: what the cancellation's journal has as stopped.

use std::collections::HashSet;

use quell_mesh::{Error, NamespaceClient, PayloadStore, Reason};
use quell_sweep::{Engine, TargetOutcome, TargetResult};

use super::verdict::{Origin, Seed, Span};
use crate::cancellation::{
    convert::query_time,
    journal::{self, Chunk},
    receipt::Receipt,
    spec::Spec,
    store,
};

/// How far the clocks of the two namespaces may be apart, in milliseconds.
pub(super) const CLOCKS_APART_MS: u64 = 10_000;

/// A cancellation that has ended, and its journal.
pub(super) struct Ground {
    pub(super) spec: Spec,
    pub(super) span: Span,
    /// The journal lacks what the index may have.
    pub(super) lacking: bool,
    /// Executions that ended because they were asked to.
    pub(super) ended_when_asked: u64,
    chunks: Vec<Chunk>,
}

impl Ground {
    /// Reads a receipt.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::FailedPrecondition`] while the cancellation runs, or when it left no receipt.
    pub(super) async fn of(canceler: &NamespaceClient, payloads: &PayloadStore, id: &str) -> Result<Self, Error> {
        let receipt = store::receipt(canceler, id).await?;
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
            ended_when_asked: receipt
                .outcome
                .asked
                .map_or(0, |asked| asked.chains.saturating_sub(asked.left)),
            chunks: journal::chunks(payloads, id, Some(receipt)).await?,
        })
    }

    /// Each chain that the journal has as stopped, once.
    ///
    /// # Errors
    /// [`Error::FailedPrecondition`] when a chunk is missing or is not what was written.
    pub(super) async fn seeds(&self, payloads: &PayloadStore) -> Result<Vec<Seed>, Error> {
        let mut seeds = Vec::new();
        let mut known = HashSet::new();
        for chunk in &self.chunks {
            let bytes = journal::read(payloads, chunk).await?;
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let outcome: TargetOutcome = serde_json::from_slice(line).map_err(|_| {
                    let text = "this chunk of the journal has a line that is no outcome";
                    Error::precondition(Reason::PayloadCorrupt, &chunk.key, text)
                })?;
                if outcome.result != TargetResult::Stopped {
                    continue;
                }
                if known.insert((outcome.workflow_id.clone(), outcome.first_run_id.clone())) {
                    seeds.push(Seed {
                        workflow_id: outcome.workflow_id,
                        first_run_id: outcome.first_run_id,
                        run_id: outcome.run_id,
                        workflow_type: outcome.workflow_type,
                        origin: Origin::Journal,
                    });
                }
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
