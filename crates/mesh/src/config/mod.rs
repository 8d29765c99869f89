//! The central configuration: defaults < `config.yaml` < `.env` < environment < flags.
//!
//! Every setting is one line of the [`table`](table()); nothing else reads the environment. All mistakes are reported at
//! once, each with its source, its key and its value, and the process ends with [`EXIT_CONFIG`] before it does
//! anything: half-read configuration is worse than none. Unknown keys of `config.yaml` and of `--set` are mistakes, with
//! the nearest known key named. The environment is shared with other programs, so unknown variables are not.
//!
//! An empty variable counts as not set: compose files write `${NAME:-}`.

mod guard;
mod print;
mod resolve;
mod settings;
mod sources;
mod table;
mod value;

use std::collections::BTreeMap;
use std::fmt;

pub(crate) use guard::is_loopback;
pub use print::{markdown, print};
pub use settings::{
    ActivityTimeouts, CancelSettings, CollectorSettings, CredentialSettings, GuardSettings, NamespaceSettings,
    PayloadSettings, PeerSettings, ReceiptSettings, ServerSettings, ServerTlsSettings, Settings, TelemetrySettings,
    TlsSettings, TuningSettings, WorkerSettings, WorkflowTimeouts,
};
pub use sources::Sources;
pub use table::{Setting, table};
pub use value::{LogFormat, OtlpProtocol, TraceSampler};

/// Exit code of a process whose configuration is bad (`EX_USAGE` of sysexits).
pub const EXIT_CONFIG: u8 = 64;

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File name, `environment` or `flags`.
    pub source: String,
    /// Key or variable name; empty when the whole source is meant.
    pub key: String,
    /// The value found, masked when it is a secret.
    pub value: Option<String>,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(
        source: impl Into<String>,
        key: impl Into<String>,
        value: Option<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            source: source.into(),
            key: key.into(),
            value,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.key.is_empty() {
            write!(f, "{}", self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value:?}")?;
            }
            write!(f, ": ")?;
        }
        f.write_str(&self.message)
    }
}

/// All mistakes in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the configuration has {} mistake(s):", self.0.len())?;
        for problem in &self.0 {
            writeln!(f, "  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Where the winning value of a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `default`, a file name, `environment` or `flags`.
    pub source: String,
    /// The winning text; a secret's is here too, and only [`print()`] decides what to show.
    pub(crate) text: String,
}

/// Settings together with where each came from.
#[derive(Debug)]
pub struct Config {
    /// The settings.
    pub settings: Settings,
    /// Source of each setting, by key.
    pub(crate) origins: BTreeMap<&'static str, Origin>,
}

impl Config {
    /// Where the setting of this key came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }
}

/// Merges the layers, checks everything, and gives the settings or all mistakes.
pub fn load(sources: &Sources, default_port: u16) -> Result<Config, ConfigError> {
    let table = table();
    let mut layers = Layers {
        table: &table,
        problems: Vec::new(),
        origins: BTreeMap::new(),
    };
    for setting in &table {
        layers.origins.insert(
            setting.key,
            Origin {
                source: "default".to_owned(),
                text: setting.default.to_owned(),
            },
        );
    }
    if let Some((path, text)) = &sources.file {
        layers.yaml(&path.display().to_string(), text);
    }
    if let Some((path, vars)) = &sources.dotenv {
        layers.variables(&path.display().to_string(), vars);
    }
    layers.variables("environment", &sources.env);
    for (key, value) in &sources.flags {
        layers.keyed("flags", key, value);
    }
    let Layers {
        mut problems, origins, ..
    } = layers;
    if problems.is_empty() {
        match table::Flat::read(|key| origins.get(key).map_or_else(String::new, |origin| origin.text.clone())) {
            Ok(flat) => {
                let settings = Settings::from_flat(flat, default_port);
                problems.extend(cross_checks(&settings, &origins));
                if problems.is_empty() {
                    return Ok(Config { settings, origins });
                }
            }
            Err(message) => problems.push(Problem::new("configuration", "", None, message)),
        }
    }
    Err(ConfigError(problems))
}

/// What no single setting can be blamed for.
fn cross_checks(settings: &Settings, origins: &BTreeMap<&'static str, Origin>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if settings.server.shutdown_delay >= settings.worker.drain_timeout {
        let key = "server.shutdown_delay_s";
        let source = origins
            .get(key)
            .map_or("configuration", |origin| origin.source.as_str());
        let told = "must be shorter than worker.drain_timeout_s, of which it is a part".to_owned();
        problems.push(Problem::new(source, key, None, told));
    }
    problems.extend(guard::checks(settings, origins));
    for (name, namespace) in [("main", &settings.main), ("canceler", &settings.canceler)] {
        let key = format!("temporal.{name}.tls_cert_file");
        if namespace.tls.cert_file.is_some() != namespace.tls.key_file.is_some() {
            let source = origins
                .get(key.as_str())
                .map_or("configuration", |origin| origin.source.as_str());
            problems.push(Problem::new(
                source,
                key,
                None,
                "a client certificate and its key must be given together",
            ));
        }
    }
    problems
}

