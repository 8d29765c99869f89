//! Who started a batch operation: the one text that the server stores with a job and gives back by Describe.
//!
//! The server does not tell what a running job was asked to do, only its kind. A repeated Start must know whether it repeats
//! the first one, and how many executions the first one counted; so both stand in the identity, readable for people too:
//! `quell-batch matched=200 query=9f86d081884c7d65 for=quell/cancellation/1`.

use sha2::{Digest as _, Sha256};

/// First word of the identity of every job of ours.
pub(crate) const NAME: &str = "quell-batch";
/// Longest caller that is kept, in characters: the attribute holds 255 on every store.
const MAX_FOR: usize = 120;

/// The parts of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Open executions that were counted just before the start.
    pub(crate) matched: i64,
    /// Digest of the query.
    pub(crate) query: String,
    /// Workflow id of the caller; empty for a gRPC call.
    pub(crate) caller: String,
}

impl Identity {
    /// The identity of a job over `query`.
    pub(crate) fn new(query: &str, matched: i64, caller: &str) -> Self {
        Self {
            matched,
            query: digest(query),
            caller: caller.chars().take(MAX_FOR).collect(),
        }
    }

    /// Reads one back; `None` when somebody else started the job.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(NAME)?.strip_prefix(" matched=")?;
        let (matched, rest) = rest.split_once(" query=")?;
        let (query, caller) = rest.split_once(" for=").unwrap_or((rest, ""));
        Some(Self {
            matched: matched.parse().ok()?,
            query: query.to_owned(),
            caller: caller.to_owned(),
        })
    }

    /// Whether the job works on `query`.
    pub(crate) fn is_over(&self, query: &str) -> bool {
        self.query == digest(query)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{NAME} matched={} query={}", self.matched, self.query)?;
        if !self.caller.is_empty() {
            write!(f, " for={}", self.caller)?;
        }
        Ok(())
    }
}

/// The first 64 bits of the SHA-256, in hex: enough to tell two requests of one id apart.
fn digest(query: &str) -> String {
    Sha256::digest(query.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for caller in ["", "quell/cancellation/1", "a b for=c"] {
            let identity = Identity::new("WorkloadId = \"1\"", 200, caller);
            let read = Identity::parse(&identity.to_string()).unwrap();
            assert_eq!(read, identity);
            assert!(read.is_over("WorkloadId = \"1\"") && !read.is_over("WorkloadId = \"2\""));
        }
    }

    #[test]
    fn a_strangers_identity_is_none_of_ours() {
        for text in [
            "",
            "admin@host",
            "quell-batch",
            "quell-batch matched=x query=y",
            "1234@host@quell-batch matched=1",
        ] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn it_fits_the_attribute() {
        assert!(Identity::new("q", i64::MAX, &"x".repeat(1_000)).to_string().len() < 255);
    }
}
