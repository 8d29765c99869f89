//! The life of a child, with programs that every machine has.

use super::*;
use std::time::Instant;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn shell(&self, script: &str) -> Process {
        Process::new(Spec {
            name: "child".into(),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::new(),
            env_remove: vec!["HOME".into()],
            dir: self.folder.path().to_owned(),
            log: self.folder.path().join("child.log"),
            grace: Duration::from_secs(1),
        })
    }
}

const FOR_EVER: &str = "echo up; while :; do sleep 0.1; done";
const DEADLINE: Duration = Duration::from_secs(20);

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_alive(pid: u32) -> bool {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), None).is_ok()
}

#[tokio::test]
async fn it_runs_with_its_environment_and_logs_both_outputs() {
    let fixture = Fixture::new();
    let child =
        fixture.shell(r#"echo "hello $NAME from ${HOME:-nowhere}"; echo oops >&2; read line || echo no input; exit 3"#);
    child.set_env("NAME", "world");
    child.start().unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
    assert_eq!(child.log_tail(10), "hello world from nowhere\noops\nno input");
    assert_eq!(child.log_tail(1), "no input");
    assert!(child.pid().is_none());
}

#[tokio::test]
async fn the_pid_is_that_of_the_program_itself() {
    let fixture = Fixture::new();
    let child = fixture.shell("echo $$; exec sleep 60");
    let pid = child.start().unwrap();
    until("it has said its pid", || !child.log_tail(1).is_empty()).await;
    assert_eq!(child.log_tail(1), pid.to_string());
    child.kill().await.unwrap();
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_killed_child_can_be_started_again_and_its_log_goes_on() {
    let fixture = Fixture::new();
    let child = fixture.shell(FOR_EVER);
    let first = child.start().unwrap();
    assert_eq!(child.start().unwrap(), first, "a second start has no effect");
    until("it is up", || child.log_tail(5).contains("up")).await;
    child.kill().await.unwrap();
    assert_eq!(child.pid(), None);
    assert!(child.exit_status().is_some());
    let second = child.start().unwrap();
    assert_ne!(first, second);
    until("both runs are in the log", || child.log_tail(5) == "up\nup").await;
    assert!(child.terminate().await.unwrap());
}

#[tokio::test]
async fn one_that_does_not_listen_is_killed_after_its_grace() {
    let fixture = Fixture::new();
    let child = fixture.shell(&format!("trap '' TERM; {FOR_EVER}"));
    let pid = child.start().unwrap();
    until("it is up", || child.log_tail(1) == "up").await;
    assert!(!child.terminate().await.unwrap(), "it ended by itself");
    assert!(!is_alive(pid));
    assert!(child.terminate().await.unwrap(), "ending what has ended is no fault");
}

/// The pipe to the watcher closes when we drop the process, and just so when we die ourselves, however we die.
#[tokio::test]
async fn it_ends_when_we_let_go_of_it() {
    let fixture = Fixture::new();
    for script in [FOR_EVER.to_owned(), format!("trap '' TERM; {FOR_EVER}")] {
        let child = fixture.shell(&script);
        let pid = child.start().unwrap();
        until("it is up", || child.log_tail(1) == "up").await;
        drop(child);
        until("the child is gone", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_says_so_in_its_log() {
    let fixture = Fixture::new();
    let child = fixture.shell("true");
    lock(&child.spec).program = "/nowhere/program".into();
    child.start().unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(127));
    assert!(child.log_tail(5).contains("/nowhere/program"), "{}", child.log_tail(5));
}

#[tokio::test]
async fn what_was_never_started_cannot_be_waited_for() {
    let fixture = Fixture::new();
    let child = fixture.shell("true");
    assert!(matches!(child.wait().await, Err(Error::NotRunning(_))));
    assert!(matches!(child.signal(Signal::SIGTERM), Err(Error::NotRunning(_))));
}
