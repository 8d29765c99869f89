//! Waiting for a turn, holding it, and waiting for an operation to start.

use super::{Fake, loops::Scripted, records::FakeRecords};
use crate::operation::{
    action::{Action, Kind, Selection},
    activities::StartProgress,
    attempt::Details,
    job::State,
    loops::Stop,
    messages::{Beat, OperationInput, Place, Verdict, Waiting},
    spec::Spec,
    store::Records as _,
    turns::{hold, until_started, wait_for_turn},
};
use quell_mesh::error::{Error, Reason};

fn place(job_id: &str) -> Place {
    Place {
        job_id: job_id.to_owned(),
        namespace: "main".to_owned(),
        kind: Kind::Terminate,
    }
}

fn waiting(job_id: &str) -> Waiting {
    Waiting {
        job_id: job_id.to_owned(),
        kind: Kind::Terminate,
    }
}

fn input(job_id: &str) -> OperationInput {
    OperationInput {
        job_id: job_id.to_owned(),
        namespace: "main".to_owned(),
        spec: Spec {
            action: Action::Terminate,
            selection: Selection::Query("WorkloadId = \"1\"".to_owned()),
            reason: "why".to_owned(),
            max_affected: 0,
        },
        matched: 0,
        caller: "w".to_owned(),
    }
}

#[tokio::test]
async fn a_turn_is_waited_for_and_a_lost_line_entered_again() {
    let records = FakeRecords::default();
    records.enter("main", waiting("first")).await.unwrap();
    records.advance();
    let beat = Details::new(Beat::default());
    let attempt = Scripted::new(|n| {
        match n {
            2 => {
                let beat = beat.get();
                assert_eq!((beat.position, beat.holder.unwrap().job_id.as_str()), (1, "first"));
                records.lose_line();
            }
            // A line that was just lost may only not be published yet: it takes some looks until it is entered again.
            n if n > 2 && records.entered() == 3 => records.advance(),
            _ => {}
        }
        false
    });
    wait_for_turn(&records, &attempt, &place("mine"), &beat).await.unwrap();
    assert_eq!(records.entered(), 3, "once by the first, twice by us");
    assert!(records.line("main").await.unwrap().is_turn_of("mine"));
}

#[tokio::test]
async fn a_turn_is_over_when_the_record_says_so_or_is_gone() {
    let records = FakeRecords::default();
    records.start(input("mine")).await.unwrap();
    let attempt = Scripted::new(|n| {
        match n {
            1 => records.runs("mine"),
            2 => records.end("mine", Verdict::Completed),
            _ => panic!("it is over"),
        }
        false
    });
    hold(&records, &attempt, "mine").await.unwrap();
    assert_eq!(attempt.pauses(), 2);
    hold(&records, &Scripted::new(|_| panic!("nobody")), "nobody")
        .await
        .unwrap();
}

#[tokio::test]
async fn an_operation_is_begun_once_and_waited_for_until_the_server_has_it() {
    let server = Fake::default();
    let records = FakeRecords::default();
    let told = Details::new(StartProgress::default());
    let attempt = Scripted::new(|n| {
        match n {
            1 => records.waits_for("mine", "theirs"),
            2 => assert_eq!(told.get().waiting_for, "theirs"),
            _ => {
                let job = super::job("mine", State::Running);
                server.world().jobs.insert("mine".to_owned(), job);
            }
        }
        false
    });
    let started = until_started(&server, &records, &attempt, &input("mine"), &told)
        .await
        .unwrap();
    assert_eq!(
        (started.job_id.as_str(), started.start_time_ms),
        ("mine", 1_700_000_000_005)
    );
    // Another attempt.
    until_started(&server, &records, &attempt, &input("mine"), &told)
        .await
        .unwrap();
    assert_eq!(records.started(), ["mine"]);
}

#[tokio::test]
async fn a_malformed_query_is_told_at_once_and_a_stop_in_the_queue_too() {
    let server = Fake::default();
    let records = FakeRecords::default();
    let told = Details::new(StartProgress::default());
    server.world().invalid = Some("invalid query".to_owned());
    let none = Scripted::new(|_| panic!("at once"));
    let Err(Stop::Failed(Error::InvalidArgument(violations))) =
        until_started(&server, &records, &none, &input("mine"), &told).await
    else {
        panic!("refused")
    };
    assert_eq!(violations[0].field, "query");
    assert!(records.started().is_empty());

    server.world().invalid = None;
    let stopped = Scripted::new(|_| {
        records.end("mine", Verdict::Stopped);
        false
    });
    let Err(Stop::Failed(error)) = until_started(&server, &records, &stopped, &input("mine"), &told).await else {
        panic!("it must fail")
    };
    assert_eq!(error.reason(), Reason::WrongState);
    assert!(error.to_string().contains("stopped while it was queued"), "{error}");
}
