//! The access file: who may do what.
//!
//! ```yaml
//! principals:
//!   - name: ops                      # what the audit calls it
//!     role: operator                 # or viewer
//!     namespaces: [main]             # namespaces that it is good for; "*" is every one
//!     token_sha256: ...               # of the token as it is sent: 64 hex digits
//!     expires: 2027-01-01T00:00:00Z
//!     calls_per_second: 50           # optional
//!   - name: canceler
//!     role: operator
//!     namespaces: ["*"]
//!     certificate: canceler.quell    # a DNS name or URI in the client certificate, instead of a token
//!     expires: 2027-01-01T00:00:00Z
//! ```
//!
//! Tokens are random and long (256 bits, docs/security.md), so their plain SHA-256 can be kept: there is nothing to guess
//! that a slow hash would protect. Looking a hash up in a map tells nothing about a token by its timing, since whoever asks
//! cannot choose the hash. An entry that is taken out is revoked: within two seconds for calls and for open streams.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Principal, Proof, Role, Scope};
use crate::error::{Error, Reason};
use crate::server::ConnectionInfo;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    principals: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    namespaces: Vec<String>,
    expires: Timestamp,
    token_sha256: Option<String>,
    certificate: Option<String>,
    calls_per_second: Option<u32>,
}

/// What the access file says, ready to be asked.
#[derive(Debug)]
pub(crate) struct Access {
    /// None where there is no access file: then every certificate that the server accepted is an operator.
    entries: Option<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    tokens: HashMap<[u8; 32], Arc<Grant>>,
    certificates: BTreeMap<String, Arc<Grant>>,
}

/// What an entry gives.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) principal: Principal,
    /// Its own limit, if any.
    pub(crate) calls_per_second: Option<u32>,
    /// For which namespaces it is good.
    pub(crate) scope: Scope,
    pub(crate) expires: Option<Timestamp>,
}

/// By what a caller wants to be known.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    /// SHA-256 of its bearer token.
    pub(crate) token: Option<[u8; 32]>,
    /// Names in its certificate.
    pub(crate) names: Arc<[String]>,
}

/// What a token is known by.
fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// What a request and its connection show.
///
/// # Errors
/// [`Error::Unauthenticated`] when that cannot be read.
pub(super) fn credentials_of(headers: &HeaderMap, connection: Option<&ConnectionInfo>) -> Result<Credentials, Error> {
    let mut given = headers.get_all(http::header::AUTHORIZATION).iter();
    let invalid = |message: &str| Error::Unauthenticated {
        reason: Reason::CredentialsInvalid,
        message: message.to_owned(),
    };
    let token = match (given.next(), given.next()) {
        (None, _) => None,
        (Some(value), None) => {
            let bytes = value.as_bytes();
            let bearer = bytes
                .split_at_checked("Bearer ".len())
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
            let (_, token) = bearer.ok_or_else(|| invalid("authorization must be `Bearer <token>`"))?;
            let token = token.trim_ascii();
            if token.is_empty() {
                return Err(invalid("the token is empty"));
            }
            Some(hash(token))
        }
        (Some(_), Some(_)) => return Err(invalid("authorization is there more than once")),
    };
    Ok(Credentials {
        token,
        names: connection.map_or_else(|| Arc::new([]) as Arc<[String]>, ConnectionInfo::names),
    })
}

impl Access {
    /// Where there is no access file, only certificates.
    pub(crate) const fn of_certificates() -> Self {
        Self { entries: None }
    }

    /// Reads the file's text. All mistakes are told, each by the entry's name; a token's hash is not repeated.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_saphyr::from_str(text)
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
        let mut entries = Entries::default();
        let mut problems = Vec::new();
        let mut names = HashSet::new();
        for entry in &file.principals {
            let name = entry.name.as_str();
            if !names.insert(name) {
                problems.push(format!("{name:?} is there twice"));
            }
            if let Err(problem) = entries.add(entry) {
                problems.push(format!("{name:?} {problem}"));
            }
        }
        if problems.is_empty() {
            Ok(Self { entries: Some(entries) })
        } else {
            Err(problems.join("; "))
        }
    }

    /// Who has these credentials. A token goes before a certificate: it says more about who is asking.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`].
    pub(crate) fn identify(&self, credentials: &Credentials, now: Timestamp) -> Result<Arc<Grant>, Error> {
        let refused = |reason, message: &str| {
            Err(Error::Unauthenticated {
                reason,
                message: message.to_owned(),
            })
        };
        let Some(entries) = &self.entries else {
            return match credentials.names.first() {
                Some(name) => Ok(Arc::new(of_certificate(name))),
                None => refused(Reason::CredentialsMissing, "the certificate holds no name"),
            };
        };
        let found = match &credentials.token {
            Some(token) => entries.tokens.get(token),
            None => credentials
                .names
                .iter()
                .find_map(|name| entries.certificates.get(&name.to_ascii_lowercase())),
        };
        match found {
            Some(grant) if grant.expires.is_some_and(|end| end <= now) => {
                refused(Reason::CredentialsExpired, "the credentials have expired")
            }
            Some(grant) => Ok(grant.clone()),
            None if credentials.token.is_none() && credentials.names.is_empty() => refused(
                Reason::CredentialsMissing,
                "say who you are: `authorization: Bearer <token>`",
            ),
            None => refused(Reason::CredentialsInvalid, "the credentials are not known here"),
        }
    }
}

fn of_certificate(name: &str) -> Grant {
    Grant {
        principal: Principal {
            name: name.into(),
            role: Role::Operator,
            proof: Proof::Certificate,
        },
        calls_per_second: None,
        scope: Scope::everything(),
        expires: None,
    }
}

