//! Engine BOTH: the server's batch beside our passes.

use super::*;

#[test]
fn both_runs_the_batch_beside_passes_over_what_is_new_and_stops_it_when_ended() {
    let mut campaign = fenced(CampaignSpec {
        engine: Engine::Both,
        ..CampaignSpec::default()
    });
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
    assert_eq!(command, Command::StartBatch { fence_ms: 5_000 });
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
    let mut campaign = fenced(CampaignSpec {
        engine: Engine::Both,
        ..CampaignSpec::default()
    });
    let (id, _) = only(&mut campaign);
    reply(&mut campaign, id, planned(3));
    let (id, _) = only(&mut campaign);
    campaign.apply(Event::Failed {
        id,
        reason: "no worker".to_owned(),
    });
    pass(&mut campaign, PassKind::Roots, window(1, 0));
    assert_eq!(campaign.warnings.len(), 1);
}
