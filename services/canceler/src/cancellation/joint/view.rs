//! A joint cancellation as it can be seen from outside: what its parts are seen to do, put together.

use futures::future::try_join_all;
use quell_mesh::{Error, NamespaceClient};
use quell_sweep::{Counts, Phase};

use super::part_ids;
use crate::cancellation::{messages::About, spec::Spec, view::View};

/// Looks at the parts of one that works in several namespaces; leaves any other as it is.
///
/// # Errors
/// Whatever keeps Temporal from answering.
pub(in crate::cancellation) async fn fill(canceler: &NamespaceClient, view: &mut View) -> Result<(), Error> {
    if !view.about.spec.is_joint() {
        return Ok(());
    }
    let ids = part_ids(&view.id, &view.about.spec);
    let parts = ids
        .iter()
        .zip(&view.about.spec.namespaces)
        .map(async |(id, namespace)| {
            match View::read_one(canceler, id).await {
                // A child is told what it is about by its input: before its first step its memo does not say.
                Ok(part) if !part.about.spec.namespaces.is_empty() => Ok(part),
                Ok(_) | Err(Error::NotFound { .. }) => Ok(not_begun(id, namespace)),
                Err(error) => Err(error),
            }
        });
    view.parts = try_join_all(parts).await?;
    join(view);
    Ok(())
}

fn not_begun(id: &str, namespace: &str) -> View {
    View {
        id: id.to_owned(),
        about: About {
            spec: Spec {
                namespaces: vec![namespace.to_owned()],
                ..Spec::default()
            },
            ..About::default()
        },
        ..View::default()
    }
}

/// Sums; the phase is that of the part that is least advanced. Done is what has a receipt: that has its own, which outlive the parts.
fn join(view: &mut View) {
    if view.ended {
        return;
    }
    let parts = &view.parts;
    let phase = parts.iter().map(|part| part.standing.phase).min().unwrap_or_default();
    view.standing.phase = phase.min(Phase::Confirming);
    view.standing.limits = parts.first().map(|part| part.standing.limits).unwrap_or_default();
    let sum = |of: fn(&View) -> &Counts| {
        let mut sum = Counts::default();
        parts.iter().for_each(|part| sum.add(of(part)));
        sum
    };
    view.standing.counts = sum(|part| &part.standing.counts);
    view.at_work = sum(|part| &part.at_work);
    view.standing.passes = parts.iter().map(|part| part.standing.passes).max().unwrap_or(0);
    view.limit = parts.iter().map(|part| part.limit).sum();
    view.base_us = parts.iter().map(|part| part.base_us).max().unwrap_or(0);
    view.latency_us = parts.iter().map(|part| part.latency_us).max().unwrap_or(0);
    view.rate = parts.iter().map(|part| part.rate).sum();
    // A sum of which something is not known is none.
    view.open = parts.iter().map(|part| part.open).sum::<Option<u64>>();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancellation::messages::Standing;
    use quell_api::canceler::v1 as pb;

    fn part(phase: Phase, stopped: u64, open: Option<u64>) -> View {
        let counts = Counts {
            stopped,
            ..Counts::default()
        };
        View {
            standing: Standing {
                phase,
                counts,
                ..Standing::default()
            },
            open,
            rate: 2.0,
            ..not_begun("j.1", "a")
        }
    }

    #[test]
    fn it_is_where_the_last_of_its_parts_is() {
        let mut view = View {
            parts: vec![part(Phase::Done, 3, Some(0)), part(Phase::Sweeping, 4, Some(9))],
            ..View::default()
        };
        join(&mut view);
        let shown = view.to_proto(true);
        assert_eq!(shown.phase(), pb::Phase::Sweeping);
        let progress = shown.progress.unwrap();
        assert_eq!((progress.stopped, progress.open), (7, 9));
        assert_eq!(shown.parts[0].namespace, "a");
        // All parts are done, and the receipt is not there yet.
        view.parts = vec![part(Phase::Done, 3, Some(0)), part(Phase::Done, 4, None)];
        join(&mut view);
        let shown = view.to_proto(true);
        assert_eq!(
            (shown.phase(), shown.verdict()),
            (pb::Phase::Confirming, pb::Verdict::Unspecified)
        );
        assert_eq!(shown.progress.unwrap().open, -1);
    }
}
