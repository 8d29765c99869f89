//! Page tokens: Temporal's own, marked as ours, so that a wrong one is the caller's mistake and never reaches the server (which
//! calls it an internal error). The mark is a checksum, not a signature: a token gives nobody anything.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quell_mesh::Error;
use sha2::{Digest, Sha256};

/// What is summed before the token itself: version and list.
const KIND: &[u8] = b"1 snowballs ";

/// Bytes of the sum that are kept.
const SUM: usize = 8;

/// The caller's token for Temporal's; empty after the last page.
#[must_use]
pub fn seal(token: &[u8]) -> String {
    if token.is_empty() {
        return String::new();
    }
    URL_SAFE_NO_PAD.encode([&sum(token), token].concat())
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
    match bytes.split_at_checked(SUM) {
        Some((mark, inner)) if !inner.is_empty() && mark == sum(inner) => Ok(inner.to_vec()),
        _ => Err(Error::invalid(
            "page_token",
            "is not a next_page_token of ListSnowballs",
        )),
    }
}

fn sum(token: &[u8]) -> [u8; SUM] {
    let digest = Sha256::new().chain_update(KIND).chain_update(token).finalize();
    std::array::from_fn(|i| digest[i])
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
        fn a_changed_one_is_refused(token in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>()) {
            let mut bytes = URL_SAFE_NO_PAD.decode(seal(&token)).unwrap();
            bytes[at.index(token.len() + SUM)] ^= 1;
            prop_assert!(open(&URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }

        #[test]
        fn anything_else_is_refused(token in "\\PC{1,60}") {
            prop_assert!(open(&token).is_err());
        }
    }
}
