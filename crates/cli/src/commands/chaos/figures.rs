//! What others lose: the figures that ours stand beside.

use serde_json::{Value, json};

/// Losses of a restart interval, in percent of the activities.
struct Row {
    /// How long a worker is up, in seconds.
    every: f64,
    /// seeds/lost-activity-tasks.txt: the Python SDK of its day, 1,000 activities.
    document: [f64; 2],
    /// The Python SDK 1.35 measured for this project, 1,000 activities, where it was.
    measured: [Option<&'static str>; 2],
}

/// One worker, then ten.
const ROWS: [Row; 7] = [
    row(0.1, [2.6, 4.2], [Some("10-14"), Some("32.7")]),
    row(0.25, [1.3, 1.5], [None, None]),
    row(0.5, [1.0, 0.9], [Some("2.6-3.7"), Some("3.7")]),
    row(1.0, [0.8, 0.6], [Some("0.9-1.2"), Some("2.7")]),
    row(2.0, [0.1, 0.1], [None, None]),
    row(4.0, [0.1, 0.2], [None, None]),
    row(8.0, [0.1, 0.1], [None, None]),
];

const fn row(every: f64, document: [f64; 2], measured: [Option<&'static str>; 2]) -> Row {
    Row {
        every,
        document,
        measured,
    }
}

/// The table for people, with ours in the line and the column where it belongs.
pub(super) fn table(every: f64, workers: u32, lost: f64) -> Vec<String> {
    let mut lines = vec![
        "lost activities, in percent".to_owned(),
        format!(
            "{:>13} | {:>9} {:>9} | {:>9} {:>9} | {:>9}",
            "", "document", "", "Python", "1.35", "Quell"
        ),
        format!(
            "{:>13} | {:>9} {:>9} | {:>9} {:>9} | {:>9}",
            "restart every",
            "1 worker",
            "10",
            "1 worker",
            "10",
            format!("{workers} worker{}", if workers == 1 { "" } else { "s" })
        ),
    ];
    let ours = format!("{lost:.2}");
    let mut shown = false;
    for row in &ROWS {
        if every < row.every - 1e-9 && !shown {
            lines.push(line(every, ["-"; 4].map(str::to_owned), &ours));
            shown = true;
        }
        let same = (row.every - every).abs() < 1e-9;
        let [one, ten] = row.document.map(|percent| format!("{percent:.1}"));
        let [one_now, ten_now] = row.measured.map(|percent| percent.unwrap_or("-").to_owned());
        lines.push(line(
            row.every,
            [one, ten, one_now, ten_now],
            if same { &ours } else { "" },
        ));
        shown |= same;
    }
    if !shown {
        lines.push(line(every, ["-"; 4].map(str::to_owned), &ours));
    }
    lines
}

fn line(every: f64, [one, ten, one_now, ten_now]: [String; 4], ours: &str) -> String {
    format!("{every:>11} s | {one:>9} {ten:>9} | {one_now:>9} {ten_now:>9} | {ours:>9}")
        .trim_end()
        .to_owned()
}

/// The figures of the others for programs.
pub(super) fn json() -> Value {
    ROWS.iter()
        .map(|row| {
            json!({
                "restart_every": row.every,
                "document": { "1": row.document[0], "10": row.document[1] },
                "python_1_35": { "1": row.measured[0], "10": row.measured[1] },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(every: f64) -> Vec<String> {
        let lines = table(every, 10, 0.25);
        lines.into_iter().filter(|line| line.ends_with("0.25")).collect()
    }

    #[test]
    fn ours_stands_once_in_its_line() {
        assert_eq!(ours(0.1).len(), 1);
        assert!(ours(0.1)[0].contains("32.7"), "{:?}", ours(0.1));
        for between in [0.05, 0.3, 100.0] {
            assert_eq!(ours(between).len(), 1, "{between}");
            assert_eq!(table(between, 10, 0.25).len(), 3 + ROWS.len() + 1);
        }
        assert_eq!(table(8.0, 1, 0.25).len(), 3 + ROWS.len());
    }

    #[test]
    fn programs_get_every_line() {
        assert_eq!(json().as_array().map(Vec::len), Some(ROWS.len()));
    }
}
