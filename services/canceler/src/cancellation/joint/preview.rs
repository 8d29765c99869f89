//! The previews of several namespaces as one.

use std::collections::BTreeMap;

use quell_api::canceler::v1 as pb;

/// Sums, and what is named in each. The token is for the sum, and who else is at work is no namespace's: whoever asked adds both.
#[must_use]
pub(in crate::cancellation) fn join(
    previews: &[(String, pb::PreviewCancellationResponse)],
    sample_size: usize,
) -> pb::PreviewCancellationResponse {
    let all = || previews.iter().map(|(_, preview)| preview);
    let sum = |of: fn(&pb::PreviewCancellationResponse) -> i64| all().map(of).fold(0_i64, i64::saturating_add);
    let mut sample: Vec<_> = all().flat_map(|one| one.sample.clone()).collect();
    sample.sort_by_key(|one| std::cmp::Reverse(one.start_time.map(|time| (time.seconds, time.nanos))));
    sample.truncate(sample_size);
    let several = previews.len() > 1;
    let in_each = |of: fn(&pb::PreviewCancellationResponse) -> &Vec<String>| -> Vec<String> {
        let said = previews
            .iter()
            .flat_map(|(name, one)| of(one).iter().map(move |text| (name, text)));
        let where_it_is = |(name, text): (&String, &String)| {
            if several {
                format!("in {name}: {text}")
            } else {
                text.clone()
            }
        };
        said.map(where_it_is).collect()
    };
    let newest = |one: &pb::PreviewCancellationResponse| one.newest_start_time.map(|time| (time.seconds, time.nanos));
    let durations = all().filter_map(|one| one.estimated_duration);
    pb::PreviewCancellationResponse {
        open: sum(|one| one.open),
        open_is_bound: all().any(|one| one.open_is_bound),
        roots: sum(|one| one.roots),
        types: counted(
            all()
                .flat_map(|one| &one.types)
                .map(|of| (of.workflow_type.as_str(), of.count)),
        )
        .map(|(workflow_type, count)| pb::TypeCount { workflow_type, count })
        .collect(),
        task_queues: counted(
            all()
                .flat_map(|one| &one.task_queues)
                .map(|of| (of.task_queue.as_str(), of.count)),
        )
        .map(|(task_queue, count)| pb::QueueCount { task_queue, count })
        .collect(),
        sample,
        growth_per_second: all().map(|one| one.growth_per_second).sum(),
        query: all().next().map(|one| one.query.clone()).unwrap_or_default(),
        warnings: in_each(|one| &one.warnings),
        confirmation_token: String::new(),
        ages: ages(previews),
        newest_start_time: all()
            .max_by_key(|one| newest(one))
            .and_then(|one| one.newest_start_time),
        oldest_start_time: oldest(previews),
        descendants: sum(|one| one.descendants),
        descendants_is_bound: all().any(|one| one.descendants_is_bound),
        schedules: in_each(|one| &one.schedules),
        running_cancellations: Vec::new(),
        // They are at work at the same time.
        estimated_duration: durations.max_by_key(|time| (time.seconds, time.nanos)),
        namespaces: previews
            .iter()
            .map(|(namespace, one)| pb::NamespaceCount {
                namespace: namespace.clone(),
                open: one.open,
            })
            .collect(),
    }
}

/// Counts by name, the most frequent first.
fn counted<'a>(of: impl Iterator<Item = (&'a str, i64)>) -> impl Iterator<Item = (String, i64)> {
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for (name, count) in of {
        *sums.entry(name).or_default() += count;
    }
    let mut sums: Vec<_> = sums.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sums.into_iter()
}

/// The spans are the same everywhere; where one could not be counted, none is told.
fn ages(previews: &[(String, pb::PreviewCancellationResponse)]) -> Vec<pb::AgeCount> {
    let Some(((_, first), others)) = previews.split_first() else {
        return Vec::new();
    };
    if others.iter().any(|(_, one)| one.ages.len() != first.ages.len()) {
        return Vec::new();
    }
    let mut ages = first.ages.clone();
    for (_, one) in others {
        for (sum, more) in ages.iter_mut().zip(&one.ages) {
            sum.count += more.count;
        }
    }
    ages
}

/// The oldest of all, where it is known of each that has any.
fn oldest(previews: &[(String, pb::PreviewCancellationResponse)]) -> Option<prost_types::Timestamp> {
    let with_any = previews.iter().filter(|(_, one)| one.open > 0);
    let starts: Option<Vec<_>> = with_any.map(|(_, one)| one.oldest_start_time).collect();
    starts?.into_iter().min_by_key(|time| (time.seconds, time.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_sums_and_what_is_said_is_said_of_a_namespace() {
        let of = |open, kind: &str, oldest| pb::PreviewCancellationResponse {
            open,
            types: vec![pb::TypeCount {
                workflow_type: kind.to_owned(),
                count: open,
            }],
            warnings: vec!["it grows".to_owned()],
            oldest_start_time: oldest,
            ..Default::default()
        };
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let both = |second| vec![("a".to_owned(), of(3, "A", at(7))), ("b".to_owned(), second)];
        let joint = join(&both(of(4, "A", at(5))), 10);
        assert_eq!((joint.open, joint.types[0].count, joint.types.len()), (7, 7, 1));
        assert_eq!(joint.warnings, ["in a: it grows", "in b: it grows"]);
        assert_eq!(joint.oldest_start_time, at(5));
        assert_eq!(
            (joint.namespaces[1].namespace.as_str(), joint.namespaces[1].open),
            ("b", 4)
        );
        assert_eq!(
            join(&both(of(4, "A", None)), 10).oldest_start_time,
            None,
            "more than were listed"
        );
        assert_eq!(join(&both(of(0, "A", None)), 10).oldest_start_time, at(7));
    }
}
