//! The source is told that it may go on. Last of all: until then its restored spawners keep still at the gate, so that none of them
//! starts anew under a workflow id what is still to be restored.

use std::time::Duration;

use quell_api::work::v1::{ResumeRequest, source_service_client::SourceServiceClient};
use quell_mesh::{Error, Outgoing, channel};
use tonic::{Code, Request};

use super::messages::{ResumeInput, Resumed};
use crate::cancellation::status::is_passing;

/// How long the source may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The answer of one that goes on.
const RESUMED: &str = "resumed";
/// Tries, when it cannot be reached.
const ATTEMPTS: u32 = 3;

/// Tells it of each workload: the worst answer counts.
pub(super) async fn run(source: (&str, &Outgoing), input: &ResumeInput) -> Resumed {
    let mut all = Resumed::default();
    for workload_id in &input.workload_ids {
        let one = run_one(source, workload_id).await;
        if all.answer.is_empty() || one.answer != RESUMED {
            all = one;
        }
    }
    all
}

async fn run_one((address, credentials): (&str, &Outgoing), workload_id: &str) -> Resumed {
    let told = |answer: &str, detail: String| Resumed {
        answer: answer.to_owned(),
        detail,
    };
    let channel = match channel(address, credentials) {
        Ok(channel) => channel,
        Err(error) => {
            return told(
                "unreachable",
                format!("the work service's address cannot be used: {error}"),
            );
        }
    };
    let mut client = SourceServiceClient::new(channel);
    let mut attempt = 1;
    let status = loop {
        let mut request = Request::new(ResumeRequest {
            workload_id: workload_id.to_owned(),
        });
        request.set_timeout(TIMEOUT);
        let answer = tokio::time::timeout(TIMEOUT, client.resume(request)).await;
        match answer.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer in time"))) {
            Ok(_) => return told(RESUMED, String::new()),
            Err(status) if attempt < ATTEMPTS && is_passing(status.code()) => {
                attempt += 1;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Err(status) => break status,
        }
    };
    let refused = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
    );
    let word = if refused { "refused" } else { "unreachable" };
    let why = Error::from_peer("work", &status).public_message();
    told(
        word,
        format!(
            "the work service did not let workload {workload_id} go on ({word}): {why}; its spawners keep still until the receipt's quiesced_until"
        ),
    )
}
