//! Windows that ask.

use super::*;
use crate::spec::AskSpec;

fn asking(cap: u64, until_ms: Option<u64>) -> Window {
    Window::new(asking_spec(cap, until_ms))
}

fn asking_spec(cap: u64, until_ms: Option<u64>) -> WindowSpec {
    let ask = AskSpec {
        grace_ms: 5_000,
        until_ms,
    };
    WindowSpec {
        ask: Some(ask),
        ..spec(cap)
    }
}

fn list_at(window: &mut Window, now_ms: u64, rows: Vec<Row>) {
    assert!(matches!(step(window, now_ms), Step::List { token: None }));
    window.on_page(now_ms, rows, None);
}

/// Asks until there is something else to do: whom, and that.
fn ask_all(window: &mut Window, now_ms: u64) -> (Vec<String>, Step) {
    let mut asked = Vec::new();
    loop {
        match step(window, now_ms) {
            Step::Stop { slot, pin } => {
                window.on_stop(now_ms, slot, StopReply::Stopped, 1_000);
                asked.push(pin.workflow_id);
            }
            next => return (asked, next),
        }
    }
}

#[test]
fn each_is_asked_once_and_what_starts_meanwhile_too_until_the_grace_is_over() {
    let mut window = asking(10, None);
    list_at(&mut window, 0, vec![row("b", 2), row("a", 1)]);
    let (asked, next) = ask_all(&mut window, 0);
    assert_eq!(asked, ["a", "b"]);
    // The grace begins now, and it is listed again a second later.
    assert_eq!(next, Step::Wait { until_ms: Some(1_000) });
    list_at(&mut window, 1_000, vec![row("c", 3), row("b", 2)]);
    assert_eq!(ask_all(&mut window, 1_000).0, ["c"]);
    list_at(&mut window, 4_900, vec![row("c", 3)]);
    assert!(ask_all(&mut window, 4_900).0.is_empty());
    list_at(&mut window, 5_000, vec![row("c", 3)]);
    let result = done(&mut window, 5_000);
    assert_eq!(
        result.asked,
        Some(Asked {
            chains: 3,
            charged: 3,
            left: 1,
            until_ms: Some(5_000),
            over: true
        })
    );
    assert_eq!((result.counts.asked, result.counts.stopped, result.charged), (3, 0, 0));
    assert!(result.complete && !result.cap_reached);
}

#[test]
fn it_ends_before_the_grace_is_over_when_nothing_is_open_any_more() {
    let mut window = asking(10, None);
    list_at(&mut window, 0, vec![row("a", 1)]);
    ask_all(&mut window, 0);
    list_at(&mut window, 1_000, Vec::new());
    assert!(matches!(step(&mut window, 1_000), Step::Wait { .. }));
    list_at(&mut window, 2_000, Vec::new());
    let asked = done(&mut window, 2_000).asked.unwrap();
    assert_eq!((asked.chains, asked.left, asked.over), (1, 0, false));
}

#[test]
fn the_next_run_of_a_chain_is_asked_and_not_charged_again() {
    let mut window = asking(1, None);
    list_at(&mut window, 0, vec![row("a", 1)]);
    assert_eq!(ask_all(&mut window, 0).0, ["a"]);
    let next = Row {
        run_id: "next-run".to_owned(),
        ..row("a", 2)
    };
    list_at(&mut window, 1_000, vec![next.clone()]);
    // Nothing is left of the cap: it is described, and proves to be the chain that was asked.
    let Step::Describe { slot, .. } = step(&mut window, 1_000) else {
        panic!("it is described");
    };
    let first_run_id = "run-a".to_owned();
    window.on_describe(
        1_000,
        slot,
        DescribeReply::Open {
            row: next,
            first_run_id,
        },
    );
    assert_eq!(ask_all(&mut window, 1_000).0, ["a"]);
    list_at(&mut window, 5_000, Vec::new());
    let result = done(&mut window, 5_000);
    assert_eq!((result.counts.asked, result.asked.unwrap().chains), (2, 1));
    assert!(!result.cap_reached);
}

#[test]
fn no_more_are_asked_than_the_cap_allows() {
    let mut window = asking(1, None);
    list_at(&mut window, 0, vec![row("b", 2), row("a", 1)]);
    let (asked, next) = ask_all(&mut window, 0);
    assert_eq!(asked, ["a"]);
    let Step::Describe { slot, .. } = next else {
        panic!("it is described");
    };
    let open = DescribeReply::Open {
        row: row("b", 2),
        first_run_id: "run-b".to_owned(),
    };
    window.on_describe(0, slot, open);
    let result = done(&mut window, 0);
    assert!(result.cap_reached);
    assert_eq!((result.counts.asked, result.counts.skipped), (1, 1));
}

#[test]
fn a_new_attempt_keeps_the_grace_and_asks_again() {
    let mut window = asking(2, None);
    list_at(&mut window, 0, vec![row("a", 1)]);
    ask_all(&mut window, 0);
    let checkpoint = window.checkpoint();
    assert_eq!(checkpoint.grace_until_ms, Some(5_000));
    let mut window = Window::resume(asking_spec(2, None), checkpoint);
    list_at(&mut window, 6_000, vec![row("a", 1)]);
    let (asked, Step::Done(result)) = ask_all(&mut window, 6_000) else {
        panic!("the grace is over");
    };
    assert_eq!(asked, ["a"]);
    assert!(result.asked.unwrap().over);
}
