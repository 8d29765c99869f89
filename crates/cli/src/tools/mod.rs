//! The programs that Quell is run and tested against, found or fetched.
//!
//! A clean machine has Rust, perhaps Go, and nothing else; yet one command must do. So each program is looked for where a
//! person would put it, and fetched only when it is nowhere: the environment variable, PATH, our cache folder, the official
//! release, then a build from its Go module. Each attempt says in one line what came of it, since "not found" alone would
//! leave the reader to guess which of five ways to mend.
//!
//! An environment variable that names something unusable is an error, not one more attempt: who sets it means it.

mod fetch;
mod host;

pub use fetch::{Fetcher, GoBuild, ReleaseDownload};
pub use host::{Host, SystemHost};

use crate::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// A program and all ways to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Name of the program, on PATH and in the cache.
    pub name: &'static str,
    /// Environment variable that names the program file.
    pub env: &'static str,
    /// Version that is fetched, without "v". What is found is taken whatever its version.
    pub version: &'static str,
    /// Arguments with which the program only says its version, and exits with 0.
    pub probe: &'static [&'static str],
    /// Address of the official release archive (`.tar.gz`); `{os}` and `{arch}` are replaced.
    pub release_url: &'static str,
    /// What `{os}` is on Linux and macOS.
    pub release_os: [&'static str; 2],
    /// What `{arch}` is on x86-64 and arm64.
    pub release_arch: [&'static str; 2],
    /// Go module.
    pub go_module: &'static str,
    /// Version of the Go module, with "v".
    pub go_version: &'static str,
    /// Package of the program within the module, from its root.
    pub go_package: &'static str,
    /// Whether `go install` refuses the module because its go.mod has `replace` lines; it is then built from a copy.
    pub go_in_place: bool,
    /// What a build from source costs, for people.
    pub build_time: &'static str,
}

/// The Temporal CLI: dev server with Web UI, and the command line itself.
pub const TEMPORAL: Tool = Tool {
    name: "temporal",
    env: "QUELL_TEMPORAL",
    version: "1.5.1",
    probe: &["--version"],
    release_url: "https://github.com/temporalio/cli/releases/download/v1.5.1/temporal_cli_1.5.1_{os}_{arch}.tar.gz",
    release_os: ["linux", "darwin"],
    release_arch: ["amd64", "arm64"],
    go_module: "github.com/temporalio/cli",
    go_version: "v1.5.1",
    go_package: "cmd/temporal",
    go_in_place: false,
    build_time: "about a minute",
};

/// grpcurl: the tool by which a person without a client looks at the services.
pub const GRPCURL: Tool = Tool {
    name: "grpcurl",
    env: "QUELL_GRPCURL",
    version: "1.9.3",
    probe: &["--version"],
    release_url: "https://github.com/fullstorydev/grpcurl/releases/download/v1.9.3/grpcurl_1.9.3_{os}_{arch}.tar.gz",
    release_os: ["linux", "osx"],
    release_arch: ["x86_64", "arm64"],
    go_module: "github.com/fullstorydev/grpcurl",
    go_version: "v1.9.3",
    go_package: "cmd/grpcurl",
    go_in_place: false,
    build_time: "under a minute",
};

/// Jaeger 2: stores and shows traces. Its releases carry a number of their own (module v1.76.0 is Jaeger 2.13.0).
pub const JAEGER: Tool = Tool {
    name: "jaeger",
    env: "QUELL_JAEGER",
    version: "2.13.0",
    probe: &["version"],
    release_url: "https://github.com/jaegertracing/jaeger/releases/download/v1.76.0/jaeger-2.13.0-{os}-{arch}.tar.gz",
    release_os: ["linux", "darwin"],
    release_arch: ["amd64", "arm64"],
    go_module: "github.com/jaegertracing/jaeger",
    go_version: "v1.76.0",
    go_package: "cmd/jaeger",
    go_in_place: true,
    build_time: "about four minutes",
};

/// All of them.
pub const ALL: [&Tool; 3] = [&TEMPORAL, &GRPCURL, &JAEGER];

/// How far to go for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Environment variable, PATH, cache: nothing slow, no network.
    Local,
    /// Then download or build it.
    Fetch,
}

