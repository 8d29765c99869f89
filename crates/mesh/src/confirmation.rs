//! The confirmation token: above `max_affected` something is done only for whoever has seen how many it is about.
//!
//! It guards against mistakes, not against people: it holds what was seen and a checksum over it and over its subject (what is to be done
//! to what), and no secret, so that any replica can read what another one gave. It is the request id of what it lets start, and so it
//! starts one thing only.

use crate::error::{Error, Reason};
use sha2::{Digest as _, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// How long a token is good, in milliseconds: what was seen longer ago is not what is there.
const LIFE_MS: u64 = 15 * 60 * 1_000;
/// Hex digits of the checksum.
const CHECKSUM: usize = 16;
/// Begins each token, and names its form.
const FORM: &str = "q1";
/// The field of a request that holds one.
const FIELD: &str = "confirmation_token";

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Decides the id of what it may start.
    pub id: Uuid,
    /// How many were seen.
    pub matched: u64,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
}

impl Token {
    /// A token for something of which so many were seen just now.
    #[must_use]
    pub fn new(matched: u64) -> Self {
        Self {
            id: Uuid::new_v4(),
            matched,
            at_ms: now_ms(),
        }
    }

    /// As text. The subject says what is to be done to what: the token is good for the same only.
    #[must_use]
    pub fn write(&self, subject: &str) -> String {
        let Self { id, matched, at_ms } = self;
        let sum = self.checksum(subject);
        format!("{FORM}.{}.{matched}.{at_ms}.{sum}", id.simple())
    }

    /// The token of a request; nothing when none was given. How old it is does not matter yet: what it has started before is answered
    /// with that, see [`Token::fresh`].
    ///
    /// # Errors
    /// [`Reason::ConfirmationTokenMismatch`] for one that was not given for this subject; [`Error::InvalidArgument`] for a request id
    /// beside it.
    pub fn of_request(text: &str, request_id: &str, subject: &str) -> Result<Option<Self>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        if !request_id.is_empty() {
            let text = "must be empty with a confirmation_token: the token makes the call idempotent by itself";
            return Err(Error::invalid("request_id", text));
        }
        Self::read(text, subject).map(Some).map_err(mismatch)
    }

    /// Whether it may start something now.
    ///
    /// # Errors
    /// [`Reason::ConfirmationTokenMismatch`] when it has expired.
    pub fn fresh(&self) -> Result<(), Error> {
        if self.is_fresh(now_ms()) {
            return Ok(());
        }
        Err(mismatch("has expired (15 minutes): look again"))
    }

    fn is_fresh(&self, now_ms: u64) -> bool {
        // Clocks of replicas may differ a little.
        now_ms <= self.at_ms.saturating_add(LIFE_MS)
    }

    fn read(text: &str, subject: &str) -> Result<Self, &'static str> {
        const NONE: &str = "is no token that was given for this";
        let parts: Vec<&str> = text.split('.').collect();
        let [FORM, id, matched, at_ms, sum] = parts.as_slice() else {
            return Err(NONE);
        };
        let token = Self {
            id: Uuid::try_parse(id).map_err(|_| NONE)?,
            matched: matched.parse().map_err(|_| NONE)?,
            at_ms: at_ms.parse().map_err(|_| NONE)?,
        };
        if token.checksum(subject) != *sum {
            return Err("was given for another target, or for something else to be done to it: look at this one");
        }
        Ok(token)
    }

    /// The cap for something of which so many match now: above `max_affected` twice that number, since what is still multiplying is more
    /// by the time it is stopped.
    ///
    /// # Errors
    /// [`Reason::ConfirmationTokenMismatch`] when it has grown too much since it was seen: by more than half, and a hundred.
    pub fn cap(&self, max_affected: u64, matched: u64) -> Result<u64, Error> {
        if matched <= max_affected {
            return Ok(max_affected);
        }
        if matched > self.matched.saturating_add(self.matched / 2).saturating_add(100) {
            let text = format!("{matched} match, and {} were seen: look again", self.matched);
            return Err(mismatch(text));
        }
        Ok(matched.saturating_mul(2))
    }

    fn checksum(&self, subject: &str) -> String {
        let Self { id, matched, at_ms } = self;
        let sum = Sha256::digest(format!("{FORM}.{}.{matched}.{at_ms}.{subject}", id.simple()));
        let mut text = hex::encode(sum);
        text.truncate(CHECKSUM);
        text
    }
}

/// A token that does not fit.
pub fn mismatch(problem: impl Into<String>) -> Error {
    Error::precondition(Reason::ConfirmationTokenMismatch, FIELD, problem)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_subject_and_a_while() {
        let token = Token {
            at_ms: 1_000,
            ..Token::new(20_000)
        };
        let text = token.write("a");
        assert_eq!(Token::read(&text, "a"), Ok(token));
        assert!(token.is_fresh(1_000 + LIFE_MS));
        assert!(!token.is_fresh(1_001 + LIFE_MS));
        let another = Token::read(&text, "b").unwrap_err();
        assert!(another.contains("another target"), "{another}");
        let more = text.replace(".20000.", ".90000.");
        for bad in ["", "q1", "q2.a.b.c.d", "q1.x.1.1.x", &more, &format!("{text}.x")] {
            assert!(Token::read(bad, "a").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_has_a_token_or_an_id() {
        let token = Token::new(1);
        let text = token.write("a");
        assert_eq!(Token::of_request("", "id", "a").unwrap(), None);
        assert_eq!(Token::of_request(&text, "", "a").unwrap(), Some(token));
        assert!(token.fresh().is_ok());
        // What was started with it is found again, however old it is; it starts nothing more.
        let old = Token { at_ms: 1_000, ..token };
        assert_eq!(Token::of_request(&old.write("a"), "", "a").unwrap(), Some(old));
        assert_eq!(old.fresh().unwrap_err().reason(), Reason::ConfirmationTokenMismatch);
        assert!(matches!(
            Token::of_request(&text, "id", "a"),
            Err(Error::InvalidArgument(_))
        ));
        let another = Token::of_request(&text, "", "b").unwrap_err();
        assert_eq!(another.reason(), Reason::ConfirmationTokenMismatch);
    }

    #[test]
    fn what_has_grown_too_much_needs_another_look() {
        let token = Token::new(1_000);
        assert_eq!(token.cap(10, 10).unwrap(), 10);
        assert_eq!(token.cap(10, 1_600).unwrap(), 3_200);
        assert_eq!(
            token.cap(10, 1_601).unwrap_err().reason(),
            Reason::ConfirmationTokenMismatch
        );
        assert_eq!(token.cap(2_000, 1_601).unwrap(), 2_000, "the cap itself allows it");
    }
}
