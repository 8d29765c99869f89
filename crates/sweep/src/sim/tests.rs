//! The invariants of design.md as properties over scenarios drawn at random, and the proof that they notice mistakes.

use proptest::prelude::*;

use super::*;
use crate::outcome::Verdict;
use crate::spec::{Engine, Mode};

/// Runs a scenario and fails with everything that is wrong.
fn check(scenario: &Scenario) -> Report {
    let ended = run(scenario);
    let found = judge(scenario, &ended);
    assert!(found.is_empty(), "{found:#?}\n{scenario:#?}\n{ended:#?}");
    ended.unwrap()
}

fn sources() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::None),
        Just(Source::Quiescible),
        Just(Source::Schedule),
        (12_000_u64..20_000).prop_map(Source::Until)
    ]
}

prop_compose! {
    fn trees()(
        seed in any::<u64>(),
        both in any::<bool>(),
        roots in 0_u32..5,
        children in 0_u32..25,
        flat in 0_u32..40,
        strangers in 0_u32..7,
        windows in 1_u32..4,
        page_rows in 1_usize..20,
        more_rows in 1_usize..60,
    ) -> Scenario {
        let engine = if both { Engine::Both } else { Engine::Sweep };
        let buffer_rows = page_rows + more_rows;
        Scenario { seed, engine, roots, children, flat, strangers, windows, page_rows, buffer_rows, ..Scenario::default() }
    }
}

prop_compose! {
    fn executions()(
        tree in trees(),
        continue_every_ms in prop_oneof![Just(0_u64), 5_u64..80, 200_u64..2_000],
        cron_every_ms in prop_oneof![2 => Just(0_u64), 1 => 50_u64..3_000],
        retrying in prop_oneof![Just(0_u32), 0_u32..6],
        paused in prop_oneof![Just(0_u32), 0_u32..6],
        late_percent in prop_oneof![2 => Just(0_u64), 1 => 5_u64..100],
        late_ms in 1_u64..3_000,
        filter_target in prop::bool::weighted(0.2),
    ) -> Scenario {
        Scenario {
            continue_every_ms, cron_every_ms, retrying, paused, late_percent, late_ms, filter_target, ..tree
        }
    }
}

prop_compose! {
    fn indexes()(
        executions in executions(),
        shards in 1_u32..9,
        lag_ms in prop_oneof![Just(0_u64), 1_u64..200, 1_000_u64..3_000],
        stall in prop_oneof![3 => Just(None), 1 => (10_000_u64..16_000, 100_u64..5_000).prop_map(Some)],
        stale_percent in prop_oneof![Just(0_u64), 0_u64..20],
        blind_percent in prop_oneof![Just(0_u64), 0_u64..60],
        reorder_percent in prop_oneof![Just(0_u64), 0_u64..100],
    ) -> Scenario {
        Scenario { shards, lag_ms, stall, stale_percent, blind_percent, reorder_percent, ..executions }
    }
}

prop_compose! {
    fn scenarios()(
        index in indexes(),
        source in sources(),
        source_every_ms in 20_u64..200,
        quiesce_takes_ms in prop_oneof![Just(0_u64), 0_u64..1_500],
        error_percent in prop_oneof![Just(0_u64), 0_u64..15],
        rps in prop_oneof![3 => Just(0_u64), 1 => 50_u64..400],
        list_rps in prop_oneof![3 => Just(0_u64), 1 => 5_u64..50],
        cores in prop_oneof![Just(0_u32), 1_u32..12],
        crash_permille in prop_oneof![Just(0_u64), 0_u64..20],
        drop_percent in 0_u64..100,
    ) -> Scenario {
        Scenario {
            source, source_every_ms, quiesce_takes_ms, error_percent, rps, list_rps, cores, crash_permille, drop_percent,
            ..index
        }
    }
}

/// Replayed before anything is drawn.
#[test]
fn corpus_of_kept_scenarios_holds() {
    for Kept { note, scenario } in corpus().unwrap() {
        let ended = run(&scenario);
        let found = judge(&scenario, &ended);
        assert!(found.is_empty(), "{note}: {found:#?}\n{scenario:#?}\n{ended:#?}");
    }
}

