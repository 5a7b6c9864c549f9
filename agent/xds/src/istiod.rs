//! istiod as a source of configuration.

use std::{fmt, mem};

use bytes::Bytes;
use hawser_istiod::{Connection, Exchange, Istiod};
use hawser_wire::Flavour;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, codegen::http::uri::PathAndQuery};
use tracing::debug;

use crate::source::{Answers, BoxFuture, Lost, Opened, Source};

impl Source for Istiod {
    fn open(
        &self,
        flavour: Flavour,
        requests: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'_, Result<Opened, Lost>> {
        Box::pin(async move {
            let connected = self.connect().await;
            let connection = connected.map_err(|source| Reason::Unreachable { source })?;
            let who = format!("{} ({})", connection.endpoint(), connection.peer);
            debug!(%who, flavour = flavour.name(), "connected");
            let opening = {
                let connection = connection.clone();
                let path = PathAndQuery::from_static(flavour.path());
                Box::pin(
                    async move { connection.exchange(path, ReceiverStream::new(requests)).await },
                )
            };
            let stage = Stage::Opening(opening);
            Ok(Opened { who, answers: Box::new(Stream { stage, connection, heard: false }) })
        })
    }

    fn answers(&self) -> BoxFuture<'_, ()> {
        Box::pin(Self::answers(self))
    }
}

struct Stream {
    stage: Stage,
    connection: Connection,
    heard: bool,
}

/// istiod does not even begin to answer before it has been asked.
enum Stage {
    Opening(BoxFuture<'static, Result<Exchange, Status>>),
    Open(Box<Exchange>),
    Over,
}

impl Stream {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            match &mut self.stage {
                Stage::Opening(opening) => {
                    self.stage = Stage::Open(Box::new(opening.as_mut().await?));
                }
                Stage::Open(exchange) => return exchange.chunk().await,
                Stage::Over => return Ok(None),
            }
        }
    }
}

impl Answers for Stream {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Lost>> {
        Box::pin(async move {
            let chunk = self.next().await;
            Ok(chunk.map_err(|status| {
                drop(mem::replace(&mut self.stage, Stage::Over));
                let lost = Reason::by(status, &self.connection);
                if !self.heard && !lost.has_alternative() {
                    self.connection.failed();
                }
                lost
            })?)
        })
    }

    fn more(&mut self) -> Option<Bytes> {
        match &mut self.stage {
            Stage::Open(exchange) => exchange.more(),
            _ => None,
        }
    }

    fn heard(&mut self) {
        self.heard = true;
        self.connection.accepted();
    }

    fn failed(&mut self) {
        self.connection.failed();
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// Why a stream to istiod ended, or did not begin.
#[derive(Debug, thiserror::Error)]
enum Reason {
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

impl Reason {
    /// Whether it is worth while to try again at once.
    fn has_alternative(&self) -> bool {
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

impl From<Reason> for Lost {
    fn from(lost: Reason) -> Self {
        let refused = match &lost {
            Reason::Ended(status) => {
                [Code::PermissionDenied, Code::InvalidArgument].contains(&status.code())
            }
            _ => false,
        };
        Self { at_once: lost.has_alternative(), refused, reason: Box::new(lost) }
    }
}

/// The first cause; what lies between says it again in the words of each layer.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    // Where rustls explains itself to programmers is of no use to an operator.
    text.split(": https://").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_finds_fault_with_what_was_asked_is_a_refusal_and_others_are_not() {
        for (code, refused) in [
            (Code::PermissionDenied, true),
            (Code::InvalidArgument, true),
            (Code::Unavailable, false),
            (Code::ResourceExhausted, false),
        ] {
            let lost = Lost::from(Reason::Ended(Status::new(code, "no")));
            assert_eq!((lost.refused, lost.at_once), (refused, false), "{code:?}");
        }
    }
}
