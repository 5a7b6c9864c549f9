//! What is told and shown of what passes.

use std::time::SystemTime;

use hawser_proto::type_url;
use hawser_rt::Throttle;
use tracing::{debug, warn};

use super::{PERIOD, Relay};
use crate::session::{Introduction, Note, brief};

impl Relay {
    pub(super) fn note(&self, note: Note) {
        debug!(flow = "xds", flavour = self.flavour.name(), ?note, "message");
        let (program, now) = (self.is_program(), SystemTime::now());
        if let Note::Rejected { type_url, version, error } = &note
            && let Some(suppressed) = refusals(type_url, program).allow()
        {
            let who = self.who();
            if program {
                warn!(
                    flow = "xds",
                    who, type_url, version, error, suppressed, "program refuses a push"
                );
            } else {
                warn!(
                    flow = "xds",
                    who, type_url, version, error, suppressed, "envoy refuses a push"
                );
            }
        }
        // What programs do would hide what Envoy does.
        if program && !matches!(note, Note::Withheld { .. }) {
            self.shared.seen.note_of(self.who(), note, now);
        } else {
            self.shared.seen.note(note, now);
        }
    }

    /// The node of whoever has opened the stream.
    pub(super) fn who(&self) -> String {
        self.session().who().map(Introduction::id).map(brief).unwrap_or_default()
    }
}

/// Refusals are told once a minute for each type, and for programs apart: one of listeners must not
/// hide behind one of clusters.
fn refusals(type_url: &str, program: bool) -> &'static Throttle {
    static TOLD: [Throttle; 6] = [const { Throttle::new(PERIOD) }; 6];
    let [programs, clusters, listeners, routes, endpoints, others] = &TOLD;
    match type_url {
        _ if program => programs,
        type_url::CLUSTER => clusters,
        type_url::LISTENER => listeners,
        type_url::ROUTE => routes,
        type_url::ENDPOINT => endpoints,
        _ => others,
    }
}
