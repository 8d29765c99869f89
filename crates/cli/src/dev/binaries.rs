//! The services' binaries: given, built, or beside ours.
//!
//! Under cargo (`cargo run --bin quell -- demo`, `cargo test`) they are always built, with the profile that we were built
//! with: whatever lies in the target folder may be older than the sources, and a demo or a test of old binaries proves
//! nothing. Cargo makes a build of what is fresh a matter of a second.

use super::Part;
use crate::error::Error;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the services' binaries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceBinaries(BTreeMap<Part, PathBuf>);

impl ServiceBinaries {
    /// The binaries in a folder. Those that are missing are an error only when they are started.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self(
            Part::SERVICES
                .map(|service| (service, folder.join(service.name())))
                .into(),
        )
    }

    /// The binary of a service.
    ///
    /// # Errors
    /// [`Error::Binaries`] when there is no such file.
    pub fn of(&self, service: Part) -> Result<PathBuf, Error> {
        let path = self
            .0
            .get(&service)
            .ok_or_else(|| Error::Binaries(format!("{service} is no service")))?;
        if path.is_file() {
            return Ok(path.clone());
        }
        Err(Error::Binaries(format!(
            "{} does not exist; set QUELL_BIN_DIR to the folder of the services",
            path.display()
        )))
    }
}

/// What is known of the running program, as a value, so that the choice can be tested.
struct Surroundings {
    /// QUELL_BIN_DIR.
    bin_dir: Option<PathBuf>,
    /// CARGO: set by `cargo run` and `cargo test`.
    cargo: Option<PathBuf>,
    current_exe: PathBuf,
    /// The folder of our own Cargo.toml when we were compiled.
    manifest_dir: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Folder(PathBuf),
    Build {
        cargo: PathBuf,
        workspace: PathBuf,
        target_dir: PathBuf,
        profile: String,
    },
}

fn choose(surroundings: &Surroundings) -> Result<Choice, Error> {
    if let Some(folder) = &surroundings.bin_dir {
        return Ok(Choice::Folder(folder.clone()));
    }
    let no_parent = || Error::Binaries(format!("{} lies in no folder", surroundings.current_exe.display()));
    let beside = surroundings.current_exe.parent().ok_or_else(no_parent)?;
    // Test binaries lie one folder deeper than programs.
    let beside = if beside.file_name().is_some_and(|name| name == "deps") {
        beside.parent().ok_or_else(no_parent)?
    } else {
        beside
    };
    let workspace = surroundings.manifest_dir.parent().and_then(Path::parent);
    let profile = beside.file_name().map(|name| name.to_string_lossy().into_owned());
    if let (Some(cargo), Some(workspace), Some(target_dir), Some(profile)) =
        (&surroundings.cargo, workspace, beside.parent(), profile)
        && workspace.join("Cargo.toml").is_file()
    {
        // The profiles `dev` and `test` share the folder `debug`.
        let profile = if profile == "debug" { "dev".to_owned() } else { profile };
        let (cargo, workspace, target_dir) = (cargo.clone(), workspace.to_owned(), target_dir.to_owned());
        return Ok(Choice::Build {
            cargo,
            workspace,
            target_dir,
            profile,
        });
    }
    Ok(Choice::Folder(beside.to_owned()))
}

/// Finds the services' binaries, or builds them: QUELL_BIN_DIR, then a build when we run under cargo, then the folder of
/// the running program. Blocks while it builds; cargo's progress goes to standard error.
///
/// # Errors
/// [`Error::Binaries`].
pub fn find_binaries() -> Result<ServiceBinaries, Error> {
    let current_exe = std::env::current_exe().map_err(Error::io("the running program's path is unknown"))?;
    let path_var = |name| {
        std::env::var_os(name)
            .filter(|value: &OsString| !value.is_empty())
            .map(PathBuf::from)
    };
    let surroundings = Surroundings {
        bin_dir: path_var("QUELL_BIN_DIR"),
        cargo: path_var("CARGO"),
        current_exe,
        manifest_dir: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
    };
    match choose(&surroundings)? {
        Choice::Folder(folder) => Ok(ServiceBinaries::in_folder(&folder)),
        Choice::Build {
            cargo,
            workspace,
            target_dir,
            profile,
        } => build(&cargo, &workspace, &target_dir, &profile),
    }
}

