//! A source that does what the test says, byte by byte.

use std::sync::Arc;

use bytes::Bytes;
use hawser_wire::Flavour;
use tokio::sync::mpsc;

use super::words::Ask;
use crate::{
    Source,
    source::{Answers, BoxFuture, Lost, Opened},
};

/// A source whose bytes are what the test says, in the pieces it says.
#[derive(Debug)]
pub(crate) struct Script {
    streams: mpsc::Sender<Scripted>,
    /// A stream that is lost is lost for what was asked.
    refuses: bool,
}

/// A stream to it.
#[derive(Debug)]
pub(crate) struct Scripted {
    requests: mpsc::Receiver<Bytes>,
    /// Closed, the stream is lost; nothing at all said, it ends as it should.
    pub(crate) answers: mpsc::Sender<Bytes>,
}

impl Script {
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<Scripted>) {
        let (streams, opened) = mpsc::channel(64);
        (Arc::new(Self { streams, refuses: false }), opened)
    }

    pub(crate) fn refusing() -> (Arc<Self>, mpsc::Receiver<Scripted>) {
        let (streams, opened) = mpsc::channel(64);
        (Arc::new(Self { streams, refuses: true }), opened)
    }
}

impl Scripted {
    pub(crate) async fn asked(&mut self, flavour: Flavour) -> Ask {
        Ask::read(flavour, &self.requests.recv().await.unwrap())
    }

    pub(crate) async fn tell(&self, bytes: &[u8]) {
        self.answers.send(Bytes::copy_from_slice(bytes)).await.unwrap();
    }
}

impl Source for Script {
    fn open(
        &self,
        _: Flavour,
        requests: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'_, Result<Opened, Lost>> {
        Box::pin(async move {
            let (answers, said) = mpsc::channel(1);
            self.streams.send(Scripted { requests, answers }).await.unwrap();
            Ok(Opened { who: "a script".to_owned(), answers: Box::new(Said(said, self.refuses)) })
        })
    }
}

#[derive(Debug)]
struct Said(mpsc::Receiver<Bytes>, bool);

impl Answers for Said {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Lost>> {
        Box::pin(async move {
            let lost = || Lost { refused: self.1, ..Lost::new("cut") };
            let said = self.0.recv().await.ok_or_else(lost)?;
            Ok(Some(said).filter(|said| !said.is_empty()))
        })
    }

    fn heard(&mut self) {}

    fn failed(&mut self) {}
}
