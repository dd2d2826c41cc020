//! Connections whose client has yet to say that it speaks HTTP/2.
//!
//! hyper waits for that greeting for ever, during a graceful shutdown too, so one silent connection
//! (a port scan, a TCP health probe, a client that hangs) would hold up every shutdown, and any
//! number of them would hold sockets. Until the greeting is in, reads here end when shutdown begins
//! or when the client has had its time; after it, keepalive and the graceful shutdown of HTTP/2 do
//! their work and nothing is added. Depends on the server's configuration only.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::transport::server::{Connected, TcpIncoming};

use crate::config::ServerConfig;

/// Bytes of the client's connection preface (RFC 9113, section 3.4).
const GREETING_BYTES: usize = 24;

/// A connection that does not wait for ever for its client to begin.
pub(super) struct Connection {
    stream: TcpStream,
    /// What is missing of the greeting, and what ends the wait for it.
    greeting: Option<(usize, BoxFuture<'static, ()>)>,
}

/// The connections that come in; `stopping` becomes true when shutdown begins.
pub(super) fn incoming(
    accepted: TcpIncoming,
    stopping: watch::Receiver<bool>,
) -> impl Stream<Item = io::Result<Connection>> {
    accepted.map(move |stream| {
        let mut stopping = stopping.clone();
        let give_up = async move {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = tokio::time::sleep(ServerConfig::GREETING_TIMEOUT) => {}
            }
        };
        Ok(Connection { stream: stream?, greeting: Some((GREETING_BYTES, give_up.boxed())) })
    })
}

impl Connected for Connection {
    type ConnectInfo = <TcpStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
                Poll::Pending => return give_up.as_mut().poll(cx).map(Ok),
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
