//! A snowball's spec: checked, with defaults, and as the order that its root gets.

use std::time::Duration;

use quell_api::{
    validate::Checker,
    work::v1::{SnowballSpec, StartSnowballRequest},
};
use quell_mesh::Error;

use super::{
    plan::{MAX_WORKFLOWS, Node, Order},
    trace::TRACED,
};

const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3_600);
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3_600);
const MAX_RATE: f64 = 10_000.0;
/// One start in a thousand seconds; what is slower is meant to be 0 or is a mistake.
const MIN_RATE: f64 = 0.001;

/// A request that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Workflow id of the root.
    pub snowball_id: String,
    /// The spec with all defaults.
    pub spec: SnowballSpec,
    /// What the root is told.
    pub node: Node,
    /// Workflows below the root once it is fully grown.
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

    let order = Order {
        count: width,
        width,
        depth,
        concurrency,
        interval_us: interval_us(rate),
        traced: TRACED,
        brood: None,
    };
    let planned = order.workflows();
    if planned > MAX_WORKFLOWS {
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
            },
            node: Node {
                workload_id,
                lifetime_ms: u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX),
                order: Some(order),
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(spec: SnowballSpec) -> StartSnowballRequest {
        StartSnowballRequest {
            spec: Some(spec),
            request_id: "r".into(),
            validate_only: false,
        }
    }

    fn fields(request: StartSnowballRequest) -> Vec<String> {
        match check(request, "1") {
            Err(Error::InvalidArgument(violations)) => violations.into_iter().map(|v| v.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_has_a_default() {
        let checked = check(StartSnowballRequest::default(), "one").unwrap();
        assert_eq!(checked.planned, 110);
        assert_eq!(
            (checked.spec.width, checked.spec.depth, checked.spec.concurrency),
            (10, 2, 50)
        );
        assert_eq!(
            (checked.spec.workload_id.as_str(), checked.node.lifetime_ms),
            ("one", 3_600_000)
        );
        assert!(checked.snowball_id.starts_with("snowball-") && checked.snowball_id.len() > 40);
    }

    #[test]
    fn every_bad_field_is_told_at_once() {
        let bad = StartSnowballRequest {
            spec: Some(SnowballSpec {
                width: 100_001,
                depth: 11,
                concurrency: 501,
                rate_per_second: f64::NAN,
                lifetime: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                workload_id: "a\"b".into(),
            }),
            request_id: "no spaces".into(),
            validate_only: true,
        };
        assert_eq!(
            fields(bad),
            [
                "request_id",
                "spec.width",
                "spec.depth",
                "spec.concurrency",
                "spec.rate_per_second",
                "spec.lifetime",
                "spec.workload_id"
            ]
        );
    }

    #[test]
    fn a_rate_is_a_rate() {
        for bad in [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -1.0,
            1e-300,
            10_000.1,
            f64::MIN_POSITIVE,
        ] {
            let spec = SnowballSpec {
                rate_per_second: bad,
                ..Default::default()
            };
            assert_eq!(fields(request(spec)), ["spec.rate_per_second"], "{bad}");
        }
        for (good, interval) in [
            (0.0, 0),
            (-0.0, 0),
            (0.001, 1_000_000_000),
            (2.5, 400_000),
            (10_000.0, 100),
        ] {
            let spec = SnowballSpec {
                rate_per_second: good,
                ..Default::default()
            };
            assert_eq!(
                check(request(spec), "1").unwrap().node.order.unwrap().interval_us,
                interval
            );
        }
    }

    #[test]
    fn too_large_a_tree_is_refused() {
        assert_eq!(
            fields(request(SnowballSpec {
                width: 2_000,
                depth: 2,
                ..Default::default()
            })),
            ["spec"]
        );
        let largest = SnowballSpec {
            width: 1_500,
            depth: 2,
            ..Default::default()
        };
        assert_eq!(check(request(largest), "1").unwrap().planned, 1_500 + 2 + 1_500 * 1_502);
    }

    proptest! {
        /// Whatever is asked, it is refused or within all limits; nothing panics.
        #[test]
        fn any_spec_is_refused_or_within_limits(
            width in any::<u32>(), depth in any::<u32>(), concurrency in any::<u32>(), rate in any::<f64>(),
            seconds in any::<i64>(), nanos in any::<i32>(), workload_id in ".{0,300}",
        ) {
            let spec = SnowballSpec {
                width, depth, concurrency, rate_per_second: rate,
                lifetime: Some(prost_types::Duration { seconds, nanos }), workload_id,
            };
            if let Ok(checked) = check(request(spec), "1") {
                prop_assert!(checked.planned <= 2_500_000);
                prop_assert!(checked.node.order.unwrap().children() <= crate::snowball::plan::MAX_CHILDREN);
            }
        }
    }
}
