//! Modes that ask first.

use super::*;
use crate::spec::{Mode, WindowSpec};

fn spec(mode: Mode) -> CampaignSpec {
    CampaignSpec {
        version: 2,
        mode,
        grace_ms: 7_000,
        ..CampaignSpec::default()
    }
}

fn asked(chains: u64, left: u64, over: bool) -> Reply {
    let Reply::WindowDone(result) = window(0, 0) else {
        unreachable!("it is a window's answer");
    };
    Reply::WindowDone(WindowResult {
        asked: Some(Asked {
            chains,
            charged: chains,
            left,
            until_ms: Some(9_000),
            over,
        }),
        ..result
    })
}

/// The window of the pass that is asked for next, its plan answered.
fn window_of_next_pass(campaign: &mut Campaign) -> (CommandId, WindowSpec) {
    loop {
        let (id, command) = only(campaign);
        match command {
            Command::Wait { .. } => reply(campaign, id, Reply::Waited),
            Command::PlanPass { kind, .. } => {
                assert_eq!(kind, PassKind::Open);
                reply(campaign, id, planned(3));
            }
            Command::RunWindow { spec, .. } => return (id, spec),
            other => panic!("expected a pass, got {other:?}"),
        }
    }
}

#[test]
fn what_does_not_end_within_the_grace_is_terminated() {
    let mut campaign = fenced(spec(Mode::CancelThenTerminate));
    assert_eq!(campaign.phase(), Phase::Asking);
    let (id, told) = window_of_next_pass(&mut campaign);
    assert_eq!(told.ask.map(|ask| ask.grace_ms), Some(7_000));
    reply(&mut campaign, id, asked(5, 2, true));
    assert_eq!(campaign.phase(), Phase::Striking);
    pass(&mut campaign, PassKind::Roots, window(2, 0));
    pass(&mut campaign, PassKind::Open, window(0, 0));
    confirmed(&mut campaign, looks(&[10_000, 10_200, 10_400]));
    let outcome = campaign.outcome().unwrap();
    assert_eq!((outcome.verdict, outcome.totals.charged), (Verdict::Clean, 2));
    assert_eq!(outcome.asked.map(|asked| (asked.chains, asked.left)), Some((5, 2)));
}

#[test]
fn what_is_only_to_be_asked_is_left_and_named() {
    let mut campaign = fenced(spec(Mode::Cancel));
    let (id, _) = window_of_next_pass(&mut campaign);
    reply(&mut campaign, id, asked(5, 1, true));
    assert_eq!(campaign.phase(), Phase::Confirming);
    confirmed(&mut campaign, alive());
    let outcome = campaign.outcome().unwrap();
    assert_eq!(outcome.verdict, Verdict::Residue);
    assert!(
        matches!(outcome.why, Why::GraceOver { alive: 1.. }),
        "{:?}",
        outcome.why
    );
    assert_eq!(outcome.totals.charged, 0);
}

#[test]
fn what_was_not_seen_is_asked_as_long_as_there_is_grace() {
    let mut campaign = fenced(spec(Mode::Cancel));
    let (id, _) = window_of_next_pass(&mut campaign);
    reply(&mut campaign, id, asked(5, 0, false));
    confirmed(&mut campaign, alive());
    let (id, told) = window_of_next_pass(&mut campaign);
    assert_eq!(told.ask.and_then(|ask| ask.until_ms), Some(9_000));
    reply(&mut campaign, id, asked(1, 0, false));
    confirmed(&mut campaign, looks(&[8_000, 8_200, 8_400]));
    let outcome = campaign.outcome().unwrap();
    assert_eq!(outcome.verdict, Verdict::Clean);
    assert_eq!(outcome.asked.map(|asked| (asked.chains, asked.left)), Some((6, 0)));
}

#[test]
fn the_servers_batch_cannot_ask() {
    let both = CampaignSpec {
        engine: Engine::Both,
        ..spec(Mode::Cancel)
    };
    assert!(matches!(
        Campaign::new(both),
        Err(CampaignError::Spec { field: "engine", .. })
    ));
}
