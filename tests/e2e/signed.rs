//! Receipts that are signed, kept as files, and verified by the `quell` command: a true one holds; one that was changed, or whose journal
//! was, does not.

use crate::{
    cancel::{self, Canceler, check_clean, run_to_end, spec, workload},
    harness::{Mesh, Own, mesh, unique},
    outside::{self, Ran, json},
};
use quell_api::canceler::v1::{CancellationSpec, GetReceiptRequest, GetReceiptResponse, Receipt};
use quell_cli::dev::Part;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// As `openssl genpkey -algorithm ed25519` writes it, and `openssl pkey -pubout`; made for this test.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEILUH7ecxAaI30RZpozGf/WLLny4HTPtM4WBnqOJzJCc3\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAFqPw/irdgkJyUOFuk3cm38kZnFw8HBp0RdPVQKTUVZ4=\n-----END PUBLIC KEY-----\n";
const OTHER_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEADwM4N3FuW8EBZNOMlvjvF+dnd4BaomjfX/tzd2o7ubQ=\n-----END PUBLIC KEY-----\n";
const KEY_ID: &str = "e98d74a3521e6a5e1f227ffb4b42663d7a345dd245ae419c80672b582a031f20";

/// The exit code of a receipt that does not hold.
const MISMATCH: i32 = 5;

struct Signing {
    own: Own,
    client: Canceler,
    folder: PathBuf,
}

/// A canceler with a key.
async fn signing(mesh: &Mesh, id: &str) -> Signing {
    let folder = mesh.folder(id);
    std::fs::write(folder.join("key.pem"), KEY).unwrap();
    std::fs::write(folder.join("public.pem"), PUBLIC).unwrap();
    std::fs::write(folder.join("other.pem"), OTHER_PUBLIC).unwrap();
    let key = folder.join("key.pem").display().to_string();
    let queue = unique("canceler-queue");
    let settings = [
        ("QUELL_RECEIPT_SIGNING_KEY_FILE", key.as_str()),
        ("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str()),
    ];
    let own = mesh.own(Part::Canceler, id, &settings).await;
    let client = Canceler::new(own.channel());
    Signing { own, client, folder }
}

impl Signing {
    async fn quell(&self, mesh: &Mesh, args: &[&str]) -> Ran {
        let mut command = Command::new(&mesh.quell);
        let command = command.args(args).env("QUELL_CANCELER_ADDRESS", &self.own.address);
        outside::run(command.current_dir(&self.folder)).await
    }

    /// `quell receipt verify ... --json`: exit code and what it found.
    async fn verify(&self, mesh: &Mesh, args: &[&str]) -> (i32, Value) {
        let ran = self
            .quell(mesh, &[&["receipt", "verify", "--json"], args].concat())
            .await;
        let line = ran
            .out
            .lines()
            .last()
            .unwrap_or_else(|| panic!("no output; {}", ran.err));
        (ran.code, json(line))
    }

    async fn answer(&mut self, id: &str) -> GetReceiptResponse {
        let request = GetReceiptRequest {
            cancellation_id: id.to_owned(),
        };
        self.client.get_receipt(request).await.unwrap().into_inner()
    }
}

fn change(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "{from:?} is not in {}", path.display());
    std::fs::write(path, changed).unwrap();
}

