//! Calls of the work service's `SourceService`: the source of a workload is told to keep still, or to go on.

use std::time::Duration;

use quell_api::work::v1::source_service_client::SourceServiceClient;
use quell_mesh::{Error, Outgoing, TracedChannel, channel};
use tonic::{Request, Response, Status};

use super::status::is_passing;

/// How long the source may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Tries, when it cannot be reached.
const ATTEMPTS: u32 = 3;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(300);

/// The source, as a call is made to it.
pub(crate) type Source = SourceServiceClient<TracedChannel>;

/// Why there is no answer.
pub(crate) enum Unanswered {
    /// The address cannot be used.
    Address(Error),
    /// What came of the last try.
    Call(Status),
}

/// What several answers say to an operator, in one line.
pub(crate) fn joined<'a>(details: impl IntoIterator<Item = &'a str>) -> String {
    let said = details.into_iter().filter(|detail| !detail.is_empty());
    said.collect::<Vec<_>>().join("; ")
}

/// Tells the source something, at an address and with what is shown there.
pub(crate) async fn tell<M: Clone, R, F>(
    (address, shown): (&str, &Outgoing),
    message: M,
    rpc: impl Fn(Source, Request<M>) -> F,
) -> Result<R, Unanswered>
where
    F: Future<Output = Result<Response<R>, Status>>,
{
    let source = Source::new(channel(address, shown).map_err(Unanswered::Address)?);
    let mut attempt = 1;
    loop {
        let mut request = Request::new(message.clone());
        request.set_timeout(TIMEOUT);
        // The header tells the source; the timer holds for one that does not listen.
        let answer = tokio::time::timeout(TIMEOUT, rpc(source.clone(), request)).await;
        match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time"))) {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if attempt < ATTEMPTS && is_passing(status.code()) => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(status) => return Err(Unanswered::Call(status)),
        }
    }
}
