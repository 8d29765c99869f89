//! The journal read again: which chunks there are, and what is in them.
//!
//! An ended cancellation's receipt names its chunks, each with its hash: nothing else counts. While it runs, or when its workflow
//! was ended from outside and left no receipt, the payload store itself is asked what it holds: that needs neither the workflow nor
//! its worker, and lacks nothing that was written.

use bytes::Bytes;
use quell_mesh::{Error, PayloadStore, Reason};
use quell_sweep::TargetOutcome;
use sha2::{Digest as _, Sha256};

use super::name::ChunkName;
use crate::cancellation::receipt::{JournalChunk, Receipt};

/// A chunk that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Its name.
    pub(crate) name: ChunkName,
    /// Its key in the payload store.
    pub(crate) key: String,
    /// What the receipt, or a heartbeat, says of it; `None` when there is neither.
    pub(crate) promised: Option<JournalChunk>,
}

/// The chunks of a cancellation in the order of their names.
///
/// # Errors
/// [`Error::Unavailable`] when the payload store cannot be listed.
pub(crate) async fn chunks(
    payloads: &PayloadStore,
    cancellation_id: &str,
    receipt: Option<Receipt>,
) -> Result<Vec<Chunk>, Error> {
    let mut chunks: Vec<Chunk> = match receipt {
        Some(receipt) => promised(cancellation_id, receipt.ledger.journal)?,
        None => payloads
            .list(&ChunkName::folder(cancellation_id))
            .await?
            .into_iter()
            .filter_map(|key| {
                Some(Chunk {
                    name: ChunkName::of_key(cancellation_id, &key)?,
                    key,
                    promised: None,
                })
            })
            .collect(),
    };
    chunks.sort_by_key(|chunk| chunk.name);
    Ok(chunks)
}

/// Chunks that somebody has noted.
///
/// # Errors
/// [`Error::Internal`] when the key of one is none of this cancellation's.
pub(crate) fn promised(cancellation_id: &str, chunks: Vec<JournalChunk>) -> Result<Vec<Chunk>, Error> {
    let promised = |chunk: JournalChunk| {
        let name = ChunkName::of_key(cancellation_id, &chunk.key)
            .ok_or_else(|| Error::internal(anyhow::anyhow!("the chunk {:?} is named", chunk.key)))?;
        Ok(Chunk {
            name,
            key: chunk.key.clone(),
            promised: Some(chunk),
        })
    };
    chunks.into_iter().map(promised).collect()
}

/// The outcomes in a chunk.
///
/// # Errors
/// As for [`read`]; [`Error::FailedPrecondition`] when a line is no outcome.
pub(crate) async fn outcomes(payloads: &PayloadStore, chunk: &Chunk) -> Result<Vec<TargetOutcome>, Error> {
    let bytes = read(payloads, chunk).await?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let outcome = |line| {
        serde_json::from_slice(line).map_err(|_| {
            let text = "this chunk of the journal has a line that is no outcome";
            Error::precondition(Reason::PayloadCorrupt, &chunk.key, text)
        })
    };
    lines.map(outcome).collect()
}

/// The bytes of a chunk, held against what the receipt says of them.
///
/// # Errors
/// [`Error::FailedPrecondition`] when it is missing or changed, [`Error::Unavailable`] when the store cannot be read.
pub(crate) async fn read(payloads: &PayloadStore, chunk: &Chunk) -> Result<Bytes, Error> {
    let bytes = payloads.get(&chunk.key).await.map_err(|error| match error {
        Error::NotFound { .. } => {
            let text = "this chunk of the journal is not in the payload store";
            Error::precondition(Reason::PayloadMissing, &chunk.key, text)
        }
        other => other,
    })?;
    match &chunk.promised {
        Some(promised) if hex::encode(Sha256::digest(&bytes)) != promised.sha256 => {
            let text = "this chunk of the journal does not have the hash that the receipt names";
            Err(Error::precondition(Reason::PayloadCorrupt, &chunk.key, text))
        }
        _ => Ok(bytes),
    }
}
