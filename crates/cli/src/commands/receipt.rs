//! `quell receipt`: shows a receipt, keeps it as a file, verifies it.
//!
//! Verifying reads the journal through the canceler: whoever holds a receipt needs neither the payload store's address nor its
//! credentials. The canceler cannot deceive by that, since each chunk is held against the hash in the receipt, which is signed.

use super::missing;
use crate::clients::{Addresses, Channel, unary};
use crate::exit::{self, Failure};
use crate::receipt::{Check, Found, ReceiptFile, Recount, against_parts, against_result, verify};
use crate::ui::Ui;
use crate::view::{receipt_json, receipt_lines};
use quell_api::canceler::v1::cancellation_service_client::CancellationServiceClient;
use quell_api::canceler::v1::{GetReceiptRequest, JournalChunk, ReadJournalChunkRequest, Receipt};
use quell_mesh::signing::PublicKey;
use serde_json::json;
use std::path::{Path, PathBuf};
use tonic::Code;

/// Arguments of `quell receipt`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct ReceiptArgs {
    /// Id of the cancellation.
    #[arg(required = true)]
    cancellation_id: Option<String>,
    /// Writes the receipt to this file as well, with its signature.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<ReceiptCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum ReceiptCommand {
    /// Holds a receipt against its signature, the workflow's own result, and the journal. Exit code 5 when something does not match.
    Verify(VerifyArgs),
}

/// Arguments of `quell receipt verify`.
#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// A file that `quell receipt --out` wrote, or the id of a cancellation.
    #[arg(value_name = "FILE|ID")]
    receipt: String,
    /// The key that must have signed it: a PEM file, as `openssl pkey -pubout` writes it.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Asks no service: only the file's form and its signature.
    #[arg(long)]
    offline: bool,
}

/// Prints a receipt; the exit code is that of its verdict.
pub(super) async fn run(ui: Ui, addresses: &Addresses, args: ReceiptArgs) -> Result<u8, Failure> {
    if let Some(ReceiptCommand::Verify(args)) = args.command {
        return verify_one(ui, addresses, args).await;
    }
    let id = args
        .cancellation_id
        .ok_or_else(|| Failure::Usage("which cancellation?".to_owned()))?;
    let file = fetch(&mut addresses.cancellations().await?, id).await?;
    if let Some(path) = &args.out {
        let text = file.render().map_err(|error| Failure::Other(error.to_string()))?;
        std::fs::write(path, text).map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
    }
    for line in receipt_lines(&file.receipt) {
        ui.line(line);
    }
    if let Some(url) = addresses.trace_url(&file.receipt.trace_id) {
        ui.line(format!("see         {url}"));
    }
    for signature in &file.signed.signatures {
        ui.line(format!("signed      by key {}", signature.key_id));
    }
    ui.result(&receipt_json(&file.receipt));
    Ok(exit::of_verdict(file.receipt.verdict()))
}

pub(super) async fn fetch_receipt(addresses: &Addresses, cancellation_id: String) -> Result<Receipt, Failure> {
    Ok(fetch(&mut addresses.cancellations().await?, cancellation_id)
        .await?
        .receipt)
}

type Client = CancellationServiceClient<Channel>;

async fn fetch(client: &mut Client, cancellation_id: String) -> Result<ReceiptFile, Failure> {
    let request = GetReceiptRequest { cancellation_id };
    let answer = client.get_receipt(unary(request)).await?.into_inner();
    ReceiptFile::of_answer(answer).ok_or_else(|| missing("receipt"))
}

async fn verify_one(ui: Ui, addresses: &Addresses, args: VerifyArgs) -> Result<u8, Failure> {
    let trusted = args.public_key.as_deref().map(public_key).transpose()?;
    let path = Path::new(&args.receipt);
    let from_file = path.is_file();
    if args.offline && !from_file {
        return Err(Failure::Usage(format!(
            "{} is no file, and --offline asks no service",
            args.receipt
        )));
    }
    let (file, mut checks) = if from_file {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
        match ReceiptFile::parse(&text) {
            Ok(file) => {
                let checks = verify(&file, trusted.as_ref());
                (file, checks)
            }
            Err(why) => return Ok(tell(ui, "", &[Check::mismatch("form", why)])),
        }
    } else {
        let file = fetch(&mut addresses.cancellations().await?, args.receipt.clone()).await?;
        let checks = verify(&file, trusted.as_ref());
        (file, checks)
    };
    if args.offline {
        checks.push(Check::not_made("result", "--offline"));
        checks.push(Check::not_made("journal", "--offline"));
    } else {
        let mut client = addresses.cancellations().await?;
        if from_file {
            checks.push(result(&mut client, &file).await?);
        }
        if file.receipt.parts.is_empty() {
            checks.extend(journal(&mut client, &file.receipt).await?);
        } else {
            checks.extend(parts(&mut client, &file.receipt, trusted.as_ref()).await?);
        }
    }
    Ok(tell(ui, &file.receipt.cancellation_id, &checks))
}

fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    let wrong = |why: String| Failure::Usage(format!("--public-key {}: {why}", path.display()));
    let pem = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    PublicKey::from_pem(&pem).map_err(|error| wrong(error.to_string()))
}

