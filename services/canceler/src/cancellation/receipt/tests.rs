use super::*;
use quell_api::{
    target::Filter,
    r#type::v1::{Target, target::Selector},
    validate::Checker,
};
use quell_sweep::{AliveExecution, CampaignSpec, Counts, Look, PassKind, PassSummary, StaleExecution, Totals};

fn input() -> CancelInput {
    let mut check = Checker::new();
    let target = Target {
        selector: Some(Selector::WorkloadId("1".into())),
    };
    CancelInput {
        cancellation_id: "c".into(),
        spec: Spec::default(),
        filter: Filter::check(&mut check, "target", Some(&target)),
        matched: 7,
        requested_by: "127.0.0.1:1".into(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        campaign: CampaignSpec::default(),
        carried: None,
        is_part: false,
    }
}

fn failing_pass(pass: u32, failed: u64) -> PassSummary {
    PassSummary {
        pass,
        kind: PassKind::Open,
        planned: 0,
        counts: Counts {
            failed,
            ..Counts::default()
        },
        complete: true,
    }
}

fn outcome(verdict: Verdict, why: Why) -> Outcome {
    let look = |at_ms, open_seen| Look {
        at_ms,
        open_seen,
        stale: 0,
    };
    Outcome {
        verdict,
        why,
        totals: Totals {
            counts: Counts {
                stopped: 5,
                already_closed: 2,
                not_found: 1,
                failed: 3,
                ..Counts::default()
            },
            ..Totals::default()
        },
        passes: vec![failing_pass(2, 2), failing_pass(3, 1)],
        pass_count: 3,
        rounds: 1,
        fence_ms: Some(1_500),
        quiesce: QuiesceStatus::Accepted,
        asked: None,
        batch: None,
        looks: vec![look(2_000, 1), look(2_200, 0), look(2_400, 0), look(2_600, 0)],
        lag_ms: 84,
        alive: 1,
        alive_named: vec![AliveExecution {
            workflow_id: "a".into(),
            ..AliveExecution::default()
        }],
        stale: vec![StaleExecution {
            workflow_id: "s".into(),
            run_id: "r".into(),
        }],
        failures: Vec::new(),
        seen: quell_sweep::Seen::default(),
        starters: vec![Starter {
            workflow_type: "T".into(),
            seen: 9,
            ..Starter::default()
        }],
        warnings: vec!["one".into()],
    }
}

fn receipt(verdict: Verdict, why: Why) -> pb::Receipt {
    let ledger = Ledger {
        start_ms: 1_000,
        first_zero_ms: Some(2_200),
        lag_ms: 120,
        warnings: vec!["one".into(), "two".into()],
        ..Ledger::default()
    };
    let conclusion = Conclusion {
        closed: Some(12),
        ..Conclusion::default()
    };
    Receipt::build(&input(), outcome(verdict, why), ledger, conclusion, 3_000).to_proto()
}

#[test]
fn a_clean_receipt_says_what_was_seen_and_never_more() {
    let receipt = receipt(Verdict::Clean, Why::Confirmed);
    assert_eq!(receipt.verdict(), pb::Verdict::Clean);
    assert_eq!(
        receipt.explanation,
        "none visible in 3 looks in a row, each more than the measured index lag (84 ms) apart"
    );
    // Failures are those of the last round: the two of the round before were tried again.
    assert_eq!((receipt.stopped, receipt.already_closed, receipt.failed), (5, 3, 1));
    // 12 closed in scope, 5 of them by us.
    assert_eq!(receipt.closed_by_others, 7);
    assert_eq!(receipt.time_to_first_zero, Some(duration(1_200)));
    assert_eq!(receipt.lag, Some(duration(120)));
    assert_eq!(
        receipt.looks.iter().map(|look| look.empty).collect::<Vec<_>>(),
        [false, true, true, true]
    );
    assert_eq!(
        receipt
            .residuals
            .iter()
            .map(|residual| residual.state.as_str())
            .collect::<Vec<_>>(),
        ["alive", "stale"]
    );
    assert_eq!(receipt.warnings[..2], ["one", "two"]);
    assert!(receipt.blockers.is_empty());
    assert_eq!(receipt.quiesce, "not asked");
    assert!(receipt.query.contains("NOT WorkflowId STARTS_WITH \"quell/\""));
}

#[test]
fn a_blocked_receipt_names_who_keeps_starting() {
    let receipt = receipt(
        Verdict::Blocked,
        Why::DeadlineReached {
            phase: Phase::Confirming,
        },
    );
    assert_eq!(receipt.blockers, ["9 of type \"T\", started by a client or a schedule"]);
    let known = Starter {
        workflow_type: "T".into(),
        parent_workflow_id: Some("p".into()),
        identity: Some("1@host".into()),
        seen: 2,
    };
    assert_eq!(
        blocker(&known),
        "2 of type \"T\", children of \"p\", identity \"1@host\""
    );
}

#[test]
fn every_reason_has_a_sentence() {
    for why in [
        Why::Confirmed,
        Why::FailuresRemain { failed: 1, alive: 1 },
        Why::Unconfirmed { alive: 0 },
        Why::Unconfirmed { alive: 2 },
        Why::StopRequested { reason: "r".into() },
        Why::CapReached {
            max_affected: 1,
            charged: 1,
            open: 1,
        },
        Why::ActivityFailed {
            command: "c".into(),
            reason: "r".into(),
        },
        Why::DeadlineReached { phase: Phase::Sweeping },
        Why::NotQuiesced {
            status: QuiesceStatus::Refused,
        },
    ] {
        assert!(explanation(&outcome(Verdict::Clean, why.clone())).len() > 10, "{why:?}");
    }
}

#[test]
fn a_receipt_survives_its_json() {
    let built = Receipt::build(
        &input(),
        outcome(Verdict::Clean, Why::Confirmed),
        Ledger::default(),
        Conclusion::default(),
        1,
    );
    let json = serde_json::to_string(&built).unwrap();
    assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), built);
}
