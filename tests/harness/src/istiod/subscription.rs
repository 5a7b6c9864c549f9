//! What one stream wants and has been sent: istiod's rules for both forms of the protocol.
//!
//! No I/O: requests and pushes in, responses out. As in the real one, a request without a nonce
//! subscribes anew in state-of-the-world and counts for nothing in delta when it changes nothing,
//! a stale nonce is passed over, a refused response is not sent again, clusters go out in part
//! only in delta, endpoints in part always, everything else whole. It passes over the versions that
//! a reconnecting client has, and knows none itself, unless it is told to honour them.

use std::collections::{BTreeMap, BTreeSet};

use hawser_proto::envoy::envoy::config::endpoint::v3::ClusterLoadAssignment;
use hawser_proto::envoy::envoy::config::route::v3::RouteConfiguration;
use hawser_proto::type_url::{
    CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, NAME_TABLE, PROXY_CONFIG, ROUTE, SECRET,
};
use tonic::Status;

use super::journal::{Flavour, Verdict};
use super::world::{Kindred, Packed, State, packed};

/// In which order istiod pushes; other types follow.
const ORDER: [&str; 5] = [CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET];

/// Clusters that are in every delta push of clusters, changed or not.
const STATIC: [&str; 3] = ["BlackHoleCluster", "InboundPassthroughCluster", "PassthroughCluster"];

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
    pub(super) resources: Vec<Given>,
    pub(super) removed: Vec<String>,
}

/// A resource in a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) name: String,
    /// Empty, unless versions are honoured.
    pub(super) version: String,
    pub(super) packed: Packed,
}

/// The subscriptions of one stream.
#[derive(Debug)]
pub(super) struct Subscriptions {
    flavour: Flavour,
    honours_versions: bool,
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
        Self { flavour, honours_versions: false, by_type: BTreeMap::new(), pushed }
    }

    /// The same, but resources have versions, and what a client has is not sent again.
    pub(super) fn honouring(self, honours_versions: bool) -> Self {
        Self { honours_versions, ..self }
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
        if self.honours_versions && !ask.initial.is_empty() {
            for push in &mut pushes {
                push.resources.retain(|one| ask.initial.get(&one.name) != Some(&one.version));
            }
            pushes.retain(|push| wildcard(&push.type_url) || !push.says_nothing());
        }
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
        let since = Since { push: since, in_delta: self.flavour == Flavour::Delta };
        let Some(mut resources) = collect(world, type_url, names, since)? else { return Ok(None) };
        let mut removed = Vec::new();
        if self.flavour == Flavour::Delta && type_url != EXTENSION_CONFIG {
            let makes_up = !self.honours_versions;
            removed = gone(world, type_url, names, makes_up);
        }
        if self.honours_versions {
            resources.retain(|one| !removed.contains(&one.name));
        } else {
            resources.iter_mut().for_each(|one| one.version.clear());
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

impl Push {
    fn says_nothing(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

/// Types of which everything is meant when no name is given.
fn wildcard(type_url: &str) -> bool {
    ![SECRET, ENDPOINT, ROUTE, EXTENSION_CONFIG].contains(&type_url)
}

fn in_part(type_url: &str, flavour: Flavour) -> bool {
    type_url == ENDPOINT || (type_url == CLUSTER && flavour == Flavour::Delta)
}

/// What is old enough to be left out.
#[derive(Clone, Copy)]
struct Since {
    push: Option<u64>,
    in_delta: bool,
}

impl Since {
    fn takes(self, changed: u64, type_url: &str, name: &str) -> bool {
        let always = self.in_delta && type_url == CLUSTER && STATIC.contains(&name);
        always || self.push.is_none_or(|push| changed > push)
    }
}

/// The resources of a response; `None` where istiod does not answer at all.
fn collect(
    world: &State,
    type_url: &str,
    names: &BTreeSet<String>,
    since: Since,
) -> Result<Option<Vec<Given>>, Status> {
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
    let given = |name: &String, (changed, packed): &(u64, Packed)| {
        since.takes(*changed, type_url, name).then(|| Given {
            name: name.clone(),
            version: changed.to_string(),
            packed: packed.clone(),
        })
    };
    if wildcard(type_url) {
        let all = kindred.resources.iter();
        return Ok(Some(all.filter_map(|(name, one)| given(name, one)).collect()));
    }
    let named = names.iter().filter_map(|name| match kindred.resources.get(name) {
        Some(one) => given(name, one),
        None => {
            let packed = empty(type_url, name)?;
            Some(Given { name: name.clone(), version: String::new(), packed })
        }
    });
    Ok(Some(named.collect()))
}

/// What istiod makes up for a name it does not know.
fn empty(type_url: &str, name: &str) -> Option<Packed> {
    let name = name.to_owned();
    let any = match type_url {
        ENDPOINT => {
            let cluster_name = name;
            packed(type_url, &ClusterLoadAssignment { cluster_name, ..Default::default() })
        }
        ROUTE => packed(type_url, &RouteConfiguration { name, ..Default::default() }),
        _ => return None,
    };
    Some(any.into())
}

/// Names that the stream had or wants and that are neither there nor made up.
fn gone(world: &State, type_url: &str, names: &BTreeSet<String>, makes_up: bool) -> Vec<String> {
    let there = |name: &&String| {
        let known = world.types.get(type_url);
        known.is_some_and(|kindred| kindred.resources.contains_key(*name))
            || (makes_up && empty(type_url, name).is_some())
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
