//! A receipt with a journal, kept as a file: changed in any way, it does not hold.

use super::*;
use crate::receipt::{Check, Found, Recount, against_result, verify};
use quell_api::canceler::v1::{JournalChunk, OutcomeCounts, Verdict};
use quell_mesh::signing::{PublicKey, SigningKey};
use sha2::{Digest as _, Sha256};

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEILUH7ecxAaI30RZpozGf/WLLny4HTPtM4WBnqOJzJCc3\n-----END PRIVATE KEY-----";
const OTHER: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIM/pouqPv1CzntDiUctQF3Hn8c4vBcGcuDfVe/5LhK/X\n-----END PRIVATE KEY-----";

fn chunk_bytes(from: usize, to: usize) -> Vec<u8> {
    let line = |n: usize| {
        let result = if n.is_multiple_of(10) {
            r#"{"failed":{"reason":"no"}}"#
        } else {
            r#""stopped""#
        };
        format!(
            r#"{{"workflow_id":"w{n}","first_run_id":"f","run_id":"r","workflow_type":"T","root_workflow_id":"","parent_workflow_id":null,"result":{result}}}"#
        )
    };
    (from..to).map(line).collect::<Vec<_>>().join("\n").into_bytes()
}

fn chunk(key: &str, bytes: &[u8], outcomes: i64, failed: i64) -> JournalChunk {
    JournalChunk {
        key: key.into(),
        sha256: hex::encode(Sha256::digest(bytes)),
        outcomes,
        failed: Some(failed),
    }
}

/// Two chunks of the only pass: 90 stopped, 10 failed.
fn receipt() -> (Receipt, Vec<Vec<u8>>) {
    let bytes = vec![chunk_bytes(0, 60), chunk_bytes(60, 100)];
    let receipt = Receipt {
        cancellation_id: "c".into(),
        verdict: Verdict::Residue.into(),
        passes: 1,
        stopped: 90,
        failed: 10,
        outcomes: Some(OutcomeCounts {
            stopped: 90,
            failed: 10,
            ..Default::default()
        }),
        journal: vec![
            chunk("journal/c/p1-w0-a1-00000.jsonl", &bytes[0], 60, 6),
            chunk("journal/c/p1-w0-a1-00001.jsonl", &bytes[1], 40, 4),
        ],
        ..Default::default()
    };
    (receipt, bytes)
}

fn signed(receipt: &Receipt) -> ReceiptFile {
    let key = SigningKey::from_pem(KEY).unwrap();
    let payload = receipt.encode_to_vec();
    let signature = ReceiptSignature {
        key_id: key.public().key_id(),
        public_key: key.public().bytes().to_vec(),
        signature: key.sign(PAYLOAD_TYPE, &payload),
    };
    let answer = GetReceiptResponse {
        receipt: Some(receipt.clone()),
        signed: Some(SignedReceipt {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload,
            signatures: vec![signature],
        }),
    };
    ReceiptFile::of_answer(answer).unwrap()
}

fn recount(receipt: &Receipt, bytes: &[Vec<u8>]) -> Vec<Check> {
    let mut recount = Recount::default();
    for (chunk, bytes) in receipt.journal.iter().zip(bytes) {
        recount.chunk(receipt, chunk, Ok(bytes));
    }
    recount.finish(receipt)
}

fn mismatches(checks: &[Check]) -> Vec<&str> {
    let wrong = checks.iter().filter(|check| check.found == Found::Mismatch);
    wrong.map(|check| check.detail.as_str()).collect()
}

fn key() -> PublicKey {
    *SigningKey::from_pem(KEY).unwrap().public()
}

#[test]
fn a_true_receipt_holds() {
    let (receipt, bytes) = receipt();
    let file = signed(&receipt);
    let text = file.render().unwrap();
    let read = ReceiptFile::parse(&text).unwrap();
    assert_eq!(read, file);
    let checks = verify(&read, Some(&key()));
    assert_eq!(mismatches(&checks), Vec::<&str>::new());
    assert!(checks.iter().all(|check| check.found == Found::Holds), "{checks:?}");
    assert_eq!(mismatches(&recount(&receipt, &bytes)), Vec::<&str>::new());
    assert_eq!(against_result(&read, &file).found, Found::Holds);
}

