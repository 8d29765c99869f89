//! How a service process comes to its end.
//!
//! Roles: the *signal* (SIGINT, SIGTERM) is seen once, by [`Shutdown::listen`]. The *token* tells long-lived streams and
//! loops to end by themselves; it fires after health has said NOT_SERVING for a moment, so that balancers look away first.
//! Nobody is interrupted by it: calls and activities in flight finish, within the drain's own deadline. A *second* signal
//! is for the impatient: the process ends at once. Signals are heard on a thread of their own, so that nothing that blocks a
//! thread of the service can keep the process from ending; and when the end takes longer than all of its steps may, that thread
//! ends the process and says what was running.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code when a second signal, or a drain that ran out of time, left work behind.
pub const EXIT_CUT_SHORT: u8 = 2;

/// The shutdown of this process, shared by all its parts.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    requested: CancellationToken,
    told: CancellationToken,
}

impl Shutdown {
    /// One that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when streams and loops should end. Give `token().cancelled()` a branch in every `select!` of a
    /// server stream, and end it with [`crate::Reason::ShuttingDown`]: an ordinary end would say that there is no more to
    /// come.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.told.clone()
    }

    /// Whether a shutdown was requested, told or not.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Waits until a shutdown is requested.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Requests a shutdown, as a signal does.
    pub fn request(&self) {
        self.requested.cancel();
    }

    /// Tells streams and loops to end.
    pub(crate) fn tell(&self) {
        self.requested.cancel();
        self.told.cancel();
    }

    /// Listens for SIGINT and SIGTERM. The first requests the shutdown, the second ends the process at once with
    /// [`EXIT_CUT_SHORT`], and so does the first when the process is still there after `limit`. `running` says what it does then.
    pub(crate) fn listen<F, S>(&self, limit: Duration, running: F) -> std::io::Result<()>
    where
        F: Fn() -> S + Send + 'static,
        S: std::fmt::Debug,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        drop(inside);
        let shutdown = self.clone();
        let hear = async move {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                }
            };
            let name = next().await;
            tracing::info!(signal = name, "shutdown requested");
            shutdown.request();
            match tokio::time::timeout(limit, next()).await {
                Ok(name) => tracing::warn!(signal = name, running = ?running(), "second signal: ending at once"),
                Err(_) => tracing::error!(?limit, running = ?running(), "the shutdown hangs: ending at once"),
            }
            std::process::exit(i32::from(EXIT_CUT_SHORT));
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(hear))?;
        Ok(())
    }
}

/// The exit code of a run: clean, or with work left behind.
#[must_use]
pub(crate) fn exit_code(clean: bool) -> ExitCode {
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_CUT_SHORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn streams_are_told_after_the_request() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        shutdown.request();
        shutdown.requested().await;
        assert!(shutdown.is_requested() && !token.is_cancelled());
        shutdown.tell();
        token.cancelled().await;
    }
}
