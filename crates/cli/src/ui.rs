//! What people and programs see.
//!
//! People get plain lines and, on a terminal, a progress bar. With `--json` standard output carries one JSON object as its last
//! line and nothing else; what is meant for people goes to standard error, so that a script may still be watched.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The most often that a plain line of progress is printed.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Where output goes.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    json: bool,
}

impl Ui {
    /// With or without JSON as the last line.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// A line for people.
    pub fn line(self, text: impl AsRef<str>) {
        // A reader that has gone away (`quell list | head -1`) is no reason to fail.
        let _ = if self.json {
            writeln!(std::io::stderr(), "{}", text.as_ref())
        } else {
            writeln!(std::io::stdout(), "{}", text.as_ref())
        };
    }

    /// The result for programs: printed only with `--json`, and last.
    pub fn result(self, value: &Value) {
        if self.json {
            let _ = writeln!(std::io::stdout(), "{value}");
        }
    }

    /// Progress towards zero, or towards a size.
    #[must_use]
    pub fn meter(self) -> Meter {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            // The template is a constant; if it were wrong the default style would be used.
            if let Ok(style) = ProgressStyle::with_template("{prefix:11} [{bar:36}] {pos}/{len} {msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            Meter {
                ui: self,
                bar: Some(bar),
                last: None,
            }
        } else {
            Meter {
                ui: self,
                bar: None,
                last: None,
            }
        }
    }
}

/// A progress bar on a terminal; elsewhere a plain line a second, and one at each change of the phase.
#[derive(Debug)]
pub struct Meter {
    ui: Ui,
    bar: Option<ProgressBar>,
    last: Option<(String, Instant)>,
}

impl Meter {
    /// Shows how far it is.
    pub fn show(&mut self, phase: &str, position: u64, length: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(length);
            bar.set_position(position);
            bar.set_prefix(phase.to_owned());
            bar.set_message(message.to_owned());
            return;
        }
        let due = self
            .last
            .as_ref()
            .is_none_or(|(shown, when)| shown != phase || when.elapsed() >= LINE_EVERY);
        if due {
            self.ui.line(format!("{phase:11} {position}/{length} {message}"));
            self.last = Some((phase.to_owned(), Instant::now()));
        }
    }

    /// A line that stays, above the bar.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.ui.line(text)),
            None => self.ui.line(text),
        }
    }

    /// Ends it; the bar stays as it is.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
            // The bar leaves the cursor at its end, and the next line may go to standard output.
            let _ = writeln!(std::io::stderr());
        }
    }
}

/// A time for people: "4.2 s", "3 min 20 s", "2 h 5 min".
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!(human_duration(Duration::from_millis(4200)), "4.2 s");
        assert_eq!(human_duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(human_duration(Duration::from_secs(7500)), "2 h 5 min");
    }
}
