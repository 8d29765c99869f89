//! Each test drives a window by hand; the whole is tested by the simulator (`tests/`).

mod asking;
mod held;
mod limits;
mod others;

use super::*;
use crate::row::Scope;
use crate::spec::{LimiterSpec, RetrySpec, WindowSettings};

fn row(id: &str, start_ms: u64) -> Row {
    Row {
        workflow_id: id.to_owned(),
        run_id: format!("run-{id}"),
        workflow_type: "Child".to_owned(),
        start_ms,
        root_workflow_id: "root".to_owned(),
        parent_workflow_id: None,
        workload_id: Some("1".to_owned()),
        ..Row::default()
    }
}

fn window(cap: u64) -> Window {
    Window::new(spec(cap))
}

fn spec(cap: u64) -> WindowSpec {
    let retry = RetrySpec {
        first_delay_ms: 100,
        max_delay_ms: 400,
        max_attempts: 3,
        max_throttled: 5,
    };
    let settings = WindowSettings {
        list_interval_ms: 0,
        retry,
        ..WindowSettings::default()
    };
    let scope = Scope {
        workload_ids: vec!["1".to_owned()],
        descendants: true,
        ..Scope::default()
    };
    WindowSpec {
        cap,
        fence_ms: 1_000,
        scope,
        settings,
        ask: None,
    }
}

fn transient() -> CallError {
    CallError {
        kind: CallErrorKind::Transient,
        reason: "lost".to_owned(),
    }
}

/// The next step, with reservations granted on the way.
fn step(window: &mut Window, now_ms: u64) -> Step {
    loop {
        match window.next(now_ms) {
            Step::Reserve { upto } => window.on_reserved(upto),
            step => return step,
        }
    }
}

fn list(window: &mut Window, rows: Vec<Row>, next: Option<PageToken>) {
    assert!(matches!(step(window, 0), Step::List { .. }));
    window.on_page(0, rows, next);
}

fn stop(window: &mut Window, now_ms: u64) -> (Slot, Pin) {
    match step(window, now_ms) {
        Step::Stop { slot, pin } => (slot, pin),
        other => panic!("expected a stop, got {other:?}"),
    }
}

fn done(window: &mut Window, now_ms: u64) -> WindowResult {
    match step(window, now_ms) {
        Step::Done(result) => {
            assert_eq!(result.counts.listed, result.counts.settled(), "{result:?}");
            *result
        }
        other => panic!("expected the end, got {other:?}"),
    }
}

#[test]
fn the_oldest_go_first_though_the_newest_are_listed_first() {
    let mut window = window(100);
    list(
        &mut window,
        vec![row("new", 30), row("mid", 20)],
        Some(PageToken(vec![1])),
    );
    list(&mut window, vec![row("old", 10)], None);
    let order: Vec<String> = (0..3).map(|_| stop(&mut window, 0).1.workflow_id).collect();
    assert_eq!(order, ["old", "mid", "new"]);
}

fn child(id: &str, start_ms: u64, parent: &str) -> Row {
    Row {
        parent_workflow_id: Some(parent.to_owned()),
        ..row(id, start_ms)
    }
}

#[test]
fn only_roots_go_while_listing_goes_on() {
    let mut window = window(10);
    let root = |id: &str, start_ms| Row {
        root_workflow_id: id.to_owned(),
        ..row(id, start_ms)
    };
    let page = vec![root("alone", 40), child("leaf", 30, "alone")];
    list(&mut window, page, Some(PageToken(vec![1])));
    assert!(matches!(step(&mut window, 0), Step::List { .. }));
    assert!(
        matches!(step(&mut window, 0), Step::Wait { .. }),
        "the leaf may have a sibling before it, or children"
    );
    window.on_page(0, vec![root("root", 10)], Some(PageToken(vec![2])));
    assert!(matches!(step(&mut window, 0), Step::List { .. }));
    assert_eq!(stop(&mut window, 0).1.workflow_id, "root");
    assert!(matches!(step(&mut window, 0), Step::Wait { .. }));
    window.on_page(0, vec![row("newer", 20)], None);
    let order: Vec<String> = (0..3).map(|_| stop(&mut window, 0).1.workflow_id).collect();
    assert_eq!(order, ["newer", "alone", "leaf"]);
}

