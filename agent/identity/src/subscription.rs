//! A subscription to another program's certificates, over its Unix socket.
//!
//! Two things may be spoken there: Envoy's SDS, and the SPIFFE Workload API. What comes is the same.

mod sds;

use std::{io, path::Path, time::Duration};

use hawser_pki::Identity;
use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    time::{Instant, timeout_at},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};

use self::sds::Secrets;
use crate::{
    Error, Speaks,
    workload::{Wish, Workload},
};

/// A stream on which pairs come with their roots.
#[derive(Debug)]
pub(crate) enum Subscription {
    Secrets(Box<Secrets>),
    Workload(Box<Workload>),
}

/// Asks once for what is served at a socket of this machine, and does not stay.
pub async fn fetch(socket: &Path) -> Result<Identity, Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut secrets = within(deadline, socket, async {
        Secrets::open(socket, connect(socket, deadline).await?).await
    })
    .await?;
    loop {
        if let Some(identity) = secrets.next().await?.or_else(|| secrets.whole()) {
            return Ok(identity);
        }
    }
}

impl Subscription {
    /// Connects, and asks in the words that are understood there.
    pub(crate) async fn open(socket: &Path, speaks: Speaks, wish: &Wish) -> Result<Self, Error> {
        let deadline = Instant::now() + PATIENCE;
        let opened = async {
            let channel = connect(socket, deadline).await?;
            if speaks != Speaks::Workload {
                match Secrets::open(socket, channel.clone()).await {
                    Ok(secrets) => return Ok(Self::Secrets(Box::new(secrets))),
                    Err(error) if speaks == Speaks::Sds || !is_unknown(&error) => {
                        return Err(error);
                    }
                    Err(_) => {}
                }
            }
            let workload = Workload::open(socket, channel, wish.clone()).await?;
            Ok(Self::Workload(Box::new(workload)))
        };
        within(deadline, socket, opened).await
    }

    /// The next set that fits. None after something that makes no set yet. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Identity>, Error> {
        match self {
            Self::Secrets(secrets) => secrets.next().await,
            Self::Workload(workload) => workload.next().await.map(Some),
        }
    }
}

/// Whether SDS is not what is spoken there. Some look at the headers of the Workload API before
/// they look at what is called.
fn is_unknown(error: &Error) -> bool {
    let code = match error {
        Error::BrokenOff { source, .. } => source.code(),
        _ => return false,
    };
    matches!(code, Code::Unimplemented | Code::InvalidArgument)
}

async fn within<T>(
    deadline: Instant,
    socket: &Path,
    opened: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout_at(deadline, opened).await.map_err(|_elapsed| silent(socket, None))?
}

/// HTTP/2 to a socket, for as long as the connection lives.
async fn connect(socket: &Path, deadline: Instant) -> Result<Channel, Error> {
    let absent = |source| Error::NoProvider { socket: socket.to_owned(), source };
    let stream = timeout_at(deadline, UnixStream::connect(socket)).await;
    let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let channel = http2(stream.map_err(absent)?).await;
    channel.map_err(|error| absent(io::Error::other(error)))
}

async fn http2(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let once = tower::service_fn(move |_: Uri| {
        let lost = || io::Error::new(io::ErrorKind::NotConnected, "connection lost");
        std::future::ready(stream.take().ok_or_else(lost))
    });
    Endpoint::from_static("http://localhost")
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWERED_WITHIN)
        .connect_with_connector(once)
        .await
}

pub(crate) fn silent(socket: &Path, wanted: Option<&'static str>) -> Error {
    let wanted = wanted.unwrap_or("anything");
    Error::Silent { socket: socket.to_owned(), wanted, seconds: PATIENCE.as_secs() }
}

pub(crate) fn broken_off(socket: &Path, status: Status) -> Error {
    Error::BrokenOff { socket: socket.to_owned(), source: Box::new(status) }
}

/// A provider answers from memory; one that has just started may have to ask first.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(10);
pub(crate) const LARGEST_RESPONSE: usize = 4 << 20;
