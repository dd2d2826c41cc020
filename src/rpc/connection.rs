//! Connections as they come in: counted, over TLS where that is wanted, and given up on where the client stays silent.
//!
//! hyper waits for a client's greeting for ever, during a graceful shutdown too, so one silent connection
//! (a port scan, a TCP health probe, a client that hangs) would hold up every shutdown, and any
//! number of them would hold sockets. The TLS handshake and the greeting have one time limit together, and end
//! when shutdown begins; after them, keepalive and the graceful shutdown of HTTP/2 do their work and nothing is
//! added. Depends on the server's configuration and on `rpc::tls`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt as _, Stream, StreamExt as _};
use metrics::{counter, gauge};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpIncoming};

use crate::rpc::tls::Tls;

/// Bytes of the client's connection preface (RFC 9113, section 3.4).
const GREETING_BYTES: usize = 24;

/// Between a connection that could not be accepted and the next.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What a connection is made of.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Ends the wait for a client to begin.
type GiveUp = Shared<BoxFuture<'static, ()>>;

/// A connection that does not wait for ever for its client to begin.
pub(super) struct Connection {
    stream: Box<dyn Transport>,
    /// What is missing of the greeting, and what ends the wait for it.
    greeting: Option<(usize, GiveUp)>,
    /// What ends it in any case.
    end: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

/// A connection's place among the open ones.
struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Place {
    fn of(places: &Arc<Semaphore>) -> Option<Self> {
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        gauge!("klankbord_connections_open").increment(1.0);
        Some(Place(permit))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        gauge!("klankbord_connections_open").decrement(1.0);
    }
}

/// How connections are treated.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Most at once.
    pub most: usize,
    /// Longest time to shake hands and to greet.
    pub patience: Duration,
    /// When a connection is ended, whatever goes on; never where `None`.
    pub age: Option<Duration>,
}

/// The connections that come in, so many at once at most; `stopping` becomes true when shutdown begins.
pub(super) fn incoming(
    accepted: TcpIncoming,
    tls: Option<Tls>,
    Limits { most, patience, age }: Limits,
    stopping: watch::Receiver<bool>,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(most));
    let placed = accepted.filter_map(move |stream| {
        let place = stream.as_ref().ok().map(|_| Place::of(&places));
        async move {
            match (stream, place) {
                (Ok(stream), Some(Some(place))) => Some((stream, place)),
                (Ok(_), _) => {
                    let reason = "too_many_connections";
                    counter!("klankbord_rejected_total", "reason" => reason).increment(1);
                    None
                }
                (Err(error), _) => {
                    // Out of files, most likely: trying again at once would only keep a core busy.
                    tracing::warn!(kind = ?error.kind(), "a connection cannot be accepted");
                    tokio::time::sleep(AFTER_FAILURE).await;
                    None
                }
            }
        }
    });
    let opened = placed.map(move |(stream, place)| {
        let (mut stopping, tls) = (stopping.clone(), tls.clone());
        let end = age.map(|age| Box::pin(tokio::time::sleep(age)));
        async move {
            let give_up = async move {
                tokio::select! {
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                    () = tokio::time::sleep(patience) => {}
                }
            };
            let give_up = give_up.boxed().shared();
            let stream = secured(stream, tls, give_up.clone()).await?;
            Some(Ok(Connection {
                stream,
                greeting: Some((GREETING_BYTES, give_up)),
                end,
                _place: place,
            }))
        }
    });
    // As many as there are places may shake hands at once.
    opened.buffer_unordered(most).filter_map(std::future::ready)
}

/// The stream, over TLS where that is wanted; nothing where the client does not get that far.
async fn secured(
    stream: TcpStream,
    tls: Option<Tls>,
    give_up: GiveUp,
) -> Option<Box<dyn Transport>> {
    let Some(tls) = tls else { return Some(Box::new(stream)) };
    tokio::select! {
        shaken = tls.accept(stream) => Some(Box::new(shaken.ok()?)),
        () = give_up => None,
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some((missing, give_up)) = &mut self.greeting {
            match read {
                Poll::Ready(_) => {
                    *missing = missing.saturating_sub(buf.filled().len() - before);
                    if *missing == 0 {
                        self.greeting = None;
                    }
                }
                // Nothing read and no error: to the reader, the client has closed.
                Poll::Pending => return give_up.poll_unpin(cx).map(Ok),
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
