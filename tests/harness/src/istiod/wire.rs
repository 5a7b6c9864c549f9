//! What a connection writes, followed frame by frame: hyper does not tell what has left, and its
//! GOAWAY has no words in it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Length, type, flags and stream of a frame.
const HEAD: usize = 9;
const DATA: u8 = 0;

/// A GOAWAY without a reason: 8 bytes, which are the last stream and the code.
const GOAWAY: [u8; 4] = [0, 0, 8, 7];
const GOAWAY_LENGTH: usize = HEAD + 8;

/// What a real istiod says when a connection is old.
const REASON: &[u8] = b"max_age";

/// How much of its answers a connection has on the wire.
#[derive(Debug, Default)]
pub(super) struct Wire {
    handed: AtomicU64,
    written: AtomicU64,
    flushed: watch::Sender<u64>,
}

impl Wire {
    /// So much was given to HTTP.
    pub(super) fn hand(&self, bytes: usize) {
        self.handed.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until all that was given so far is with the kernel.
    pub(super) async fn all_out(&self) {
        let handed = self.handed.load(Ordering::Relaxed);
        // It fails only with the connection, and then there is nothing to wait for.
        let mut flushed = self.flushed.subscribe();
        let _over = flushed.wait_for(|flushed| *flushed >= handed).await;
    }
}

/// A stream that follows what is written to it.
#[derive(Debug)]
pub(super) struct Tap<S> {
    inner: S,
    wire: Arc<Wire>,
    at: At,
    pending: Bytes,
}

/// Where in a frame the writer is.
#[derive(Debug, Clone, Copy, Default)]
struct At {
    head: [u8; HEAD],
    /// How much of the head has passed.
    known: usize,
    /// How much of the payload has not.
    left: usize,
}

impl At {
    fn border(self) -> bool {
        self.known == 0
    }

    /// Goes on by some bytes, to the end of the frame at most; tells how many, and how many of
    /// them are data.
    fn step(&mut self, bytes: &[u8]) -> (usize, usize) {
        if self.known < HEAD {
            let room = self.head.get_mut(self.known..).unwrap_or_default();
            let taken = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.known += taken;
            if self.known == HEAD {
                let [a, b, c, ..] = self.head;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.settle();
            }
            return (taken, 0);
        }
        let taken = self.left.min(bytes.len());
        self.left -= taken;
        let data = if self.head.get(3) == Some(&DATA) { taken } else { 0 };
        self.settle();
        (taken, data)
    }

    fn settle(&mut self) {
        if self.left == 0 {
            self.known = 0;
        }
    }

    /// Goes on by all bytes; tells how many of them are data.
    fn pass(&mut self, mut bytes: &[u8]) -> usize {
        let mut data = 0;
        while !bytes.is_empty() {
            let (taken, more) = self.step(bytes);
            data += more;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        data
    }

    /// How many bytes there are before a GOAWAY without a reason, or in all.
    fn before_goaway(mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.border() && wordless(rest) {
                break;
            }
            let (taken, _) = self.step(rest);
            rest = rest.get(taken..).unwrap_or_default();
        }
        bytes.len() - rest.len()
    }
}

fn wordless(frame: &[u8]) -> bool {
    frame.starts_with(&GOAWAY) && frame.get(13..GOAWAY_LENGTH) == Some(&[0; 4])
}

impl<S: AsyncWrite + Unpin> Tap<S> {
    pub(super) fn new(inner: S, wire: Arc<Wire>) -> Self {
        Self { inner, wire, at: At::default(), pending: Bytes::new() }
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let taken = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.pending))?;
            self.pending.advance(taken);
        }
        Poll::Ready(Ok(()))
    }

    fn passed(&mut self, bytes: &[u8]) {
        let data = self.at.pass(bytes);
        self.wire.written.fetch_add(data as u64, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        let plain = self.at.before_goaway(bytes);
        if plain == 0 && !bytes.is_empty() {
            let frame = bytes.get(..GOAWAY_LENGTH).unwrap_or(bytes);
            let mut worded = BytesMut::from(frame);
            if let Some(length) = worded.get_mut(2) {
                *length += 7;
            }
            worded.extend_from_slice(REASON);
            self.pending = worded.freeze();
            return Poll::Ready(Ok(frame.len()));
        }
        let plain = bytes.get(..plain).unwrap_or(bytes);
        let taken = ready!(Pin::new(&mut self.inner).poll_write(cx, plain))?;
        self.passed(plain.get(..taken).unwrap_or_default());
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        let mut at = self.at;
        for part in parts {
            if at.before_goaway(part) < part.len() {
                let first = parts.iter().find(|part| !part.is_empty());
                return self.poll_write(cx, first.map_or(&[], |part| &**part));
            }
            at.pass(part);
        }
        let taken = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, parts))?;
        let mut rest = taken;
        for part in parts {
            let of_it = part.len().min(rest);
            self.passed(part.get(..of_it).unwrap_or_default());
            rest -= of_it;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        let written = self.wire.written.load(Ordering::Relaxed);
        self.wire.flushed.send_if_modified(|flushed| {
            let more = *flushed != written;
            *flushed = written;
            more
        });
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[tokio::test]
    async fn data_is_counted_and_a_goaway_is_given_words_however_it_is_written() {
        let last = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        let all =
            [frame(4, &[]), frame(0, &[7; 300]), frame(7, &last), frame(0, &[]), frame(0, b"x")]
                .concat();
        for size in [17, 50, 10_000] {
            let wire = Arc::new(Wire::default());
            let (near, mut far) = tokio::io::duplex(1 << 20);
            let mut tap = Tap::new(near, Arc::clone(&wire));
            // A GOAWAY comes in one piece, as h2 writes it.
            let (before, after) = all.split_at(318);
            for piece in before.chunks(size).chain([after]) {
                tap.write_all(piece).await.unwrap();
            }
            wire.hand(301);
            tap.flush().await.unwrap();
            wire.all_out().await;
            drop(tap);
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            let worded = [&last[..], b"max_age"].concat();
            let expected = [
                frame(4, &[]),
                frame(0, &[7; 300]),
                frame(7, &worded),
                frame(0, &[]),
                frame(0, b"x"),
            ];
            assert_eq!(got, expected.concat(), "{size}");
        }
    }
}
