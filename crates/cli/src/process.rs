//! A child process with a name, a log file and a guard.
//!
//! **Guard.** No child may outlive us, not even when we are killed with SIGKILL and run no code any more. The kernel's
//! parent-death signal would need `unsafe` code and is tied to the *thread* that spawned, which in an async program may end
//! at any time. So each child is started by a line of POSIX shell that first leaves a watcher behind and then `exec`s the
//! program: the program keeps the pid, and stays our direct child. The watcher reads a pipe whose other end only we hold.
//! A word on it means "it has been dealt with"; an end without a word means that we are gone, and the watcher sends TERM,
//! then KILL. Dropping a [`Process`] has the same effect.
//!
//! **Groups.** A child is the leader of its own process group, so that Ctrl-C at a terminal reaches only us and the order
//! of the shutdown stays ours.
//!
//! **Runtimes.** A thread of its own waits for each child and publishes the exit status. Nothing here is bound to the async
//! runtime that made the first call, so that a test harness can share one mesh between the runtimes of many tests.

use crate::error::Error;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// `$1` is the grace in whole seconds, the rest is the program and its arguments. A background command's standard input is
/// /dev/null in a shell, hence the detour over descriptor 3.
const GUARD: &str = r#"
grace=$1; shift
exec 3<&0 </dev/null
{
  if ! read -r word <&3; then
    kill -TERM "$$"
    while [ "$grace" -gt 0 ] && kill -0 "$$"; do sleep 1; grace=$((grace - 1)); done
    kill -KILL "$$"
  fi
} >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"#;

/// How many bytes at the end of a log [`Process::log_tail`] looks at.
const TAIL_BYTES: u64 = 64 * 1024;

/// What is run, and how.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Name in messages and of the log file.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment variables to set; the rest is inherited.
    pub env: BTreeMap<String, String>,
    /// Inherited environment variables that the program must not see.
    pub env_remove: Vec<String>,
    /// Working folder.
    pub dir: PathBuf,
    /// File that standard output and standard error are appended to.
    pub log: PathBuf,
    /// How long the process may take to end after TERM before it is killed.
    pub grace: Duration,
}

/// A child process: started, killed, restarted; see the module's text.
#[derive(Debug)]
pub struct Process {
    spec: Mutex<Spec>,
    running: Mutex<Option<Running>>,
}

/// Our end of the watcher's pipe. The waiting thread takes it when the program has ended, a drop when it still runs.
type Guard = Arc<Mutex<Option<ChildStdin>>>;

