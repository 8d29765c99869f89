//! What is to be reset, in order: parents before children. Pure.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    calls::Child,
    messages::{Left, Named, Why},
    verdict::{Look, Origin, Seed},
};

/// One execution to be reset: a line of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Item {
    /// Workflow id.
    pub(super) workflow_id: String,
    /// First run of its chain.
    pub(super) first_run_id: String,
    /// The run that was terminated.
    pub(super) run_id: String,
    /// Workflow type.
    pub(super) workflow_type: String,
    /// Its last completed workflow task.
    pub(super) event_id: i64,
    /// 0 for what has no parent among those that the cancellation ended, 1 for its children, and so on.
    pub(super) level: u32,
    /// Workflow id of that parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<String>,
}

/// An execution that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) seed: Seed,
    /// The current run of its workflow id; empty where there is none.
    pub(super) run_id: String,
    /// First run of its chain, as described.
    pub(super) first_run_id: String,
    pub(super) workflow_type: String,
    pub(super) parent: Option<String>,
    pub(super) children: Vec<Child>,
    pub(super) look: Look,
}

impl Judged {
    fn waits_for(&self, child: &Self) -> Option<&Child> {
        let same = |one: &&Child| one.workflow_id == child.seed.workflow_id && one.first_run_id == child.first_run_id;
        self.children.iter().find(same)
    }

    fn runs_on(&self) -> bool {
        matches!(self.look, Look::Reset(_) | Look::Left(Why::AlreadyRestored, _))
    }

    /// As a report names it.
    fn named(&self, detail: String) -> Named {
        let first_known = [&self.seed.run_id, &self.seed.first_run_id, &self.run_id];
        Named {
            workflow_id: self.seed.workflow_id.clone(),
            run_id: first_known
                .into_iter()
                .find(|id| !id.is_empty())
                .cloned()
                .unwrap_or_default(),
            workflow_type: self.workflow_type.clone(),
            detail,
            why: None,
        }
    }
}

/// The plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// In order of their levels.
    pub(super) items: Vec<Item>,
    pub(super) levels: u32,
    pub(super) left: Left,
}

/// Puts them in order. What hangs on a parent that is not restored is not restored either: nobody would wait for it, and a parent that
/// was started anew may want its workflow id.
pub(super) fn order(mut judged: Vec<Judged>) -> Plan {
    let mut by_id: HashMap<String, usize> = HashMap::new();
    for (at, one) in judged.iter().enumerate() {
        // Of several chains under one workflow id at most one is the current one.
        match by_id.get(&one.seed.workflow_id) {
            Some(_) if !one.runs_on() => {}
            _ => {
                by_id.insert(one.seed.workflow_id.clone(), at);
            }
        }
    }
    let parent_of = |at: usize| -> Option<usize> {
        let parent = by_id.get(judged[at].parent.as_ref()?)?;
        (*parent != at).then_some(*parent)
    };
    let parents: Vec<Option<usize>> = (0..judged.len()).map(parent_of).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); judged.len()];
    for (at, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[*parent].push(at);
        }
    }

    let mut levels: Vec<Option<u32>> = vec![None; judged.len()];
    let mut queue: VecDeque<usize> = VecDeque::new();
    let begin = |at: usize, levels: &mut Vec<Option<u32>>, queue: &mut VecDeque<usize>| {
        levels[at] = Some(0);
        queue.push_back(at);
    };
    for (at, parent) in parents.iter().enumerate() {
        if parent.is_none() {
            begin(at, &mut levels, &mut queue);
        }
    }
    let mut next_of_cycle = 0;
    loop {
        while let Some(at) = queue.pop_front() {
            let level = levels[at].unwrap_or(0);
            for &child in &children[at] {
                if levels[child].is_none() {
                    levels[child] = Some(level + 1);
                    let look = below(&judged[at], &judged[child]);
                    judged[child].look = look;
                    queue.push_back(child);
                }
            }
        }
        // Workflow ids that were used again and again may name each other as parents: somewhere it has to begin.
        let Some(at) = (next_of_cycle..judged.len()).find(|at| levels[*at].is_none()) else {
            break;
        };
        next_of_cycle = at + 1;
        begin(at, &mut levels, &mut queue);
    }

    let mut plan = Plan::default();
    for (at, one) in judged.iter().enumerate() {
        match &one.look {
            Look::Reset(event_id) => plan.items.push(Item {
                workflow_id: one.seed.workflow_id.clone(),
                first_run_id: one.first_run_id.clone(),
                run_id: one.run_id.clone(),
                workflow_type: one.workflow_type.clone(),
                event_id: *event_id,
                level: levels[at].unwrap_or(0),
                parent: parents[at].map(|parent| judged[parent].seed.workflow_id.clone()),
            }),
            Look::Left(why, detail) => plan.left.note(*why, || one.named(detail.clone())),
            Look::Unsettled => plan.left.note(Why::NotTerminated, || {
                one.named("the server has not terminated it with its parent".to_owned())
            }),
            Look::Candidate | Look::Stranger => {}
        }
    }
    plan.items.sort_by_key(|item| item.level);
    plan.levels = plan.items.last().map_or(0, |item| item.level + 1);
    plan
}

