//! What callers give, and what becomes of it.

use super::*;
use quell_api::r#type::v1::{AnyOf, Target, target::Selector};

fn defaults() -> CancelSettings {
    CancelSettings {
        protected: quell_mesh::Protected::default(),
        concurrency: 750,
        confirm_timeout: Duration::from_secs(240),
        confirm_poll: Duration::from_secs(5),
    }
}

fn target(selector: Selector) -> Option<Target> {
    Some(Target {
        selector: Some(selector),
    })
}

#[test]
fn every_bad_field_is_told_at_once() {
    let given = pb::CancellationSpec {
        target: target(Selector::Query("CloseTime IS NULL".into())),
        engine: 9,
        max_affected: -1,
        concurrency: 751,
        require_quiesce: true,
        deadline: Some(duration(1)),
        mode: 9,
        grace: Some(duration(1)),
        looks: 1,
        confirm_timeout: Some(duration(1)),
        confirm_poll: Some(duration(1)),
        ..Default::default()
    };
    let mut check = Checker::new();
    Spec::check(&mut check, Some(&given), &defaults());
    let mut fields: Vec<_> = check.finish(()).unwrap_err().into_iter().map(|v| v.field).collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "spec.concurrency",
            "spec.confirm_poll",
            "spec.confirm_timeout",
            "spec.deadline",
            "spec.engine",
            "spec.grace",
            "spec.looks",
            "spec.max_affected",
            "spec.mode",
            "spec.reason",
            "spec.require_quiesce",
            "spec.target.query",
        ]
    );
}

#[test]
fn a_spec_of_nothing_is_refused() {
    let mut check = Checker::new();
    Spec::check(&mut check, None, &defaults());
    let fields: Vec<_> = check.finish(()).unwrap_err().into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["spec", "spec.target", "spec.reason"]);
}

#[test]
fn defaults_are_filled_in_and_survive_the_round_trip() {
    let given = pb::CancellationSpec {
        target: target(Selector::WorkloadId("1".into())),
        reason: "runaway".into(),
        ..Default::default()
    };
    let mut check = Checker::new();
    let (spec, filter) = Spec::check(&mut check, Some(&given), &defaults());
    check.finish(()).unwrap();
    assert!(filter.open().contains("WorkloadId = \"1\""));
    assert_eq!(
        spec,
        Spec {
            target: TargetSpec::WorkloadId("1".into()),
            reason: "runaway".into(),
            auto: true,
            ..Spec::default()
        }
    );
    assert_eq!(spec.filter(), filter);
    // What was filled in is a valid request that means the same.
    let mut check = Checker::new();
    let (again, _) = Spec::check(&mut check, Some(&spec.to_proto()), &defaults());
    check.finish(()).unwrap();
    assert_eq!(again, spec);
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
}

#[test]
fn several_targets_are_quiesced_as_far_as_they_are_named_by_id() {
    let by_id = |id: &str| Selector::WorkloadId(id.into());
    let spec = |selectors: [Selector; 2], require_quiesce| {
        let targets = selectors.into_iter().map(|one| Target { selector: Some(one) });
        let given = pb::CancellationSpec {
            target: target(Selector::AnyOf(AnyOf {
                targets: targets.collect(),
            })),
            reason: "x".into(),
            require_quiesce,
            ..Default::default()
        };
        let mut check = Checker::new();
        let (spec, filter) = Spec::check(&mut check, Some(&given), &defaults());
        let spec = check.finish(spec)?;
        assert_eq!(spec.filter(), filter);
        assert_eq!(TargetSpec::of(Some(&spec.target.to_proto())), spec.target);
        Ok::<_, Vec<tonic_types::FieldViolation>>(spec)
    };
    let ids = spec([by_id("a"), by_id("b")], true).unwrap();
    assert!(ids.quiesce);
    assert_eq!(ids.target.workload_ids(), ["a", "b"]);
    assert_eq!(ids.campaign("c", &defaults()).scope.workload_ids, ["a", "b"]);
    let mixed = || [by_id("a"), Selector::Query("WorkflowType = 'B'".into())];
    let spec_of_mixed = spec(mixed(), false).unwrap();
    assert!(spec_of_mixed.quiesce);
    assert_eq!(spec_of_mixed.target.workload_ids(), ["a"]);
    assert!(spec_of_mixed.campaign("c", &defaults()).scope.workload_ids.is_empty());
    let refused = spec(mixed(), true).unwrap_err();
    assert_eq!(refused[0].field, "spec.require_quiesce");
}

#[test]
fn a_query_cannot_be_quiesced_and_has_no_scope_by_row() {
    let given = pb::CancellationSpec {
        target: target(Selector::Query("WorkflowType = 'A'".into())),
        reason: "x".into(),
        quiesce: Some(true),
        concurrency: 4,
        ..Default::default()
    };
    let mut check = Checker::new();
    let (spec, _) = Spec::check(&mut check, Some(&given), &defaults());
    check.finish(()).unwrap();
    assert!(!spec.quiesce);
    let campaign = spec.campaign("c", &defaults());
    assert!(campaign.scope.workload_ids.is_empty());
    assert_eq!((campaign.window.limiter.initial, campaign.window.limiter.max), (4, 4));
}
