//! Whatever happens, what Envoy ends up with is what istiod would have given it directly, or the
//! last it accepted.
//!
//! A model of istiod, one of Envoy and one of the store, and the session between them. Clusters are
//! wanted all, endpoints of the clusters that Envoy has. There may be what is made here beside it, of
//! which neither istiod nor the store ever hears.

mod envoy;
mod istiod;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use hawser_proto::type_url;
use hawser_wire::Flavour;
use proptest::prelude::*;

use self::{
    envoy::{Envoy, Said},
    istiod::{Istiod, Stream},
};
use super::super::{Address, Changes, Sent, Session};
use crate::{
    Supplied, Supply,
    beside::{OURS, Split},
    tests::words::{Ask, Tell},
};

const NODE: &str = "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local";
const TYPES: [&str; 2] = [type_url::CLUSTER, type_url::ENDPOINT];

/// Name to version.
type Held = BTreeMap<String, u32>;

#[derive(Clone, Debug)]
enum Step {
    /// istiod's cluster of that name gets another version, or goes.
    Change {
        name: u8,
        gone: bool,
    },
    /// Its endpoints do.
    Endpoint {
        name: u8,
    },
    /// So many messages move, on one of the ways.
    ToIstiod(u8),
    FromIstiod(u8),
    ToEnvoy(u8),
    FromEnvoy(u8),
    /// istiod is lost; in the middle of a large response, if so.
    Cut {
        broken: bool,
    },
    Begin,
    /// Envoy has waited long enough.
    Replay,
    /// What is made here gets another version, or goes: a cluster, or its endpoints.
    Make {
        of: usize,
        name: u8,
        gone: bool,
    },
    FromHere(u8),
    /// Envoy refuses the next response.
    Refuse,
    /// The agent starts again, or Envoy does.
    Agent,
    Envoy,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u8..5, prop::bool::weighted(0.3)).prop_map(|(name, gone)| Step::Change { name, gone }),
        2 => (0_u8..5).prop_map(|name| Step::Endpoint { name }),
        4 => (1_u8..4).prop_map(Step::ToIstiod),
        4 => (1_u8..4).prop_map(Step::FromIstiod),
        4 => (1_u8..4).prop_map(Step::ToEnvoy),
        4 => (1_u8..4).prop_map(Step::FromEnvoy),
        2 => any::<bool>().prop_map(|broken| Step::Cut { broken }),
        3 => Just(Step::Begin),
        3 => Just(Step::Replay),
        2 => (0_usize..2, 0_u8..3, prop::bool::weighted(0.4))
            .prop_map(|(of, name, gone)| Step::Make { of, name, gone }),
        2 => (1_u8..4).prop_map(Step::FromHere),
        1 => Just(Step::Refuse),
        1 => Just(Step::Agent),
        1 => Just(Step::Envoy),
    ]
}

fn resource(name: &str, version: u32) -> (String, String, Vec<u8>) {
    (name.to_owned(), version.to_string(), version.to_string().into_bytes())
}

fn version_of(value: &[u8]) -> u32 {
    str::from_utf8(value).unwrap().parse().unwrap()
}

#[derive(Debug)]
struct World {
    flavour: Flavour,
    istiod: Istiod,
    envoy: Envoy,
    session: Session<(Tell, bool)>,
    /// What is made here, and who tells it.
    made: Supply,
    split: Option<Split>,
    /// On its way to Envoy.
    said: VecDeque<Said>,
    store: BTreeMap<String, Held>,
    open: bool,
    kept: u32,
}

impl World {
    fn new(flavour: Flavour, frugal: bool, beside: bool) -> Self {
        let names = || ["a", "b", "c", "d", "e"].map(|name| (name.to_owned(), 1)).into();
        let world = TYPES.map(|type_url| (type_url, names())).into();
        let mut envoy = Envoy::new(flavour);
        envoy.connect();
        Self {
            flavour,
            istiod: Istiod { flavour, frugal, world, stream: None, count: 1 },
            envoy,
            session: session(flavour),
            made: Supply::default(),
            split: beside.then(|| Split::new(Arc::default(), 0)),
            said: VecDeque::new(),
            store: BTreeMap::new(),
            open: false,
            kept: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Change { name, gone } => {
                self.istiod.count += 1;
                let (name, version) = (letter(*name), self.istiod.count);
                let clusters = self.istiod.world.get_mut(type_url::CLUSTER).unwrap();
                if *gone {
                    clusters.remove(&name);
                } else {
                    clusters.insert(name, version);
                }
                self.istiod.changed(type_url::CLUSTER);
            }
            Step::Endpoint { name } => {
                self.istiod.count += 1;
                let endpoints = self.istiod.world.get_mut(type_url::ENDPOINT).unwrap();
                endpoints.insert(letter(*name), self.istiod.count);
                self.istiod.changed(type_url::ENDPOINT);
            }
            Step::ToIstiod(many) => while_moving(*many, || self.reach_istiod()),
            Step::FromIstiod(many) => while_moving(*many, || self.leave_istiod()),
            Step::ToEnvoy(many) => while_moving(*many, || self.reach_envoy()),
            Step::FromEnvoy(many) => while_moving(*many, || self.leave_envoy()),
            Step::Cut { broken } => self.cut(*broken),
            Step::Begin => self.begin(),
            Step::Replay => self.replay(),
            Step::Make { of, name, gone } => self.make(TYPES[*of], *name, *gone),
            Step::FromHere(many) => while_moving(*many, || self.leave_here()),
            Step::Refuse => self.envoy.refuses = true,
            Step::Agent => self.again(),
            Step::Envoy => {
                self.envoy = Envoy::new(self.flavour);
                self.again();
            }
        }
    }

