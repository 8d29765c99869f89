//! What a receipt says, held against everything that can be asked: its signature, the workflow's own result, and the journal, chunk by
//! chunk and outcome by outcome.

use super::file::ReceiptFile;
use quell_api::canceler::v1::{JournalChunk, OutcomeCounts, Receipt};
use quell_mesh::signing::PublicKey;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It holds.
    Holds,
    /// It does not.
    Mismatch,
    /// It was not made; that says nothing for or against the receipt.
    NotChecked,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// What came of it.
    pub found: Found,
    /// In a sentence.
    pub detail: String,
}

impl Check {
    fn new(what: &str, found: Found, detail: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            found,
            detail: detail.into(),
        }
    }

    pub(super) fn holds(what: &str, detail: impl Into<String>) -> Self {
        Self::new(what, Found::Holds, detail)
    }

    /// It, said of a part of a joint receipt.
    #[must_use]
    pub fn of_part(self, namespace: &str) -> Self {
        Self {
            detail: format!("in {namespace}: {}", self.detail),
            ..self
        }
    }

    /// One that failed.
    #[must_use]
    pub fn mismatch(what: &str, detail: impl Into<String>) -> Self {
        Self::new(what, Found::Mismatch, detail)
    }

    /// One that was not made.
    #[must_use]
    pub fn not_made(what: &str, why: impl Into<String>) -> Self {
        Self::new(what, Found::NotChecked, why)
    }

    /// Whether it is that of a signature, and holds.
    #[must_use]
    pub fn is_signature_that_holds(&self) -> bool {
        self.what == SIGNATURE && self.found == Found::Holds
    }
}

/// Name of the check of a signature.
const SIGNATURE: &str = "signature";

/// What a receipt can say for itself: its form, and its signatures. `trusted` is the key that must have signed it.
#[must_use]
pub fn verify(file: &ReceiptFile, trusted: Option<&PublicKey>) -> Vec<Check> {
    let mut checks = Vec::new();
    if file.faults.is_empty() {
        checks.push(Check::holds("form", "the receipt and its payload say the same"));
    }
    checks.extend(file.faults.iter().map(|fault| Check::mismatch("form", fault.as_str())));
    checks.extend(signatures(file, trusted));
    checks
}

fn signatures(file: &ReceiptFile, trusted: Option<&PublicKey>) -> Vec<Check> {
    const WHAT: &str = SIGNATURE;
    let signed = &file.signed;
    if signed.signatures.is_empty() {
        let text = "it is not signed: the canceler had no key";
        return vec![match trusted {
            Some(_) => Check::mismatch(WHAT, text),
            None => Check::not_made(WHAT, text),
        }];
    }
    let mut checks = Vec::new();
    let mut by_trusted = false;
    for signature in &signed.signatures {
        let key = PublicKey::from_bytes(&signature.public_key);
        let Some(key) = key.filter(|key| key.key_id() == signature.key_id) else {
            let text = format!("the public key is not that of key id {}", signature.key_id);
            checks.push(Check::mismatch(WHAT, text));
            continue;
        };
        if !key.verifies(&signed.payload_type, &signed.payload, &signature.signature) {
            let text = format!("key {} did not sign this", signature.key_id);
            checks.push(Check::mismatch(WHAT, text));
            continue;
        }
        by_trusted |= trusted == Some(&key);
        checks.push(Check::holds(WHAT, format!("by key {}", signature.key_id)));
    }
    match trusted {
        Some(key) if !by_trusted => {
            let text = format!("none is by the given key {}", key.key_id());
            checks.push(Check::mismatch("key", text));
        }
        Some(_) => checks.push(Check::holds("key", "the given one")),
        None => checks.push(Check::not_made(
            "key",
            "no --public-key was given: whose key it is, only you can know",
        )),
    }
    checks
}

/// The receipt against the workflow's own result.
#[must_use]
pub fn against_result(file: &ReceiptFile, result: &ReceiptFile) -> Check {
    const WHAT: &str = "result";
    if file.signed == result.signed && file.receipt == result.receipt {
        return Check::holds(WHAT, "it is the workflow's own result, byte for byte");
    }
    let fields = differing(&file.receipt, &result.receipt);
    if fields.is_empty() {
        return Check::mismatch(WHAT, "the signatures are not those in the workflow's own result");
    }
    Check::mismatch(
        WHAT,
        format!("the workflow's own result differs in {}", fields.join(", ")),
    )
}

fn differing(one: &Receipt, other: &Receipt) -> Vec<String> {
    match (crate::view::receipt_json(one), crate::view::receipt_json(other)) {
        (Value::Object(one), Value::Object(other)) => one
            .into_iter()
            .filter(|(key, value)| other.get(key) != Some(value))
            .map(|(key, _)| key)
            .collect(),
        _ => Vec::new(),
    }
}

/// Counts the journal, chunk by chunk.
#[derive(Debug, Default)]
pub struct Recount {
    counts: OutcomeCounts,
    failed_in_last_pass: i64,
    chunks: usize,
    keys: BTreeSet<String>,
    mismatches: Vec<Check>,
}

impl Recount {
    const WHAT: &'static str = "journal";

