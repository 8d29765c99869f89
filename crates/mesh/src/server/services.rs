//! The gRPC services of a process, collected before anything runs.

use std::convert::Infallible;

use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

/// The gRPC services of a process, with what reflection tells about them.
#[derive(Debug, Clone)]
pub struct GrpcServices {
    pub(crate) file_descriptor_set: &'static [u8],
    pub(crate) names: Vec<&'static str>,
    pub(crate) routes: Routes,
}

impl GrpcServices {
    /// No services yet. The encoded `google.protobuf.FileDescriptorSet` is what reflection answers from; of it, only the
    /// services that are added here are listed.
    #[must_use]
    pub fn new(file_descriptor_set: &'static [u8]) -> Self {
        Self {
            file_descriptor_set,
            names: Vec::new(),
            routes: Routes::default(),
        }
    }

    /// Adds a generated server. Its name gets a health status of its own.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "it adds a service; nobody would write it with a plus"
    )]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Full names of the services, for instance `quell.work.v1.SnowballService`.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }
}
