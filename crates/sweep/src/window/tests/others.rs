//! Others who are faster are let be.

use super::*;

fn leaves(ids: std::ops::Range<u64>) -> Vec<Row> {
    let leaf = |n| Row {
        parent_workflow_id: Some("gone".to_owned()),
        ..row(&format!("leaf-{n}"), n)
    };
    ids.map(leaf).collect()
}

/// Stops the next so many, each with this answer; tells which.
fn stop_some(window: &mut Window, now_ms: u64, count: usize, reply: impl Fn(usize) -> StopReply) -> Vec<String> {
    (0..count)
        .map(|n| {
            let (slot, pin) = stop(window, now_ms);
            window.on_stop(now_ms, slot, reply(n), 1_000);
            pin.workflow_id
        })
        .collect()
}

/// Leaves the first listing to the others; at `now_ms` the window lists again, and these are shown.
fn let_be(window: &mut Window, now_ms: u64, shown: Vec<Row>) {
    let until_ms = match step(window, 0) {
        Step::Wait { until_ms } => until_ms,
        other => panic!("expected a pause, got {other:?}"),
    };
    assert_eq!(until_ms, Some(now_ms));
    assert!(matches!(step(window, now_ms), Step::List { token: None }));
    window.on_page(now_ms, shown, None);
}

#[test]
fn leaves_are_let_be_at_first_and_stopped_when_nobody_else_closes_them() {
    let mut window = window(1_000);
    list(&mut window, leaves(0..300), None);
    let_be(&mut window, 1_000, leaves(0..300));
    stop_some(&mut window, 1_000, 300, |_| StopReply::Stopped);
    let result = done(&mut window, 1_000);
    assert!(result.complete, "{result:?}");
    assert_eq!((result.counts.listed, result.counts.stopped), (300, 300));
}

#[test]
fn a_few_leaves_are_not_worth_another_listing() {
    let mut window = window(1_000);
    list(&mut window, leaves(0..64), None);
    stop_some(&mut window, 0, 64, |_| StopReply::Stopped);
    assert_eq!(done(&mut window, 0).counts.pages, 1);
}

/// A window that has stopped a parent at 100 ms a stop, 8 at a time, which is 80 a second; then its leaves.
fn after_parents(parents: u64) -> Window {
    let mut window = window(10_000);
    let mut rows: Vec<Row> = (0..parents).map(|n| row(&format!("parent-{n}"), n)).collect();
    rows.extend(leaves(1_000..2_000));
    list(&mut window, rows, None);
    for _ in 0..parents {
        let (slot, _) = stop(&mut window, 0);
        window.on_stop(0, slot, StopReply::Stopped, 100_000);
    }
    window
}

#[test]
fn while_others_are_twice_as_fast_as_we_would_be_they_are_let_be() {
    let mut window = after_parents(16);
    let ours = window.limiter();
    assert_eq!((ours.limit, ours.latency_us), (8, 100_000), "80 a second");
    let_be(&mut window, 1_000, leaves(1_000..1_840));
    // 160 a second, 840 to go: that takes 5.2 s, of which a quarter.
    let until_ms = 1_000 + 840 * 1_000 / 160 / 4;
    assert_eq!(
        step(&mut window, 1_000),
        Step::Wait {
            until_ms: Some(until_ms)
        }
    );
    assert!(matches!(step(&mut window, until_ms), Step::List { token: None }));
    window.on_page(until_ms, Vec::new(), None);
    let result = done(&mut window, until_ms);
    assert!(result.complete, "{result:?}");
    assert_eq!((result.counts.listed, result.counts.stopped), (16, 16));
}

#[test]
fn when_they_are_slower_than_that_we_go_on() {
    let mut window = after_parents(16);
    let_be(&mut window, 1_000, leaves(1_000..1_841));
    stop_some(&mut window, 1_000, 841, |_| StopReply::Stopped);
    assert_eq!(done(&mut window, 1_000).counts.stopped, 16 + 841);
}

#[test]
fn while_more_than_a_quarter_comes_too_late_the_rest_is_listed_anew() {
    let mut window = window(1_000);
    list(&mut window, leaves(0..300), None);
    let_be(&mut window, 1_000, leaves(0..300));
    // One more than a quarter of 64, the last ones.
    let reply = |n| {
        if n < 47 {
            StopReply::Stopped
        } else {
            StopReply::AlreadyCompleted
        }
    };
    let begun = stop_some(&mut window, 1_000, 64, reply);
    // Twice as long as before, since nothing had closed then.
    assert_eq!(step(&mut window, 1_000), Step::Wait { until_ms: Some(3_000) });
    assert!(matches!(step(&mut window, 3_000), Step::List { token: None }));
    // Meanwhile the others have left 20; the index still shows one that was stopped.
    let mut shown = leaves(0..20);
    shown.push(Row {
        parent_workflow_id: Some("gone".to_owned()),
        ..row(&begun[0], 299)
    });
    window.on_page(3_000, shown, None);
    stop_some(&mut window, 3_000, 20, |_| StopReply::Stopped);
    let result = done(&mut window, 3_000);
    assert!(result.complete, "{result:?}");
    assert_eq!((result.counts.stopped, result.counts.already_closed), (67, 17));
    assert_eq!((result.counts.listed, result.counts.duplicates), (84, 1));
}

