use super::*;

#[test]
fn a_refused_query_is_the_callers_only_when_the_caller_wrote_it() {
    let refused = || Status::invalid_argument("invalid query: column name 'X' is not defined");
    match query_error("spec.target", &TargetSpec::Query("X = 1".into()), refused()) {
        Error::InvalidArgument(violations) => {
            assert_eq!(violations[0].field, "spec.target.query");
            assert!(violations[0].description.contains("column name 'X'"));
        }
        other => panic!("{other:?}"),
    }
    let error = query_error("spec.target", &TargetSpec::WorkloadId("1".into()), refused());
    assert_eq!(error.reason(), Reason::SearchAttributeMissing);
    let error = query_error(
        "spec.target",
        &TargetSpec::WorkloadId("1".into()),
        Status::unavailable("x"),
    );
    assert_eq!(error.reason(), Reason::TemporalUnreachable);
}

#[test]
fn a_request_id_means_one_spec() {
    let mut first = View {
        id: "r".into(),
        ..View::default()
    };
    first.about.matched = 3;
    let same = repeated(&first, Spec::default(), false).unwrap();
    assert_eq!((same.cancellation_id.as_str(), same.matched), ("r", 3));
    let other = Spec {
        target: TargetSpec::WorkloadId("2".into()),
        ..Spec::default()
    };
    assert_eq!(
        repeated(&first, other, false).unwrap_err().reason(),
        Reason::RequestIdReused
    );
}
