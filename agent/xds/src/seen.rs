//! What the flows of this crate have seen, for status and metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use tokio::sync::watch;

use crate::session::Note;

/// The standing of things, kept by the flows and read by whoever shows it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Seen(Arc<watch::Sender<Standing>>);

/// How things stand between Envoy, the agent and whoever answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Streams that are open: Envoy's, and those of programs that speak xDS by themselves.
    pub streams: usize,
    /// Those of them that are answered at present.
    pub joined: usize,
    /// Those of them that are programs'.
    pub programs: usize,
    /// Who answers, or did last.
    pub source: Option<String>,
    /// Since when any of Envoy's streams is answered; none while none is.
    pub since: Option<SystemTime>,
    /// Attempts at a stream to istiod since the last good message.
    pub attempts: u64,
    /// Envoy runs on what it took some time ago, and nobody has confirmed it since.
    pub stale: Option<Stale>,
    /// What went to Envoy, by type URL.
    pub types: BTreeMap<String, Exchange>,
    /// What is made on this machine and told beside what the mesh says, by type URL; empty where there
    /// is only one of both.
    pub made: BTreeMap<String, Exchange>,
    /// What programs refuse: by who they are, and by type URL.
    pub refusing: BTreeMap<(String, String), Rejection>,
    /// Messages that could not be read, and did not pass.
    pub unreadable: u64,
    /// Messages of types that are not for the other side, and did not pass.
    pub withheld: u64,
    /// What Envoy cannot load.
    pub lacks: BTreeSet<Lacks>,
    /// The last time that there was no stream to istiod, or that it was lost.
    pub failure: Option<Failure>,
    /// The agent's own stream, and the name table that comes on it.
    pub names: Names,
    /// The roots of the mesh, which come on the same stream.
    pub trust: Trust,
}

/// Configuration that may not hold any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// When the oldest part of it was taken by Envoy.
    pub of: SystemTime,
    /// Since when it is used without anybody who confirms it.
    pub since: SystemTime,
}

/// Something that Envoy cannot load.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacks {
    /// Where it is: the kind of filter, or of other extension.
    pub place: String,
    /// What it is called there.
    pub name: String,
    /// Its type.
    pub type_url: String,
    /// Whether it is passed on all the same, because to leave it out could let somebody in. Envoy
    /// refuses what holds it.
    pub passes: bool,
}

/// What went over Envoy's streams of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Responses passed to Envoy.
    pub responses: u64,
    /// The last of them.
    pub sent: Option<Version>,
    /// The last that Envoy has taken.
    pub accepted: Option<Version>,
    /// Responses that Envoy has refused.
    pub rejections: u64,
    /// The last of them.
    pub rejected: Option<Rejection>,
    /// Envoy has not taken since what it refused.
    pub refuses: bool,
}

/// A version of the resources of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As istiod calls it; delta responses may have none.
    pub version: String,
    /// When it passed, or was taken.
    pub at: SystemTime,
    /// How many resources came with it.
    pub resources: usize,
}

/// A response that Envoy has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which one, as far as Envoy has said.
    pub version: String,
    /// When.
    pub at: SystemTime,
    /// Why, in Envoy's words.
    pub error: String,
}

/// Something that went wrong with istiod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// What, with its causes.
    pub error: String,
}

/// The agent's own stream, and the name table that comes on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Since when istiod answers on it; none while it does not.
    pub joined: Option<SystemTime>,
    /// Who answers, or did last.
    pub peer: Option<String>,
    /// How often that was another one than before.
    pub failovers: u64,
    /// Since when there was no good message, though one was asked for.
    pub away: Option<SystemTime>,
    /// The table in use: its version, when it came, and the number of its names.
    pub table: Option<Version>,
    /// The last table that was refused.
    pub rejected: Option<Rejection>,
    /// Why there is no stream, or was none the last time.
    pub failure: Option<Failure>,
}

/// The roots of the mesh that istiod sends besides those of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Whether istiod is asked for them. It may have none, and then does not answer.
    pub asked: bool,
    /// Those in use: their version, when they came last, and how many there are.
    pub bundle: Option<Version>,
    /// The last that were refused.
    pub rejected: Option<Rejection>,
}