    fn make(&mut self, type_url: &'static str, name: u8, gone: bool) {
        let Some(split) = &mut self.split else { return };
        self.istiod.count += 1;
        let (name, version) = (format!("{OURS}{}", letter(name)), self.istiod.count);
        let made = self.made.0.entry(type_url).or_default();
        if gone {
            made.remove(&name);
        } else {
            let resources = vec![resource(&name, version)];
            let body = Tell { resources, ..Tell::default() }.body(&name).into();
            made.insert(name, Supplied { version: version.to_string(), body });
        }
        split.restock(Arc::new(self.made.clone()));
    }

    fn leave_here(&mut self) -> bool {
        let Some(split) = &mut self.split else { return false };
        let Some(mut letter) = split.next(&mut |_| true) else { return false };
        let frame: Vec<_> = std::iter::from_fn(|| letter.chunk()).collect();
        let message = Bytes::from(frame.concat()).slice(5..);
        self.said.push_back(Said::Whole(Tell::read(self.flavour, &message).unwrap()));
        true
    }

    fn begin(&mut self) {
        if !self.open {
            self.open = true;
            self.session.begin();
            self.istiod.stream = Some(Stream::default());
        }
    }

    fn cut(&mut self, broken: bool) {
        let Some(stream) = self.istiod.stream.take() else { return };
        if let Some(tell) = stream.answers.front().filter(|_| broken)
            && self.session.passes(&tell.type_url)
        {
            self.session.sent(&tell.type_url, Sent::broken());
            self.said.push_back(Said::Broken(tell.type_url.clone()));
        }
        self.session.end();
        self.open = false;
    }

    fn again(&mut self) {
        self.cut(false);
        self.session = session(self.flavour);
        let (made, mark) = (Arc::new(self.made.clone()), self.istiod.count.into());
        self.split.iter_mut().for_each(|split| *split = Split::new(Arc::clone(&made), mark));
        self.said.clear();
        self.envoy.connect();
    }

    fn reach_istiod(&mut self) -> bool {
        if !self.open {
            return false;
        }
        let Some(message) = self.session.next_request() else { return false };
        self.istiod.hear(&Ask::read(self.flavour, &message));
        true
    }

    fn leave_istiod(&mut self) -> bool {
        if self.open && self.session.is_outdated() {
            self.cut(false);
            self.begin();
            return true;
        }
        let Some(stream) = &mut self.istiod.stream else { return false };
        let Some(tell) = stream.answers.pop_front() else { return false };
        self.session.heard();
        assert!(self.session.passes(&tell.type_url));
        let sent = self.sent(&tell);
        self.session.sent(&tell.type_url, sent);
        self.said.push_back(Said::Whole(tell));
        true
    }

    fn sent(&self, tell: &Tell) -> Sent<(Tell, bool)> {
        let mut changes = Changes::default();
        if self.flavour == Flavour::Delta {
            for (name, version, _) in &tell.resources {
                if !self.session.knows(&tell.type_url, name, version) {
                    changes.came(name, version);
                }
            }
            for name in &tell.removed {
                changes.went(name);
            }
        }
        let (nonce, version) = (tell.nonce.clone(), tell.version.clone());
        let whole = self.session.tells_all(&tell.type_url);
        Sent { nonce, version, changes, receipt: Some((tell.clone(), whole)), broken: false }
    }

    fn reach_envoy(&mut self) -> bool {
        let Some(said) = self.said.pop_front() else { return false };
        self.envoy.hear(said);
        true
    }

