//! The Helm chart against what the binaries really take. `.ci/run` renders it with helm; this reads its sources, so that it needs none.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value as Tree;

use super::{markdown, table};

fn chart(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/helm")
        .join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn values() -> Tree {
    serde_saphyr::from_str(&chart("quell/values.yaml")).unwrap()
}

/// Every variable that the templates set, with the placeholders in its name filled in.
fn variables() -> BTreeSet<String> {
    let text = chart("quell/templates/services.yaml") + &chart("quell/templates/_helpers.tpl");
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("- { name: ") else {
            continue;
        };
        let Some((name, _)) = rest.split_once(", value:") else {
            continue;
        };
        for (service, namespace) in [("WORK", "MAIN"), ("CANCELER", "CANCELER"), ("BATCH", "MAIN")] {
            let mut name = name.replace("{{ upper $peer }}", service);
            for placeholder in ["{{ .upper }}", "{{ $.upper }}"] {
                name = name.replace(placeholder, namespace);
            }
            // `env` in the values: whatever somebody sets.
            if !name.contains("$variable") {
                names.insert(name);
            }
        }
    }
    names
}

#[test]
fn every_variable_of_the_chart_is_a_setting() {
    let known: BTreeSet<String> = table()
        .iter()
        .flat_map(|setting| {
            let file = setting.secret.then(|| format!("{}_FILE", setting.env));
            [Some(setting.env.to_owned()), file].into_iter().flatten()
        })
        .collect();
    let set = variables();
    let unknown: Vec<_> = set.difference(&known).collect();
    assert!(unknown.is_empty(), "not known to the binaries: {unknown:?}");
    for needed in [
        "QUELL_HOST",
        "QUELL_PORT",
        "QUELL_METRICS_PORT",
        "QUELL_TLS_CLIENT_CRL_FILE",
        "QUELL_WORK_ADDRESS",
        "QUELL_BATCH_ADDRESS",
        "TEMPORAL_MAIN_ADDRESS",
        "TEMPORAL_CANCELER_TLS_CERT_FILE",
        "TEMPORAL_API_KEY_MAIN_FILE",
        "QUELL_TOKEN_FILE",
        "QUELL_PAYLOAD_KEYS_FILE",
        "QUELL_DRAIN_TIMEOUT_SECONDS",
    ] {
        assert!(set.contains(needed), "{needed} is not set: {set:?}");
    }
}

#[test]
fn ports_and_times_are_those_of_the_binaries() {
    let values = values();
    let default = |key: &str| table().into_iter().find(|setting| setting.key == key).unwrap().default;
    for service in ["work", "canceler", "batch"] {
        let port = values["services"][service]["port"].as_u64().unwrap();
        let address = default(&format!("peers.{service}_address"));
        assert!(
            address.ends_with(&format!(":{port}")),
            "{service}: {port}, not {address}"
        );
    }
    // The page of metrics: where the binaries offer it by themselves, the image says so, and whoever scrapes is told.
    let services = chart("quell/templates/services.yaml");
    let said = table()
        .into_iter()
        .find(|setting| setting.key == "server.metrics_port")
        .unwrap()
        .doc;
    for service in ["work", "canceler", "batch"] {
        let port = values["services"][service]["metricsPort"].as_u64().unwrap();
        assert!(
            said.contains(&format!("{port} {service}")),
            "{service}: {port}, not {said}"
        );
    }
    for needed in [
        "{ name: metrics, containerPort: {{ $service.metricsPort }} }",
        "{ name: metrics, port: {{ $service.metricsPort }}, targetPort: metrics, appProtocol: http }",
        "\"prometheus.io/port\" (toString $service.metricsPort)",
        "{ name: QUELL_METRICS_PORT, value: {{ $service.metricsPort | quote }} }",
    ] {
        assert!(services.contains(needed), "{needed}");
    }
    assert!(chart("quell/templates/networkpolicy.yaml").contains("port: metrics }"));
    let drain = values["drainTimeoutSeconds"].as_u64().unwrap().to_string();
    assert_eq!(drain, default("worker.drain_timeout_s"));
    // What the grace adds to the drain must be enough for all that comes after it.
    let seconds = |key: &str| default(key).parse::<f64>().unwrap();
    let after = seconds("worker.stop_timeout_s") + seconds("telemetry.flush_timeout_s") + 1.0;
    assert!(
        services.contains("add $root.Values.drainTimeoutSeconds 15") && after < 15.0,
        "{after}"
    );
}

#[test]
fn probes_ask_what_the_binaries_answer() {
    let services = chart("quell/templates/services.yaml");
    // The image's entry point is of that name, and the flag is documented.
    assert!(services.contains(r#"(list (printf "quell-%s" $name) "--health")"#));
    assert!(markdown().contains("| `--health` |"));
    let dockerfile = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/Dockerfile");
    let dockerfile = std::fs::read_to_string(dockerfile).unwrap();
    let values = values();
    for (service, it) in values["services"].as_object().unwrap() {
        assert!(
            dockerfile.contains(&format!(r#"ENTRYPOINT ["quell-{service}"]"#)),
            "{service}"
        );
        let ports = format!("EXPOSE {} {}\n", it["port"], it["metricsPort"]);
        assert!(dockerfile.contains(&ports), "{service}");
    }
    // Whoever the image runs as.
    assert!(dockerfile.contains("USER 10001:10001") && services.contains("runAsUser: 10001"));
    assert!(dockerfile.contains("QUELL_PAYLOAD_URL=/var/lib/quell/payloads"));
    assert_eq!(values["payload"]["url"], "/var/lib/quell/payloads");
}

#[test]
fn each_pod_gets_the_secrets_that_its_service_uses() {
    /// Every Rust source below a folder, in one text.
    fn sources(folder: &std::path::Path) -> String {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let text = |path: PathBuf| match path.is_dir() {
            true => sources(&path),
            false => std::fs::read_to_string(path).unwrap(),
        };
        entries.map(text).collect()
    }
    let helpers = chart("quell/templates/_helpers.tpl");
    // Where the code takes what the secret holds. The rest is taken by the mesh crate, for every service.
    let used = [
        ("temporal-canceler-key", "Home::Canceler"),
        ("temporal-canceler-tls", "Home::Canceler"),
        ("peer-token", ".peers"),
        ("receipt", "settings.receipt"),
        ("ledger", "settings.orders.ledger_url"),
    ];
    for service in ["work", "canceler", "batch"] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../services")
            .join(service)
            .join("src");
        let code = sources(&folder);
        for (secret, needle) in used {
            let line = helpers
                .lines()
                .find(|line| line.contains(&format!("\"at\" \"{secret}\"")));
            let (_, rest) = line.unwrap_or_else(|| panic!("{secret}")).split_once("(list ").unwrap();
            let (pods, _) = rest.split_once(')').unwrap();
            let given = pods.split(' ').any(|pod| pod.trim_matches('"') == service);
            assert_eq!(given, code.contains(needle), "{service}: {secret}");
        }
    }
}

#[test]
fn the_examples_set_only_what_there_is() {
    fn within(example: &Tree, whole: &Tree, at: &str) {
        let Some(entries) = example.as_object() else { return };
        for (key, value) in entries {
            let here = format!("{at}.{key}");
            // Free maps of variables.
            if key == "env" {
                continue;
            }
            let there = whole.get(key).unwrap_or_else(|| panic!("{here} is not in values.yaml"));
            within(value, there, &here);
        }
    }
    for example in ["trial", "locked", "cloud"] {
        let text = chart(&format!("values/{example}.yaml"));
        within(&serde_saphyr::from_str(&text).unwrap(), &values(), example);
    }
}
