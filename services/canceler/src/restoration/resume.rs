//! The source is told that it may go on. Last of all: until then its restored spawners keep still at the gate, so that none of them
//! starts anew under a workflow id what is still to be restored.

use quell_api::work::v1::ResumeRequest;
use quell_mesh::{Error, Outgoing};
use tonic::Code;

use super::messages::{ResumeInput, Resumed};
use crate::cancellation::source::{self, Unanswered};

/// The answer of one that goes on.
const RESUMED: &str = "resumed";

/// Tells it of each workload: the worst answer counts.
pub(super) async fn run(peer: (&str, &Outgoing), input: &ResumeInput) -> Resumed {
    let mut all = Resumed::default();
    for workload_id in &input.workload_ids {
        let one = run_one(peer, workload_id).await;
        if all.answer.is_empty() || one.answer != RESUMED {
            all = one;
        }
    }
    all
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
            return resumed("unreachable", detail);
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
    let word = if refused { "refused" } else { "unreachable" };
    let why = Error::from_peer("work", &status).public_message();
    resumed(
        word,
        format!(
            "the work service did not let workload {workload_id} go on ({word}): {why}; its spawners keep still until the receipt's quiesced_until"
        ),
    )
}