/// Where a program was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The program file.
    pub path: PathBuf,
    /// How it was come by, for people.
    pub how: String,
}

/// Looks for programs. All calls block; wrap them in `spawn_blocking` in async code.
pub struct Locator<'a> {
    host: &'a dyn Host,
    cache: PathBuf,
    fetchers: Vec<Box<dyn Fetcher + 'a>>,
}

impl<'a> Locator<'a> {
    /// With the two official ways of fetching, and the given cache folder.
    #[must_use]
    pub fn new(host: &'a dyn Host, cache: PathBuf) -> Self {
        let fetchers: Vec<Box<dyn Fetcher + 'a>> =
            vec![Box::new(ReleaseDownload::new(host)), Box::new(GoBuild::new(host))];
        Self::with_fetchers(host, cache, fetchers)
    }

    /// With other ways of fetching.
    #[must_use]
    pub fn with_fetchers(host: &'a dyn Host, cache: PathBuf, fetchers: Vec<Box<dyn Fetcher + 'a>>) -> Self {
        Self { host, cache, fetchers }
    }

    /// Finds a program, or fetches it.
    ///
    /// # Errors
    /// [`Error::Tool`] with every attempt; [`Error::Io`] when the cache folder cannot be used.
    pub fn find(&self, tool: &'static Tool, reach: Reach) -> Result<Found, Error> {
        let mut attempts = Attempts {
            tool,
            host: self.host,
            lines: Vec::new(),
        };
        if let Some(value) = self.host.var(tool.env).filter(|value| !value.is_empty()) {
            let path = PathBuf::from(value);
            return match self.host.probe(&path, tool.probe) {
                Ok(()) => Ok(Found {
                    path,
                    how: format!("named by {}", tool.env),
                }),
                Err(reason) => {
                    attempts.failed(format!(
                        "{} names {}, which cannot be used: {reason}",
                        tool.env,
                        path.display()
                    ));
                    Err(attempts.into_error())
                }
            };
        }
        attempts.noted(format!("{} is not set", tool.env));
        if let Some(path) = self.on_path(tool, &mut attempts) {
            return Ok(Found {
                path,
                how: "on PATH".to_owned(),
            });
        }
        if let Some(path) = self.in_cache(tool, &mut attempts) {
            return Ok(Found {
                path,
                how: "kept in our cache".to_owned(),
            });
        }
        if reach == Reach::Local {
            return Err(attempts.into_error());
        }
        attempts.show();
        self.fetch(tool, attempts)
    }

    fn on_path(&self, tool: &Tool, attempts: &mut Attempts<'_>) -> Option<PathBuf> {
        let path_var = self.host.var("PATH").unwrap_or_default();
        let mut seen_unusable = false;
        for folder in std::env::split_paths(&path_var) {
            let candidate = folder.join(tool.name);
            if !self.host.is_file(&candidate) {
                continue;
            }
            match self.host.probe(&candidate, tool.probe) {
                Ok(()) => return Some(candidate),
                Err(reason) => {
                    seen_unusable = true;
                    attempts.noted(format!(
                        "{} is on PATH but cannot be used: {reason}",
                        candidate.display()
                    ));
                }
            }
        }
        if !seen_unusable {
            attempts.noted("not on PATH".to_owned());
        }
        None
    }

    fn in_cache(&self, tool: &Tool, attempts: &mut Attempts<'_>) -> Option<PathBuf> {
        let cached = self.cache.join(tool.name);
        if !self.host.is_file(&cached) {
            attempts.noted(format!("not in our cache ({})", cached.display()));
            return None;
        }
        match self.host.probe(&cached, tool.probe) {
            Ok(()) => Some(cached),
            Err(reason) => {
                attempts.noted(format!(
                    "{} is kept in our cache but cannot be used: {reason}",
                    cached.display()
                ));
                None
            }
        }
    }

