//! The receipt of a cancellation in several namespaces, held against those of its parts.

use super::verify::Check;
use quell_api::{
    canceler::v1::{Receipt, Verdict},
    verdict::badness,
};

const WHAT: &str = "parts";

/// What a joint receipt says of its parts and of all of them together, against the parts' own receipts. A part without one must be
/// told as ABORTED.
#[must_use]
pub fn against_parts(joint: &Receipt, receipts: &[Receipt]) -> Check {
    let mut wrong = Vec::new();
    let mut differ = |what: String, same: bool| {
        if !same {
            wrong.push(what);
        }
    };
    for part in &joint.parts {
        let id = &part.cancellation_id;
        let Some(own) = receipts.iter().find(|own| own.cancellation_id == *id) else {
            differ(format!("{id} has no receipt"), part.verdict() == Verdict::Aborted);
            continue;
        };
        let namespaces = own.spec.as_ref().map(|spec| spec.namespaces.as_slice());
        differ(
            format!("the namespace of {id}"),
            namespaces == Some(std::slice::from_ref(&part.namespace)),
        );
        differ(format!("the verdict of {id}"), part.verdict == own.verdict);
        let told = (part.stopped, part.closed_by_others, part.failed);
        differ(
            format!("the figures of {id}"),
            told == (own.stopped, own.closed_by_others, own.failed),
        );
    }
    let namespaces: Vec<_> = joint.parts.iter().map(|part| part.namespace.as_str()).collect();
    let asked = joint.spec.as_ref().map(|spec| &spec.namespaces[..]).unwrap_or_default();
    differ("which namespaces were asked for".to_owned(), asked == namespaces);
    let sum = |of: fn(&Receipt) -> i64| receipts.iter().map(of).fold(0, i64::saturating_add);
    differ("stopped".to_owned(), joint.stopped == sum(|one| one.stopped));
    differ("failed".to_owned(), joint.failed == sum(|one| one.failed));
    differ(
        "closed_by_others".to_owned(),
        joint.closed_by_others == sum(|one| one.closed_by_others),
    );
    let worst = joint
        .parts
        .iter()
        .map(|part| part.verdict())
        .max_by_key(|one| badness(*one));
    differ("the verdict".to_owned(), worst == Some(joint.verdict()));
    if wrong.is_empty() {
        let text = format!("{} receipts of parts say the same, and add up", receipts.len());
        return Check::holds(WHAT, text);
    }
    Check::mismatch(
        WHAT,
        format!("the receipts of the parts differ in {}", wrong.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::Found;
    use quell_api::canceler::v1::{CancellationSpec, ReceiptPart};

    type Change = fn(&mut Receipt);

    fn of(id: &str, namespaces: &[&str], verdict: Verdict, stopped: i64) -> Receipt {
        Receipt {
            cancellation_id: id.to_owned(),
            verdict: verdict.into(),
            spec: Some(CancellationSpec {
                namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
                ..CancellationSpec::default()
            }),
            stopped,
            ..Receipt::default()
        }
    }

    fn joint(receipts: &[Receipt]) -> Receipt {
        let parts = receipts.iter().map(|one| ReceiptPart {
            cancellation_id: one.cancellation_id.clone(),
            namespace: one.spec.as_ref().unwrap().namespaces[0].clone(),
            verdict: one.verdict,
            stopped: one.stopped,
            ..ReceiptPart::default()
        });
        Receipt {
            parts: parts.collect(),
            ..of("j", &["a", "b"], Verdict::Residue, 7)
        }
    }

    #[test]
    fn what_the_parts_say_otherwise_is_found() {
        let own = [
            of("j.1", &["a"], Verdict::Clean, 3),
            of("j.2", &["b"], Verdict::Residue, 4),
        ];
        let good = joint(&own);
        assert_eq!(against_parts(&good, &own).found, Found::Holds);
        let changes: [(&str, Change); 6] = [
            ("stopped", |one| one.stopped = 8),
            ("the verdict", |one| one.verdict = Verdict::Clean.into()),
            ("the verdict of j.2", |one| one.parts[1].verdict = Verdict::Clean.into()),
            ("the figures of j.1", |one| one.parts[0].stopped = 9),
            ("the namespace of j.1", |one| one.parts[0].namespace = "c".to_owned()),
            ("which namespaces", |one| {
                one.parts.pop();
            }),
        ];
        for (named, change) in changes {
            let mut changed = good.clone();
            change(&mut changed);
            let check = against_parts(&changed, &own);
            assert!(
                check.found == Found::Mismatch && check.detail.contains(named),
                "{check:?}"
            );
        }
        // A part whose receipt is gone was not clean.
        let check = against_parts(&good, &own[..1]);
        assert!(check.detail.contains("j.2 has no receipt"), "{check:?}");
    }
}
