//! What a cancellation would stop. Changes nothing.

use std::{collections::BTreeMap, time::Duration};

use quell_api::{canceler::v1 as pb, target::Filter, r#type::v1::ExecutionRef};
use quell_sweep::{PassKind, Row, StartRange};
use tokio::time::Instant;
use tonic::Status;

use super::{
    convert::{count, timestamp},
    namespace::Namespace,
    query,
    spec::DEFAULT_MAX_AFFECTED,
};

/// Rows that types are counted in.
const SAMPLED: i32 = 1_000;
/// Time between the two counts that tell the growth.
const GROWTH_SPAN: Duration = Duration::from_secs(1);
/// Growth below this, in executions a second, is noise.
const GROWING: f64 = 0.5;

/// Looks at what matches.
pub(crate) async fn run(
    main: &Namespace,
    filter: &Filter,
    sample_size: usize,
) -> Result<pb::PreviewCancellationResponse, Status> {
    let query = filter.open();
    let first_at = Instant::now();
    let first = main.count(query.clone()).await?;
    let roots = main
        .count(query::window(filter, PassKind::Roots, StartRange::ALL))
        .await?;
    let page = main.list(query.clone(), SAMPLED, None).await?;
    tokio::time::sleep_until(first_at + GROWTH_SPAN).await;
    let open = main.count(query.clone()).await?;
    let growth_per_second = growth(first, open, first_at.elapsed());
    let types = types(&page.rows);
    Ok(pb::PreviewCancellationResponse {
        open: count(open),
        roots: count(roots),
        warnings: warnings(open, roots, growth_per_second),
        types,
        sample: page.rows.into_iter().take(sample_size).map(reference).collect(),
        growth_per_second,
        query,
    })
}

fn types(rows: &[Row]) -> Vec<pb::TypeCount> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for row in rows {
        *counts.entry(&row.workflow_type).or_default() += 1;
    }
    let mut types: Vec<_> = counts
        .into_iter()
        .map(|(workflow_type, count)| pb::TypeCount {
            workflow_type: workflow_type.to_owned(),
            count,
        })
        .collect();
    types.sort_by_key(|of| std::cmp::Reverse(of.count));
    types
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

fn warnings(open: u64, roots: u64, growth: f64) -> Vec<String> {
    let mut warnings = Vec::new();
    if open == 0 {
        warnings.push(
            "nothing open matches now; what starts later with the same attributes would still be stopped".to_owned(),
        );
    }
    if growth >= GROWING {
        warnings.push(format!("the target grows by about {growth:.0} a second: tell its source to stop, or name it by workload_id so that Quell can"));
    }
    if open > DEFAULT_MAX_AFFECTED {
        warnings.push(format!(
            "more than the default max_affected of {DEFAULT_MAX_AFFECTED} match: it must be raised"
        ));
    }
    if open > 0 && roots == 0 {
        warnings.push(
            "everything that matches has a parent: a parent that does not match may start more, or fail".to_owned(),
        );
    }
    if roots > 0 && open > roots {
        warnings.push(
            "parents and children match: ENGINE_BOTH stops children first, which can fail their parents".to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_say_what_matters() {
        assert!(warnings(5, 5, 0.0).is_empty());
        assert!(warnings(0, 0, 0.0)[0].starts_with("nothing open"));
        assert_eq!(warnings(20_000, 0, 100.0).len(), 3);
        assert!(warnings(9, 1, 0.0)[0].contains("ENGINE_BOTH"));
    }

    #[test]
    fn growth_can_be_negative() {
        assert!((growth(10, 5, Duration::from_secs(1)) + 5.0).abs() < 1e-9);
    }
}
