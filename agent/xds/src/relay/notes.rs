//! What is told and shown of what passes.

use std::time::SystemTime;

use hawser_audit::{CONFIGURATION_ACCEPTED, CONFIGURATION_REFUSED};
use hawser_proto::type_url;
use hawser_rt::Throttle;
use tracing::{debug, info, warn};

use super::{PERIOD, Relay};
use crate::{
    seen::Turn,
    session::{Introduction, Note, brief},
};

impl Relay {
    pub(super) fn note(&self, note: Note) {
        debug!(flow = "xds", flavour = self.flavour.name(), ?note, "message");
        let now = SystemTime::now();
        // What programs do would hide what Envoy does.
        if !self.is_program() {
            let turn = self.shared.seen.note(note.clone(), now);
            self.tell(&note, turn);
            return;
        }
        self.tell_of_program(&note);
        if matches!(note, Note::Withheld { .. }) {
            self.shared.seen.note(note, now);
        } else {
            self.shared.seen.note_of(self.who(), note, now);
        }
    }

    /// The first refusal and the end of them are marks in the journal.
    pub(super) fn tell(&self, note: &Note, turn: Option<Turn>) {
        match note {
            Note::Rejected { type_url, version, error } => {
                let Some(suppressed) = throttle(type_url, &REFUSED).allow() else { return };
                let (flow, who) = ("xds", self.who());
                // One without an id is none to whoever looks for it.
                let message_id = turn.map(|_| CONFIGURATION_REFUSED.id);
                warn!(
                    message_id,
                    flow, who, type_url, version, error, suppressed, "envoy refuses a push"
                );
            }
            Note::Accepted { type_url, version, .. } if turn.is_some() => {
                let Some(suppressed) = throttle(type_url, &TAKEN).allow() else { return };
                let (flow, message_id) = ("xds", CONFIGURATION_ACCEPTED.id);
                info!(message_id, flow, type_url, version, suppressed, "envoy refuses no more");
            }
            _ => {}
        }
    }

    fn tell_of_program(&self, note: &Note) {
        static TOLD: Throttle = Throttle::new(PERIOD);
        if let Note::Rejected { type_url, version, error } = note
            && let Some(suppressed) = TOLD.allow()
        {
            let (flow, who) = ("xds", self.who());
            warn!(flow, who, type_url, version, error, suppressed, "program refuses a push");
        }
    }

    /// The node of whoever has opened the stream.
    pub(super) fn who(&self) -> String {
        self.session().who().map(Introduction::id).map(brief).unwrap_or_default()
    }
}

/// What is told of a type is told once a minute: news of listeners must not hide behind those of
/// clusters.
fn throttle<'a>(type_url: &str, told: &'a [Throttle; 5]) -> &'a Throttle {
    let [clusters, listeners, routes, endpoints, others] = told;
    match type_url {
        type_url::CLUSTER => clusters,
        type_url::LISTENER => listeners,
        type_url::ROUTE => routes,
        type_url::ENDPOINT => endpoints,
        _ => others,
    }
}

static REFUSED: [Throttle; 5] = [const { Throttle::new(PERIOD) }; 5];
static TAKEN: [Throttle; 5] = [const { Throttle::new(PERIOD) }; 5];
