//! The flags of `quell snowball start`: every field of the spec. What is not given the service decides, and checks.

use clap::ValueEnum;
use quell_api::work::v1::{
    LifetimeDistribution, SnowballLeaves, SnowballPacing, SnowballProducer, SnowballShape, SnowballSpec,
    StartSnowballRequest,
};

use crate::commands::parse_duration;

/// What a snowball is made of.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct StartArgs {
    /// Children of each spawning workflow [default: 10].
    #[arg(long)]
    width: Option<u32>,
    /// Levels below the root [default: 2].
    #[arg(long)]
    depth: Option<u32>,
    /// Child starts in flight at once in each spawning workflow [default: 50].
    #[arg(long)]
    concurrency: Option<u32>,
    /// Most child starts per second of each spawning workflow; 0 means no limit [default: 0].
    #[arg(long)]
    rate: Option<f64>,
    /// How long a leaf stays open [default: 1h].
    #[arg(long, value_parser = parse_duration)]
    lifetime: Option<prost_types::Duration>,
    /// WorkloadId that all of it carries; while a cancellation holds that, it spawns nothing [default: that of the work service, which is 1 unless set].
    #[arg(long)]
    workload_id: Option<String>,
    /// How the root's own children come [default: tree].
    #[arg(long, value_enum)]
    shape: Option<Shape>,
    /// Starts per second at the beginning of a ramp, or at ebb [default: 0].
    #[arg(long)]
    from: Option<f64>,
    /// Starts per second at the end of a ramp, or at flow [default: 50].
    #[arg(long)]
    to: Option<f64>,
    /// How long a ramp takes; from one burst to the next; from ebb to ebb [default: 60s; of bursts 10s].
    #[arg(long, value_parser = parse_duration)]
    period: Option<prost_types::Duration>,
    /// Starts of one burst [default: 100].
    #[arg(long)]
    burst: Option<u32>,
    /// The root's children never come to an end, whatever the shape.
    #[arg(long)]
    endless: bool,
    /// How lifetimes are distributed [default: fixed].
    #[arg(long, value_enum)]
    lifetimes: Option<Lifetimes>,
    /// The shortest lifetime, with `--lifetimes uniform` [default: 0s].
    #[arg(long, value_parser = parse_duration)]
    shortest: Option<prost_types::Duration>,
    /// Share of the leaves that fail, from 0 to 1.
    #[arg(long)]
    fail: Option<f64>,
    /// Share of the other leaves that continue as new instead of ending, from 0 to 1.
    #[arg(long)]
    continue_as_new: Option<f64>,
    /// Each workflow tags itself, so long after its start; without this it is tagged at its start.
    #[arg(long, value_parser = parse_duration)]
    tag_after: Option<prost_types::Duration>,
    /// Who starts the first level [default: parents].
    #[arg(long, value_enum)]
    producer: Option<Producer>,
    /// Most children of one workflow [default: 1000].
    #[arg(long)]
    max_children: Option<u32>,
    /// Decides the id: a repeated call returns the first snowball.
    #[arg(long)]
    request_id: Option<String>,
    /// Only check; start nothing.
    #[arg(long)]
    pub(super) validate_only: bool,
}

/// How the root's own children come.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    /// At one rate, or as fast as the server takes them.
    Tree,
    /// At a rate that changes from --from to --to.
    Ramp,
    /// --burst at once, again and again.
    Bursts,
    /// At a rate that rises from --from to --to and falls back, again and again.
    EbbAndFlow,
}

/// How lifetimes are distributed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lifetimes {
    /// All the same.
    Fixed,
    /// Evenly from --shortest to --lifetime.
    Uniform,
    /// With the mean --lifetime.
    Exponential,
}

/// Who starts the first level.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Producer {
    /// The root, as its children.
    Parents,
    /// A client, without parents; it asks the gate.
    Client,
    /// A client that asks no gate.
    HeedlessClient,
}

impl From<StartArgs> for StartSnowballRequest {
    fn from(args: StartArgs) -> Self {
        let shape = args.shape.map_or(SnowballShape::Unspecified, |shape| match shape {
            Shape::Tree => SnowballShape::Tree,
            Shape::Ramp => SnowballShape::Ramp,
            Shape::Bursts => SnowballShape::Bursts,
            Shape::EbbAndFlow => SnowballShape::EbbAndFlow,
        });
        let distribution = args
            .lifetimes
            .map_or(LifetimeDistribution::Unspecified, |kind| match kind {
                Lifetimes::Fixed => LifetimeDistribution::Fixed,
                Lifetimes::Uniform => LifetimeDistribution::Uniform,
                Lifetimes::Exponential => LifetimeDistribution::Exponential,
            });
        let producer = args.producer.map_or(SnowballProducer::Unspecified, |kind| match kind {
            Producer::Parents => SnowballProducer::Parents,
            Producer::Client => SnowballProducer::Client,
            Producer::HeedlessClient => SnowballProducer::HeedlessClient,
        });
        Self {
            spec: Some(SnowballSpec {
                width: args.width.unwrap_or_default(),
                depth: args.depth.unwrap_or_default(),
                concurrency: args.concurrency.unwrap_or_default(),
                rate_per_second: args.rate.unwrap_or_default(),
                lifetime: args.lifetime,
                workload_id: args.workload_id.unwrap_or_default(),
                pacing: Some(SnowballPacing {
                    shape: shape.into(),
                    from_per_second: args.from.unwrap_or_default(),
                    to_per_second: args.to.unwrap_or_default(),
                    period: args.period,
                    burst_size: args.burst.unwrap_or_default(),
                    endless: args.endless,
                }),
                leaves: Some(SnowballLeaves {
                    distribution: distribution.into(),
                    shortest: args.shortest,
                    failure_probability: args.fail.unwrap_or_default(),
                    continue_as_new_probability: args.continue_as_new.unwrap_or_default(),
                }),
                tag_after: args.tag_after,
                producer: producer.into(),
                max_children: args.max_children.unwrap_or_default(),
            }),
            request_id: args.request_id.unwrap_or_default(),
            validate_only: args.validate_only,
        }
    }
}
