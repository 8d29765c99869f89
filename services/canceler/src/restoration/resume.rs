//! The source is told that it may go on. Last of all: until then its restored spawners keep still at the gate, so that none of them
//! starts anew under a workflow id what is still to be restored.

use quell_api::work::v1::ResumeRequest;
use quell_mesh::{Error, Outgoing};
use tonic::Code;

use super::messages::{ResumeInput, Resumed};
use crate::cancellation::source::{self, Unanswered};

/// The answer of one that goes on.
const RESUMED: &str = "resumed";
/// The answer of one that may go on when it is told again.
const UNREACHABLE: &str = "unreachable";

/// Tells it of each workload: the worst answer counts.
pub(super) async fn run(peer: (&str, &Outgoing), input: &ResumeInput) -> Resumed {
    let told = input.workload_ids.iter().map(|id| run_one(peer, id));
    let mut answers = futures::future::join_all(told).await;
    let badness = |one: &Resumed| match one.answer.as_str() {
        RESUMED => 0,
        UNREACHABLE => 1,
        _ => 2,
    };
    answers.sort_by_key(|one| std::cmp::Reverse(badness(one)));
    Resumed {
        detail: source::joined(answers.iter().map(|one| one.detail.as_str())),
        answer: answers.first().map(|worst| worst.answer.clone()).unwrap_or_default(),
    }
}

async fn run_one(peer: (&str, &Outgoing), workload_id: &str) -> Resumed {
    let message = ResumeRequest {
        workload_id: workload_id.to_owned(),
    };
    let told = source::tell(peer, message, |mut source, request| async move {
        source.resume(request).await
    });
    let resumed = |answer: &str, detail| Resumed {
        answer: answer.to_owned(),
        detail,
    };
    let status = match told.await {
        Ok(_) => return resumed(RESUMED, String::new()),
        Err(Unanswered::Address(error)) => {
            let detail = format!("the work service's address cannot be used: {error}");
            return resumed(UNREACHABLE, detail);
        }
        Err(Unanswered::Call(status)) => status,
    };
    let refused = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
    );
    let word = if refused { "refused" } else { UNREACHABLE };
    let why = Error::from_peer("work", &status).public_message();
    resumed(
        word,
        format!(
            "the work service did not let workload {workload_id} go on ({word}): {why}; its spawners keep still until the receipt's quiesced_until"
        ),
    )
}
