//! Whether istiod believes whoever calls, without anything being asked for.
//!
//! A stream is opened and ended without a request. istiod looks at who calls before it listens, and
//! what it registers it registers by a first request.

use std::time::Duration;

use hawser_istiod::{Connection, Istiod};
use hawser_wire::Flavour;
use tokio::time::timeout;
use tonic::{Code, Status, codegen::http::uri::PathAndQuery};

/// istiod does not believe what was shown.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Refused {
    #[error("reach istiod")]
    Unreached { source: Box<hawser_istiod::Error> },
    #[error("{who} refuses the {shown}: {said}")]
    Disbelieved { who: String, shown: String, said: String },
    #[error("{who} answers as istiod does not: {said}")]
    Strange { who: String, said: String },
}

/// Shows one thing after the other until something is believed, and says what that was.
pub async fn admitted(istiod: &Istiod, patience: Duration) -> Result<String, Refused> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let connected = istiod.connect().await;
        let connection =
            connected.map_err(|error| Refused::Unreached { source: Box::new(error) })?;
        let (who, shown) = (connection.endpoint().to_string(), connection.what());
        let status = match timeout(patience, called(&connection)).await {
            // No refusal: somebody in between waits for a request.
            Ok(Ok(())) | Err(_) => return Ok(shown),
            Ok(Err(status)) => status,
        };
        let said = said(&status);
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                if !connection.refused() || attempts == MOST_ATTEMPTS {
                    return Err(Refused::Disbelieved { who, shown, said });
                }
            }
            _ => return Err(Refused::Strange { who, said }),
        }
    }
}

async fn called(connection: &Connection) -> Result<(), Status> {
    let path = PathAndQuery::from_static(Flavour::Sotw.path());
    let mut answer = connection.exchange(path, tokio_stream::empty()).await?;
    answer.chunk().await.map(drop)
}

/// What istiod says, on one line of some length.
fn said(status: &Status) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = status.message().chars().map(plain).take(MOST_SAID).collect();
    format!("{:?}: {text}", status.code())
}

const MOST_ATTEMPTS: usize = 4;
const MOST_SAID: usize = 300;
