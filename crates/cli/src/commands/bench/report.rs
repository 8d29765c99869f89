//! What the measurements come to: a table for people, one object for programs.

use super::measure::Measurement;
use super::plan::Shape;
use super::server::About;
use super::stats::Spread;
use serde::Serialize;
use std::collections::BTreeMap;

/// Under which conditions was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Conditions {
    pub(super) server: About,
    /// `own`, started for this run, or `existing`.
    pub(super) mesh: &'static str,
    /// Cores that this process may use.
    pub(super) cores: usize,
    /// How this program was built, and with an own mesh the services too: `dev` or `release`.
    pub(super) profile: &'static str,
    pub(super) started: String,
    pub(super) rounds: u32,
    pub(super) sizes: Vec<u32>,
    pub(super) ladder: Vec<u32>,
    pub(super) look_every_seconds: f64,
    pub(super) settle_seconds: f64,
}

impl Conditions {
    pub(super) fn lines(&self) -> Vec<String> {
        let About {
            version,
            store,
            visibility_store,
            history_shards,
        } = &self.server;
        let shards = history_shards.map_or_else(String::new, |shards| format!(", history shards: {shards}"));
        vec![
            format!("server      Temporal {version}, stores {store} and {visibility_store} (visibility){shards}"),
            format!(
                "machine     {} cores, {} mesh, {} profile",
                self.cores, self.mesh, self.profile
            ),
            format!(
                "observer    a listing of one row every {:.2} s; what is alive is counted {:.1} s after a contender's end",
                self.look_every_seconds, self.settle_seconds
            ),
        ]
    }
}

/// A contender against another: ratios of medians.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Ratio {
    /// Of the times to the first zero.
    pub(super) seconds: Option<f64>,
    /// Of the rates.
    pub(super) rate: Option<f64>,
    /// Of the rates after the first two seconds.
    pub(super) rate_after_2s: Option<f64>,
}

/// All rounds of one contender at one shape and size.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    pub(super) shape: Option<Shape>,
    pub(super) size: u32,
    pub(super) contender: String,
    /// Measurements that did not break off.
    pub(super) runs: usize,
    /// Of those, the ones that came to a zero.
    pub(super) zeros: usize,
    /// Those that broke off.
    pub(super) errors: usize,
    pub(super) seconds: Option<Spread>,
    pub(super) rate: Option<Spread>,
    pub(super) rate_after_2s: Option<Spread>,
    /// The most that was alive when it said that it was done.
    pub(super) most_alive_at_done: Option<usize>,
    /// Verdicts of Quell's receipts, with their number.
    pub(super) verdicts: BTreeMap<&'static str, usize>,
    /// Against `raw_best`, `root` and `batch`, where those were measured.
    pub(super) ratios: BTreeMap<&'static str, Ratio>,
}

impl Summary {
    fn of(measurements: &[&Measurement]) -> Option<Self> {
        let first = measurements.first()?;
        let whole: Vec<_> = measurements
            .iter()
            .filter(|measurement| measurement.error.is_none())
            .collect();
        let mut verdicts = BTreeMap::new();
        for verdict in whole.iter().filter_map(|measurement| measurement.verdict) {
            *verdicts.entry(verdict).or_default() += 1;
        }
        Some(Self {
            shape: first.shape,
            size: first.size,
            contender: first.contender.clone(),
            runs: whole.len(),
            zeros: whole.iter().filter(|measurement| measurement.seconds.is_some()).count(),
            errors: measurements.len() - whole.len(),
            seconds: Spread::of(whole.iter().filter_map(|measurement| measurement.seconds)),
            rate: Spread::of(whole.iter().filter_map(|measurement| measurement.rate)),
            rate_after_2s: Spread::of(whole.iter().filter_map(|measurement| measurement.rate_after_2s)),
            most_alive_at_done: whole.iter().filter_map(|measurement| measurement.alive_at_done).max(),
            verdicts,
            ratios: BTreeMap::new(),
        })
    }

    fn against(&self, reference: &Self) -> Ratio {
        Ratio {
            seconds: Spread::ratio(self.seconds, reference.seconds),
            rate: Spread::ratio(self.rate, reference.rate),
            rate_after_2s: Spread::ratio(self.rate_after_2s, reference.rate_after_2s),
        }
    }

    fn is_raw(&self) -> bool {
        self.contender.starts_with("raw@")
    }
}

