//! What one stream wants and has been sent: istiod's rules for both forms of the protocol.
//!
//! No I/O: requests and pushes in, responses out. As in the real one, a request without a nonce
//! subscribes anew in state-of-the-world and counts for nothing in delta when it changes nothing,
//! a stale nonce is passed over, a refused response is not sent again, clusters go out in part
//! only in delta, endpoints in part always, everything else whole.

use std::collections::{BTreeMap, BTreeSet};

use hawser_proto::envoy::envoy::config::endpoint::v3::ClusterLoadAssignment;
use hawser_proto::envoy::envoy::config::route::v3::RouteConfiguration;
use hawser_proto::envoy::google::protobuf::Any;
use hawser_proto::type_url::{
    CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, NAME_TABLE, PROXY_CONFIG, ROUTE, SECRET,
};
use tonic::Status;

use super::journal::{Flavour, Verdict};
use super::world::{Kindred, State, packed};

/// In which order istiod pushes; other types follow.
const ORDER: [&str; 5] = [CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET];

/// A request of either form.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    pub(super) type_url: String,
    pub(super) names: Vec<String>,
    pub(super) unsubscribed: Vec<String>,
    pub(super) initial: BTreeMap<String, String>,
    pub(super) version: String,
    pub(super) nonce: String,
    pub(super) error: Option<(i32, String)>,
}

/// A response of either form.
#[derive(Debug, Clone)]
pub(super) struct Push {
    pub(super) type_url: String,
    pub(super) version: String,
    pub(super) nonce: String,
    pub(super) resources: Vec<(String, Any)>,
    pub(super) removed: Vec<String>,
}

/// The subscriptions of one stream.
#[derive(Debug)]
pub(super) struct Subscriptions {
    flavour: Flavour,
    by_type: BTreeMap<String, Watched>,
    pushed: u64,
}

#[derive(Debug, Default)]
struct Watched {
    names: BTreeSet<String>,
    nonce: String,
    /// Answer the next ACK as if it asked for everything: the clusters behind it are new.
    warming: bool,
}

/// Which resources a response is made of.
enum Scope {
    All,
    Only(BTreeSet<String>),
    Since(u64),
}

impl Subscriptions {
    pub(super) fn new(flavour: Flavour, pushed: u64) -> Self {
        Self { flavour, by_type: BTreeMap::new(), pushed }
    }

    /// Whether there is a subscription to this type.
    pub(super) fn knows(&self, type_url: &str) -> bool {
        self.by_type.contains_key(type_url)
    }

    /// Takes a request; answers what it was and what is to be sent.
    pub(super) fn take(
        &mut self,
        ask: &Ask,
        world: &State,
    ) -> Result<(Verdict, Vec<Push>), Status> {
        let (verdict, scope) = match self.flavour {
            Flavour::SotW => self.take_sotw(ask),
            Flavour::Delta => self.take_delta(ask),
        };
        let Some(scope) = scope else { return Ok((verdict, Vec::new())) };
        let mut pushes: Vec<_> = self.respond(&ask.type_url, &scope, world)?.into_iter().collect();
        let clusters = self.flavour == Flavour::Delta && ask.type_url == CLUSTER;
        if clusters && self.by_type.contains_key(ENDPOINT) {
            pushes.extend(self.respond(ENDPOINT, &Scope::All, world)?);
        }
        Ok((verdict, pushes))
    }

    /// Everything that has changed since the last push and is wanted, in istiod's order.
    pub(super) fn push(&mut self, world: &State) -> Result<Vec<Push>, Status> {
        let since = std::mem::replace(&mut self.pushed, world.push);
        let mut types: Vec<_> = self.by_type.keys().cloned().collect();
        types.sort_by_key(|one| ORDER.iter().position(|known| known == one).unwrap_or(ORDER.len()));
        let mut pushes = Vec::new();
        for type_url in types {
            if world.types.get(&type_url).is_some_and(|kindred| kindred.changed > since) {
                pushes.extend(self.respond(&type_url, &Scope::Since(since), world)?);
            }
        }
        Ok(pushes)
    }

    fn take_sotw(&mut self, ask: &Ask) -> (Verdict, Option<Scope>) {
        let wildcard = wildcard(&ask.type_url);
        if ask.error.is_some() {
            return (Verdict::Nack, None);
        }
        if ask.names.is_empty() && !wildcard {
            self.by_type.remove(&ask.type_url);
            return (Verdict::Unsubscribed, None);
        }
        let wanted: BTreeSet<_> = ask.names.iter().cloned().collect();
        let watched = match self.by_type.get_mut(&ask.type_url) {
            Some(watched) if !ask.nonce.is_empty() => watched,
            _ => {
                let fresh = Watched { names: wanted, ..Watched::default() };
                self.by_type.insert(ask.type_url.clone(), fresh);
                if ask.type_url == CLUSTER
                    && let Some(endpoints) = self.by_type.get_mut(ENDPOINT)
                {
                    endpoints.warming = true;
                }
                return (Verdict::Subscribed, Some(Scope::All));
            }
        };
        if ask.nonce != watched.nonce {
            return (Verdict::Stale, None);
        }
        let before = std::mem::replace(&mut watched.names, wanted.clone());
        if std::mem::take(&mut watched.warming) {
            return (Verdict::Ack, Some(Scope::All));
        }
        if before == wanted {
            return (Verdict::Ack, None);
        }
        let added: BTreeSet<_> = wanted.difference(&before).cloned().collect();
        let scope = match (wildcard, added.is_empty()) {
            (false, true) => None,
            (_, true) => Some(Scope::All),
            (_, false) => Some(Scope::Only(added)),
        };
        (Verdict::Changed, scope)
    }

