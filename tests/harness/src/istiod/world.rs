//! What istiod would push: resources by type and name, and the pushes that they have caused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hawser_proto::envoy::envoy::config::cluster::v3::Cluster;
use hawser_proto::envoy::envoy::config::core::v3::{Metadata, TypedExtensionConfig};
use hawser_proto::envoy::envoy::config::endpoint::v3::ClusterLoadAssignment;
use hawser_proto::envoy::envoy::config::listener::v3::Listener;
use hawser_proto::envoy::envoy::config::route::v3::RouteConfiguration;
use hawser_proto::envoy::envoy::extensions::transport_sockets::tls::v3::Secret;
use hawser_proto::envoy::google::protobuf::{Any, Struct, Value, value::Kind};
use hawser_proto::istio::nds::NameTable;
use hawser_proto::type_url;
use prost::Message;
use tokio::sync::watch;

/// A resource that goes by a name.
pub trait Resource: Message {
    /// Its type on the wire.
    const TYPE_URL: &'static str;

    /// Its name.
    fn name(&self) -> &str;
}

macro_rules! resource {
    ($kind:ty, $url:ident, $name:ident) => {
        impl Resource for $kind {
            const TYPE_URL: &'static str = type_url::$url;

            fn name(&self) -> &str {
                &self.$name
            }
        }
    };
}

resource!(Cluster, CLUSTER, name);
resource!(Listener, LISTENER, name);
resource!(ClusterLoadAssignment, ENDPOINT, cluster_name);
resource!(RouteConfiguration, ROUTE, name);
resource!(Secret, SECRET, name);
resource!(TypedExtensionConfig, EXTENSION_CONFIG, name);

/// The state that all streams see; every change of it is a push.
#[derive(Debug)]
pub struct World {
    state: watch::Sender<Arc<State>>,
}

/// The world after some push.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub(super) push: u64,
    pub(super) version: String,
    pub(super) types: BTreeMap<String, Kindred>,
}

/// All resources of one type, each with the push that changed it last.
#[derive(Debug, Clone, Default)]
pub(super) struct Kindred {
    pub(super) changed: u64,
    pub(super) resources: BTreeMap<String, (u64, Packed)>,
}

/// The `Any` of a resource. Its value is in two parts, so that many can share most of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) type_url: Arc<str>,
    pub(super) parts: [Bytes; 2],
}

/// Good clusters that nobody uses: so many bytes of them and a little more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ballast {
    /// How much in all.
    pub bytes: usize,
    /// How much of it is in one cluster.
    pub piece: usize,
    /// What makes its content another than that of other rounds.
    pub round: u64,
}

impl Default for World {
    fn default() -> Self {
        let state = State { push: 1, version: version(1), types: BTreeMap::new() };
        Self { state: watch::Sender::new(Arc::new(state)) }
    }
}

impl World {
    /// Changes any number of resources in one push.
    pub fn change(&self, edit: impl FnOnce(&mut State)) {
        // One at a time: several istiods and a test may want to.
        self.state.send_modify(|state| {
            let state = Arc::make_mut(state);
            state.push += 1;
            state.version = version(state.push);
            edit(state);
        });
    }

    /// Pushes everything again, unchanged under a new version.
    pub fn push_again(&self) {
        self.change(|state| {
            let push = state.push;
            state.types.values_mut().for_each(|kindred| kindred.touch(push));
        });
    }

    /// Sets endpoints; a push only if they are others than before.
    pub(super) fn change_endpoints(&self, lists: Vec<ClusterLoadAssignment>) {
        let now = Arc::clone(&self.state.borrow());
        let known = now.types.get(type_url::ENDPOINT);
        let fresh = |list: &ClusterLoadAssignment| {
            let old = known.and_then(|kindred| kindred.resources.get(&list.cluster_name));
            old.is_none_or(|(_, packed)| packed.any() != any(list))
        };
        let fresh: Vec<_> = lists.into_iter().filter(fresh).collect();
        if !fresh.is_empty() {
            self.change(|state| fresh.iter().for_each(|list| state.put(list)));
        }
    }

    /// The version of the last push.
    #[must_use]
    pub fn version(&self) -> String {
        self.state.borrow().version.clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }
}

impl State {
    pub(super) fn push(&self) -> u64 {
        self.push
    }
}

impl State {
    /// Makes these all the resources of their type.
    pub fn set<R: Resource>(&mut self, resources: impl IntoIterator<Item = R>) {
        let named = resources.into_iter().map(|one| (one.name().to_owned(), any(&one)));
        self.replace(R::TYPE_URL, named.collect());
    }

    /// Adds a resource or changes the one of its name.
    pub fn put<R: Resource>(&mut self, resource: &R) {
        self.put_raw(R::TYPE_URL, resource.name(), any(resource));
    }

    /// Adds bytes that need not be what their type says.
    pub fn put_raw(&mut self, type_url: &str, name: &str, value: Any) {
        let push = self.push;
        let kindred = self.types.entry(type_url.to_owned()).or_default();
        kindred.changed = push;
        kindred.resources.insert(name.to_owned(), (push, value.into()));
    }

    /// Takes a resource away.
    pub fn remove(&mut self, type_url: &str, name: &str) {
        let push = self.push;
        if let Some(kindred) = self.types.get_mut(type_url)
            && kindred.resources.remove(name).is_some()
        {
            kindred.changed = push;
        }
    }

