//! What is written down of one call.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One call, as the audit keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Unique.
    pub id: String,
    /// When it arrived, by the clock of the service.
    pub at: Timestamp,
    /// Short name of the service, for instance `canceler`.
    pub service: String,
    /// As `quell.canceler.v1.CancellationService/StartCancellation`; what was sent, where that is no rpc.
    pub rpc: String,
    /// `Ok`, or the gRPC code that refused it.
    pub outcome: String,
    /// The stable reason of a refusal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub refusal: String,
    /// Who; empty where that never became known.
    pub principal: String,
    /// His role.
    pub role: String,
    /// How he was recognised: token, certificate or none.
    pub proof: String,
    /// Address and port that it came from.
    pub address: String,
    /// The caller's request id, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The reason that the caller gave, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whether it was a trial only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub validate_only: bool,
    /// Ids and limits, of the request and of the answer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub what: BTreeMap<String, String>,
    /// Trace of the call.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
    /// Refusals before this one that were not kept, because there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Default for Event {
    fn default() -> Self {
        Self {
            id: String::new(),
            at: Timestamp::UNIX_EPOCH,
            service: String::new(),
            rpc: String::new(),
            outcome: "Ok".to_owned(),
            refusal: String::new(),
            principal: String::new(),
            role: String::new(),
            proof: String::new(),
            address: String::new(),
            request_id: String::new(),
            reason: String::new(),
            validate_only: false,
            what: BTreeMap::new(),
            trace_id: String::new(),
            suppressed: 0,
        }
    }
}

impl Event {
    /// Writes it to the log.
    pub(super) fn log(&self) {
        let what = serde_json::to_string(&self.what).unwrap_or_default();
        tracing::info!(
            target: super::TARGET,
            id = self.id,
            rpc = self.rpc,
            outcome = self.outcome,
            refusal = self.refusal,
            principal = self.principal,
            role = self.role,
            proof = self.proof,
            from = self.address,
            request_id = self.request_id,
            why = self.reason,
            validate_only = self.validate_only,
            what,
            trace_id = self.trace_id,
            suppressed = self.suppressed,
            "audit"
        );
    }
}
