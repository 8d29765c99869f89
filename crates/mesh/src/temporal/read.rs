//! Reads of Temporal's state while a call is served: given up while the caller still listens.
//!
//! A server that is restarted or has stood still may leave a request without an answer. The caller's deadline would then pass in silence,
//! and DEADLINE_EXCEEDED does not tell whether anything was done. A read has done nothing: it may be asked once more, and its caller may
//! be told to try again. So nothing but reads belongs here: what starts or changes something has one try, and its own word for it.
//!
//! A try that still waits is not cut for another one. Reads of one execution stand in line on the server; whoever leaves the line and goes
//! to its end makes it longer (seen under 200 calls a second on two cores: docs/deployment.md).
//!
//! Where no call is served (activities, watchers) a read is tried once, with the time that it has by itself: those have an eye on it of
//! their own, and try again themselves.

use std::future::Future;
use std::time::Duration;

use temporalio_client::grpc::WorkflowService;
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use super::NamespaceClient;
use crate::error::Error;
use crate::grpc::time_left;

/// How often a read is tried that comes back without an answer.
const TRIES: u32 = 3;

/// This part of the caller's time is kept for the answer's way: the caller's clock has begun before ours.
const KEPT: u32 = 10;

impl NamespaceClient {
    /// Reads something by a bare stub; `ask` makes one try. The outer result is the connection's, the inner one Temporal's.
    ///
    /// # Errors
    /// As for [`NamespaceClient::client`]; inside, Temporal's status, or UNAVAILABLE where no answer came within the caller's time.
    pub async fn read<M, R, F>(
        &self,
        message: M,
        ask: impl Fn(Box<dyn WorkflowService>, M) -> F,
    ) -> Result<Result<R, Status>, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let client = self.client().await?;
        let ask = || ask(client.connection().workflow_service(), message.clone());
        Ok(answered(time_left(), ask).await.map(Response::into_inner))
    }
}

/// The answer of one of some tries, within what the caller has left, if there is one.
async fn answered<R, F>(left: Option<Duration>, ask: impl Fn() -> F) -> Result<R, Status>
where
    F: Future<Output = Result<R, Status>>,
{
    let Some(left) = left else {
        return ask().await;
    };
    let tries = async {
        for _ in 1..TRIES {
            match ask().await {
                Err(status) if is_silence(status.code()) => {
                    tracing::debug!(code = ?status.code(), "no answer to a read");
                }
                answer => return answer,
            }
        }
        ask().await
    };
    match timeout(left - left / KEPT, tries).await {
        Ok(Err(status)) if is_silence(status.code()) => Err(unanswered()),
        Ok(answer) => answer,
        Err(_) => Err(unanswered()),
    }
}

fn unanswered() -> Status {
    Status::unavailable("no answer in time")
}

/// Whether nobody has answered. CANCELLED is what tonic calls a call that ran into its own timeout, or whose connection was lost.
fn is_silence(code: Code) -> bool {
    matches!(code, Code::DeadlineExceeded | Code::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::time::Instant;

    /// Begins, counted from the first, and what came of it, of a server that answers the tries as told (`None`: not at all).
    async fn tried(left: Option<u64>, answers: &[Option<Result<(), Code>>]) -> (Vec<u64>, Result<(), Code>, u64) {
        let (began, begins) = (Instant::now(), Cell::new(Vec::new()));
        let ask = || async {
            let mut so_far = begins.take();
            let answer = answers.get(so_far.len()).copied().flatten();
            so_far.push(began.elapsed().as_secs());
            begins.set(so_far);
            match answer {
                Some(answer) => answer.map_err(|code| Status::new(code, "")),
                None => std::future::pending().await,
            }
        };
        let answer = answered(left.map(Duration::from_secs), ask).await;
        (
            begins.take(),
            answer.map_err(|status| status.code()),
            began.elapsed().as_secs(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_given_up_before_the_caller_does_and_never_asked_twice() {
        for (left, end) in [(30, 27), (10, 9), (0, 0)] {
            assert_eq!(tried(Some(left), &[]).await, (vec![0], Err(Code::Unavailable), end));
        }
        let error = Error::from(unanswered());
        assert_eq!(error.reason(), crate::error::Reason::TemporalUnreachable);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_without_an_answer_is_tried_again() {
        let answers = [
            Some(Err(Code::DeadlineExceeded)),
            Some(Err(Code::Cancelled)),
            Some(Ok(())),
        ];
        assert_eq!(tried(Some(30), &answers).await, (vec![0, 0, 0], Ok(()), 0));
        let never = [Some(Err(Code::DeadlineExceeded)); 4];
        assert_eq!(
            tried(Some(30), &never).await,
            (vec![0, 0, 0], Err(Code::Unavailable), 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_an_answer() {
        for code in [Code::NotFound, Code::Unavailable, Code::ResourceExhausted] {
            assert_eq!(tried(Some(30), &[Some(Err(code))]).await, (vec![0], Err(code), 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_caller_there_is_one_try_and_its_own_word() {
        let own = [Some(Err(Code::DeadlineExceeded))];
        assert_eq!(tried(None, &own).await, (vec![0], Err(Code::DeadlineExceeded), 0));
        assert_eq!(time_left(), None);
    }
}