/// What becomes of a child, given what became of its parent.
fn below(parent: &Judged, child: &Judged) -> Look {
    if !matches!(child.look, Look::Reset(_)) {
        return child.look.clone();
    }
    let left = |why, detail: &str| Look::Left(why, detail.to_owned());
    match (&parent.look, parent.waits_for(child)) {
        // The parent's commands of the task to which it is reset are undone, and given again.
        (Look::Reset(event_id), Some(edge)) if edge.initiated_id > *event_id => left(Why::StartedByParent, ""),
        (Look::Reset(_), _) | (Look::Left(Why::AlreadyRestored, _), Some(_)) => child.look.clone(),
        (Look::Left(Why::AlreadyRestored, _), None) => left(
            Why::ParentNotRestored,
            "its parent was restored before, and does not wait for it",
        ),
        (Look::Left(Why::StartedByParent, _), _) => {
            left(Why::StartedByParent, "an ancestor is started anew, and starts its own")
        }
        // Not the cancellation's.
        (Look::Stranger | Look::Candidate, _) => child.look.clone(),
        (Look::Left(..) | Look::Unsettled, _) => left(Why::ParentNotRestored, ""),
    }
}

/// How many of each origin there are among those that the cancellation ended.
pub(super) fn origins(judged: &[Judged]) -> (u64, u64, u64) {
    let count = |wanted: &[Origin]| {
        let all = judged.iter().filter(|one| one.look != Look::Stranger);
        all.filter(|one| wanted.contains(&one.seed.origin)).count() as u64
    };
    (
        count(&[Origin::Journal]),
        count(&[Origin::Cascade, Origin::Waited]),
        count(&[Origin::Index]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(id: &str, parent: Option<&str>, look: Look, children: &[(&str, i64)]) -> Judged {
        Judged {
            seed: Seed {
                workflow_id: id.into(),
                first_run_id: format!("f-{id}"),
                run_id: format!("r-{id}"),
                workflow_type: "T".into(),
                origin: Origin::Journal,
            },
            run_id: format!("r-{id}"),
            first_run_id: format!("f-{id}"),
            workflow_type: "T".into(),
            parent: parent.map(str::to_owned),
            children: children
                .iter()
                .map(|(id, initiated_id)| Child {
                    workflow_id: (*id).to_owned(),
                    first_run_id: format!("f-{id}"),
                    initiated_id: *initiated_id,
                    cascades: true,
                })
                .collect(),
            look,
        }
    }

    fn order_of(plan: &Plan) -> Vec<(&str, u32)> {
        let items = plan.items.iter();
        items.map(|item| (item.workflow_id.as_str(), item.level)).collect()
    }

    #[test]
    fn parents_come_before_children_however_deep() {
        let depth = 50_000;
        let chain = (0..depth).rev().map(|n| {
            let parent = (n > 0).then(|| format!("w{}", n - 1));
            judged(&format!("w{n}"), parent.as_deref(), Look::Reset(4), &[])
        });
        let plan = order(chain.collect());
        assert_eq!(plan.levels, depth);
        for (n, item) in plan.items.iter().enumerate() {
            assert_eq!((item.workflow_id.clone(), item.level as usize), (format!("w{n}"), n));
        }
    }

    #[test]
    fn what_hangs_on_a_parent_that_is_not_restored_is_left() {
        let left = |why| Look::Left(why, String::new());
        let plan = order(vec![
            judged("root", None, Look::Reset(14), &[("old", 5), ("new", 15)]),
            judged("old", Some("root"), Look::Reset(4), &[]),
            judged("new", Some("root"), Look::Reset(4), &[]),
            judged("below-new", Some("new"), Look::Reset(4), &[]),
            judged("anew", None, left(Why::StartedAnew), &[]),
            judged("below-anew", Some("anew"), Look::Reset(4), &[]),
            judged("restored", None, left(Why::AlreadyRestored), &[("waited", 5)]),
            judged("waited", Some("restored"), Look::Reset(4), &[]),
            judged("not-waited", Some("restored"), Look::Reset(4), &[]),
            judged("orphan", Some("stranger"), Look::Reset(4), &[]),
        ]);
        assert_eq!(order_of(&plan), [("root", 0), ("orphan", 0), ("old", 1), ("waited", 1)]);
        let counts: Vec<_> = plan.left.counts.iter().map(|(why, count)| (*why, *count)).collect();
        assert_eq!(
            counts,
            [
                (Why::AlreadyRestored, 1),
                (Why::StartedAnew, 1),
                (Why::StartedByParent, 2),
                (Why::ParentNotRestored, 2),
            ]
        );
        assert_eq!(plan.left.total() + plan.items.len() as u64, 10, "all are accounted for");
    }

    #[test]
    fn ids_that_name_each_other_as_parents_are_restored_once() {
        let plan = order(vec![
            judged("a", Some("b"), Look::Reset(4), &[]),
            judged("b", Some("a"), Look::Reset(4), &[]),
            judged("c", Some("c"), Look::Reset(4), &[]),
        ]);
        assert_eq!(order_of(&plan), [("a", 0), ("c", 0), ("b", 1)]);
    }

    #[test]
    fn of_two_chains_under_one_id_the_current_one_counts() {
        let earlier = judged("w", None, Look::Left(Why::StartedAnew, String::new()), &[]);
        let plan = order(vec![
            judged("w", None, Look::Reset(4), &[("child", 3)]),
            earlier,
            judged("child", Some("w"), Look::Reset(4), &[]),
        ]);
        assert_eq!(order_of(&plan), [("w", 0), ("child", 1)]);
    }
}
