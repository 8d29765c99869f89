//! The journal: one JSON line per execution that a window dealt with, in the payload store.
//!
//! Results and receipts stay small whatever the size of a cancellation; the journal is where each single execution can be
//! looked up. Lines are gathered into chunks, a chunk is written in the background, and its key, SHA-256 and length go into
//! heartbeats, the result, and the receipt. A store that cannot be written costs the journal, never the cancellation: what is
//! missing is said in the receipt.

mod name;
mod read;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use quell_mesh::PayloadStore;
use quell_sweep::{TargetOutcome, TargetResult};
use sha2::{Digest as _, Sha256};

use super::receipt::JournalChunk;
pub(crate) use name::ChunkName;
pub(crate) use read::{Chunk, chunks, outcomes, promised, read};

/// Lines of a chunk at most.
const CHUNK_LINES: u64 = 20_000;
/// How long a line waits for its chunk to fill: what a crash can lose. It grows with each chunk, since all of them stand in
/// every heartbeat: an hour makes a hundred chunks, not a thousand.
const CHUNK_AGE: Duration = Duration::from_secs(5);
const CHUNK_AGE_GROWTH: Duration = Duration::from_millis(500);
/// Tries of one write, and how long each may take: a store that hangs must not hold up the window.
const ATTEMPTS: u32 = 3;
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Gathers and writes the chunks of one window attempt.
pub(crate) struct Journal {
    store: PayloadStore,
    cancellation_id: String,
    /// Name of the next chunk.
    next: ChunkName,
    lines: Vec<u8>,
    count: u64,
    /// Failures among them.
    failed: u64,
    since: Option<Instant>,
    writes: FuturesUnordered<BoxFuture<'static, (u32, Result<JournalChunk, u64>)>>,
    written: Vec<(u32, JournalChunk)>,
    lost: u64,
}

impl Journal {
    /// A journal whose first chunk has that name.
    pub(crate) fn new(store: PayloadStore, cancellation_id: String, first: ChunkName) -> Self {
        Self {
            store,
            cancellation_id,
            next: first,
            lines: Vec::new(),
            count: 0,
            failed: 0,
            since: None,
            writes: FuturesUnordered::new(),
            written: Vec::new(),
            lost: 0,
        }
    }

    /// Adds outcomes, and begins to write a chunk when one is full.
    pub(crate) fn add(&mut self, outcomes: &[TargetOutcome]) {
        for outcome in outcomes {
            let length = self.lines.len();
            if serde_json::to_writer(&mut self.lines, outcome).is_err() {
                self.lines.truncate(length);
                self.lost += 1;
                continue;
            }
            self.lines.push(b'\n');
            self.count += 1;
            self.failed += u64::from(matches!(outcome.result, TargetResult::Failed { .. }));
            self.since.get_or_insert_with(Instant::now);
            if self.count >= CHUNK_LINES {
                self.cut();
            }
        }
    }

    /// Notes writes that are done, and begins one for lines that have waited long enough. Never waits.
    pub(crate) fn poll(&mut self) {
        while let Some(Some((number, result))) = self.writes.next().now_or_never() {
            self.done(number, result);
        }
        if self
            .since
            .is_some_and(|since| since.elapsed() >= CHUNK_AGE + CHUNK_AGE_GROWTH * self.next.number)
        {
            self.cut();
        }
    }

    /// Chunks written so far, in order.
    pub(crate) fn chunks(&self) -> Vec<JournalChunk> {
        self.written.iter().map(|(_, chunk)| chunk.clone()).collect()
    }

    /// Writes what is left; returns all chunks, and how many outcomes could not be written.
    pub(crate) async fn finish(mut self) -> (Vec<JournalChunk>, u64) {
        self.cut();
        while let Some((number, result)) = self.writes.next().await {
            self.done(number, result);
        }
        (self.chunks(), self.lost)
    }

    fn done(&mut self, number: u32, result: Result<JournalChunk, u64>) {
        match result {
            Ok(chunk) => {
                let at = self.written.partition_point(|(n, _)| *n < number);
                self.written.insert(at, (number, chunk));
            }
            Err(lost) => self.lost += lost,
        }
    }

    fn cut(&mut self) {
        if self.count == 0 {
            return;
        }
        let bytes = Bytes::from(std::mem::take(&mut self.lines));
        let outcomes = std::mem::take(&mut self.count);
        let failed = Some(std::mem::take(&mut self.failed));
        self.since = None;
        let number = self.next.number;
        let key = self.next.key(&self.cancellation_id);
        self.next.number += 1;
        let store = self.store.clone();
        // A task of its own: hashing and writing must not hold up the window between two polls.
        let task = tokio::spawn(async move {
            let sha256 = hex::encode(Sha256::digest(&bytes));
            for attempt in 1..=ATTEMPTS {
                match tokio::time::timeout(WRITE_TIMEOUT, store.put(&key, bytes.clone())).await {
                    Ok(Ok(())) => {
                        return Ok(JournalChunk {
                            key,
                            sha256,
                            outcomes,
                            failed,
                        });
                    }
                    Ok(Err(error)) => tracing::warn!(key, attempt, error = %error, "journal chunk not written"),
                    Err(_) => tracing::warn!(key, attempt, "journal chunk not written in time"),
                }
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
            Err(outcomes)
        });
        self.writes
            .push(async move { (number, task.await.unwrap_or(Err(outcomes))) }.boxed());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use quell_mesh::config::PayloadSettings;
    use quell_sweep::TargetResult;

    /// A store, for as long as its folder is kept.
    pub(in crate::cancellation) fn store() -> (tempfile::TempDir, PayloadStore) {
        let folder = tempfile::tempdir().unwrap();
        let settings = PayloadSettings {
            url: folder.path().display().to_string(),
            threshold_bytes: 1 << 20,
            keys: None,
        };
        let store = PayloadStore::open(&settings).unwrap();
        (folder, store)
    }

    fn outcome(n: usize) -> TargetOutcome {
        TargetOutcome {
            workflow_id: format!("w{n}"),
            first_run_id: "f".into(),
            run_id: "r".into(),
            workflow_type: "T".into(),
            root_workflow_id: String::new(),
            parent_workflow_id: None,
            result: TargetResult::Stopped,
        }
    }

    #[tokio::test]
    async fn every_outcome_is_a_line_of_a_chunk_with_its_hash() {
        let (_folder, store) = store();
        let mut journal = Journal::new(store.clone(), "c".into(), ChunkName::default());
        let outcomes: Vec<_> = (0..52_345).map(outcome).collect();
        for some in outcomes.chunks(1_000) {
            journal.add(some);
            journal.poll();
        }
        let (chunks, lost) = journal.finish().await;
        assert_eq!((chunks.len(), lost), (3, 0));
        assert_eq!(chunks.iter().map(|chunk| chunk.outcomes).sum::<u64>(), 52_345);
        let mut read = Vec::new();
        for chunk in &chunks {
            let bytes = store.get(&chunk.key).await.unwrap();
            assert_eq!(hex::encode(Sha256::digest(&bytes)), chunk.sha256);
            read.extend(
                bytes
                    .split(|b| *b == b'\n')
                    .filter(|line| !line.is_empty())
                    .map(|line| serde_json::from_slice::<TargetOutcome>(line).unwrap()),
            );
        }
        assert_eq!(read, outcomes);
    }
}