#[tokio::test]
async fn a_signed_receipt_is_kept_verified_and_every_change_of_it_noticed() {
    let mesh = mesh().await;
    let id = unique("signed");
    let mut signing = signing(&mesh, &id).await;
    mesh.start_many("Sleeper", &id, 60).await;
    mesh.indexed(&id, 60).await;
    let ended = run_to_end(&mut signing.client, spec(workload(&id))).await;
    check_clean(&ended);
    let cancellation = ended.receipt.cancellation_id.clone();

    // Made once: the same from every replica, with a key or without one.
    let answer = signing.answer(&cancellation).await;
    let signed = answer.signed.clone().expect("it is signed");
    assert_eq!(signed.signatures[0].key_id, KEY_ID);
    assert_eq!(
        <Receipt as prost::Message>::decode(signed.payload.as_slice()).ok(),
        answer.receipt
    );
    assert_eq!(signing.answer(&cancellation).await, answer);
    let elsewhere = mesh
        .own(
            Part::Canceler,
            &format!("{id}-keyless"),
            &[("TEMPORAL_CANCELER_TASK_QUEUE", unique("queue").as_str())],
        )
        .await;
    // Its worker replays nothing: the result is read from history.
    let request = GetReceiptRequest {
        cancellation_id: cancellation.clone(),
    };
    let other = Canceler::new(elsewhere.channel())
        .get_receipt(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(other, answer);

    let ran = signing
        .quell(&mesh, &["receipt", &cancellation, "--out", "receipt.json"])
        .await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains(KEY_ID), "{}", ran.out);
    for args in [
        &["receipt.json", "--public-key", "public.pem"][..],
        &["receipt.json"],
        &["receipt.json", "--offline", "--public-key", "public.pem"],
        &[cancellation.as_str(), "--public-key", "public.pem"],
    ] {
        let (code, found) = signing.verify(&mesh, args).await;
        assert_eq!((code, &found["verified"]), (0, &Value::Bool(true)), "{args:?}: {found}");
    }
    let (code, found) = signing
        .verify(&mesh, &["receipt.json", "--public-key", "other.pem"])
        .await;
    assert_eq!(code, MISMATCH, "{found}");

    // The file.
    let file = signing.folder.join("receipt.json");
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to) in [
        ("\"stopped\": 60", "\"stopped\": 61"),
        ("\"verdict\": \"CLEAN\"", "\"verdict\": \"BLOCKED\""),
        ("\"payload\": \"", "\"payload\": \"AA"),
        ("\"sig\": \"", "\"sig\": \"AAAA"),
        (KEY_ID, &KEY_ID.replacen(&KEY_ID[..1], "f", 1)),
        ("\n", "\n\n"),
    ] {
        std::fs::write(&file, &text).unwrap();
        change(&file, from, to);
        let (code, found) = signing.verify(&mesh, &["receipt.json", "--offline"]).await;
        assert_eq!(code, MISMATCH, "{from} -> {to}: {found}");
    }
    std::fs::write(&file, &text).unwrap();

    // The journal.
    let key = &ended.receipt.journal[0].key;
    let chunk = mesh.payloads().join(key);
    let lines = std::fs::read_to_string(&chunk).unwrap();
    change(&chunk, "stopped", "skipped");
    for receipt in ["receipt.json", cancellation.as_str()] {
        let (code, found) = signing.verify(&mesh, &[receipt]).await;
        assert_eq!(code, MISMATCH, "{found}");
        assert!(found["mismatches"].to_string().contains(key.as_str()), "{found}");
    }
    std::fs::remove_file(&chunk).unwrap();
    let (code, found) = signing.verify(&mesh, &["receipt.json"]).await;
    assert_eq!(code, MISMATCH, "{found}");
    std::fs::write(&chunk, lines).unwrap();
    assert_eq!(signing.verify(&mesh, &["receipt.json"]).await.0, 0);
}

/// A receipt of another cancellation under this one's id: well-formed, unsigned, and not what the workflow says.
#[tokio::test]
async fn an_unsigned_receipt_is_held_against_the_workflows_own_result() {
    let mesh = mesh().await;
    let id = unique("unsigned");
    let mut client = mesh.cancellations();
    mesh.start_many("Sleeper", &id, 20).await;
    mesh.indexed(&id, 20).await;
    let ended = run_to_end(
        &mut client,
        CancellationSpec {
            quiesce: Some(false),
            ..spec(workload(&id))
        },
    )
    .await;
    check_clean(&ended);
    let cancellation = &ended.receipt.cancellation_id;
    cancel::check_journal(&ended.receipt, &mesh.payloads());
    assert_eq!(
        (ended.receipt.outcomes.unwrap().stopped, ended.receipt.journal_lacks),
        (20, 0)
    );

    let folder = mesh.folder(&id);
    let address = mesh.address(Part::Canceler);
    let quell = async |args: &[&str]| {
        let mut command = Command::new(&mesh.quell);
        outside::run(
            command
                .args(args)
                .env("QUELL_CANCELER_ADDRESS", &address)
                .current_dir(&folder),
        )
        .await
    };
    quell(&["receipt", cancellation, "--out", "receipt.json"]).await.ok();
    let verified = quell(&["receipt", "verify", "receipt.json"]).await.ok();
    let told =
        "NOT SIGNED, so by itself it proves nothing; proven: form, result, journal, recount; not proven: signature";
    assert!(verified.contains(told), "{verified}");

    let mut forged = ended.receipt.clone();
    forged.requested_by = "somebody else".to_owned();
    let answer = GetReceiptResponse {
        receipt: Some(forged),
        signed: None,
    };
    let text = quell_cli::receipt::ReceiptFile::of_answer(answer)
        .unwrap()
        .render()
        .unwrap();
    std::fs::write(folder.join("forged.json"), text).unwrap();
    let ran = quell(&["receipt", "verify", "forged.json"]).await;
    assert_eq!(ran.code, MISMATCH, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("differs in requested_by"), "{}", ran.out);
}
