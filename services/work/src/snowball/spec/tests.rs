use super::*;
use proptest::prelude::*;
use quell_api::work::v1::{LifetimeDistribution, SnowballLeaves, SnowballPacing, SnowballProducer, SnowballShape};

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
            pacing: Some(SnowballPacing {
                shape: 9,
                ..Default::default()
            }),
            leaves: Some(SnowballLeaves {
                failure_probability: 1.5,
                ..Default::default()
            }),
            tag_after: Some(prost_types::Duration {
                seconds: 86_401,
                nanos: 0,
            }),
            producer: 7,
            max_children: 9,
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
            "spec.workload_id",
            "spec.pacing.shape",
            "spec.leaves.failure_probability",
            "spec.tag_after",
            "spec.producer",
            "spec.max_children",
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

fn paced(shape: SnowballShape, pacing: SnowballPacing) -> StartSnowballRequest {
    let pacing = SnowballPacing {
        shape: shape.into(),
        ..pacing
    };
    request(SnowballSpec {
        pacing: Some(pacing),
        ..Default::default()
    })
}

#[test]
fn each_shape_has_its_defaults_and_refuses_what_it_has_no_use_for() {
    use SnowballShape::{Bursts, EbbAndFlow, Ramp, Tree};
    for (shape, to, period, burst) in [
        (Tree, 0.0, 0, 0),
        (Ramp, 50.0, 60, 0),
        (Bursts, 0.0, 10, 100),
        (EbbAndFlow, 50.0, 60, 0),
    ] {
        let checked = check(paced(shape, SnowballPacing::default()), "1").unwrap();
        let told = checked.spec.pacing.unwrap();
        assert_eq!(told.shape(), shape);
        assert_eq!(
            (
                told.to_per_second,
                told.period.map_or(0, |period| period.seconds),
                told.burst_size
            ),
            (to, period, burst),
            "{shape:?}"
        );
        let relay = checked.node.order.unwrap().relay;
        assert_eq!(relay.is_some_and(|relay| relay.tide.is_some()), shape != Tree);
    }
    let everything = SnowballPacing {
        from_per_second: 1.0,
        to_per_second: 2.0,
        period: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        burst_size: 3,
        ..Default::default()
    };
    let (from, to) = ("spec.pacing.from_per_second", "spec.pacing.to_per_second");
    assert_eq!(
        fields(paced(Tree, everything)),
        [from, to, "spec.pacing.period", "spec.pacing.burst_size"]
    );
    assert_eq!(fields(paced(Ramp, everything)), ["spec.pacing.burst_size"]);
    assert_eq!(fields(paced(Bursts, everything)), [from, to]);
    let falling = SnowballPacing {
        from_per_second: 60.0,
        ..Default::default()
    };
    assert_eq!(fields(paced(EbbAndFlow, falling)), [to]);
    assert!(check(paced(Ramp, falling), "1").is_ok(), "a ramp may go down");
}

#[test]
fn what_has_no_end_is_planned_as_nothing() {
    let endless = |width, depth| {
        let pacing = SnowballPacing {
            endless: true,
            ..Default::default()
        };
        request(SnowballSpec {
            width,
            depth,
            pacing: Some(pacing),
            ..Default::default()
        })
    };
    let checked = check(endless(100_000, 1), "1").unwrap();
    assert_eq!((checked.planned, checked.spec.pacing.unwrap().endless), (0, true));
    assert_eq!(fields(endless(2_000, 3)), ["spec"]);
}

#[test]
fn leaves_are_checked_with_their_lifetime() {
    let leaves = |distribution: LifetimeDistribution, shortest, continues, lifetime| {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        request(SnowballSpec {
            lifetime: seconds(lifetime),
            leaves: Some(SnowballLeaves {
                distribution: distribution.into(),
                shortest: seconds(shortest),
                failure_probability: 0.0,
                continue_as_new_probability: continues,
            }),
            ..Default::default()
        })
    };
    let uniform = LifetimeDistribution::Uniform;
    assert_eq!(fields(leaves(uniform, 11, 0.0, 10)), ["spec.leaves.shortest"]);
    assert_eq!(
        fields(leaves(LifetimeDistribution::Fixed, 1, 0.0, 10)),
        ["spec.leaves.shortest"]
    );
    // A leaf that is renewed at once for ever keeps the server busy with itself alone.
    assert_eq!(
        fields(leaves(uniform, 0, 0.5, 0)),
        ["spec.leaves.continue_as_new_probability"]
    );
    assert_eq!(
        fields(leaves(uniform, 0, f64::NAN, 10)),
        ["spec.leaves.continue_as_new_probability"]
    );
    assert!(check(leaves(uniform, 10, 1.0, 10), "1").is_ok());
    // Nothing asked for: nothing in the input, as ever.
    assert_eq!(check(StartSnowballRequest::default(), "1").unwrap().node.nature, None);
}

#[test]
fn a_client_starts_without_helpers() {
    let by = |producer: SnowballProducer| {
        check(
            request(SnowballSpec {
                width: 2_000,
                depth: 1,
                producer: producer.into(),
                ..Default::default()
            }),
            "1",
        )
        .unwrap()
        .planned
    };
    assert_eq!(by(SnowballProducer::Parents), 2_002);
    assert_eq!(by(SnowballProducer::Client), 2_000);
}

proptest! {
    /// Whatever is asked, it is refused or within all limits; nothing panics.
    #[test]
    fn any_spec_is_refused_or_within_limits(
        width in any::<u32>(), depth in any::<u32>(), concurrency in any::<u32>(), rate in any::<f64>(),
        seconds in any::<i64>(), nanos in any::<i32>(), workload_id in ".{0,300}",
        (shape, from, to, endless) in (-1..6, any::<f64>(), any::<f64>(), any::<bool>()),
    ) {
        let spec = SnowballSpec {
            width, depth, concurrency, rate_per_second: rate,
            lifetime: Some(prost_types::Duration { seconds, nanos }), workload_id,
            pacing: Some(SnowballPacing {
                shape, from_per_second: from, to_per_second: to, burst_size: depth, endless,
                period: Some(prost_types::Duration { seconds, nanos }),
            }),
            leaves: Some(SnowballLeaves { distribution: shape, failure_probability: from, ..Default::default() }),
            max_children: concurrency, ..Default::default()
        };
        if let Ok(checked) = check(request(spec), "1") {
            prop_assert!(checked.planned <= 2_500_000);
            prop_assert!(checked.node.order.unwrap().children() <= MAX_CHILDREN);
        }
    }
}
