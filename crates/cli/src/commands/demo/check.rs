//! What the demo asks others than our own services: the server's count by Temporal's command line, the trace by Jaeger.

use crate::dev::{DevMesh, http_get, wait_until};
use crate::exit::Failure;
use crate::tools::{self, Reach};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// How long the services' last spans may take to reach Jaeger.
const TRACE_WITHIN: Duration = Duration::from_secs(10);

/// Counts by `temporal workflow count`.
pub(super) struct Counter {
    program: PathBuf,
    address: String,
    namespace: String,
}

impl Counter {
    pub(super) async fn new(mesh: &DevMesh) -> Result<Self, Failure> {
        Ok(Self {
            program: tools::find(&tools::TEMPORAL, Reach::Local).await?.path,
            address: mesh.temporal_address().trim_start_matches("http://").to_owned(),
            namespace: mesh.main_namespace().to_owned(),
        })
    }

    fn args<'a>(&'a self, query: &'a str) -> [&'a str; 8] {
        [
            "workflow",
            "count",
            "--address",
            &self.address,
            "--namespace",
            &self.namespace,
            "--query",
            query,
        ]
    }

    /// The command, to be repeated by hand.
    pub(super) fn command_line(&self, query: &str) -> String {
        let args = self.args(query);
        let words = args.iter().map(|word| {
            if word.contains('"') {
                format!("'{word}'")
            } else {
                (*word).to_owned()
            }
        });
        format!("temporal {}", words.collect::<Vec<_>>().join(" "))
    }

    pub(super) async fn count(&self, query: &str) -> Result<i64, Failure> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(self.args(query))
            .args(["--output", "json"])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let cannot = |reason: String| Failure::Other(format!("temporal workflow count: {reason}"));
        let output = command.output().await.map_err(|error| cannot(error.to_string()))?;
        if !output.status.success() {
            return Err(cannot(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        parse_count(&output.stdout).ok_or_else(|| cannot("its answer cannot be read".to_owned()))
    }
}

/// The count in the command's JSON. The protobuf mapping writes a 64-bit number as a string, and leaves a zero out.
fn parse_count(answer: &[u8]) -> Option<i64> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    match answer.as_object()?.get("count") {
        None => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_i64(),
    }
}

/// How many spans Jaeger holds of a trace, and of which services, once more than one service is there.
pub(super) async fn trace_summary(jaeger_port: u16, trace_id: &str) -> Result<String, String> {
    let path = format!("/api/traces/{trace_id}");
    wait_until(TRACE_WITHIN, || async {
        let body = http_get(jaeger_port, &path).await?;
        let (spans, services) = parse_trace(&body).ok_or("its answer cannot be read")?;
        if services.len() < 2 {
            return Err(format!("{spans} spans of {services:?} only"));
        }
        let services: Vec<String> = services.into_iter().collect();
        Ok(format!("{spans} spans of {}", services.join(", ")))
    })
    .await
}

fn parse_trace(body: &[u8]) -> Option<(usize, BTreeSet<String>)> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let trace = answer.get("data")?.get(0)?;
    let spans = trace.get("spans")?.as_array()?.len();
    let processes = trace.get("processes")?.as_object()?;
    let names = processes
        .values()
        .filter_map(|process| Some(process.get("serviceName")?.as_str()?.to_owned()));
    Some((spans, names.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_the_command_writes_them() {
        assert_eq!(parse_count(br#"{"count":"5012"}"#), Some(5012));
        assert_eq!(parse_count(br#"{"count":7}"#), Some(7));
        assert_eq!(parse_count(b"{}"), Some(0));
        assert_eq!(parse_count(b"Total: 5"), None);
        assert_eq!(parse_count(br#"{"count":"many"}"#), None);
    }

    #[test]
    fn a_trace_is_counted_by_service() {
        let body = br#"{"data":[{"spans":[{},{},{}],"processes":{"p1":{"serviceName":"quell-work"},"p2":{"serviceName":"quell-batch"}}}]}"#;
        let (spans, services) = parse_trace(body).unwrap();
        assert_eq!(spans, 3);
        assert_eq!(services, ["quell-batch".to_owned(), "quell-work".to_owned()].into());
        assert_eq!(parse_trace(br#"{"data":[]}"#), None);
    }
}