    /// Sets the name table; an empty one is pushed as such.
    pub fn names(&mut self, table: &NameTable) {
        self.put_raw(type_url::NAME_TABLE, "", packed(type_url::NAME_TABLE, table));
    }

    /// Sets the trust roots that istiod pushes in a mesh of several roots.
    pub fn trust(&mut self, roots: &[&str]) {
        let pem = roots.iter().map(|root| (*root).to_owned()).collect();
        let config = packed(type_url::PROXY_CONFIG, &TrustBundle { pem });
        self.put_raw(type_url::PROXY_CONFIG, "", config);
    }

    /// Pushes a list of trust roots without anything in it: a client is to pass over it.
    pub fn no_trust(&mut self) {
        self.replace(type_url::PROXY_CONFIG, BTreeMap::new());
    }

    /// Adds a resource of this type that nobody can decode.
    pub fn garbage(&mut self, type_url: &str) {
        let value = vec![0xff; 64];
        self.put_raw(type_url, "garbage", Any { type_url: type_url.to_owned(), value });
    }

    /// Adds good clusters that nobody uses, `bytes` of them and a little more.
    pub fn ballast(&mut self, bytes: usize) {
        self.ballast_of(Ballast { bytes, piece: 64 * 1024, round: 0 });
    }

    /// The same by choice of size and content. All of them share one body in memory.
    pub fn ballast_of(&mut self, ballast: Ballast) {
        let text = format!("round {} ", ballast.round);
        let text = text.repeat(ballast.piece.div_ceil(text.len()));
        let text = Value { kind: Some(Kind::StringValue(text)) };
        let fields = [("ballast".to_owned(), text)].into();
        let filter_metadata = [("hawser".to_owned(), Struct { fields })].into();
        let metadata = Some(Metadata { filter_metadata, ..Metadata::default() });
        let body = Cluster { metadata, ..Cluster::default() }.encode_to_vec();
        let (body, url) = (Bytes::from(body), Arc::from(type_url::CLUSTER));
        let push = self.push;
        let kindred = self.types.entry(type_url::CLUSTER.to_owned()).or_default();
        kindred.changed = push;
        for number in 0..ballast.bytes.div_ceil(ballast.piece.max(1)) {
            let name = format!("ballast-{number}");
            // Fields of a message may follow each other in any order and in any number of parts.
            let head = Cluster { name: name.clone(), ..Cluster::default() }.encode_to_vec();
            let parts = [head.into(), body.clone()];
            let packed = Packed { type_url: Arc::clone(&url), parts };
            kindred.resources.insert(name, (push, packed));
        }
    }

    /// Takes away every resource of a type.
    pub fn clear(&mut self, type_url: &str) {
        self.replace(type_url, BTreeMap::new());
    }

    /// Every resource of a type, by name.
    #[must_use]
    pub fn all(&self, type_url: &str) -> BTreeMap<String, Any> {
        let all = self.types.get(type_url).into_iter().flat_map(|kindred| &kindred.resources);
        all.map(|(name, (_, packed))| (name.clone(), packed.any())).collect()
    }

    fn replace(&mut self, type_url: &str, resources: BTreeMap<String, Any>) {
        let push = self.push;
        let old = self.types.remove(type_url).unwrap_or_default();
        let mut next = Kindred { changed: push, resources: BTreeMap::new() };
        for (name, value) in resources {
            let entry = match old.resources.get(&name) {
                Some((since, known)) if known.any() == value => (*since, known.clone()),
                _ => (push, value.into()),
            };
            next.resources.insert(name, entry);
        }
        self.types.insert(type_url.to_owned(), next);
    }
}

impl Packed {
    /// How long the value is.
    pub(super) fn length(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    pub(super) fn any(&self) -> Any {
        Any { type_url: self.type_url.to_string(), value: self.parts.concat() }
    }
}

impl From<Any> for Packed {
    fn from(any: Any) -> Self {
        let parts = [any.value.into(), Bytes::new()];
        Self { type_url: any.type_url.into(), parts }
    }
}

impl Kindred {
    fn touch(&mut self, push: u64) {
        self.changed = push;
        self.resources.values_mut().for_each(|(since, _)| *since = push);
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct TrustBundle {
    #[prost(string, repeated, tag = "34")]
    pem: Vec<String>,
}

fn any<R: Resource>(resource: &R) -> Any {
    packed(R::TYPE_URL, resource)
}

pub(super) fn packed(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

/// istiod's push version: the time of the push and its number.
fn version(push: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (now / 86_400, now % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z/{push}")
}

/// The Gregorian date of a day since 1970, in years that begin in March so that the leap day is
/// the last of one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, wrapped) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + wrapped, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_778, (2026, 11, 21)),
        ] {
            assert_eq!(civil(days), date);
        }
    }

    #[test]
    fn only_what_differs_counts_as_changed() {
        let world = World::default();
        let cluster = |name: &str| Cluster { name: name.to_owned(), ..Cluster::default() };
        world.change(|state| state.set([cluster("a"), cluster("b")]));
        let first = world.subscribe().borrow().push;
        world.change(|state| {
            let c = Cluster { alt_stat_name: "new".to_owned(), ..cluster("b") };
            state.set([cluster("a"), c]);
        });

        let state = Arc::clone(&world.subscribe().borrow());
        let clusters = &state.types[type_url::CLUSTER].resources;
        assert_eq!(clusters["a"].0, first);
        assert_eq!(clusters["b"].0, state.push);
    }
}
