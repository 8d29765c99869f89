//! The fence: the sources are told to stop, then the server's clock is read.

use quell_api::work::v1::{QuiesceRequest, QuiesceState};
use quell_mesh::{Error, Outgoing};
use quell_sweep::{QuiesceStatus, Quiesced};
use tonic::{Code, Status};

use super::{
    convert::duration,
    source::{self, Unanswered},
};

/// Schedules that are named when they could not be paused.
const SCHEDULE_PROBLEMS: usize = 5;

/// What a source answered.
pub(crate) struct Answer {
    /// For the machine.
    pub(crate) status: QuiesceStatus,
    /// For the receipt: effective, accepted, refused, unreachable, or not asked.
    pub(crate) word: &'static str,
    /// For an operator; empty when there is nothing to say.
    pub(crate) detail: String,
    /// Whether one at least keeps still now, whatever the others say.
    pub(crate) any_accepted: bool,
}

impl Answer {
    /// Nobody was asked.
    pub(crate) fn not_asked() -> Self {
        Self {
            status: QuiesceStatus::NotConfigured,
            word: "not asked",
            detail: String::new(),
            any_accepted: false,
        }
    }

    /// The worse of two: who refuses will do so again, who is not reached may not, who has accepted may still be effective.
    fn or_worse(self, other: Self) -> Self {
        let badness = |answer: &Self| match (answer.status, answer.word) {
            (QuiesceStatus::Refused, _) => 3,
            (QuiesceStatus::Unreachable, _) => 2,
            (_, "effective") => 0,
            _ => 1,
        };
        let any_accepted = self.any_accepted || other.any_accepted;
        let (worse, better) = if badness(&other) > badness(&self) {
            (other, self)
        } else {
            (self, other)
        };
        Self {
            status: worse.status,
            word: worse.word,
            detail: source::joined([worse.detail.as_str(), &better.detail]),
            any_accepted,
        }
    }

    /// With the fence and with what became of the schedules, as the machine wants it: the worst answer of all sources.
    pub(crate) fn at(&self, fence_ms: u64, schedules: &[String]) -> Quiesced {
        let status = match self.status {
            QuiesceStatus::Refused => QuiesceStatus::Refused,
            _ if !schedules.is_empty() => QuiesceStatus::Unreachable,
            status => status,
        };
        let schedules = schedules.iter().map(String::as_str).take(SCHEDULE_PROBLEMS);
        Quiesced {
            status,
            fence_ms,
            detail: source::joined([self.detail.as_str()].into_iter().chain(schedules)),
        }
    }
}

/// Tells the work service to stop starting executions of each workload: the worst answer counts.
pub(crate) async fn quiesce(source: (&str, &Outgoing), workload_ids: &[String], reason: &str, ttl_ms: u64) -> Answer {
    let asked = workload_ids.iter().map(|id| quiesce_one(source, id, reason, ttl_ms));
    let answers = futures::future::join_all(asked).await;
    answers
        .into_iter()
        .reduce(Answer::or_worse)
        .unwrap_or_else(Answer::not_asked)
}

/// Tells it for one workload. It is asked to answer at once, not when the effect can be
/// seen: every second of waiting is a second of growth.
async fn quiesce_one(peer: (&str, &Outgoing), workload_id: &str, reason: &str, ttl_ms: u64) -> Answer {
    let message = QuiesceRequest {
        workload_id: workload_id.to_owned(),
        ttl: Some(duration(ttl_ms)),
        wait: None,
        reason: reason.to_owned(),
    };
    let told = source::tell(peer, message, |mut source, request| async move {
        source.quiesce(request).await
    });
    match told.await {
        Ok(answer) => accepted(answer.state()),
        Err(Unanswered::Call(status)) => not_accepted(workload_id, &status),
        Err(Unanswered::Address(error)) => Answer {
            status: QuiesceStatus::Unreachable,
            word: "unreachable",
            detail: format!("the work service's address cannot be used: {error}"),
            any_accepted: false,
        },
    }
}

fn accepted(state: QuiesceState) -> Answer {
    let word = if state == QuiesceState::Effective {
        "effective"
    } else {
        "accepted"
    };
    Answer {
        status: QuiesceStatus::Accepted,
        word,
        detail: String::new(),
        any_accepted: true,
    }
}

fn not_accepted(workload_id: &str, status: &Status) -> Answer {
    let (status_word, word) = match status.code() {
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal => (QuiesceStatus::Unreachable, "unreachable"),
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => (QuiesceStatus::Refused, "refused"),
    };
    // A refusal's text is the source's own word; any other may be a transport's, with addresses in it.
    let why = match status_word {
        QuiesceStatus::Refused => format!("{:?}: {}", status.code(), status.message()),
        _ => Error::from_peer("work", status).public_message(),
    };
    let detail = format!("the work service did not quiesce workload {workload_id} ({word}): {why}");
    Answer {
        status: status_word,
        word,
        detail,
        any_accepted: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_answer_counts() {
        let worst = |answers: Vec<Answer>| answers.into_iter().reduce(Answer::or_worse).unwrap().word;
        let (effective, accepted_now) = (
            || accepted(QuiesceState::Effective),
            || accepted(QuiesceState::Accepted),
        );
        let unreachable = || not_accepted("1", &Status::unavailable("x"));
        let refused = || not_accepted("1", &Status::failed_precondition("no"));
        assert_eq!(worst(vec![effective(), accepted_now()]), "accepted");
        assert_eq!(worst(vec![unreachable(), effective(), accepted_now()]), "unreachable");
        assert_eq!(worst(vec![unreachable(), refused(), effective()]), "refused");
        let one_of_two = refused().or_worse(effective());
        assert!(one_of_two.any_accepted && !unreachable().or_worse(refused()).any_accepted);
    }

    #[test]
    fn an_answer_is_one_of_the_words_of_the_contract() {
        assert_eq!(accepted(QuiesceState::Accepted).word, "accepted");
        assert_eq!(accepted(QuiesceState::Effective).word, "effective");
        let refused = not_accepted("1", &Status::failed_precondition("no"));
        assert_eq!((refused.status, refused.word), (QuiesceStatus::Refused, "refused"));
        assert!(refused.detail.contains("no"), "the source's own word");
        let unreachable = not_accepted("1", &Status::unavailable("tcp connect error: 10.0.0.7:50051"));
        assert_eq!(
            (unreachable.status, unreachable.word),
            (QuiesceStatus::Unreachable, "unreachable")
        );
        assert!(!unreachable.detail.contains("10.0.0.7"), "{}", unreachable.detail);
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let shown = Outgoing::open(&quell_mesh::config::CredentialSettings::default()).unwrap();
        let answer = quiesce(
            (&format!("http://127.0.0.1:{port}"), &shown),
            &["1".to_owned(), "2".to_owned()],
            "test",
            1_000,
        )
        .await;
        assert_eq!(answer.status, QuiesceStatus::Unreachable);
    }
}
