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
        parent: parent.map(|id| Parent {
            workflow_id: id.to_owned(),
            run_id: format!("r-{id}"),
        }),
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
fn a_child_belongs_to_the_run_that_started_it() {
    let mut earlier = judged("w", None, Look::Left(Why::StartedAnew, String::new()), &[]);
    earlier.seed.run_id = "earlier".to_owned();
    earlier.seed.first_run_id = "earlier-first".to_owned();
    let mut of_earlier = judged("of-earlier", Some("w"), Look::Reset(4), &[]);
    of_earlier.parent = Some(Parent {
        workflow_id: "w".to_owned(),
        run_id: "earlier".to_owned(),
    });
    let mut of_a_middle_run = judged("of-a-middle-run", Some("w"), Look::Reset(4), &[]);
    of_a_middle_run.parent = Some(Parent {
        workflow_id: "w".to_owned(),
        run_id: "nobody-knows".to_owned(),
    });
    let plan = order(vec![
        earlier,
        judged("w", None, Look::Reset(4), &[]),
        of_earlier,
        of_a_middle_run,
        judged("of-current", Some("w"), Look::Reset(4), &[]),
    ]);
    assert_eq!(order_of(&plan), [("w", 0), ("of-a-middle-run", 1), ("of-current", 1)]);
    assert_eq!(plan.left.counts[&Why::ParentNotRestored], 1);
    let leaves: Vec<_> = plan.items.iter().map(|item| item.leaf).collect();
    assert_eq!(leaves, [false, true, true]);
}

#[test]
fn what_ended_when_asked_goes_back_only_where_nobody_has_heard_of_it() {
    let asked = |id, parent, back_to: Option<i64>, children: &[(&str, i64)]| {
        let look = Look::Asked {
            clean: back_to.is_some(),
            back_to,
            how: "how".to_owned(),
        };
        judged(id, parent, look, children)
    };
    let plan = order(vec![
        asked("alone", None, Some(4), &[]),
        asked("cannot", None, None, &[]),
        asked("of-a-stranger", Some("stranger"), Some(4), &[]),
        judged("killed", None, Look::Reset(14), &[("in-vain", 5), ("anew", 15)]),
        asked("in-vain", Some("killed"), Some(4), &[]),
        asked("anew", Some("killed"), Some(4), &[]),
        asked("heard", Some("killed"), Some(4), &[]),
        judged("below", Some("cannot"), Look::Reset(4), &[]),
    ]);
    assert_eq!(order_of(&plan), [("alone", 0), ("killed", 0), ("in-vain", 1)]);
    let counts: Vec<_> = plan.left.counts.iter().map(|(why, count)| (*why, *count)).collect();
    assert_eq!(
        counts,
        [
            (Why::StartedByParent, 1),
            (Why::ParentNotRestored, 1),
            (Why::EndedWhenAsked, 3)
        ]
    );
}

#[test]
fn what_a_parent_that_goes_back_waits_for_goes_back_with_it_however_it_ended() {
    let asked = |id, parent, back_to, clean, children: &[(&str, i64)]| {
        let look = Look::Asked {
            back_to,
            clean,
            how: "it ended as COMPLETED".to_owned(),
        };
        let mut asked = judged(id, parent, look, children);
        asked.seed.origin = Origin::Asked;
        asked
    };
    let by_itself = |id, parent| {
        let mut one = judged(id, Some(parent), Look::ByItself(9), &[]);
        one.seed.origin = Origin::Asked;
        one
    };
    let waits = ["completed", "late", "hopeless", "stopped"].map(|id| (id, 3));
    let again = judged(
        "again",
        None,
        Look::Left(Why::AlreadyRestored, String::new()),
        &[("early", 3), ("unheard", 3)],
    );
    let plan = order(vec![
        asked("parent", None, Some(4), true, &waits),
        asked("completed", Some("parent"), Some(5), false, &[("grandchild", 4)]),
        asked("grandchild", Some("completed"), Some(6), false, &[]),
        by_itself("late", "parent"),
        asked("hopeless", Some("parent"), None, false, &[]),
        judged("stopped", Some("parent"), Look::Reset(7), &[]),
        asked("heard", Some("parent"), Some(8), false, &[]),
        by_itself("heard-late", "parent"),
        // Restored before: what ended since is on its way to it.
        again,
        asked("early", Some("again"), Some(5), false, &[]),
        by_itself("unheard", "again"),
    ]);
    let reset: Vec<_> = plan
        .items
        .iter()
        .map(|item| (&*item.workflow_id, item.event_id))
        .collect();
    assert_eq!(
        reset,
        [
            ("parent", 4),
            ("completed", 5),
            ("late", 9),
            ("stopped", 7),
            ("early", 5),
            ("grandchild", 6)
        ]
    );
    let named = plan
        .left
        .named
        .iter()
        .map(|named| (&*named.workflow_id, &*named.detail));
    let waits = "it ended as COMPLETED; its restored parent waits for it";
    assert_eq!(
        named.collect::<Vec<_>>(),
        [("hopeless", waits), ("heard", "it ended as COMPLETED")]
    );
    let all: u64 = plan.origins.iter().sum();
    assert_eq!(plan.origins, [2, 0, 0, 7]);
    assert_eq!(
        plan.left.total() + plan.items.len() as u64,
        all,
        "all are accounted for"
    );
}
