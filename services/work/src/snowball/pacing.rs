//! The parts of a snowball's spec beyond its tree: pace, leaves, producer. Checked, with defaults, and as workflows get them.

use std::time::Duration;

use quell_api::{
    validate::Checker,
    work::v1::{LifetimeDistribution, SnowballLeaves, SnowballPacing, SnowballProducer, SnowballShape},
};

use super::{
    life::{Lifetime, Nature, WHOLE},
    plan::{Client, Relay},
    spec::{MAX_RATE, MIN_RATE},
    tide::{Curve, Tide},
};

const DEFAULT_TO: f64 = 50.0;
const DEFAULT_PERIOD: Duration = Duration::from_secs(60);
const DEFAULT_BURSTS: Duration = Duration::from_secs(10);
const PERIODS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// A leaf that goes on in another run lives at least so long (in the mean, or at most, where lifetimes are drawn).
const LEAST_TO_CONTINUE: Duration = Duration::from_secs(1);

/// The pace of the first level.
pub(super) fn pacing(check: &mut Checker, asked: SnowballPacing) -> (SnowballPacing, Option<Relay>) {
    let shape = match SnowballShape::try_from(asked.shape) {
        Ok(SnowballShape::Unspecified) => SnowballShape::Tree,
        Ok(shape) => shape,
        Err(_) => {
            check.reject("spec.pacing.shape", "is no shape that this service knows");
            return (asked, None);
        }
    };
    let rates = matches!(shape, SnowballShape::Ramp | SnowballShape::EbbAndFlow);
    if !rates {
        unused(
            check,
            asked.from_per_second != 0.0,
            "from_per_second",
            "RAMP and EBB_AND_FLOW",
        );
        unused(
            check,
            asked.to_per_second != 0.0,
            "to_per_second",
            "RAMP and EBB_AND_FLOW",
        );
    }
    if shape == SnowballShape::Tree {
        unused(check, asked.period.is_some(), "period", "RAMP, BURSTS and EBB_AND_FLOW");
    }
    if shape != SnowballShape::Bursts {
        unused(check, asked.burst_size != 0, "burst_size", "BURSTS");
    }
    let endless = asked.endless;
    let told = SnowballPacing {
        shape: shape.into(),
        endless,
        ..Default::default()
    };
    let (told, curve) = match shape {
        SnowballShape::Unspecified | SnowballShape::Tree => {
            return (told, endless.then_some(Relay { endless, tide: None }));
        }
        SnowballShape::Bursts => {
            let period = check.duration("spec.pacing.period", asked.period, DEFAULT_BURSTS, PERIODS);
            let size = check.int("spec.pacing.burst_size", asked.burst_size, 100, 1..=100_000);
            let told = SnowballPacing {
                burst_size: size,
                period: wire(period),
                ..told
            };
            (
                told,
                Curve::Bursts {
                    size,
                    every_us: micros(period),
                },
            )
        }
        SnowballShape::Ramp | SnowballShape::EbbAndFlow => {
            let (from, to) = (from(check, asked.from_per_second), to(check, asked.to_per_second));
            let period = check.duration("spec.pacing.period", asked.period, DEFAULT_PERIOD, PERIODS);
            let told = SnowballPacing {
                from_per_second: from,
                to_per_second: to,
                period: wire(period),
                ..told
            };
            let (low, high, period_us) = (per_1000_s(from), per_1000_s(to), micros(period));
            if shape == SnowballShape::Ramp {
                let (from, to, over_us) = (low, high, period_us);
                (told, Curve::Ramp { from, to, over_us })
            } else {
                if from > to {
                    check.reject("spec.pacing.to_per_second", "must not be less than from_per_second");
                }
                (told, Curve::Ebb { low, high, period_us })
            }
        }
    };
    let tide = Some(Tide::new(curve));
    (told, Some(Relay { endless, tide }))
}

fn unused(check: &mut Checker, given: bool, field: &str, of: &str) {
    if given {
        check.reject(&format!("spec.pacing.{field}"), format!("is of {of} only"));
    }
}

fn from(check: &mut Checker, rate: f64) -> f64 {
    if (0.0..=MAX_RATE).contains(&rate) {
        // Minus zero is zero.
        return rate.abs();
    }
    check.reject("spec.pacing.from_per_second", format!("must be from 0 to {MAX_RATE}"));
    0.0
}

