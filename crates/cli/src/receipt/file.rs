//! A receipt as a file.
//!
//! The file is a DSSE envelope in JSON (github.com/secure-systems-lab/dsse), so any tool that knows DSSE can check its signature,
//! with one field more: `receipt`, for people. What counts is `payload`; `receipt` must say the same. An unsigned receipt has no
//! `signatures`. There is one way only to write a file, so that not a byte of it can be changed without notice.

use crate::view::receipt_json;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use quell_api::canceler::v1::{GetReceiptResponse, Receipt, ReceiptSignature, SignedReceipt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Type of the payload of a receipt that nobody signed.
const PAYLOAD_TYPE: &str = "application/vnd.quell.receipt.v1+protobuf";

/// The JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    receipt: Value,
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    #[serde(rename = "publicKey")]
    public_key: String,
    sig: String,
}

/// A receipt with the bytes that were signed and their signatures.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiptFile {
    /// The receipt in the payload.
    pub receipt: Receipt,
    /// The payload, its type, and the signatures; none of those when it is not signed.
    pub signed: SignedReceipt,
    /// What is wrong with the file's form; empty when nothing is.
    pub faults: Vec<String>,
}

impl ReceiptFile {
    /// What a service answered; `None` when the answer has no receipt.
    #[must_use]
    pub fn of_answer(answer: GetReceiptResponse) -> Option<Self> {
        let receipt = answer.receipt?;
        let mut faults = Vec::new();
        let signed = answer.signed.unwrap_or_else(|| SignedReceipt {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: receipt.encode_to_vec(),
            signatures: Vec::new(),
        });
        if Receipt::decode(signed.payload.as_slice()).as_ref() != Ok(&receipt) {
            faults.push("what the service shows is not what it signed".to_owned());
        }
        Some(Self {
            receipt,
            signed,
            faults,
        })
    }

    /// The text of the file.
    ///
    /// # Errors
    /// What serde says; there is no receipt that it is known to say it of.
    pub fn render(&self) -> Result<String, serde_json::Error> {
        render(&Document {
            receipt: receipt_json(&self.receipt),
            payload_type: self.signed.payload_type.clone(),
            payload: BASE64_STANDARD.encode(&self.signed.payload),
            signatures: self
                .signed
                .signatures
                .iter()
                .map(|signature| Signature {
                    keyid: signature.key_id.clone(),
                    public_key: BASE64_STANDARD.encode(&signature.public_key),
                    sig: BASE64_STANDARD.encode(&signature.signature),
                })
                .collect(),
        })
    }

    /// Reads a file. What can be read and is wrong is among the faults.
    ///
    /// # Errors
    /// Why it cannot be read at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_str(text).map_err(|error| format!("no receipt file: {error}"))?;
        let bytes = |name: &str, text: &str| {
            BASE64_STANDARD
                .decode(text)
                .map_err(|error| format!("{name} is not base64: {error}"))
        };
        let payload = bytes("payload", &document.payload)?;
        let receipt =
            Receipt::decode(payload.as_slice()).map_err(|error| format!("the payload is no receipt: {error}"))?;
        let mut signatures = Vec::new();
        for signature in &document.signatures {
            signatures.push(ReceiptSignature {
                key_id: signature.keyid.clone(),
                public_key: bytes("publicKey", &signature.public_key)?,
                signature: bytes("sig", &signature.sig)?,
            });
        }
        let mut faults = Vec::new();
        if document.payload_type != PAYLOAD_TYPE {
            faults.push(format!(
                "payloadType is {:?}, not {PAYLOAD_TYPE:?}",
                document.payload_type
            ));
        }
        differences("receipt", &document.receipt, &receipt_json(&receipt), &mut faults);
        if render(&document).ok().as_deref() != Some(text) {
            faults.push("the file is not written as `quell receipt --out` writes one".to_owned());
        }
        Ok(Self {
            receipt,
            signed: SignedReceipt {
                payload_type: document.payload_type,
                payload,
                signatures,
            },
            faults,
        })
    }
}

fn render(document: &Document) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// Where what the file shows to people is not what its payload says. A field that the file lacks is none: it may be older than the
/// field.
fn differences(path: &str, shown: &Value, said: &Value, faults: &mut Vec<String>) {
    match (shown, said) {
        (Value::Object(shown), Value::Object(said)) => {
            for (key, value) in shown {
                match said.get(key) {
                    Some(said) => differences(&format!("{path}.{key}"), value, said, faults),
                    None => faults.push(format!("{path}.{key} is not known to this version")),
                }
            }
        }
        (Value::Array(shown), Value::Array(said)) if shown.len() == said.len() => {
            for (at, (shown, said)) in shown.iter().zip(said).enumerate() {
                differences(&format!("{path}[{at}]"), shown, said, faults);
            }
        }
        _ if shown == said => {}
        _ => faults.push(format!("{path} shows {shown}, the payload says {said}")),
    }
}

#[cfg(test)]
mod tests;
