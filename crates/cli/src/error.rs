//! What can go wrong while a mesh is put together.
//!
//! One closed set for the whole library: a caller (the command, a test) shows the message and stops, so each message says
//! what was tried and, where it helps, the end of the log of the process that failed.

use std::path::PathBuf;

/// A failure of the library half of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could be neither found nor fetched.
    #[error("{tool} could not be had:\n{}", bullet_list(.attempts))]
    Tool {
        /// Name of the program.
        tool: &'static str,
        /// Every attempt with the reason of its failure, in order.
        attempts: Vec<String>,
    },
    /// The services' binaries could not be found or built.
    #[error("the services' binaries could not be had: {0}")]
    Binaries(String),
    /// No free port was found.
    #[error("no free TCP port on 127.0.0.1: {0}")]
    Ports(String),
    /// Ports that were asked for are taken.
    #[error("{0}; something else runs there (--free-ports takes other ports)")]
    TakenPorts(String),
    /// A child process could not be started.
    #[error("{name} could not be started: {source}")]
    Spawn {
        /// Name of the process.
        name: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A child process is needed but does not run.
    #[error("{0} is not running")]
    NotRunning(String),
    /// A child process did not become ready in time, or ended while it was waited for.
    #[error("{name} is not ready: {reason}\nend of {log}:\n{tail}", log = .log.display())]
    NotReady {
        /// Name of the process.
        name: String,
        /// What was seen last.
        reason: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of its log.
        tail: String,
    },
    /// A file or folder could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// An I/O error together with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

fn bullet_list(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("  - {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
