//! The `quell` command against the shared mesh: what it prints last with `--json`, and its exit codes.

use crate::{
    cancel::grown,
    harness::{Mesh, Shared, mesh, unique},
    outside::{self, Ran, json},
    poll::{SOON, eventually, when},
};
use quell_cli::dev::Part;
use serde_json::Value;
use tokio::process::Command;

async fn quell(mesh: &Mesh, args: &[&str]) -> Ran {
    outside::run(&mut prepared(mesh, args)).await
}

/// `quell` with a mesh's addresses in its environment.
pub(crate) fn prepared(mesh: &Shared, args: &[&str]) -> Command {
    let mut command = Command::new(&mesh.quell);
    command
        .args(args)
        .env("QUELL_WORK_ADDRESS", mesh.address(Part::Work))
        .env("QUELL_CANCELER_ADDRESS", mesh.address(Part::Canceler))
        .env("QUELL_BATCH_ADDRESS", mesh.address(Part::Batch))
        .env("TEMPORAL_MAIN_ADDRESS", mesh.temporal_address())
        .env("TEMPORAL_MAIN_NAMESPACE", "main")
        .env("TEMPORAL_CANCELER_ADDRESS", mesh.temporal_address())
        .env("TEMPORAL_CANCELER_NAMESPACE", "canceler")
        .env("QUELL_PAYLOAD_URL", mesh.payloads())
        .current_dir(mesh.folder("command"));
    command
}

/// The last line of standard output: one JSON object.
pub(crate) fn last_line(ran: &Ran) -> Value {
    let line = ran
        .out
        .lines()
        .last()
        .unwrap_or_else(|| panic!("no output; {}", ran.err));
    let value = json(line);
    assert!(value.is_object(), "{line}");
    value
}

#[tokio::test]
async fn doctor_finds_a_healthy_mesh_healthy() {
    let mesh = mesh().await;
    let ran = quell(&mesh, &["doctor", "--json"]).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    last_line(&ran);
}

#[tokio::test]
async fn doctor_names_what_is_wrong() {
    let mesh = mesh().await;
    let nowhere = format!("http://127.0.0.1:{}", quell_cli::ports::free(1).unwrap()[0]);
    let mut command = Command::new(&mesh.quell);
    let command = command
        .args(["doctor", "--json"])
        .env("TEMPORAL_MAIN_ADDRESS", &nowhere)
        .env("QUELL_WORK_ADDRESS", &nowhere);
    let ran = outside::run(command.current_dir(mesh.folder("command"))).await;
    assert_ne!(ran.code, 0, "{}", ran.out);
    last_line(&ran);
}

#[tokio::test]
async fn a_snowball_is_started_listed_and_stopped() {
    let mesh = mesh().await;
    let id = unique("by-command");
    let ran = quell(
        &mesh,
        &[
            "snowball",
            "start",
            "--workload-id",
            &id,
            "--width",
            "6",
            "--depth",
            "2",
            "--json",
        ],
    )
    .await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let started = last_line(&ran);
    let snowball = started["snowball_id"]
        .as_str()
        .unwrap_or_else(|| panic!("no snowball_id in {started}"))
        .to_owned();
    grown(&mut mesh.snowballs(), &snowball, 43).await;

    eventually(SOON, "it is listed", async || {
        let ran = quell(&mesh, &["snowball", "list", "--json"]).await;
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        when(ran.out.contains(&snowball), || ran.out.clone())
    })
    .await;

    let ran = quell(
        &mesh,
        &["stop", "--workload-id", &id, "--reason", "by command", "--json"],
    )
    .await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let stopped = last_line(&ran);
    assert_eq!(stopped["verdict"], "CLEAN", "{stopped}");
    assert_eq!(mesh.running(&id).await, 0);
}