#[test]
fn parents_go_before_leaves_and_of_those_the_newest_first() {
    let mut window = window(10);
    let rows = vec![
        child("leaf-4", 40, "mid"),
        row("alone", 35),
        child("leaf-3", 30, "mid"),
        child("mid", 20, "gone"),
        child("leaf-1", 10, "gone"),
    ];
    list(&mut window, rows, None);
    let stop_next = |_| {
        let (slot, pin) = stop(&mut window, 0);
        window.on_stop(0, slot, StopReply::Stopped, 1_000);
        pin.workflow_id
    };
    let order: Vec<String> = (0..5).map(stop_next).collect();
    assert_eq!(order, ["mid", "alone", "leaf-4", "leaf-3", "leaf-1"]);
}

#[test]
fn what_descends_is_stopped_and_counted_apart() {
    let mut window = window(10);
    let untagged = |id: &str, descends| Row {
        workload_id: None,
        descends,
        ..row(id, 2_000)
    };
    list(
        &mut window,
        vec![
            row("tagged", 1_000),
            untagged("child", true),
            untagged("stranger", false),
        ],
        None,
    );
    let (slot, _) = stop(&mut window, 0);
    window.on_stop(0, slot, StopReply::Stopped, 1_000);
    // It continued as new meanwhile: Describe shows the listed run, which has the same ancestors.
    let (slot, _) = stop(&mut window, 0);
    window.on_stop(0, slot, StopReply::NotFound, 1_000);
    let Step::Describe { slot, .. } = step(&mut window, 0) else {
        panic!("not described")
    };
    let open = DescribeReply::Open {
        row: untagged("child", false),
        first_run_id: "first".to_owned(),
    };
    window.on_describe(0, slot, open);
    let (slot, pin) = stop(&mut window, 0);
    assert_eq!(pin.first_run_id, "first");
    window.on_stop(0, slot, StopReply::Stopped, 1_000);
    let result = done(&mut window, 0);
    assert_eq!((result.counts.stopped, result.counts.descendants), (2, 1));
    assert_eq!(result.counts.out_of_scope, 1);
    // What is seen of the target is that of its own rows.
    assert_eq!(result.seen.types.len(), 1);
    assert_eq!(result.seen.first_start_ms, Some(1_000));
}

#[test]
fn nothing_is_stopped_before_the_listing_ends_unless_the_buffer_is_full() {
    let mut window = window(100);
    window.spec.settings.buffer_rows = 2;
    list(&mut window, vec![row("a", 3)], Some(PageToken(vec![1])));
    list(&mut window, vec![row("b", 2), row("c", 1)], Some(PageToken(vec![2])));
    assert_eq!(stop(&mut window, 0).1.workflow_id, "c");
    assert_eq!(
        stop(&mut window, 0).1.workflow_id,
        "b",
        "stopping makes room, then the listing goes on"
    );
}

#[test]
fn ours_and_strangers_and_duplicates_are_left_alone() {
    let mut window = window(100);
    let stranger = Row {
        workload_id: Some("2".to_owned()),
        ..row("stranger", 1)
    };
    let rows = vec![
        row("quell/cancellation/1", 1),
        row("quell-canary/1/2", 1),
        stranger,
        row("a", 1),
        row("a", 1),
    ];
    list(&mut window, rows, None);
    let (slot, pin) = stop(&mut window, 0);
    assert_eq!(
        pin,
        Pin {
            workflow_id: "a".to_owned(),
            first_run_id: "run-a".to_owned()
        }
    );
    assert!(matches!(step(&mut window, 0), Step::Wait { until_ms: None }));
    window.on_stop(0, slot, StopReply::Stopped, 1_000);
    let result = done(&mut window, 0);
    assert_eq!(
        (
            result.counts.stopped,
            result.counts.out_of_scope,
            result.counts.duplicates
        ),
        (1, 3, 1)
    );
    assert!(result.complete);
    let outcomes = window.take_outcomes();
    assert_eq!(outcomes.len(), 4);
    assert!(window.take_outcomes().is_empty());
}