fn to(check: &mut Checker, rate: f64) -> f64 {
    if rate == 0.0 {
        return DEFAULT_TO;
    }
    if (MIN_RATE..=MAX_RATE).contains(&rate) {
        return rate;
    }
    check.reject(
        "spec.pacing.to_per_second",
        format!("must be from {MIN_RATE} to {MAX_RATE}, or 0 for the default ({DEFAULT_TO})"),
    );
    DEFAULT_TO
}

/// How leaves end, and when nodes are tagged. `None` for what was always so.
pub(super) fn leaves(
    check: &mut Checker,
    asked: SnowballLeaves,
    lifetime: Duration,
    tag_after: Option<prost_types::Duration>,
) -> (SnowballLeaves, Option<Nature>) {
    let distribution = match LifetimeDistribution::try_from(asked.distribution) {
        Ok(LifetimeDistribution::Unspecified) => LifetimeDistribution::Fixed,
        Ok(distribution) => distribution,
        Err(_) => {
            check.reject("spec.leaves.distribution", "is no distribution that this service knows");
            LifetimeDistribution::Fixed
        }
    };
    let uniform = distribution == LifetimeDistribution::Uniform;
    if !uniform && asked.shortest.is_some() {
        check.reject("spec.leaves.shortest", "is of UNIFORM only");
    }
    let shortest = match asked.shortest.filter(|_| uniform) {
        Some(shortest) => check.duration(
            "spec.leaves.shortest",
            Some(shortest),
            Duration::ZERO,
            Duration::ZERO..=lifetime,
        ),
        None => Duration::ZERO,
    };
    let fails = share(check, "failure_probability", asked.failure_probability);
    let continues = share(check, "continue_as_new_probability", asked.continue_as_new_probability);
    if continues > 0 && lifetime < LEAST_TO_CONTINUE {
        check.reject(
            "spec.leaves.continue_as_new_probability",
            "more than 0 needs a lifetime of at least 1 s",
        );
    }
    let tag_after = tag_after.map(|after| {
        let after = check.duration("spec.tag_after", Some(after), Duration::ZERO, Duration::ZERO..=DAY);
        millis(after)
    });
    let told = SnowballLeaves {
        distribution: distribution.into(),
        shortest: uniform.then(|| wire(shortest)).flatten(),
        failure_probability: asked.failure_probability,
        continue_as_new_probability: asked.continue_as_new_probability,
    };
    let nature = Nature {
        lifetime: match distribution {
            LifetimeDistribution::Unspecified | LifetimeDistribution::Fixed => Lifetime::Fixed,
            LifetimeDistribution::Uniform => Lifetime::Uniform {
                from_ms: millis(shortest),
            },
            LifetimeDistribution::Exponential => Lifetime::Exponential,
        },
        fails,
        continues,
        tag_after_ms: tag_after,
    };
    (told, (nature != Nature::default()).then_some(nature))
}

/// A probability in millionths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a checked probability gives 0 to 1,000,000"
)]
fn share(check: &mut Checker, field: &str, probability: f64) -> u32 {
    if (0.0..=1.0).contains(&probability) {
        return (probability * f64::from(WHOLE)).round() as u32;
    }
    check.reject(&format!("spec.leaves.{field}"), "must be from 0 to 1");
    0
}

/// Who starts the first level. `None` for parents.
pub(super) fn producer(check: &mut Checker, asked: i32) -> (SnowballProducer, Option<Client>) {
    match SnowballProducer::try_from(asked) {
        Ok(SnowballProducer::Unspecified | SnowballProducer::Parents) => (SnowballProducer::Parents, None),
        Ok(producer) => {
            let heedless = producer == SnowballProducer::HeedlessClient;
            (producer, Some(Client { heedless }))
        }
        Err(_) => {
            check.reject("spec.producer", "is no producer that this service knows");
            (SnowballProducer::Parents, None)
        }
    }
}

/// A checked rate as a whole number, for workflows.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a checked rate gives 0 to 10,000,000"
)]
fn per_1000_s(rate: f64) -> u64 {
    (rate * 1_000.0).round() as u64
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn wire(time: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(time).ok()
}
