//! The token of a preview: above `max_affected` a cancellation is started only by whoever has seen how many it is about.
//!
//! It guards against mistakes, not against people: it holds what was previewed and a checksum over it, the target and the mode, and no
//! secret, so that any replica can read what another one gave. It is the request id of the cancellation that it starts, and so it
//! starts one only.

use quell_api::target::Filter;
use quell_sweep::Mode;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// How long a token is good, in milliseconds: what was seen longer ago is not what is there.
const LIFE_MS: u64 = 15 * 60 * 1_000;
/// Hex digits of the checksum.
const CHECKSUM: usize = 16;
/// Begins each token, and names its form.
const FORM: &str = "q1";

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    /// Id of the cancellation that it may start.
    pub(crate) id: Uuid,
    matched: u64,
    at_ms: u64,
}

impl Token {
    /// A token for a target of which so many were previewed.
    pub(crate) fn new(matched: u64, now_ms: u64) -> Self {
        Self {
            id: Uuid::new_v4(),
            matched,
            at_ms: now_ms,
        }
    }

    /// As text.
    pub(crate) fn write(&self, filter: &Filter, mode: Mode) -> String {
        let Self { id, matched, at_ms } = self;
        let sum = self.checksum(filter, mode);
        format!("{FORM}.{}.{matched}.{at_ms}.{sum}", id.simple())
    }

    /// Reads one that was given for this target and mode.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn read(text: &str, filter: &Filter, mode: Mode, now_ms: u64) -> Result<Self, &'static str> {
        const NONE: &str = "is not a token that a preview gave";
        let parts: Vec<&str> = text.split('.').collect();
        let [FORM, id, matched, at_ms, sum] = parts.as_slice() else {
            return Err(NONE);
        };
        let token = Self {
            id: Uuid::try_parse(id).map_err(|_| NONE)?,
            matched: matched.parse().map_err(|_| NONE)?,
            at_ms: at_ms.parse().map_err(|_| NONE)?,
        };
        if token.checksum(filter, mode) != *sum {
            return Err("was given for another target or mode: preview this one");
        }
        // Clocks of replicas may differ a little.
        if now_ms > token.at_ms.saturating_add(LIFE_MS) {
            return Err("has expired (15 minutes): preview again");
        }
        Ok(token)
    }

    /// Whether so many are still what was previewed: half as many again, and a hundred, may have come meanwhile.
    pub(crate) fn allows(&self, matched: u64) -> bool {
        matched <= self.matched.saturating_add(self.matched / 2).saturating_add(100)
    }

    /// How many were previewed.
    pub(crate) fn matched(&self) -> u64 {
        self.matched
    }

    fn checksum(&self, filter: &Filter, mode: Mode) -> String {
        let Self { id, matched, at_ms } = self;
        let sum = Sha256::digest(format!(
            "{FORM}.{}.{matched}.{at_ms}.{mode:?}.{}",
            id.simple(),
            filter.open()
        ));
        let mut text = hex::encode(sum);
        text.truncate(CHECKSUM);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quell_api::{
        r#type::v1::{Target, target::Selector},
        validate::Checker,
    };

    fn filter(workload_id: &str) -> Filter {
        let target = Target {
            selector: Some(Selector::WorkloadId(workload_id.to_owned())),
        };
        Filter::check(&mut Checker::new(), "target", Some(&target))
    }

    const MODE: Mode = Mode::Terminate;

    #[test]
    fn a_token_is_good_for_its_target_and_a_while() {
        let token = Token::new(20_000, 1_000);
        let text = token.write(&filter("a"), MODE);
        assert_eq!(Token::read(&text, &filter("a"), MODE, 1_000 + LIFE_MS), Ok(token));
        assert!(
            Token::read(&text, &filter("a"), MODE, 1_001 + LIFE_MS)
                .unwrap_err()
                .contains("expired")
        );
        assert!(
            Token::read(&text, &filter("b"), MODE, 1_000)
                .unwrap_err()
                .contains("another target")
        );
        assert!(Token::read(&text, &filter("a"), Mode::Cancel, 1_000).is_err());
        let more = text.replace(".20000.", ".90000.");
        for bad in ["", "q1", "q2.a.b.c.d", "q1.x.1.1.x", &more, &format!("{text}.x")] {
            assert!(Token::read(bad, &filter("a"), MODE, 1_000).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_has_grown_too_much_needs_another_look() {
        let token = Token::new(1_000, 0);
        assert!(token.allows(0) && token.allows(1_600) && !token.allows(1_601));
    }
}
