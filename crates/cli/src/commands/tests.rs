//! The command line itself.

use super::*;
use clap::error::ErrorKind;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("quell").chain(line.split(' ')))
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_takes_json_before_or_after_it() {
    for line in [
        "--json doctor",
        "doctor --json",
        "snowball list --json",
        "demo --size 100 --json",
        "list --json",
    ] {
        assert!(parse(line).unwrap().json, "{line}");
    }
    assert!(!parse("doctor").unwrap().json);
}

#[test]
fn a_simulation_is_of_many_or_of_one_that_is_large() {
    for line in [
        "simulate",
        "simulate --runs 1000000 --seed 7 --jobs 2 --json",
        "simulate --runs 1 --seed 7",
        "simulate --scale 10000000",
        "simulate --scale 1000 --shape tree --fan-out 3 --stop-rate 500 --at-once 8",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    let kind = |line| parse(line).unwrap_err().kind();
    assert_eq!(kind("simulate --scale 1000 --runs 5"), ErrorKind::ArgumentConflict);
    assert_eq!(kind("simulate --shape tree"), ErrorKind::MissingRequiredArgument);
    assert_eq!(kind("simulate --runs 0"), ErrorKind::ValueValidation);
    assert_eq!(kind("simulate --jobs 0"), ErrorKind::ValueValidation);
}

#[test]
fn a_stop_needs_a_target_at_least_and_a_reason() {
    assert!(parse("stop --workload-id a --reason r").is_ok());
    assert!(parse("stop --query CloseTime --reason r").is_ok());
    let kind = |line| parse(line).unwrap_err().kind();
    assert_eq!(kind("stop --reason r"), ErrorKind::MissingRequiredArgument);
    assert_eq!(kind("stop --workload-id a"), ErrorKind::MissingRequiredArgument);
    assert!(parse("stop --workload-id a --workload-id b --query c --reason r").is_ok());
    assert_eq!(
        kind("stop --workload-id a --reason r --no-quiesce --require-quiesce"),
        ErrorKind::ArgumentConflict
    );
    assert_eq!(kind("preview"), ErrorKind::MissingRequiredArgument);
    assert!(parse("preview --query a --namespace b --namespace c").is_ok());
    // A namespace is no target: all that is in it is never meant.
    assert_eq!(
        kind("stop --namespace a --reason r"),
        ErrorKind::MissingRequiredArgument
    );
}

#[test]
fn a_receipt_is_shown_or_verified() {
    assert!(parse("receipt abc --out file").is_ok());
    assert!(parse("receipt verify abc --public-key key.pem").is_ok());
    for line in ["receipt", "receipt verify", "receipt abc verify def"] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn an_adjustment_changes_something() {
    assert!(parse("adjust abc --concurrency 3 --rate 10 --deadline 90s").is_ok());
    let kind = |line| parse(line).unwrap_err().kind();
    assert_eq!(kind("adjust abc"), ErrorKind::MissingRequiredArgument);
}

#[test]
fn the_size_of_a_demo_has_bounds() {
    assert!(parse("demo").is_ok());
    for line in ["demo --size 1", "demo --size 600000", "demo --size many"] {
        assert_eq!(parse(line).unwrap_err().kind(), ErrorKind::ValueValidation, "{line}");
    }
}

#[test]
fn a_bench_has_bounds_and_takes_lists() {
    assert!(parse("bench").is_ok());
    assert!(parse("bench --sizes 60,300 --rounds 2 --shapes tree --contenders quell,root --ladder 4").is_ok());
    assert!(parse("bench --temporal-address 127.0.0.1:7233 --temporal-namespace default").is_ok());
    let kind = |line| parse(line).unwrap_err().kind();
    for line in [
        "bench --sizes 60,1",
        "bench --rounds 0",
        "bench --ladder 0",
        "bench --look-every soon",
    ] {
        assert_eq!(kind(line), ErrorKind::ValueValidation, "{line}");
    }
    assert_eq!(kind("bench --shapes round"), ErrorKind::InvalidValue);
    assert_eq!(
        kind("bench --temporal-namespace default"),
        ErrorKind::MissingRequiredArgument
    );
}

#[test]
fn a_snowball_takes_every_shape() {
    for line in [
        "snowball start",
        "snowball start --shape ramp --from 0 --to 20 --period 1m",
        "snowball start --shape bursts --burst 50 --period 5s --endless",
        "snowball start --shape ebb-and-flow --lifetimes uniform --shortest 1s --lifetime 2s",
        "snowball start --lifetimes exponential --fail 0.1 --continue-as-new 0.5 --tag-after 0s",
        "snowball start --producer heedless-client --max-children 100",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    let kind = |line| parse(line).unwrap_err().kind();
    assert_eq!(kind("snowball start --shape square"), ErrorKind::InvalidValue);
    assert_eq!(kind("snowball start --fail often"), ErrorKind::ValueValidation);
}

#[test]
fn a_square_takes_the_documents_arguments() {
    for line in [
        "square",
        "square 50",
        "square 100 20",
        "square 1000 10 10 --json",
        "square 9 --activity cube",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    let kind = |line| parse(line).unwrap_err().kind();
    assert_eq!(kind("square many"), ErrorKind::ValueValidation);
    assert_eq!(kind("square -5"), ErrorKind::UnknownArgument);
    assert_eq!(kind("square 9 --activity-queue q"), ErrorKind::MissingRequiredArgument);
}

#[test]
fn an_order_needs_payment_items_and_address() {
    let what = "--payment tok --amount 100 --item book=2 --item pen --address here";
    assert!(parse(&format!("order place {what} --id 1 --wait --start-delay 5s")).is_ok());
    assert!(parse(&format!("order schedule {what} --id 1 --every 1h")).is_ok());
    for line in [
        "order get x",
        "order cancel x --reason r",
        "order list --prefix x-",
        "order unschedule x",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    let kind = |line: &str| parse(line).unwrap_err().kind();
    assert_eq!(
        kind("order place --payment tok --amount 100"),
        ErrorKind::MissingRequiredArgument
    );
    assert_eq!(
        kind(&format!("order schedule {what} --id 1")),
        ErrorKind::MissingRequiredArgument
    );
}

#[test]
fn durations_are_written_as_people_write_them() {
    let seconds = |text| parse_duration(text).map(|duration| duration.seconds);
    assert_eq!(seconds("90s"), Ok(90));
    assert_eq!(seconds("1h 30m"), Ok(5400));
    assert_eq!(parse_duration("250ms").unwrap().nanos, 250_000_000);
    assert!(seconds("soon").is_err());
    assert!(seconds("-3s").is_err());
}

#[test]
fn addresses_can_be_given_to_any_command() {
    let cli = parse("receipt abc --canceler http://10.0.0.1:9").unwrap();
    assert_eq!(cli.addresses.canceler, "http://10.0.0.1:9");
}

#[test]
fn only_known_tools_are_fetched() {
    assert!(parse("tools grpcurl temporal --local").is_ok());
    let error = parse("tools docker").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueValidation);
    assert!(error.to_string().contains("temporal, grpcurl, jaeger"), "{error}");
}
