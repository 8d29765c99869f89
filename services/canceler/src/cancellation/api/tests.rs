use super::*;

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