// 256 scenarios each by default; PROPTEST_CASES says otherwise. Each run is held against all invariants; what a property is
// named for is what its scenarios provoke.
proptest! {
    #[test]
    fn invariant_no_clean_while_something_in_scope_is_open(scenario in scenarios(), forbidden in 0_u32..3) {
        check(&Scenario { forbidden, ..scenario });
    }

    #[test]
    fn invariant_nothing_outside_the_scope_is_stopped(scenario in scenarios(), strangers in 3_u32..20, flat in 20_u32..60) {
        check(&Scenario { strangers, flat, ..scenario });
    }

    #[test]
    fn invariant_nothing_beyond_max_affected_is_stopped(scenario in scenarios(), max_affected in 1_u64..60) {
        check(&Scenario { max_affected, ..scenario });
    }

    #[test]
    fn invariant_what_is_only_to_be_asked_is_never_stopped(
        scenario in scenarios(),
        mode in prop_oneof![Just(Mode::Cancel), Just(Mode::CancelThenTerminate)],
        grace_ms in 1_u64..5_000,
        obliging_percent in 0_u64..101,
        max_affected in prop_oneof![Just(10_000_u64), 1_u64..60],
    ) {
        check(&Scenario { engine: Engine::Sweep, mode, grace_ms, obliging_percent, max_affected, ..scenario });
    }

    #[test]
    fn invariant_every_failure_is_reported_once(scenario in scenarios(), forbidden in 1_u32..6) {
        check(&Scenario { forbidden, ..scenario });
    }

    #[test]
    fn invariant_totals_add_up(scenario in scenarios(), error_percent in 0_u64..20, crash_permille in 0_u64..40, beat_percent in 0_u64..40) {
        check(&Scenario { error_percent, crash_permille, beat_percent, ..scenario });
    }

    #[test]
    fn invariant_with_a_source_that_stops_it_ends(scenario in scenarios()) {
        check(&scenario);
    }

    #[test]
    fn invariant_with_one_that_never_stops_it_ends_blocked_at_its_deadline(
        scenario in scenarios(),
        slowing in prop::bool::weighted(0.3),
        deadline_ms in 5_000_u64..20_000,
    ) {
        let source = if slowing { Source::Slowing } else { Source::Forever };
        check(&Scenario { source, deadline_ms, ..scenario });
    }

    #[test]
    fn it_can_be_stopped_at_any_time(scenario in scenarios(), stop_at_ms in 0_u64..10_000) {
        check(&Scenario { stop_at_ms: Some(stop_at_ms), ..scenario });
    }

    #[test]
    fn sources_that_must_obey_and_do_not_block_it_before_anything_is_stopped(scenario in scenarios()) {
        check(&Scenario { require_quiesce: true, ..scenario });
    }

    #[test]
    fn whatever_a_seed_draws_holds(seed in any::<u64>()) {
        check(&Scenario::random(seed));
    }
}

/// Scenarios for each mutation.
const SEEDS: u64 = 60;

#[test]
fn each_mutation_breaks_its_invariant_and_nothing_breaks_without_it() {
    for mutation in Mutation::ALL {
        let mut noticed = 0;
        for seed in 0..SEEDS {
            let scenario = mutation.provoked(seed);
            let found = judge(&scenario, &run(&scenario));
            noticed += u32::from(found.iter().any(|found| found.invariant == mutation.breaks()));
            check(&Scenario {
                mutation: None,
                ..scenario
            });
        }
        println!(
            "{mutation:?} breaks {:?} in {noticed} of {SEEDS} runs",
            mutation.breaks()
        );
        assert!(noticed > 0, "{mutation:?} went unnoticed");
    }
}

#[test]
fn what_is_drawn_covers_what_is_modelled() {
    let drawn: Vec<Scenario> = (0..2_000).map(Scenario::random).collect();
    let covered = [
        drawn.iter().any(|s| s.engine == Engine::Both),
        drawn
            .iter()
            .any(|s| s.continue_every_ms > 0 && s.cron_every_ms > 0 && s.retrying > 0),
        drawn
            .iter()
            .any(|s| s.paused > 0 && s.late_percent > 0 && s.filter_target),
        drawn.iter().any(|s| s.source == Source::Schedule),
        drawn.iter().any(|s| s.source == Source::Slowing),
        drawn
            .iter()
            .any(|s| s.stall.is_some() && s.reorder_percent > 0 && s.blind_percent > 0),
        drawn.iter().any(|s| s.rps > 0 && s.list_rps > 0 && s.cores > 0),
        drawn.iter().any(|s| s.require_quiesce && s.source == Source::Forever),
    ];
    assert_eq!(covered, [true; 8]);
    assert_eq!(drawn[0], Scenario::random(0));
}

#[test]
fn many_runs_count_verdicts_of_all_kinds_whatever_the_number_of_threads() {
    let all = many(0, 300, 2, &Progress::default());
    assert_eq!(all.failed, []);
    assert_eq!(all.tally.runs, 300);
    assert!(all.tally.verdicts.iter().all(|runs| *runs > 0), "{:?}", all.tally);
    assert_eq!(all, many(0, 300, 1, &Progress::default()));
}

/// For a long run where `quell simulate` is not at hand: `QUELL_SIM_RUNS=100000 cargo test -p quell-sweep -- --ignored many`.
#[test]
#[ignore = "long: as many runs as QUELL_SIM_RUNS says"]
fn many_more_runs() {
    let of = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let all = many(
        of("QUELL_SIM_SEED", 1),
        of("QUELL_SIM_RUNS", 10_000),
        2,
        &Progress::default(),
    );
    println!("{:#?}", all.tally);
    for failed in all.failed.iter().take(20) {
        println!("{failed:?}");
    }
    assert_eq!(all.tally.failed, 0);
}

#[test]
fn a_scenario_always_runs_the_same() {
    let scenario = Scenario {
        blind_percent: 20,
        error_percent: 10,
        crash_permille: 10,
        ..Scenario::default()
    };
    let (a, b) = (run(&scenario).unwrap(), run(&scenario).unwrap());
    assert_eq!((&a.outcome, a.calls, a.ended_ms), (&b.outcome, b.calls, b.ended_ms));
    assert_eq!(a.outcome.verdict, Verdict::Clean);
}