#[derive(Debug)]
struct Running {
    pid: u32,
    guard: Guard,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// A process that does not run yet.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self {
            spec: Mutex::new(spec),
            running: Mutex::new(None),
        }
    }

    /// Starts it. No effect when it runs already.
    ///
    /// # Errors
    /// [`Error::Spawn`] and [`Error::Io`] (the log file).
    pub fn start(&self) -> Result<u32, Error> {
        let mut running = lock(&self.running);
        if let Some(current) = running.as_ref()
            && current.exit.borrow().is_none()
        {
            return Ok(current.pid);
        }
        let started = spawn(&lock(&self.spec))?;
        let pid = started.pid;
        *running = Some(started);
        Ok(pid)
    }

    /// Name in messages.
    #[must_use]
    pub fn name(&self) -> String {
        lock(&self.spec).name.clone()
    }

    /// Process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        lock(&self.running)
            .as_ref()
            .filter(|running| running.exit.borrow().is_none())
            .map(|running| running.pid)
    }

    /// Exit status of the last run once it has ended.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        lock(&self.running).as_ref().and_then(|running| *running.exit.borrow())
    }

    /// Its log file.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        lock(&self.spec).log.clone()
    }

    /// The last `lines` lines of its log; what of it cannot be read is said in its place.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let path = self.log_path();
        tail(&path, lines).unwrap_or_else(|error| format!("({} cannot be read: {error})", path.display()))
    }

    /// Waits until the current run ends.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it was never started.
    pub async fn wait(&self) -> Result<ExitStatus, Error> {
        let receiver = lock(&self.running).as_ref().map(|running| running.exit.clone());
        let mut exit = receiver.ok_or_else(|| Error::NotRunning(self.name()))?;
        let seen = exit.wait_for(Option::is_some).await.map(|status| *status);
        match seen {
            Ok(Some(status)) => Ok(status),
            // The waiting thread sends before it ends, so only its panic could lead here.
            Ok(None) | Err(_) => Err(Error::NotRunning(self.name())),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when there is nothing to send it to.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let not_running = || Error::NotRunning(self.name());
        let pid = self
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .ok_or_else(not_running)?;
        kill(Pid::from_raw(pid), signal).map_err(|_| not_running())
    }

    /// Kills it with SIGKILL and waits until it is gone. No effect when it does not run.
    ///
    /// # Errors
    /// None in practice: only those of [`Process::wait`].
    pub async fn kill(&self) -> Result<(), Error> {
        if self.pid().is_none() {
            return Ok(());
        }
        // "Not running" here means that it ended by itself just now, which is what was wanted.
        let _ = self.signal(Signal::SIGKILL);
        self.wait().await.map(drop)
    }

    /// Asks it to end (TERM), kills it after its grace. No effect when it does not run. Tells whether it ended by itself.
    ///
    /// # Errors
    /// None in practice: only those of [`Process::wait`].
    pub async fn terminate(&self) -> Result<bool, Error> {
        if self.pid().is_none() {
            return Ok(true);
        }
        let grace = lock(&self.spec).grace;
        let _ = self.signal(Signal::SIGTERM);
        if tokio::time::timeout(grace, self.wait()).await.is_ok() {
            return Ok(true);
        }
        self.kill().await?;
        Ok(false)
    }

    /// Terminates it if it runs, and starts it again with the same arguments, hence on the same port.
    ///
    /// # Errors
    /// Those of [`Process::start`].
    pub async fn restart(&self) -> Result<u32, Error> {
        self.terminate().await?;
        self.start()
    }

    /// Sets an environment variable for the next start.
    pub fn set_env(&self, name: impl Into<String>, value: impl Into<String>) {
        lock(&self.spec).env.insert(name.into(), value.into());
    }
}

/// A poisoned lock only says that another thread panicked: what it guards here is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(spec: &Spec) -> Result<Running, Error> {
    let log = OpenOptions::new().create(true).append(true).open(&spec.log);
    let log = log.map_err(Error::io(format!("cannot open {}", spec.log.display())))?;
    let log_copy = log
        .try_clone()
        .map_err(Error::io(format!("cannot open {}", spec.log.display())))?;
    let spawn_error = |source| Error::Spawn {
        name: spec.name.clone(),
        source,
    };

    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(GUARD)
        .arg("quell-guard")
        .arg(spec.grace.as_secs().max(1).to_string());
    command.arg(&spec.program).args(&spec.args);
    for name in &spec.env_remove {
        command.env_remove(name);
    }
    command.envs(&spec.env).current_dir(&spec.dir).process_group(0);
    command.stdin(Stdio::piped()).stdout(log).stderr(log_copy);
    let mut child = command.spawn().map_err(spawn_error)?;
    let no_pipe = || spawn_error(std::io::Error::other("no pipe to its guard"));
    let guard: Guard = Arc::new(Mutex::new(Some(child.stdin.take().ok_or_else(no_pipe)?)));
    let guard_of_waiter = Arc::clone(&guard);
    let pid = child.id();

    let (sender, exit) = watch::channel(None);
    let waiter = std::thread::Builder::new().name(format!("wait-{}", spec.name));
    let waiting = waiter.spawn(move || {
        if let Ok(status) = child.wait() {
            // The watcher must not signal a pid that may soon belong to somebody else. If the watcher was killed as well
            // the pipe is broken, and that is as good.
            if let Some(mut pipe) = lock(&guard_of_waiter).take() {
                let _ = pipe.write_all(b"done\n");
            }
            // Nobody listens any more when the `Process` was dropped.
            let _ = sender.send(Some(status));
        }
    });
    waiting.map_err(spawn_error)?;
    Ok(Running { pid, guard, exit })
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without a word: if the program still runs, the watcher ends it.
        drop(lock(&self.guard).take());
    }
}

fn tail(path: &Path, lines: usize) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}

#[cfg(test)]
mod tests;
