//! Page tokens: the server's own, sealed, so that a made-up one is a bad field and not a fault of the server (which answers
//! "something went wrong" to it).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// Bytes of the checksum before the token. Against mistakes, not against forgers: a forged token reads nothing that the caller
/// may not list anyway.
const SEAL: usize = 4;

/// The token for a caller; empty for the last page.
pub(crate) fn seal(token: &[u8]) -> String {
    if token.is_empty() {
        return String::new();
    }
    let mut sealed = Sha256::digest(token)[..SEAL].to_vec();
    sealed.extend_from_slice(token);
    URL_SAFE_NO_PAD.encode(sealed)
}

/// The server's token; `None` for one that [`seal`] did not give.
pub(crate) fn open(sealed: &str) -> Option<Vec<u8>> {
    if sealed.is_empty() {
        return Some(Vec::new());
    }
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let (checksum, token) = bytes.split_at_checked(SEAL)?;
    (!token.is_empty() && Sha256::digest(token)[..SEAL] == *checksum).then(|| token.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_opens() {
        for token in [b"".as_slice(), b"x", &[0, 255, 7]] {
            assert_eq!(open(&seal(token)).unwrap(), token);
        }
        for forged in ["Zm9v", "%%%", "AAAAAAAA", &seal(b"x")[1..]] {
            assert_eq!(open(forged), None, "{forged}");
        }
    }
}
