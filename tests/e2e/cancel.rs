//! Cancellations as a caller drives them: Start, Watch to the end, GetReceipt. And what must hold for every one of them.

use crate::{
    details,
    poll::{LONG, SOON, eventually, when},
};
use prost_types::{Duration, Timestamp};
use quell_api::{
    canceler::v1::{
        Cancellation, CancellationSpec, GetCancellationRequest, GetReceiptRequest, Phase, PreviewCancellationRequest,
        Receipt, StartCancellationRequest, StartCancellationResponse, StopCancellationRequest, Verdict,
        WatchCancellationRequest, cancellation_service_client::CancellationServiceClient,
    },
    r#type::v1::{AnyOf, Target, target::Selector},
    work::v1::{
        GetSnowballRequest, Snowball, SnowballSpec, StartSnowballRequest, StartSnowballResponse,
        snowball_service_client::SnowballServiceClient,
    },
};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use tonic::transport::Channel;

/// A client of a canceler.
pub(crate) type Canceler = CancellationServiceClient<Channel>;
/// A client of a work service's snowballs.
pub(crate) type Snowballs = SnowballServiceClient<Channel>;

/// A target by its short form.
pub(crate) fn workload(id: &str) -> Option<Target> {
    Some(Target {
        selector: Some(Selector::WorkloadId(id.to_owned())),
    })
}

/// A target by a filter.
pub(crate) fn query(filter: impl Into<String>) -> Option<Target> {
    Some(Target {
        selector: Some(Selector::Query(filter.into())),
    })
}

/// Several targets as one.
pub(crate) fn any_of<const N: usize>(targets: [Option<Target>; N]) -> Option<Target> {
    Some(Target {
        selector: Some(Selector::AnyOf(AnyOf {
            targets: targets.into_iter().flatten().collect(),
        })),
    })
}

/// A whole number of milliseconds on the wire.
pub(crate) fn millis(ms: i64) -> Option<Duration> {
    Some(Duration {
        seconds: ms / 1_000,
        nanos: i32::try_from(ms % 1_000).expect("below a second") * 1_000_000,
    })
}

/// Milliseconds since the epoch.
pub(crate) fn at(time: Option<&Timestamp>) -> i64 {
    let time = time.expect("a time");
    time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
}

/// A spec with nothing but the target, a reason, and looks that follow each other quickly.
pub(crate) fn spec(target: Option<Target>) -> CancellationSpec {
    CancellationSpec {
        target,
        reason: "an end-to-end test".to_owned(),
        confirm_poll: millis(500),
        ..Default::default()
    }
}

/// Starts a cancellation.
pub(crate) async fn start(client: &mut Canceler, spec: CancellationSpec) -> StartCancellationResponse {
    let request = StartCancellationRequest {
        spec: Some(spec),
        ..Default::default()
    };
    client
        .start_cancellation(request)
        .await
        .expect("the cancellation starts")
        .into_inner()
}

/// Waits until the index shows a cancellation of this workload as running.
pub(crate) async fn shown_as_running(client: &mut Canceler, workload_id: &str, id: &str) {
    eventually(SOON, "the first one is in the index", async || {
        let request = PreviewCancellationRequest {
            target: workload(workload_id),
            ..Default::default()
        };
        let shown = client.clone().preview_cancellation(request).await;
        let shown = shown.map_err(|status| status.to_string())?.into_inner();
        when(shown.running_cancellations.iter().any(|running| running == id), || {
            format!("{shown:?}")
        })
    })
    .await;
}

/// Tells a cancellation to stop.
pub(crate) async fn stop(client: &mut Canceler, started: &StartCancellationResponse, reason: &str) {
    let request = StopCancellationRequest {
        cancellation_id: started.cancellation_id.clone(),
        reason: reason.to_owned(),
    };
    client.stop_cancellation(request).await.expect("it is told to stop");
}

/// A cancellation that has ended.
pub(crate) struct Ended {
    /// What Start answered.
    pub started: StartCancellationResponse,
    /// What Watch showed, in order.
    pub watched: Vec<Cancellation>,
    /// Its receipt.
    pub receipt: Receipt,
}

/// Starts a cancellation, watches it to its end and fetches the receipt.
pub(crate) async fn run_to_end(client: &mut Canceler, spec: CancellationSpec) -> Ended {
    let started = start(client, spec).await;
    to_the_end(client, started).await
}

/// Watches a started cancellation to its end and fetches the receipt.
pub(crate) async fn to_the_end(client: &mut Canceler, started: StartCancellationResponse) -> Ended {
    let watched = watch_to_end(client, &started.cancellation_id).await;
    let receipt = receipt(client, &started.cancellation_id).await;
    Ended {
        started,
        watched,
        receipt,
    }
}

