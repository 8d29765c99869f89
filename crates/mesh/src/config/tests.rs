use super::*;
use secrecy::ExposeSecret as _;
use std::path::PathBuf;
use std::time::Duration;

fn yaml(text: &str) -> Sources {
    Sources {
        file: Some((PathBuf::from("config.yaml"), text.to_owned())),
        ..Sources::default()
    }
}

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn env(pairs: &[(&str, &str)]) -> Sources {
    Sources {
        env: vars(pairs),
        ..Sources::default()
    }
}

fn problems(sources: &Sources) -> Vec<String> {
    load(sources, 1).map_or_else(
        |error| error.0.iter().map(ToString::to_string).collect(),
        |_| Vec::new(),
    )
}

#[test]
fn the_defaults_are_the_documents() {
    let settings = load(&Sources::default(), 50051).unwrap().settings;
    assert_eq!(settings.main.address, "http://127.0.0.1:7233");
    assert_eq!(
        (settings.main.namespace.as_str(), settings.main.task_queue.as_str()),
        ("main", "work-task-queue")
    );
    assert_eq!(settings.canceler.task_queue, "canceler-task-queue");
    assert_eq!(
        (settings.server.host.as_str(), settings.server.port),
        ("127.0.0.1", 50051)
    );
    assert_eq!(settings.workload_id, "1");
    assert_eq!(settings.cancel.concurrency, 750);
    assert_eq!(settings.cancel.confirm_timeout, Duration::from_secs(240));
    assert_eq!(settings.cancel.confirm_poll, Duration::from_secs(5));
    assert_eq!(settings.workflows.execution, Duration::from_secs(86_400));
    assert_eq!(settings.activities.maximum_attempts, 5);
    assert_eq!(settings.peers.batch_address, "http://127.0.0.1:50053");
    assert_eq!(settings.worker.drain_timeout, Duration::from_secs(30));
    assert_eq!(
        (settings.payload.url.as_str(), settings.payload.threshold_bytes),
        ("/tmp/payloads", 131_072)
    );
}

#[test]
fn the_documents_own_yaml_is_read() {
    let settings = load(
        &yaml(
            "temporal:\n  workflows:\n    execution_timeout_s: 60  # one minute\n    run_timeout_s: 30\n    task_timeout_s: 5\n  \
             activities:\n    start_to_close_timeout_s: 1.5\n    retry:\n      maximum_attempts: 2\n      backoff_coefficient: 3.0\n      \
             non_retryable_error_types: [BadInput, NotAllowed]\n",
        ),
        1,
    )
    .unwrap()
    .settings;
    assert_eq!(settings.workflows.execution, Duration::from_secs(60));
    assert_eq!(settings.activities.start_to_close, Duration::from_millis(1500));
    assert_eq!(settings.activities.maximum_attempts, 2);
    assert!((settings.activities.backoff_coefficient - 3.0).abs() < f64::EPSILON);
    assert_eq!(
        settings.activities.non_retryable_error_types,
        ["BadInput", "NotAllowed"]
    );
}

#[test]
fn a_later_source_wins() {
    let mut sources = yaml("workload_id: from-file\ncancel:\n  concurrency: 1\n  confirm_poll_s: 1\n");
    sources.dotenv = Some((
        PathBuf::from(".env"),
        vars(&[
            ("CANCEL_CONCURRENCY", "2"),
            ("CONFIRM_POLL_SECONDS", "2"),
            ("WORKLOAD_ID_VALUE", "dotenv"),
        ]),
    ));
    sources.env = vars(&[("CONFIRM_POLL_SECONDS", "3"), ("WORKLOAD_ID_VALUE", "env")]);
    sources.flags = vec![("workload_id".to_owned(), "flag".to_owned())];
    let config = load(&sources, 1).unwrap();
    assert_eq!(config.settings.cancel.concurrency, 2);
    assert_eq!(config.settings.cancel.confirm_poll, Duration::from_secs(3));
    assert_eq!(config.settings.workload_id, "flag");
    let source = |key: &str| config.origin(key).unwrap().source.clone();
    assert_eq!(source("cancel.concurrency"), ".env");
    assert_eq!(source("cancel.confirm_poll_s"), "environment");
    assert_eq!(source("workload_id"), "flags");
    assert_eq!(source("server.host"), "default");
}

#[test]
fn an_empty_variable_is_not_set() {
    let settings = load(&env(&[("WORKLOAD_ID_VALUE", ""), ("TEMPORAL_CANCELER_ADDRESS", "")]), 1)
        .unwrap()
        .settings;
    assert_eq!(settings.workload_id, "1");
    assert_eq!(settings.canceler.address, settings.main.address);
}

