//! The layer around all services: nobody gets in where he does not belong, and nobody takes the place of all others.
//!
//! In this order: health is for everybody, within each address's share. Then the caller must be known; may not call more than he may;
//! his role and his namespaces must allow the call; his message must arrive, whole and within limits, and be one. Everything that an
//! operator may do, and every refusal, goes to the audit. What is refused before the caller is known is not read at all; what
//! is refused him then, little and for the audit only.

use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::access::{Access, Credentials, Grant, credentials_of};
use super::account::Account;
use super::lease::{Ending, Leased};
use super::methods::{Method, Methods};
use super::usage::{Allowance, Usage};
use super::{Caller, Principal, Role, Scope, message};
use crate::audit::{AuditLog, Event};
use crate::config::GuardSettings;
use crate::error::{Error, Reason};
use crate::server::ConnectionInfo;
use crate::telemetry::trace_id;

/// Prefix of the paths of health.
const HEALTH: &str = "/grpc.health.";
/// Most bytes of a question for health, or of a message that is refused anyway, and how long it may take to arrive.
const LITTLE: usize = 4_096;
const SHORTLY: Duration = Duration::from_secs(5);

type Reply = http::Response<Body>;

/// What decides.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) settings: GuardSettings,
    /// Longest time in which a message must have arrived.
    pub(crate) request_timeout: Duration,
    /// Main namespace of this service.
    pub(crate) namespace: String,
    /// None where nobody has to say who he is.
    pub(crate) access: Option<watch::Receiver<Arc<Access>>>,
    pub(crate) methods: Methods,
    pub(crate) audit: AuditLog,
    pub(crate) usage: Usage,
}

/// A call on its way in.
struct Attempt {
    event: Event,
    /// On whose account it goes if it is refused.
    account: Option<Account>,
    method: Option<Arc<Method>>,
}

impl Attempt {
    /// Whether it is one that only an operator may make.
    fn changes(&self) -> bool {
        self.method
            .as_ref()
            .is_some_and(|method| method.needs == Role::Operator)
    }

    /// Takes from the message what the audit wants to know.
    fn hear(&mut self, read: &Bytes, method: &Method) -> Result<(), Error> {
        if let Some(understood) = message::understand(read, &method.input)? {
            self.event.about(message::facts(&understood));
        }
        Ok(())
    }
}

impl Guard {
    /// Who calls. None where nobody has to say.
    fn identify(&self, headers: &HeaderMap, connection: Option<&ConnectionInfo>) -> Result<Option<Arc<Grant>>, Error> {
        let Some(access) = &self.access else { return Ok(None) };
        if connection.is_some_and(ConnectionInfo::lacks_certificate) {
            return Err(Error::Unauthenticated {
                reason: Reason::CredentialsMissing,
                message: "a client certificate is demanded".to_owned(),
            });
        }
        let credentials = credentials_of(headers, connection)?;
        let access = access.borrow().clone();
        access.identify(&credentials, Timestamp::now()).map(Some)
    }

