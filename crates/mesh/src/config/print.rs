//! The configuration for people: `--print-config` and docs/configuration.md.

use std::fmt::Write as _;

use super::{Config, Setting, table};

/// What stands where a secret would.
pub(crate) const MASK: &str = "********";

/// The effective configuration as YAML-like lines, each with where its value came from. Secrets are masked.
#[must_use]
pub fn print(config: &Config) -> String {
    let mut out = String::new();
    for setting in table() {
        let Some(origin) = config.origins.get(setting.key) else {
            continue;
        };
        let (value, source) = shown(config, &setting, &origin.text, &origin.source);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}: {value}  # {source}", setting.key);
    }
    out
}

fn shown(config: &Config, setting: &Setting, text: &str, source: &str) -> (String, String) {
    if !text.is_empty() {
        let value = if setting.secret {
            MASK.to_owned()
        } else {
            text.to_owned()
        };
        return (value, source.to_owned());
    }
    let settings = &config.settings;
    let inherited = "default: main's".to_owned();
    match setting.key {
        "server.port" => (settings.server.port.to_string(), "default of the service".to_owned()),
        "temporal.canceler.address" => (settings.canceler.address.clone(), inherited),
        "temporal.canceler.namespace" => (settings.canceler.namespace.clone(), inherited),
        "temporal.canceler.api_key" if settings.canceler.api_key.is_some() => (MASK.to_owned(), inherited),
        "temporal.canceler.tls_ca_file" => optional(settings.canceler.tls.ca_file.as_deref(), inherited),
        "temporal.canceler.tls_cert_file" => optional(settings.canceler.tls.cert_file.as_deref(), inherited),
        "temporal.canceler.tls_key_file" => optional(settings.canceler.tls.key_file.as_deref(), inherited),
        "temporal.canceler.tls_domain" => optional(settings.canceler.tls.domain.as_deref(), inherited),
        _ => ("~".to_owned(), "not set".to_owned()),
    }
}

fn optional(value: Option<&str>, source: String) -> (String, String) {
    value.map_or_else(
        || ("~".to_owned(), "not set".to_owned()),
        |value| (value.to_owned(), source),
    )
}

/// docs/configuration.md: a test writes it from the table and fails when the file is stale.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         <!-- Written from the table in crates/mesh/src/config/table.rs: QUELL_WRITE_DOCS=1 cargo test -p quell-mesh docs -->\n\n\
         Every service reads the same settings. A later source wins over an earlier one:\n\n\
         1. the defaults below,\n\
         2. `config.yaml` in the working folder, or the file that `--config` or `QUELL_CONFIG` names,\n\
         3. `.env` in the working folder,\n\
         4. the environment,\n\
         5. flags: `--set key=value`, as often as needed.\n\n\
         Unknown keys and bad values are reported all at once, each with its source, key and value, and the process ends with exit\n\
         code 64 before it does anything else. `--print-config` shows the effective configuration and where each value came\n\
         from, with secrets masked. An empty variable counts as not set.\n\n\
         A secret may stand in a file: `<VARIABLE>_FILE`, or `<key>_file` in `config.yaml`, names it. Keys are dotted paths:\n\
         `temporal.workflows.run_timeout_s` is\n\n\
         ```yaml\ntemporal:\n  workflows:\n    run_timeout_s: 7200\n```\n\n",
    );
    let mut group = "";
    for setting in table() {
        let this = setting.key.rsplit_once('.').map_or("general", |(group, _)| group);
        if this != group {
            group = this;
            let _ = writeln!(
                out,
                "## {group}\n\n| key | variable | type | default | meaning |\n| --- | --- | --- | --- | --- |"
            );
        }
        let default = if setting.default.is_empty() {
            "-".to_owned()
        } else {
            format!("`{}`", setting.default)
        };
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {} | {default} | {} |",
            setting.key, setting.env, setting.kind, setting.doc
        );
        let last_of_group = table()
            .iter()
            .rfind(|s| s.key.rsplit_once('.').map_or("general", |(g, _)| g) == this)
            .map(|s| s.key);
        if last_of_group == Some(setting.key) {
            out.push('\n');
        }
    }
    out.push_str(EXTRA);
    out
}

const EXTRA: &str = "## Flags\n\n\
| flag | does |\n| --- | --- |\n\
| `serve` | serves and works until a signal; also without being said |\n\
| `--config FILE` | reads this file instead of `./config.yaml` |\n\
| `--set KEY=VALUE` | sets one key; may be repeated |\n\
| `--queue NAME` | works on this task queue only; may be repeated. An unknown one is an error that lists the known |\n\
| `--print-config` | prints the effective configuration and exits |\n\
| `--health` | asks the running service of this configuration for its health and exits with 0 (SERVING) or 1 |\n\n\
Exit codes: 0 after a clean shutdown, 1 when the service could not start, 2 when a drain left work behind or a second signal\n\
cut it short, 64 for a bad configuration or bad flags.\n";