#[test]
fn every_mistake_is_named_at_once_with_source_key_and_value() {
    let mut sources =
        yaml("workload: 7\ncancel:\n  concurency: 3\n  confirm_timeout_s: soon\nserver:\n  port: [1, {a: b}]\n");
    sources.env = vars(&[
        ("TEMPORAL_MAIN_ADDRESS", "ftp://x"),
        ("CANCEL_CONCURRENCY", "0"),
        ("QUELL_PORT", "70000"),
    ]);
    sources.flags = vec![
        ("payload.url".to_owned(), "relative/folder".to_owned()),
        ("nonsense".to_owned(), "1".to_owned()),
    ];
    let found = problems(&sources);
    for expected in [
        "config.yaml: workload: unknown key; did you mean workload_id?",
        "config.yaml: cancel.concurency: unknown key; did you mean cancel.concurrency?",
        "config.yaml: cancel.confirm_timeout_s = \"soon\": must be seconds",
        "config.yaml: server.port: must be a list of plain values",
        "environment: TEMPORAL_MAIN_ADDRESS = \"ftp://x\": must be an address",
        "environment: CANCEL_CONCURRENCY = \"0\": must be a whole number",
        "environment: QUELL_PORT = \"70000\": must be a port",
        "flags: payload.url = \"relative/folder\": must be an absolute folder",
        "flags: nonsense: unknown key",
    ] {
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{expected:?} not in {found:#?}"
        );
    }
    assert_eq!(found.len(), 9);
}

#[test]
fn broken_yaml_says_where() {
    let found = problems(&yaml("server:\n  port: 1\n port: 2\n"));
    assert!(
        found.len() == 1 && found[0].starts_with("config.yaml: is not valid YAML"),
        "{found:?}"
    );
    assert!(problems(&yaml("- a\n- b\n"))[0].contains("must be a mapping"));
    assert!(problems(&yaml("workload_id: a\nworkload_id: b\n"))[0].contains("config.yaml"));
    assert_eq!(problems(&yaml("# only a comment\n\n")), Vec::<String>::new());
}

#[test]
fn the_canceler_defaults_to_main() {
    let settings = load(
        &env(&[
            ("TEMPORAL_MAIN_ADDRESS", "https://main:443"),
            ("TEMPORAL_API_KEY_MAIN", "k1"),
            ("TEMPORAL_MAIN_NAMESPACE", "ns"),
        ]),
        1,
    )
    .unwrap()
    .settings;
    assert_eq!(settings.canceler.address, "https://main:443");
    assert_eq!(settings.canceler.namespace, "ns");
    assert_eq!(settings.canceler.api_key.unwrap().expose_secret(), "k1");
}

#[test]
fn a_secret_is_never_sent_to_another_server() {
    let settings = load(
        &env(&[
            ("TEMPORAL_API_KEY_MAIN", "k1"),
            ("TEMPORAL_MAIN_TLS_CA_FILE", "/ca"),
            ("TEMPORAL_CANCELER_ADDRESS", "http://other:7233"),
        ]),
        1,
    )
    .unwrap()
    .settings;
    assert!(settings.canceler.api_key.is_none());
    assert_eq!(settings.canceler.tls, TlsSettings::default());
}

#[test]
fn addresses_may_lack_the_scheme() {
    let settings = load(&env(&[("TEMPORAL_MAIN_ADDRESS", "temporal:7233")]), 1)
        .unwrap()
        .settings;
    assert_eq!(settings.main.address, "http://temporal:7233");
}

#[test]
fn secrets_come_from_files_and_never_show() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "hunter2\n").unwrap();
    let path = file.display().to_string();
    for sources in [
        env(&[("TEMPORAL_API_KEY_MAIN_FILE", path.as_str())]),
        yaml(&format!("temporal:\n  main:\n    api_key_file: {path}\n")),
    ] {
        let config = load(&sources, 1).unwrap();
        assert_eq!(
            config.settings.main.api_key.as_ref().unwrap().expose_secret(),
            "hunter2"
        );
        let printed = print(&config);
        assert!(
            !printed.contains("hunter2") && printed.contains("temporal.main.api_key: ********"),
            "{printed}"
        );
        assert!(printed.contains(&path));
        assert!(!format!("{:?}", config.settings).contains("hunter2"));
    }
    let both = env(&[
        ("TEMPORAL_API_KEY_MAIN_FILE", path.as_str()),
        ("TEMPORAL_API_KEY_MAIN", "hunter3"),
    ]);
    let found = problems(&both);
    assert!(
        found[0].contains("both set") && !found[0].contains("hunter3"),
        "{found:?}"
    );
    let missing = problems(&env(&[("TEMPORAL_API_KEY_CANCELER_FILE", "/nowhere/key")]));
    assert!(
        missing[0]
            .starts_with("environment: TEMPORAL_API_KEY_CANCELER_FILE = \"/nowhere/key\": the file cannot be read"),
        "{missing:?}"
    );
    // A secret under a wrong name is not repeated.
    assert!(!problems(&yaml("temporal:\n  main:\n    apikey: hunter4\n"))[0].contains("hunter4"));
}

