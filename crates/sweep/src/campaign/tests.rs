mod asking;
mod batch;
mod failures;

use super::*;
use crate::message::{AliveExecution, Look, Planned, StartRange};
use crate::window::{Counts, WindowResult};

fn campaign(spec: CampaignSpec) -> Campaign {
    Campaign::new(spec).unwrap()
}

/// The one command that is handed out next.
fn only(campaign: &mut Campaign) -> (CommandId, Command) {
    let mut commands = campaign.next();
    assert_eq!(commands.len(), 1, "{commands:?}");
    commands.remove(0)
}

fn reply(campaign: &mut Campaign, id: CommandId, reply: Reply) {
    campaign.apply(Event::Completed { id, reply });
}

fn fenced(spec: CampaignSpec) -> Campaign {
    let mut campaign = campaign(spec);
    let (id, _) = only(&mut campaign);
    let quiesced = Quiesced {
        status: QuiesceStatus::Accepted,
        fence_ms: 5_000,
        detail: String::new(),
    };
    reply(&mut campaign, id, Reply::Quiesced(quiesced));
    campaign
}

fn planned(open: u64) -> Reply {
    Reply::Planned(Planned {
        count: open,
        open,
        windows: Vec::new(),
    })
}

fn window(stopped: u64, failed: u64) -> Reply {
    let counts = Counts {
        listed: stopped + failed,
        stopped,
        failed,
        ..Counts::default()
    };
    Reply::WindowDone(WindowResult {
        counts,
        charged: stopped,
        complete: true,
        ..WindowResult::default()
    })
}

/// Runs one pass of one window; the commands before it that only wait are waited for.
fn pass(campaign: &mut Campaign, wanted: PassKind, result: Reply) {
    loop {
        let (id, command) = only(campaign);
        match command {
            Command::Wait { .. } => reply(campaign, id, Reply::Waited),
            Command::PlanPass { kind, .. } => {
                assert_eq!(kind, wanted);
                reply(campaign, id, planned(3));
                break;
            }
            other => panic!("expected a plan, got {other:?}"),
        }
    }
    let (id, command) = only(campaign);
    assert!(
        matches!(
            command,
            Command::RunWindow {
                range: StartRange::ALL,
                ..
            }
        ),
        "{command:?}"
    );
    reply(campaign, id, result);
}

fn confirmed(campaign: &mut Campaign, answer: Confirmed) {
    let (id, command) = only(campaign);
    assert!(matches!(command, Command::Confirm { .. }), "{command:?}");
    reply(campaign, id, Reply::Confirmed(answer));
}

fn looks(times: &[u64]) -> Confirmed {
    let looks = times
        .iter()
        .map(|at_ms| Look {
            at_ms: *at_ms,
            ..Look::default()
        })
        .collect();
    Confirmed {
        looks,
        lag_ms: 100,
        zero: true,
        ..Confirmed::default()
    }
}

fn alive() -> Confirmed {
    let named = vec![AliveExecution {
        workflow_id: "a".to_owned(),
        ..AliveExecution::default()
    }];
    Confirmed {
        alive: 1,
        alive_named: named,
        ..Confirmed::default()
    }
}

#[test]
fn roots_then_all_until_a_pass_stops_nothing_then_looks_then_clean() {
    let mut campaign = fenced(CampaignSpec::default());
    assert_eq!(campaign.phase(), Phase::Striking);
    pass(&mut campaign, PassKind::Roots, window(1, 0));
    assert_eq!(campaign.phase(), Phase::Sweeping);
    pass(&mut campaign, PassKind::Open, window(2, 0));
    pass(&mut campaign, PassKind::Open, window(0, 0));
    assert_eq!(campaign.phase(), Phase::Confirming);
    confirmed(&mut campaign, looks(&[0, 200, 400]));
    let outcome = campaign.outcome().unwrap();
    assert_eq!((outcome.verdict, &outcome.why), (Verdict::Clean, &Why::Confirmed));
    assert_eq!(
        (outcome.totals.counts.stopped, outcome.pass_count, outcome.fence_ms),
        (3, 3, Some(5_000))
    );
    assert!(campaign.next().is_empty() && campaign.is_quiet());
}

