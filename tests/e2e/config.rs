//! The configuration of a service as a process sees it: what is wrong is told all at once, with exit code 64, before anything
//! else happens; what is secret is never shown.

use crate::{
    harness::{Mesh, foreign_settings, mesh, unique},
    outside::{self, Ran},
    poll::{SOON, eventually, when},
};
use quell_cli::dev::Part;
use std::{collections::BTreeMap, path::Path};
use tokio::process::Command;

/// A secret that may appear nowhere.
const SECRET: &str = "planted-secret-5e7a";

async fn service(mesh: &Mesh, part: Part, dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Ran {
    outside::run(&mut command(mesh, part, dir, env, args)).await
}

fn command(mesh: &Mesh, part: Part, dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Command {
    let env: BTreeMap<String, String> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut command = Command::new(mesh.program(part));
    for name in foreign_settings(&env) {
        command.env_remove(name);
    }
    command.args(args).envs(env).current_dir(dir);
    command
}

#[tokio::test]
async fn every_mistake_is_named_at_once_with_exit_code_64() {
    let mesh = mesh().await;
    let dir = mesh.folder("config-mistakes");
    let yaml = "temporal:\n  main:\n    adress: http://127.0.0.1:7233\n  workflows:\n    run_timeout_s: soon\nno_such_section:\n  x: 1\n";
    std::fs::write(dir.join("config.yaml"), yaml).unwrap();
    let env = [
        ("QUELL_PORT", "99999999"),
        ("CANCEL_CONCURRENCY", "many"),
        ("OTEL_TRACES_SAMPLER_ARG", "7"),
        ("TEMPORAL_MAIN_ADDRESS", "not an address"),
        ("TEMPORAL_API_KEY_MAIN", SECRET),
    ];
    for part in Part::SERVICES {
        let ran = service(&mesh, part, &dir, &env, &[]).await;
        assert_eq!(ran.code, 64, "{part}: {}{}", ran.out, ran.err);
        let said = format!("{}{}", ran.out, ran.err);
        for named in [
            "QUELL_PORT",
            "99999999",
            "CANCEL_CONCURRENCY",
            "many",
            "OTEL_TRACES_SAMPLER_ARG",
            "TEMPORAL_MAIN_ADDRESS",
            "not an address",
            "config.yaml",
            "temporal.main.adress",
            "temporal.main.address",
            "temporal.workflows.run_timeout_s",
            "soon",
            "no_such_section.x",
        ] {
            assert!(said.contains(named), "{part} does not name {named}:\n{said}");
        }
        assert!(!said.contains(SECRET), "{part} shows a secret:\n{said}");
    }
}

/// A private key for another algorithm, as `openssl genpkey -algorithm x25519` writes it.
const OTHER_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIPD+6PM0tes0FBiDEVTjycn7uPRrkPKheQFyazJaHfBH\n-----END PRIVATE KEY-----";

#[tokio::test]
async fn a_signing_key_that_is_none_is_a_mistake_that_names_the_setting_and_not_the_key() {
    let mesh = mesh().await;
    let dir = mesh.folder("config-signing");
    let file = dir.join("key.pem");
    std::fs::write(&file, OTHER_KEY).unwrap();
    let path = file.display().to_string();
    let bad = [
        ("QUELL_RECEIPT_SIGNING_KEY_FILE", path.as_str(), "not one for Ed25519"),
        ("QUELL_RECEIPT_SIGNING_KEY", SECRET, "PEM"),
        ("QUELL_RECEIPT_SIGNING_KEY_FILE", "/nowhere/key.pem", "cannot be read"),
    ];
    for (name, value, why) in bad {
        let ran = service(&mesh, Part::Canceler, &dir, &[(name, value)], &[]).await;
        assert_eq!(ran.code, 64, "{}{}", ran.out, ran.err);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains(name) && said.contains(why), "{said}");
        assert!(
            !said.contains(SECRET) && !said.contains("MC4CAQAw"),
            "shows a secret:\n{said}"
        );
    }
}

#[tokio::test]
async fn the_effective_configuration_is_printed_without_secrets() {
    let mesh = mesh().await;
    let dir = mesh.folder("config-printed");
    let key_file = dir.join("canceler-key");
    std::fs::write(&key_file, format!("{SECRET}-of-file\n")).unwrap();
    std::fs::write(
        dir.join("config.yaml"),
        "cancel:\n  concurrency: 123\n  confirm_poll_s: 7\n",
    )
    .unwrap();
    std::fs::write(dir.join(".env"), "CONFIRM_POLL_SECONDS=8\nCONFIRM_TIMEOUT_SECONDS=99\n").unwrap();
    let key_path = key_file.display().to_string();
    let env = [
        ("TEMPORAL_API_KEY_MAIN", SECRET),
        ("TEMPORAL_API_KEY_CANCELER_FILE", key_path.as_str()),
        ("CONFIRM_TIMEOUT_SECONDS", "77"),
    ];
    for part in Part::SERVICES {
        let ran = service(&mesh, part, &dir, &env, &["--print-config"]).await;
        assert_eq!(ran.code, 0, "{part}: {}{}", ran.out, ran.err);
        assert!(
            !ran.out.contains(SECRET) && !ran.err.contains(SECRET),
            "{part} shows a secret:\n{}{}",
            ran.out,
            ran.err
        );
        // A later layer wins: file < .env < environment.
        let value = |key: &str| {
            let line = ran.out.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
            line.unwrap_or_else(|| panic!("{part} does not print {key}:\n{}", ran.out))
                .to_owned()
        };
        assert!(value("cancel.concurrency").starts_with("123 "), "{}", ran.out);
        assert!(value("cancel.confirm_poll_s").starts_with("8 "), "{}", ran.out);
        assert!(value("cancel.confirm_timeout_s").starts_with("77 "), "{}", ran.out);
        assert!(value("temporal.main.api_key").starts_with("****"), "{}", ran.out);
        assert!(value("temporal.canceler.api_key").starts_with("****"), "{}", ran.out);
    }
}

/// `quell-work serve --queue orders`: it works on that queue and on no other; and a queue that is none is a mistake that names those that are.
#[tokio::test]
async fn a_service_serves_the_queues_that_it_is_told() {
    let mesh = mesh().await;
    let namespace = unique("one-queue");
    mesh.create_namespace(&namespace).await;
    let dir = mesh.folder("config-queue");
    let (address, payloads) = (mesh.temporal_address(), mesh.payloads().display().to_string());
    let ledger = format!("sqlite://{}", dir.join("orders.db").display());
    let env = [
        ("TEMPORAL_MAIN_ADDRESS", address.as_str()),
        ("TEMPORAL_MAIN_NAMESPACE", &namespace),
        ("QUELL_PAYLOAD_URL", &payloads),
        ("QUELL_ORDERS_LEDGER_URL", &ledger),
        ("QUELL_PORT", "0"),
    ];
    let unknown = service(
        &mesh,
        Part::Work,
        &dir,
        &env,
        &["serve", "--queue", "order", "--queue", "orders"],
    )
    .await;
    assert_eq!(unknown.code, 1, "{}{}", unknown.out, unknown.err);
    let said = format!("{}{}", unknown.out, unknown.err);
    for named in [
        "no queue",
        "batch-processing-task-queue",
        "orders",
        "probe-task-queue",
        "work-task-queue",
    ] {
        assert!(said.contains(named), "{named} is not named:\n{said}");
    }

    let mut command = command(&mesh, Part::Work, &dir, &env, &["serve", "--queue", "orders"]);
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let _running = command
        .kill_on_drop(true)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let polled = async |queue: &str| {
        let ask = ["task-queue", "describe", "--task-queue", queue];
        mesh.temporal_in(&namespace, &ask).await.ok().contains("quell-work@")
    };
    eventually(SOON, "it polls the queue that it was told", async || {
        let log = || std::fs::read_to_string(dir.join("log")).unwrap();
        when(polled("orders").await, log)
    })
    .await;
    for other in ["batch-processing-task-queue", "work-task-queue"] {
        assert!(!polled(other).await, "{other}");
    }
}

#[tokio::test]
async fn a_secret_does_not_reach_the_log() {
    let mesh = mesh().await;
    // An API key turns TLS on, which the dev server does not speak: it cannot connect, and logs why.
    let own = mesh.own_unready(
        Part::Work,
        "secret",
        &[("TEMPORAL_API_KEY_MAIN", SECRET), ("QUELL_LOG", "debug")],
    );
    eventually(SOON, "it logs that it cannot connect", async || {
        let log = own.process.log_tail(1_000);
        when(
            log.to_lowercase().contains("temporal") && own.process.exit_status().is_none(),
            || log,
        )
    })
    .await;
    let log = std::fs::read_to_string(own.process.log_path()).unwrap();
    assert!(!log.contains(SECRET), "the log shows a secret:\n{log}");
}
