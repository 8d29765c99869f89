//! Limits that change on the way.

use super::*;
use crate::spec::WindowLimits;

fn full(rows: u64) -> Window {
    let mut window = window(1_000);
    let rows = (0..rows).map(|n| row(&format!("w{n}"), n)).collect();
    list(&mut window, rows, None);
    window
}

/// Stops that may begin now.
fn begun(window: &mut Window, now_ms: u64) -> Vec<Slot> {
    let mut slots = Vec::new();
    while let Step::Stop { slot, .. } = step(window, now_ms) {
        slots.push(slot);
    }
    slots
}

#[test]
fn a_lower_concurrency_holds_at_once_and_what_is_in_flight_is_left_alone() {
    let mut window = full(50);
    let first = begun(&mut window, 0);
    assert_eq!(first.len(), 4, "the probe");
    window.set_limits(WindowLimits {
        concurrency: 2,
        stops_per_second: 0,
    });
    window.on_stop(1, first[0], StopReply::Stopped, 1_000);
    window.on_stop(1, first[1], StopReply::Stopped, 1_000);
    assert!(begun(&mut window, 1).is_empty(), "two are still in flight");
    window.on_stop(2, first[2], StopReply::Stopped, 1_000);
    assert_eq!(begun(&mut window, 2).len(), 1);
    // 0 gives back what the window was told at its start.
    window.set_limits(WindowLimits::default());
    assert_eq!(window.limiter.limit(), 2, "the limit itself is the limiter's to raise");
}

#[test]
fn a_rate_is_waited_for_and_its_end_is_heard() {
    let mut window = full(50);
    window.set_limits(WindowLimits {
        concurrency: 0,
        stops_per_second: 2,
    });
    let mut now_ms = 10_000;
    let mut stopped = 0;
    while now_ms < 20_000 {
        for slot in begun(&mut window, now_ms) {
            window.on_stop(now_ms, slot, StopReply::Stopped, 1_000);
            stopped += 1;
        }
        let Step::Wait {
            until_ms: Some(until_ms),
        } = step(&mut window, now_ms)
        else {
            panic!("it must know when it may go on")
        };
        assert!(until_ms > now_ms);
        now_ms = until_ms;
    }
    assert!((20..=21).contains(&stopped), "{stopped} in ten seconds");
    window.set_limits(WindowLimits::default());
    assert!(begun(&mut window, now_ms).len() > 2, "as many as the limiter says");
}
