//! The parts' receipts as one: sums, the worst verdict, and where each is to be found. What is named (residuals, failures, looks,
//! the journal) stays in the receipts of the parts, where it is told of which namespace it is.

use quell_api::{canceler::v1 as pb, verdict::badness};
use quell_sweep::{Asked, Counts, Outcome, PassKind, PassSummary, Phase, QuiesceStatus, Totals, Verdict, Why};
use serde::{Deserialize, Serialize};

use super::JointInput;
use crate::cancellation::{
    convert::{self, count},
    messages::{Conclusion, Ledger, Standing},
    receipt::Receipt,
};

/// Warnings that are kept.
const WARNINGS: usize = 32;
/// What sources answer, the worst last.
const ANSWERS: [&str; 4] = ["effective", "accepted", "unreachable", "refused"];

/// What a joint receipt says of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its id: by it its own receipt is asked for.
    pub cancellation_id: String,
    /// The namespace that it worked in.
    pub namespace: String,
    /// How it ended.
    pub verdict: Verdict,
    /// In one sentence, why that verdict.
    pub explanation: String,
    /// Stops that the server acknowledged.
    #[serde(default)]
    pub stopped: u64,
    /// Executions closed in scope that it did not stop: an estimate.
    #[serde(default)]
    pub closed_by_others: u64,
    /// Stops that failed for good.
    #[serde(default)]
    pub failed: u64,
}

impl Part {
    /// As callers see it.
    pub(crate) fn to_proto(&self) -> pb::ReceiptPart {
        pb::ReceiptPart {
            cancellation_id: self.cancellation_id.clone(),
            namespace: self.namespace.clone(),
            verdict: convert::verdict(self.verdict).into(),
            explanation: self.explanation.clone(),
            stopped: count(self.stopped),
            closed_by_others: count(self.closed_by_others),
            failed: count(self.failed),
        }
    }
}

/// In one sentence, why the whole ended as it did: how each part did.
pub(crate) fn explanation(parts: &[Part]) -> String {
    let said = parts.iter().map(|part| {
        let verdict = convert::verdict(part.verdict)
            .as_str_name()
            .trim_start_matches("VERDICT_");
        format!("in {} {verdict}: {}", part.namespace, part.explanation)
    });
    said.collect::<Vec<_>>().join("; ")
}

/// The parts' receipts as one, or why a part left none, in the order of the parts.
pub(super) fn join(input: &JointInput, ended: Vec<Result<Receipt, String>>, start_ms: u64, end_ms: u64) -> Receipt {
    let mut joint = Receipt {
        cancellation_id: input.cancellation_id.clone(),
        spec: input.spec.clone(),
        query: input.filter.open(),
        requested_by: input.requested_by.clone(),
        trace_id: input.trace_id.clone(),
        end_ms,
        outcome: nothing(),
        ledger: Ledger {
            start_ms,
            first_zero_ms: Some(0),
            ..Ledger::default()
        },
        conclusion: Conclusion::default(),
        signed: None,
        parts: Vec::new(),
    };
    let mut closed = 0;
    for (asked, ended) in input.parts.iter().zip(ended) {
        let namespace = asked.spec.namespace().to_owned();
        let part = match ended {
            Ok(receipt) => {
                closed += receipt.closed_by_others();
                add(&mut joint, &namespace, &receipt);
                part(&namespace, &receipt)
            }
            Err(why) => {
                joint.ledger.first_zero_ms = None;
                Part {
                    cancellation_id: asked.cancellation_id.clone(),
                    namespace,
                    verdict: Verdict::Aborted,
                    explanation: format!("it left no receipt: {why}"),
                    stopped: 0,
                    closed_by_others: 0,
                    failed: 0,
                }
            }
        };
        if badness(convert::verdict(part.verdict)) > badness(convert::verdict(joint.outcome.verdict)) {
            joint.outcome.verdict = part.verdict;
        }
        joint.parts.push(part);
    }
    // What others closed is told less what was stopped and matched itself.
    let counts = &joint.outcome.totals.counts;
    joint.conclusion.closed = Some(closed + counts.stopped.saturating_sub(counts.descendants));
    joint
}

