//! `quell watch`: a cancellation until it is done. `stop` and `demo` end in the same loop.
//!
//! A cancellation outlives the replica that shows it, so a broken stream is asked for again until the service has been away for
//! [`PATIENCE`].

use super::missing;
use crate::clients::Addresses;
use crate::exit::{self, Failure};
use crate::ui::{Meter, Ui, human_duration};
use crate::view::{cancellation_json, duration, phase_name, verdict_name};
use quell_api::canceler::v1::{Cancellation, Phase, WatchCancellationRequest};
use std::time::{Duration, Instant};
use tonic::Code;

/// How long the service may be away before we give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before a broken stream is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `quell watch`.
#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// Id of the cancellation.
    cancellation_id: String,
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, args: WatchArgs) -> Result<u8, Failure> {
    let cancellation = until_done(ui, addresses, &args.cancellation_id).await?;
    ui.line(format!(
        "{} ended {}",
        args.cancellation_id,
        verdict_name(cancellation.verdict())
    ));
    ui.result(&cancellation_json(&cancellation));
    Ok(exit::of_verdict(cancellation.verdict()))
}

/// Shows the progress of a cancellation until it is done, and gives its last state.
pub(super) async fn until_done(ui: Ui, addresses: &Addresses, cancellation_id: &str) -> Result<Cancellation, Failure> {
    let mut meter = ui.meter();
    let mut lost_since: Option<Instant> = None;
    let outcome = loop {
        match stream(addresses, cancellation_id, &mut meter, &mut lost_since).await {
            Ok(Some(cancellation)) => break Ok(cancellation),
            Ok(None) => {}
            Err(failure) if !is_passing(&failure) => break Err(failure),
            Err(failure) => {
                let since = *lost_since.get_or_insert_with(|| {
                    meter.line("the canceler service is away; the cancellation goes on without it, waiting");
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    break Err(failure);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    };
    meter.finish();
    outcome
}

/// One stream: to the end of the cancellation, or of the stream.
async fn stream(
    addresses: &Addresses,
    cancellation_id: &str,
    meter: &mut Meter,
    lost_since: &mut Option<Instant>,
) -> Result<Option<Cancellation>, Failure> {
    let request = WatchCancellationRequest {
        cancellation_id: cancellation_id.to_owned(),
    };
    let mut looks = addresses
        .cancellations()
        .await?
        .watch_cancellation(request)
        .await?
        .into_inner();
    while let Some(look) = looks.message().await? {
        *lost_since = None;
        let cancellation = look.cancellation.ok_or_else(|| missing("cancellation"))?;
        show(meter, &cancellation);
        if cancellation.phase() == Phase::Done {
            return Ok(Some(cancellation));
        }
    }
    Ok(None)
}

/// Whether a later try may succeed: the service restarts, or has lost Temporal.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable { .. } => true,
        // A connection that breaks in the middle of a stream shows as UNKNOWN or CANCELLED.
        Failure::Rpc(status) => matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Aborted
        ),
        Failure::Mesh(_) | Failure::Usage(_) | Failure::Other(_) => false,
    }
}

fn show(meter: &mut Meter, cancellation: &Cancellation) {
    let progress = cancellation.progress.unwrap_or_default();
    let gone = progress.stopped.saturating_add(progress.already_closed);
    let (gone, open) = (
        u64::try_from(gone).unwrap_or(0),
        u64::try_from(progress.open).unwrap_or(0),
    );
    let mut message = format!("gone, {:.0} a second", progress.rate_per_second);
    if let Some(eta) = duration(progress.eta.as_ref()) {
        message.push_str(&format!(", zero in about {}", human_duration(eta)));
    }
    if progress.concurrency_limit > 0 {
        message.push_str(&format!(", {} at a time", progress.concurrency_limit));
    }
    if progress.failed > 0 {
        message.push_str(&format!(", {} failed", progress.failed));
    }
    meter.show(
        &phase_name(cancellation.phase()).to_lowercase(),
        gone,
        gone.saturating_add(open),
        &message,
    );
}
