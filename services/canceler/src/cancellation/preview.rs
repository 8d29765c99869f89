//! What a cancellation would stop. Changes nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use futures::future::try_join_all;
use quell_api::{
    canceler::v1 as pb,
    target::{Filter, OPEN},
    r#type::v1::ExecutionRef,
};
use quell_mesh::{Error, NamespaceClient, auth, confirmation::Token};
use quell_sweep::{Mode, PassKind, Row, Scope, StartRange};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{
    admission,
    convert::{count, duration, epoch_ms, query_time, timestamp},
    guards, joint,
    listing::Listing,
    namespace::Namespace,
    namespaces::Namespaces,
    query, schedules,
    spec::DEFAULT_MAX_AFFECTED,
    store,
    target::{TargetSpec, query_error},
    view::View,
};

/// Rows that types and queues are counted in.
const SAMPLED: i32 = 1_000;
/// Pages of other executions that are looked through for descendants.
const DESCENDANT_PAGES: usize = 10;
/// Time between the two counts that tell the growth.
const GROWTH_SPAN: Duration = Duration::from_secs(1);
/// Growth below this, in executions a second, is noise.
const GROWING: f64 = 0.5;
/// Ends of the spans of age, in milliseconds: a minute, ten, an hour, a day.
const AGES_MS: [u64; 4] = [60_000, 600_000, 3_600_000, 86_400_000];
/// Stops a second that the estimate counts with: what a Temporal on two cores takes (docs/benchmarks.md).
const STOPS_PER_SECOND: u64 = 100;

/// What is to be previewed.
pub(crate) struct Wanted {
    pub(crate) target: TargetSpec,
    pub(crate) namespaces: Vec<String>,
    pub(crate) filter: Filter,
    pub(crate) sample_size: usize,
    pub(crate) descendants: bool,
    pub(crate) mode: Mode,
}

/// Looks at what matches, in each of the namespaces.
pub(crate) async fn run(
    known: &Namespaces,
    canceler: &NamespaceClient,
    scope: &auth::Scope,
    wanted: &Wanted,
) -> Result<pb::PreviewCancellationResponse, Error> {
    let places = known.connect_all(&wanted.namespaces).await?;
    let mut running = store::running(canceler).await?;
    running.retain(|view| admission::may_see(known, scope, Some(view)).is_ok());
    let undone = guards::undone(canceler).await?;
    let looks = places.iter().map(|place| look(place, &running, &undone, wanted));
    let names = wanted.namespaces.iter().cloned();
    let previews: Vec<_> = names.zip(try_join_all(looks).await?).collect();
    let mut preview = joint::preview::join(&previews, wanted.sample_size);
    let seen = u64::try_from(preview.open).unwrap_or(0);
    preview.confirmation_token =
        Token::new(seen).write(&guards::subject(&wanted.filter, wanted.mode, &wanted.namespaces));
    preview.running_cancellations = running.into_iter().map(|view| view.id).collect();
    Ok(preview)
}

/// Looks at what matches in one namespace.
async fn look(
    main: &Namespace,
    running: &[View],
    undone: &[View],
    wanted: &Wanted,
) -> Result<pb::PreviewCancellationResponse, Error> {
    let Wanted {
        target,
        filter,
        sample_size,
        descendants,
        ..
    } = wanted;
    let query = filter.open();
    let refused = |status| query_error("target", target, status);
    let first_at = Instant::now();
    let (rows, more) = main.list_queued(query.clone(), SAMPLED).await.map_err(refused)?;
    let listed = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let first = counted(main, query.clone(), listed).await?;
    let roots = counted(main, query::window(filter, PassKind::Roots, StartRange::ALL), 0).await?;
    let now_ms = epoch_ms(SystemTime::now());
    let scope = Scope {
        workload_ids: target.tags(),
        descendants: *descendants,
        ..Scope::default()
    };
    let listing = Listing::whole(main.clone(), filter, &scope, now_ms);
    let (descending, descending_is_bound) = listing.count_descendants(DESCENDANT_PAGES).await?;
    let (schedules, problems) = match target.workload_ids() {
        none if none.is_empty() => (Vec::new(), Vec::new()),
        ids => schedules::find(main, &ids).await,
    };
    let undone = guards::undone_of(main, undone, target, filter).await?;
    tokio::time::sleep_until(first_at + GROWTH_SPAN).await;
    let open = counted(main, query.clone(), listed).await?;
    let growth_per_second = if first.is_bound || open.is_bound {
        0.0
    } else {
        growth(first.count, open.count, first_at.elapsed())
    };
    let ages = if open.is_bound {
        Vec::new()
    } else {
        ages(main, filter, now_ms).await?
    };
    let starts = || rows.iter().map(|(row, _)| row.start_ms);
    let all = open.count.saturating_add(descending);
    let mut warnings = warnings(open.count, roots.count, growth_per_second, target.by_id());
    if open.is_bound {
        warnings.push("the server could not count in time: there are at least so many".to_owned());
    }
    warnings.extend(problems);
    for view in running
        .iter()
        .filter(|view| main.is_of(&view.about.spec) && view.about.spec.target.shares_part_with(target))
    {
        warnings.push(format!(
            "cancellation {} is running, of this target or a part of it",
            view.id
        ));
    }
    let restored = |id| {
        format!(
            "cancellation {id}, of this target or a part of it, is being restored: no other starts until that has ended"
        )
    };
    warnings.extend(undone.into_iter().map(restored));
    Ok(pb::PreviewCancellationResponse {
        open: count(open.count),
        open_is_bound: open.is_bound,
        roots: count(roots.count),
        warnings,
        types: types(rows.iter().map(|(row, _)| row.workflow_type.as_str())),
        task_queues: queues(rows.iter().map(|(_, queue)| queue.as_str())),
        ages,
        newest_start_time: starts().max().map(timestamp),
        oldest_start_time: starts().min().filter(|_| !more).map(timestamp),
        descendants: count(descending),
        descendants_is_bound: descending_is_bound,
        schedules,
        running_cancellations: Vec::new(),
        estimated_duration: Some(duration(all.saturating_mul(1_000) / STOPS_PER_SECOND)),
        confirmation_token: String::new(),
        namespaces: Vec::new(),
        sample: rows
            .into_iter()
            .take(*sample_size)
            .map(|(row, _)| reference(row))
            .collect(),
        growth_per_second,
        query,
    })
}

