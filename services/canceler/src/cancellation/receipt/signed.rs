//! A receipt signed once, at its end, and kept in the workflow's result.
//!
//! What is signed is the receipt as callers see it, in protobuf's binary form, at the moment of its making. Those bytes are kept beside
//! the signature, and from then on they are the receipt: whatever newer code would make of the workflow's result, every GetReceipt
//! gives these bytes and this signature.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use quell_api::canceler::v1 as pb;
use quell_mesh::signing::{PublicKey, SigningKey};
use serde::{Deserialize, Serialize};

use super::Receipt;

/// Type of what is signed: `quell.canceler.v1.Receipt`, in protobuf's binary form.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.quell.receipt.v1+protobuf";

/// A signed receipt, as the workflow's result keeps it. Bytes are in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Signed {
    /// Type of the payload.
    pub payload_type: String,
    /// The bytes that were signed.
    pub payload: String,
    /// The public key.
    pub public_key: String,
    /// The signature.
    pub signature: String,
}

/// A kept signature that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the signed receipt in the workflow's result is not readable: {0}")]
pub struct Unreadable(String);

impl Signed {
    /// Signs a receipt.
    #[must_use]
    pub fn new(receipt: &Receipt, key: &SigningKey) -> Self {
        let payload = receipt.to_proto().encode_to_vec();
        Self {
            payload_type: PAYLOAD_TYPE.to_owned(),
            signature: BASE64_STANDARD.encode(key.sign(PAYLOAD_TYPE, &payload)),
            public_key: BASE64_STANDARD.encode(key.public().bytes()),
            payload: BASE64_STANDARD.encode(payload),
        }
    }

    /// The receipt in it, and it as callers see it.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn open(&self) -> Result<(pb::Receipt, pb::SignedReceipt), Unreadable> {
        let bytes = |text: &str| {
            BASE64_STANDARD
                .decode(text)
                .map_err(|error| Unreadable(error.to_string()))
        };
        let payload = bytes(&self.payload)?;
        let receipt = pb::Receipt::decode(payload.as_slice()).map_err(|error| Unreadable(error.to_string()))?;
        let key = PublicKey::from_bytes(&bytes(&self.public_key)?)
            .ok_or_else(|| Unreadable("its public key is none".to_owned()))?;
        let signed = pb::SignedReceipt {
            payload_type: self.payload_type.clone(),
            payload,
            signatures: vec![pb::ReceiptSignature {
                key_id: key.key_id(),
                public_key: key.bytes().to_vec(),
                signature: bytes(&self.signature)?,
            }],
        };
        Ok((receipt, signed))
    }
}
