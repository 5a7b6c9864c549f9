//! What a response changes, taken down while it passes.

use hawser_lastgood::{Draft, Pending};
use hawser_proto::type_url;
use hawser_wire::{Event, Flavour};

use crate::{
    relay::Relay,
    resource::Resource,
    session::{Changes, Sent},
};

/// A response that passes.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    relay: &'a Relay,
    type_url: String,
    /// None if nobody keeps it.
    draft: Option<Draft>,
    resource: Resource,
    /// Who brought what is told too.
    names: bool,
    changes: Changes,
}

impl<'a> Record<'a> {
    /// Of a response that is worth keeping.
    pub(crate) fn kept(relay: &'a Relay, type_url: &str) -> Self {
        let whole = relay.session().tells_all(type_url);
        // Keys do not go to the disk.
        let book = relay.book().filter(|_| type_url != type_url::SECRET);
        if relay.book().is_none() {
            relay.misses();
        }
        let draft = book.map(|book| book.draft(type_url, relay.flavour(), whole));
        Self { draft, ..Self::passing(relay, type_url) }
    }

    /// Of one that is kept already.
    pub(crate) fn passing(relay: &'a Relay, type_url: &str) -> Self {
        let (resource, changes) = (Resource::default(), Changes::default());
        // In state of the world only who waits for one resource has to know which there are.
        let delta = relay.flavour() == Flavour::Delta;
        let names = delta || relay.session().waits_for_names(type_url);
        Self { relay, type_url: type_url.to_owned(), draft: None, resource, names, changes }
    }

    /// What is told of it. Once a chunk has told all, [`Self::hand_over`] is called.
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Resource { length } => {
                self.resource.begin(self.relay.flavour());
                if let Some(draft) = &mut self.draft {
                    draft.resource(length);
                }
            }
            Event::Bytes(data) => {
                if self.names {
                    self.resource.bytes(&data);
                }
                if let Some(draft) = &mut self.draft {
                    draft.bytes(data);
                }
            }
            Event::ResourceEnd => {
                self.note();
                if let Some(draft) = &mut self.draft {
                    draft.resource_end();
                }
            }
            Event::Removed(name) => {
                self.changes.went(&name);
                if let Some(draft) = &mut self.draft {
                    draft.removed(name);
                }
            }
        }
    }

    /// Lets what was told go to the disk, if it is enough.
    pub(crate) async fn hand_over(&mut self) {
        if let Some(draft) = &mut self.draft {
            draft.hand_over().await;
        }
    }

    fn note(&mut self) {
        if self.names {
            let (name, version) = self.resource.known();
            // A push repeats most of what Envoy has; only what is new costs memory.
            if !self.relay.session().knows(&self.type_url, name, version) {
                self.changes.came(name, version);
            }
        }
    }

    /// It is complete.
    pub(crate) async fn done(self, nonce: String, version: String) -> Sent<Pending> {
        let receipt = match self.draft {
            Some(draft) => Some(draft.done(version.clone()).await),
            None => None,
        };
        Sent { nonce, version, changes: self.changes, receipt, broken: false }
    }
}
