//! What all say, one after the other.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
};
use tokio_stream::Stream;

use crate::form::Form;

/// Metrics of all sources, as they come. Who drops it asks no further.
#[derive(Debug)]
pub struct Merged {
    form: Form,
    parts: VecDeque<Part>,
    /// What fills the parts; it ends with this.
    _passing: JoinSet<()>,
    /// Given back when nobody reads any more.
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Part {
    Whole(Bytes),
    Pages(mpsc::Receiver<Bytes>),
}

impl Merged {
    pub(crate) fn new(
        form: Form,
        own: Bytes,
        pages: Vec<mpsc::Receiver<Bytes>>,
        (passing, place): (JoinSet<()>, OwnedSemaphorePermit),
    ) -> Self {
        let mut parts = VecDeque::from([Part::Whole(own)]);
        parts.extend(pages.into_iter().map(Part::Pages));
        parts.push_back(Part::Whole(Bytes::from_static(form.ending())));
        Self { form, parts, _passing: passing, _place: place }
    }

    /// The `Content-Type` of it.
    pub fn content_type(&self) -> &'static str {
        self.form.content_type()
    }

    /// Ends when all have said what they say; for tests of what is counted then.
    #[cfg(test)]
    pub(crate) fn passing(&mut self) -> &mut JoinSet<()> {
        &mut self._passing
    }
}

impl Stream for Merged {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let next = match self.parts.front_mut() {
                Some(Part::Pages(pages)) => ready!(pages.poll_recv(context)),
                Some(Part::Whole(text)) if !text.is_empty() => Some(std::mem::take(text)),
                Some(Part::Whole(_)) => None,
                None => return Poll::Ready(None),
            };
            match next {
                Some(text) => return Poll::Ready(Some(text)),
                None => drop(self.parts.pop_front()),
            }
        }
    }
}