fn nothing() -> Outcome {
    Outcome {
        verdict: Verdict::Clean,
        why: Why::Confirmed,
        totals: Totals::default(),
        passes: vec![PassSummary {
            pass: 0,
            kind: PassKind::Open,
            planned: 0,
            counts: Counts::default(),
            complete: true,
        }],
        pass_count: 0,
        rounds: 0,
        fence_ms: None,
        quiesce: QuiesceStatus::NotConfigured,
        batch: None,
        asked: None,
        looks: Vec::new(),
        lag_ms: 0,
        alive: 0,
        alive_named: Vec::new(),
        stale: Vec::new(),
        failures: Vec::new(),
        starters: Vec::new(),
        seen: quell_sweep::Seen::default(),
        warnings: Vec::new(),
    }
}

fn part(namespace: &str, receipt: &Receipt) -> Part {
    Part {
        cancellation_id: receipt.cancellation_id.clone(),
        namespace: namespace.to_owned(),
        verdict: receipt.outcome.verdict,
        explanation: receipt.explanation(),
        stopped: receipt.outcome.totals.counts.stopped,
        closed_by_others: receipt.closed_by_others(),
        failed: receipt.failed(),
    }
}

/// Adds what can be added.
fn add(joint: &mut Receipt, namespace: &str, receipt: &Receipt) {
    let (sum, of) = (&mut joint.outcome, &receipt.outcome);
    sum.totals.counts.add(&of.totals.counts);
    sum.totals.charged += of.totals.charged;
    sum.totals.uncounted += of.totals.uncounted;
    sum.totals.lost_windows += of.totals.lost_windows;
    if let Some(last) = sum.passes.last_mut() {
        last.counts.failed += receipt.failed();
    }
    sum.pass_count = sum.pass_count.max(of.pass_count);
    sum.rounds = sum.rounds.max(of.rounds);
    sum.fence_ms = sum.fence_ms.max(of.fence_ms);
    sum.lag_ms = sum.lag_ms.max(of.lag_ms);
    sum.alive += of.alive;
    if let Some(asked) = of.asked {
        let all = sum.asked.get_or_insert_with(Asked::default);
        all.chains += asked.chains;
        all.charged += asked.charged;
        all.left += asked.left;
    }
    for warning in receipt.warnings() {
        let warning = format!("in {namespace}: {warning}");
        if sum.warnings.len() < WARNINGS {
            sum.warnings.push(warning);
        }
    }
    let (sum, of) = (&mut joint.ledger, &receipt.ledger);
    // Each part has told the same sources: the worst answer counts.
    let rank = |word: &str| ANSWERS.iter().position(|answer| *answer == word);
    if rank(&of.quiesce) > rank(&sum.quiesce) {
        sum.quiesce.clone_from(&of.quiesce);
    }
    sum.quiesced_until_ms = sum.quiesced_until_ms.max(of.quiesced_until_ms);
    sum.schedules.extend(of.schedules.iter().cloned());
    sum.lag_ms = sum.lag_ms.max(of.lag_ms);
    // Zero is where all of them are.
    sum.first_zero_ms = sum.first_zero_ms.zip(of.first_zero_ms).map(|(all, one)| all.max(one));
    sum.journal_lacks += of.journal_lacks;
    // All are told the same, and one that has ended hears no more.
    if of.adjustments.len() >= sum.adjustments.len() {
        sum.adjustments.clone_from(&of.adjustments);
        sum.limits = of.limits;
    }
    let (sum, of) = (&mut joint.conclusion, &receipt.conclusion);
    sum.open = match (sum.open, of.open) {
        (Some(all), Some(one)) => Some(all + one),
        (all, one) => all.or(one),
    };
    sum.suspect_count += of.suspect_count;
}

