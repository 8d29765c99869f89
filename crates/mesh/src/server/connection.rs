//! Connections: TLS, and how many there may be, and for how long without a call.
//!
//! tonic's own server takes certificates once and connections without end. Here each new connection gets the certificates of
//! the moment, must come to its first call in time, and is closed when it has had none for long. When all places are taken,
//! the oldest connection that never made a call goes for the new one, so that ten thousand idle connections do not keep out
//! the one that is needed.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::Fuse;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::auth::{ServerTls, names_of};
use crate::config::GuardSettings;

/// How long a new connection waits for the place of an older one.
const PLACE_WAIT: Duration = Duration::from_secs(1);
/// After an accept that failed for want of something, so that it is not tried a million times a second.
const BREATH: Duration = Duration::from_millis(100);
/// Files that a process needs besides connections.
const OTHER_FILES: u64 = 256;

/// What is known of a connection by all its calls. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionInfo {
    address: SocketAddr,
    names: Arc<[String]>,
    state: Arc<State>,
}

impl ConnectionInfo {
    /// Where it comes from.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names in the client's certificate.
    pub(crate) fn names(&self) -> Arc<[String]> {
        self.names.clone()
    }

    /// Begins a call; it ends when what it gives is dropped.
    pub(crate) fn enter(&self) -> Entered {
        self.state.calls.fetch_add(1, Ordering::AcqRel);
        self.state.called.store(true, Ordering::Release);
        Entered(self.state.clone())
    }

    /// Whoever is on it was let in: it is not closed for another one.
    pub(crate) fn proven(&self) {
        self.state.proven.store(true, Ordering::Release);
    }
}

/// A call on a connection.
#[derive(Debug)]
pub(crate) struct Entered(Arc<State>);

impl Drop for Entered {
    fn drop(&mut self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct State {
    calls: AtomicUsize,
    called: AtomicBool,
    proven: AtomicBool,
    /// When the connection began, or its last call ended.
    last: Mutex<Instant>,
    close: CancellationToken,
    first_call: Duration,
    idle: Duration,
}

impl State {
    /// When to look again, or None when it is time to close.
    fn next_look(&self) -> Option<Instant> {
        let now = Instant::now();
        if self.calls.load(Ordering::Acquire) > 0 {
            return Some(now + self.idle);
        }
        let allowed = if self.called.load(Ordering::Acquire) {
            self.idle
        } else {
            self.first_call
        };
        let end = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + allowed;
        (end > now).then_some(end)
    }
}

/// The connections as a stream, for tonic. They stop coming, and the port is given up, when the stream is dropped.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<ServerTls>,
    settings: &GuardSettings,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(64);
    let doors = Arc::new(Doors {
        places: Arc::new(Semaphore::new(places(settings.max_connections))),
        strangers: Mutex::new(VecDeque::with_capacity(64)),
        tls,
        first_call: settings.first_call_timeout,
        idle: settings.idle_timeout,
    });
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = sender.closed() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, address)) => {
                    let (doors, sender) = (doors.clone(), sender.clone());
                    tokio::spawn(async move {
                        match doors.open(tcp, address).await {
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
    /// Connections on which nobody was let in yet, oldest first.
    strangers: Mutex<VecDeque<Weak<State>>>,
    tls: Option<ServerTls>,
    first_call: Duration,
    idle: Duration,
}

impl Doors {
    async fn open(&self, tcp: TcpStream, address: SocketAddr) -> io::Result<Connection> {
        let state = Arc::new(State {
            calls: AtomicUsize::new(0),
            called: AtomicBool::new(false),
            proven: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
            close: CancellationToken::new(),
            first_call: self.first_call,
            idle: self.idle,
        });
        let place = self.place().await?;
        self.remember(&state);
        tcp.set_nodelay(true)?;
        let (stream, names) = match &self.tls {
            None => (Stream::Plain(tcp), Vec::new()),
            Some(tls) => {
                let config = tls.borrow().clone();
                let shaken = TlsAcceptor::from(config).accept(tcp);
                let shaken = tokio::select! {
                    shaken = tokio::time::timeout(self.first_call, shaken) => shaken,
                    () = state.close.cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
                };
                let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                let certificates = stream.get_ref().1.peer_certificates();
                let names = certificates.and_then(|chain| chain.first()).map(names_of);
                (Stream::Tls(Box::new(stream)), names.unwrap_or_default())
            }
        };
        let closed = Box::pin(state.close.clone().cancelled_owned().fuse());
        Ok(Connection {
            stream,
            timer: Box::pin(tokio::time::sleep(self.first_call)),
            closed,
            info: ConnectionInfo {
                address,
                names: names.into(),
                state,
            },
            _place: place,
        })
    }

    async fn place(&self) -> io::Result<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        self.send_one_away();
        match tokio::time::timeout(PLACE_WAIT, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(io::Error::other("all connections are taken")),
        }
    }

    fn send_one_away(&self) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(oldest) = strangers.pop_front() {
            if let Some(state) = oldest.upgrade()
                && !state.proven.load(Ordering::Acquire)
                && state.calls.load(Ordering::Acquire) == 0
            {
                state.close.cancel();
                return;
            }
        }
    }

    fn remember(&self, state: &Arc<State>) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have gone, or been let in, are swept out now and then.
        if strangers.len() == strangers.capacity() {
            strangers.retain(|state| {
                state
                    .upgrade()
                    .is_some_and(|state| !state.proven.load(Ordering::Acquire))
            });
        }
        strangers.push_back(Arc::downgrade(state));
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection.
pub(super) struct Connection {
    stream: Stream,
    timer: Pin<Box<Sleep>>,
    closed: Pin<Box<Fuse<tokio_util::sync::WaitForCancellationFutureOwned>>>,
    info: ConnectionInfo,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl Connection {
    /// Whether it is to be closed from our side.
    fn over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.info.state.close.is_cancelled() || self.closed.as_mut().poll(cx).is_ready() {
            return true;
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            match self.info.state.next_look() {
                Some(next) => self.timer.as_mut().reset(next),
                None => return true,
            }
        }
        false
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        // The end of what the peer sends, as far as the server is concerned.
        if polled.is_pending() && self.over(cx) {
            return Poll::Ready(Ok(()));
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }
}
