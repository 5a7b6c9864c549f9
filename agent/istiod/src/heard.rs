//! A stream that tells when the far end was first heard.
//!
//! With TLS 1.3 a client is done before the server has looked at its certificate, and HTTP/2 does
//! not wait for an answer either: a connection that looks open may already have been refused. The
//! first bytes from istiod, its SETTINGS, are what proves that it took us.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

/// Passes everything through and reports the outcome of the first read, or of a write that failed
/// before.
#[derive(Debug)]
pub(crate) struct Heard<S> {
    stream: S,
    tell: Option<oneshot::Sender<io::Result<()>>>,
    /// Of a write, until it is known why.
    failed: Option<io::Error>,
}

impl<S> Heard<S> {
    pub(crate) fn new(stream: S) -> (Self, oneshot::Receiver<io::Result<()>>) {
        let (tell, told) = oneshot::channel();
        (Self { stream, tell: Some(tell), failed: None }, told)
    }

    fn tell(&mut self, outcome: io::Result<()>) {
        if let Some(tell) = self.tell.take() {
            // Nobody listens if the dial has timed out meanwhile.
            tell.send(outcome).ok();
        }
    }
}

impl<S: AsyncRead + Unpin> Heard<S> {
    /// A far end that refuses us says why and hangs up; a write meets the hanging up first, while
    /// the reason still waits to be read. A broken connection is always ready to be read, sooner
    /// or later, so the failure is held back until then.
    fn explained<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let failed = match written {
            Poll::Ready(Err(failed)) if self.tell.is_some() => failed,
            written => return written,
        };
        let mut room = [0; 64];
        let said = Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut room));
        match said {
            Poll::Pending => {
                self.failed = Some(failed);
                return Poll::Pending;
            }
            Poll::Ready(Err(reason)) if tls_cause(&reason).is_some() => self.tell(Err(reason)),
            Poll::Ready(_) => self.tell(Err(copy(&failed))),
        }
        Poll::Ready(Err(failed))
    }

    /// A failure that was held back.
    fn held_back<T>(&mut self) -> Option<Poll<io::Result<T>>> {
        self.failed.take().map(|failed| Poll::Ready(Err(failed)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        match &read {
            Ok(()) if buffer.filled().len() > before => self.tell(Ok(())),
            Ok(()) => self.tell(Err(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => self.tell(Err(copy(error))),
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match self.held_back() {
            Some(failed) => failed,
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        };
        self.explained(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match self.held_back() {
            Some(failed) => failed,
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.explained(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = match self.held_back() {
            Some(failed) => failed,
            None => Pin::new(&mut self.stream).poll_flush(cx),
        };
        self.explained(written, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The error once more, with the TLS cause kept if it is one: that is what decides.
fn copy(error: &io::Error) -> io::Error {
    match tls_cause(error) {
        Some(tls) => io::Error::new(error.kind(), tls.clone()),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn tls_cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A far end that has hung up: writes fail, and reads give what it said before, at the
    /// second attempt.
    struct HungUp {
        said: Option<io::Error>,
        asked: bool,
    }

    impl AsyncRead for HungUp {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !std::mem::replace(&mut self.asked, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(self.said.take().map_or(Ok(()), Err))
        }
    }

    impl AsyncWrite for HungUp {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn heard(said: Option<io::Error>) -> io::Error {
        let (mut stream, heard) = Heard::new(HungUp { said, asked: false });
        stream.write_all(b"hello").await.unwrap_err();
        heard.await.unwrap().unwrap_err()
    }

    #[tokio::test]
    async fn a_write_that_fails_tells_the_alert_that_waits_to_be_read() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
        let said = io::Error::new(io::ErrorKind::InvalidData, alert.clone());
        assert_eq!(tls_cause(&heard(Some(said)).await), Some(&alert));
    }

    #[tokio::test]
    async fn a_write_that_fails_for_no_reason_tells_itself() {
        assert_eq!(heard(None).await.kind(), io::ErrorKind::BrokenPipe);
        let reset = io::ErrorKind::ConnectionReset.into();
        assert_eq!(heard(Some(reset)).await.kind(), io::ErrorKind::BrokenPipe);
    }
}
