//! Every stop that failed for good, page by page, out of the journal.
//!
//! A page ends when it is full, or when a good deal of the journal has been read for it: a cancellation of millions may have three
//! failures, and no call may take as long as reading all of it. Chunks that are known to have none are not read at all.

use prost::Message as _;
use quell_api::{canceler::v1 as pb, r#type::v1::ExecutionRef};
use quell_mesh::{Error, PayloadStore, Reason};
use quell_sweep::{TargetOutcome, TargetResult};
use serde::{Deserialize, Serialize};

use super::{
    journal::{Chunk, ChunkName, read},
    page_token,
};

/// Bytes of the journal that are read for one page at most, but for the last chunk.
const READ_BYTES: usize = 64 << 20;
/// Bytes of one answer at most, but for its last failure: half of what a gRPC client takes by default.
const ANSWER_BYTES: usize = 2 << 20;

/// Where a page begins. Only for the cancellation and the pass that it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    cancellation_id: String,
    pass: u32,
    chunk: String,
    line: usize,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    cancellation_id: String,
    /// Only this pass; 0 for all.
    pass: u32,
    /// The first chunk to read, and the first line in it.
    from: (ChunkName, usize),
    size: usize,
}

impl Wanted {
    /// `None` when the token was not given for this cancellation and this pass.
    pub(crate) fn new(cancellation_id: &str, pass: u32, token: &str, size: usize) -> Option<Self> {
        let bytes = page_token::read(token)?;
        let from = if bytes.is_empty() {
            (ChunkName::default(), 0)
        } else {
            let at: Position = serde_json::from_slice(&bytes).ok()?;
            if at.cancellation_id != cancellation_id || at.pass != pass {
                return None;
            }
            (ChunkName::parse(&at.chunk)?, at.line)
        };
        Some(Self {
            cancellation_id: cancellation_id.to_owned(),
            pass,
            from,
            size,
        })
    }

    fn token(&self, (chunk, line): (ChunkName, usize)) -> Result<String, Error> {
        let position = Position {
            cancellation_id: self.cancellation_id.clone(),
            pass: self.pass,
            chunk: chunk.to_string(),
            line,
        };
        let bytes = serde_json::to_vec(&position).map_err(Error::internal)?;
        Ok(page_token::write(&bytes))
    }

    fn is_wanted(&self, chunk: &Chunk) -> bool {
        let has_none = chunk.promised.as_ref().is_some_and(|chunk| chunk.failed == Some(0));
        chunk.name >= self.from.0 && (self.pass == 0 || chunk.name.pass == self.pass) && !has_none
    }
}

/// One page. `chunks` are in the order of their names.
///
/// # Errors
/// As reading a chunk; [`Error::FailedPrecondition`] too for a line that is no outcome.
pub(crate) async fn page(
    payloads: &PayloadStore,
    chunks: &[Chunk],
    wanted: &Wanted,
) -> Result<pb::ListFailuresResponse, Error> {
    let mut failures: Vec<pb::Failure> = Vec::new();
    let (mut bytes_read, mut bytes_told) = (0, 0);
    for chunk in chunks.iter().filter(|chunk| wanted.is_wanted(chunk)) {
        let skipped = if chunk.name == wanted.from.0 { wanted.from.1 } else { 0 };
        if bytes_read >= READ_BYTES {
            return answer(failures, wanted.token((chunk.name, 0))?);
        }
        let bytes = read(payloads, chunk).await?;
        bytes_read += bytes.len();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for (number, line) in lines.enumerate().skip(skipped) {
            let Some(failure) = failure(chunk, line)? else { continue };
            if failures.len() >= wanted.size || bytes_told >= ANSWER_BYTES {
                return answer(failures, wanted.token((chunk.name, number))?);
            }
            bytes_told += failure.encoded_len();
            failures.push(failure);
        }
    }
    answer(failures, String::new())
}

fn answer(failures: Vec<pb::Failure>, next_page_token: String) -> Result<pb::ListFailuresResponse, Error> {
    Ok(pb::ListFailuresResponse {
        failures,
        next_page_token,
    })
}

/// The failure that a line tells of, if it does.
fn failure(chunk: &Chunk, line: &[u8]) -> Result<Option<pb::Failure>, Error> {
    /// All that most lines are read for.
    #[derive(Deserialize)]
    struct Brief {
        result: TargetResult,
    }
    let unreadable = |_| {
        let text = "this chunk of the journal has a line that is no outcome";
        Error::precondition(Reason::PayloadCorrupt, &chunk.key, text)
    };
    let brief: Brief = serde_json::from_slice(line).map_err(unreadable)?;
    let TargetResult::Failed { reason } = brief.result else {
        return Ok(None);
    };
    let outcome: TargetOutcome = serde_json::from_slice(line).map_err(unreadable)?;
    Ok(Some(pb::Failure {
        execution: Some(ExecutionRef {
            workflow_id: outcome.workflow_id,
            run_id: outcome.run_id,
            workflow_type: outcome.workflow_type,
            start_time: None,
            root_workflow_id: outcome.root_workflow_id,
        }),
        error: reason,
        pass: i32::try_from(chunk.name.pass).unwrap_or(i32::MAX),
        attempt: i32::try_from(chunk.name.attempt).unwrap_or(i32::MAX),
    }))
}

#[cfg(test)]
mod tests;