    /// Takes in a chunk of the receipt with its bytes as they were read, or why they could not be.
    pub fn chunk(&mut self, receipt: &Receipt, chunk: &JournalChunk, bytes: Result<&[u8], &str>) {
        self.chunks += 1;
        if !self.keys.insert(chunk.key.clone()) {
            return self.fault(chunk, "is named twice");
        }
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(why) => return self.fault(chunk, why),
        };
        let sha256 = hex::encode(Sha256::digest(bytes));
        if sha256 != chunk.sha256 {
            self.fault(
                chunk,
                &format!("its SHA-256 is {sha256}, the receipt says {}", chunk.sha256),
            );
        }
        let mut counted = OutcomeCounts::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if count(&mut counted, line).is_none() {
                self.fault(chunk, "has a line that is no outcome");
            }
        }
        let lines = total(&counted);
        if lines != chunk.outcomes {
            self.fault(
                chunk,
                &format!("has {lines} outcomes, the receipt says {}", chunk.outcomes),
            );
        }
        if let Some(failed) = chunk.failed.filter(|failed| *failed != counted.failed) {
            self.fault(
                chunk,
                &format!("has {} failures, the receipt says {failed}", counted.failed),
            );
        }
        if pass(&chunk.key) == Some(receipt.passes) {
            self.failed_in_last_pass += counted.failed;
        }
        add(&mut self.counts, &counted);
    }

    fn fault(&mut self, chunk: &JournalChunk, what: &str) {
        self.mismatches
            .push(Check::mismatch(Self::WHAT, format!("{}: {what}", chunk.key)));
    }

    /// Holds the sums against the receipt's.
    #[must_use]
    pub fn finish(self, receipt: &Receipt) -> Vec<Check> {
        let mut checks = self.mismatches;
        if checks.is_empty() {
            let text = format!("{} chunks, each with its hash and its outcomes", self.chunks);
            checks.push(Check::holds(Self::WHAT, text));
        }
        checks.extend(sums(&self.counts, self.failed_in_last_pass, receipt));
        checks
    }
}

fn sums(counted: &OutcomeCounts, failed_in_last_pass: i64, receipt: &Receipt) -> Vec<Check> {
    const WHAT: &str = "recount";
    let said = receipt.outcomes.unwrap_or_default();
    let lacks = receipt.journal_lacks;
    let mut checks = Vec::new();
    let mut equal = |what: &str, counted: i64, said: i64| {
        if counted != said {
            let text = format!("{what}: counted {counted}, the receipt says {said}");
            checks.push(Check::mismatch(WHAT, text));
        }
    };
    equal("stopped", said.stopped, receipt.stopped);
    equal(
        "already_closed",
        said.already_closed + said.not_found,
        receipt.already_closed,
    );
    equal("all outcomes", total(counted) + lacks, total(&said));
    let kinds = [
        ("stopped", counted.stopped, said.stopped),
        ("already closed", counted.already_closed, said.already_closed),
        ("not found", counted.not_found, said.not_found),
        ("failed", counted.failed, said.failed),
        ("out of scope", counted.out_of_scope, said.out_of_scope),
        ("skipped", counted.skipped, said.skipped),
        ("asked", counted.asked, said.asked),
        ("failed in the last pass", failed_in_last_pass, receipt.failed),
    ];
    for (what, counted, said) in kinds {
        // What the journal lacks may be of any kind.
        if counted > said || said > counted.saturating_add(lacks) {
            equal(what, counted, said);
        }
    }
    if checks.is_empty() {
        let but = if lacks > 0 {
            format!("; the journal lacks {lacks} outcomes, as the receipt says")
        } else {
            String::new()
        };
        let text = format!(
            "{} stopped, {} already closed or unknown, {} failed: the journal adds up to the receipt{but}",
            counted.stopped,
            counted.already_closed + counted.not_found,
            counted.failed
        );
        checks.push(Check::holds(WHAT, text));
    }
    checks
}

/// How one target ended, as a line of the journal says it.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    Stopped,
    AlreadyClosed,
    NotFound,
    Failed {
        #[serde(rename = "reason")]
        _reason: String,
    },
    OutOfScope,
    Skipped,
    Asked,
}

/// Counts a line; `None` when it is no outcome.
fn count(counts: &mut OutcomeCounts, line: &[u8]) -> Option<()> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "workflow_id")]
        _workflow_id: String,
        #[serde(rename = "run_id")]
        _run_id: String,
        result: Ended,
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    let count = match line.result {
        Ended::Stopped => &mut counts.stopped,
        Ended::AlreadyClosed => &mut counts.already_closed,
        Ended::NotFound => &mut counts.not_found,
        Ended::Failed { .. } => &mut counts.failed,
        Ended::OutOfScope => &mut counts.out_of_scope,
        Ended::Skipped => &mut counts.skipped,
        Ended::Asked => &mut counts.asked,
    };
    *count += 1;
    Some(())
}

fn add(sum: &mut OutcomeCounts, more: &OutcomeCounts) {
    sum.stopped += more.stopped;
    sum.already_closed += more.already_closed;
    sum.not_found += more.not_found;
    sum.failed += more.failed;
    sum.out_of_scope += more.out_of_scope;
    sum.skipped += more.skipped;
    sum.asked += more.asked;
}

fn total(counts: &OutcomeCounts) -> i64 {
    let OutcomeCounts {
        stopped,
        already_closed,
        not_found,
        failed,
        out_of_scope,
        skipped,
        asked,
    } = counts;
    stopped + already_closed + not_found + failed + out_of_scope + skipped + asked
}

/// The pass that a chunk's key names: `journal/<id>/p<pass>-...`.
fn pass(key: &str) -> Option<i32> {
    let name = key.rsplit('/').next()?;
    name.strip_prefix('p')?.split('-').next()?.parse().ok()
}
