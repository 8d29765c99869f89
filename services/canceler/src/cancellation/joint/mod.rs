//! One cancellation in several namespaces.
//!
//! What a cancellation does (passes, looks, the proof) it does in one namespace. So one that is asked for in several is joint: a
//! workflow that runs a whole cancellation in each, its **part**, with an id, a journal and a receipt of its own. What is told the
//! joint one is told all parts; its figures are their sums, its verdict is the worst of theirs. `max_affected` holds for all
//! together: each part gets a share.
//!
//! | module | is |
//! | --- | --- |
//! | [`workflows`] | the workflow |
//! | [`receipt`] | the parts' receipts as one |
//! | [`view`], [`preview`] | how it is seen from outside |

pub(super) mod preview;
mod receipt;
pub(super) mod view;
mod workflows;

use quell_api::target::Filter;
use quell_mesh::{Error, Reason};
use serde::{Deserialize, Serialize};

use super::{messages::CancelInput, spec::Spec};

pub use receipt::Part;
pub(super) use receipt::explanation;
pub use workflows::JointCancelWorkflow;

/// Input of the workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JointInput {
    /// Id of the cancellation.
    pub cancellation_id: String,
    /// What was asked for, with all defaults filled in.
    pub spec: Spec,
    /// The target's filter.
    pub filter: Filter,
    /// Who asked.
    #[serde(default)]
    pub requested_by: String,
    /// Trace id of the request, 32 hex digits; empty when it was not traced.
    #[serde(default)]
    pub trace_id: String,
    /// The parts, in the order of the namespaces.
    pub parts: Vec<CancelInput>,
}

/// Id of the part in the n-th namespace, from 0.
pub(super) fn part_id(cancellation_id: &str, n: usize) -> String {
    format!("{cancellation_id}.{}", n + 1)
}

/// Ids of all parts of one; none when it works in one namespace.
pub(crate) fn part_ids(cancellation_id: &str, spec: &Spec) -> Vec<String> {
    let parts = if spec.is_joint() { spec.namespaces.len() } else { 0 };
    (0..parts).map(|n| part_id(cancellation_id, n)).collect()
}

/// What each part is asked to do. `matched` is how many match in each namespace, and no more in all than the cap.
pub(super) fn part_specs(spec: &Spec, matched: &[u64]) -> Vec<Spec> {
    let shares = shares(spec.max_affected, matched);
    let parts = spec.namespaces.iter().zip(shares);
    parts
        .map(|(namespace, max_affected)| Spec {
            namespaces: vec![namespace.clone()],
            max_affected,
            ..spec.clone()
        })
        .collect()
}

/// The cap, shared out: to each what matches there, at least one, and an equal share of the rest. Together they are the cap.
fn shares(max_affected: u64, matched: &[u64]) -> Vec<u64> {
    let matched = matched.iter().map(|matched| (*matched).max(1));
    let parts = matched.len().max(1) as u64;
    let rest = max_affected.saturating_sub(matched.clone().sum());
    let of = |(n, matched): (usize, u64)| matched + rest / parts + u64::from((n as u64) < rest % parts);
    matched.enumerate().map(of).collect()
}

/// Why something that only a part can do is not done with the whole.
pub(crate) fn by_part(cancellation_id: &str, parts: &[String]) -> Error {
    let text = format!(
        "it is one of several namespaces: ask for a part of it: {}",
        parts.join(", ")
    );
    Error::precondition(Reason::WrongState, format!("cancellation/{cancellation_id}"), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_the_cap_together_and_nobody_gets_less_than_matches() {
        assert_eq!(shares(10, &[3, 2]), [6, 4]);
        assert_eq!(shares(5, &[3, 2]), [3, 2]);
        assert_eq!(shares(10_000, &[0, 0, 0]), [3_334, 3_333, 3_333]);
        for (cap, matched) in [(7, vec![1, 1, 1]), (100, vec![99, 1]), (1_000, vec![0, 400, 7, 1])] {
            let shares = shares(cap, &matched);
            assert_eq!(shares.iter().sum::<u64>(), cap);
            assert!(shares.iter().zip(&matched).all(|(share, matched)| share >= matched));
        }
    }

    #[test]
    fn a_part_is_a_whole_cancellation_of_one_namespace() {
        let spec = Spec {
            namespaces: vec!["a".into(), "b".into()],
            max_affected: 10,
            ..Spec::default()
        };
        let parts = part_specs(&spec, &[1, 2]);
        assert_eq!(part_ids("x", &spec), ["x.1", "x.2"]);
        assert_eq!((parts[0].namespace(), parts[0].max_affected), ("a", 5));
        assert_eq!((parts[1].namespace(), parts[1].max_affected), ("b", 5));
        assert!(spec.is_joint() && !parts[0].is_joint());
        assert!(part_ids("x", &parts[0]).is_empty());
    }
}
