//! A connection whose writes are gathered: HTTP/2 writes frame by frame, and each write wakes
//! whoever reads.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tonic::transport::server::{Connected, UdsConnectInfo};

/// Reads as it is; writes once nothing more comes, or a good deal is here.
#[derive(Debug)]
pub(crate) struct Gathered {
    stream: UnixStream,
    /// What was written and has not left.
    waiting: BytesMut,
    /// Something was written since the last flush.
    written: bool,
}

impl Gathered {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, waiting: BytesMut::new(), written: false }
    }

    /// Done when all of it has left.
    fn leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                left => self.waiting.advance(left),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Lets what waits leave, and what follows it without a copy, as far as there is room.
    fn leave_with(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut all = [IoSlice::new(&[]); SLICES];
            let waiting = std::iter::once(&*self.waiting);
            let parts = waiting.chain(slices.iter().map(|slice| &**slice));
            let parts = parts.filter(|part| !part.is_empty());
            let used = all.iter_mut().zip(parts).map(|(slot, part)| *slot = IoSlice::new(part));
            let used = used.count();
            let all = all.get(..used).unwrap_or_default();
            let left = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, all))?;
            let behind = left.checked_sub(self.waiting.len());
            self.waiting.advance(left.min(self.waiting.len()));
            match behind {
                Some(behind) if behind > 0 => return Poll::Ready(Ok(behind)),
                _ if left == 0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                _ => {}
            }
        }
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let given: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.waiting.len() + given >= MOST {
            return self.leave_with(cx, slices);
        }
        slices.iter().for_each(|slice| self.waiting.extend_from_slice(slice));
        self.written = true;
        Poll::Ready(Ok(given))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// HTTP/2 flushes behind every frame. What was just written waits until it asks once more,
    /// which it is woken for: then it has no other frame.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.written) {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        self.leave(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.leave(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Connected for Gathered {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

/// What leaves at one stroke; a frame more may wait.
const MOST: usize = 64 << 10;
/// Head and payload of a frame, behind what waits.
const SLICES: usize = 8;

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Written, and flushed as often.
    fn written(gathered: &mut Gathered, bytes: &[u8], flushed: usize) {
        let cx = &mut Context::from_waker(Waker::noop());
        let written = Pin::new(&mut *gathered).poll_write(cx, bytes);
        assert!(matches!(written, Poll::Ready(Ok(length)) if length == bytes.len()));
        for _ in 0..flushed {
            assert!(Pin::new(&mut *gathered).poll_flush(cx).is_ready());
        }
    }

    #[tokio::test]
    async fn what_is_written_leaves_in_one_piece_once_nothing_more_comes() {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.writable().await.unwrap();
        let (mut gathered, mut read) = (Gathered::new(near), [0; 64]);
        written(&mut gathered, b"one frame ", 1);
        written(&mut gathered, b"and ", 1);
        assert_eq!(far.try_read(&mut read).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        written(&mut gathered, b"another", 2);
        let length = far.read(&mut read).await.unwrap();
        assert_eq!(read[..length], b"one frame and another"[..]);
    }

    #[tokio::test]
    async fn whoever_flushes_is_woken_to_flush_again() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut gathered = Gathered::new(near);
        let sent = async {
            gathered.write_all(b"a frame").await.unwrap();
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                let flushed = Pin::new(&mut gathered).poll_flush(cx);
                if polls == 1 { Poll::Pending } else { flushed }
            })
            .await
            .unwrap();
        };
        let mut read = [0; 7];
        let (_, read) = tokio::join!(sent, far.read_exact(&mut read));
        assert_eq!(read.unwrap(), 7);
    }

    /// Heads and payloads, as HTTP/2 writes them, to somebody who reads little at a time.
    #[tokio::test]
    async fn frames_of_any_size_leave_as_they_were_written_however_little_is_read() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut gathered = Gathered::new(near);
        let byte = |at: usize| u8::try_from(at % 251).unwrap();
        let frames = [16 << 10, 1, MOST - 9, MOST, MOST + 1, 5 * MOST, 0, 300];
        let frames: Vec<Vec<u8>> = frames.map(|length| (0..length).map(byte).collect()).into();
        let all: Vec<u8> =
            frames.iter().flat_map(|frame| [&b"head of 9"[..], frame].concat()).collect();
        let sent = async {
            for frame in frames.iter().chain(&frames) {
                let mut both = Buf::chain(&b"head of 9"[..], &frame[..]);
                gathered.write_all_buf(&mut both).await.unwrap();
                gathered.flush().await.unwrap();
            }
            gathered.shutdown().await.unwrap();
        };
        let read = async {
            let (mut read, mut some) = (Vec::new(), [0; 5000]);
            loop {
                match far.read(&mut some).await.unwrap() {
                    0 => return read,
                    length => read.extend_from_slice(&some[..length]),
                }
            }
        };
        let (_, read) = tokio::join!(sent, read);
        assert!(read == [&all[..], &all].concat(), "{} of {} bytes", read.len(), 2 * all.len());
    }

    #[tokio::test]
    async fn a_good_deal_leaves_before_it_is_flushed() {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.writable().await.unwrap();
        let (mut gathered, mut read) = (Gathered::new(near), vec![0; 2 * MOST]);
        written(&mut gathered, b"a frame ", 0);
        written(&mut gathered, &vec![7; MOST], 0);
        let length = far.read(&mut read).await.unwrap();
        assert_eq!((length, &read[..9]), (MOST + 8, &b"a frame \x07"[..]));
    }
}