/// A change in what Envoy makes of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Refuses,
    Takes,
}

impl Names {
    /// A stream is open to that one.
    pub(crate) fn joined(&mut self, who: &str, at: SystemTime) {
        if self.peer.as_deref().is_some_and(|before| before != who) {
            self.failovers += 1;
        }
        (self.joined, self.peer) = (Some(at), Some(who.to_owned()));
    }
}

impl Exchange {
    /// Both together. What is known of one alone is the first's, but for a refusal.
    fn and(self, made: Self) -> Self {
        let refused = if made.refuses && !self.refuses { &made.rejected } else { &self.rejected };
        Self {
            responses: self.responses + made.responses,
            rejected: refused.clone().or(self.rejected).or(made.rejected),
            sent: self.sent.or(made.sent),
            accepted: self.accepted.or(made.accepted),
            rejections: self.rejections + made.rejections,
            refuses: self.refuses || made.refuses,
        }
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Standing::default())))
    }
}

impl Seen {
    /// How things stand now.
    pub fn standing(&self) -> Standing {
        self.0.borrow().clone()
    }

    /// Follows the changes.
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.0.subscribe()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Standing)) {
        self.0.send_modify(change);
    }

    /// Notes what Envoy cannot load; whether that is news.
    pub(crate) fn lacks(&self, lacks: &Lacks) -> bool {
        self.0.send_if_modified(|standing| {
            let room = standing.lacks.len() < MOST_LACKS;
            room && !standing.lacks.contains(lacks) && standing.lacks.insert(lacks.clone())
        })
    }

    /// Whether Envoy has begun to refuse what is sent of that type, or takes it again; none if that
    /// is as it was.
    pub(crate) fn note(&self, note: Note, at: SystemTime) -> Option<Turn> {
        self.note_in(|standing| &mut standing.types, note, at)
    }

    /// The same of what is made on this machine, beside what the mesh says.
    pub(crate) fn note_made(&self, note: Note, at: SystemTime) -> Option<Turn> {
        self.note_in(|standing| &mut standing.made, note, at)
    }

    fn note_in(
        &self,
        exchanges: fn(&mut Standing) -> &mut BTreeMap<String, Exchange>,
        note: Note,
        at: SystemTime,
    ) -> Option<Turn> {
        let of = match &note {
            Note::Accepted { type_url, .. } | Note::Rejected { type_url, .. } => type_url.clone(),
            _ => String::new(),
        };
        let refuses = |standing: &mut Standing| {
            exchanges(standing).get(&of).is_some_and(|exchange| exchange.refuses)
        };
        let mut turn = None;
        self.change(|standing| {
            let before = refuses(standing);
            match note {
                Note::Withheld { .. } => standing.withheld += 1,
                note => take_down(exchanges(standing), note, at),
            }
            turn = match (before, refuses(standing)) {
                (false, true) => Some(Turn::Refuses),
                (true, false) => Some(Turn::Takes),
                _ => None,
            };
        });
        turn
    }

    /// Notes what a program does.
    pub(crate) fn note_of(&self, program: String, note: Note, at: SystemTime) {
        self.0.send_if_modified(|standing| match note {
            Note::Accepted { type_url, mends: true, .. } => {
                standing.refusing.remove(&(program, type_url)).is_some()
            }
            Note::Rejected { type_url, version, error } => {
                let (key, room) = ((program, type_url), standing.refusing.len() < MOST_REFUSING);
                let room = room || standing.refusing.contains_key(&key);
                if room {
                    standing.refusing.insert(key, Rejection { version, at, error });
                }
                room
            }
            _ => false,
        });
    }
}

impl Standing {
    /// What went over Envoy's streams, of the mesh and what is made here: what is refused of either, Envoy
    /// refuses.
    pub fn exchanges(&self) -> BTreeMap<String, Exchange> {
        let mut all = self.types.clone();
        for (type_url, made) in &self.made {
            let of_mesh = all.remove(type_url).unwrap_or_default();
            all.insert(type_url.clone(), of_mesh.and(made.clone()));
        }
        all
    }

