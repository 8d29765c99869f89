//! Page tokens: the server's own, with a checksum. The server answers one that it did not give with whatever its store says,
//! which looks like a fault of ours; so a token that was not given by us is told apart here.

use sha2::{Digest as _, Sha256};

/// Bytes of the checksum: against mistakes, not against malice, since a token grants nothing.
const CHECKSUM: usize = 4;

/// The token for a caller; empty after the last page.
pub(crate) fn write(token: &[u8]) -> String {
    if token.is_empty() {
        return String::new();
    }
    let checksum = Sha256::digest(token);
    hex::encode(checksum.iter().take(CHECKSUM).chain(token).copied().collect::<Vec<_>>())
}

/// The server's token; `None` for one that [`write`] did not make.
pub(crate) fn read(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let bytes = hex::decode(text).ok()?;
    let (checksum, token) = bytes.split_at_checked(CHECKSUM)?;
    Sha256::digest(token)
        .starts_with(checksum)
        .then(|| token.to_vec())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_tokens_are_taken() {
        assert_eq!(read(&write(b"{\"t\":1}")).unwrap(), b"{\"t\":1}");
        assert_eq!((write(b""), read("")), (String::new(), Some(Vec::new())));
        for forged in ["00", "zz", "0000000000", "e3b0c442", "abc"] {
            assert_eq!(read(forged), None, "{forged}");
        }
    }
}
