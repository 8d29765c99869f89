//! Who may act on which cancellation: whose credentials are not good for its namespace may neither see nor touch it.

use quell_api::{canceler::v1 as pb, validate::Checker};
use quell_mesh::{Error, NamespaceClient, auth::Scope};
use tonic::Request;

use super::{namespaces::Namespaces, store, view::View};

/// A request that is about one cancellation.
pub(super) trait AboutOne {
    /// Its id.
    fn cancellation_id(&self) -> &str;
}

macro_rules! about_one {
    ($($request:ident),+ $(,)?) => {
        $(impl AboutOne for pb::$request {
            fn cancellation_id(&self) -> &str {
                &self.cancellation_id
            }
        })+
    };
}

about_one!(
    GetCancellationRequest,
    WatchCancellationRequest,
    StopCancellationRequest,
    AdjustCancellationRequest,
    GetReceiptRequest,
    ReadJournalChunkRequest,
    ListFailuresRequest,
    RestoreCancellationRequest,
    GetRestorationRequest,
    WatchRestorationRequest,
    StopRestorationRequest,
);

/// The message of a request, if its caller may act on the cancellation that it is about. One that is not there is for the rpc to
/// tell.
///
/// # Errors
/// [`Error::PermissionDenied`]; whatever keeps Temporal from answering.
pub(super) async fn admit<T: AboutOne>(
    canceler: &NamespaceClient,
    namespaces: &Namespaces,
    request: Request<T>,
) -> Result<T, Error> {
    let scope = Scope::of_caller(&request);
    let message = request.into_inner();
    let id = message.cancellation_id();
    let mut check = Checker::new();
    check.required_id("cancellation_id", id);
    // The door has asked for main's: who may everywhere need not be asked more.
    if !scope.is_everything() && check.finish(()).is_ok() {
        let view = store::find(canceler, id).await?;
        may_see(namespaces, &scope, view.as_ref())?;
    }
    Ok(message)
}

/// Refuses who may not know of a cancellation.
///
/// # Errors
/// [`Error::PermissionDenied`].
pub(super) fn may_see(namespaces: &Namespaces, scope: &Scope, view: Option<&View>) -> Result<(), Error> {
    let spec = view.map(|view| &view.about.spec);
    // Each has a reason. A part that has not made its first step tells none, and of some only the journal or a restoration is left: those
    // are of any namespace.
    if spec.is_none_or(|spec| spec.reason.is_empty()) {
        namespaces.names().skip(1).try_for_each(|name| scope.check(name))?;
    }
    spec.map_or(Ok(()), |spec| may(namespaces, scope, &spec.namespaces))
}

/// Refuses who may not act in these namespaces. Main's was asked for at the door.
///
/// # Errors
/// [`Error::PermissionDenied`].
pub(super) fn may(namespaces: &Namespaces, scope: &Scope, wanted: &[String]) -> Result<(), Error> {
    let mut others = wanted.iter().filter(|name| !namespaces.is_main(name));
    others.try_for_each(|name| scope.check(name))
}
