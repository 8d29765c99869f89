//! On which namespaces a caller may act.
//!
//! Main's is asked for at the door, for every call. Where a call is about another one, the service asks for that: only it knows.

use std::sync::Arc;

use super::Caller;
use crate::error::{Error, Reason};

/// Every namespace.
const ANY: &str = "*";

/// The namespaces that a caller's credentials are good for. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(Arc<[String]>);

impl Scope {
    /// Every namespace: where nobody has to say who he is, and for certificates without an access file.
    pub(crate) fn everything() -> Self {
        Self::of(&[ANY.to_owned()])
    }

    /// These; `*` is every one.
    pub(crate) fn of(namespaces: &[String]) -> Self {
        Self(namespaces.into())
    }

    /// That of the caller of a request; nothing for one that did not come through the door.
    #[must_use]
    pub fn of_caller<T>(request: &tonic::Request<T>) -> Self {
        let caller = request.extensions().get::<Caller>();
        caller.map_or_else(|| Self::of(&[]), |caller| caller.scope.clone())
    }

    /// Whether it holds every namespace, also one that nobody has named yet.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.covers(ANY)
    }

    /// Whether it holds all that another does.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        other.0.iter().all(|name| self.covers(name))
    }

    /// Whether it holds a namespace.
    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        self.0.iter().any(|name| name == ANY || name == namespace)
    }

    /// Refuses what it does not hold.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] with [`Reason::NamespaceNotAllowed`].
    pub fn check(&self, namespace: &str) -> Result<(), Error> {
        if self.covers(namespace) {
            return Ok(());
        }
        Err(Error::PermissionDenied {
            reason: Reason::NamespaceNotAllowed,
            message: format!("the credentials are not good for the namespace {namespace:?}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_did_not_come_through_the_door_may_nothing() {
        let mut request = tonic::Request::new(());
        assert!(!Scope::of_caller(&request).covers("main"));
        request.extensions_mut().insert(Caller {
            principal: crate::auth::Principal::anonymous(),
            address: None,
            scope: Scope::of(&["main".to_owned()]),
        });
        let scope = Scope::of_caller(&request);
        scope.check("main").unwrap();
        assert_eq!(scope.check("other").unwrap_err().reason(), Reason::NamespaceNotAllowed);
        assert!(Scope::everything().covers("other") && Scope::everything().is_everything() && !scope.is_everything());
        let both = Scope::of(&["main".to_owned(), "other".to_owned()]);
        assert!(both.holds(&scope) && !scope.holds(&both));
        assert!(Scope::everything().holds(&both) && !both.holds(&Scope::everything()));
    }
}
