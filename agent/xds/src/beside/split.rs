//! Which part of a request is whose (delta).
//!
//! - What is ours begins with [`OURS`]: names, what is held, and the nonces of our answers. Who wants
//!   everything wants it of both.
//! - The mesh hears nothing of ours. What has none of it in it passes byte for byte.
//! - Nobody is asked for nothing: a first request without a name would ask for everything.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use hawser_wire::{Edit, Fields, Flavour, Malformed, Value, rebuild, write};

use super::OURS;
use crate::{
    local::{Desk, Letter, Supply, Verdict},
    session::{Asking, MOST_TYPES, Note, Refusal, brief, is_kept},
};

/// Tells requests of one stream apart, and answers ours.
#[derive(Debug)]
pub(crate) struct Split {
    desk: Desk,
    /// Types that were asked for, and those that the mesh was asked for.
    asked: BTreeSet<String>,
    of_mesh: BTreeSet<String>,
    /// Who asks, until the mesh was told.
    node: Option<Bytes>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) type_url: String,
    /// What of it the mesh is to hear.
    pub(crate) theirs: Option<Bytes>,
    /// What it says of an answer of ours.
    pub(crate) verdict: Option<Note>,
}

impl Split {
    /// Of a stream that marks our nonces so.
    pub(crate) fn new(supply: Arc<Supply>, mark: u64) -> Self {
        let desk = Desk::new(Flavour::Delta, supply, mark);
        let (asked, of_mesh) = (BTreeSet::new(), BTreeSet::new());
        Self { desk, asked, of_mesh, node: None }
    }

    /// Takes a request of Envoy's.
    pub(crate) fn hear(&mut self, message: &Bytes) -> Result<Parts, Refusal> {
        let asking = Asking::of(Flavour::Delta, message)?;
        let type_url = asking.type_url.to_owned();
        if is_kept(asking.type_url) {
            return Ok(Parts { type_url, theirs: Some(message.clone()), verdict: None });
        }
        let first = !self.asked.contains(asking.type_url);
        if first && self.asked.len() >= MOST_TYPES {
            return Err(Refusal::TooManyTypes);
        }
        if first {
            self.asked.insert(type_url.clone());
        }
        let everything = first && asking.names.is_empty();
        let verdict = self.ours(&asking, everything)?;
        let theirs = self.theirs(message, &asking, everything)?;
        Ok(Parts { type_url, theirs, verdict })
    }

    /// There is something else from now on.
    pub(crate) fn restock(&mut self, supply: Arc<Supply>) {
        self.desk.restock(supply);
    }

    /// What is to be told next of ours, of types that may be told of.
    pub(crate) fn next(&mut self, may: &mut dyn FnMut(&str) -> bool) -> Option<Letter> {
        self.desk.next(may)
    }

    fn ours(&mut self, asking: &Asking<'_>, everything: bool) -> Result<Option<Note>, Refusal> {
        let is = |name: &&str| is_ours(name) || *name == ALL;
        let about = is_ours(asking.nonce);
        let ours = Asking {
            type_url: asking.type_url,
            nonce: if about { asking.nonce } else { "" },
            rejection: asking.rejection.filter(|_| about),
            names: asking.names.iter().copied().filter(is).collect(),
            dropped: asking.dropped.iter().copied().filter(is).collect(),
            held: asking.held.iter().copied().filter(|(name, _)| is_ours(name)).collect(),
            ..Asking::default()
        };
        let more = !ours.names.is_empty();
        if !everything && !more && (ours.is_receipt() && !about || !self.desk.knows(ours.type_url))
        {
            return Ok(None);
        }
        let verdict = self.desk.hear(&ours);
        let bytes = if more { self.desk.size() } else { 0 };
        if bytes > MOST_NAMED {
            return Err(Refusal::Overflow { bytes });
        }
        let type_url = brief(ours.type_url);
        Ok(verdict.map(|verdict| match verdict {
            Verdict::Taken { version, mends } => Note::Accepted { type_url, version, mends },
            Verdict::Refused { version, error } => {
                Note::Rejected { type_url, version, error: brief(&error) }
            }
        }))
    }

    fn theirs(
        &mut self,
        message: &Bytes,
        asking: &Asking<'_>,
        everything: bool,
    ) -> Result<Option<Bytes>, Refusal> {
        let about = is_ours(asking.nonce);
        let mut names = asking.names.iter();
        let asks = everything || names.any(|name| !is_ours(name));
        let says = asks
            || !about && (!asking.nonce.is_empty() || asking.rejection.is_some())
            || asking.dropped.iter().any(|name| !is_ours(name));
        let known = self.of_mesh.contains(asking.type_url);
        if !asks && (!known || !says) {
            let node = asking.node.map(Bytes::copy_from_slice);
            self.node = node.or(self.node.take());
            return Ok(None);
        }
        if !known {
            self.of_mesh.insert(asking.type_url.to_owned());
        }
        let theirs = without_ours(message, about)?.map_or_else(|| message.clone(), Bytes::from);
        let Some(node) = self.node.take().filter(|_| asking.node.is_none()) else {
            return Ok(Some(theirs));
        };
        let mut introduced = Vec::with_capacity(node.len() + theirs.len() + AROUND);
        write::bytes(&mut introduced, NODE, &node);
        introduced.extend_from_slice(&theirs);
        Ok(Some(introduced.into()))
    }
}

/// The request as somebody would make it who knows nothing of ours; none if it is that.
fn without_ours(message: &[u8], about: bool) -> Result<Option<Vec<u8>>, Malformed> {
    rebuild(message, &mut |number, value: Value<'_>| {
        let ours = match number {
            NAMES | DROPPED => is_ours(value.text()?),
            HELD => {
                let name = Fields::last(value.bytes()?, 1)?;
                is_ours(name.map_or(Ok(""), |name| name.text())?)
            }
            NONCE | ERROR => about,
            _ => false,
        };
        Ok(if ours { Edit::Drop } else { Edit::Keep })
    })
}

fn is_ours(name: &str) -> bool {
    name.starts_with(OURS)
}

/// The name of everything.
const ALL: &str = "*";
/// Of a delta request.
const NODE: u32 = 1;
const NAMES: u32 = 3;
const DROPPED: u32 = 4;
const HELD: u32 = 5;
const NONCE: u32 = 6;
const ERROR: u32 = 7;
/// What precedes a node.
const AROUND: usize = 16;
/// Nobody has so many names of ours.
const MOST_NAMED: usize = 64 << 20;