#[test]
fn a_zero_that_the_looks_do_not_prove_is_not_believed() {
    let mut campaign = fenced(CampaignSpec::default());
    pass(&mut campaign, PassKind::Roots, window(1, 0));
    pass(&mut campaign, PassKind::Open, window(0, 0));
    confirmed(&mut campaign, looks(&[0, 200]));
    assert_eq!(campaign.outcome(), None);
    pass(&mut campaign, PassKind::Open, window(0, 0));
    confirmed(&mut campaign, looks(&[0, 50, 100]));
    assert_eq!(campaign.outcome(), None);
}

#[test]
fn what_cannot_be_stopped_ends_as_a_residue_with_its_failures() {
    let mut campaign = fenced(CampaignSpec::default());
    pass(&mut campaign, PassKind::Roots, window(1, 0));
    for _ in 0..4 {
        pass(&mut campaign, PassKind::Open, window(0, 1));
        confirmed(&mut campaign, alive());
    }
    let outcome = campaign.outcome().unwrap();
    assert_eq!(
        (outcome.verdict, &outcome.why),
        (Verdict::Residue, &Why::FailuresRemain { failed: 1, alive: 1 })
    );
}

#[test]
fn more_open_than_the_cap_aborts_before_anything_is_stopped() {
    let mut campaign = fenced(CampaignSpec {
        max_affected: 2,
        ..CampaignSpec::default()
    });
    let (id, _) = only(&mut campaign);
    reply(&mut campaign, id, planned(3));
    let outcome = campaign.outcome().unwrap();
    assert_eq!(
        outcome.why,
        Why::CapReached {
            max_affected: 2,
            charged: 0,
            open: 3
        }
    );
    assert_eq!((outcome.verdict, outcome.totals.counts.stopped), (Verdict::Aborted, 0));
}

#[test]
fn a_cap_met_on_the_way_aborts_with_what_was_done() {
    let mut campaign = fenced(CampaignSpec {
        max_affected: 3,
        ..CampaignSpec::default()
    });
    let counts = Counts {
        listed: 4,
        stopped: 3,
        skipped: 1,
        ..Counts::default()
    };
    let result = WindowResult {
        counts,
        charged: 3,
        cap_reached: true,
        ..WindowResult::default()
    };
    pass(&mut campaign, PassKind::Roots, Reply::WindowDone(result));
    let outcome = campaign.outcome().unwrap();
    assert_eq!(
        outcome.why,
        Why::CapReached {
            max_affected: 3,
            charged: 3,
            open: 0
        }
    );
}

#[test]
fn refused_and_required_blocks_before_anything_is_stopped() {
    let mut campaign = campaign(CampaignSpec {
        require_quiesce: true,
        ..CampaignSpec::default()
    });
    let (id, command) = only(&mut campaign);
    assert_eq!(command, Command::QuiesceSources { quiesce: true });
    reply(
        &mut campaign,
        id,
        Reply::Quiesced(Quiesced {
            status: QuiesceStatus::Refused,
            ..Quiesced::default()
        }),
    );
    assert_eq!(campaign.outcome().unwrap().verdict, Verdict::Blocked);
}

#[test]
fn a_stop_cancels_what_runs_counts_what_it_did_and_aborts() {
    let mut campaign = fenced(CampaignSpec::default());
    let (id, _) = only(&mut campaign);
    reply(&mut campaign, id, planned(3));
    let (id, _) = only(&mut campaign);
    campaign.apply(Event::StopRequested {
        reason: "enough".to_owned(),
    });
    assert!(campaign.wants_cancel() && campaign.should_cancel(id) && campaign.outcome().is_none());
    reply(&mut campaign, id, window(2, 0));
    let outcome = campaign.outcome().unwrap();
    assert_eq!(
        outcome.why,
        Why::StopRequested {
            reason: "enough".to_owned()
        }
    );
    assert_eq!((outcome.totals.counts.stopped, outcome.passes.len()), (2, 1));
    assert!(!campaign.wants_cancel());
}