#[test]
fn while_three_of_four_do_something_it_goes_on() {
    let mut window = window(1_000);
    list(&mut window, leaves(0..300), None);
    let_be(&mut window, 1_000, leaves(0..300));
    let reply = |n| {
        if n % 4 == 0 {
            StopReply::AlreadyCompleted
        } else {
            StopReply::Stopped
        }
    };
    stop_some(&mut window, 1_000, 300, reply);
    let result = done(&mut window, 1_000);
    assert_eq!((result.counts.stopped, result.counts.pages), (225, 2));
}

/// Answers each stop with «closed already»; the window lists what `shown` says, by the number of the listing.
fn all_too_late(window: &mut Window, shown: impl Fn(u64) -> Vec<Row>) -> WindowResult {
    for pages in 0.. {
        let now_ms = pages * 10_000;
        match step(window, now_ms) {
            Step::List { .. } => window.on_page(now_ms, shown(pages), None),
            other => panic!("expected a listing, got {other:?}"),
        }
        while let Step::Stop { slot, .. } = step(window, now_ms) {
            window.on_stop(now_ms, slot, StopReply::AlreadyCompleted, 1_000);
        }
        if let Step::Done(result) = step(window, now_ms) {
            return *result;
        }
    }
    unreachable!("the loop has no end")
}

#[test]
fn others_that_never_finish_are_waited_for_so_often_and_no_more() {
    // Each time more than the stops that came too late: the others go on, and never come to the end.
    let result = all_too_late(&mut window(10_000), |n| leaves(0..12_000 - 90 * n));
    assert_eq!((result.counts.pages, result.complete), (121, true));
}

#[test]
fn stops_that_come_too_late_while_nothing_closes_are_an_old_index_and_no_others() {
    let result = all_too_late(&mut window(10_000), |_| leaves(0..5_000));
    assert_eq!((result.counts.pages, result.complete), (4, true));
    assert_eq!(result.counts.already_closed, 5_000);
}

#[test]
fn a_trickle_is_no_more_than_an_old_index() {
    // 80 come away each time, of which from the second time on 64 are our own stops that came too late.
    let result = all_too_late(&mut window(10_000), |n| leaves(0..5_000 - 80 * n));
    assert_eq!((result.counts.pages, result.complete), (5, true));
}

#[test]
fn while_leaves_come_anew_nothing_is_held_against_the_others() {
    let result = all_too_late(&mut window(10_000), |n| leaves(0..1_000 + 100 * n.min(20)));
    assert!(result.counts.pages > 20, "{result:?}");
}

#[test]
fn idle_others_get_twice_as_long_each_time() {
    let mut window = window(10_000);
    list(&mut window, leaves(0..1_000), None);
    let mut pauses = Vec::new();
    let mut now_ms = 0;
    while pauses.len() < 3 {
        match step(&mut window, now_ms) {
            Step::Stop { slot, .. } => window.on_stop(now_ms, slot, StopReply::AlreadyCompleted, 1_000),
            Step::Wait {
                until_ms: Some(until_ms),
            } => {
                pauses.push(until_ms - now_ms);
                now_ms = until_ms;
            }
            Step::List { .. } => window.on_page(now_ms, leaves(0..1_000), None),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pauses, [1_000, 2_000, 4_000]);
}

/// What a window does next at a pace of 10 a second, when others have closed so many in a second; it could do 80.
fn at_a_pace(closed: u64) -> Step {
    let mut window = after_parents(16);
    window.set_limits(WindowLimits {
        stops_per_second: 10,
        ..WindowLimits::default()
    });
    let_be(&mut window, 1_000, leaves(1_000..2_000 - closed));
    step(&mut window, 1_000)
}

#[test]
fn a_pace_that_somebody_has_set_is_ours() {
    let until_ms = Some(11_000);
    assert_eq!(at_a_pace(20), Step::Wait { until_ms }, "let be again");
    assert!(matches!(at_a_pace(19), Step::Stop { .. }));
}

#[test]
fn who_is_counted_off_altogether_is_no_starter() {
    let mut window = window(1_000);
    // They began after the fence.
    list(&mut window, leaves(1_000..1_300), None);
    let_be(&mut window, 1_000, Vec::new());
    let result = done(&mut window, 1_000);
    assert_eq!((result.counts.listed, result.starters), (0, Vec::new()));
}
