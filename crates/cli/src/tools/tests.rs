//! The order of the search, with an environment and files of the tests' own; no network, no real programs.

use super::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::process::Command;
use std::sync::Mutex;

#[derive(Default)]
struct FakeHost {
    vars: BTreeMap<&'static str, OsString>,
    /// Files that are there; those that end in "broken" cannot be run.
    files: BTreeSet<PathBuf>,
    said: Mutex<Vec<String>>,
}

impl FakeHost {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.vars.insert(name, value.into());
        self
    }

    fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.insert(path.into());
        self
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }
}

impl Host for FakeHost {
    fn var(&self, name: &str) -> Option<OsString> {
        self.vars.get(name).cloned()
    }

    fn is_file(&self, path: &Path) -> bool {
        self.files.contains(path)
    }

    fn probe(&self, program: &Path, _args: &[&str]) -> Result<(), String> {
        if program.starts_with("/broken") {
            return Err("it crashes".to_owned());
        }
        // What a fetcher has put into the staging folder is real.
        if self.files.contains(program) || program.is_file() {
            Ok(())
        } else {
            Err("no such file".to_owned())
        }
    }

    fn run(&self, _command: &mut Command) -> Result<Vec<u8>, String> {
        panic!("no test may run a command");
    }

    fn say(&self, line: &str) {
        self.said.lock().unwrap().push(line.to_owned());
    }
}

/// A way of fetching that writes a file, or fails; it keeps the order of calls.
struct FakeFetcher<'a> {
    name: &'static str,
    works: bool,
    calls: &'a RefCell<Vec<&'static str>>,
}

impl Fetcher for FakeFetcher<'_> {
    fn describe(&self, _tool: &Tool) -> String {
        self.name.to_owned()
    }

    fn fetch(&self, tool: &Tool, staging: &Path) -> Result<PathBuf, String> {
        self.calls.borrow_mut().push(self.name);
        if !self.works {
            return Err("no network".to_owned());
        }
        let program = staging.join(tool.name);
        fs::write(&program, b"program").map_err(|error| error.to_string())?;
        Ok(program)
    }
}

fn fetchers<'a>(
    calls: &'a RefCell<Vec<&'static str>>,
    download_works: bool,
    build_works: bool,
) -> Vec<Box<dyn Fetcher + 'a>> {
    vec![
        Box::new(FakeFetcher {
            name: "download",
            works: download_works,
            calls,
        }),
        Box::new(FakeFetcher {
            name: "build",
            works: build_works,
            calls,
        }),
    ]
}

fn find_local(host: &FakeHost, cache: &str) -> Result<Found, Error> {
    Locator::with_fetchers(host, PathBuf::from(cache), Vec::new()).find(&TEMPORAL, Reach::Local)
}

#[test]
fn the_environment_variable_comes_first() {
    let host = FakeHost::default()
        .with("QUELL_TEMPORAL", "/mine/t")
        .with("PATH", "/bin");
    let host = host.file("/mine/t").file("/bin/temporal").file("/cache/temporal");
    assert_eq!(find_local(&host, "/cache").unwrap().path, PathBuf::from("/mine/t"));
}

#[test]
fn a_wrong_environment_variable_is_an_error_and_nothing_else_is_tried() {
    let host = FakeHost::default()
        .with("QUELL_TEMPORAL", "/nowhere")
        .with("PATH", "/bin")
        .file("/bin/temporal");
    let error = find_local(&host, "/cache").unwrap_err().to_string();
    assert!(error.contains("QUELL_TEMPORAL names /nowhere"), "{error}");
}

#[test]
fn an_empty_environment_variable_is_none() {
    let host = FakeHost::default()
        .with("QUELL_TEMPORAL", "")
        .with("PATH", "/bin")
        .file("/bin/temporal");
    assert_eq!(
        find_local(&host, "/cache").unwrap().path,
        PathBuf::from("/bin/temporal")
    );
}

