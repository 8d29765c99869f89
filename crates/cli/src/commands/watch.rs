//! `quell watch`: a cancellation until it is done. `stop` and `demo` end in the same loop.
//!
//! A cancellation outlives the replica that shows it: see [`outlive`].

use super::missing;
use super::outlive::{Away, outlive};
use crate::clients::Addresses;
use crate::exit::{self, Failure};
use crate::ui::{Meter, Ui, human_duration};
use crate::view::{cancellation_json, duration, phase_name, verdict_name};
use quell_api::canceler::v1::{Cancellation, Verdict, WatchCancellationRequest};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time over which a rate is taken.
const RATE_OVER: Duration = Duration::from_secs(5);

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
    ui.line(format!("its receipt: quell receipt {}", args.cancellation_id));
    ui.result(&cancellation_json(&cancellation));
    Ok(exit::of_verdict(cancellation.verdict()))
}

/// Shows the progress of a cancellation until it is done, and gives its last state.
pub(super) async fn until_done(ui: Ui, addresses: &Addresses, cancellation_id: &str) -> Result<Cancellation, Failure> {
    let mut meter = ui.meter();
    let mut course = Course::default();
    let outcome = outlive("canceler", "cancellation", &mut meter, async |meter, away| {
        stream(addresses, cancellation_id, meter, &mut course, away).await
    })
    .await;
    meter.finish();
    outcome
}

/// One stream: to the end of the cancellation, or of the stream.
async fn stream(
    addresses: &Addresses,
    cancellation_id: &str,
    meter: &mut Meter,
    course: &mut Course,
    away: &mut Away,
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
        away.answered();
        let cancellation = look.cancellation.ok_or_else(|| missing("cancellation"))?;
        show(meter, course, &cancellation);
        if cancellation.verdict() != Verdict::Unspecified {
            return Ok(Some(cancellation));
        }
    }
    Ok(None)
}

/// How far a cancellation is, as its reader sees it.
///
/// What is gone is the largest number ever seen, less what is open now: most of a tree is closed by the server's cascade, which
/// no figure of our own stops contains.
#[derive(Debug, Default)]
struct Course {
    peak: u64,
    /// What was gone at the looks of the last seconds.
    recent: VecDeque<(Instant, u64)>,
}

/// What is shown at one look.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    gone: u64,
    peak: u64,
    /// Executions gone a second, over the last seconds.
    rate: f64,
    to_zero: Option<Duration>,
}

impl Course {
    #[expect(clippy::cast_precision_loss, reason = "a count of executions is far below 2^52")]
    fn look(&mut self, now: Instant, gone: i64, open: i64) -> Point {
        // Before the first count nothing is known to be open.
        let [known_gone, open] = [gone, open].map(|count| u64::try_from(count).unwrap_or(0));
        self.peak = self.peak.max(known_gone.saturating_add(open));
        let gone = self.peak - open;
        self.recent.push_back((now, gone));
        while self
            .recent
            .front()
            .is_some_and(|(then, _)| now.duration_since(*then) > RATE_OVER)
        {
            self.recent.pop_front();
        }
        let (since, before) = self.recent.front().copied().unwrap_or((now, gone));
        let seconds = now.duration_since(since).as_secs_f64();
        let rate = if seconds > 0.0 {
            gone.saturating_sub(before) as f64 / seconds
        } else {
            0.0
        };
        let to_zero = (rate > 0.0 && open > 0)
            .then(|| Duration::try_from_secs_f64(open as f64 / rate).ok())
            .flatten();
        Point {
            gone,
            peak: self.peak,
            rate,
            to_zero,
        }
    }
}

fn show(meter: &mut Meter, course: &mut Course, cancellation: &Cancellation) {
    let progress = cancellation.progress.unwrap_or_default();
    let counted = progress.stopped.saturating_add(progress.already_closed);
    let point = course.look(Instant::now(), counted, progress.open);
    let mut message = format!("gone, {:.0} a second", point.rate);
    if let Some(time) = point.to_zero {
        message.push_str(&format!(", zero in about {}", human_duration(time)));
    }
    if progress.concurrency_limit > 0 {
        message.push_str(&format!(", {} at a time", progress.concurrency_limit));
        if let Some(latency) = duration(progress.latency.as_ref()) {
            message.push_str(&format!(" ({:.1} ms each)", latency.as_secs_f64() * 1_000.0));
        }
    }
    if progress.failed > 0 {
        message.push_str(&format!(", {} failed", progress.failed));
    }
    meter.show(
        &phase_name(cancellation.phase()).to_lowercase(),
        point.gone,
        point.peak,
        &message,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cascade_closes_counts_as_gone() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut course = Course::default();
        assert_eq!(course.look(start, 0, -1).peak, 0);
        assert_eq!(course.look(start, 0, 1000).gone, 0);
        // One stop of ours, and 399 of the cascade.
        let point = course.look(after(2), 1, 600);
        assert_eq!((point.gone, point.peak), (400, 1000));
        assert!((point.rate - 200.0).abs() < 1e-9);
        assert_eq!(point.to_zero, Some(Duration::from_secs(3)));
        let end = course.look(after(4), 300, 0);
        assert_eq!((end.gone, end.to_zero), (1000, None));
    }

    #[test]
    fn a_snowball_that_still_grows_raises_the_peak() {
        let mut course = Course::default();
        let now = Instant::now();
        course.look(now, 0, 100);
        let point = course.look(now, 50, 150);
        assert_eq!((point.gone, point.peak), (50, 200));
        assert!(point.rate.abs() < 1e-9, "no time has passed");
    }
}
