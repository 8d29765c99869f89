//! Engine BOTH: the server's batch beside our passes.

use super::*;

#[test]
fn both_runs_the_batch_beside_passes_over_what_is_new_and_stops_it_when_ended() {
    let mut campaign = both();
    let (id, command) = only(&mut campaign);
    assert_eq!(
        command,
        Command::PlanPass {
            pass: 0,
            kind: PassKind::Open
        }
    );
    reply(&mut campaign, id, planned(3));
    let (id, command) = only(&mut campaign);
    assert_eq!(
        command,
        Command::StartBatch {
            job_id: "job".to_owned(),
            fence_ms: 5_000
        }
    );
    reply(
        &mut campaign,
        id,
        Reply::BatchStarted {
            job_id: "job".to_owned(),
        },
    );
    let commands = campaign.next();
    let [
        (track, Command::TrackBatch { .. }),
        (
            plan,
            Command::PlanPass {
                kind: PassKind::NewSince(5_000),
                ..
            },
        ),
    ] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    let (track, plan) = (*track, *plan);

    let mut stopped = campaign.clone();
    stopped.apply(Event::StopRequested {
        reason: "enough".to_owned(),
    });
    stopped.apply(Event::Failed {
        id: plan,
        reason: "cancelled".to_owned(),
    });
    stopped.apply(Event::Failed {
        id: track,
        reason: "cancelled".to_owned(),
    });
    let (id, command) = only(&mut stopped);
    assert_eq!(
        command,
        Command::StopBatch {
            job_id: "job".to_owned()
        }
    );
    assert!(stopped.outcome().is_none() && !stopped.should_cancel(id));
    let ended = BatchReport {
        job_id: "job".to_owned(),
        state: BatchState::Stopped,
        ..BatchReport::default()
    };
    reply(&mut stopped, id, Reply::BatchEnded(ended));
    assert_eq!(stopped.outcome().unwrap().verdict, Verdict::Aborted);

    reply(&mut campaign, plan, planned(0));
    let (id, _) = only(&mut campaign);
    reply(&mut campaign, track, Reply::BatchEnded(BatchReport::default()));
    reply(&mut campaign, id, window(0, 0));
    pass(&mut campaign, PassKind::Open, window(0, 0));
    confirmed(&mut campaign, looks(&[0, 200, 400]));
    assert_eq!(campaign.outcome().unwrap().verdict, Verdict::Clean);
}

#[test]
fn a_batch_that_cannot_be_started_is_done_without() {
    let mut campaign = start_unanswered();
    let (stop, plan) = stop_and_plan(&mut campaign);
    let absent = BatchReport {
        state: BatchState::Absent,
        ..BatchReport::default()
    };
    reply(&mut campaign, stop, Reply::BatchEnded(absent));
    assert_eq!(campaign.totals.charged, 0, "what it may have stopped is given back");
    reply(&mut campaign, plan, planned(0));
    let (id, _) = only(&mut campaign);
    reply(&mut campaign, id, window(0, 0));
    pass(&mut campaign, PassKind::Open, window(0, 0));
    confirmed(&mut campaign, looks(&[0, 200, 400]));
    let outcome = campaign.outcome().unwrap();
    assert_eq!(outcome.verdict, Verdict::Clean);
    assert!(outcome.batch.is_none());
    assert_eq!(outcome.warnings.len(), 1);
}

#[test]
fn a_batch_whose_start_was_not_answered_is_stopped_before_the_sweep_goes_on() {
    let mut campaign = start_unanswered();
    let (stop, plan) = stop_and_plan(&mut campaign);
    reply(&mut campaign, plan, planned(0));
    let (id, _) = only(&mut campaign);
    reply(&mut campaign, id, window(0, 0));
    assert!(campaign.next().is_empty(), "the sweep waits for it to be known");
    let stopped = BatchReport {
        state: BatchState::Stopped,
        completed: 2,
        ..BatchReport::default()
    };
    reply(&mut campaign, stop, Reply::BatchEnded(stopped));
    assert_eq!(campaign.totals.charged, 3);
    pass(&mut campaign, PassKind::Open, window(0, 0));
}

#[test]
fn a_start_that_is_cancelled_without_an_answer_is_stopped_at_the_end() {
    let (mut campaign, id) = start_asked();
    campaign.apply(Event::StopRequested {
        reason: "enough".to_owned(),
    });
    campaign.apply(Event::Failed {
        id,
        reason: "cancelled".to_owned(),
    });
    let (_, command) = only(&mut campaign);
    let job_id = "job".to_owned();
    assert_eq!(command, Command::StopBatch { job_id });
}

#[test]
fn it_can_be_carried_over_while_a_batch_is_tracked() {
    let (mut campaign, id) = start_asked();
    let job_id = "job".to_owned();
    reply(&mut campaign, id, Reply::BatchStarted { job_id });
    let commands = campaign.next();
    assert!(!campaign.is_quiet(), "a pass is being planned");
    reply(&mut campaign, commands[1].0, planned(0));
    assert!(campaign.is_quiet());
    let mut carried = campaign.resume().unwrap();
    let again = carried.next();
    assert!(again.contains(&commands[0]), "{again:?}");
    assert_eq!(again.len(), 2);
}

fn both() -> Campaign {
    fenced(CampaignSpec {
        engine: Engine::Both,
        batch_job_id: "job".to_owned(),
        ..CampaignSpec::default()
    })
}

/// A campaign whose batch is asked for, and the id of that command.
fn start_asked() -> (Campaign, CommandId) {
    let mut campaign = both();
    let (id, _) = only(&mut campaign);
    reply(&mut campaign, id, planned(3));
    let (id, _) = only(&mut campaign);
    (campaign, id)
}

/// A campaign whose batch was asked for without an answer.
fn start_unanswered() -> Campaign {
    let (mut campaign, id) = start_asked();
    campaign.apply(Event::Failed {
        id,
        reason: "no worker".to_owned(),
    });
    campaign
}

/// The ids of the stop of the batch and of the plan of the roots.
fn stop_and_plan(campaign: &mut Campaign) -> (CommandId, CommandId) {
    let commands = campaign.next();
    let [
        (stop, Command::StopBatch { .. }),
        (
            plan,
            Command::PlanPass {
                kind: PassKind::Roots, ..
            },
        ),
    ] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    (*stop, *plan)
}