async fn result(client: &mut Client, file: &ReceiptFile) -> Result<Check, Failure> {
    match fetch(client, file.receipt.cancellation_id.clone()).await {
        Ok(result) => Ok(against_result(file, &result)),
        Err(Failure::Rpc(status)) if status.code() == Code::NotFound => Ok(Check::mismatch(
            "result",
            "the canceler knows no cancellation of that id (any more)",
        )),
        Err(failure) => Err(failure),
    }
}

/// Each part of a joint receipt as it would be verified by itself, and the sums.
async fn parts(client: &mut Client, joint: &Receipt, trusted: Option<&PublicKey>) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    let mut receipts = Vec::new();
    for part in &joint.parts {
        let file = match fetch(client, part.cancellation_id.clone()).await {
            Ok(file) => file,
            // Then the joint one cannot be clean.
            Err(Failure::Rpc(status)) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => continue,
            Err(failure) => return Err(failure),
        };
        let own = verify(&file, trusted)
            .into_iter()
            .chain(journal(client, &file.receipt).await?);
        checks.extend(own.map(|check| check.of_part(&part.namespace)));
        receipts.push(file.receipt);
    }
    checks.push(against_parts(joint, &receipts));
    Ok(checks)
}

async fn journal(client: &mut Client, receipt: &Receipt) -> Result<Vec<Check>, Failure> {
    let mut recount = Recount::default();
    for chunk in &receipt.journal {
        match read(client, &receipt.cancellation_id, chunk).await {
            Ok(bytes) => recount.chunk(receipt, chunk, Ok(&bytes)),
            // Gone, or under a key that no chunk of this cancellation can have.
            Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {
                recount.chunk(receipt, chunk, Err("is not in the payload store"));
            }
            Err(status) => return Err(status.into()),
        }
    }
    Ok(recount.finish(receipt))
}

async fn read(client: &mut Client, cancellation_id: &str, chunk: &JournalChunk) -> Result<Vec<u8>, tonic::Status> {
    let request = ReadJournalChunkRequest {
        cancellation_id: cancellation_id.to_owned(),
        key: chunk.key.clone(),
    };
    let mut pieces = client.read_journal_chunk(unary(request)).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.message().await? {
        bytes.extend(piece.data);
    }
    Ok(bytes)
}

/// What all checks together come to.
struct Conclusion {
    /// Nothing contradicts the receipt.
    verified: bool,
    /// A signature of it holds.
    signed: bool,
    text: String,
}

fn conclude(checks: &[Check]) -> Conclusion {
    let names = |found: Found| {
        let mut names: Vec<&str> = Vec::new();
        for check in checks.iter().filter(|check| check.found == found) {
            if !names.contains(&check.what.as_str()) {
                names.push(&check.what);
            }
        }
        names.join(", ")
    };
    let verified = !checks.iter().any(|check| check.found == Found::Mismatch);
    let signed = checks.iter().any(Check::is_signature_that_holds);
    let text = match (verified, signed, names(Found::NotChecked)) {
        (false, ..) => "the receipt does NOT hold".to_owned(),
        (true, true, open) if open.is_empty() => "the receipt holds".to_owned(),
        (true, true, open) => format!("the receipt holds; not checked: {open}"),
        (true, false, open) => format!(
            "the receipt is NOT SIGNED, so by itself it proves nothing; proven: {}; not proven: {open}",
            names(Found::Holds)
        ),
    };
    Conclusion { verified, signed, text }
}

/// Prints what was checked; gives the exit code.
fn tell(ui: Ui, cancellation_id: &str, checks: &[Check]) -> u8 {
    for check in checks {
        let word = match check.found {
            Found::Holds => "ok",
            Found::Mismatch => "MISMATCH",
            Found::NotChecked => "not checked",
        };
        ui.line(format!("{word:11} {:9} {}", check.what, check.detail));
    }
    let Conclusion { verified, signed, text } = conclude(checks);
    ui.line(text);
    let of = |found: Found| {
        let these = checks.iter().filter(|check| check.found == found);
        these
            .map(|check| json!({ "check": check.what, "detail": check.detail }))
            .collect::<Vec<_>>()
    };
    ui.result(&json!({
        "cancellation_id": cancellation_id,
        "verified": verified,
        "signed": signed,
        "holds": of(Found::Holds),
        "mismatches": of(Found::Mismatch),
        "not_checked": of(Found::NotChecked),
    }));
    if verified { exit::OK } else { exit::MISMATCH }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::verify as checks_of;
    use quell_api::canceler::v1::GetReceiptResponse;

    #[test]
    fn what_is_not_signed_is_not_said_to_hold() {
        let answer = GetReceiptResponse {
            receipt: Some(Receipt::default()),
            signed: None,
        };
        let file = ReceiptFile::of_answer(answer).unwrap();
        let mut checks = checks_of(&file, None);
        checks.push(Check::not_made("result", "--offline"));
        checks.push(Check::not_made("journal", "--offline"));
        let Conclusion { verified, signed, text } = conclude(&checks);
        assert!(verified && !signed, "{checks:?}");
        assert_eq!(
            text,
            "the receipt is NOT SIGNED, so by itself it proves nothing; proven: form; not proven: signature, result, journal"
        );
        checks.push(Check::mismatch("journal", "changed"));
        let Conclusion { verified, text, .. } = conclude(&checks);
        assert_eq!((verified, text.as_str()), (false, "the receipt does NOT hold"));
    }
}
