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

/// A window whose first attempt has asked `a`, of a cap of 4; and what the next attempt is told.
fn one_asked() -> Checkpoint {
    let mut window = asking(4, None);
    list_at(&mut window, 0, vec![row("a", 1)]);
    ask_all(&mut window, 0);
    let checkpoint = window.checkpoint();
    assert_eq!(checkpoint.grace_until_ms, Some(5_000));
    assert!(checkpoint.reserved >= 1, "nothing is asked before that is recorded");
    Checkpoint {
        // The rest was given back when it was handed over.
        reserved: 1,
        ..checkpoint
    }
}

#[test]
fn a_new_attempt_keeps_the_grace_and_does_not_ask_again_whom_the_journal_has() {
    let mut window = Window::resume(asking_spec(2, None), one_asked());
    window.take_over([AskedRun {
        first_run_id: "run-a".to_owned(),
        run_id: "run-a".to_owned(),
    }]);
    list_at(&mut window, 4_000, vec![row("b", 2), row("a", 1)]);
    assert_eq!(ask_all(&mut window, 4_000).0, ["b"]);
    // Of the cap nothing is left: whom the attempt before asked counts.
    list_at(&mut window, 5_000, vec![row("c", 3), row("b", 2), row("a", 1)]);
    let Step::Describe { slot, .. } = step(&mut window, 5_000) else {
        panic!("it is described");
    };
    let open = DescribeReply::Open {
        row: row("c", 3),
        first_run_id: "run-c".to_owned(),
    };
    window.on_describe(5_000, slot, open);
    let result = done(&mut window, 5_000);
    assert!(result.cap_reached);
    assert_eq!((result.counts.asked, result.counts.skipped), (2, 1));
    let asked = result.asked.unwrap();
    assert_eq!((asked.chains, asked.charged, asked.left), (2, 2, 2));
}

#[test]
fn what_an_attempt_may_have_asked_and_the_journal_lacks_is_charged() {
    let mut window = Window::resume(asking_spec(2, None), one_asked());
    list_at(&mut window, 6_000, vec![row("a", 1)]);
    let (asked, Step::Done(result)) = ask_all(&mut window, 6_000) else {
        panic!("the grace is over");
    };
    assert_eq!(asked, ["a"], "asking again does no harm");
    let asked = result.asked.unwrap();
    assert_eq!((asked.chains, asked.charged, asked.over), (1, 2, true));
    assert_eq!(result.uncounted, 0, "no stop is unknown");
}

#[test]
fn told_to_stop_before_it_has_begun_a_new_attempt_answers_with_what_the_one_before_had() {
    let mut window = Window::resume(asking_spec(2, None), one_asked());
    window.stop();
    let result = done(&mut window, 4_000);
    assert_eq!((result.counts.asked, result.complete), (1, false));
    assert_eq!(result.asked.unwrap().charged, 1, "whom it asked is not known");
}

#[test]
fn what_failed_is_asked_again_while_the_grace_lasts_and_reported_once() {
    let refused = || {
        StopReply::Error(CallError {
            kind: CallErrorKind::Permanent,
            reason: "refused".to_owned(),
        })
    };
    let mut window = asking(10, None);
    list_at(&mut window, 0, vec![row("never", 2), row("later", 1)]);
    let mut tries = BTreeMap::<String, u32>::new();
    let mut now_ms = 0;
    let result = loop {
        match step(&mut window, now_ms) {
            Step::Stop { slot, pin } => {
                let tried = tries.entry(pin.workflow_id.clone()).or_default();
                *tried += 1;
                let heard = pin.workflow_id == "later" && *tried == 2;
                let reply = if heard { StopReply::Stopped } else { refused() };
                window.on_stop(now_ms, slot, reply, 1_000);
            }
            Step::List { .. } => window.on_page(now_ms, vec![row("never", 2), row("later", 1)], None),
            Step::Wait { until_ms } => now_ms = until_ms.expect("it waits for a time"),
            Step::Done(result) => break result,
            other => panic!("{other:?}"),
        }
    };
    // After 2 s, and the doubled pause would end after the grace of 5 s.
    assert_eq!((tries["later"], tries["never"]), (2, 2));
    assert_eq!(
        (result.counts.asked, result.counts.failed, result.counts.listed),
        (1, 1, 2)
    );
    assert_eq!(result.failures.len(), 1);
    assert_eq!(window.take_outcomes().len(), 2, "each has one outcome");
}
