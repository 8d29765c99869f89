//! What is held against a request before anything is started: how many match, what must never be stopped, who else is at it.

use futures::future::try_join_all;
use quell_api::target::{Filter, OPEN};
use quell_mesh::{Error, NamespaceClient, Protected, Reason, confirmation::Token};
use quell_sweep::Mode;
use tonic::Code;

use super::{
    namespace::Namespace,
    query,
    spec::Spec,
    store,
    target::{TargetSpec, query_error},
    view::View,
};
use crate::restoration;

/// What the token of a preview is good for.
pub(super) fn subject(filter: &Filter, mode: Mode, namespaces: &[String]) -> String {
    format!("{mode:?}.{}.{}", namespaces.join(","), filter.open())
}

/// How many match now, in each namespace. Proves that the server takes the query, and holds their sum against the cap; above it a token that allows
/// it raises the cap.
pub(super) async fn matched(
    places: &[Namespace],
    spec: &mut Spec,
    filter: &Filter,
    token: Option<&Token>,
) -> Result<Vec<u64>, Error> {
    let counts = places.iter().map(|place| place.count(filter.open()));
    let by_place = try_join_all(counts)
        .await
        .map_err(|status| query_error("spec.target", &spec.target, status))?;
    // Each of several gets a share of the cap, and none of nothing.
    let least = u64::from(places.len() > 1);
    let matched = by_place.iter().map(|matched| (*matched).max(least)).sum();
    match token {
        Some(token) => spec.max_affected = token.cap(spec.max_affected, matched)?,
        None if matched <= spec.max_affected => {}
        None => {
            let open: u64 = by_place.iter().sum();
            let text = format!(
                "{open} open executions match, and max_affected is {}: raise it, or give the confirmation_token of a preview",
                spec.max_affected
            );
            return Err(Error::precondition(
                Reason::MaxAffectedExceeded,
                "spec.max_affected",
                text,
            ));
        }
    }
    Ok(by_place)
}

/// Refuses a target that holds what the configuration protects.
pub(super) async fn unprotected(main: &Namespace, protected: &Protected, filter: &Filter) -> Result<(), Error> {
    let held =
        |condition: String| async move { Ok(main.count(filter.with(&format!("{OPEN} AND {condition}"))).await?) };
    protected.guard("spec.target", held).await.map(drop)
}

/// Refuses a target that another cancellation than `own` is at: one that shares a part with it, or that has open executions in common.
/// Found in the index, so two that start within its lag both begin; each then stops what it meets, and both prove their zero. Its own
/// may be there already: the same request came twice at once.
pub(crate) async fn alone(
    main: &Namespace,
    canceler: &NamespaceClient,
    running: &[View],
    spec: &Spec,
    own: Option<&str>,
) -> Result<(), Error> {
    let filter = spec.filter();
    for first in running.iter().filter(|first| Some(first.id.as_str()) != own) {
        let both = |first: &Filter| Some(filter.and(first).open());
        let common = overlap(main, &first.about.spec, &spec.target, both).await?;
        // The index may not know yet that it has ended.
        if common && store::find(canceler, &first.id).await?.is_some_and(|view| !view.ended) {
            let text = format!("cancellation {} is running, of this target or a part of it", first.id);
            return Err(Error::precondition(Reason::CancellationRunning, "spec.target", text));
        }
    }
    Ok(())
}

/// Whether two targets have a part in common, or executions: `both` makes the query for those.
async fn overlap(
    main: &Namespace,
    first: &Spec,
    target: &TargetSpec,
    both: impl FnOnce(&Filter) -> Option<String>,
) -> Result<bool, Error> {
    // Two namespaces have nothing in common.
    if !main.is_of(first) {
        return Ok(false);
    }
    if first.target.shares_part_with(target) {
        return Ok(true);
    }
    // Two ids have nothing in common, whatever the server says.
    if first.target.by_id() && target.by_id() {
        return Ok(false);
    }
    let Some(query) = both(&first.filter()) else {
        return Ok(false);
    };
    match main.count(query).await {
        Ok(common) => Ok(common > 0),
        // Each was counted for itself: what the server does not take is both together.
        Err(status) if status.code() == Code::InvalidArgument => Ok(false),
        Err(status) => Err(status.into()),
    }
}

/// Refuses a target of which a cancellation is being undone, another one than `own`: what is restored would be stopped, or restored once
/// more, at once. Found in the index, so two that start within its lag both begin.
pub(crate) async fn not_restored(
    main: &Namespace,
    undone: &[View],
    spec: &Spec,
    own: Option<&str>,
) -> Result<(), Error> {
    let common = undone_of(main, undone, &spec.target, &spec.filter()).await?;
    match common.into_iter().find(|id| Some(id.as_str()) != own) {
        None => Ok(()),
        Some(id) => {
            let text = format!("cancellation {id}, of this target or a part of it, is being restored");
            Err(Error::precondition(Reason::RestorationRunning, "spec.target", text))
        }
    }
}

/// The cancellations that are being undone.
pub(crate) async fn undone(canceler: &NamespaceClient) -> Result<Vec<View>, Error> {
    let mut undone = Vec::new();
    for id in restoration::store::running(canceler).await? {
        undone.extend(store::find(canceler, &id).await?);
    }
    Ok(undone)
}

/// Ids of those of a target, or of a part of it.
pub(super) async fn undone_of(
    main: &Namespace,
    undone: &[View],
    target: &TargetSpec,
    filter: &Filter,
) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for undone in undone {
        // What is to be restored is closed as yet.
        let both = |first: &Filter| {
            let both = filter.as_if_open()?.and(&first.as_if_open()?);
            Some(query::closed_since(&both, undone.start_ms))
        };
        if overlap(main, &undone.about.spec, target, both).await? {
            found.push(undone.id.clone());
        }
    }
    Ok(found)
}