/// What the memo says of one that has ended.
pub(super) fn standing(joint: &Receipt) -> Standing {
    Standing {
        start_ms: joint.ledger.start_ms,
        end_ms: joint.end_ms,
        phase: Phase::Done,
        verdict: Some(joint.outcome.verdict),
        passes: joint.outcome.pass_count,
        counts: joint.outcome.totals.counts,
        open: joint
            .conclusion
            .open
            .filter(|_| joint.outcome.verdict != Verdict::Clean),
        first_zero_ms: joint.ledger.first_zero_ms,
        limits: joint.ledger.limits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancellation::{messages::CancelInput, spec::Spec};
    use quell_api::{target::Filter, r#type::v1::Target, validate::Checker};

    fn input(namespaces: [&str; 2]) -> JointInput {
        let filter = Filter::check(&mut Checker::new(), "target", Some(&Target::default()));
        let spec = Spec {
            namespaces: namespaces.map(str::to_owned).into(),
            ..Spec::default()
        };
        let parts = super::super::part_specs(&spec, &[0, 0]).into_iter().enumerate();
        let part = |(n, spec)| CancelInput {
            cancellation_id: super::super::part_id("j", n),
            spec,
            filter: filter.clone(),
            matched: 0,
            requested_by: String::new(),
            trace_id: String::new(),
            campaign: quell_sweep::CampaignSpec::default(),
            carried: None,
            is_part: true,
        };
        JointInput {
            cancellation_id: "j".into(),
            parts: parts.map(part).collect(),
            spec,
            filter: filter.clone(),
            requested_by: String::new(),
            trace_id: String::new(),
        }
    }

    /// A part's receipt: so many stopped of so many that closed.
    fn ended(input: &JointInput, n: usize, verdict: Verdict, stopped: u64, closed: u64) -> Receipt {
        let counts = Counts {
            stopped,
            ..Counts::default()
        };
        let outcome = Outcome {
            verdict,
            totals: Totals {
                counts,
                ..Totals::default()
            },
            ..nothing()
        };
        let ledger = Ledger {
            first_zero_ms: Some(5 + stopped),
            ..Ledger::default()
        };
        let conclusion = Conclusion {
            closed: Some(closed),
            ..Conclusion::default()
        };
        Receipt::build(&input.parts[n], outcome, ledger, conclusion, 9)
    }

    #[test]
    fn figures_are_sums_and_the_verdict_is_the_worst() {
        let input = input(["a", "b"]);
        let [first, second] = [
            ended(&input, 0, Verdict::Clean, 3, 4),
            ended(&input, 1, Verdict::Clean, 2, 2),
        ];
        let clean = join(&input, vec![Ok(first.clone()), Ok(second)], 1, 20);
        assert_eq!(clean.outcome.verdict, Verdict::Clean);
        let shown = clean.to_proto();
        assert_eq!((shown.stopped, shown.closed_by_others), (5, 1));
        assert_eq!(clean.ledger.first_zero_ms, Some(8), "when the last was empty");
        let ids: Vec<_> = shown.parts.iter().map(|part| part.cancellation_id.as_str()).collect();
        assert_eq!(ids, ["j.1", "j.2"]);
        assert_eq!((shown.parts[1].namespace.as_str(), shown.parts[1].stopped), ("b", 2));

        for (other, worst) in [
            (Verdict::Residue, pb::Verdict::Residue),
            (Verdict::Blocked, pb::Verdict::Blocked),
            (Verdict::Aborted, pb::Verdict::Aborted),
        ] {
            let second = ended(&input, 1, other, 0, 0);
            let joint = join(&input, vec![Ok(first.clone()), Ok(second)], 1, 20).to_proto();
            assert_eq!(joint.verdict(), worst);
            assert!(
                joint.explanation.contains("in a CLEAN: none visible"),
                "{}",
                joint.explanation
            );
        }
    }

    #[test]
    fn a_part_without_a_receipt_is_never_clean() {
        let input = input(["a", "b"]);
        let first = ended(&input, 0, Verdict::Clean, 3, 4);
        let joint = join(&input, vec![Ok(first), Err("terminated".into())], 1, 20);
        assert_eq!(
            (joint.outcome.verdict, joint.ledger.first_zero_ms),
            (Verdict::Aborted, None)
        );
        assert_eq!(standing(&joint).verdict, Some(Verdict::Aborted));
        let text = serde_json::to_string(&joint).unwrap();
        assert_eq!(serde_json::from_str::<Receipt>(&text).unwrap(), joint);
    }
}
