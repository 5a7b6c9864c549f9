//! A stream to istiod.

use bytes::Bytes;
use hawser_istiod::{Connection, Istiod};
use hawser_rt::Chain;
use tokio_stream::Stream;
use tonic::{Code, Status, Streaming, codegen::http::uri::PathAndQuery};
use tracing::debug;

use hawser_wire::Flavour;

use crate::codec::Raw;

/// A stream that istiod has answered on.
pub(crate) struct Upstream {
    responses: Streaming<Bytes>,
    /// Closed when this is dropped.
    connection: Connection,
    /// Whether istiod has said anything.
    heard: bool,
}

/// Why a stream to istiod ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("istiod is not reachable")]
    Unreachable { source: hawser_istiod::Error },
    /// istiod does not know who asks; the next attempt shows something else, if there is.
    #[error("istiod did not accept what it was shown ({shown}): {}", status.message())]
    Stranger { status: Status, shown: String, alternative: bool },
    /// istiod has ended the stream with a status of its own.
    #[error("istiod ended the stream ({:?}): {}", .0.code(), .0.message())]
    Ended(Status),
    #[error("the connection to istiod broke: {}", innermost(.0))]
    Broken(Status),
}

impl Upstream {
    /// Dials, opens a stream and waits for the first answer. Nothing is answered unasked, so
    /// requests have to flow meanwhile.
    pub(crate) async fn open(
        istiod: &Istiod,
        flavour: Flavour,
        requests: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Self, Lost> {
        let connection = istiod.connect().await.map_err(|source| Lost::Unreachable { source })?;
        let mut client = tonic::client::Grpc::new(connection.channel.clone())
            .max_decoding_message_size(LARGEST_RESPONSE);
        let broken = |source| Lost::Broken(Status::from_error(Box::new(source)));
        client.ready().await.map_err(broken)?;
        let path = PathAndQuery::from_static(flavour.path());
        let opened = client.streaming(connection.request(requests), path, Raw).await;
        let responses = opened.map_err(|status| Lost::by(status, &connection))?.into_inner();
        debug!(peer = %connection.peer, flavour = flavour.name(), "istiod answers");
        Ok(Self { responses, connection, heard: false })
    }

    /// The next response; none when istiod has ended the stream as it should. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Lost> {
        let next = self.responses.message().await;
        let next = next.map_err(|status| Lost::by(status, &self.connection))?;
        if next.is_some() && !self.heard {
            self.heard = true;
            self.connection.accepted();
        }
        Ok(next)
    }
}

impl Lost {
    /// Whether it is worth while to try again at once.
    pub(crate) fn has_alternative(&self) -> bool {
        matches!(self, Self::Stranger { alternative: true, .. })
    }

    fn by(status: Status, connection: &Connection) -> Self {
        // A status that istiod sent has no cause; one that was made here of a broken connection
        // has.
        if std::error::Error::source(&status).is_some() {
            Self::Broken(status)
        } else if status.code() == Code::Unauthenticated {
            let (shown, alternative) = (connection.what(), connection.refused());
            Self::Stranger { status, shown, alternative }
        } else {
            Self::Ended(status)
        }
    }
}

impl From<&Lost> for Status {
    /// What Envoy is told, and writes into its log.
    fn from(lost: &Lost) -> Self {
        match lost {
            Lost::Ended(status) | Lost::Stranger { status, .. } => {
                Self::new(status.code(), lost.to_string())
            }
            Lost::Unreachable { .. } | Lost::Broken(_) => {
                Self::unavailable(Chain(lost).to_string())
            }
        }
    }
}

/// The first cause; what lies between says it again in the words of each layer.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What gRPC implementations agree on as the largest message.
const LARGEST_RESPONSE: usize = i32::MAX as usize;
/// How often in a row something else is shown without waiting: there are fewer ways to show who
/// one is.
pub(crate) const MOST_AT_ONCE: u32 = 8;