impl Entries {
    fn add(&mut self, entry: &Entry) -> Result<(), String> {
        let printable = |c: char| c.is_ascii_graphic();
        if entry.name.is_empty() || entry.name.len() > 100 || !entry.name.chars().all(printable) {
            return Err("must have a name of 1 to 100 printable characters without blanks".to_owned());
        }
        if entry.namespaces.is_empty() {
            return Err("must name its namespaces, or \"*\" for all".to_owned());
        }
        if entry.calls_per_second == Some(0) {
            return Err("calls_per_second must be at least 1".to_owned());
        }
        let grant = |proof| {
            Arc::new(Grant {
                principal: Principal {
                    name: entry.name.as_str().into(),
                    role: entry.role,
                    proof,
                },
                calls_per_second: entry.calls_per_second,
                scope: Scope::of(&entry.namespaces),
                expires: Some(entry.expires),
            })
        };
        let taken = match (&entry.token_sha256, &entry.certificate) {
            (Some(hash), None) => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(hash, &mut bytes).map_err(|_| "token_sha256 must be 64 hex digits".to_owned())?;
                self.tokens.insert(bytes, grant(Proof::Token))
            }
            (None, Some(name)) if !name.is_empty() => self
                .certificates
                .insert(name.to_ascii_lowercase(), grant(Proof::Certificate)),
            _ => return Err("must have either token_sha256 or certificate".to_owned()),
        };
        match taken {
            None => Ok(()),
            Some(other) => Err(format!(
                "has the same token or certificate as {:?}",
                other.principal.name
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(token: &str) -> String {
        format!(
            "principals:\n\
             - {{name: ops, role: operator, namespaces: [main], token_sha256: {}, expires: 2100-01-01T00:00:00Z, calls_per_second: 3}}\n\
             - {{name: old, role: viewer, namespaces: ['*'], token_sha256: {}, expires: 2000-01-01T00:00:00Z}}\n\
             - {{name: batch, role: viewer, namespaces: ['*'], certificate: Batch.quell, expires: 2100-01-01T00:00:00Z}}\n",
            hex::encode(hash(token.as_bytes())),
            hex::encode(hash(b"old")),
        )
    }

    fn with(token: Option<&str>, names: &[&str]) -> Credentials {
        Credentials {
            token: token.map(|token| hash(token.as_bytes())),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn reason(access: &Access, credentials: &Credentials) -> Reason {
        access.identify(credentials, Timestamp::now()).unwrap_err().reason()
    }

    #[test]
    fn tokens_and_certificates_are_told_apart() {
        let access = Access::parse(&file("secret")).unwrap();
        let ops = access.identify(&with(Some("secret"), &[]), Timestamp::now()).unwrap();
        assert_eq!((&*ops.principal.name, ops.principal.role), ("ops", Role::Operator));
        assert_eq!(
            (
                ops.scope.covers("main"),
                ops.scope.covers("other"),
                ops.calls_per_second
            ),
            (true, false, Some(3))
        );
        let batch = access
            .identify(&with(None, &["x", "batch.QUELL"]), Timestamp::now())
            .unwrap();
        assert_eq!((&*batch.principal.name, batch.principal.role), ("batch", Role::Viewer));
        assert!(batch.scope.covers("anything"));
        assert_eq!(reason(&access, &with(None, &[])), Reason::CredentialsMissing);
        assert_eq!(reason(&access, &with(Some("secret "), &[])), Reason::CredentialsInvalid);
        assert_eq!(reason(&access, &with(None, &["stranger"])), Reason::CredentialsInvalid);
        assert_eq!(reason(&access, &with(Some("old"), &[])), Reason::CredentialsExpired);
        // A wrong token is not mended by a good certificate.
        assert_eq!(
            reason(&access, &with(Some("wrong"), &["batch.quell"])),
            Reason::CredentialsInvalid
        );
    }

    #[test]
    fn without_a_file_an_accepted_certificate_is_enough() {
        let access = Access::of_certificates();
        let grant = access
            .identify(&with(None, &["canceler.quell"]), Timestamp::now())
            .unwrap();
        assert_eq!(&*grant.principal.name, "canceler.quell");
        assert_eq!(reason(&access, &with(Some("any"), &[])), Reason::CredentialsMissing);
    }

    #[test]
    fn mistakes_are_named_and_hashes_not_repeated() {
        let hash = hex::encode(hash(b"x"));
        let line = |more: &str| {
            format!("principals:\n- {{name: a, role: viewer, namespaces: [m], expires: 2100-01-01T00:00:00Z{more}}}\n")
        };
        for (text, expected) in [
            (line(""), "either token_sha256 or certificate"),
            (line(&format!(", certificate: c, token_sha256: {hash}")), "either"),
            (line(", token_sha256: abc"), "64 hex digits"),
            (line(", certificate: c, calls_per_second: 0"), "at least 1"),
            (line(", certificate: c").replace("[m]", "[]"), "namespaces"),
            (line(", certificate: c").replace("viewer", "root"), "root"),
            (line(", certificate: c, colour: red"), "colour"),
            (line(", certificate: c").replace("2100-01-01T00:00:00Z", "soon"), "year"),
            (
                format!(
                    "{}- {{name: b, role: viewer, namespaces: [m], expires: 2100-01-01T00:00:00Z, certificate: C}}\n",
                    line(", certificate: c")
                ),
                "same token or certificate as \"a\"",
            ),
        ] {
            let error = Access::parse(&text).unwrap_err();
            assert!(error.contains(expected), "{expected:?} not in {error:?}");
            assert!(!error.contains(&hash));
        }
    }
}