    /// Lets a call through, or says why not. What becomes known of it on the way goes into the attempt.
    async fn admit<S>(&self, mut inner: S, request: http::Request<Body>, attempt: &mut Attempt) -> Result<Reply, Error>
    where
        S: Service<http::Request<Body>, Response = Reply, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        let (mut parts, body) = request.into_parts();
        let connection = parts.extensions.get::<ConnectionInfo>().cloned();
        let grant = self.identify(&parts.headers, connection.as_ref())?;
        let principal = grant
            .as_ref()
            .map_or_else(Principal::anonymous, |grant| grant.principal.clone());
        attempt.event.principal = principal.name.to_string();
        attempt.event.role = principal.role.to_string();
        attempt.event.proof = principal.proof.to_string();
        let entered = connection.as_ref().map(|connection| connection.enter(&principal));
        let mut place = None;
        let mut allowed = Ok(());
        if let Some(grant) = &grant {
            let account = Account::Principal(principal.name.clone());
            attempt.account = Some(account.clone());
            place = Some(self.usage.enter(account, self.allowance(grant.calls_per_second))?);
            allowed = self.authorise(grant, attempt.method.as_deref());
        }
        let body = match (allowed, attempt.method.clone()) {
            (Ok(()), None) => body,
            (Ok(()), Some(method)) => {
                let read = message::read(body, self.settings.max_message_bytes, self.request_timeout).await?;
                attempt.hear(&read, &method)?;
                Body::new(Full::new(read))
            }
            (Err(refusal), method) => {
                // The audit should say what was wanted; what cannot be read says nothing.
                if let Some(method) = method
                    && let Ok(read) = message::read(body, LITTLE, SHORTLY).await
                {
                    let _ = attempt.hear(&read, &method);
                }
                return Err(refusal);
            }
        };
        parts.extensions.insert(Caller {
            address: connection.as_ref().map(ConnectionInfo::address),
            principal,
            scope: grant
                .as_ref()
                .map_or_else(Scope::everything, |grant| grant.scope.clone()),
        });
        let ending = match (&grant, &attempt.method) {
            // A unary call ends by its deadline.
            (Some(_), Some(method)) if method.streams => {
                self.ending(credentials_of(&parts.headers, connection.as_ref())?)
            }
            // Reflection.
            (Some(_), None) => self.ending(credentials_of(&parts.headers, connection.as_ref())?),
            _ => None,
        };
        match inner.call(http::Request::from_parts(parts, body)).await {
            Ok(reply) => Ok(reply.map(|body| Body::new(Leased::new(body, ending, (entered, place))))),
            Err(never) => match never {},
        }
    }

    /// What one may use, or a principal whose entry names a number of its own.
    fn allowance(&self, calls_per_second: Option<u32>) -> Allowance {
        Allowance {
            calls_per_second: calls_per_second.unwrap_or(self.settings.calls_per_second),
            calls_at_once: self.settings.calls_per_principal,
        }
    }

    fn authorise(&self, grant: &Grant, method: Option<&Method>) -> Result<(), Error> {
        let needs = method.map_or(Role::Viewer, |method| method.needs);
        if grant.principal.role < needs {
            return Err(Error::PermissionDenied {
                reason: Reason::RoleInsufficient,
                message: format!("the role is {}, and the call needs {needs}", grant.principal.role),
            });
        }
        grant.scope.check(&self.namespace)
    }

    /// Comes when these credentials are not good any more.
    fn ending(&self, credentials: Credentials) -> Option<Ending> {
        let mut access = self.access.clone()?;
        let namespace = self.namespace.clone();
        Some(Box::pin(async move {
            // What the call is about only the service knows: it ends with any namespace that is taken away.
            let mut began = None;
            loop {
                let now = access.borrow_and_update().clone();
                let expires = match now.identify(&credentials, Timestamp::now()) {
                    Ok(grant)
                        if grant.scope.covers(&namespace)
                            && grant.scope.holds(began.get_or_insert_with(|| grant.scope.clone())) =>
                    {
                        grant.expires
                    }
                    Ok(_) => {
                        return Error::PermissionDenied {
                            reason: Reason::NamespaceNotAllowed,
                            message: "the credentials are not good for this namespace any more".to_owned(),
                        };
                    }
                    Err(error) => return error,
                };
                let left = expires.map(|end| end.duration_since(Timestamp::now()));
                // A timer reaches some years, no more; then it is looked at again.
                let left = left.map(|left| Duration::try_from(left).unwrap_or(Duration::ZERO));
                let left = left.unwrap_or(Duration::MAX).min(Duration::from_secs(86_400));
                tokio::select! {
                    changed = access.changed() => if changed.is_err() {
                        std::future::pending::<()>().await;
                    },
                    () = tokio::time::sleep(left) => {}
                }
            }
        }))
    }

    /// Carries a call out. What may change something is carried to its end whatever becomes of the caller meanwhile; what only looks
    /// ends with him.
    async fn pass<S>(self: Arc<Self>, inner: S, request: http::Request<Body>) -> Reply
    where
        S: Service<http::Request<Body>, Response = Reply, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        let path = request.uri().path();
        if path.starts_with(HEALTH) {
            let answer = self.health(inner, request).await;
            return answer.unwrap_or_else(|error| Status::from(error).into_http());
        }
        let method = self.methods.get(path);
        let mut event = self.audit.event(
            // A path that is no rpc of ours is whatever somebody sent.
            method.as_ref().map_or_else(
                || path.chars().filter(char::is_ascii_graphic).take(100).collect(),
                |method| method.name.clone(),
            ),
        );
        let connection = request.extensions().get::<ConnectionInfo>();
        event.address = connection.map_or_else(String::new, |connection| connection.address().to_string());
        event.trace_id = trace_id();
        let attempt = Attempt {
            event,
            account: connection.map(ConnectionInfo::account),
            method,
        };
        if !attempt.changes() {
            return self.carry(inner, request, attempt).await;
        }
        // A task of its own: whoever goes away in the middle must not take with him what the audit has to say of his call.
        let carried = tokio::spawn(async move { self.carry(inner, request, attempt).await }.in_current_span());
        carried
            .await
            .unwrap_or_else(|_| Status::internal("the call was not carried out").into_http())
    }

    /// Lets a call through, or refuses it, and writes what the audit wants of it.
    async fn carry<S>(&self, inner: S, request: http::Request<Body>, mut attempt: Attempt) -> Reply
    where
        S: Service<http::Request<Body>, Response = Reply, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        match self.admit(inner, request, &mut attempt).await {
            Ok(reply) => match attempt.method {
                Some(method) if method.needs == Role::Operator => self.done(reply, attempt.event, &method).await,
                _ => reply,
            },
            Err(error) => {
                let status = Status::from(error);
                attempt.event.refused(&status);
                // Without a connection, as in tests, everybody is one.
                let account = attempt
                    .account
                    .unwrap_or_else(|| Account::of_address(Ipv4Addr::UNSPECIFIED.into()));
                self.audit.refused(account, attempt.event);
                status.into_http()
            }
        }
    }

    /// A question for health. Nobody is known here, so nobody may make us keep more, or longer, than such a question takes; and an
    /// address has the share of a principal.
    async fn health<S>(&self, mut inner: S, request: http::Request<Body>) -> Result<Reply, Error>
    where
        S: Service<http::Request<Body>, Response = Reply, Error = Infallible>,
    {
        let mut place = None;
        if let Some(connection) = request.extensions().get::<ConnectionInfo>() {
            connection.asked();
            place = Some(self.usage.enter(connection.account(), self.allowance(None))?);
        }
        let (parts, body) = request.into_parts();
        let read = message::read(body, LITTLE, SHORTLY).await?;
        match inner
            .call(http::Request::from_parts(parts, Body::new(Full::new(read))))
            .await
        {
            Ok(reply) => Ok(reply.map(|body| Body::new(Leased::new(body, None, place)))),
            Err(never) => match never {},
        }
    }

    /// Writes what became of a call that changes something. Its answer is waited for, since only it names what was started.
    async fn done(&self, reply: Reply, mut event: Event, method: &Method) -> Reply {
        if let Some(status) = Status::from_header_map(reply.headers()) {
            event.refused(&status);
            self.audit.record(event);
            return reply;
        }
        if method.streams {
            self.audit.record(event);
            return reply;
        }
        let (parts, body) = reply.into_parts();
        match body.collect().await {
            Ok(whole) => {
                if let Some(status) = whole.trailers().and_then(Status::from_header_map)
                    && status.code() != tonic::Code::Ok
                {
                    event.refused(&status);
                }
                let trailers = whole.trailers().cloned();
                let bytes = whole.to_bytes();
                if let Ok(Some(answer)) = message::understand(&bytes, &method.output) {
                    event.answered(message::facts(&answer));
                }
                self.audit.record(event);
                let body = Full::new(bytes).with_trailers(async move { trailers.map(Ok) });
                http::Response::from_parts(parts, Body::new(body))
            }
            Err(status) => {
                event.refused(&status);
                self.audit.record(event);
                status.into_http()
            }
        }
    }
}

/// Makes the layer.
#[derive(Debug, Clone)]
pub(crate) struct GateLayer(pub(crate) Arc<Guard>);

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;
    fn layer(&self, inner: S) -> Self::Service {
        Gate {
            inner,
            guard: self.0.clone(),
        }
    }
}

/// The services behind their guard.
#[derive(Debug, Clone)]
pub(crate) struct Gate<S> {
    inner: S,
    guard: Arc<Guard>,
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = Reply, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The clone was not polled ready; the instance that was must take the call.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let guard = self.guard.clone();
        Box::pin(async move { Ok(guard.pass(inner, request).await) })
    }
}

#[cfg(test)]
mod tests;