#[test]
fn a_chain_that_continued_as_new_is_found_by_describe_and_pinned_by_its_first_run() {
    let mut window = window(100);
    list(&mut window, vec![row("a", 1)], None);
    let (slot, _) = stop(&mut window, 0);
    window.on_stop(0, slot, StopReply::NotFound, 1_000);
    let Step::Describe { slot, workflow_id, .. } = step(&mut window, 0) else {
        panic!("not described")
    };
    assert_eq!(workflow_id, "a");
    window.on_describe(
        0,
        slot,
        DescribeReply::Open {
            row: row("a", 1),
            first_run_id: "first".to_owned(),
        },
    );
    let (slot, pin) = stop(&mut window, 0);
    assert_eq!(pin.first_run_id, "first");
    window.on_stop(0, slot, StopReply::AlreadyCompleted, 1_000);
    assert_eq!(done(&mut window, 0).counts.already_closed, 1);
}

#[test]
fn a_strangers_chain_under_the_same_workflow_id_is_left_alone() {
    let mut window = window(100);
    list(&mut window, vec![row("a", 1)], None);
    let (slot, _) = stop(&mut window, 0);
    window.on_stop(0, slot, StopReply::NotFound, 1_000);
    let Step::Describe { slot, .. } = step(&mut window, 0) else {
        panic!("not described")
    };
    let stranger = Row {
        workload_id: None,
        ..row("a", 1)
    };
    window.on_describe(
        0,
        slot,
        DescribeReply::Open {
            row: stranger,
            first_run_id: "x".to_owned(),
        },
    );
    let result = done(&mut window, 0);
    assert_eq!((result.counts.not_found, result.charged), (1, 0));
}

#[test]
fn a_failure_is_tried_again_with_growing_delay_and_reported_once() {
    let mut window = window(100);
    list(&mut window, vec![row("a", 1)], None);
    let mut at_ms = 0;
    for delay_ms in [100, 200] {
        let (slot, _) = stop(&mut window, at_ms);
        window.on_stop(at_ms, slot, StopReply::Error(transient()), 1_000);
        at_ms += delay_ms;
        assert_eq!(step(&mut window, at_ms - 1), Step::Wait { until_ms: Some(at_ms) });
    }
    let (slot, _) = stop(&mut window, at_ms);
    window.on_stop(at_ms, slot, StopReply::Error(transient()), 1_000);
    let result = done(&mut window, at_ms);
    assert_eq!((result.counts.failed, result.counts.transient), (1, 3));
    assert_eq!(result.failures.len(), 1);
    assert_eq!(result.charged, 1, "one of the lost replies may have been a stop");
}

#[test]
fn what_is_refused_for_good_is_not_tried_again_and_not_charged() {
    let mut window = window(100);
    list(&mut window, vec![row("a", 1)], None);
    let (slot, _) = stop(&mut window, 0);
    let error = CallError {
        kind: CallErrorKind::Permanent,
        reason: "permission denied".to_owned(),
    };
    window.on_stop(0, slot, StopReply::Error(error), 1_000);
    let result = done(&mut window, 0);
    assert_eq!(
        (result.counts.failed, result.charged, result.counts.transient),
        (1, 0, 0)
    );
}

#[test]
fn the_cap_holds_and_is_reached_only_by_what_is_really_open() {
    let mut window = window(1);
    list(&mut window, vec![row("a", 1), row("b", 2), row("c", 3)], None);
    let (a, _) = stop(&mut window, 0);
    let Step::Describe { slot: b, .. } = step(&mut window, 0) else {
        panic!("b not described")
    };
    let Step::Describe { slot: c, .. } = step(&mut window, 0) else {
        panic!("c not described")
    };
    window.on_stop(0, a, StopReply::Stopped, 1_000);
    window.on_describe(0, b, DescribeReply::Closed);
    assert!(!window.cap_reached);
    window.on_describe(
        0,
        c,
        DescribeReply::Open {
            row: row("c", 3),
            first_run_id: "run-c".to_owned(),
        },
    );
    let result = done(&mut window, 0);
    assert!(result.cap_reached && !result.complete);
    assert_eq!(
        (
            result.counts.stopped,
            result.counts.already_closed,
            result.counts.skipped
        ),
        (1, 1, 1)
    );
}

#[test]
fn what_turns_out_closed_gives_its_charge_back() {
    let mut window = window(1);
    list(&mut window, vec![row("a", 1), row("b", 2)], None);
    let (a, _) = stop(&mut window, 0);
    window.on_stop(0, a, StopReply::AlreadyCompleted, 1_000);
    let (b, pin) = stop(&mut window, 0);
    assert_eq!(pin.workflow_id, "b");
    window.on_stop(0, b, StopReply::Stopped, 1_000);
    assert_eq!(done(&mut window, 0).charged, 1);
}

