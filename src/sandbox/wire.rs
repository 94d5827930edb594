//! TCP connections that can be cut after so many bytes.
//!
//! Each accepted connection carries a [`Cut`]. A request that is to lose its reply lowers the number of
//! bytes that may still be written; beyond it, writing fails and the server closes the connection. So
//! whatever speaks to a practice system sees on its socket what it would see from a dying server: half a
//! reply and a reset, or no reply at all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::clock::Clock;

/// How many bytes a connection may still write.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    left: Arc<AtomicUsize>,
    reset: Arc<AtomicBool>,
}

impl Cut {
    const UNLIMITED: usize = usize::MAX;

    fn new() -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(Self::UNLIMITED)),
            reset: Arc::new(AtomicBool::new(false)),
        }
    }

    /// After `bytes` more bytes the peer sees a reset.
    pub(super) fn reset_after(&self, bytes: usize) {
        self.reset.store(true, Ordering::Release);
        self.left.store(bytes, Ordering::Release);
    }

    /// Nothing more is written; the peer sees an orderly end.
    pub(super) fn close(&self) {
        self.left.store(0, Ordering::Release);
    }
}

/// The connection of one [`Cut`].
#[derive(Debug)]
pub(super) struct CutStream {
    stream: TcpStream,
    cut: Cut,
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let left = self.cut.left.load(Ordering::Acquire);
        if left == Cut::UNLIMITED {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let allowed = bytes.get(..left.min(bytes.len())).unwrap_or(bytes);
        if allowed.is_empty() && !bytes.is_empty() {
            if self.cut.reset.load(Ordering::Acquire) {
                self.stream.set_zero_linger()?;
            }
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, allowed))?;
        self.cut.left.store(left - written, Ordering::Release);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Accepts connections that can be cut.
#[derive(Debug)]
pub(super) struct Wire {
    listener: TcpListener,
    clock: Arc<dyn Clock>,
}

impl Wire {
    /// Listens on a free port of the loopback interface.
    pub(super) async fn bind(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Self { listener, clock })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub(super) fn url(&self) -> io::Result<String> {
        Ok(format!("http://{}", self.listener.local_addr()?))
    }
}

impl Listener for Wire {
    type Io = CutStream;
    type Addr = Cut;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Without this a reply of two writes waits for the peer's delayed ACK.
                    let _ = stream.set_nodelay(true);
                    let cut = Cut::new();
                    let io = CutStream {
                        stream,
                        cut: cut.clone(),
                    };
                    return (io, cut);
                }
                // Out of file descriptors or the peer is gone already: wait, do not spin.
                Err(_) => self.clock.sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Cut::new())
    }
}

impl Connected<IncomingStream<'_, Wire>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Wire>) -> Self {
        stream.remote_addr().clone()
    }
}