#[test]
fn printing_shows_what_is_effective() {
    let config = load(&env(&[("TEMPORAL_MAIN_NAMESPACE", "prod")]), 50052).unwrap();
    let printed = print(&config);
    assert!(
        printed.contains("temporal.main.namespace: prod  # environment"),
        "{printed}"
    );
    assert!(
        printed.contains("temporal.canceler.namespace: prod  # default: main's"),
        "{printed}"
    );
    assert!(
        printed.contains("server.port: 50052  # default of the service"),
        "{printed}"
    );
    assert!(printed.contains("telemetry.otlp_endpoint: ~  # not set"), "{printed}");
}

#[test]
fn namespaces_beside_main_are_reached_as_main_is() {
    let sources = env(&[
        ("TEMPORAL_MAIN_NAMESPACE", "prod"),
        ("TEMPORAL_MAIN_ADDRESS", "https://t:7233"),
        ("TEMPORAL_API_KEY_MAIN", "k"),
        ("TEMPORAL_MAIN_MORE_NAMESPACES", "a, prod, b,a"),
    ]);
    let beside = load(&sources, 1).unwrap().settings.beside_main;
    let names: Vec<_> = beside.iter().map(|one| one.namespace.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(
        beside
            .iter()
            .all(|one| one.address == "https://t:7233" && one.api_key.is_some())
    );
}

#[test]
fn half_a_client_certificate_is_a_mistake() {
    let found = problems(&env(&[("TEMPORAL_MAIN_TLS_CERT_FILE", "/cert")]));
    assert!(found[0].contains("must be given together"), "{found:?}");
}

#[test]
fn names_are_unique_and_every_default_is_valid() {
    let table = table();
    for get in [|s: &Setting| s.key, |s: &Setting| s.env] {
        let mut names: Vec<_> = table.iter().map(get).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table.len());
    }
    for setting in &table {
        assert!(!setting.doc.is_empty(), "{}", setting.key);
        assert_eq!((setting.check)(setting.default), Ok(()), "{}", setting.key);
    }
}

#[test]
fn docs_are_written_from_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    if std::env::var_os("QUELL_WRITE_DOCS").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == markdown(),
        "docs/configuration.md is stale: QUELL_WRITE_DOCS=1 cargo test -p quell-mesh docs"
    );
}

#[test]
fn the_collector_is_what_opentelemetrys_variables_say() {
    const GENERAL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
    const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t:4318/mine");
    const HTTP: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let collector = |pairs: &[(&str, &str)]| {
        let collector = load(&env(pairs), 1).unwrap().settings.telemetry.collector;
        collector.map(|collector| (collector.protocol, collector.endpoint))
    };
    let by = |protocol, endpoint: &str| Some((protocol, endpoint.to_owned()));
    assert_eq!(collector(&[HTTP]), None);
    assert_eq!(collector(&[GENERAL]), by(OtlpProtocol::Grpc, "http://c:4318"));
    assert_eq!(
        collector(&[GENERAL, HTTP]),
        by(OtlpProtocol::Http, "http://c:4318/v1/traces")
    );
    assert_eq!(
        collector(&[GENERAL, HTTP, TRACES]),
        by(OtlpProtocol::Http, "https://t:4318/mine")
    );
    let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc");
    assert_eq!(
        collector(&[GENERAL, HTTP, of_traces]),
        by(OtlpProtocol::Grpc, "http://c:4318")
    );
    assert_eq!(collector(&[GENERAL, ("OTEL_TRACES_EXPORTER", "none")]), None);
    let refused = problems(&env(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]));
    assert!(
        refused.len() == 1 && refused[0].contains("http/protobuf"),
        "{refused:?}"
    );
}