/// Every byte of the file, whatever it stands for.
#[test]
fn a_byte_changed_anywhere_in_the_file_is_noticed() {
    let file = signed(&receipt().0);
    let text = file.render().unwrap();
    for at in 0..text.len() {
        for flip in [0x01, 0x20] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= flip;
            let Ok(changed) = String::from_utf8(bytes) else {
                continue;
            };
            let Ok(changed) = ReceiptFile::parse(&changed) else {
                continue;
            };
            let checks = verify(&changed, Some(&key()));
            assert!(
                !mismatches(&checks).is_empty(),
                "byte {at} ^ {flip:#x}: {:?}",
                &text[at..(at + 20).min(text.len())]
            );
        }
    }
}

#[test]
fn every_count_and_every_byte_of_the_journal_counts() {
    let (receipt, bytes) = receipt();
    type Change = fn(&mut Receipt);
    let changes: [(&str, Change); 9] = [
        ("stopped", |r| r.stopped += 1),
        ("failed", |r| r.failed -= 1),
        ("already closed", |r| r.already_closed += 1),
        ("outcomes.stopped", |r| r.outcomes.as_mut().unwrap().stopped -= 1),
        ("outcomes.skipped", |r| r.outcomes.as_mut().unwrap().skipped += 1),
        ("lacks", |r| r.journal_lacks = 1),
        ("chunk outcomes", |r| r.journal[0].outcomes += 1),
        ("chunk failed", |r| r.journal[1].failed = Some(3)),
        ("chunk twice", |r| r.journal[1] = r.journal[0].clone()),
    ];
    for (what, change) in changes {
        let mut changed = receipt.clone();
        change(&mut changed);
        assert!(!mismatches(&recount(&changed, &bytes)).is_empty(), "{what}");
    }
    for at in (0..bytes[0].len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[0][at] ^= 1;
        assert!(!mismatches(&recount(&receipt, &changed)).is_empty(), "byte {at}");
    }
    let mut gone = Recount::default();
    gone.chunk(&receipt, &receipt.journal[0], Err("is not in the payload store"));
    assert!(mismatches(&gone.finish(&receipt))[0].contains("is not in the payload store"));
}

#[test]
fn what_the_journal_lacks_may_be_of_any_kind_and_must_be_said() {
    let (mut receipt, bytes) = receipt();
    receipt.stopped += 5;
    receipt.outcomes.as_mut().unwrap().stopped += 5;
    assert!(!mismatches(&recount(&receipt, &bytes)).is_empty());
    receipt.journal_lacks = 5;
    assert_eq!(mismatches(&recount(&receipt, &bytes)), Vec::<&str>::new());
    receipt.journal_lacks = 6;
    assert!(!mismatches(&recount(&receipt, &bytes)).is_empty());
}

#[test]
fn another_key_or_none_is_told() {
    let (receipt, _) = receipt();
    let other = *SigningKey::from_pem(OTHER).unwrap().public();
    let checks = verify(&signed(&receipt), Some(&other));
    assert!(
        mismatches(&checks)[0].contains("none is by the given key"),
        "{checks:?}"
    );
    let unsigned = ReceiptFile::of_answer(GetReceiptResponse {
        receipt: Some(receipt),
        signed: None,
    })
    .unwrap();
    let read = ReceiptFile::parse(&unsigned.render().unwrap()).unwrap();
    assert_eq!(mismatches(&verify(&read, None)), Vec::<&str>::new());
    assert!(mismatches(&verify(&read, Some(&other)))[0].contains("not signed"));
}

#[test]
fn a_forged_receipt_is_not_the_workflows_result() {
    let (receipt, _) = receipt();
    let result = signed(&receipt);
    let forged = signed(&Receipt { stopped: 91, ..receipt });
    let check = against_result(&forged, &result);
    assert_eq!(check.found, Found::Mismatch);
    assert!(check.detail.contains("stopped"), "{}", check.detail);
}