    fn take_delta(&mut self, ask: &Ask) -> (Verdict, Option<Scope>) {
        if ask.error.is_some() {
            return (Verdict::Nack, None);
        }
        let mut added: BTreeSet<_> = ask.names.iter().chain(ask.initial.keys()).cloned().collect();
        added.retain(|name| name != "*" && !ask.unsubscribed.contains(name));
        let Some(watched) = self.by_type.get_mut(&ask.type_url) else {
            let fresh = Watched { names: added, ..Watched::default() };
            self.by_type.insert(ask.type_url.clone(), fresh);
            let nothing = ask.names.is_empty() && !wildcard(&ask.type_url);
            return (Verdict::Subscribed, (!nothing).then_some(Scope::All));
        };
        if !ask.nonce.is_empty() && ask.nonce != watched.nonce {
            return (Verdict::Stale, None);
        }
        let before = watched.names.clone();
        watched.names.extend(added.iter().cloned());
        watched.names.retain(|name| !ask.unsubscribed.contains(name));
        if before == watched.names {
            return (if ask.nonce.is_empty() { Verdict::Changed } else { Verdict::Ack }, None);
        }
        (Verdict::Changed, (!added.is_empty()).then_some(Scope::Only(added)))
    }

    fn respond(
        &mut self,
        type_url: &str,
        scope: &Scope,
        world: &State,
    ) -> Result<Option<Push>, Status> {
        let Some(watched) = self.by_type.get_mut(type_url) else { return Ok(None) };
        let wildcard = wildcard(type_url);
        let names = match scope {
            Scope::Only(names) if !wildcard => names,
            _ => &watched.names,
        };
        let since = match scope {
            Scope::Since(push) if in_part(type_url, self.flavour) => Some(*push),
            _ => None,
        };
        let Some(resources) = collect(world, type_url, names, since)? else { return Ok(None) };
        let mut removed = Vec::new();
        if self.flavour == Flavour::Delta && type_url != EXTENSION_CONFIG {
            removed = gone(world, type_url, names);
        }
        if wildcard && self.flavour == Flavour::Delta {
            let all = world.types.get(type_url).into_iter().flat_map(|kin| kin.resources.keys());
            watched.names = all.cloned().collect();
        }
        watched.nonce = format!("{}{}", world.version, uuid());
        Ok(Some(Push {
            type_url: type_url.to_owned(),
            version: world.version.clone(),
            nonce: watched.nonce.clone(),
            resources,
            removed,
        }))
    }
}

/// Types of which everything is meant when no name is given.
fn wildcard(type_url: &str) -> bool {
    ![SECRET, ENDPOINT, ROUTE, EXTENSION_CONFIG].contains(&type_url)
}

fn in_part(type_url: &str, flavour: Flavour) -> bool {
    type_url == ENDPOINT || (type_url == CLUSTER && flavour == Flavour::Delta)
}

/// The resources of a response; `None` where istiod does not answer at all.
fn collect(
    world: &State,
    type_url: &str,
    names: &BTreeSet<String>,
    since: Option<u64>,
) -> Result<Option<Vec<(String, Any)>>, Status> {
    let nothing = Kindred::default();
    let kindred = match (world.types.get(type_url), type_url) {
        (Some(kindred), _) => kindred,
        (None, CLUSTER | LISTENER | ENDPOINT | ROUTE | EXTENSION_CONFIG) => &nothing,
        (None, NAME_TABLE | PROXY_CONFIG) => return Ok(None),
        (None, ambient) if ambient.contains("/istio.workload.") => &nothing,
        (None, _) => {
            return Err(Status::permission_denied(
                "the api generator is restricted to the control-plane (root) namespace",
            ));
        }
    };
    let fresh = |changed: u64| since.is_none_or(|push| changed > push);
    if wildcard(type_url) {
        let all = kindred.resources.iter().filter(|(_, (changed, _))| fresh(*changed));
        return Ok(Some(all.map(|(name, (_, any))| (name.clone(), Any::clone(any))).collect()));
    }
    let named = names.iter().filter_map(|name| match kindred.resources.get(name) {
        Some((changed, any)) => fresh(*changed).then(|| (name.clone(), Any::clone(any))),
        None => Some((name.clone(), empty(type_url, name)?)),
    });
    Ok(Some(named.collect()))
}

/// What istiod makes up for a name it does not know.
fn empty(type_url: &str, name: &str) -> Option<Any> {
    let name = name.to_owned();
    match type_url {
        ENDPOINT => {
            let cluster_name = name;
            Some(packed(type_url, &ClusterLoadAssignment { cluster_name, ..Default::default() }))
        }
        ROUTE => Some(packed(type_url, &RouteConfiguration { name, ..Default::default() })),
        _ => None,
    }
}

/// Names that the stream had or wants and that are not there.
fn gone(world: &State, type_url: &str, names: &BTreeSet<String>) -> Vec<String> {
    let there = |name: &&String| {
        let known = world.types.get(type_url);
        known.is_some_and(|kindred| kindred.resources.contains_key(*name))
            || empty(type_url, name).is_some()
    };
    names.iter().filter(|name| !there(name)).cloned().collect()
}

/// A random (version 4) UUID.
fn uuid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let cut = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32))
}

#[cfg(test)]
mod tests;
