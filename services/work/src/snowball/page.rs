//! Page tokens: Temporal's own, marked as ours, so that a wrong one is the caller's mistake and never reaches the server.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quell_mesh::Error;

/// What every token begins with: version and list.
const MARK: &[u8] = b"1snowballs:";

/// The caller's token for Temporal's; empty after the last page.
#[must_use]
pub fn seal(token: &[u8]) -> String {
    if token.is_empty() {
        return String::new();
    }
    URL_SAFE_NO_PAD.encode([MARK, token].concat())
}

/// Temporal's token for the caller's; empty for the first page.
///
/// # Errors
/// `InvalidArgument` when it is not one that [`seal`] made.
pub fn open(token: &str) -> Result<Vec<u8>, Error> {
    if token.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    match bytes.strip_prefix(MARK) {
        Some(inner) if !inner.is_empty() => Ok(inner.to_vec()),
        _ => Err(Error::invalid("page_token", "is not a next_page_token of ListSnowballs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_sealed_opens(token in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(open(&seal(&token)).unwrap(), token);
        }

        #[test]
        fn anything_else_is_refused(token in "\\PC{1,60}") {
            prop_assert!(open(&token).is_err());
        }
    }
}