/// A count, or what is known to be there where the server cannot count in time.
struct Counted {
    count: u64,
    is_bound: bool,
}

async fn counted(main: &Namespace, query: String, at_least: u64) -> Result<Counted, Status> {
    match main.count(query).await {
        Ok(count) => Ok(Counted { count, is_bound: false }),
        Err(status) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => Ok(Counted {
            count: at_least,
            is_bound: true,
        }),
        Err(status) => Err(status),
    }
}

/// How many are how old. Each span is counted for itself: a difference of counts that follow each other would take what started
/// between them for old.
async fn ages(main: &Namespace, filter: &Filter, now_ms: u64) -> Result<Vec<pb::AgeCount>, Status> {
    let mut ages = Vec::new();
    let mut before = String::new();
    for age_ms in AGES_MS.map(Some).into_iter().chain([None]) {
        let since = age_ms.map(|age_ms| query_time(now_ms.saturating_sub(age_ms)));
        let after = since
            .as_ref()
            .map_or_else(String::new, |since| format!("StartTime >= {since} AND "));
        let within = main.count(filter.with(&format!("{after}{before}{OPEN}"))).await?;
        ages.push(pb::AgeCount {
            within: age_ms.map(duration),
            count: count(within),
        });
        before = since.map_or_else(String::new, |since| format!("StartTime < {since} AND "));
    }
    Ok(ages)
}

fn types<'a>(names: impl Iterator<Item = &'a str>) -> Vec<pb::TypeCount> {
    let of = |(workflow_type, count)| pb::TypeCount { workflow_type, count };
    most_frequent(names).into_iter().map(of).collect()
}

fn queues<'a>(names: impl Iterator<Item = &'a str>) -> Vec<pb::QueueCount> {
    let of = |(task_queue, count)| pb::QueueCount { task_queue, count };
    most_frequent(names).into_iter().map(of).collect()
}

fn most_frequent<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, i64)> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = counts
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn reference(row: Row) -> ExecutionRef {
    ExecutionRef {
        workflow_id: row.workflow_id,
        run_id: row.run_id,
        workflow_type: row.workflow_type,
        start_time: (row.start_ms > 0).then(|| timestamp(row.start_ms)),
        root_workflow_id: row.root_workflow_id,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn growth(before: u64, after: u64, took: Duration) -> f64 {
    (after as f64 - before as f64) / took.as_secs_f64()
}

fn warnings(open: u64, roots: u64, growth: f64, by_id: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if open == 0 {
        warnings.push(
            "nothing open matches now; what starts later with the same attributes would still be stopped".to_owned(),
        );
    }
    if growth >= GROWING {
        let told = if by_id {
            "its source is told to stop when it is cancelled"
        } else {
            "tell its source to stop, or name it by workload_id so that Quell can"
        };
        warnings.push(format!("the target grows by about {growth:.0} a second: {told}"));
    }
    if open > DEFAULT_MAX_AFFECTED {
        warnings.push(format!(
            "more than the default max_affected of {DEFAULT_MAX_AFFECTED} match: raise it, or give the confirmation_token of this preview"
        ));
    }
    if open > 0 && roots == 0 {
        warnings.push(
            "everything that matches has a parent: a parent that does not match may start more, or fail".to_owned(),
        );
    }
    if roots > 0 && open > roots {
        warnings.push(
            "parents and children match: with ENGINE_BOTH (not the default) the server stops children first, which can fail their parents"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_say_what_matters() {
        assert!(warnings(5, 5, 0.0, true).is_empty());
        assert!(warnings(0, 0, 0.0, true)[0].starts_with("nothing open"));
        assert_eq!(warnings(20_000, 0, 100.0, false).len(), 3);
        assert!(warnings(9, 1, 0.0, true)[0].contains("ENGINE_BOTH"));
        assert!(warnings(5, 5, 9.0, false)[0].contains("or name it by workload_id"));
        assert!(!warnings(5, 5, 9.0, true)[0].contains("workload_id"));
    }

    #[test]
    fn growth_can_be_negative() {
        assert!((growth(10, 5, Duration::from_secs(1)) + 5.0).abs() < 1e-9);
    }
}
