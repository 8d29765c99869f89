//! One measurement: a fresh workload, one contender, one observer.

use super::contenders::{Place, Told};
use super::observer::Observer;
use super::plan::{Cell, Shape};
use super::server::{self, Server};
use super::stats::{per_second, rate_after, rounded};
use super::workload::Workload;
use crate::exit::Failure;
use crate::view::{duration, verdict_name};
use quell_api::canceler::v1::Receipt;
use serde::Serialize;
use std::time::{Duration, Instant};

/// What of the beginning [`Measurement::rate_after_2s`] leaves out, in seconds.
const SKIP: f64 = 2.0;
/// Between two pages of what has closed: a namespace has ten listings a second.
const PAGE_PAUSE: Duration = Duration::from_millis(150);

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Between two looks of the observer.
    pub(super) look_every: Duration,
    /// Between a contender's word that it is done and the count of what is alive.
    pub(super) settle: Duration,
    /// The longest that a contender may take.
    pub(super) limit: Duration,
}

/// One measurement. Absent values: not reached, or not said.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Measurement {
    pub(super) round: u32,
    pub(super) shape: Option<Shape>,
    pub(super) size: u32,
    pub(super) contender: String,
    /// WorkloadId; also the id of the cancellation or of the batch operation.
    pub(super) workload_id: String,
    /// Open when the stop began, by the index.
    pub(super) open_at_start: usize,
    /// Started a second when the stop began (tree).
    pub(super) growth_per_second: f64,
    /// From the start of stopping to the first empty look.
    pub(super) seconds: Option<f64>,
    /// From the start of stopping to the contender's own word that it is done.
    pub(super) seconds_to_done: Option<f64>,
    /// Closed, in all; where there was no zero, at the contender's end.
    pub(super) closed: usize,
    /// `closed` a second until the first empty look; where there was none, until the contender's end.
    pub(super) rate: Option<f64>,
    /// See [`rate_after`].
    pub(super) rate_after_2s: Option<f64>,
    /// Still open after the contender's end and the time to settle.
    pub(super) alive_at_done: Option<usize>,
    /// What it says it stopped.
    pub(super) said_stopped: Option<i64>,
    /// What it says it failed to stop.
    pub(super) said_failed: Option<i64>,
    /// Looks of the observer without an answer.
    pub(super) failed_looks: u32,
    /// Verdict of Quell's receipt.
    pub(super) verdict: Option<&'static str>,
    /// First zero by Quell's receipt.
    pub(super) receipt_seconds: Option<f64>,
    /// Why it broke off.
    pub(super) error: Option<String>,
}

impl Measurement {
    /// What is measured of a workload; nothing is known yet.
    pub(super) fn of(cell: &Cell, workload: &Workload) -> Self {
        Self {
            round: cell.round,
            shape: Some(cell.shape),
            size: cell.size,
            contender: cell.contender.name(),
            workload_id: workload.id.clone(),
            growth_per_second: rounded(workload.growth_per_second),
            ..Self::default()
        }
    }

    fn told(&mut self, told: &Told) {
        self.said_stopped = told.stopped;
        self.said_failed = told.failed;
        let zero = |receipt: &Receipt| duration(receipt.time_to_first_zero.as_ref());
        let receipt = told.receipt.as_ref();
        self.receipt_seconds = receipt.and_then(zero).map(|time| rounded(time.as_secs_f64()));
        self.verdict = receipt.map(|receipt| verdict_name(receipt.verdict()));
    }

    /// One line for people who wait.
    pub(super) fn line(&self) -> String {
        if let Some(error) = &self.error {
            return format!("{}: {error}", self.contender);
        }
        let zero = self
            .seconds
            .map_or_else(|| "no zero".to_owned(), |seconds| format!("zero after {seconds:.1} s"));
        let rate = self.rate.unwrap_or_default();
        let (closed, alive) = (self.closed, self.alive_at_done.unwrap_or_default());
        let verdict = self.verdict.map(|verdict| format!(", {verdict}")).unwrap_or_default();
        format!(
            "{}: {zero}, {closed} closed, {rate:.0} a second, {alive} alive when it said done{verdict}",
            self.contender
        )
    }
}

/// Lets the contender stop the workload and measures it. A contender that fails or takes too long is a measurement too: it says why.
pub(super) async fn measure(
    place: &Place<'_>,
    rules: Rules,
    cell: &Cell,
    workload: &Workload,
) -> Result<Measurement, Failure> {
    let mut measurement = Measurement::of(cell, workload);
    let (server, id) = (place.server, &workload.id);
    place.ready(cell.contender).await?;
    measurement.open_at_start = server.count(server::open(id)).await?;

    let start = Instant::now();
    let observer = Observer::start(server.clone(), id, rules.look_every, start);
    let outcome = tokio::time::timeout(rules.limit, place.stop(workload, observer.waiter())).await;
    let done = start.elapsed();
    match outcome {
        Ok(Ok(told)) => {
            measurement.seconds_to_done = Some(rounded(done.as_secs_f64()));
            measurement.told(&told);
        }
        Ok(Err(failure)) => measurement.error = Some(failure.to_string()),
        Err(_) => measurement.error = Some(format!("not done after {} s", rules.limit.as_secs())),
    }
    let closed_at_done = match observer.zero() {
        Some(_) => None,
        None => Some(server.count(server::closed(id)).await?),
    };
    tokio::time::sleep(rules.settle).await;
    let zero = observer.zero();
    measurement.alive_at_done = Some(server.count(server::open(id)).await?);
    let closed = close_times(server, id).await?;
    let (count, until) = match (zero, closed_at_done) {
        (None, Some(closed_at_done)) => (closed_at_done, done),
        _ => (closed.len(), zero.unwrap_or(done)),
    };
    measurement.seconds = zero.map(|zero| rounded(zero.as_secs_f64()));
    measurement.closed = count;
    measurement.rate = per_second(count, until.as_secs_f64());
    measurement.rate_after_2s = rate_after(SKIP, &closed);
    measurement.failed_looks = observer.failed_looks();
    Ok(measurement)
}

/// When each of a workload's closed executions closed, in seconds by the server's clock.
#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
async fn close_times(server: &Server, workload_id: &str) -> Result<Vec<f64>, Failure> {
    let (mut times, mut token) = (Vec::new(), Vec::new());
    loop {
        let (rows, next) = server.list(server::closed(workload_id), token).await?;
        let closed = rows.into_iter().filter_map(|row| row.close_time);
        times.extend(closed.map(|time| time.seconds as f64 + f64::from(time.nanos) / 1e9));
        if next.is_empty() {
            return Ok(times);
        }
        token = next;
        tokio::time::sleep(PAGE_PAUSE).await;
    }
}