/// Watches a cancellation until its last message.
///
/// # Panics
/// When the stream ends, or breaks, before the cancellation is done.
pub(crate) async fn watch_to_end(client: &mut Canceler, id: &str) -> Vec<Cancellation> {
    let request = WatchCancellationRequest {
        cancellation_id: id.to_owned(),
    };
    let watching = async {
        let mut stream = client
            .watch_cancellation(request)
            .await
            .expect("the watch begins")
            .into_inner();
        let mut watched = Vec::new();
        while let Some(message) = stream.message().await.expect("the watch goes on") {
            watched.push(message.cancellation.expect("a message has its cancellation"));
        }
        watched
    };
    let watched = tokio::time::timeout(LONG, watching).await;
    let watched = watched.unwrap_or_else(|_| panic!("cancellation {id} did not end within {LONG:?}"));
    let last = watched.last().expect("at least one message");
    assert_eq!(
        last.phase(),
        Phase::Done,
        "the last message says that it is done: {last:?}"
    );
    assert_ne!(last.verdict(), Verdict::Unspecified, "{last:?}");
    watched
}

/// The state of a cancellation.
pub(crate) async fn get(client: &mut Canceler, id: &str) -> Result<Cancellation, String> {
    let answer = client
        .get_cancellation(GetCancellationRequest {
            cancellation_id: id.to_owned(),
        })
        .await;
    answer
        .map_err(|status| status.to_string())?
        .into_inner()
        .cancellation
        .ok_or_else(|| "an empty answer".to_owned())
}

/// The receipt of an ended cancellation.
pub(crate) async fn receipt(client: &mut Canceler, id: &str) -> Receipt {
    let answer = client
        .get_receipt(GetReceiptRequest {
            cancellation_id: id.to_owned(),
        })
        .await;
    answer
        .expect("an ended cancellation has a receipt")
        .into_inner()
        .receipt
        .expect("the answer has it")
}

/// Waits, without Watch, until a cancellation has a receipt: for a canceler that is killed meanwhile.
pub(crate) async fn eventual_receipt(client: &mut Canceler, id: &str) -> Receipt {
    eventual_receipt_within(LONG, client, id).await
}

/// The same within a time of its own.
pub(crate) async fn eventual_receipt_within(deadline: std::time::Duration, client: &mut Canceler, id: &str) -> Receipt {
    eventually(deadline, &format!("cancellation {id} ends"), async || {
        match client
            .get_receipt(GetReceiptRequest {
                cancellation_id: id.to_owned(),
            })
            .await
        {
            Ok(answer) => Ok(answer.into_inner().receipt.expect("the answer has it")),
            Err(status) => {
                if status.code() == tonic::Code::FailedPrecondition {
                    details::unmet("a receipt before the end", &status);
                }
                Err(status.to_string())
            }
        }
    })
    .await
}

/// What holds for each cancellation that ended CLEAN, whatever it stopped.
pub(crate) fn check_clean(ended: &Ended) {
    let Ended {
        started,
        watched,
        receipt,
    } = ended;
    check_clean_receipt(receipt);
    assert_eq!(receipt.cancellation_id, started.cancellation_id);
    assert_eq!(receipt.spec, started.spec, "the receipt repeats what was asked for");
    let stopped: Vec<_> = watched
        .iter()
        .filter_map(|look| look.progress.as_ref())
        .map(|progress| progress.stopped)
        .collect();
    assert!(stopped.is_sorted(), "acknowledged stops never get fewer: {stopped:?}");
    let last = watched.last().expect("at least one message");
    assert_eq!(last.verdict(), Verdict::Clean);
    let last = last.progress.as_ref().expect("the last message has the final figures");
    assert_eq!(
        (last.stopped, last.already_closed, last.failed, last.passes),
        (receipt.stopped, receipt.already_closed, receipt.failed, receipt.passes),
        "Watch and receipt agree at the end"
    );
}

/// What holds for the receipt of each cancellation that ended CLEAN.
pub(crate) fn check_clean_receipt(receipt: &Receipt) {
    assert_eq!(receipt.verdict(), Verdict::Clean, "{receipt:#?}");
    let spec = receipt.spec.as_ref().expect("a receipt has its spec");
    assert_eq!(receipt.failed, 0, "{receipt:#?}");
    assert!(
        receipt.failures.is_empty() && receipt.blockers.is_empty(),
        "{receipt:#?}"
    );
    assert!(
        receipt.residuals.iter().all(|residual| residual.state == "stale"),
        "{receipt:#?}"
    );
    assert!(receipt.passes >= 1, "{receipt:#?}");
    assert!(
        !receipt.explanation.is_empty() && !receipt.requested_by.is_empty(),
        "{receipt:#?}"
    );
    for part in ["CloseTime IS NULL", "\"quell/\"", "\"quell-\""] {
        assert!(receipt.query.contains(part), "{part} is missing in {}", receipt.query);
    }
    let (start, end, fence) = (
        at(receipt.start_time.as_ref()),
        at(receipt.end_time.as_ref()),
        at(receipt.fence_time.as_ref()),
    );
    assert!(
        start <= fence && fence <= end,
        "start {start}, fence {fence}, end {end}"
    );
    check_looks(receipt, usize::try_from(spec.looks).expect("looks are few"));
    assert!(receipt.time_to_first_zero.is_some(), "a clean one has seen zero");
    assert!(
        receipt.trace_id.is_empty() || is_hex(&receipt.trace_id, 32),
        "{}",
        receipt.trace_id
    );
}