    /// Fetches into a folder beside the cache's files, and renames: whoever looks sees the whole program or none. The lock
    /// only spares a second process the work; a race without it would still end well.
    fn fetch(&self, tool: &'static Tool, mut attempts: Attempts<'_>) -> Result<Found, Error> {
        fs::create_dir_all(&self.cache).map_err(Error::io(format!("cannot make {}", self.cache.display())))?;
        let lock_path = self.cache.join(format!(".{}.lock", tool.name));
        let lock = fs::File::create(&lock_path).map_err(Error::io(format!("cannot open {}", lock_path.display())))?;
        if lock.try_lock().is_err() {
            self.host
                .say(&format!("{}: another process fetches it, waiting", tool.name));
            lock.lock()
                .map_err(Error::io(format!("cannot lock {}", lock_path.display())))?;
            if let Some(path) = self.in_cache(tool, &mut attempts) {
                return Ok(Found {
                    path,
                    how: "fetched by another process".to_owned(),
                });
            }
        }
        for fetcher in &self.fetchers {
            let staging = tempfile::Builder::new().prefix(".fetch-").tempdir_in(&self.cache);
            let staging = staging.map_err(Error::io(format!("cannot write to {}", self.cache.display())))?;
            let kept = fetcher
                .fetch(tool, staging.path())
                .and_then(|program| self.host.probe(&program, tool.probe).map(|()| program))
                .and_then(|program| keep(&program, &self.cache.join(tool.name)));
            match kept {
                Ok(path) => {
                    let how = format!("{}, now kept as {}", fetcher.describe(tool), path.display());
                    self.host.say(&format!("{}: {how}", tool.name));
                    return Ok(Found { path, how });
                }
                Err(reason) => attempts.failed(format!("{}: {reason}", fetcher.describe(tool))),
            }
        }
        Err(attempts.into_error())
    }
}

fn keep(program: &Path, target: &Path) -> Result<PathBuf, String> {
    fs::rename(program, target).map_err(|error| format!("cannot be kept as {}: {error}", target.display()))?;
    Ok(target.to_owned())
}

/// Our cache folder for programs: `quell/tools` in the user's cache folder (`~/.cache` unless XDG_CACHE_HOME says other).
///
/// # Errors
/// [`Error::Io`] when the user has no home folder.
pub fn cache_dir() -> Result<PathBuf, Error> {
    use etcetera::BaseStrategy as _;
    let base = etcetera::choose_base_strategy().map_err(|error| Error::Io {
        what: "no folder for the cache of programs".to_owned(),
        source: std::io::Error::other(error),
    })?;
    Ok(base.cache_dir().join("quell").join("tools"))
}

/// Finds a program on this machine, or fetches it: [`Locator`] with the system's environment, off the async threads.
///
/// # Errors
/// Those of [`Locator::find`].
pub async fn find(tool: &'static Tool, reach: Reach) -> Result<Found, Error> {
    let search = move || Locator::new(&SystemHost, cache_dir()?).find(tool, reach);
    tokio::task::spawn_blocking(search).await.map_err(|error| Error::Io {
        what: format!("the search for {} broke off", tool.name),
        source: std::io::Error::other(error),
    })?
}

/// What was tried so far. Local attempts are told only when they lead nowhere: a program that is simply there is no news.
struct Attempts<'a> {
    tool: &'static Tool,
    host: &'a dyn Host,
    lines: Vec<String>,
}

impl Attempts<'_> {
    fn noted(&mut self, line: String) {
        self.lines.push(line);
    }

    fn failed(&mut self, line: String) {
        self.host.say(&format!("{}: {line}", self.tool.name));
        self.lines.push(line);
    }

    fn show(&self) {
        for line in &self.lines {
            self.host.say(&format!("{}: {line}", self.tool.name));
        }
    }

    fn into_error(self) -> Error {
        Error::Tool {
            tool: self.tool.name,
            attempts: self.lines,
        }
    }
}

#[cfg(test)]
mod tests;
