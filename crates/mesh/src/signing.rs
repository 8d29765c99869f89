//! Signed records: Ed25519 signatures in the manner of DSSE (Dead Simple Signing Envelope, version 1,
//! github.com/secure-systems-lab/dsse).
//!
//! What is signed is not a record but the very bytes that are carried beside the signature, together with the type of what they
//! hold: so nobody has to bring a record into a canonical form again, today's or a later one's. A key is known by its fingerprint,
//! which anyone can compute:
//!
//! ```text
//! openssl pkey -in key.pem -pubout -outform DER | sha256sum
//! ```
//!
//! Ed25519 is deterministic: the same bytes signed twice by one key give one signature.

use std::fmt;
use std::sync::Arc;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use sha2::{Digest as _, Sha256};

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a key cannot be used. Never shows any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a PEM private key.
    #[error("must be a private key in PEM (PKCS#8), as `openssl genpkey -algorithm ed25519` writes it")]
    NoPrivateKey,
    /// A private key of another kind, or a damaged one.
    #[error("is a private key, but not one for Ed25519")]
    OtherPrivateKey,
    /// Not a PEM public key.
    #[error("must be a public key in PEM, as `openssl pkey -in key.pem -pubout` writes it")]
    NoPublicKey,
    /// A public key of another kind, or a damaged one.
    #[error("is a public key, but not one for Ed25519")]
    OtherPublicKey,
}

/// A private key. Cheap to clone; never printed.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl SigningKey {
    /// Reads a PEM text (PKCS#8, with or without the public key in it).
    ///
    /// # Errors
    /// [`KeyError::NoPrivateKey`] and [`KeyError::OtherPrivateKey`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NoPrivateKey)?;
        // Unchecked is what OpenSSL's form needs: it has no public key to check against.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| KeyError::OtherPrivateKey)?;
        let public = PublicKey::from_bytes(pair.public_key().as_ref()).ok_or(KeyError::OtherPrivateKey)?;
        Ok(Self {
            pair: Arc::new(pair),
            public,
        })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs bytes as what their type says; 64 bytes.
    #[must_use]
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> Vec<u8> {
        self.pair.sign(&signed_bytes(payload_type, payload)).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.key_id())
    }
}

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a PEM text (SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// [`KeyError::NoPublicKey`] and [`KeyError::OtherPublicKey`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NoPublicKey)?;
        der.strip_prefix(&SPKI_PREFIX)
            .and_then(Self::from_bytes)
            .ok_or(KeyError::OtherPublicKey)
    }

    /// The 32 bytes of a key; `None` for any other number of them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its fingerprint: SHA-256 of the SubjectPublicKeyInfo in DER, 64 lower-case hex digits.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex::encode(Sha256::new().chain_update(SPKI_PREFIX).chain_update(self.0).finalize())
    }

    /// Whether this key signed these bytes as what their type says.
    #[must_use]
    pub fn verifies(&self, payload_type: &str, payload: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(&signed_bytes(payload_type, payload), signature)
            .is_ok()
    }
}

/// DSSE's pre-authentication encoding: what the signature is over.
fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl genpkey -algorithm ed25519`, and its `openssl pkey -pubout`.
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEILUH7ecxAaI30RZpozGf/WLLny4HTPtM4WBnqOJzJCc3\n-----END PRIVATE KEY-----";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAFqPw/irdgkJyUOFuk3cm38kZnFw8HBp0RdPVQKTUVZ4=\n-----END PUBLIC KEY-----";
    const KEY_ID: &str = "e98d74a3521e6a5e1f227ffb4b42663d7a345dd245ae419c80672b582a031f20";
    const RSA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC53VgjDDAepBvnH5dIvcrZzelX\nQbuBXllvWoHm2qWd74nIlTB7zv6QHvUW8Mbf1ULRqHrA4871TtT8SDoFtjVoFE/F\nC/+LBCwvHWzrPq7KgA4PEVRAJJFY5+CClm73GrPmlF3p+nbElOtF63EGb+IIUEPV\nHxBGycFSyCCQNOhMPQIDAQAB\n-----END PUBLIC KEY-----";
    const X25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIPD+6PM0tes0FBiDEVTjycn7uPRrkPKheQFyazJaHfBH\n-----END PRIVATE KEY-----";

    #[test]
    fn keys_are_read_as_openssl_writes_them() {
        let key = SigningKey::from_pem(KEY).unwrap();
        assert_eq!(*key.public(), PublicKey::from_pem(PUBLIC).unwrap());
        assert_eq!(key.public().key_id(), KEY_ID);
        assert_eq!(format!("{key:?}"), format!("SigningKey({KEY_ID})"));
    }

    #[test]
    fn what_openssl_signs_is_what_we_sign() {
        // printf 'DSSEv1 4 text 5 hello' > m; openssl pkeyutl -sign -inkey key.pem -rawin -in m | xxd -p -c0
        let signature = SigningKey::from_pem(KEY).unwrap().sign("text", b"hello");
        assert_eq!(
            hex::encode(signature),
            "3a7661dde387cefccf1f262d3b5015d128587b9b30672b1db3cb8435f0873b173b1a9b3e8d60d9a19b8500bf537ca8c16a6c2808976bc48e2ef8c25ff98cc80e"
        );
    }

    #[test]
    fn a_signature_is_good_for_these_bytes_of_this_type_only() {
        let key = SigningKey::from_pem(KEY).unwrap();
        let signature = key.sign("text", b"hello");
        let public = key.public();
        assert!(public.verifies("text", b"hello", &signature));
        assert_eq!(key.sign("text", b"hello"), signature, "deterministic");
        assert!(!public.verifies("text", b"hellp", &signature));
        assert!(!public.verifies("tex", b"thello", &signature));
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!public.verifies("text", b"hello", &changed), "byte {at}");
        }
    }

    #[test]
    fn any_other_key_is_told_from_one() {
        let private = |pem| SigningKey::from_pem(pem).map(drop);
        assert_eq!(private("secret"), Err(KeyError::NoPrivateKey));
        assert_eq!(private(PUBLIC), Err(KeyError::NoPrivateKey));
        assert_eq!(private(X25519), Err(KeyError::OtherPrivateKey));
        assert_eq!(PublicKey::from_pem(KEY), Err(KeyError::NoPublicKey));
        assert_eq!(PublicKey::from_pem(RSA_PUBLIC), Err(KeyError::OtherPublicKey));
    }
}
