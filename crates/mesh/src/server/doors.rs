//! The way in to the port: TLS, and how many connections there may be.
//!
//! tonic's own server takes certificates once and connections without end. Here each new connection gets the certificates of
//! the moment, must come to its first call in time, and is closed when nobody who was let in calls for long, or when its certificate
//! is not good any more. When all places are taken, others go for the new one ([`crowd`]), so that ten thousand connections of
//! somebody do not keep out the one that is needed.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use super::connection::{Connection, ConnectionInfo, State, Stream};
use super::crowd::Crowd;
use crate::audit::AuditLog;
use crate::auth::{Account, ServerTls, names_of};
use crate::config::GuardSettings;
use crate::error::Reason;
use crate::metrics::{CONNECTIONS, CONNECTIONS_CLOSED, Held};

/// How long a new connection waits for the place of an older one.
const PLACE_WAIT: Duration = Duration::from_secs(1);
/// Connections that may wait for a place; more are not accepted meanwhile, and wait in the system's queue.
const WAITING: usize = 64;
/// After an accept that failed for want of something, so that it is not tried a million times a second.
const BREATH: Duration = Duration::from_millis(100);
/// Files that a process needs besides connections.
const OTHER_FILES: u64 = 256;
/// Between two looks whether a client's certificate is still good: it may have ended. One costs about 0.1 ms.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);

/// A place among the connections.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Held,
}

/// The connections as a stream, for tonic. They stop coming, and the port is given up, when the stream is dropped.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<ServerTls>,
    settings: &GuardSettings,
    audit: AuditLog,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(64);
    let places = places(settings.max_connections);
    let doors = Arc::new(Doors {
        places: Arc::new(Semaphore::new(places)),
        waiting: Arc::new(Semaphore::new(WAITING)),
        crowd: Mutex::new(Crowd::new(places)),
        tls,
        audit,
        first_call: settings.first_call_timeout,
        idle: settings.idle_timeout,
    });
    tokio::spawn(async move {
        loop {
            // Never closed.
            let Ok(turn) = doors.waiting.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = sender.closed() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, address)) => {
                    let (doors, sender) = (doors.clone(), sender.clone());
                    tokio::spawn(async move {
                        match doors.open(tcp, address, turn).await {
                            // The server may be gone by now.
                            Ok(connection) => drop(sender.send(Ok(connection)).await),
                            Err(error) => tracing::debug!(%address, error = %error, "connection refused"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "cannot take a connection");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// No more connections than the process may open files.
fn places(wanted: usize) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let needed = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let allowed = if soft < needed && setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard).is_ok() {
        needed.min(hard)
    } else {
        soft
    };
    let room = usize::try_from(allowed.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    if room < wanted {
        tracing::warn!(
            wanted,
            room,
            "the limit of open files allows fewer connections than server.max_connections"
        );
    }
    wanted.min(room.max(16)).min(Semaphore::MAX_PERMITS)
}

#[derive(Debug)]
struct Doors {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    crowd: Mutex<Crowd>,
    tls: Option<ServerTls>,
    audit: AuditLog,
    first_call: Duration,
    idle: Duration,
}

impl Doors {
    async fn open(&self, tcp: TcpStream, address: SocketAddr, turn: OwnedSemaphorePermit) -> io::Result<Connection> {
        let place = self.place().await?;
        drop(turn);
        let state = Arc::new(State::new(address, self.first_call, self.idle));
        self.crowd().joined(&state);
        tcp.set_nodelay(true)?;
        let mut info = ConnectionInfo {
            names: Arc::new([]),
            uncertified: false,
            state: state.clone(),
        };
        let Some(tls) = &self.tls else {
            return Ok(Connection::new(Stream::Plain(tcp), info, place));
        };
        let side = tls.borrow().clone();
        let to = tcp.local_addr()?.ip();
        let shaken = TlsAcceptor::from(side.config_for(address.ip(), to)).accept(tcp);
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(self.first_call, shaken) => shaken,
            () = state.closed() => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        let stream = shaken
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .and_then(|shaken| shaken)
            .inspect_err(|error| {
                CONNECTIONS_CLOSED.with(["handshake"]).inc();
                self.refused(address, error);
            })?;
        let chain: Vec<_> = match stream.get_ref().1.peer_certificates() {
            Some(chain) => chain.iter().cloned().map(CertificateDer::into_owned).collect(),
            None => Vec::new(),
        };
        match chain.first() {
            Some(own) => {
                info.names = names_of(own).into();
                tokio::spawn(watch_certificate(tls.clone(), chain, Arc::downgrade(&state)));
            }
            None => info.uncertified = side.demands_certificates(),
        }
        Ok(Connection::new(Stream::Tls(Box::new(stream)), info, place))
    }

    fn crowd(&self) -> std::sync::MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn place(&self) -> io::Result<Place> {
        let taken = |permit| Place {
            _permit: permit,
            _counted: CONNECTIONS.hold(),
        };
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(taken(permit));
        }
        self.crowd().make_room();
        match tokio::time::timeout(PLACE_WAIT, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(taken(permit)),
            Ok(Err(_)) | Err(_) => {
                CONNECTIONS_CLOSED.with(["no_place"]).inc();
                Err(io::Error::other("all connections are taken"))
            }
        }
    }

    /// A certificate that is not taken is an attempt to get in. What else goes wrong in a handshake is not.
    fn refused(&self, address: SocketAddr, error: &io::Error) {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let reason = match inner {
            Some(rustls::Error::NoCertificatesPresented) => Reason::CredentialsMissing,
            Some(rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => Reason::CredentialsExpired,
            Some(rustls::Error::InvalidCertificate(_)) => Reason::CredentialsInvalid,
            _ => return,
        };
        let mut event = self.audit.event("TLS handshake".to_owned());
        event.address = address.to_string();
        event.outcome = format!("{:?}", tonic::Code::Unauthenticated);
        event.refusal = reason.as_str().to_owned();
        event.what.insert("certificate".to_owned(), error.to_string());
        self.audit.refused(Account::of_address(address.ip()), event);
    }
}

/// Closes a connection whose certificate is not good any more: it has ended, was revoked, or its authority was taken away.
async fn watch_certificate(mut tls: ServerTls, chain: Vec<CertificateDer<'static>>, state: Weak<State>) {
    let Some(closed) = state.upgrade().map(|state| state.closed()) else {
        return;
    };
    let look = async {
        loop {
            let good = tls.borrow_and_update().accepts(&chain, UnixTime::now());
            if let (Err(error), Some(state)) = (good, state.upgrade()) {
                tracing::info!(address = %state.address, %error, "a connection ends with its certificate");
                state.close("certificate");
                return;
            }
            tokio::select! {
                changed = tls.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(CERTIFICATE_LOOK) => {}
            }
        }
    };
    tokio::select! {
        () = closed => {}
        () = look => {}
    }
}