/// The last `needed` looks are empty and each more than the measured lag after the one before.
fn check_looks(receipt: &Receipt, needed: usize) {
    let lag = receipt.lag.as_ref().expect("the lag was measured");
    let lag_ms = lag.seconds * 1_000 + i64::from(lag.nanos) / 1_000_000;
    let last = receipt
        .looks
        .len()
        .checked_sub(needed)
        .map(|from| &receipt.looks[from..]);
    let last = last.unwrap_or_else(|| panic!("fewer than {needed} looks: {:?}", receipt.looks));
    assert!(last.iter().all(|look| look.empty), "{last:?}");
    for pair in last.windows(2) {
        let apart = at(pair[1].time.as_ref()) - at(pair[0].time.as_ref());
        assert!(
            apart >= lag_ms,
            "two looks are {apart} ms apart, the lag is {lag_ms} ms"
        );
    }
}

/// Checks the journal against the payload store and the receipt: every chunk is there, unchanged, and the outcomes add up.
pub(crate) fn check_journal(receipt: &Receipt, payloads: &Path) {
    let told = receipt.stopped + receipt.already_closed + receipt.failed;
    let outcomes = outcomes_in_journal(receipt, payloads);
    assert!(
        outcomes >= told,
        "the journal has {outcomes} outcomes, the receipt tells of {told}"
    );
}

/// The same for a canceler that was killed: what it had not written yet is lost with it, and the receipt says so.
pub(crate) fn check_journal_after_a_kill(receipt: &Receipt, payloads: &Path) {
    let told = receipt.stopped + receipt.already_closed + receipt.failed;
    let outcomes = outcomes_in_journal(receipt, payloads);
    let said = receipt.warnings.iter().any(|warning| warning.contains("journal"));
    assert!(
        outcomes >= told || said,
        "the journal lacks {} of {told} outcomes: {receipt:#?}",
        told - outcomes
    );
}

fn outcomes_in_journal(receipt: &Receipt, payloads: &Path) -> i64 {
    i64::try_from(journal(receipt, payloads).len()).expect("a journal has fewer lines")
}

/// The outcomes in a journal, each chunk held against the receipt.
pub(crate) fn journal(receipt: &Receipt, payloads: &Path) -> Vec<serde_json::Value> {
    let mut outcomes = Vec::new();
    for chunk in &receipt.journal {
        let path = payloads.join(&chunk.key);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(hex::encode(Sha256::digest(&bytes)), chunk.sha256, "{}", chunk.key);
        let text = String::from_utf8(bytes).expect("a journal is text");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON lines"))
            .collect();
        assert_eq!(i64::try_from(lines.len()).ok(), Some(chunk.outcomes), "{}", chunk.key);
        outcomes.extend(lines);
    }
    outcomes
}

/// Whether a text is that many lower-case hexadecimal digits.
pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// Starts a snowball.
pub(crate) async fn snowball(client: &mut Snowballs, spec: SnowballSpec) -> StartSnowballResponse {
    let request = StartSnowballRequest {
        spec: Some(spec),
        ..Default::default()
    };
    client
        .start_snowball(request)
        .await
        .expect("the snowball starts")
        .into_inner()
}

/// The state of a snowball.
pub(crate) async fn look_at(client: &mut Snowballs, id: &str) -> Result<Snowball, String> {
    let answer = client
        .get_snowball(GetSnowballRequest {
            snowball_id: id.to_owned(),
        })
        .await;
    let snowball = answer.map_err(|status| status.to_string())?.into_inner().snowball;
    snowball.ok_or_else(|| "an answer without a snowball".to_owned())
}

/// Waits until a snowball has grown to that many open workflows.
pub(crate) async fn grown(client: &mut Snowballs, id: &str, open: i64) -> Snowball {
    grown_within(LONG, client, id, open).await
}

/// The same within a time of its own.
pub(crate) async fn grown_within(
    deadline: std::time::Duration,
    client: &mut Snowballs,
    id: &str,
    open: i64,
) -> Snowball {
    eventually(deadline, &format!("{id} has {open} open workflows"), async || {
        let snowball = look_at(client, id).await?;
        if snowball.open >= open {
            Ok(snowball)
        } else {
            Err(format!("{} open", snowball.open))
        }
    })
    .await
}
