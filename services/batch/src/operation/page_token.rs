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

/// Where a list goes on: operations in line come first, then the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the line, behind so many.
    Line(usize),
    /// On the server, by its own token.
    Server(Vec<u8>),
}

impl Default for Place {
    fn default() -> Self {
        Self::Line(0)
    }
}

impl Place {
    /// From a token; the empty one is the beginning.
    pub(crate) fn read(token: &[u8]) -> Option<Self> {
        match token.split_first() {
            None => Some(Self::default()),
            Some((b'l', rest)) => offset(rest).map(Self::Line),
            Some((b's', rest)) => Some(Self::Server(rest.to_vec())),
            Some(_) => None,
        }
    }

    /// As a token.
    pub(crate) fn write(&self) -> Vec<u8> {
        match self {
            Self::Line(offset) => [b"l", of_offset(*offset).as_slice()].concat(),
            Self::Server(token) => [b"s", token.as_slice()].concat(),
        }
    }
}

/// A place in a list that is kept whole; the empty token is its beginning.
pub(crate) fn offset(token: &[u8]) -> Option<usize> {
    if token.is_empty() {
        return Some(0);
    }
    std::str::from_utf8(token).ok()?.parse().ok()
}

/// Such a place as a token.
pub(crate) fn of_offset(offset: usize) -> Vec<u8> {
    offset.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_back() {
        for place in [
            Place::Line(0),
            Place::Line(40),
            Place::Server(Vec::new()),
            Place::Server(vec![0, 1, 255]),
        ] {
            assert_eq!(Place::read(&place.write()), Some(place));
        }
        assert_eq!(Place::read(b""), Some(Place::Line(0)));
        assert_eq!(
            (Place::read(b"x1"), Place::read(b"l-1"), offset(b"1x")),
            (None, None, None)
        );
    }

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