#[test]
fn the_deadline_blocks_and_names_what_keeps_starting() {
    let mut campaign = fenced(CampaignSpec::default());
    let starter = |seen| Starter {
        workflow_type: "Child".to_owned(),
        seen,
        ..Starter::default()
    };
    let result = WindowResult {
        starters: vec![starter(4)],
        ..WindowResult::default()
    };
    pass(&mut campaign, PassKind::Roots, Reply::WindowDone(result));
    let (id, _) = only(&mut campaign);
    campaign.apply(Event::DeadlineReached {
        starters: vec![starter(1)],
    });
    campaign.apply(Event::Failed {
        id,
        reason: "cancelled".to_owned(),
    });
    let outcome = campaign.outcome().unwrap();
    assert_eq!(outcome.why, Why::DeadlineReached { phase: Phase::Sweeping });
    assert_eq!(
        (outcome.verdict, &outcome.starters),
        (Verdict::Blocked, &vec![starter(5)])
    );
}

#[test]
fn a_lost_window_is_charged_with_all_it_might_have_done() {
    let mut campaign = fenced(CampaignSpec::default());
    let (id, _) = only(&mut campaign);
    reply(&mut campaign, id, planned(3));
    let (id, _) = only(&mut campaign);
    campaign.apply(Event::Failed {
        id,
        reason: "payload store gone".to_owned(),
    });
    let outcome = campaign.outcome().unwrap();
    assert!(matches!(&outcome.why, Why::ActivityFailed { command, .. } if command == "bulk_cancel_workflows"));
    assert_eq!((outcome.totals.lost_windows, outcome.totals.charged), (1, 10_000));
}

#[test]
fn windows_share_the_cap_and_the_pass_ends_with_the_query_without_bounds() {
    let spec = CampaignSpec {
        max_affected: 101,
        window_concurrency: 2,
        ..CampaignSpec::default()
    };
    let mut campaign = fenced(spec);
    let (id, _) = only(&mut campaign);
    let range = |n| StartRange {
        from_ms: Some(n),
        to_ms: Some(n + 1),
    };
    let windows = vec![range(1), range(2), range(3)];
    reply(
        &mut campaign,
        id,
        Reply::Planned(Planned {
            count: 9,
            open: 9,
            windows,
        }),
    );
    let (mut running, mut ranges) = (VecDeque::new(), Vec::new());
    loop {
        for (id, command) in campaign.next() {
            let Command::RunWindow { range, spec, .. } = command else {
                continue;
            };
            ranges.push(range);
            running.push_back((id, spec.cap));
        }
        let lent: u64 = running.iter().map(|(_, cap)| cap).sum();
        assert!(running.len() <= 2 && lent + campaign.progress().totals.charged <= 101);
        let Some((id, _)) = running.pop_front() else { break };
        reply(&mut campaign, id, window(1, 0));
    }
    assert_eq!(ranges, [range(1), range(2), range(3), StartRange::ALL]);
    assert_eq!(campaign.progress().totals.counts.stopped, 4);
}

#[test]
fn it_survives_serialisation_at_any_point_and_refuses_a_newer_version() {
    let mut campaign = fenced(CampaignSpec::default());
    pass(&mut campaign, PassKind::Roots, window(1, 0));
    let (id, _) = only(&mut campaign);
    let text = serde_json::to_string(&campaign).unwrap();
    let mut copy = serde_json::from_str::<Campaign>(&text).unwrap().resume().unwrap();
    assert_eq!(copy, campaign);
    reply(&mut copy, id, planned(3));
    assert_eq!(copy.next().len(), 1);

    let newer = CampaignSpec {
        version: crate::VERSION + 1,
        ..CampaignSpec::default()
    };
    assert!(matches!(Campaign::new(newer), Err(CampaignError::Version { .. })));
    let zero = CampaignSpec {
        looks: 0,
        ..CampaignSpec::default()
    };
    assert!(matches!(
        Campaign::new(zero),
        Err(CampaignError::Spec { field: "looks", .. })
    ));
}

#[test]
fn an_event_that_fits_nothing_changes_nothing() {
    let mut campaign = fenced(CampaignSpec::default());
    let before = campaign.clone();
    reply(&mut campaign, CommandId(99), Reply::Waited);
    campaign.apply(Event::Failed {
        id: CommandId(0),
        reason: "late".to_owned(),
    });
    assert_eq!(campaign, before);
}
