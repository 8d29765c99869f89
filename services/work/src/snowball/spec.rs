//! A snowball's spec: checked, with defaults, and as the order that its root gets.

use std::time::Duration;

use quell_api::{
    validate::Checker,
    work::v1::{SnowballSpec, StartSnowballRequest},
};
use quell_mesh::Error;

use super::{
    pacing,
    plan::{MAX_CHILDREN, MAX_WORKFLOWS, Node, Order},
    trace::TRACED,
};

const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3_600);
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3_600);
/// Fewer children than this would make a tree of helpers.
const LEAST_CHILDREN: u32 = 10;
pub(super) const MAX_RATE: f64 = 10_000.0;
/// One start in a thousand seconds; what is slower is meant to be 0 or is a mistake.
pub(super) const MIN_RATE: f64 = 0.001;

/// A request that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Workflow id of the root.
    pub snowball_id: String,
    /// The spec with all defaults.
    pub spec: SnowballSpec,
    /// What the root is told.
    pub node: Node,
    /// Workflows below the root once it is fully grown; 0 when it has no end.
    pub planned: i64,
}

/// Checks a request. `default_workload` stands for a WorkloadId that is left out.
///
/// # Errors
/// `InvalidArgument` with every bad field.
pub fn check(request: StartSnowballRequest, default_workload: &str) -> Result<Checked, Error> {
    let mut check = Checker::new();
    check.request_id("request_id", &request.request_id);
    let spec = request.spec.unwrap_or_default();
    let width = check.int("spec.width", spec.width, 10, 1..=100_000);
    let depth = check.int("spec.depth", spec.depth, 2, 1..=10);
    let concurrency = check.int("spec.concurrency", spec.concurrency, 50, 1..=500);
    let rate = rate(&mut check, spec.rate_per_second);
    let lifetime = check.duration(
        "spec.lifetime",
        spec.lifetime,
        DEFAULT_LIFETIME,
        Duration::ZERO..=MAX_LIFETIME,
    );
    let workload_id = if spec.workload_id.is_empty() {
        default_workload.to_owned()
    } else {
        spec.workload_id
    };
    check.workload_id("spec.workload_id", &workload_id);
    let (pacing, relay) = pacing::pacing(&mut check, spec.pacing.unwrap_or_default());
    let (leaves, nature) = pacing::leaves(&mut check, spec.leaves.unwrap_or_default(), lifetime, spec.tag_after);
    let (producer, client) = pacing::producer(&mut check, spec.producer);
    let most = check.int(
        "spec.max_children",
        spec.max_children,
        MAX_CHILDREN,
        LEAST_CHILDREN..=MAX_CHILDREN,
    );

    let order = Order {
        count: width,
        width,
        depth,
        concurrency,
        interval_us: interval_us(rate),
        traced: TRACED,
        brood: None,
        most,
        relay,
    };
    let planned = match (order.workflows(), client) {
        // A client needs no helpers.
        (Some(_), Some(_)) => u64::from(width).saturating_mul(order.below_a_child().saturating_add(1)),
        (all, _) => all.unwrap_or_default(),
    };
    // What has no end is bounded in depth only: below each of its children.
    if planned.max(order.below_a_child()) > MAX_WORKFLOWS {
        check.reject(
            "spec",
            format!("width and depth make {planned} workflows; at most {MAX_WORKFLOWS} are allowed"),
        );
    }
    let key = if request.request_id.is_empty() {
        uuid::Uuid::new_v4().to_string()
    } else {
        request.request_id
    };
    check
        .finish(Checked {
            snowball_id: format!("snowball-{key}"),
            spec: SnowballSpec {
                width,
                depth,
                concurrency,
                rate_per_second: rate,
                lifetime: prost_types::Duration::try_from(lifetime).ok(),
                workload_id: workload_id.clone(),
                pacing: Some(pacing),
                leaves: Some(leaves),
                tag_after: spec.tag_after,
                producer: producer.into(),
                max_children: most,
            },
            node: Node {
                workload_id,
                lifetime_ms: u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX),
                order: Some(order),
                nature,
                turn: 0,
                client,
            },
            planned: i64::try_from(planned).unwrap_or(i64::MAX),
        })
        .map_err(Error::InvalidArgument)
}

fn rate(check: &mut Checker, rate: f64) -> f64 {
    if rate == 0.0 || (MIN_RATE..=MAX_RATE).contains(&rate) {
        // Minus zero is zero.
        return rate.abs();
    }
    check.reject(
        "spec.rate_per_second",
        format!("must be from {MIN_RATE} to {MAX_RATE}, or 0 for no limit"),
    );
    0.0
}

/// Time between two starts; 0 = no limit.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a checked rate gives 100 to 1e9"
)]
fn interval_us(rate: f64) -> u64 {
    if rate > 0.0 { (1e6 / rate).round() as u64 } else { 0 }
}

#[cfg(test)]
mod tests;
