//! Many calls at a time.

use super::server::{Known, Pin, Server};
use crate::exit::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;
use tonic::Status;

/// What became of many calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Those that the server did as asked.
    pub(super) done: usize,
    /// Those that failed for good.
    pub(super) failed: usize,
    /// The last failure.
    pub(super) error: Option<Status>,
}

/// Calls `call` for 0 to `count - 1`, `width` at a time, each lane a task of its own so that all cores are used. They end with the
/// returned future. `call` says whether the server did something.
pub(super) async fn run<F, Fut>(count: usize, width: u32, call: F) -> Result<Tally, Failure>
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<bool, Status>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let width = usize::try_from(width).unwrap_or(usize::MAX).min(count);
    let mut lanes = JoinSet::new();
    for _ in 0..width {
        let (next, call) = (Arc::clone(&next), call.clone());
        lanes.spawn(async move {
            let mut tally = Tally::default();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return tally;
                }
                match call(index).await {
                    Ok(done) => tally.done += usize::from(done),
                    Err(status) => {
                        tally.failed += 1;
                        tally.error = Some(status);
                    }
                }
            }
        });
    }
    let mut total = Tally::default();
    while let Some(lane) = lanes.join_next().await {
        let tally = lane.map_err(|error| Failure::Other(format!("a lane of calls broke off: {error}")))?;
        total.done += tally.done;
        total.failed += tally.failed;
        total.error = tally.error.or(total.error);
    }
    Ok(total)
}

/// Terminates executions, `width` at a time.
pub(super) async fn terminate(
    server: &Server,
    executions: Arc<[Known]>,
    pin: Pin,
    width: u32,
) -> Result<Tally, Failure> {
    let server = server.clone();
    run(executions.len(), width, move |index| {
        let (server, execution) = (server.clone(), executions.get(index).cloned());
        async move {
            match execution {
                Some(execution) => server.terminate(execution, pin).await,
                None => Ok(false),
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn each_call_is_made_once_and_counted() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let tally = run(10, 3, move |index| {
            log.lock().unwrap().push(index);
            async move {
                match index {
                    0 => Err(Status::unavailable("away")),
                    1 => Ok(false),
                    _ => Ok(true),
                }
            }
        })
        .await
        .unwrap();
        assert_eq!((tally.done, tally.failed), (8, 1));
        assert_eq!(tally.error.unwrap().message(), "away");
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nothing_to_call_is_done_at_once() {
        let tally = run(0, 16, |_| async { Ok(true) }).await.unwrap();
        assert_eq!((tally.done, tally.failed), (0, 0));
    }
}
