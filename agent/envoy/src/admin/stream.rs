//! Long answers of Envoy's admin interface, read while they come.
//!
//! What a mesh of thousands of services has is never whole in memory: who reads keeps what matters.

use std::io;

use bytes::{Buf as _, Bytes};
use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};

use super::{Admin, LIMIT};
use crate::Error;

impl Admin {
    /// What `read` makes of the answer to GET, on a thread that may wait for the next octets.
    ///
    /// A reader that ends early ends the connection.
    pub async fn read<T, R>(&self, path: &str, read: R) -> Result<T, Error>
    where
        T: Send + 'static,
        R: FnOnce(&mut dyn io::Read) -> T + Send + 'static,
    {
        // A long answer takes its time; one that stands still does not.
        let limit = self.limit.max(LIMIT * LONG);
        let late = || Error::Timeout { address: self.address, path: path.to_owned(), limit };
        timeout(limit, self.passed_on(path, read)).await.map_err(|_elapsed| late())?
    }

    async fn passed_on<T, R>(&self, path: &str, read: R) -> Result<T, Error>
    where
        T: Send + 'static,
        R: FnOnce(&mut dyn io::Read) -> T + Send + 'static,
    {
        let address = self.address;
        let failed = |source| Error::Ask { address, path: path.to_owned(), source };
        let passed_on = |answer: Response<Incoming>| async move {
            if !answer.status().is_success() {
                let (path, status) = (path.to_owned(), answer.status().as_u16());
                return Err(Error::Status { address, path, status });
            }
            let (octets, coming) = mpsc::channel(AHEAD);
            let reader =
                spawn_blocking(move || read(&mut Coming { coming, now: Bytes::new(), left: MOST }));
            pass(answer.into_body(), &octets).await.map_err(|source| failed(source.into()))?;
            drop(octets);
            reader.await.map_err(|source| failed(source.into()))
        };
        self.exchange(Method::GET, path, passed_on).await
    }
}

/// Until the end, or until nobody reads any more.
async fn pass(mut body: Incoming, octets: &mpsc::Sender<Bytes>) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if octets.send(data).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Octets of an answer as they come.
struct Coming {
    coming: mpsc::Receiver<Bytes>,
    now: Bytes,
    left: usize,
}

impl io::Read for Coming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.coming.blocking_recv() {
                Some(next) => self.now = next,
                None => return Ok(0),
            }
        }
        let length = self.now.len().min(into.len());
        self.left = self.left.checked_sub(length).ok_or(io::ErrorKind::FileTooLarge)?;
        self.now.split_to(length).copy_to_slice(into.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

/// How many times longer a long answer may take.
const LONG: u32 = 10;
/// How many pieces may wait to be read.
const AHEAD: usize = 4;
/// How long an answer may be: that of a mesh of ten thousand services is shorter.
const MOST: usize = 512 << 20;
