//! Whatever is edited, taken, refused and lost, what a client ends up with is what is there.
//!
//! The client is Envoy: it wants all clusters and listeners, and routes by their names. Of a response that
//! it refuses it takes some, as Envoy does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hawser_proto::type_url;
use hawser_wire::Flavour;
use proptest::prelude::*;

use super::{Desk, Rig, Supplied, Supply, Told, ask};
use crate::tests::words::Ask;

const TYPES: [&str; 3] = [type_url::CLUSTER, type_url::LISTENER, type_url::ROUTE];

#[derive(Clone, Debug)]
enum Step {
    /// A resource of that type gets another version, or goes.
    Edit {
        of: usize,
        name: u8,
        gone: bool,
    },
    /// So many messages move, on one of the ways.
    FromDesk(u8),
    ToDesk(u8),
    /// The next response is refused, but for those of its resources.
    Refuse {
        takes: u8,
    },
    /// A route is wanted, or not any more.
    Want {
        name: u8,
        wanted: bool,
    },
    Reconnect,
    /// The client starts anew.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_usize..3, 0_u8..4, prop::bool::weighted(0.4))
            .prop_map(|(of, name, gone)| Step::Edit { of, name, gone }),
        4 => (1_u8..4).prop_map(Step::FromDesk),
        4 => (1_u8..4).prop_map(Step::ToDesk),
        1 => any::<u8>().prop_map(|takes| Step::Refuse { takes }),
        2 => (0_u8..4, any::<bool>()).prop_map(|(name, wanted)| Step::Want { name, wanted }),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
    ]
}

type Held = BTreeMap<String, (String, Vec<u8>)>;

struct World {
    rig: Rig,
    supply: Supply,
    edits: u32,
    streams: u64,
    to_client: VecDeque<Told>,
    to_desk: VecDeque<Ask>,
    held: BTreeMap<&'static str, Held>,
    versions: BTreeMap<&'static str, String>,
    nonces: BTreeMap<&'static str, String>,
    routes: BTreeSet<String>,
    refuses: Option<u8>,
}

