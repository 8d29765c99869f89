//! The oversize codec: a claim check for payloads that Temporal would refuse.
//!
//! Temporal fails a workflow task whose payload is over 2 MB, and gRPC a message over 4 MiB. A payload above the
//! threshold is written to the store whole, metadata included, and a small reference takes its place:
//!
//! - metadata `encoding` = [`ENCODING`], so that every reader can tell it from data;
//! - data = JSON `{"sha256": "...", "size": n}`, readable in the Web UI.
//!
//! With keys configured ([`super::PayloadKeys`]) a payload is encrypted before anything else, and the store holds what is encrypted.
//!
//! Keys are the content's SHA-256: equal payloads are stored once, a retry writes the same object again, and a read
//! proves itself. A missing or changed object fails with what is wrong and with the key; repeating the read
//! cannot cure it, so the text says so, and whoever decodes (the SDK fails the task or the activity) shows it.

use bytes::Bytes;
use futures::future::BoxFuture;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use temporalio_common::data_converters::{PayloadCodec, PayloadConversionError, SerializationContextData};
use temporalio_common::protos::temporal::api::common::v1::Payload;

use super::keys::decrypt;
use super::{PayloadKeys, PayloadStore};
use crate::error::{Error, Reason};

/// Value of the metadata key `encoding` of a payload that lies in the store.
pub const ENCODING: &str = "quell/claim-check";

const FOLDER: &str = "payloads";

/// What stands in the place of a stored payload.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    /// SHA-256 of the stored bytes, lower-case hex.
    sha256: String,
    /// Their number.
    size: usize,
}

/// Why a stored payload could not be used. The first word is the [`crate::Reason`].
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The reference itself is not readable.
    #[error("PAYLOAD_CORRUPT: a reference to a stored payload is not readable: {0}; retrying cannot help")]
    Reference(String),
    /// There is no such object.
    #[error(
        "PAYLOAD_MISSING: payload {0} is not in the payload store: it was deleted, or the services do not share one store; retrying cannot help"
    )]
    Missing(String),
    /// The object is not what was written.
    #[error("PAYLOAD_CORRUPT: payload {0} in the payload store does not have its checksum; retrying cannot help")]
    Corrupt(String),
    /// It could not be encrypted or decrypted.
    #[error("PAYLOAD_CORRUPT: an encrypted payload cannot be used: {0}; retrying cannot help")]
    Encryption(String),
    /// The store cannot be reached; this may pass.
    #[error(transparent)]
    Store(Error),
}

impl From<CodecError> for PayloadConversionError {
    fn from(error: CodecError) -> Self {
        Self::EncodingError(Box::new(error))
    }
}

/// For whoever asked for what is in the payload.
impl From<CodecError> for Error {
    fn from(error: CodecError) -> Self {
        let reason = match error {
            CodecError::Store(error) => return error,
            CodecError::Missing(_) => Reason::PayloadMissing,
            CodecError::Reference(_) | CodecError::Corrupt(_) | CodecError::Encryption(_) => Reason::PayloadCorrupt,
        };
        Self::precondition(reason, "payload", error.to_string())
    }
}

/// Moves payloads above a threshold to the store and back. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OversizeCodec {
    store: PayloadStore,
    threshold: usize,
    keys: Option<PayloadKeys>,
}

impl OversizeCodec {
    pub(super) const fn new(store: PayloadStore, threshold: usize, keys: Option<PayloadKeys>) -> Self {
        Self { store, threshold, keys }
    }

    async fn store_one(&self, payload: Payload) -> Result<Payload, CodecError> {
        if is_claim(&payload) {
            return Ok(payload);
        }
        // First, so that what lies in the store is encrypted too.
        let payload = match &self.keys {
            Some(keys) => keys.encrypt(&payload)?,
            None => payload,
        };
        if payload.data.len() <= self.threshold {
            return Ok(payload);
        }
        let bytes = Bytes::from(payload.encode_to_vec());
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let size = bytes.len();
        self.store
            .put(&key_of(&sha256), bytes)
            .await
            .map_err(CodecError::Store)?;
        tracing::debug!(sha256, size, "payload moved to the store");
        let data =
            serde_json::to_vec(&Claim { sha256, size }).map_err(|error| CodecError::Reference(error.to_string()))?;
        Ok(Payload {
            metadata: [("encoding".to_owned(), ENCODING.as_bytes().to_vec())].into(),
            data,
            ..Payload::default()
        })
    }

    async fn fetch_one(&self, payload: Payload) -> Result<Payload, CodecError> {
        if !is_claim(&payload) {
            return decrypt(self.keys.as_ref(), payload);
        }
        let claim: Claim =
            serde_json::from_slice(&payload.data).map_err(|error| CodecError::Reference(error.to_string()))?;
        if claim.sha256.len() != 64 || !claim.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            // A key made of anything else would let a payload name any object of the store.
            return Err(CodecError::Reference("its checksum is not a SHA-256".to_owned()));
        }
        let bytes = match self.store.get(&key_of(&claim.sha256)).await {
            Ok(bytes) => bytes,
            Err(Error::NotFound { .. }) => return Err(CodecError::Missing(claim.sha256)),
            Err(other) => return Err(CodecError::Store(other)),
        };
        if bytes.len() != claim.size || hex::encode(Sha256::digest(&bytes)) != claim.sha256 {
            return Err(CodecError::Corrupt(claim.sha256));
        }
        let stored = Payload::decode(bytes).map_err(|_| CodecError::Corrupt(claim.sha256))?;
        decrypt(self.keys.as_ref(), stored)
    }
}

/// Two letters of the checksum make a folder, so that a local store stays listable.
fn key_of(sha256: &str) -> String {
    let (shard, _) = sha256.split_at_checked(2).unwrap_or((sha256, ""));
    format!("{FOLDER}/{shard}/{sha256}")
}

fn is_claim(payload: &Payload) -> bool {
    payload
        .metadata
        .get("encoding")
        .is_some_and(|encoding| encoding == ENCODING.as_bytes())
}

impl PayloadCodec for OversizeCodec {
    fn encode(
        &self,
        _context: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let codec = self.clone();
        Box::pin(async move {
            let mut out = Vec::with_capacity(payloads.len());
            for payload in payloads {
                out.push(codec.store_one(payload).await?);
            }
            Ok(out)
        })
    }

    fn decode(
        &self,
        _context: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let codec = self.clone();
        Box::pin(async move {
            let mut out = Vec::with_capacity(payloads.len());
            for payload in payloads {
                out.push(codec.fetch_one(payload).await?);
            }
            Ok(out)
        })
    }
}