/// One summary for each contender, shape and size, in the order of the first round.
pub(super) fn summaries(measurements: &[Measurement]) -> Vec<Summary> {
    let mut groups: Vec<Vec<&Measurement>> = Vec::new();
    for measurement in measurements {
        let same = |group: &&mut Vec<&Measurement>| {
            group.first().is_some_and(|first| {
                (first.shape, first.size, &first.contender)
                    == (measurement.shape, measurement.size, &measurement.contender)
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(measurement),
            None => groups.push(vec![measurement]),
        }
    }
    let mut summaries: Vec<Summary> = groups.iter().filter_map(|group| Summary::of(group)).collect();
    let all = summaries.clone();
    for summary in &mut summaries {
        let same: Vec<&Summary> = all
            .iter()
            .filter(|other| (other.shape, other.size) == (summary.shape, summary.size))
            .collect();
        let named = |name: &str| same.iter().find(|other| other.contender == name).copied();
        let references = [
            ("raw_best", raw_best(&same)),
            ("root", named("root")),
            ("batch", named("batch")),
        ];
        for (name, reference) in references {
            if let Some(reference) = reference {
                summary.ratios.insert(name, summary.against(reference));
            }
        }
    }
    summaries
}

/// The rung of the ladder with the highest median rate.
fn raw_best<'a>(summaries: &[&'a Summary]) -> Option<&'a Summary> {
    let rate = |summary: &Summary| summary.rate.map_or(0.0, |rate| rate.median);
    let rungs = summaries.iter().filter(|summary| summary.is_raw()).copied();
    rungs.max_by(|one, other| rate(one).total_cmp(&rate(other)))
}

/// The table: one block for each shape and size.
pub(super) fn table(summaries: &[Summary]) -> Vec<String> {
    let mut blocks: Vec<(Option<Shape>, u32)> = Vec::new();
    for summary in summaries {
        if !blocks.contains(&(summary.shape, summary.size)) {
            blocks.push((summary.shape, summary.size));
        }
    }
    let mut lines = Vec::new();
    for (shape, size) in blocks {
        let block = summaries
            .iter()
            .filter(|summary| (summary.shape, summary.size) == (shape, size));
        let block: Vec<&Summary> = block.collect();
        lines.push(String::new());
        lines.push(match shape {
            Some(Shape::Flat) => format!("flat, {size} workflows, idle"),
            Some(Shape::Tree) => format!("tree, still spawning at {size} open workflows"),
            None => format!("{size} workflows"),
        });
        let best = raw_best(&block).map(|summary| summary.contender.as_str());
        let mut rows = vec![header(shape)];
        rows.extend(block.iter().map(|summary| row(summary, best)));
        lines.extend(aligned(&rows));
    }
    lines
}

fn header(shape: Option<Shape>) -> Vec<String> {
    let references = match shape {
        Some(Shape::Tree) => ["time / root", "rate / batch"],
        Some(Shape::Flat) | None => ["rate / raw best", "after 2 s / raw best"],
    };
    let fixed = ["", "zero", "seconds (min-max)", "a second (min-max)", "after 2 s"];
    let last = ["alive at its end", "verdict"];
    let words = fixed.into_iter().chain(references).chain(last);
    words.map(str::to_owned).collect()
}

fn row(summary: &Summary, best: Option<&str>) -> Vec<String> {
    let absent = || "-".to_owned();
    let spread = |spread: Option<Spread>, digits: usize| {
        spread.map_or_else(absent, |Spread { median, min, max }| {
            format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
        })
    };
    let ratio = |reference: &str, choose: fn(&Ratio) -> Option<f64>| {
        let ratio = summary.ratios.get(reference).and_then(choose);
        ratio.map_or_else(absent, |ratio| format!("{ratio:.2}"))
    };
    let ratios = match summary.shape {
        Some(Shape::Tree) => [ratio("root", |ratio| ratio.seconds), ratio("batch", |ratio| ratio.rate)],
        Some(Shape::Flat) | None => [
            ratio("raw_best", |ratio| ratio.rate),
            ratio("raw_best", |ratio| ratio.rate_after_2s),
        ],
    };
    let mut name = summary.contender.clone();
    if best == Some(name.as_str()) {
        name.push_str(" (raw best)");
    }
    let mut verdict: Vec<String> = summary
        .verdicts
        .iter()
        .map(|(verdict, times)| format!("{times} {verdict}"))
        .collect();
    if summary.errors > 0 {
        verdict.push(format!("{} broke off", summary.errors));
    }
    let mut row = vec![
        name,
        format!("{} of {}", summary.zeros, summary.runs),
        spread(summary.seconds, 1),
        spread(summary.rate, 0),
        summary
            .rate_after_2s
            .map_or_else(absent, |rate| format!("{:.0}", rate.median)),
    ];
    row.extend(ratios);
    row.push(summary.most_alive_at_done.map_or_else(absent, |most| most.to_string()));
    row.push(verdict.join(", "));
    row
}

/// Columns below each other; the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| {
            if column == 0 {
                format!("{cell:width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