    /// When istiod has last sent anything, of whatever type.
    pub fn heard(&self) -> Option<SystemTime> {
        let sent = self.types.values().filter_map(|exchange| exchange.sent.as_ref());
        let own = [&self.names.table, &self.trust.bundle].into_iter().flatten();
        let refused = [&self.names.rejected, &self.trust.rejected].into_iter().flatten();
        let taken = sent.chain(own).map(|version| version.at);
        taken.chain(refused.map(|rejection| rejection.at)).max()
    }
}

/// Takes down what went over Envoy's streams.
fn take_down(exchanges: &mut BTreeMap<String, Exchange>, note: Note, at: SystemTime) {
    let (Note::Asked { type_url }
    | Note::Sent { type_url, .. }
    | Note::Accepted { type_url, .. }
    | Note::Rejected { type_url, .. }) = &note
    else {
        return;
    };
    // There are not more types than anybody could have.
    if exchanges.len() >= MOST_TYPES && !exchanges.contains_key(type_url) {
        return;
    }
    let exchange = exchanges.entry(type_url.clone()).or_default();
    match note {
        Note::Sent { version, resources, .. } => {
            exchange.responses += 1;
            exchange.sent = Some(Version { version, at, resources });
        }
        Note::Accepted { version, mends, .. } => {
            let sent = exchange.sent.as_ref().filter(|sent| sent.version == version);
            let resources = sent.map_or(0, |sent| sent.resources);
            exchange.accepted = Some(Version { version, at, resources });
            exchange.refuses &= !mends;
        }
        Note::Rejected { version, error, .. } => {
            exchange.rejections += 1;
            exchange.refuses = true;
            exchange.rejected = Some(Rejection { version, at, error });
        }
        _ => {}
    }
}

const MOST_TYPES: usize = 64;
/// As many as anybody would read.
const MOST_REFUSING: usize = 64;
const MOST_LACKS: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn another_address_that_answers_is_a_failover_and_the_same_one_again_is_none() {
        let mut names = Names::default();
        let at = SystemTime::UNIX_EPOCH;
        for (who, failovers) in [("a", 0), ("a", 0), ("b", 1), ("a", 2)] {
            names.joined(who, at);
            assert_eq!((names.peer.as_deref(), names.failovers), (Some(who), failovers));
        }
    }

    #[test]
    fn what_is_refused_of_either_is_refused() {
        let rejected = |error: &str| {
            let (version, error) = (String::new(), error.to_owned());
            Some(Rejection { version, at: SystemTime::UNIX_EPOCH, error })
        };
        let refusing = |error| {
            let (rejected, refuses) = (rejected(error), true);
            Exchange { responses: 1, rejections: 1, rejected, refuses, ..Exchange::default() }
        };
        let fine = Exchange { responses: 1, rejected: rejected("old"), ..Exchange::default() };
        for (mesh, made, error) in [
            (Some(fine.clone()), refusing("ours"), "ours"),
            (Some(refusing("theirs")), fine, "theirs"),
            (None, refusing("ours"), "ours"),
        ] {
            let mut standing = Standing::default();
            standing.made.insert("a".to_owned(), made);
            standing.types = mesh.into_iter().map(|mesh| ("a".to_owned(), mesh)).collect();
            let all = standing.exchanges().remove("a").unwrap();
            assert_eq!((all.refuses, all.rejected.unwrap().error.as_str()), (true, error));
        }
    }

    #[test]
    fn what_istiod_sent_last_is_the_latest_of_all_types() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let version = |seconds| Version { version: String::new(), at: at(seconds), resources: 0 };
        let mut standing = Standing::default();
        assert_eq!(standing.heard(), None);
        standing.names.table = Some(version(7));
        let sent = Exchange { sent: Some(version(9)), ..Exchange::default() };
        standing.types.insert("a".to_owned(), sent);
        assert_eq!(standing.heard(), Some(at(9)));
        standing.trust.rejected =
            Some(Rejection { version: String::new(), at: at(11), error: String::new() });
        assert_eq!(standing.heard(), Some(at(11)));
    }
}
