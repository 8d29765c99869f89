use super::*;
use crate::row::CallErrorKind;

fn confirm() -> Confirm {
    let mut confirm = Confirm::new(ConfirmSpec::default());
    assert_eq!(confirm.next(0), ConfirmStep::MeasureLag);
    confirm.on_lag(0, 100);
    confirm
}

fn row(id: &str) -> Row {
    Row {
        workflow_id: id.to_owned(),
        run_id: format!("run-{id}"),
        ..Row::default()
    }
}

/// Waits for the next look and answers it; returns when it was asked for.
fn look(confirm: &mut Confirm, now_ms: u64, rows: Vec<Row>) -> u64 {
    let mut now_ms = now_ms;
    loop {
        match confirm.next(now_ms) {
            ConfirmStep::Wait {
                until_ms: Some(until_ms),
            } => now_ms = until_ms,
            ConfirmStep::Look { .. } => break,
            other => panic!("expected a look, got {other:?}"),
        }
    }
    confirm.on_look(now_ms, now_ms, rows, None);
    now_ms
}

fn describe(confirm: &mut Confirm, now_ms: u64, reply: DescribeReply) {
    let ConfirmStep::Describe { slot, .. } = confirm.next(now_ms) else {
        panic!("not described")
    };
    confirm.on_describe(now_ms, slot, reply);
}

fn done(confirm: &mut Confirm, now_ms: u64) -> Confirmed {
    match confirm.next(now_ms) {
        ConfirmStep::Done(confirmed) => confirmed,
        other => panic!("expected the end, got {other:?}"),
    }
}

#[test]
fn a_zero_is_three_empty_looks_each_more_than_the_lag_apart() {
    let mut confirm = confirm();
    let first = look(&mut confirm, 0, vec![]);
    let second = look(&mut confirm, first, vec![]);
    let third = look(&mut confirm, second, vec![]);
    assert!(second > first + 100 && third > second + 100);
    let confirmed = done(&mut confirm, third);
    assert!(confirmed.zero && confirmed.alive == 0 && confirmed.looks.len() == 3);
}

#[test]
fn looks_that_are_not_apart_prove_nothing() {
    let at = |at_ms| Look {
        at_ms,
        ..Look::default()
    };
    assert!(!proves_zero(&[at(0), at(101)], 100, 3));
    assert!(!proves_zero(&[at(0), at(101), at(201)], 100, 3));
    assert!(proves_zero(&[at(0), at(101), at(202)], 100, 3));
    let seen = Look {
        at_ms: 101,
        open_seen: 1,
        stale: 0,
    };
    assert!(!proves_zero(&[at(0), seen, at(202)], 100, 3));
    assert!(!proves_zero(&[], 0, 0), "no look is no proof, whatever is asked for");
}

#[test]
fn something_alive_ends_it_at_once() {
    let mut confirm = confirm();
    look(&mut confirm, 0, vec![row("a")]);
    describe(
        &mut confirm,
        2,
        DescribeReply::Open {
            row: row("a"),
            first_run_id: "f".to_owned(),
        },
    );
    let confirmed = done(&mut confirm, 3);
    assert!(!confirmed.zero && !confirmed.timed_out);
    assert_eq!(
        (confirmed.alive, confirmed.alive_named[0].workflow_id.as_str()),
        (1, "a")
    );
}

#[test]
fn stale_rows_are_described_once_named_and_do_not_spoil_the_zero() {
    let mut confirm = confirm();
    let mut at = look(&mut confirm, 0, vec![row("a")]);
    describe(&mut confirm, at, DescribeReply::Closed);
    for _ in 0..2 {
        at = look(&mut confirm, at, vec![row("a")]);
    }
    let confirmed = done(&mut confirm, at);
    assert!(confirmed.zero);
    assert_eq!(
        confirmed.stale,
        [StaleExecution {
            workflow_id: "a".to_owned(),
            run_id: "run-a".to_owned()
        }]
    );
    assert_eq!(
        confirmed
            .looks
            .iter()
            .map(|look| (look.open_seen, look.stale))
            .collect::<Vec<_>>(),
        [(1, 1); 3]
    );
}