#[test]
fn path_comes_before_the_cache_and_is_searched_in_order() {
    let host = FakeHost::default()
        .with("PATH", "/a:/b")
        .file("/b/temporal")
        .file("/cache/temporal");
    assert_eq!(find_local(&host, "/cache").unwrap().path, PathBuf::from("/b/temporal"));
}

#[test]
fn a_program_that_cannot_run_is_passed_over() {
    let host = FakeHost::default()
        .with("PATH", "/broken:/b")
        .file("/broken/temporal")
        .file("/b/temporal");
    assert_eq!(find_local(&host, "/cache").unwrap().path, PathBuf::from("/b/temporal"));
}

#[test]
fn the_cache_comes_before_any_fetching() {
    let calls = RefCell::default();
    let host = FakeHost::default().with("PATH", "/a").file("/cache/temporal");
    let locator = Locator::with_fetchers(&host, PathBuf::from("/cache"), fetchers(&calls, true, true));
    assert_eq!(
        locator.find(&TEMPORAL, Reach::Fetch).unwrap().path,
        PathBuf::from("/cache/temporal")
    );
    assert!(calls.borrow().is_empty());
    assert_eq!(host.said(), "", "a program that is there is no news");
}

#[test]
fn nothing_is_fetched_unless_asked_for() {
    let host = FakeHost::default().with("PATH", "/a");
    let error = find_local(&host, "/cache").unwrap_err().to_string();
    for reason in [
        "QUELL_TEMPORAL is not set",
        "not on PATH",
        "not in our cache (/cache/temporal)",
    ] {
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn the_download_comes_before_the_build_and_is_kept() {
    let cache = tempfile::tempdir().unwrap();
    let calls = RefCell::default();
    let host = FakeHost::default();
    let locator = Locator::with_fetchers(&host, cache.path().join("tools"), fetchers(&calls, true, true));
    let found = locator.find(&TEMPORAL, Reach::Fetch).unwrap();
    assert_eq!(found.path, cache.path().join("tools/temporal"));
    assert_eq!(fs::read(found.path).unwrap(), b"program");
    assert_eq!(*calls.borrow(), ["download"]);
    assert_eq!(
        staging_folders(&cache.path().join("tools")),
        0,
        "nothing is left beside it"
    );
}

#[test]
fn a_failed_download_leads_to_the_build_and_each_attempt_is_told() {
    let cache = tempfile::tempdir().unwrap();
    let calls = RefCell::default();
    let host = FakeHost::default();
    let locator = Locator::with_fetchers(&host, cache.path().to_owned(), fetchers(&calls, false, true));
    locator.find(&TEMPORAL, Reach::Fetch).unwrap();
    assert_eq!(*calls.borrow(), ["download", "build"]);
    let said = host.said();
    for line in [
        "QUELL_TEMPORAL is not set",
        "not on PATH",
        "not in our cache",
        "download: no network",
        "build, now kept as",
    ] {
        assert!(said.contains(line), "{line:?} is missing in:\n{said}");
    }
}

#[test]
fn when_all_fails_the_error_names_all() {
    let cache = tempfile::tempdir().unwrap();
    let calls = RefCell::default();
    let host = FakeHost::default();
    let locator = Locator::with_fetchers(&host, cache.path().to_owned(), fetchers(&calls, false, false));
    let error = locator.find(&TEMPORAL, Reach::Fetch).unwrap_err().to_string();
    assert!(
        error.contains("download: no network") && error.contains("build: no network"),
        "{error}"
    );
    assert!(!cache.path().join("temporal").exists());
    assert_eq!(staging_folders(cache.path()), 0);
}

#[test]
fn two_that_race_both_get_the_whole_program() {
    let cache = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let calls = RefCell::default();
                let host = FakeHost::default();
                let locator = Locator::with_fetchers(&host, cache.path().to_owned(), fetchers(&calls, true, true));
                let found = locator.find(&TEMPORAL, Reach::Fetch).unwrap();
                assert_eq!(fs::read(found.path).unwrap(), b"program");
            });
        }
    });
    assert_eq!(staging_folders(cache.path()), 0);
}

fn staging_folders(cache: &Path) -> usize {
    let names = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with(".fetch-"))
        .count()
}