impl World {
    fn new(flavour: Flavour) -> Self {
        let held = TYPES.map(|type_url| (type_url, Held::new())).into();
        let mut world = Self {
            rig: Rig::new(flavour, &[]),
            supply: Supply::default(),
            edits: 0,
            streams: 0,
            to_client: VecDeque::new(),
            to_desk: VecDeque::new(),
            held,
            versions: BTreeMap::new(),
            nonces: BTreeMap::new(),
            routes: BTreeSet::new(),
            refuses: None,
        };
        world.connect();
        world
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Edit { of, name, gone } => self.edit(TYPES[*of], *name, *gone),
            Step::FromDesk(many) => while_moving(*many, || self.leave()),
            Step::ToDesk(many) => while_moving(*many, || self.reach()),
            Step::Refuse { takes } => self.refuses = Some(*takes),
            Step::Want { name, wanted } => self.want(&letter(*name), *wanted),
            Step::Reconnect => self.connect(),
            Step::Restart => {
                self.held.values_mut().for_each(Held::clear);
                self.versions.clear();
                self.routes.clear();
                self.connect();
            }
        }
    }

    fn edit(&mut self, type_url: &'static str, name: u8, gone: bool) {
        self.edits += 1;
        let stock = self.supply.0.entry(type_url).or_default();
        let (name, version) = (letter(name), self.edits.to_string());
        if gone {
            stock.remove(&name);
        } else {
            let body = format!("{name}@{version}").into();
            stock.insert(name, Supplied { version, body });
        }
        self.rig.desk.restock(self.supply.clone().into());
    }

    fn has(&self, type_url: &str, name: u8) -> bool {
        self.supply.0.get(type_url).is_some_and(|stock| stock.contains_key(&letter(name)))
    }

    fn connect(&mut self) {
        self.streams += 1;
        self.to_client.clear();
        self.to_desk.clear();
        self.nonces.clear();
        self.rig.desk = Desk::new(self.rig.flavour, self.supply.clone().into(), self.streams);
        for type_url in TYPES {
            if type_url != type_url::ROUTE || !self.routes.is_empty() {
                self.to_desk.push_back(self.first(type_url));
            }
        }
    }

    fn first(&self, type_url: &'static str) -> Ask {
        let held: Vec<_> = self.held[type_url].iter().map(|(n, (v, _))| (&**n, &**v)).collect();
        let first = ask(type_url, &self.names(type_url));
        match self.rig.flavour {
            Flavour::Sotw => first.of(self.versions.get(type_url).map_or("", |it| it)),
            Flavour::Delta => first.holding(&held),
        }
    }

    fn names(&self, type_url: &str) -> Vec<&str> {
        let routes = self.routes.iter().filter(|_| type_url == type_url::ROUTE);
        routes.map(String::as_str).collect()
    }

    fn want(&mut self, name: &str, wanted: bool) {
        let first = self.routes.is_empty();
        let other =
            if wanted { self.routes.insert(name.to_owned()) } else { self.routes.remove(name) };
        if !other {
            return;
        }
        if !wanted {
            self.held.get_mut(type_url::ROUTE).unwrap().remove(name);
        }
        let asked = match (self.rig.flavour, wanted) {
            (Flavour::Delta, true) => ask(type_url::ROUTE, &[name]),
            (Flavour::Delta, false) => ask(type_url::ROUTE, &[]).without(&[name]),
            (Flavour::Sotw, _) if first => self.first(type_url::ROUTE),
            (Flavour::Sotw, _) => self.about(type_url::ROUTE),
        };
        self.to_desk.push_back(asked);
    }

    /// A request in state of the world that speaks of the last response.
    fn about(&self, type_url: &'static str) -> Ask {
        let text = |of: &BTreeMap<&str, String>| of.get(type_url).cloned().unwrap_or_default();
        let about = ask(type_url, &self.names(type_url));
        about.about(&text(&self.nonces)).of(&text(&self.versions))
    }

    fn reach(&mut self) -> bool {
        let Some(ask) = self.to_desk.pop_front() else { return false };
        self.rig.asks(&ask);
        let told = self.rig.told();
        self.to_client.extend(told);
        true
    }

    fn leave(&mut self) -> bool {
        let told = self.rig.told();
        self.to_client.extend(told);
        let Some(told) = self.to_client.pop_front() else { return false };
        let type_url = TYPES.into_iter().find(|it| *it == told.type_url).unwrap();
        let refuses = self.refuses.take();
        let takes = |number: usize| refuses.is_none_or(|takes| takes >> (number % 8) & 1 == 1);
        let (delta, list) = (self.rig.flavour == Flavour::Delta, type_url != type_url::ROUTE);
        let whole = !delta && list && refuses.is_none();
        let held = self.held.get_mut(type_url).unwrap();
        if whole {
            held.clear();
        }
        for (number, (name, version, body)) in told.came.iter().enumerate() {
            if takes(number) && (list || self.routes.contains(name)) {
                held.insert(name.clone(), (version.clone(), body.clone()));
            }
        }
        for (number, name) in told.gone.iter().enumerate() {
            if takes(number) {
                held.remove(name);
            }
        }
        self.nonces.insert(type_url, told.nonce.clone());
        if refuses.is_none() {
            self.versions.insert(type_url, told.version.clone());
        }
        let receipt = match self.rig.flavour {
            Flavour::Sotw => self.about(type_url),
            Flavour::Delta => ask(type_url, &[]).about(&told.nonce),
        };
        let refusal = |receipt: Ask| receipt.refusing("no");
        let receipt = if refuses.is_some() { refusal(receipt) } else { receipt };
        self.to_desk.push_back(receipt);
        true
    }

    fn settle(&mut self, refuses: Option<u8>) {
        for _ in 0..1000 {
            self.refuses = refuses;
            let (left, reached) = (self.leave(), self.reach());
            if !left && !reached {
                self.refuses = None;
                return;
            }
        }
        panic!("they never stop talking");
    }

    fn check(&self) {
        for (type_url, held) in &self.held {
            let stock = self.supply.0.get(type_url).cloned().unwrap_or_default();
            let by_name = *type_url == type_url::ROUTE;
            let wanted = |name: &String| !by_name || self.routes.contains(name);
            for (name, supplied) in stock.iter().filter(|(name, _)| wanted(name)) {
                let held = held.get(name).map(|(_, body)| &body[..]);
                assert_eq!(held, Some(&supplied.body[..]), "{type_url} {name}");
            }
            for name in held.keys() {
                // A state of the world cannot say that a route is no more.
                let untold = by_name && self.rig.flavour == Flavour::Sotw;
                assert!(untold || stock.contains_key(name), "{type_url} {name} is no more");
            }
        }
    }
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
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_client_ends_up_with_what_is_there(
        delta in any::<bool>(),
        steps in prop::collection::vec(step(), 0..80),
        stubborn in any::<bool>(),
    ) {
        let mut world = World::new(if delta { Flavour::Delta } else { Flavour::Sotw });
        for step in &steps {
            world.step(step);
        }
        if stubborn {
            // Who refuses everything is not told the same again and again.
            world.settle(Some(0));
        }
        for type_url in TYPES {
            let names: Vec<u8> = (0..4).filter(|name| world.has(type_url, *name)).collect();
            names.into_iter().chain([9]).for_each(|name| world.edit(type_url, name, false));
        }
        world.settle(None);
        world.check();
    }
}
