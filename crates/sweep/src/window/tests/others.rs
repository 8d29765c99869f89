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
fn stop_some(window: &mut Window, count: usize, reply: impl Fn(usize) -> StopReply) -> Vec<String> {
    (0..count)
        .map(|n| {
            let (slot, pin) = stop(window, 0);
            window.on_stop(0, slot, reply(n), 1_000);
            pin.workflow_id
        })
        .collect()
}

#[test]
fn while_most_stops_come_too_late_the_rest_is_listed_anew() {
    let mut window = window(1_000);
    list(&mut window, leaves(0..300), None);
    // One more than half of 64, the last ones.
    let reply = |n| {
        if n < 31 {
            StopReply::Stopped
        } else {
            StopReply::AlreadyCompleted
        }
    };
    let begun = stop_some(&mut window, 64, reply);
    assert_eq!(step(&mut window, 0), Step::Wait { until_ms: Some(1_000) });
    assert!(matches!(step(&mut window, 1_000), Step::List { token: None }));
    // Meanwhile the others have left 20; the index still shows one that was stopped.
    let mut shown = leaves(0..20);
    shown.push(Row {
        parent_workflow_id: Some("gone".to_owned()),
        ..row(&begun[0], 299)
    });
    window.on_page(1_000, shown, None);
    stop_some(&mut window, 20, |_| StopReply::Stopped);
    let result = done(&mut window, 1_000);
    assert!(result.complete, "{result:?}");
    assert_eq!((result.counts.stopped, result.counts.already_closed), (51, 33));
    assert_eq!((result.counts.listed, result.counts.duplicates), (84, 1));
}

#[test]
fn while_half_of_them_do_something_it_goes_on() {
    let mut window = window(1_000);
    list(&mut window, leaves(0..300), None);
    let reply = |n| {
        if n % 2 == 0 {
            StopReply::Stopped
        } else {
            StopReply::AlreadyCompleted
        }
    };
    stop_some(&mut window, 300, reply);
    let result = done(&mut window, 0);
    assert_eq!((result.counts.stopped, result.counts.pages), (150, 1));
}

#[test]
fn others_that_never_finish_are_waited_for_so_often_and_no_more() {
    let mut window = window(1_000);
    let mut pages = 0;
    for now_ms in (0..).step_by(1_000) {
        match step(&mut window, now_ms) {
            // As if each stop met what had closed, and as many had come anew.
            Step::List { .. } => window.on_page(now_ms, leaves(pages * 300..pages * 300 + 300), None),
            other => panic!("expected a listing, got {other:?}"),
        }
        pages += 1;
        while let Step::Stop { slot, .. } = step(&mut window, now_ms) {
            window.on_stop(now_ms, slot, StopReply::AlreadyCompleted, 1_000);
        }
        if let Step::Done(result) = step(&mut window, now_ms) {
            assert_eq!((result.counts.pages, result.complete), (121, true));
            break;
        }
    }
    assert_eq!(pages, 121);
}