#[test]
fn a_look_goes_on_over_all_pages() {
    let mut confirm = confirm();
    assert_eq!(
        confirm.next(0),
        ConfirmStep::Look {
            page_size: 1,
            token: None
        }
    );
    let token = Some(PageToken(vec![1]));
    confirm.on_look(0, 0, vec![row("a")], token.clone());
    describe(&mut confirm, 0, DescribeReply::Closed);
    assert_eq!(
        confirm.next(0),
        ConfirmStep::Look {
            page_size: FULL_PAGE,
            token
        }
    );
    confirm.on_look(0, 0, vec![row("b")], None);
    describe(&mut confirm, 0, DescribeReply::Absent);
    // From the start again, up to a row of its first page.
    page(&mut confirm, 0, vec![row("a")], Some(1));
    assert_eq!(
        confirm.looks,
        [Look {
            at_ms: 0,
            open_seen: 2,
            stale: 2
        }]
    );
}

#[test]
fn our_own_executions_do_not_count() {
    let mut confirm = confirm();
    look(&mut confirm, 0, vec![row("quell-canary/1/1")]);
    assert_eq!(confirm.looks, [Look::default()]);
}

#[test]
fn a_failed_look_is_tried_again_and_given_up_in_the_end() {
    let mut confirm = confirm();
    let mut now_ms = 0;
    let error = CallError {
        kind: CallErrorKind::Transient,
        reason: "down".to_owned(),
    };
    for _ in 0..ConfirmSpec::default().retry.max_attempts {
        while let ConfirmStep::Wait { until_ms } = confirm.next(now_ms) {
            now_ms = until_ms.unwrap();
        }
        confirm.on_look_error(now_ms, error.clone());
    }
    let confirmed = done(&mut confirm, now_ms);
    assert_eq!(confirmed.error.as_deref(), Some("listing failed: down"));
    assert!(!confirmed.zero);
}

#[test]
fn a_lag_longer_than_the_poll_rules_the_distance_and_time_runs_out() {
    let mut confirm = Confirm::new(ConfirmSpec {
        timeout_ms: 20_000,
        ..ConfirmSpec::default()
    });
    assert_eq!(confirm.next(0), ConfirmStep::MeasureLag);
    confirm.on_lag(0, 15_000);
    let first = look(&mut confirm, 0, vec![]);
    let second = look(&mut confirm, first, vec![]);
    assert_eq!(second - first, 15_001);
    let ConfirmStep::Wait { until_ms: Some(20_000) } = confirm.next(second) else {
        panic!("no wait for the end")
    };
    let confirmed = done(&mut confirm, 20_000);
    assert!(confirmed.timed_out && !confirmed.zero);
}

#[test]
fn a_look_that_was_cut_short_is_no_evidence_of_a_zero() {
    let mut confirm = confirm();
    let first = look(&mut confirm, 0, vec![]);
    let second = look(&mut confirm, first, vec![]);
    let ConfirmStep::Wait { until_ms: Some(third) } = confirm.next(second) else {
        panic!("no pause")
    };
    assert!(matches!(confirm.next(third), ConfirmStep::Look { .. }));
    confirm.on_look(third, third, vec![row("a")], Some(PageToken(vec![1])));
    describe(&mut confirm, third, DescribeReply::Closed);
    assert!(matches!(confirm.next(third), ConfirmStep::Look { token: Some(_), .. }));
    confirm.on_look_error(
        third,
        CallError {
            kind: CallErrorKind::Permanent,
            reason: "gone".to_owned(),
        },
    );
    let confirmed = done(&mut confirm, third);
    assert!(!confirmed.zero && confirmed.looks.len() == 2, "{confirmed:?}");
}

