use super::*;
use temporalio_common::protos::temporal::api::history::v1::{
    ChildWorkflowExecutionCanceledEventAttributes, WorkflowExecutionCancelRequestedEventAttributes,
    WorkflowExecutionStartedEventAttributes, WorkflowExecutionTerminatedEventAttributes,
    WorkflowTaskCompletedEventAttributes, WorkflowTaskScheduledEventAttributes,
};

fn event(event_id: i64, seconds: u64, attributes: Attributes) -> HistoryEvent {
    HistoryEvent {
        event_id,
        event_time: Some((std::time::UNIX_EPOCH + Duration::from_secs(seconds)).into()),
        attributes: Some(attributes),
        ..HistoryEvent::default()
    }
}

fn terminated() -> Attributes {
    Attributes::WorkflowExecutionTerminatedEventAttributes(WorkflowExecutionTerminatedEventAttributes {
        reason: "why".into(),
        ..Default::default()
    })
}

fn task() -> Attributes {
    Attributes::WorkflowTaskCompletedEventAttributes(WorkflowTaskCompletedEventAttributes::default())
}

fn scheduled() -> Attributes {
    Attributes::WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes::default())
}

fn cancel() -> Attributes {
    Attributes::WorkflowExecutionCancelRequestedEventAttributes(
        WorkflowExecutionCancelRequestedEventAttributes::default(),
    )
}

fn started() -> Attributes {
    Attributes::WorkflowExecutionStartedEventAttributes(WorkflowExecutionStartedEventAttributes::default())
}

fn read(pages: &[&[HistoryEvent]]) -> Ending {
    let mut reader = EndingReader::new(100_000);
    for page in pages {
        if reader.read(page) {
            break;
        }
    }
    reader.finish()
}

#[test]
fn the_last_completed_task_is_gone_back_to() {
    let ending = read(&[
        &[event(9, 110, terminated()), event(8, 105, task())],
        &[event(4, 50, task()), event(1, 50, started())],
    ]);
    assert_eq!((ending.terminated.as_deref(), ending.event_id), (Some("why"), Some(8)));
    let none = read(&[&[event(3, 110, terminated()), event(1, 50, started())]]);
    assert_eq!((none.terminated.is_some(), none.event_id), (true, None));
    let never_completed = read(&[&[
        event(3, 110, terminated()),
        event(2, 50, scheduled()),
        event(1, 50, started()),
    ]]);
    assert_eq!(never_completed.event_id, Some(3), "to its first task");
    let ended_itself = read(&[&[
        event(5, 110, started()),
        event(4, 110, task()),
        event(2, 50, scheduled()),
    ]]);
    assert_eq!((ended_itself.terminated, ended_itself.event_id), (None, Some(4)));
}

#[test]
fn a_request_to_cancel_of_this_cancellation_is_undone_and_an_older_one_is_not() {
    let heard = |at| {
        read(&[&[
            event(12, 110, terminated()),
            event(11, 109, task()),
            event(9, at, cancel()),
            event(8, 60, task()),
            event(4, 50, task()),
            event(1, 50, started()),
        ]])
    };
    assert_eq!((heard(105).event_id, heard(105).asked), (Some(8), true));
    assert_eq!((heard(70).event_id, heard(70).asked), (Some(11), false));
    assert_eq!(heard(105).last, Some(11), "its end comes again from there");
    // Asked before its first task was done: there is nothing to go back to.
    let early = read(&[&[
        event(9, 110, terminated()),
        event(8, 109, task()),
        event(5, 105, cancel()),
        event(1, 101, started()),
    ]]);
    assert_eq!(early.event_id, None);
    let with_child = |event_id| {
        let child = ChildWorkflowExecutionCanceledEventAttributes::default();
        let child = Attributes::ChildWorkflowExecutionCanceledEventAttributes(child);
        let mut events = [
            event(9, 105, cancel()),
            event(7, 60, task()),
            event(event_id, 70, child),
        ];
        events.sort_by_key(|event| std::cmp::Reverse(event.event_id));
        read(&[&events, &[event(1, 50, started())]]).met_child
    };
    assert_eq!([5, 8, 10].map(with_child), [false, true, true]);
}
