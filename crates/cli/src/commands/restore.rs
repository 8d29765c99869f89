//! `quell restore`: undoes a cancellation and watches until that is done.

use super::missing;
use super::outlive::{Away, outlive};
use super::stop::typed;
use crate::clients::{Addresses, unary};
use crate::exit::{self, Failure};
use crate::ui::{Meter, Ui};
use crate::view::{restoration_json, restoration_lines, restoration_phase};
use quell_api::canceler::v1::{
    Restoration, RestorationPhase, RestorationVerdict, RestoreCancellationRequest, RestoreCancellationResponse,
    StopRestorationRequest, WatchRestorationRequest,
};
use serde_json::json;
use std::io::IsTerminal as _;

/// Arguments of `quell restore`. What is not given the service decides.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// Id of the cancellation to undo.
    cancellation_id: String,
    /// Why; stored on every restored execution and in the report [default: restored by request].
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// The most executions that may be reset [default: 10000].
    #[arg(long, value_name = "N")]
    max_affected: Option<i64>,
    /// Calls in flight at once [default: 16].
    #[arg(long, value_name = "N")]
    concurrency: Option<i32>,
    /// Leave the sources quiesced: restored spawners keep still until the receipt's time is over.
    #[arg(long)]
    no_resume: bool,
    /// Do not ask, on a terminal, for the count to be typed.
    #[arg(long)]
    yes: bool,
    /// Only check, and tell how many were stopped; change nothing.
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    /// End the one that runs: nothing more is reset, and what was reset runs on.
    #[arg(long, conflicts_with_all = ["dry_run", "detach", "max_affected", "concurrency", "no_resume"])]
    stop: bool,
    /// Start it and return without watching.
    #[arg(long)]
    detach: bool,
}

impl RestoreArgs {
    fn request(&self, validate_only: bool) -> RestoreCancellationRequest {
        RestoreCancellationRequest {
            cancellation_id: self.cancellation_id.clone(),
            reason: self.reason.clone(),
            max_affected: self.max_affected.unwrap_or_default(),
            concurrency: self.concurrency.unwrap_or_default(),
            validate_only,
            resume_sources: self.no_resume.then_some(false),
        }
    }
}

pub(super) async fn run(ui: Ui, addresses: &Addresses, args: RestoreArgs) -> Result<u8, Failure> {
    if args.stop {
        let request = StopRestorationRequest {
            cancellation_id: args.cancellation_id.clone(),
            reason: args.reason.clone(),
        };
        addresses
            .cancellations()
            .await?
            .stop_restoration(unary(request))
            .await?;
        return watch(ui, addresses, &args.cancellation_id).await;
    }
    let asks = !args.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if args.dry_run || asks {
        let checked = ask_service(addresses, args.request(true)).await?;
        ui.line(format!(
            "{} executions were stopped by {}; what the server's cascade ended with them comes on top",
            checked.stopped, checked.cancellation_id
        ));
        if args.dry_run {
            ui.result(&json!({ "cancellation_id": checked.cancellation_id, "stopped": checked.stopped }));
            return Ok(exit::OK);
        }
        if !typed(checked.stopped, "restore them")? {
            return Err(Failure::Other("nothing was restored: that is not the count".to_owned()));
        }
    }
    let started = ask_service(addresses, args.request(false)).await?;
    let id = &started.cancellation_id;
    let verb = if started.joined {
        "joined the restoration"
    } else {
        "restoration"
    };
    ui.line(format!("{verb} of {id}: {} were stopped", started.stopped));
    if args.detach {
        ui.line(format!("`quell restore {id}` joins it and watches"));
        ui.result(&json!({ "cancellation_id": id, "stopped": started.stopped, "joined": started.joined }));
        return Ok(exit::OK);
    }
    watch(ui, addresses, id).await
}

/// Watches a restoration to its end and tells of it.
async fn watch(ui: Ui, addresses: &Addresses, id: &str) -> Result<u8, Failure> {
    let ended = tokio::select! {
        ended = until_done(ui, addresses, id) => ended?,
        _ = tokio::signal::ctrl_c() => {
            let hint = format!("the restoration goes on; `quell restore {id}` joins it and watches");
            return Err(Failure::Other(hint));
        }
    };
    for line in restoration_lines(&ended) {
        ui.line(line);
    }
    ui.result(&restoration_json(&ended));
    Ok(of_verdict(ended.verdict()))
}

async fn ask_service(
    addresses: &Addresses,
    request: RestoreCancellationRequest,
) -> Result<RestoreCancellationResponse, Failure> {
    let mut client = addresses.cancellations().await?;
    Ok(client.restore_cancellation(unary(request)).await?.into_inner())
}

/// The exit code of a restoration: what of it is left undone is told as for a cancellation.
fn of_verdict(verdict: RestorationVerdict) -> u8 {
    match verdict {
        RestorationVerdict::Restored => exit::OK,
        RestorationVerdict::Partial => exit::RESIDUE,
        RestorationVerdict::Refused => exit::BLOCKED,
        RestorationVerdict::Aborted => exit::ABORTED,
        RestorationVerdict::Unspecified => exit::FAILED,
    }
}

async fn until_done(ui: Ui, addresses: &Addresses, cancellation_id: &str) -> Result<Restoration, Failure> {
    let mut meter = ui.meter();
    let outcome = outlive("canceler", "restoration", &mut meter, async |meter, away| {
        stream(addresses, cancellation_id, meter, away).await
    })
    .await;
    meter.finish();
    outcome
}

/// One stream: to the end of the restoration, or of the stream.
async fn stream(
    addresses: &Addresses,
    cancellation_id: &str,
    meter: &mut Meter,
    away: &mut Away,
) -> Result<Option<Restoration>, Failure> {
    let request = WatchRestorationRequest {
        cancellation_id: cancellation_id.to_owned(),
    };
    let mut client = addresses.cancellations().await?;
    let mut looks = client.watch_restoration(request).await?.into_inner();
    while let Some(look) = looks.message().await? {
        away.answered();
        let restoration = look.restoration.ok_or_else(|| missing("restoration"))?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let (done, of, what) = match restoration.phase() {
            RestorationPhase::Surveying => (restoration.surveyed, restoration.surveyed, "described"),
            _ => (restoration.done, restoration.planned, "reset"),
        };
        let phase = restoration_phase(restoration.phase()).to_lowercase();
        meter.show(&phase, count(done), count(of), what);
        if restoration.verdict() != RestorationVerdict::Unspecified {
            return Ok(Some(restoration));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_verdicts_apart() {
        let verdicts = [
            RestorationVerdict::Restored,
            RestorationVerdict::Partial,
            RestorationVerdict::Refused,
            RestorationVerdict::Aborted,
            RestorationVerdict::Unspecified,
        ];
        assert_eq!(verdicts.map(of_verdict), [0, 2, 3, 4, 1]);
    }
}