struct Layers<'a> {
    table: &'a [Setting],
    problems: Vec<Problem>,
    origins: BTreeMap<&'static str, Origin>,
}

impl Layers<'_> {
    fn yaml(&mut self, file: &str, text: &str) {
        match sources::flatten_yaml(text) {
            Err(message) => self.problems.push(Problem::new(file, "", None, message)),
            Ok(entries) => {
                for (key, value) in entries {
                    match value {
                        Ok(value) => self.keyed(file, &key, &value),
                        Err(message) => self.problems.push(Problem::new(file, key, None, message)),
                    }
                }
            }
        }
    }

    /// Takes a value under its dotted key.
    fn keyed(&mut self, source: &str, key: &str, value: &str) {
        if let Some(setting) = self.table.iter().find(|s| s.key == key) {
            self.take(source, key, setting, value.to_owned());
        } else if let Some(setting) = self
            .table
            .iter()
            .find(|s| s.secret && key.strip_suffix("_file") == Some(s.key))
        {
            self.take_file(source, key, setting, value);
        } else {
            let hint = nearest(key, self.table).map_or_else(String::new, |near| format!("; did you mean {near}?"));
            // The value of an unknown key may be a secret under a misspelt name: it is not repeated.
            self.problems
                .push(Problem::new(source, key, None, format!("unknown key{hint}")));
        }
    }

    /// Takes what a set of variables says.
    fn variables(&mut self, source: &str, vars: &BTreeMap<String, String>) {
        for setting in self.table {
            let value = vars.get(setting.env).filter(|v| !v.is_empty());
            let file_var = format!("{}_FILE", setting.env);
            let file = vars.get(&file_var).filter(|v| setting.secret && !v.is_empty());
            match (value, file) {
                (Some(_), Some(_)) => self.problems.push(Problem::new(
                    source,
                    setting.env,
                    None,
                    format!("{} and {file_var} are both set; one must go", setting.env),
                )),
                (Some(value), None) => self.take(source, setting.env, setting, value.clone()),
                (None, Some(path)) => self.take_file(source, &file_var, setting, path),
                (None, None) => {}
            }
        }
    }

    fn take(&mut self, source: &str, name: &str, setting: &Setting, text: String) {
        match (setting.check)(&text) {
            Ok(()) => {
                self.origins.insert(
                    setting.key,
                    Origin {
                        source: source.to_owned(),
                        text,
                    },
                );
            }
            Err(message) => {
                let shown = if setting.secret { print::MASK.to_owned() } else { text };
                self.problems.push(Problem::new(source, name, Some(shown), message));
            }
        }
    }

    fn take_file(&mut self, source: &str, name: &str, setting: &Setting, path: &str) {
        match std::fs::read_to_string(path) {
            // Editors and `echo` end a file with a newline that is no part of the secret.
            Ok(text) if !text.trim().is_empty() => {
                self.take(&format!("{source} ({path})"), name, setting, text.trim().to_owned());
            }
            Ok(_) => self
                .problems
                .push(Problem::new(source, name, Some(path.to_owned()), "the file is empty")),
            Err(error) => self.problems.push(Problem::new(
                source,
                name,
                Some(path.to_owned()),
                format!("the file cannot be read: {error}"),
            )),
        }
    }
}

/// The known key that is closest to a wrong one, if any is close.
fn nearest(key: &str, table: &[Setting]) -> Option<&'static str> {
    table
        .iter()
        .map(|setting| (distance(key, setting.key), setting.key))
        .filter(|(d, _)| *d <= 3)
        .min()
        .or_else(|| {
            // The right last word in the wrong place is the other usual mistake.
            let last = key.rsplit('.').next()?;
            table
                .iter()
                .find(|s| s.key.rsplit('.').next() == Some(last))
                .map(|s| (0, s.key))
        })
        .map(|(_, key)| key)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut previous = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, cb) in b.iter().enumerate() {
            let cost = previous + usize::from(ca != *cb);
            previous = row[j + 1];
            row[j + 1] = cost.min(previous + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod chart;
#[cfg(test)]
mod tests;
