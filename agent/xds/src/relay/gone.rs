//! What Envoy has and is no more, where whoever answers could not be told that Envoy has it: a
//! request has only so much room for names.

use bytes::Bytes;
use hawser_wire::{Event, write};
use tracing::debug;

use super::{Relay, replay::nonce};
use crate::{downstream::Deaf, record::Record, session::removal};

impl Relay {
    /// Tells Envoy what is no more, if nobody else does.
    pub(super) async fn tell_gone(&self) -> Result<(), Deaf> {
        loop {
            let gone = self.session().gone();
            let Some((type_url, names)) = gone else { return Ok(()) };
            let names_gone = names.len();
            debug!(flow = "xds", type_url, names_gone, "told to envoy: they are no more");
            let nonce = nonce();
            let message = removal(&type_url, &nonce, &names);
            let mut record = Record::kept(self, &type_url);
            for name in names {
                record.event(Event::Removed(name));
            }
            let sent = record.done(nonce, String::new()).await;
            self.session().removed(&type_url, sent);
            let prefix = Bytes::copy_from_slice(&write::prefix(message.len()));
            let _floor = self.voice().floor().await;
            self.voice().say([prefix, message].into()).await?;
        }
    }
}
