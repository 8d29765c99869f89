//! The properties over scenarios drawn at random, and the proof that they notice mistakes.

use proptest::prelude::*;

use super::*;
use crate::outcome::Verdict;

/// Runs a scenario and fails with everything that is wrong.
fn check(scenario: &Scenario) -> Report {
    let report = run(scenario);
    let found = violations(scenario, &report);
    assert!(found.is_empty(), "{found:#?}\n{scenario:#?}\n{report:#?}");
    report
}

fn sources() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::None),
        Just(Source::Quiescible),
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
        continue_every_ms in prop_oneof![Just(0_u64), 5_u64..80, 200_u64..2_000],
        windows in 1_u32..4,
    ) -> Scenario {
        let engine = if both { Engine::Both } else { Engine::Sweep };
        Scenario { seed, engine, roots, children, flat, strangers, continue_every_ms, windows, ..Scenario::default() }
    }
}

prop_compose! {
    fn scenarios()(
        tree in trees(),
        source in sources(),
        lag_ms in prop_oneof![Just(0_u64), 1_u64..200, 1_000_u64..3_000],
        stale_percent in prop_oneof![Just(0_u64), 0_u64..20],
        blind_percent in prop_oneof![Just(0_u64), 0_u64..60],
        error_percent in prop_oneof![Just(0_u64), 0_u64..15],
        crash_permille in prop_oneof![Just(0_u64), 0_u64..20],
        drop_percent in 0_u64..100,
    ) -> Scenario {
        Scenario {
            source, lag_ms, stale_percent, blind_percent, error_percent, crash_permille, drop_percent, ..tree
        }
    }
}

// 256 scenarios each by default; PROPTEST_CASES says otherwise.
proptest! {
    #[test]
    fn with_sources_that_stop_it_ends_clean_and_true(scenario in scenarios()) {
        check(&scenario);
    }

    #[test]
    fn the_cap_holds(scenario in scenarios(), max_affected in 1_u64..60) {
        check(&Scenario { max_affected, ..scenario });
    }

    #[test]
    fn what_cannot_be_stopped_is_never_called_clean(scenario in scenarios(), forbidden in 1_u32..4) {
        let report = check(&Scenario { forbidden, engine: Engine::Sweep, ..scenario });
        prop_assert!(report.outcome.verdict != Verdict::Clean);
    }

    #[test]
    fn it_can_be_stopped_at_any_time(scenario in scenarios(), stop_at_ms in 0_u64..10_000) {
        check(&Scenario { stop_at_ms: Some(stop_at_ms), ..scenario });
    }

    #[test]
    fn with_a_source_that_goes_on_it_ends_blocked_at_the_deadline(scenario in scenarios()) {
        check(&Scenario { source: Source::Forever, deadline_ms: 20_000, ..scenario });
    }
}

/// A scenario that is likely to show a mutation.
fn provoking(mutation: Mutation, seed: u64) -> Scenario {
    let scenario = Scenario {
        seed,
        mutation: Some(mutation),
        drop_percent: 50,
        ..Scenario::default()
    };
    match mutation {
        Mutation::LookTooFew => Scenario {
            blind_percent: 40,
            ..scenario
        },
        Mutation::LagIgnored => Scenario {
            lag_ms: 6_000,
            roots: 0,
            flat: 2,
            ..scenario
        },
        Mutation::PinByRunId => Scenario {
            continue_every_ms: 10,
            ..scenario
        },
        Mutation::DescribeSaysClosed => Scenario {
            blind_percent: 40,
            continue_every_ms: 50,
            ..scenario
        },
        // At first the index shows fewer than the cap.
        Mutation::ReservationForgotten => Scenario {
            crash_permille: 20,
            max_affected: 40,
            roots: 0,
            flat: 60,
            lag_ms: 4_000,
            ..scenario
        },
        Mutation::RowsUnchecked => Scenario {
            strangers: 6,
            ..scenario
        },
    }
}

#[test]
fn each_mutation_is_noticed_and_only_the_mutation() {
    for mutation in Mutation::ALL {
        let mut noticed = 0;
        for seed in 0..100 {
            let scenario = provoking(mutation, seed);
            noticed += u32::from(!violations(&scenario, &run(&scenario)).is_empty());
            check(&Scenario {
                mutation: None,
                ..scenario
            });
        }
        assert!(noticed > 0, "{mutation:?} went unnoticed");
    }
}

#[test]
fn a_scenario_always_runs_the_same() {
    let scenario = Scenario {
        blind_percent: 20,
        error_percent: 10,
        crash_permille: 10,
        ..Scenario::default()
    };
    let (a, b) = (run(&scenario), run(&scenario));
    assert_eq!((a.outcome, a.calls, a.ended_ms), (b.outcome, b.calls, b.ended_ms));
}
