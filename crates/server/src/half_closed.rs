//! Clients that close their half of a connection and wait for the answer, told apart from those that left.
//!
//! Both look the same: there is nothing more to be read. But who has left answers whatever is sent with a reset. So
//! where a client has closed its half before its answer has begun, it is sent an interim response (`102 Processing`,
//! RFC 2518), which clients of HTTP/1.1 skip; the connection ends for the server with the reset.

use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

const INTERIM: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";

/// How often is looked whether a reset has come.
const INTERVAL: Duration = Duration::from_millis(50);

/// Bytes of a request's first line, with its version at the end, that are remembered.
const LONGEST_LINE: usize = 8 << 10;

/// Accepts connections whose clients may close their half.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HalfClosed;

impl<S> Accept<TcpStream, S> for HalfClosed {
    type Stream = Connection;
    type Service = S;
    type Future = Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // Pieces of an answer are sent as they are made.
        let result = stream.set_nodelay(true).map(|()| (Connection::new(stream), service));
        ready(result)
    }
}

/// A connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// The first line of the request that is being read or answered.
    line: Vec<u8>,
    /// Whether more of a request has come than of its answer has been sent.
    unanswered: bool,
    closed: Option<Closed>,
}

/// The client has closed its half.
struct Closed {
    /// Bytes of the interim response that have been sent.
    sent: usize,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, line: Vec::new(), unanswered: false, closed: None }
    }

    fn has_come(&mut self, bytes: &[u8]) {
        if !self.unanswered {
            self.line.clear();
            self.unanswered = true;
        }
        if !self.line.contains(&b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend(bytes.iter().take(room));
        }
    }

    /// Whether the client knows interim responses.
    fn is_recent(&self) -> bool {
        let line = self.line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        line.trim_ascii_end().ends_with(b"HTTP/1.1")
    }

    /// Nothing more comes: waits for the answer to be sent, or for the client to be found gone.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.unanswered {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = self.stream.take_error()? {
                return Poll::Ready(Err(error));
            }
            let recent = self.is_recent();
            let begun = || Closed { sent: 0, timer: Box::pin(sleep(INTERVAL)) };
            let closed = self.closed.get_or_insert_with(begun);
            if recent && closed.sent < INTERIM.len() {
                let rest = INTERIM.get(closed.sent..).unwrap_or_default();
                match self.stream.try_write(rest) {
                    Ok(sent) => closed.sent = closed.sent.saturating_add(sent),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if closed.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            closed.timer = Box::pin(sleep(INTERVAL));
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closed.is_some() {
            return self.wait(context);
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if !matches!(polled, Poll::Ready(Ok(()))) {
            return polled;
        }
        let came = buffer.filled().get(before..).unwrap_or_default();
        if came.is_empty() && buffer.remaining() > 0 {
            return self.wait(context);
        }
        self.has_come(came);
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unanswered = false;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unanswered = false;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
