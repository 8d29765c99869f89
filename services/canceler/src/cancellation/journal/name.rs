//! Names of chunks: which attempt of which window wrote it, and its number there.
//!
//! The key in the payload store is `journal/<cancellation>/p<pass>-w<window>-a<attempt>-<number>.jsonl`. Names are ordered as
//! passes, windows, attempts and chunks follow each other.

use std::fmt;

/// Name of a chunk. The order of the fields is the order of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkName {
    /// Number of the pass, from 1.
    pub(crate) pass: u32,
    /// Number of the window in the pass, from 0.
    pub(crate) window: u32,
    /// Attempt of the window, from 1.
    pub(crate) attempt: u32,
    /// Number of the chunk in the attempt, from 0.
    pub(crate) number: u32,
}

impl ChunkName {
    /// The folder of a cancellation's journal.
    #[must_use]
    pub(crate) fn folder(cancellation_id: &str) -> String {
        format!("journal/{cancellation_id}")
    }

    /// The key of this chunk.
    #[must_use]
    pub(crate) fn key(self, cancellation_id: &str) -> String {
        format!("{}/{self}", Self::folder(cancellation_id))
    }

    /// The name in a key of this cancellation; `None` for a key of anything else, however it is spelt.
    #[must_use]
    pub(crate) fn of_key(cancellation_id: &str, key: &str) -> Option<Self> {
        let name = key.strip_prefix(&Self::folder(cancellation_id))?.strip_prefix('/')?;
        Self::parse(name)
    }

    /// The name in a text, which must be spelt as [`fmt::Display`] does.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_suffix(".jsonl")?.split('-');
        let mut number = |prefix: &str| parts.next()?.strip_prefix(prefix)?.parse().ok();
        let name = Self {
            pass: number("p")?,
            window: number("w")?,
            attempt: number("a")?,
            number: number("")?,
        };
        (parts.next().is_none() && name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for ChunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pass,
            window,
            attempt,
            number,
        } = self;
        write!(f, "p{pass}-w{window}-a{attempt}-{number:05}.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_and_nothing_else_is_one() {
        let name = ChunkName {
            pass: 12,
            window: 3,
            attempt: 2,
            number: 7,
        };
        assert_eq!(name.key("c"), "journal/c/p12-w3-a2-00007.jsonl");
        assert_eq!(ChunkName::of_key("c", &name.key("c")), Some(name));
        for other in [
            "journal/cc/p1-w0-a1-00000.jsonl",
            "journal/c/p1-w0-a1-0.jsonl",
            "journal/c/p01-w0-a1-00000.jsonl",
            "journal/c/p1-w0-a1-00000.jsonl#1",
            "journal/c/../c/p1-w0-a1-00000.jsonl",
            "journal/c/p1-w0-a1-00000-1.jsonl",
            "payloads/aa/bb",
            "",
        ] {
            assert_eq!(ChunkName::of_key("c", other), None, "{other}");
        }
    }

    #[test]
    fn names_are_ordered_by_number_not_by_letter() {
        let name = |pass, number| ChunkName {
            pass,
            number,
            ..ChunkName::default()
        };
        assert!(name(9, 0) < name(10, 0) && name(10, 0) < name(10, 123_456));
    }
}
