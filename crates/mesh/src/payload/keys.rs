//! Encryption of payloads: AES-256-GCM, with the id of its key in the metadata.
//!
//! What Temporal keeps of workflows (inputs, results, signals, memos, heartbeats) and what the payload store keeps for it can then be
//! read by whoever has the keys, and by nobody else; a changed one is noticed, but not one that was put in another's place, nor a plain
//! one. The first key encrypts, all of them decrypt. Keys are rotated in two deploys, since a replica that has not restarted yet must be
//! able to read: first the new one goes to the end of every list, then to the front; the old one is taken out when the retention of
//! everything that it encrypted is over. Nonces are random: a key should be rotated before it has encrypted 2^32 payloads.
//!
//! The form is the one of Temporal's own samples (`encoding` = `binary/encrypted`, `encryption-key-id`), with the whole payload
//! inside, metadata included.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use prost::Message as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use temporalio_common::protos::temporal::api::common::v1::Payload;

use super::codec::CodecError;

/// Value of the metadata key `encoding` of an encrypted payload.
pub const ENCRYPTED: &str = "binary/encrypted";
const CIPHER: &str = "encryption-cipher";
const KEY_ID: &str = "encryption-key-id";

/// The keys that payloads are encrypted with. Cheap to clone; never shown.
#[derive(Clone)]
pub struct PayloadKeys(Arc<Inner>);

struct Inner {
    current: String,
    keys: HashMap<String, LessSafeKey>,
    random: SystemRandom,
}

impl fmt::Debug for PayloadKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadKeys")
            .field("current", &self.0.current)
            .finish_non_exhaustive()
    }
}

impl PayloadKeys {
    /// Reads `id:64 hex digits`, one key a line or separated by commas; the first one encrypts.
    ///
    /// # Errors
    /// What is wrong, without the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be keys as id:64 hex digits, one a line; an id has letters, digits, '-', '_', '.'";
        let mut keys = HashMap::new();
        let mut current = None;
        for line in text.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty()) {
            let (id, key) = line.split_once(':').ok_or(EXPECTED)?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if id.is_empty() || id.len() > 100 || !id.chars().all(plain) {
                return Err(EXPECTED.to_owned());
            }
            let mut bytes = [0; 32];
            hex::decode_to_slice(key.trim(), &mut bytes).map_err(|_| EXPECTED.to_owned())?;
            let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| EXPECTED.to_owned())?;
            if keys.insert(id.to_owned(), LessSafeKey::new(key)).is_some() {
                return Err(format!("key {id:?} is there twice"));
            }
            current.get_or_insert_with(|| id.to_owned());
        }
        let current = current.ok_or(EXPECTED)?;
        Ok(Self(Arc::new(Inner {
            current,
            keys,
            random: SystemRandom::new(),
        })))
    }

    pub(super) fn encrypt(&self, payload: &Payload) -> Result<Payload, CodecError> {
        let id = &self.0.current;
        let failed = || CodecError::Encryption("it could not be encrypted".to_owned());
        let key = self.0.keys.get(id).ok_or_else(failed)?;
        let mut nonce = [0; NONCE_LEN];
        self.0.random.fill(&mut nonce).map_err(|_| failed())?;
        let mut sealed = payload.encode_to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(id.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| failed())?;
        let metadata = [
            ("encoding", ENCRYPTED.as_bytes()),
            (CIPHER, b"AES-256-GCM"),
            (KEY_ID, id.as_bytes()),
        ];
        Ok(Payload {
            metadata: metadata.map(|(name, value)| (name.to_owned(), value.to_vec())).into(),
            data: [&nonce[..], &sealed].concat(),
            ..Payload::default()
        })
    }
}

/// Decrypts what is encrypted, with whatever keys there are.
pub(super) fn decrypt(keys: Option<&PayloadKeys>, payload: Payload) -> Result<Payload, CodecError> {
    let is = |name: &str, value: &str| {
        payload
            .metadata
            .get(name)
            .is_some_and(|given| given == value.as_bytes())
    };
    // Others of this encoding may be on the same server: theirs name another cipher, or none.
    if !is("encoding", ENCRYPTED) || !is(CIPHER, "AES-256-GCM") {
        return Ok(payload);
    }
    let id = payload.metadata.get(KEY_ID).map(Vec::as_slice).unwrap_or_default();
    let id: String = String::from_utf8_lossy(id).chars().take(100).collect();
    let key = keys
        .and_then(|keys| keys.0.keys.get(&id))
        .ok_or_else(|| CodecError::Encryption(format!("its key {id:?} is not among payload.keys")))?;
    let corrupt = || {
        CodecError::Encryption(format!(
            "key {id:?} does not open it: it was changed, or the key is another one"
        ))
    };
    let (nonce, sealed) = payload.data.split_at_checked(NONCE_LEN).ok_or_else(corrupt)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| corrupt())?;
    let mut sealed = sealed.to_vec();
    let opened = key
        .open_in_place(nonce, Aad::from(id.as_bytes()), &mut sealed)
        .map_err(|_| corrupt())?;
    Payload::decode(&*opened).map_err(|_| corrupt())
}
