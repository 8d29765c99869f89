//! What the server can do. Versions were read from the servers' sources, each kind in the oldest version that has it: 1.19.1 (terminate,
//! cancel, signal, delete), 1.21.6 (reset), 1.23.1 (its options). What no server can do is not offered: a signal after a reset is in
//! the protocol, and refused for each execution by all servers up to 1.32.0.

use super::{
    action::{Action, Kind, ResetTo},
    server::JobServer,
};
use quell_api::batch::v1 as pb;
use quell_mesh::error::{Error, Reason};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tonic::{Code, Status};

/// How long a version is taken for true: servers are upgraded now and then.
const KEEP: Duration = Duration::from_secs(60);

/// Names no operation: ours begin with `quell-batch-` and a request id, and an empty one is none.
const PROBE: &str = "quell-batch-";

/// A version, as far as it decides: major and minor.
type Version = (u32, u32);

/// What the server can do, asked for at most once a minute.
#[derive(Clone)]
pub(crate) struct Support {
    server: Arc<dyn JobServer>,
    known: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Support {
    /// Of this server.
    pub(crate) fn new(server: Arc<dyn JobServer>) -> Self {
        Self {
            server,
            known: Arc::default(),
        }
    }

    /// Refuses what the server cannot do, with what would be needed.
    ///
    /// # Errors
    /// [`Reason::TemporalUnsupported`], or whatever keeps the server from telling its version.
    pub(crate) async fn check(&self, action: &Action) -> Result<(), Error> {
        let version = self.version().await?;
        match needs(action, &version) {
            None => Ok(()),
            Some(needs) => Err(Error::precondition(Reason::TemporalUnsupported, "temporal", needs)),
        }
    }

    /// All that is known.
    ///
    /// # Errors
    /// As for [`Support::check`].
    pub(crate) async fn describe(&self) -> Result<pb::DescribeServerResponse, Error> {
        let version = self.version().await?;
        let kinds = Kind::ALL.map(|kind| {
            let needs = missing(&version, since(kind), name(kind));
            pb::KindSupport {
                kind: kind.proto().into(),
                supported: needs.is_none(),
                needs: needs.unwrap_or_default(),
            }
        });
        Ok(pb::DescribeServerResponse {
            version,
            kinds: kinds.into(),
            limits: LIMITS
                .map(|(name, value)| pb::ServerLimit {
                    name: name.to_owned(),
                    value,
                    assumed: true,
                })
                .into(),
        })
    }

    async fn version(&self) -> Result<String, Error> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, version)) = known
            && at.elapsed() < KEEP
        {
            return Ok(version);
        }
        let version = self.server.version().await?;
        // Whether it is switched on is told by its answers only; there is no operation of this id.
        self.server.describe(PROBE).await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), version.clone()));
        Ok(version)
    }
}

/// What a server has that nobody has configured otherwise; no call tells them.
const LIMITS: [(&str, i64); 5] = [
    ("frontend.MaxConcurrentBatchOperationPerNamespace", 1),
    ("frontend.MaxExecutionCountBatchOperationPerNamespace", 1_000),
    ("worker.batcherRPS", 50),
    ("worker.batcherConcurrency", 5),
    ("frontend.namespaceRPS.visibility", 10),
];

fn since(kind: Kind) -> Version {
    match kind {
        Kind::Terminate | Kind::Cancel | Kind::Signal | Kind::Delete => (1, 19),
        Kind::Reset => (1, 21),
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Terminate => "terminate in a batch",
        Kind::Cancel => "cancel in a batch",
        Kind::Signal => "signal in a batch",
        Kind::Delete => "delete in a batch",
        Kind::Reset => "reset in a batch",
    }
}

/// What an action would need that the server lacks.
fn needs(action: &Action, version: &str) -> Option<String> {
    if let Some(needs) = missing(version, since(action.kind()), name(action.kind())) {
        return Some(needs);
    }
    let Action::Reset(reset) = action else { return None };
    if matches!(reset.to, ResetTo::BuildId(_)) || !reset.exclude.is_empty() {
        return missing(version, (1, 23), "reset to a build id, or exclude events");
    }
    None
}

fn missing(version: &str, needed: Version, what: &str) -> Option<String> {
    // A version that is none of ours to read (a cloud's own) is newer than all of these.
    let is = parse(version)?;
    (is < needed).then(|| {
        format!(
            "to {what} the Temporal server must be {}.{} or newer; it is {version}",
            needed.0, needed.1
        )
    })
}

fn parse(version: &str) -> Option<Version> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether the server has its batch operations switched off. Its word for that is a refusal of our credentials.
pub(crate) fn is_switched_off(status: &Status) -> bool {
    status.code() == Code::PermissionDenied && status.message().contains("Batch operation feature")
}

/// What is said then.
pub(crate) fn switched_off() -> Error {
    Error::precondition(
        Reason::TemporalUnsupported,
        "temporal",
        "batch operations are switched off for this namespace; its operator must set frontend.enableBatcher to true",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::action::{Exclude, Reset, Signal};

    fn reset(change: impl FnOnce(&mut Reset)) -> Action {
        let mut reset = Reset {
            to: ResetTo::Last,
            current_run_only: false,
            exclude: Vec::new(),
        };
        change(&mut reset);
        Action::Reset(reset)
    }

    #[test]
    fn what_a_server_lacks_is_told_with_what_would_be_needed() {
        let signal = Signal {
            name: "s".to_owned(),
            input: Vec::new(),
        };
        let plain = reset(|_| {});
        let build = reset(|reset| reset.to = ResetTo::BuildId("b".to_owned()));
        let exclude = reset(|reset| reset.exclude.push(Exclude::Signal));
        for (action, old, new) in [
            (&Action::Terminate, "1.18.5", "1.19.1"),
            (&Action::Signal(signal), "1.16.0", "1.19.0"),
            (&Action::Delete, "1.18.5", "v1.29.1"),
            (&plain, "1.20.4", "1.21.6"),
            (&build, "1.22.7", "1.23.0"),
            (&exclude, "1.21.6", "1.23.1"),
        ] {
            let needs = needs(action, old).unwrap();
            assert!(needs.contains(old) && needs.contains("or newer"), "{needs}");
            assert_eq!(super::needs(action, new), None, "{action:?}");
        }
        assert_eq!(needs(&exclude, "cloud"), None);
    }

    #[test]
    fn a_switched_off_batcher_is_no_matter_of_credentials() {
        // Word for word the server's.
        let off = Status::permission_denied("Batch operation feature are disabled on this namespace.");
        assert!(is_switched_off(&off));
        assert!(!is_switched_off(&Status::permission_denied("Request unauthorized.")));
        assert_eq!(switched_off().reason(), Reason::TemporalUnsupported);
    }
}
