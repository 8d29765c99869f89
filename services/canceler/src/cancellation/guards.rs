//! What is held against a request before anything is started: how many match, what must never be stopped, who else is at it.

use std::time::SystemTime;

use quell_api::target::{Filter, OPEN};
use quell_mesh::{Error, NamespaceClient, Reason, config::CancelSettings};
use quell_sweep::Mode;
use tonic::Code;
use tonic_types::FieldViolation;

use super::{
    api::query_error, convert::epoch_ms, namespace::Namespace, query::one_of, spec::Spec, store, token::Token,
    view::View,
};
use crate::restoration;

/// The token of a request, read; nothing when none was given.
pub(super) fn token(text: &str, request_id: &str, filter: &Filter, mode: Mode) -> Result<Option<Token>, Error> {
    const FIELD: &str = "confirmation_token";
    if text.is_empty() {
        return Ok(None);
    }
    if !request_id.is_empty() {
        let text = "must be empty with a confirmation_token: the token makes the call idempotent by itself";
        return Err(Error::InvalidArgument(vec![FieldViolation::new("request_id", text)]));
    }
    let now_ms = epoch_ms(SystemTime::now());
    let mismatch = |problem| Error::precondition(Reason::ConfirmationTokenMismatch, FIELD, problem);
    Token::read(text, filter, mode, now_ms).map(Some).map_err(mismatch)
}

/// How many match now. Proves that the server takes the query, and holds the number against the cap; above it a token that allows
/// it raises the cap to twice the number, since what is still multiplying is more by the time it is stopped.
pub(super) async fn matched(
    main: &Namespace,
    spec: &mut Spec,
    filter: &Filter,
    token: Option<&Token>,
) -> Result<u64, Error> {
    let matched = main
        .count(filter.open())
        .await
        .map_err(|status| query_error("spec.target", &spec.target, status))?;
    if matched <= spec.max_affected {
        return Ok(matched);
    }
    let Some(token) = token else {
        let text = format!(
            "{matched} open executions match, and max_affected is {}: raise it, or give the confirmation_token of a preview",
            spec.max_affected
        );
        return Err(Error::precondition(
            Reason::MaxAffectedExceeded,
            "spec.max_affected",
            text,
        ));
    };
    if !token.allows(matched) {
        let text = format!(
            "{matched} open executions match, and {} were previewed: preview again",
            token.matched()
        );
        return Err(Error::precondition(
            Reason::ConfirmationTokenMismatch,
            "confirmation_token",
            text,
        ));
    }
    spec.max_affected = matched.saturating_mul(2);
    Ok(matched)
}

/// Refuses a target that holds what the configuration protects: all that is found, at once.
pub(super) async fn unprotected(main: &Namespace, settings: &CancelSettings, filter: &Filter) -> Result<(), Error> {
    let mut violations = Vec::new();
    for (attribute, values) in [
        ("WorkflowType", &settings.protected_types),
        ("WorkloadId", &settings.protected_workloads),
        ("TaskQueue", &settings.protected_queues),
    ] {
        if values.is_empty() {
            continue;
        }
        let query = filter.with(&format!("{OPEN} AND {}", one_of(attribute, values)));
        let held = match main.count(query).await {
            Ok(held) => held,
            // The filter itself was counted before: what the namespace does not know is the attribute, and then nothing has it.
            Err(status) if status.code() == Code::InvalidArgument => 0,
            Err(status) => return Err(status.into()),
        };
        if held > 0 {
            violations.push((
                Reason::ProtectedTarget.as_str().to_owned(),
                "spec.target".to_owned(),
                format!("holds {held} open executions whose {attribute} is protected"),
            ));
        }
    }
    if violations.is_empty() {
        return Ok(());
    }
    Err(Error::FailedPrecondition {
        reason: Reason::ProtectedTarget,
        violations,
    })
}

/// Refuses a target that another cancellation is at. Found in the index, so two that start within its lag both begin; each then
/// stops what it meets, and both prove their zero.
pub(crate) async fn alone(canceler: &NamespaceClient, spec: &Spec) -> Result<(), Error> {
    let same = |view: &View| view.about.spec.target == spec.target;
    for first in store::running(canceler).await?.into_iter().filter(same) {
        // The index may not know yet that it has ended.
        if store::find(canceler, &first.id).await?.is_some_and(|view| !view.ended) {
            let text = format!("cancellation {} of the same target is running", first.id);
            return Err(Error::precondition(Reason::CancellationRunning, "spec.target", text));
        }
    }
    Ok(())
}

/// Refuses a target of which another cancellation is being undone: what is restored would be stopped, and counted, at once.
pub(super) async fn not_restored(canceler: &NamespaceClient, spec: &Spec) -> Result<(), Error> {
    for id in restoration::store::running(canceler).await? {
        let undone = store::find(canceler, &id).await?;
        if undone.is_some_and(|view| view.about.spec.target == spec.target) {
            let text = format!("cancellation {id} of the same target is being restored");
            return Err(Error::precondition(Reason::RestorationRunning, "spec.target", text));
        }
    }
    Ok(())
}