#[test]
fn a_descendant_is_alive_only_as_the_child_of_the_same_parent() {
    let scope = crate::row::Scope {
        workload_ids: vec!["1".to_owned()],
        descendants: true,
        ..crate::Scope::default()
    };
    let child = |parent: &str, descends| Row {
        parent_run_id: Some(parent.to_owned()),
        descends,
        ..row("child")
    };
    for (parent, alive) in [("parent", 1), ("stranger", 0)] {
        let mut confirm = Confirm::new(ConfirmSpec {
            scope: scope.clone(),
            ..ConfirmSpec::default()
        });
        assert_eq!(confirm.next(0), ConfirmStep::MeasureLag);
        confirm.on_lag(0, 100);
        let at_ms = look(&mut confirm, 0, vec![child("parent", true), child("parent", false)]);
        let open = DescribeReply::Open {
            row: child(parent, false),
            first_run_id: "first".to_owned(),
        };
        describe(&mut confirm, at_ms, open);
        let confirmed = confirm.result(false, false);
        assert_eq!(confirmed.alive, alive, "{parent}");
    }
}

/// A page of a look that is read in several; true when another is asked for.
fn page(confirm: &mut Confirm, now_ms: u64, rows: Vec<Row>, next: Option<u8>) {
    match confirm.next(now_ms) {
        ConfirmStep::Look { .. } => confirm.on_look(now_ms, now_ms, rows, next.map(|n| PageToken(vec![n]))),
        other => panic!("expected a look, got {other:?}"),
    }
}

fn tagged() -> Confirm {
    let scope = crate::row::Scope {
        workload_ids: vec!["1".to_owned()],
        ..crate::row::Scope::default()
    };
    let mut confirm = Confirm::new(ConfirmSpec {
        scope,
        ..ConfirmSpec::default()
    });
    assert_eq!(confirm.next(0), ConfirmStep::MeasureLag);
    confirm.on_lag(0, 100);
    confirm
}

#[test]
fn a_look_of_several_pages_ends_where_it_began() {
    // Strangers fill the first page; while the second is read, a chain's old run goes from it and its new one comes above.
    let mut confirm = tagged();
    page(&mut confirm, 0, vec![row("stranger")], Some(1));
    page(&mut confirm, 1, vec![], None);
    let renewed = Row {
        workload_id: Some("1".to_owned()),
        ..row("renewed")
    };
    page(&mut confirm, 2, vec![renewed.clone(), row("stranger")], Some(1));
    let open = DescribeReply::Open {
        row: renewed,
        first_run_id: "first".to_owned(),
    };
    describe(&mut confirm, 3, open);
    assert_eq!(done(&mut confirm, 4).alive, 1);
}

#[test]
fn a_look_that_does_not_meet_its_beginning_again_proves_nothing() {
    let mut confirm = tagged();
    let first = look(&mut confirm, 0, vec![]);
    let second = look(&mut confirm, first, vec![]);
    let ConfirmStep::Wait { until_ms: Some(at_ms) } = confirm.next(second) else {
        panic!("no pause")
    };
    page(&mut confirm, at_ms, vec![row("stranger")], Some(1));
    page(&mut confirm, at_ms, vec![], None);
    page(&mut confirm, at_ms, vec![], None);
    let mut now_ms = at_ms;
    for _ in 0..3 {
        assert!(!matches!(confirm.next(now_ms), ConfirmStep::Done(_)));
        now_ms = look(&mut confirm, now_ms, vec![]);
    }
    assert!(done(&mut confirm, now_ms).zero);
}

#[test]
fn a_look_whose_first_page_is_empty_is_read_again_too() {
    let mut confirm = tagged();
    // What matches, then what descends: two pages at least.
    page(&mut confirm, 0, vec![], Some(1));
    page(&mut confirm, 0, vec![], None);
    page(&mut confirm, 0, vec![], Some(1));
    assert!(matches!(confirm.next(0), ConfirmStep::Wait { until_ms: Some(_) }));
}
