//! Visibility: what it shows of the truth, and when.

use super::{Chain, Happens, Server, TAG};
use crate::message::{PassKind, StartRange};
use crate::row::Row;
use crate::sim::Mutation;

/// Canaries of one measurement of the lag (design: 32), each in any shard.
const CANARIES: usize = 32;

/// Start time and number of a row.
pub(super) type RowKey = (u64, u64);

/// One run in the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) chain: usize,
    run: u64,
    /// From when on queries of the target find it; never before it has its tag.
    visible_ms: u64,
}

impl Server {
    /// When the index shows what happens now to this chain.
    fn indexed_ms(&self, shard: usize) -> u64 {
        let lag_ms = self.shard_lags_ms.get(shard).copied().unwrap_or_default();
        let due_ms = self.now_ms.saturating_add(lag_ms);
        match self.scenario.stall {
            Some((from_ms, for_ms)) if shard == 0 && (from_ms..from_ms + for_ms).contains(&due_ms) => from_ms + for_ms,
            _ => due_ms,
        }
    }

    /// Shows a chain's current run.
    pub(super) fn show(&mut self, chain: usize) {
        let Chain { runs, shard, tag, .. } = self.chains[chain];
        let indexed_ms = self.indexed_ms(shard);
        // A filter lets through what has another tag, but not what has none yet and will be tagged.
        let is_found = tag.is_some() || self.chains[chain].workflow_id.starts_with("untagged");
        let visible_ms = if is_found { indexed_ms } else { u64::MAX };
        self.next_row += 1;
        let row = (self.now_ms, self.next_row);
        self.index.insert(
            row,
            Entry {
                chain,
                run: runs,
                visible_ms,
            },
        );
        let chain = &mut self.chains[chain];
        chain.row = row;
        chain.visible_ms = chain.visible_ms.min(visible_ms);
    }

    /// Shows a chain's new tag.
    pub(super) fn retag(&mut self, chain: usize) {
        let Chain { row, shard, .. } = self.chains[chain];
        let visible_ms = self.indexed_ms(shard);
        if let Some(entry) = self.index.get_mut(&row) {
            entry.visible_ms = visible_ms;
        }
        self.chains[chain].visible_ms = visible_ms;
    }

    /// Takes the current run from the index; only the last one of a chain may stay there for ever.
    pub(super) fn hide(&mut self, chain: usize, is_last: bool) {
        let Chain { row, shard, stale, .. } = self.chains[chain];
        if stale && is_last {
            return;
        }
        let hidden_ms = self.indexed_ms(shard);
        if hidden_ms > self.now_ms {
            self.happens_in(hidden_ms - self.now_ms, Happens::Unlisted(row));
        } else {
            self.index.remove(&row);
        }
    }

    /// What the index shows as open in the target, newest first, from below a row. The filter lets some strangers through, as
    /// a filter that somebody else wrote may; one that is the target itself does not.
    pub(super) fn visible(
        &self,
        kind: PassKind,
        range: StartRange,
        below: Option<RowKey>,
    ) -> impl Iterator<Item = (RowKey, Entry)> {
        let running_only = self.scenario.mutation == Some(Mutation::RunningOnly);
        let roots_only = kind == PassKind::Roots || self.scenario.mutation == Some(Mutation::CascadeTrusted);
        let since_ms = match kind {
            PassKind::NewSince(at_ms) => at_ms,
            PassKind::Roots | PassKind::Open => 0,
        };
        let from_ms = range.from_ms.unwrap_or_default().max(since_ms);
        let to = (range.to_ms.unwrap_or(u64::MAX), 0);
        let to = below.map_or(to, |below| below.min(to)).max((from_ms, 0));
        let shown = move |entry: &Entry| {
            let chain = &self.chains[entry.chain];
            entry.visible_ms <= self.now_ms
                && !(roots_only && chain.parent.is_some())
                && !(running_only && chain.paused)
                && !(self.scenario.filter_target && chain.tag != Some(TAG))
        };
        let rows = self.index.range((from_ms, 0)..to).rev();
        rows.map(|(row, entry)| (*row, *entry))
            .filter(move |(_, entry)| shown(entry))
    }

    /// A row as a listing or a Describe shows it.
    pub(super) fn row(&self, chain: usize, run: u64, start_ms: u64) -> Row {
        let Chain {
            workflow_id,
            tag,
            parent,
            ..
        } = &self.chains[chain];
        let parent = parent.map(|parent| self.chains[parent].workflow_id.clone());
        let mut row = Row {
            workflow_id: workflow_id.clone(),
            run_id: format!("{chain}/{run}"),
            workflow_type: workflow_id.split(['-', '.']).next().unwrap_or_default().to_owned(),
            start_ms,
            root_workflow_id: workflow_id.split('.').next().unwrap_or_default().to_owned(),
            workload_id: tag.map(str::to_owned),
            ..Row::default()
        };
        row.parent_workflow_id = parent;
        row
    }

    pub(super) fn listed_row(&self, row: RowKey, entry: Entry) -> Row {
        self.row(entry.chain, entry.run, row.0)
    }

    /// What canaries that are started now measure, in milliseconds: the largest lag of the shards that they fall into.
    pub(in crate::sim) fn measure_lag(&mut self) -> u64 {
        let shards = u64::try_from(self.shard_lags_ms.len()).unwrap_or(1);
        let mut lag_ms = 0;
        for _ in 0..CANARIES {
            let shard = usize::try_from(self.chance.below(shards)).unwrap_or_default();
            lag_ms = lag_ms.max(self.indexed_ms(shard) - self.now_ms);
        }
        lag_ms
    }
}
