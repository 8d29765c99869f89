//! A snowball that is stopped while it grows: what `demo` and `bench` begin with.

use super::missing;
use crate::clients::{Addresses, unary};
use crate::exit::Failure;
use crate::ui::Ui;
use quell_api::work::v1::{SnowballSpec, StartSnowballRequest, WatchSnowballRequest};
use std::time::{Duration, Instant};

/// How much larger the snowball is planned than it is when it is stopped: it must still be growing then.
pub(super) const PLANNED_TIMES: u64 = 4;
/// A snowball that has not grown for this long never will.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// A snowball that has reached its size and goes on growing.
#[derive(Debug)]
pub(super) struct Grown {
    /// Workflow id of its root.
    pub(super) snowball_id: String,
    /// Workflows below the root once it would be fully grown.
    pub(super) planned: i64,
    /// Workflows started a second, at the last look.
    pub(super) growth_per_second: f64,
}

/// Starts a snowball that is planned for at least `enough` workflows, lets it grow until `size` are open, and makes sure that it
/// is growing still.
pub(super) async fn until(
    ui: Ui,
    addresses: &Addresses,
    workload_id: &str,
    size: u64,
    enough: u64,
) -> Result<Grown, Failure> {
    let spec = SnowballSpec {
        width: width_for(enough),
        depth: 2,
        workload_id: workload_id.to_owned(),
        ..Default::default()
    };
    let request = StartSnowballRequest {
        spec: Some(spec),
        request_id: workload_id.to_owned(),
        validate_only: false,
    };
    let mut client = addresses.snowballs().await?;
    let started = client.start_snowball(unary(request)).await?.into_inner();
    let planned = started.planned_workflows;
    ui.line(format!(
        "a snowball of {planned} workflows grows; it is stopped when {size} are open"
    ));
    let interval = prost_types::Duration { seconds: 1, nanos: 0 };
    let request = WatchSnowballRequest {
        snowball_id: started.snowball_id.clone(),
        interval: Some(interval),
    };
    let mut looks = client.watch_snowball(request).await?.into_inner();
    let mut meter = ui.meter();
    let mut most = 0;
    let mut grown_at = Instant::now();
    while let Some(look) = looks.message().await? {
        let snowball = look.snowball.ok_or_else(|| missing("snowball"))?;
        let open = u64::try_from(snowball.open).unwrap_or(0);
        meter.show(
            "growing",
            open,
            size,
            &format!("open, {:+.0} a second", look.growth_per_second),
        );
        if open > most {
            (most, grown_at) = (open, Instant::now());
        }
        if open >= size {
            meter.finish();
            if look.growth_per_second <= 0.0 || snowball.total >= planned {
                return Err(Failure::Other(format!(
                    "the snowball stopped growing at {open}: that would prove nothing"
                )));
            }
            ui.line(format!(
                "{open} are open, and {:.0} more start each second",
                look.growth_per_second
            ));
            return Ok(Grown {
                snowball_id: started.snowball_id,
                planned,
                growth_per_second: look.growth_per_second,
            });
        }
        if grown_at.elapsed() > STALLED_AFTER {
            return Err(Failure::Other(format!(
                "the snowball has stopped growing at {open} of {size}"
            )));
        }
    }
    Err(Failure::Other(format!("the snowball ended at {most} of {size}")))
}

/// The smallest width whose tree of depth 2 holds that many.
fn width_for(enough: u64) -> u32 {
    (1..u32::MAX)
        .find(|width| u64::from(*width) * (u64::from(*width) + 1) >= enough)
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snowball_is_planned_large_enough_and_not_larger_than_the_service_takes() {
        for enough in [40_u64, 20_000, 2_000_000] {
            let width = u64::from(width_for(enough));
            assert!(width + width * width >= enough, "{enough}");
            assert!(width + width * width <= 2_500_000, "{enough}");
        }
    }
}
