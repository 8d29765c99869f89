//! What is to be reset, in order: parents before children. Pure.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    calls::{Child, Parent},
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
    /// Whether none of those that the cancellation ended is its child.
    pub(super) leaf: bool,
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
    pub(super) parent: Option<Parent>,
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

    /// The runs of its chain that are known.
    fn runs(&self) -> impl Iterator<Item = &str> {
        let anew = matches!(self.look, Look::Left(Why::StartedAnew, _));
        // What was started anew is another chain.
        let current = [&self.run_id, &self.first_run_id].into_iter().filter(move |_| !anew);
        let listed = [&self.seed.run_id, &self.seed.first_run_id].into_iter();
        listed.chain(current).map(String::as_str).filter(|id| !id.is_empty())
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
    /// How many of those that the cancellation ended were stopped, ended by the cascade, found in the index, asked to end.
    pub(super) origins: [u64; 4],
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
    let parents = parents(&judged, &by_id);
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
            judged[at].look = alone(&judged[at]);
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
                leaf: children[at].is_empty(),
            }),
            Look::Left(why, detail) => plan.left.note(*why, || one.named(detail.clone())),
            Look::Asked { how, .. } => plan.left.note(Why::EndedWhenAsked, || one.named(how.clone())),
            Look::Unsettled => plan.left.note(Why::NotTerminated, || {
                one.named("the server has not terminated it with its parent".to_owned())
            }),
            Look::Candidate | Look::Stranger | Look::ByItself(_) => {}
        }
    }
    plan.origins = origins(&judged);
    plan.items.sort_by_key(|item| item.level);
    plan.levels = plan.items.last().map_or(0, |item| item.level + 1);
    plan
}

/// The parent of each among them: by the run that started it, and where that is not known, in the middle of a chain, by its workflow id.
fn parents(judged: &[Judged], by_id: &HashMap<String, usize>) -> Vec<Option<usize>> {
    let runs = judged.iter().enumerate().flat_map(|(at, one)| {
        let of = one.seed.workflow_id.as_str();
        one.runs().map(move |run_id| ((of, run_id), at))
    });
    let by_run: HashMap<(&str, &str), usize> = runs.collect();
    let parent_of = |(at, one): (usize, &Judged)| {
        let Parent { workflow_id, run_id } = one.parent.as_ref()?;
        let by_run = by_run.get(&(workflow_id.as_str(), run_id.as_str()));
        by_run
            .or_else(|| by_id.get(workflow_id))
            .copied()
            .filter(|parent| *parent != at)
    };
    judged.iter().enumerate().map(parent_of).collect()
}

/// What becomes of one whose parent, if it has one, has nothing to do with the cancellation.
fn alone(one: &Judged) -> Look {
    match (&one.look, &one.parent) {
        (
            Look::Asked {
                back_to: Some(event_id),
                clean: true,
                ..
            },
            None,
        ) => Look::Reset(*event_id),
        (look, _) => look.clone(),
    }
}

/// What becomes of a child, given what became of its parent.
fn below(parent: &Judged, child: &Judged) -> Look {
    let left = |why, detail: &str| Look::Left(why, detail.to_owned());
    let edge = parent.waits_for(child);
    let look = match &child.look {
        look @ Look::Reset(_) => look.clone(),
        // Its parent ended before it heard of its end, waits for it now, and nobody else would wake it: it goes back with the parent,
        // however it ended.
        Look::Asked { back_to, how, .. } if edge.is_some() && parent.runs_on() => match back_to {
            Some(event_id) => Look::Reset(*event_id),
            None => left(Why::EndedWhenAsked, &format!("{how}; its restored parent waits for it")),
        },
        // What was restored before hears of it, if it ended later.
        Look::ByItself(last) if edge.is_some() && matches!(parent.look, Look::Reset(_)) => Look::Reset(*last),
        look => return look.clone(),
    };
    match (&parent.look, edge) {
        // The parent's commands of the task to which it is reset are undone, and given again.
        (Look::Reset(event_id), Some(edge)) if edge.initiated_id > *event_id => left(Why::StartedByParent, ""),
        (Look::Reset(_), _) | (Look::Left(Why::AlreadyRestored, _), Some(_)) => look,
        (Look::Left(Why::AlreadyRestored, _), None) => left(
            Why::ParentNotRestored,
            "its parent was restored before, and does not wait for it",
        ),
        (Look::Left(Why::StartedByParent, _), _) => {
            left(Why::StartedByParent, "an ancestor is started anew, and starts its own")
        }
        // Not the cancellation's.
        (Look::Stranger | Look::Candidate | Look::ByItself(_), _) => look,
        (Look::Left(..) | Look::Asked { .. } | Look::Unsettled, _) => left(Why::ParentNotRestored, ""),
    }
}

/// How many of each origin there are among those that the cancellation ended.
fn origins(judged: &[Judged]) -> [u64; 4] {
    let count = |wanted: &[Origin]| {
        let all = judged.iter();
        let all = all.filter(|one| !matches!(one.look, Look::Stranger | Look::ByItself(_)));
        all.filter(|one| wanted.contains(&one.seed.origin)).count() as u64
    };
    [
        count(&[Origin::Journal]),
        count(&[Origin::Cascade, Origin::Waited]),
        count(&[Origin::Index]),
        count(&[Origin::Asked]),
    ]
}

#[cfg(test)]
mod tests;
