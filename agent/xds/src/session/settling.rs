//! What follows for a type from what Envoy says of a response.

use hawser_wire::Flavour;

use super::{
    asking::Asking,
    brief,
    told::Note,
    topic::{About, Origin, Sent, Topic},
};

impl<R> Topic<R> {
    /// Takes note of Envoy's verdict.
    pub(super) fn settle(
        &mut self,
        flavour: Flavour,
        asking: &Asking<'_>,
        about: About<R>,
    ) -> (Note, Vec<R>) {
        let type_url = brief(asking.type_url);
        match (about, asking.rejection) {
            (About::New(_, sent, _), Some(_)) if sent.broken => (Note::Nothing, Vec::new()),
            (About::New(origin, sent, _), Some(error)) => {
                self.refused(&sent.changes);
                self.falls(flavour, origin, &sent.changes, error);
                let (version, error) = (brief(&sent.version), brief(error));
                (Note::Rejected { type_url, version, error }, Vec::new())
            }
            (About::New(origin, sent, mut covered), None) => {
                let refused = (origin == Origin::Kept).then(|| self.refused.clone());
                self.accepted(&sent.version, &sent.changes);
                // That it takes something older mends nothing.
                self.refused = refused.unwrap_or_else(|| std::mem::take(&mut self.refused));
                covered.extend(sent.receipt);
                let mends = self.rises(origin) && self.refused.is_empty();
                (Note::Accepted { type_url, version: brief(&sent.version), mends }, covered)
            }
            (_, Some(error)) => {
                let (version, error) = (String::new(), brief(error));
                (Note::Rejected { type_url, version, error }, Vec::new())
            }
            (_, None) => (Note::Asked { type_url }, Vec::new()),
        }
    }

    /// Whether Envoy has, or is being given, anything of this type.
    pub(super) fn has_something(&self, given: &Option<Sent<R>>) -> bool {
        given.is_some() || !self.version.is_empty() || !self.held().is_empty()
    }
}
