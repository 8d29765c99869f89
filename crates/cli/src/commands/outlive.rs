//! Watching what outlives the replica that shows it: a broken stream is asked for again, until the service has been away for
//! [`PATIENCE`].

use crate::exit::Failure;
use crate::ui::Meter;
use std::time::{Duration, Instant};
use tonic::Code;

/// How long the service may be away before we give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before a broken stream is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// Since when the service has been away.
#[derive(Debug, Default)]
pub(super) struct Away(Option<Instant>);

impl Away {
    /// It has answered.
    pub(super) fn answered(&mut self) {
        self.0 = None;
    }
}

/// Asks for streams until one gives the end of `what`. A stream that breaks, or ends without it, is asked for again.
pub(super) async fn outlive<T>(
    service: &str,
    what: &str,
    meter: &mut Meter,
    mut stream: impl AsyncFnMut(&mut Meter, &mut Away) -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let mut away = Away::default();
    loop {
        match stream(meter, &mut away).await {
            Ok(Some(last)) => return Ok(last),
            Ok(None) => {}
            Err(failure) if !is_passing(&failure) => return Err(failure),
            Err(failure) => {
                let since = *away.0.get_or_insert_with(|| {
                    meter.line(&format!(
                        "the {service} service is away; the {what} goes on without it, waiting"
                    ));
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    return Err(failure);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
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
