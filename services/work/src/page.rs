//! Page tokens: Temporal's own, marked as ours, so that a wrong one is the caller's mistake and never reaches the server (which
//! calls it an internal error). The mark is a checksum, not a signature: a token gives nobody anything. And the pages themselves.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quell_api::validate::Checker;
use quell_mesh::{Error, NamespaceClient};
use sha2::{Digest, Sha256};

use crate::visibility::{self, Execution};

/// Bytes of the sum that are kept.
const SUM: usize = 8;

/// One list: the rpc that gives and takes its tokens. A token of another list is as wrong as any.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// Name of the rpc, for people.
    pub rpc: &'static str,
    /// Name of the list, part of the checksum.
    pub list: &'static str,
}

/// The page that a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    size: i32,
    /// Temporal's own token; empty for the first page.
    token: Vec<u8>,
}

impl Pages {
    /// Checks the `page_size` and `page_token` of a request; violations are noted.
    pub fn wanted(self, check: &mut Checker, page_size: i32, page_token: &str) -> Wanted {
        Wanted {
            size: check.page_size("page_size", page_size),
            token: self.open(page_token).unwrap_or_else(|wrong| {
                check.reject("page_token", wrong);
                Vec::new()
            }),
        }
    }

    /// A page of the executions that match a query of ours, and the caller's token for the next one.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a token that Temporal does not take any more; else Temporal's, translated.
    pub async fn list(
        self,
        main: &NamespaceClient,
        query: String,
        wanted: Wanted,
    ) -> Result<(Vec<Execution>, String), Error> {
        let goes_on = !wanted.token.is_empty();
        match visibility::list(main, query, wanted.size, wanted.token).await {
            Ok((rows, next)) => Ok((rows, self.seal(&next))),
            // The query is ours: only the token can be wrong.
            Err(Error::InvalidArgument(_)) if goes_on => Err(Error::invalid("page_token", "is not valid any more")),
            Err(error) => Err(error),
        }
    }

    /// Temporal's token for the caller; empty after the last page.
    #[must_use]
    pub fn seal(self, token: &[u8]) -> String {
        if token.is_empty() {
            return String::new();
        }
        URL_SAFE_NO_PAD.encode([&self.sum(token), token].concat())
    }

    /// Temporal's token for the caller's; empty for the first page.
    ///
    /// # Errors
    /// What to say of a token that is not one that [`Pages::seal`] made.
    pub fn open(self, token: &str) -> Result<Vec<u8>, String> {
        if token.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        match bytes.split_at_checked(SUM) {
            Some((mark, inner)) if !inner.is_empty() && mark == self.sum(inner) => Ok(inner.to_vec()),
            _ => Err(format!("is not a next_page_token of {}", self.rpc)),
        }
    }

    fn sum(self, token: &[u8]) -> [u8; SUM] {
        let digest = Sha256::new()
            .chain_update(format!("1 {} ", self.list))
            .chain_update(token)
            .finalize();
        std::array::from_fn(|i| digest[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGES: Pages = Pages {
        rpc: "ListThings",
        list: "things",
    };

    #[test]
    fn a_token_of_another_list_is_refused() {
        let other = Pages {
            list: "others",
            ..PAGES
        };
        assert!(PAGES.open(&other.seal(b"x")).is_err());
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(token in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(PAGES.open(&PAGES.seal(&token)).unwrap(), token);
        }

        #[test]
        fn a_changed_one_is_refused(token in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>()) {
            let mut bytes = URL_SAFE_NO_PAD.decode(PAGES.seal(&token)).unwrap();
            bytes[at.index(token.len() + SUM)] ^= 1;
            prop_assert!(PAGES.open(&URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }

        #[test]
        fn anything_else_is_refused(token in "\\PC{1,60}") {
            prop_assert!(PAGES.open(&token).is_err());
        }
    }
}
