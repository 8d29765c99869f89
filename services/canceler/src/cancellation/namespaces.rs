//! The namespaces in which executions may be stopped: main's, and those that the configuration names beside it.

use std::sync::Arc;

use futures::future::try_join_all;
use quell_api::validate::Checker;
use quell_mesh::{Error, Mesh, NamespaceClient, Reason};
use quell_sweep::Engine;

use super::{budget::Budget, namespace::Namespace, spec::Spec};

/// Visibility calls a second that this process makes at most in one namespace: a real server's default for a whole one.
const VISIBILITY_PER_SECOND: u32 = 10;
/// Namespaces of one cancellation.
const MOST: usize = 20;

/// All of them, main's first. Cheap to clone; clones share connections and budgets.
#[derive(Clone, Debug)]
pub struct Namespaces(Arc<[(NamespaceClient, Budget)]>);

impl Namespaces {
    /// Those of a service process.
    #[must_use]
    pub fn new(mesh: &Mesh) -> Self {
        let all = std::iter::once(&mesh.main).chain(&mesh.beside_main);
        Self(
            all.map(|client| (client.clone(), Budget::new(VISIBILITY_PER_SECOND)))
                .collect(),
        )
    }

    /// Their names, main's first.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(client, _)| client.namespace())
    }

    /// Checks the names that a caller gave; none are main's.
    pub(super) fn check(&self, check: &mut Checker, field: &str, given: &[String]) -> Vec<String> {
        if given.len() > MOST {
            check.reject(field, format!("must be at most {MOST}"));
            return Vec::new();
        }
        for (at, name) in given.iter().enumerate() {
            let field = format!("{field}[{at}]");
            if !self.names().any(|known| known == name) {
                let known: Vec<_> = self.names().map(|name| format!("{name:?}")).collect();
                let known = known.join(", ");
                check.reject(
                    &field,
                    format!("is none that this service may stop anything in; those are {known}"),
                );
            } else if given.iter().take(at).any(|before| before == name) {
                check.reject(&field, "is there twice");
            }
        }
        if given.is_empty() {
            return vec![self.main().to_owned()];
        }
        given.to_vec()
    }

    /// Checks those of a spec and fills in what was left out. The server's batch is for main's only.
    pub(super) fn check_spec(&self, check: &mut Checker, spec: &mut Spec) {
        spec.namespaces = self.check(check, "spec.namespaces", &spec.namespaces);
        if spec.is_joint() && spec.max_affected < spec.namespaces.len() as u64 {
            let text = "must be one for each namespace at least";
            check.reject("spec.max_affected", text);
        }
        if spec.engine == Engine::Both && spec.namespaces.iter().any(|name| !self.is_main(name)) {
            let text = format!(
                "must not be BOTH in another namespace than {:?}: the batch service works in that one only",
                self.main()
            );
            check.reject("spec.engine", text);
        }
    }

    /// Says of an older cancellation which namespace it meant.
    pub(super) fn fill_in(&self, spec: &mut Spec) {
        if spec.namespaces.is_empty() {
            spec.namespaces.push(self.main().to_owned());
        }
    }

    /// Name of main's.
    fn main(&self) -> &str {
        self.names().next().unwrap_or_default()
    }

    /// Whether it is main's; nothing, as older cancellations have it, means that.
    pub(super) fn is_main(&self, name: &str) -> bool {
        name.is_empty() || name == self.main()
    }

    /// The name of one; nothing, as older cancellations have it, means main's.
    pub(super) fn name<'a>(&'a self, name: &'a str) -> &'a str {
        if name.is_empty() { self.main() } else { name }
    }

    /// All those of a spec, in its order.
    ///
    /// # Errors
    /// As for [`Namespaces::connect`].
    pub(super) async fn connect_all(&self, names: &[String]) -> Result<Vec<Namespace>, Error> {
        try_join_all(names.iter().map(|name| self.connect(name))).await
    }

    /// The namespace of that name, once its client is connected.
    ///
    /// # Errors
    /// When there is no connection within the configured wait, or it is none of these (any more).
    pub(crate) async fn connect(&self, name: &str) -> Result<Namespace, Error> {
        let name = self.name(name);
        let found = self.0.iter().position(|(client, _)| client.namespace() == name);
        let Some((at, (client, budget))) = found.and_then(|at| Some((at, self.0.get(at)?))) else {
            // It may come back with the next configuration: what waits for it waits on.
            let text = format!("the namespace {name:?} is not configured here: TEMPORAL_MAIN_MORE_NAMESPACES");
            return Err(Error::unavailable(Reason::NamespaceNotFound, text));
        };
        Namespace::connect(client, budget.clone(), at == 0).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quell_mesh::{
        PayloadStore,
        config::{PayloadSettings, Sources, load},
    };

    /// `main`, and `other` beside it; nothing is connected.
    fn two() -> Namespaces {
        let folder = tempfile::tempdir().unwrap();
        let payloads = PayloadStore::open(&PayloadSettings {
            url: folder.path().display().to_string(),
            threshold_bytes: 1_024,
            keys: None,
        })
        .unwrap();
        let sources = Sources {
            flags: vec![("temporal.main.more_namespaces".to_owned(), "other".to_owned())],
            ..Sources::default()
        };
        let settings = load(&sources, 0).unwrap().settings;
        let all = std::iter::once(&settings.main).chain(&settings.beside_main);
        let client = |settings: &quell_mesh::config::NamespaceSettings| {
            let client = NamespaceClient::new(settings.clone(), "test", payloads.codec());
            (client, Budget::new(VISIBILITY_PER_SECOND))
        };
        Namespaces(all.map(client).collect())
    }

    fn given(namespaces: &[&str], engine: Engine) -> Result<Spec, Vec<(String, String)>> {
        let mut check = Checker::new();
        let mut spec = Spec {
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            engine,
            ..Spec::default()
        };
        two().check_spec(&mut check, &mut spec);
        let told = |violations: Vec<tonic_types::FieldViolation>| {
            let told = violations.into_iter().map(|one| (one.field, one.description));
            told.collect()
        };
        check.finish(spec).map_err(told)
    }

    #[tokio::test]
    async fn a_namespace_is_main_or_one_that_is_configured() {
        assert_eq!(given(&[], Engine::Both).unwrap().namespaces, ["main"]);
        assert_eq!(given(&["main"], Engine::Both).unwrap().namespace(), "main");
        assert_eq!(given(&["other"], Engine::Sweep).unwrap().namespace(), "other");
        for name in ["", "else", "Main"] {
            let refused = given(&[name], Engine::Sweep).unwrap_err();
            assert_eq!(refused[0].0, "spec.namespaces[0]");
            assert!(refused[0].1.contains("\"main\", \"other\""), "{refused:?}");
        }
        assert_eq!(given(&["main", "other"], Engine::Sweep).unwrap().namespaces.len(), 2);
        let refused = given(&["other", "main", "other"], Engine::Sweep).unwrap_err();
        assert_eq!(
            refused,
            [("spec.namespaces[2]".to_owned(), "is there twice".to_owned())]
        );
        assert_eq!(given(&["main"; 21], Engine::Sweep).unwrap_err()[0].0, "spec.namespaces");
        // The batch service works in main's only.
        for namespaces in [&["other"][..], &["main", "other"]] {
            let refused = given(namespaces, Engine::Both).unwrap_err();
            assert_eq!(refused[0].0, "spec.engine");
        }
    }

    #[tokio::test]
    async fn an_older_cancellation_meant_main() {
        let mut spec = Spec::default();
        two().fill_in(&mut spec);
        assert_eq!(spec.namespaces, ["main"]);
        assert!(two().is_main("") && two().is_main("main") && !two().is_main("other"));
        let gone = two().connect("gone").await.err().unwrap();
        assert_eq!((gone.reason(), gone.is_retryable()), (Reason::NamespaceNotFound, true));
    }
}
