//! One connection: what its calls know of it, and when it is closed from our side.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::Fuse;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::doors::Place;
use crate::auth::{Account, Principal, Proof, Role};
use crate::metrics::CONNECTIONS_CLOSED;

/// What is known of a connection by all its calls. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionInfo {
    pub(super) names: Arc<[String]>,
    /// Whether a certificate is demanded, and none was shown.
    pub(super) uncertified: bool,
    pub(super) state: Arc<State>,
}

impl ConnectionInfo {
    /// Where it comes from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// That of its address.
    pub(crate) fn account(&self) -> Account {
        Account::of_address(self.state.address.ip())
    }

    /// Names in the client's certificate.
    pub(crate) fn names(&self) -> Arc<[String]> {
        self.names.clone()
    }

    /// Whether it lacks the certificate that is demanded.
    pub(crate) const fn lacks_certificate(&self) -> bool {
        self.uncertified
    }

    /// Somebody asks for health, which is for everybody.
    pub(crate) fn asked(&self) {
        self.state.asked.store(true, Ordering::Release);
    }

    /// Begins a call of somebody who was let in; it ends when what it gives is dropped.
    pub(crate) fn enter(&self, principal: &Principal) -> Entered {
        self.state.calls.fetch_add(1, Ordering::AcqRel);
        let mut guest = self.state.guest();
        if guest.as_ref().is_none_or(|known| known.role < principal.role) {
            *guest = Some(principal.clone());
        }
        drop(guest);
        Entered(self.state.clone())
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

/// How little a connection would be missed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Worth {
    /// Nobody was let in on it.
    Stranger,
    /// Nothing is being done on it.
    Idle,
    /// A viewer looks at something.
    Looking,
    /// An operator is at work: it never goes for another one.
    Operating,
}

/// What becomes of a connection.
#[derive(Debug)]
pub(super) struct State {
    pub(super) address: SocketAddr,
    /// Calls of those who were let in.
    calls: AtomicUsize,
    asked: AtomicBool,
    /// Who was let in; of several the one who may do most.
    guest: Mutex<Option<Principal>>,
    /// When the connection began, or the last call of somebody who was let in ended.
    last: Mutex<Instant>,
    close: CancellationToken,
    first_call: Duration,
    idle: Duration,
}

impl State {
    pub(super) fn new(address: SocketAddr, first_call: Duration, idle: Duration) -> Self {
        Self {
            address,
            calls: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            guest: Mutex::new(None),
            last: Mutex::new(Instant::now()),
            close: CancellationToken::new(),
            first_call,
            idle,
        }
    }

    fn guest(&self) -> MutexGuard<'_, Option<Principal>> {
        self.guest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is worth, and on whose account it goes.
    pub(super) fn worth(&self) -> (Worth, Account) {
        let by_address = Account::of_address(self.address.ip());
        let Some(guest) = &*self.guest() else {
            return (Worth::Stranger, by_address);
        };
        let worth = match guest.role {
            _ if self.calls.load(Ordering::Acquire) == 0 => Worth::Idle,
            // Where nobody has to say who he is, nobody is to be preferred.
            _ if guest.proof == Proof::None => Worth::Looking,
            Role::Viewer => Worth::Looking,
            Role::Operator => Worth::Operating,
        };
        // Where nobody has to say who he is, everybody has the same name.
        let account = match guest.proof {
            Proof::None => by_address,
            _ => Account::Principal(guest.name.clone()),
        };
        (worth, account)
    }

    /// Closes it.
    pub(super) fn close(&self, reason: &str) {
        if !self.is_closed() {
            CONNECTIONS_CLOSED.with([reason]).inc();
            self.close.cancel();
        }
    }

    /// Whether it is closed, or about to be.
    pub(super) fn is_closed(&self) -> bool {
        self.close.is_cancelled()
    }

    /// Comes when it is closed, from whichever side.
    pub(super) fn closed(&self) -> WaitForCancellationFutureOwned {
        self.close.clone().cancelled_owned()
    }

    /// When to look again, or None when it is time to close.
    fn next_look(&self) -> Option<Instant> {
        let now = Instant::now();
        if self.calls.load(Ordering::Acquire) > 0 {
            return Some(now + self.idle);
        }
        let allowed = if self.asked.load(Ordering::Acquire) || self.guest().is_some() {
            self.idle
        } else {
            self.first_call
        };
        let end = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + allowed;
        (end > now).then_some(end)
    }
}

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection.
pub(super) struct Connection {
    stream: Stream,
    timer: Pin<Box<Sleep>>,
    closed: Pin<Box<Fuse<WaitForCancellationFutureOwned>>>,
    info: ConnectionInfo,
    /// Whoever watches it learns that it is gone.
    _gone: DropGuard,
    _place: Place,
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl Connection {
    pub(super) fn new(stream: Stream, info: ConnectionInfo, place: Place) -> Self {
        let state = &info.state;
        Self {
            stream,
            timer: Box::pin(tokio::time::sleep(state.first_call)),
            closed: Box::pin(state.closed().fuse()),
            _gone: state.close.clone().drop_guard(),
            _place: place,
            info,
        }
    }

    /// Whether it is to be closed from our side.
    fn over(&mut self, cx: &mut Context<'_>) -> bool {
        let state = &self.info.state;
        if state.is_closed() || self.closed.as_mut().poll(cx).is_ready() {
            return true;
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let Some(next) = state.next_look() else {
                state.close("idle");
                return true;
            };
            self.timer.as_mut().reset(next);
        }
        false
    }

    /// What a write came to. One that waits for a peer who does not read ends with the connection.
    fn unless_over<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_pending() && self.over(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        polled
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
        let polled = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        };
        self.unless_over(polled, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        self.unless_over(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        };
        self.unless_over(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        };
        self.unless_over(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }
}
