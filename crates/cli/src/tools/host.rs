//! The machine as the search for programs sees it: a small trait, so that tests bring an environment of their own and no
//! test touches that of the process.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the search needs of a machine.
pub trait Host: Send + Sync {
    /// An environment variable.
    fn var(&self, name: &str) -> Option<OsString>;
    /// Whether there is a file.
    fn is_file(&self, path: &Path) -> bool;
    /// Runs a program that should only say its version. `Err` is the reason why it cannot be used.
    ///
    /// # Errors
    /// The reason, in one line.
    fn probe(&self, program: &Path, args: &[&str]) -> Result<(), String>;
    /// Runs a command to its end. `Err` is the end of what it said on standard error.
    ///
    /// # Errors
    /// The reason, in one line.
    fn run(&self, command: &mut Command) -> Result<Vec<u8>, String>;
    /// Tells people something, in one line.
    fn say(&self, line: &str);
}

/// The real one: the environment of this process, standard error for what is said.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemHost;

impl Host for SystemHost {
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn probe(&self, program: &Path, args: &[&str]) -> Result<(), String> {
        self.run(Command::new(program).args(args)).map(drop)
    }

    fn run(&self, command: &mut Command) -> Result<Vec<u8>, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => format!("there is no {program} here"),
                _ => format!("{program} cannot be run: {error}"),
            })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .unwrap_or("it said nothing");
        Err(format!("{} ({})", last, output.status))
    }

    fn say(&self, line: &str) {
        eprintln!("{line}");
    }
}
