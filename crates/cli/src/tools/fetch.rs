//! The two ways of fetching a program that is nowhere on this machine.

use super::{Host, Tool};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A way of fetching a program.
pub trait Fetcher {
    /// What it does for this tool, for people.
    fn describe(&self, tool: &Tool) -> String;
    /// Puts the program somewhere below `staging` and says where.
    ///
    /// # Errors
    /// The reason, in one line.
    fn fetch(&self, tool: &Tool, staging: &Path) -> Result<PathBuf, String>;
}

/// Downloads the official release with `curl` and unpacks it with `tar`.
pub struct ReleaseDownload<'a> {
    host: &'a dyn Host,
}

impl<'a> ReleaseDownload<'a> {
    /// Runs its commands on this host.
    #[must_use]
    pub fn new(host: &'a dyn Host) -> Self {
        Self { host }
    }
}

/// The address of a tool's release for this machine.
fn release_url(tool: &Tool, os: &str, arch: &str) -> Result<String, String> {
    let [linux, macos] = tool.release_os;
    let os = match os {
        "linux" => linux,
        "macos" => macos,
        other => return Err(format!("no release is known for {other}")),
    };
    let [x86_64, aarch64] = tool.release_arch;
    let arch = match arch {
        "x86_64" => x86_64,
        "aarch64" => aarch64,
        other => return Err(format!("no release is known for {other}")),
    };
    Ok(tool.release_url.replace("{os}", os).replace("{arch}", arch))
}

impl Fetcher for ReleaseDownload<'_> {
    fn describe(&self, tool: &Tool) -> String {
        let url = release_url(tool, std::env::consts::OS, std::env::consts::ARCH);
        format!(
            "download of the release {}",
            url.unwrap_or_else(|_| tool.version.to_owned())
        )
    }

    fn fetch(&self, tool: &Tool, staging: &Path) -> Result<PathBuf, String> {
        let url = release_url(tool, std::env::consts::OS, std::env::consts::ARCH)?;
        let archive = staging.join("release.tar.gz");
        let mut curl = Command::new("curl");
        curl.args(["--fail", "--location", "--silent", "--show-error", "--proto", "=https"]);
        // A machine without the network must not wait long; a slow one may, as long as something arrives.
        curl.args(["--connect-timeout", "5", "--speed-limit", "1000", "--speed-time", "20"]);
        curl.arg("--output").arg(&archive).arg(&url);
        self.host.run(&mut curl)?;
        let unpacked = staging.join("release");
        fs::create_dir(&unpacked).map_err(|error| format!("cannot make {}: {error}", unpacked.display()))?;
        self.host
            .run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&unpacked))?;
        find_file(&unpacked, tool.name, 3).ok_or_else(|| format!("the archive holds no file called {}", tool.name))
    }
}

/// The first file of this name, at most `depth` folders down.
fn find_file(folder: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let candidate = folder.join(name);
    if candidate.is_file() {
        return Some(candidate);
    }
    if depth == 0 {
        return None;
    }
    let entries = fs::read_dir(folder).ok()?;
    let folders = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    folders.into_iter().find_map(|inner| find_file(&inner, name, depth - 1))
}

/// Builds the program from its Go module.
pub struct GoBuild<'a> {
    host: &'a dyn Host,
}

impl<'a> GoBuild<'a> {
    /// Runs its commands on this host.
    #[must_use]
    pub fn new(host: &'a dyn Host) -> Self {
        Self { host }
    }

    /// `go` with the settings of every build here: static, and smaller by the symbols nobody reads.
    fn go(verb: &str) -> Command {
        let mut go = Command::new("go");
        go.args([verb, "-ldflags=-s -w"]).env("CGO_ENABLED", "0");
        go
    }

    fn install(&self, tool: &Tool, staging: &Path) -> Result<(), String> {
        let target = format!("{}/{}@{}", tool.go_module, tool.go_package, tool.go_version);
        self.host
            .run(Self::go("install").arg(target).env("GOBIN", staging))
            .map(drop)
    }

    fn build_in_place(&self, tool: &Tool, staging: &Path) -> Result<(), String> {
        let target = format!("{}@{}", tool.go_module, tool.go_version);
        // Outside any module, whatever folder we were started in.
        let mut download = Command::new("go");
        let answer = self.host.run(
            download
                .args(["mod", "download", "-json"])
                .arg(target)
                .current_dir(staging),
        )?;
        let source: PathBuf = serde_json::from_slice::<serde_json::Value>(&answer)
            .ok()
            .and_then(|answer| answer.get("Dir")?.as_str().map(PathBuf::from))
            .ok_or_else(|| "go mod download did not say where the module is".to_owned())?;
        // The module cache is read-only, and a build with replace lines wants a main module.
        let copy = staging.join("source");
        copy_tree(&source, &copy).map_err(|error| format!("cannot copy {}: {error}", source.display()))?;
        let mut build = Self::go("build");
        // Without the copy's path in it a second build finds the first one's objects in go's cache.
        build.arg("-trimpath");
        build
            .arg("-o")
            .arg(staging.join(tool.name))
            .arg(format!("./{}", tool.go_package))
            .current_dir(&copy);
        self.host.run(&mut build).map(drop)
    }
}

impl Fetcher for GoBuild<'_> {
    fn describe(&self, tool: &Tool) -> String {
        format!(
            "build of {}/{}@{} with go",
            tool.go_module, tool.go_package, tool.go_version
        )
    }

    fn fetch(&self, tool: &Tool, staging: &Path) -> Result<PathBuf, String> {
        self.host.run(Command::new("go").arg("version"))?;
        self.host.say(&format!(
            "{}: {} ({}, once)",
            tool.name,
            self.describe(tool),
            tool.build_time
        ));
        let built = if tool.go_in_place {
            self.build_in_place(tool, staging)
        } else {
            self.install(tool, staging)
        };
        built.map(|()| staging.join(tool.name))
    }
}

/// Copies files and folders; the copy can be written to. Links are followed: a Go module holds none.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name: OsString = entry.file_name();
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to.join(name))?;
        } else {
            // Read and write instead of `fs::copy`, which would copy the read-only mode as well.
            fs::write(to.join(name), fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::{GRPCURL, JAEGER, TEMPORAL};

    #[test]
    fn release_addresses_are_the_official_ones() {
        let of = |tool, os, arch| release_url(tool, os, arch).unwrap();
        assert_eq!(
            of(&TEMPORAL, "linux", "x86_64"),
            "https://github.com/temporalio/cli/releases/download/v1.5.1/temporal_cli_1.5.1_linux_amd64.tar.gz"
        );
        assert_eq!(
            of(&GRPCURL, "macos", "aarch64"),
            "https://github.com/fullstorydev/grpcurl/releases/download/v1.9.3/grpcurl_1.9.3_osx_arm64.tar.gz"
        );
        assert_eq!(
            of(&JAEGER, "linux", "aarch64"),
            "https://github.com/jaegertracing/jaeger/releases/download/v1.76.0/jaeger-2.13.0-linux-arm64.tar.gz"
        );
        assert!(release_url(&TEMPORAL, "plan9", "x86_64").is_err());
        assert!(release_url(&TEMPORAL, "linux", "s390x").is_err());
    }

    #[test]
    fn the_program_is_found_within_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("jaeger-2.13.0-linux-amd64");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("jaeger"), b"x").unwrap();
        assert_eq!(find_file(folder.path(), "jaeger", 3), Some(inner.join("jaeger")));
        assert_eq!(find_file(folder.path(), "temporal", 3), None);
    }
}