/// Takes from a command's environment what cargo sets for the program that it runs: build scripts that watch it would be run again,
/// and whatever depends on them be built anew, for nothing.
pub fn forget_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_cargos_own) {
            command.env_remove(name);
        }
    }
}

fn is_cargos_own(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || ["CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR"].contains(&name)
}

fn build(cargo: &Path, workspace: &Path, target_dir: &Path, profile: &str) -> Result<ServiceBinaries, Error> {
    let mut command = Command::new(cargo);
    // No `--package`: the features of shared dependencies are then those of the build that we came from.
    command
        .arg("build")
        .args(["--message-format", "json-render-diagnostics", "--profile", profile]);
    command.args(Part::SERVICES.iter().flat_map(|service| ["--bin", service.name()]));
    command.arg("--target-dir").arg(target_dir).current_dir(workspace);
    forget_cargo(&mut command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Error::Binaries(format!("{} cannot be run: {error}", cargo.display())))?;
    if !output.status.success() {
        return Err(Error::Binaries(format!("cargo build failed ({})", output.status)));
    }
    let built = executables(&String::from_utf8_lossy(&output.stdout));
    let of = |service: Part| {
        let path = built.get(service.name()).cloned();
        path.map(|path| (service, path))
            .ok_or_else(|| Error::Binaries(format!("cargo built no {service}")))
    };
    Part::SERVICES
        .into_iter()
        .map(of)
        .collect::<Result<_, _>>()
        .map(ServiceBinaries)
}

/// The executables that cargo's messages name, by target name.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let named = messages.filter_map(|message| {
        let name = message.get("target")?.get("name")?.as_str()?.to_owned();
        Some((name, PathBuf::from(message.get("executable")?.as_str()?)))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(exe: &str) -> Surroundings {
        Surroundings {
            bin_dir: None,
            cargo: Some("/bin/cargo".into()),
            current_exe: exe.into(),
            manifest_dir: env!("CARGO_MANIFEST_DIR").into(),
        }
    }

    fn profile_for(exe: &str) -> (PathBuf, String) {
        match choose(&surroundings(exe)).unwrap() {
            Choice::Build {
                target_dir, profile, ..
            } => (target_dir, profile),
            Choice::Folder(folder) => panic!("{} is not built", folder.display()),
        }
    }

    #[test]
    fn under_cargo_they_are_built_with_our_profile() {
        assert_eq!(profile_for("/w/target/debug/quell"), ("/w/target".into(), "dev".into()));
        assert_eq!(
            profile_for("/w/target/release/quell"),
            ("/w/target".into(), "release".into())
        );
        assert_eq!(
            profile_for("/w/target/debug/deps/e2e-0123"),
            ("/w/target".into(), "dev".into())
        );
        assert_eq!(
            profile_for("/w/target/small/quell"),
            ("/w/target".into(), "small".into())
        );
    }

    #[test]
    fn a_named_folder_wins() {
        let named = Surroundings {
            bin_dir: Some("/bins".into()),
            ..surroundings("/w/target/debug/quell")
        };
        assert_eq!(choose(&named).unwrap(), Choice::Folder("/bins".into()));
    }

    #[test]
    fn without_cargo_they_lie_beside_us() {
        let installed = Surroundings {
            cargo: None,
            ..surroundings("/usr/local/bin/quell")
        };
        assert_eq!(choose(&installed).unwrap(), Choice::Folder("/usr/local/bin".into()));
    }

    #[test]
    fn without_the_sources_they_lie_beside_us() {
        let moved = Surroundings {
            manifest_dir: "/gone/crates/cli".into(),
            ..surroundings("/opt/quell/quell")
        };
        assert_eq!(choose(&moved).unwrap(), Choice::Folder("/opt/quell".into()));
    }

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"quell_work"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"quell-work"},"executable":"/t/debug/quell-work"}"#,
            "\n",
            "not json\n",
            r#"{"reason":"build-finished","success":true}"#
        );
        let found = executables(messages);
        assert_eq!(found.get("quell-work"), Some(&PathBuf::from("/t/debug/quell-work")));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_missing_binary_names_the_way_out() {
        let error = ServiceBinaries::in_folder(Path::new("/nowhere"))
            .of(Part::Work)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nowhere/quell-work") && error.contains("QUELL_BIN_DIR"),
            "{error}"
        );
    }
}