    fn leave_envoy(&mut self) -> bool {
        let Some(ask) = self.envoy.asks.pop_front() else { return false };
        let message = ask.bytes(self.flavour);
        let theirs = match &mut self.split {
            Some(split) => split.hear(&message).unwrap().theirs,
            None => Some(message),
        };
        let Some(message) = theirs else { return true };
        let heard = self.session.request(&message).unwrap();
        if let Some(type_url) = heard.has {
            let kept = self.store.get(&type_url).into_iter().flatten();
            let kept: Vec<_> = kept.map(|(name, it)| (name.clone(), it.to_string())).collect();
            self.session.reconcile(&type_url, &kept);
        }
        for (tell, whole) in heard.accepted {
            let kept = self.store.entry(tell.type_url.clone()).or_default();
            if whole {
                kept.clear();
            }
            for (name, _, value) in &tell.resources {
                kept.insert(name.clone(), version_of(value));
            }
            for name in &tell.removed {
                kept.remove(name);
            }
        }
        true
    }

    fn replay(&mut self) {
        let Some(wish) = self.session.wish() else { return };
        let Some(kept) = self.store.get(&wish.type_url) else {
            return self.session.replayed(&wish.type_url, None);
        };
        let wanted = |name: &String| wish.wanted.as_ref().is_none_or(|it| it.contains(name));
        let held = |name: &String| wish.held.contains(name);
        let given = kept.iter().filter(|(name, _)| wanted(name) && !held(name));
        let resources: Vec<_> = given.map(|(name, version)| resource(name, *version)).collect();
        let named = wish.wanted.iter().flatten().filter(|_| self.flavour == Flavour::Delta);
        let removed = named.filter(|name| !kept.contains_key(*name)).cloned().collect();
        self.kept += 1;
        let tell = Tell {
            type_url: wish.type_url.clone(),
            version: "kept".to_owned(),
            nonce: format!("kept/{}", self.kept),
            resources,
            removed,
        };
        let sent = Sent { receipt: None, ..self.sent(&tell) };
        self.session.replayed(&wish.type_url, Some(sent));
        self.said.push_back(Said::Whole(tell));
    }

    /// Everything that is under way arrives.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let moved = [
                self.leave_envoy(),
                self.reach_istiod(),
                self.leave_istiod(),
                self.leave_here(),
                self.reach_envoy(),
            ];
            if !moved.contains(&true) {
                return;
            }
        }
        panic!("they never stop talking: {self:#?}");
    }

    /// Envoy has what istiod has, but for what it refused.
    fn check(&self) {
        let envoy = &self.envoy;
        for type_url in TYPES {
            let of_type = |name: &str| (type_url.to_owned(), name.to_owned());
            if envoy.refused.contains(&of_type("")) {
                continue;
            }
            let held = envoy.held.get(type_url).cloned().unwrap_or_default();
            let mut world = self.istiod.world[type_url].clone();
            for (name, made) in self.made.0.get(type_url).into_iter().flatten() {
                world.extend(made.version.parse().ok().map(|version| (name.clone(), version)));
            }
            if type_url == type_url::ENDPOINT {
                world.retain(|name, _| envoy.wanted.contains(name));
            }
            for name in world.keys().chain(held.keys()) {
                if !envoy.refused.contains(&of_type(name)) {
                    assert_eq!(held.get(name), world.get(name), "{type_url} {name} in {self:#?}");
                }
            }
        }
    }
}

fn session(flavour: Flavour) -> Session<(Tell, bool)> {
    Session::new(flavour, Address::default())
}

fn while_moving(many: u8, mut moves: impl FnMut() -> bool) {
    for _ in 0..many {
        if !moves() {
            return;
        }
    }
}

fn letter(name: u8) -> String {
    char::from(b'a' + name).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn envoy_ends_up_with_what_istiod_has(
        delta in any::<bool>(),
        frugal in any::<bool>(),
        beside in any::<bool>(),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let flavour = if delta { Flavour::Delta } else { Flavour::Sotw };
        let mut world = World::new(flavour, frugal, beside && delta);
        for step in &steps {
            world.step(step);
        }
        world.envoy.refuses = false;
        if world.split.is_some() {
            // What is made here is not told again before it is another.
            let letters = || (0..3).flat_map(|name| TYPES.map(|of| (of, name)));
            for (of, name) in letters() {
                let has = world.made.0.get(of).is_some_and(|it| {
                    it.contains_key(&format!("{OURS}{}", letter(name)))
                });
                world.make(of, name, !has);
            }
            TYPES.into_iter().for_each(|of| world.make(of, 9, false));
        }
        world.begin();
        world.settle();
        world.check();

        // And what is kept is what Envoy took.
        world.cut(false);
        let mut clusters = world.envoy.held.remove(type_url::CLUSTER).unwrap_or_default();
        clusters.retain(|name, _| !name.starts_with(OURS));
        if world.envoy.refused.is_empty() {
            prop_assert_eq!(world.store.remove(type_url::CLUSTER), Some(clusters));
        }
    }
}
