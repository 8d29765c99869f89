//! Reads of Temporal's state while a call is served: given up while the caller still listens.
//!
//! A server that is restarted or has stood still may leave a request without an answer. The caller's deadline would then pass in silence,
//! and DEADLINE_EXCEEDED does not tell whether anything was done. A read has done nothing, so its caller may be told to try again. Therefore
//! nothing but reads belongs here, and none that follows upon something that was started: that has its own word for it.
//!
//! There is one try. Reads of one execution stand in line on the server; whoever leaves the line and goes to its end makes it longer (seen
//! under 200 calls a second on two cores: docs/deployment.md).
//!
//! Where no call is served (activities, watchers) a read has the time that it has by itself, and its own word: those have an eye on it of
//! their own, and try again themselves.

use std::future::Future;
use std::time::Duration;

use temporalio_client::grpc::WorkflowService;
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use super::NamespaceClient;
use crate::error::Error;
use crate::grpc::time_left;

/// A caller that has given less has only been impatient: its deadline passes, and nothing is said about Temporal.
const LEAST: Duration = Duration::from_secs(5);

/// This part of the caller's time is kept for the answer's way: the caller's clock has begun before ours.
const KEPT: u32 = 10;

impl NamespaceClient {
    /// Reads something by a bare stub; `ask` makes the call. The outer result is the connection's, the inner one Temporal's.
    ///
    /// # Errors
    /// As for [`NamespaceClient::client`]; inside, Temporal's status, or UNAVAILABLE where no answer came within the caller's time.
    pub async fn read<M, R, F>(
        &self,
        message: M,
        ask: impl FnOnce(Box<dyn WorkflowService>, M) -> F,
    ) -> Result<Result<R, Status>, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let client = self.client().await?;
        let answer = ask(client.connection().workflow_service(), message);
        Ok(answered(time_left(), answer).await.map(Response::into_inner))
    }
}

/// The answer, within what the caller has left, if there is one.
async fn answered<R>(left: Option<Duration>, answer: impl Future<Output = Result<R, Status>>) -> Result<R, Status> {
    let Some(left) = left.filter(|left| *left >= LEAST) else {
        return answer.await;
    };
    match timeout(left - left / KEPT, answer).await {
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
    use tokio::time::Instant;

    /// What came of a read by a caller with so many seconds left, and after how many; the server answers so (`None`: not at all).
    async fn read(left: Option<u64>, answer: Option<Result<(), Code>>) -> (Result<(), Code>, u64) {
        let began = Instant::now();
        let server = async {
            match answer {
                Some(answer) => answer.map_err(|code| Status::new(code, "")),
                None => std::future::pending().await,
            }
        };
        let answer = answered(left.map(Duration::from_secs), server).await;
        (answer.map_err(|status| status.code()), began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_given_up_before_the_caller_does() {
        for (left, end) in [(30, 27), (10, 9)] {
            assert_eq!(read(Some(left), None).await, (Err(Code::Unavailable), end));
        }
        let error = Error::from(unanswered());
        assert_eq!(error.reason(), crate::error::Reason::TemporalUnreachable);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_without_an_answer_is_silence_too() {
        for code in [Code::DeadlineExceeded, Code::Cancelled] {
            assert_eq!(read(Some(30), Some(Err(code))).await, (Err(Code::Unavailable), 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_an_answer() {
        assert_eq!(read(Some(30), Some(Ok(()))).await, (Ok(()), 0));
        for code in [Code::NotFound, Code::Unavailable, Code::ResourceExhausted] {
            assert_eq!(read(Some(30), Some(Err(code))).await, (Err(code), 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_caller_or_with_an_impatient_one_it_is_its_own_word() {
        let own = Err(Code::DeadlineExceeded);
        assert_eq!(read(None, Some(own)).await, (own, 0));
        assert_eq!(read(Some(4), Some(own)).await, (own, 0));
        assert_eq!(time_left(), None);
    }
}
