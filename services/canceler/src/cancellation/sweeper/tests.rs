use super::*;

#[tokio::test]
async fn whoever_is_told_to_stop_while_it_reads_who_was_asked_goes_on_with_what_it_has() {
    let (_folder, store) = journal::tests::store();
    let mut journal = Journal::new(store.clone(), "c".into(), ChunkName::default());
    let outcome = |result| TargetOutcome {
        workflow_id: "w".into(),
        first_run_id: "f".into(),
        run_id: "r".into(),
        workflow_type: "T".into(),
        root_workflow_id: String::new(),
        parent_workflow_id: None,
        result,
    };
    journal.add(&[TargetResult::Asked, TargetResult::AlreadyClosed, TargetResult::Asked].map(outcome));
    let before = Beat {
        journal: journal.finish().await.0,
        ..Beat::default()
    };
    let all = asked(&store, "c", &before, std::future::pending()).await.unwrap();
    assert_eq!(all.len(), 2);
    let stopped = asked(&store, "c", &before, std::future::ready(())).await;
    assert!(stopped.expect("an answer, not a failure").is_empty());
}
