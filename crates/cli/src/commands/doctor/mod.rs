//! `quell doctor`: what is wrong with a mesh, and what to do about it.
//!
//! It reads the same configuration as a service (defaults, `config.yaml`, `.env`, environment, `--set`), looks at the same
//! servers, and asks the three services. It changes nothing but one small object that it writes to the payload store. What
//! cannot be seen from here it says so instead of passing over it.

mod mesh;
mod temporal;

use crate::exit::{self, Failure};
use crate::ui::Ui;
use quell_mesh::config::{self, Sources};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Port of no service: only addresses of others are read here.
const NO_PORT: u16 = 0;

/// Arguments of `quell doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Configuration file, as the services read it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    /// Worth knowing; no fault.
    Note,
    Bad,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    level: Level,
    what: String,
    detail: String,
    /// What to do; only with a fault.
    todo: Option<String>,
}

impl Finding {
    fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            what: what.into(),
            detail: detail.into(),
            todo: None,
        }
    }

    fn note(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            level: Level::Note,
            what: what.into(),
            detail: detail.into(),
            todo: None,
        }
    }

    fn bad(what: impl Into<String>, detail: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            level: Level::Bad,
            what: what.into(),
            detail: detail.into(),
            todo: Some(todo.into()),
        }
    }

    fn level_name(&self) -> &'static str {
        match self.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Bad => "BAD",
        }
    }

    fn lines(&self) -> Vec<String> {
        let first = format!("{:4}  {:28} {}", self.level_name(), self.what, self.detail);
        let todo = self.todo.iter().map(|todo| format!("      {:28} -> {todo}", ""));
        std::iter::once(first).chain(todo).collect()
    }

    fn json(&self) -> Value {
        json!({ "level": self.level_name().to_lowercase(), "what": self.what, "detail": self.detail, "todo": self.todo })
    }
}

pub(super) async fn run(ui: Ui, args: DoctorArgs) -> Result<u8, Failure> {
    let findings = examine(args).await;
    for finding in &findings {
        for line in finding.lines() {
            ui.line(line);
        }
    }
    let bad = findings.iter().filter(|finding| finding.level == Level::Bad).count();
    ui.line(match bad {
        0 => "all is well".to_owned(),
        1 => "1 fault".to_owned(),
        more => format!("{more} faults"),
    });
    let findings: Vec<_> = findings.iter().map(Finding::json).collect();
    ui.result(&json!({ "ok": bad == 0, "faults": bad, "findings": findings }));
    Ok(if bad == 0 { exit::OK } else { exit::FAILED })
}

async fn examine(args: DoctorArgs) -> Vec<Finding> {
    let sources = Sources::of_process(args.config.as_deref(), args.set);
    let loaded = sources
        .map_err(config::ConfigError)
        .and_then(|sources| config::load(&sources, NO_PORT));
    let settings = match loaded {
        Ok(config) => config.settings,
        Err(error) => {
            let todo = "mend these; docs/configuration.md lists every setting";
            let faults = error
                .0
                .iter()
                .map(|problem| Finding::bad("configuration", problem.to_string(), todo));
            return faults.collect();
        }
    };
    let mut findings = vec![Finding::ok("configuration", "no mistakes")];
    let (payloads, codec) = mesh::payload_store(&settings).await;
    findings.extend(temporal::examine(&settings, codec).await);
    findings.extend(mesh::services(&settings).await);
    findings.extend(payloads);
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_to_do() {
        let lines = Finding::bad("search attribute", "is Text", "remove it").lines();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("BAD ") && lines[1].contains("-> remove it"),
            "{lines:?}"
        );
        assert_eq!(Finding::note("limits", "not visible").lines().len(), 1);
    }

    #[tokio::test]
    async fn a_wrong_setting_is_a_fault_and_nothing_else_is_tried() {
        let set = vec![("cancel.concurrency".to_owned(), "many".to_owned())];
        // The configuration of the machine may hold further mistakes; ours must be among them.
        let findings = examine(DoctorArgs { config: None, set }).await;
        assert!(findings.iter().all(|finding| finding.level == Level::Bad));
        assert!(
            findings
                .iter()
                .any(|finding| finding.detail.contains("cancel.concurrency")),
            "{findings:?}"
        );
    }
}