#[test]
fn no_stop_goes_out_beyond_what_is_recorded() {
    let mut window = window(100);
    window.spec.settings.reserve_chunk = 2;
    list(&mut window, (1..=9).map(|n| row(&n.to_string(), n)).collect(), None);
    let (mut asked, mut stops) = (0, 0);
    for _ in 0..50 {
        match window.next(0) {
            Step::Reserve { upto } => asked = upto,
            Step::Stop { .. } => stops += 1,
            Step::Wait { .. } if asked > 0 && stops < 4 => window.on_reserved(asked),
            _ => break,
        }
        assert!(stops <= window.reserved && window.reserved <= asked);
    }
    assert_eq!(stops, 4, "as many as are in flight while the limiter probes");
}

#[test]
fn a_new_attempt_takes_all_that_was_reserved_for_used() {
    let mut first = window(3);
    list(&mut first, vec![row("a", 1), row("b", 2)], None);
    let (slot, _) = stop(&mut first, 0);
    first.on_stop(0, slot, StopReply::Stopped, 1_000);
    let checkpoint = first.checkpoint();
    assert_eq!(checkpoint.reserved, 3);

    let mut second = Window::resume(first.spec.clone(), checkpoint);
    list(&mut second, vec![row("b", 2)], None);
    let Step::Describe { slot, .. } = step(&mut second, 0) else {
        panic!("not described")
    };
    second.on_describe(
        0,
        slot,
        DescribeReply::Open {
            row: row("b", 2),
            first_run_id: "run-b".to_owned(),
        },
    );
    let result = done(&mut second, 0);
    assert!(result.cap_reached);
    assert_eq!((result.counts.stopped, result.charged, result.uncounted), (1, 3, 2));
}

#[test]
fn a_failed_listing_ends_the_window_after_what_was_listed_is_stopped() {
    let mut window = window(100);
    list(&mut window, vec![row("a", 1)], Some(PageToken(vec![1])));
    let error = CallError {
        kind: CallErrorKind::Permanent,
        reason: "invalid query".to_owned(),
    };
    assert!(matches!(step(&mut window, 0), Step::List { token: Some(_) }));
    window.on_page_error(0, error);
    let (slot, _) = stop(&mut window, 0);
    window.on_stop(0, slot, StopReply::Stopped, 1_000);
    let result = done(&mut window, 0);
    assert_eq!(result.error.as_deref(), Some("listing failed: invalid query"));
    assert!(!result.complete);
}

#[test]
fn a_page_is_asked_for_again_with_its_own_token() {
    let mut window = window(100);
    list(&mut window, vec![], Some(PageToken(vec![7])));
    assert!(matches!(step(&mut window, 0), Step::List { .. }));
    window.on_page_error(0, transient());
    assert_eq!(step(&mut window, 0), Step::Wait { until_ms: Some(100) });
    assert_eq!(
        step(&mut window, 100),
        Step::List {
            token: Some(PageToken(vec![7]))
        }
    );
}

#[test]
fn stopping_early_waits_for_what_is_in_flight_and_leaves_the_rest() {
    let mut window = window(100);
    window.spec.settings.limiter = LimiterSpec { initial: 1, max: 1 };
    window.limiter = Limiter::new(&window.spec.settings.limiter);
    list(&mut window, vec![row("a", 1), row("b", 2)], None);
    let (slot, _) = stop(&mut window, 0);
    window.stop();
    assert_eq!(step(&mut window, 0), Step::Wait { until_ms: None });
    window.on_stop(0, slot, StopReply::Stopped, 1_000);
    let result = done(&mut window, 0);
    assert_eq!(
        (result.counts.stopped, result.counts.skipped, result.complete),
        (1, 1, false)
    );
}

#[test]
fn what_starts_after_the_fence_is_counted_by_type_and_parent() {
    let mut window = window(100);
    let child = |id: &str, at| Row {
        parent_workflow_id: Some("p".to_owned()),
        ..row(id, at)
    };
    list(
        &mut window,
        vec![child("a", 1_001), child("b", 1_002), row("c", 2_000), row("d", 999)],
        None,
    );
    window.stop();
    let starters = done(&mut window, 0).starters;
    let seen: Vec<_> = starters
        .iter()
        .map(|s| (s.parent_workflow_id.as_deref(), s.seen))
        .collect();
    assert_eq!(seen, [(Some("p"), 2), (None, 1)]);
}
