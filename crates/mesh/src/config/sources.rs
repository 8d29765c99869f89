//! Where settings come from: `config.yaml`, `.env`, the environment, flags.
//!
//! [`Sources`] is plain data. A process fills it from its surroundings once ([`Sources::of_process`]); a test fills it
//! by hand and never touches the process environment, which is shared by all threads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Tree;

/// The raw texts of every layer, lowest first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `config.yaml`: its path and its text.
    pub file: Option<(PathBuf, String)>,
    /// `.env`: its path and its variables.
    pub dotenv: Option<(PathBuf, BTreeMap<String, String>)>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// `--set key=value`, in order.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// Reads this process's surroundings. The file is `config` (from `--config`), else `QUELL_CONFIG`, else
    /// `./config.yaml` when that exists; a file that was named and cannot be read is an error.
    pub fn of_process(config: Option<&Path>, flags: Vec<(String, String)>) -> Result<Self, Vec<super::Problem>> {
        // Names and values that are not UTF-8 cannot be ours.
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let mut problems = Vec::new();
        let named = config
            .map(Path::to_owned)
            .or_else(|| env.get("QUELL_CONFIG").filter(|p| !p.is_empty()).map(PathBuf::from));
        let path = named.or_else(|| Some(PathBuf::from("config.yaml")).filter(|p| p.exists()));
        let file = path.and_then(|path| match std::fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) => {
                problems.push(super::Problem::new(
                    path.display().to_string(),
                    "",
                    None,
                    format!("cannot be read: {error}"),
                ));
                None
            }
        });
        let dotenv_path = PathBuf::from(".env");
        let dotenv = if dotenv_path.is_file() {
            match read_dotenv(&dotenv_path) {
                Ok(vars) => Some((dotenv_path, vars)),
                Err(error) => {
                    problems.push(super::Problem::new(".env", "", None, error));
                    None
                }
            }
        } else {
            None
        };
        if problems.is_empty() {
            Ok(Self {
                file,
                dotenv,
                env,
                flags,
            })
        } else {
            Err(problems)
        }
    }
}

fn read_dotenv(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let items = dotenvy::from_path_iter(path).map_err(|error| format!("cannot be read: {error}"))?;
    // dotenvy's own message repeats the line, which may hold a secret.
    items.collect::<Result<_, _>>().map_err(|error| match error {
        dotenvy::Error::LineParse(_, position) => format!("a line is not NAME=value (at its character {position})"),
        other => format!("cannot be read: {other}"),
    })
}

/// A dotted key with its text, or with why its value cannot be a setting.
pub(crate) type Entry = (String, Result<String, String>);

/// The scalars of a YAML text by dotted key, as text; lists of scalars are joined by commas. Keys without a value
/// are left out: `api_key:` means the same as no line at all.
pub(crate) fn flatten_yaml(text: &str) -> Result<Vec<Entry>, String> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(Vec::new());
    }
    // The parser's message ends with an excerpt of the file; the first line says what and where.
    let tree: Tree = serde_saphyr::from_str(text).map_err(|error| {
        format!(
            "is not valid YAML: {}",
            error.to_string().lines().next().unwrap_or_default()
        )
    })?;
    let mut out = Vec::new();
    match tree {
        Tree::Object(_) => walk("", &tree, &mut out),
        Tree::Null => {}
        _ => return Err("must be a mapping of settings".to_owned()),
    }
    Ok(out)
}

fn walk(prefix: &str, tree: &Tree, out: &mut Vec<Entry>) {
    match tree {
        Tree::Object(map) => {
            for (key, value) in map {
                let path = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                walk(&path, value, out);
            }
        }
        Tree::Null => {}
        Tree::Array(items) => {
            let texts: Option<Vec<String>> = items.iter().map(scalar).collect();
            out.push((
                prefix.to_owned(),
                texts
                    .map(|t| t.join(","))
                    .ok_or_else(|| "must be a list of plain values".to_owned()),
            ));
        }
        Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => {
            out.push((
                prefix.to_owned(),
                scalar(tree).ok_or_else(|| "must be a plain value".to_owned()),
            ));
        }
    }
}

fn scalar(tree: &Tree) -> Option<String> {
    match tree {
        Tree::String(text) => Some(text.clone()),
        Tree::Bool(flag) => Some(flag.to_string()),
        Tree::Number(number) => Some(number.to_string()),
        Tree::Null | Tree::Array(_) | Tree::Object(_) => None,
    }
}
