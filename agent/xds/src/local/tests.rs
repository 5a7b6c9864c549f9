//! What is told of what is made here: by tables, on a stream, and by everything that may happen.

mod client;
mod model;

use std::{future::ready, iter, sync::Arc, time::Duration};

use bytes::Bytes;
use hawser_proto::{
    Names,
    envoy::envoy::service::discovery::v3::DiscoveryResponse,
    istio::nds::{NameInfo, NameTable},
    type_url,
};
use hawser_wire::Flavour;
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::client::Told;
use super::{Desk, Local, Supplied, Supply, Verdict};
use crate::{
    Own, Seen,
    beside::OURS,
    follow,
    session::Asking,
    source::{Opened, Source},
    tests::{
        ends::node,
        words::{Ask, FLAVOURS, ask},
    },
};

/// Names with versions; the version says what the resource holds.
type Stock<'a> = &'a [(&'a str, &'a str)];

fn supply(types: &[(&'static str, Stock<'_>)]) -> Arc<Supply> {
    let resource = |(name, version): &(&str, &str)| {
        let body = Bytes::from(format!("{name}@{version}"));
        ((*name).to_owned(), Supplied { version: (*version).to_owned(), body })
    };
    let types = types.iter().map(|(of, stock)| (*of, stock.iter().map(resource).collect()));
    Arc::new(Supply(types.collect()))
}

struct Rig {
    flavour: Flavour,
    desk: Desk,
}

impl Rig {
    fn new(flavour: Flavour, types: &[(&'static str, Stock<'_>)]) -> Self {
        Self { flavour, desk: Desk::new(flavour, supply(types), 7) }
    }

    fn asks(&mut self, ask: &Ask) -> Option<Verdict> {
        let message = ask.bytes(self.flavour);
        self.desk.hear(&Asking::of(self.flavour, &message).unwrap())
    }

    /// All that is told now.
    fn told(&mut self) -> Vec<Told> {
        let letters = iter::from_fn(|| self.desk.next(&mut |_| true));
        letters.map(|letter| Told::read(self.flavour, letter)).collect()
    }

    fn tells(&mut self) -> Told {
        let mut told = self.told();
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }

    fn takes(&mut self, told: &Told, names: &[&str]) -> Option<Verdict> {
        self.asks(&ask(&told.type_url, names).about(&told.nonce).of(&told.version))
    }
}

fn names(told: &Told) -> Vec<&str> {
    told.came.iter().map(|(name, ..)| name.as_str()).collect()
}

#[test]
fn who_asks_is_told_all_there_is_and_once() {
    for flavour in FLAVOURS {
        let stock: Stock<'_> = &[("a", "1"), ("b", "1")];
        let mut rig = Rig::new(flavour, &[(type_url::CLUSTER, stock)]);
        assert_eq!(rig.told().len(), 0);
        rig.asks(&ask(type_url::CLUSTER, &[]));
        let told = rig.tells();
        assert_eq!((told.bodies(), &*told.type_url), (vec!["a@1", "b@1"], type_url::CLUSTER));
        let verdict = rig.takes(&told, &[]);
        assert_eq!(verdict, Some(Verdict::Taken { version: told.version, mends: true }));
        assert_eq!(rig.told().len(), 0);

        // What has not changed is no news, whatever else has.
        let other = [(type_url::CLUSTER, stock), (type_url::LISTENER, &[("x", "1")] as Stock<'_>)];
        rig.desk.restock(supply(&other));
        assert_eq!(rig.told().len(), 0);
    }
}

#[test]
fn nobody_waits_for_what_is_not_there() {
    for flavour in FLAVOURS {
        let mut rig = Rig::new(flavour, &[(type_url::ROUTE, &[("a", "1")])]);
        for (type_url, names) in [("type/unknown", &[][..]), (type_url::ENDPOINT, &["x", "y"])] {
            rig.asks(&ask(type_url, names));
            let told = rig.tells();
            assert_eq!((told.came.len(), &*told.type_url), (0, type_url));
            let gone = if flavour == Flavour::Delta { names } else { &[] };
            assert_eq!(told.gone, gone);
            rig.takes(&told, if flavour == Flavour::Delta { &[] } else { names });
            assert_eq!(rig.told().len(), 0);
        }
        // Nor who asks for more than there is.
        rig.asks(&ask(type_url::ROUTE, &["a", "z"]));
        assert_eq!(names(&rig.tells()), ["a"]);
        // Nor who speaks of an answer of another stream.
        rig.asks(&ask("type/other", &[]).about("n1"));
        assert_eq!(rig.tells().type_url, "type/other");
        // What is reported is not asked.
        rig.asks(&ask(type_url::HEALTH, &[]));
        assert_eq!(rig.told().len(), 0);
    }
}

#[test]
fn who_comes_back_is_told_what_is_other_and_always_answered() {
    let stock: Stock<'_> = &[("a", "1"), ("b", "2")];
    let mut rig = Rig::new(Flavour::Delta, &[(type_url::CLUSTER, stock)]);
    rig.asks(&ask(type_url::CLUSTER, &[]).holding(&[("a", "1"), ("b", "1"), ("c", "1")]));
    let told = rig.tells();
    assert_eq!((names(&told), told.gone.len()), (vec!["b"], 0));
    rig.takes(&told, &[]);
    assert_eq!(rig.tells().gone, ["c"]);

    let mut rig = Rig::new(Flavour::Delta, &[(type_url::CLUSTER, stock)]);
    rig.asks(&ask(type_url::CLUSTER, &[]).holding(&[("a", "1"), ("b", "2")]));
    assert_eq!((rig.tells().came.len(), rig.told().len()), (0, 0));
}

#[test]
fn clusters_go_only_when_routes_that_do_without_are_taken() {
    let types = |cluster: &'static str, version: &'static str| {
        supply(&[(type_url::CLUSTER, &[(cluster, "1")]), (type_url::ROUTE, &[("r", version)])])
    };
    let mut rig = Rig::new(Flavour::Delta, &[]);
    rig.desk.restock(types("old", "1"));
    rig.asks(&ask(type_url::CLUSTER, &[]));
    rig.asks(&ask(type_url::ROUTE, &["r"]));
    for told in rig.told() {
        rig.takes(&told, &[]);
    }
    rig.desk.restock(types("new", "2"));
    let told = rig.told();
    let [clusters, routes] = &told[..] else { panic!("{told:?}") };
    assert_eq!((names(clusters), names(routes)), (vec!["new"], vec!["r"]));
    assert_eq!(clusters.gone.len(), 0);
    rig.takes(clusters, &[]);
    assert_eq!(rig.told().len(), 0, "routes speak of it still");

    // Routes that are refused are as they were, and what they speak of stays.
    rig.asks(&ask(type_url::ROUTE, &[]).about(&routes.nonce).refusing("no"));
    assert_eq!(rig.told().len(), 0);
    rig.desk.restock(types("new", "3"));
    let routes = rig.tells();
    rig.takes(&routes, &[]);
    let gone = rig.tells();
    assert_eq!((&*gone.type_url, &gone.gone[..]), (type_url::CLUSTER, &["old".to_owned()][..]));
}

#[test]
fn what_is_refused_is_told_again_with_the_next_edit_and_not_before() {
    for flavour in FLAVOURS {
        let mut rig = Rig::new(flavour, &[(type_url::LISTENER, &[("a", "1"), ("b", "1")])]);
        rig.asks(&ask(type_url::LISTENER, &[]));
        let told = rig.tells();
        let refusal = ask(type_url::LISTENER, &[]).about(&told.nonce).refusing("no such filter");
        let (version, error) = (told.version.clone(), "no such filter".to_owned());
        assert_eq!(rig.asks(&refusal), Some(Verdict::Refused { version, error }));
        for _ in 0..9 {
            assert_eq!(rig.told().len(), 0);
            rig.asks(&refusal);
        }
        rig.desk.restock(supply(&[(type_url::LISTENER, &[("a", "2"), ("b", "1")])]));
        let told = rig.tells();
        assert_eq!(told.bodies(), ["a@2", "b@1"]);
        assert!(matches!(rig.takes(&told, &[]), Some(Verdict::Taken { mends: true, .. })));
    }
}

#[test]
fn a_name_that_is_asked_for_again_is_told_again() {
    let mut rig = Rig::new(Flavour::Delta, &[(type_url::ROUTE, &[("a", "1")])]);
    rig.asks(&ask(type_url::ROUTE, &["a"]));
    let first = rig.tells();
    rig.takes(&first, &[]);
    rig.asks(&ask(type_url::ROUTE, &["a"]));
    assert_eq!(names(&rig.tells()), ["a"]);
    rig.asks(&ask(type_url::ROUTE, &[]).without(&["a"]));
    rig.desk.restock(supply(&[(type_url::ROUTE, &[("a", "2")])]));
    assert_eq!(rig.told().len(), 0, "nobody wants it any more");
}

#[test]
fn many_names_that_are_no_more_are_told_a_few_at_a_time() {
    let name = |number: usize| format!("{OURS}{number}-{}", "x".repeat(1000));
    let many: Vec<_> = (0..1500).map(name).collect();
    let held: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let mut rig = Rig::new(Flavour::Delta, &[]);
    rig.asks(&ask(type_url::LISTENER, &[]).holding(&held));
    let told = rig.told();
    assert_eq!(told.iter().map(|told| told.gone.len()).sum::<usize>(), 1500);
    for Told { gone, .. } in &told {
        assert!(gone.iter().map(String::len).sum::<usize>() <= 512 << 10);
    }
}

/// A stream of names, as the agent's own is.
async fn opened(flavour: Flavour, local: &Local) -> (Opened, mpsc::Sender<Bytes>) {
    let (requests, outgoing) = mpsc::channel(2);
    (local.open(flavour, outgoing).await.unwrap(), requests)
}

async fn at_once(opened: &mut Opened) -> Option<Bytes> {
    tokio::select! {
        biased;
        chunk = opened.answers.chunk() => chunk.unwrap(),
        () = ready(()) => None,
    }
}

#[tokio::test]
async fn an_edit_is_told_in_the_same_turn() {
    let (edit, stock) = watch::channel(supply(&[(type_url::NAME_TABLE, &[("", "1")])]));
    let local = Local::new("a file", stock);
    let (mut opened, requests) = opened(Flavour::Sotw, &local).await;
    assert_eq!(opened.who, "a file");
    assert_eq!(at_once(&mut opened).await, None);
    let mut first = ask(type_url::NAME_TABLE, &[]);
    for version in ["1", "2", "3"] {
        edit.send_replace(supply(&[(type_url::NAME_TABLE, &[("", version)])]));
        requests.try_send(first.bytes(Flavour::Sotw)).unwrap();
        let frame = at_once(&mut opened).await.unwrap();
        let told = DiscoveryResponse::decode(frame.slice(5..)).unwrap();
        assert_eq!(told.resources[0].value, format!("@{version}").as_bytes());
        first = ask(type_url::NAME_TABLE, &[]).about(&told.nonce).of(&told.version_info);
        requests.try_send(first.bytes(Flavour::Sotw)).unwrap();
        assert_eq!(at_once(&mut opened).await, None);
    }
    // Nobody asks any more, and nobody edits.
    drop((requests, edit));
    assert_eq!(opened.answers.chunk().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_taken_out_of_the_file_go_at_once() {
    let table = NameTable { table: [("a".to_owned(), NameInfo::default())].into() };
    let made = |table: &NameTable| {
        let body = Bytes::from(table.encode_to_vec());
        let supplied = Supplied { version: body.len().to_string(), body };
        Arc::new(Supply([(type_url::NAME_TABLE, [(String::new(), supplied)].into())].into()))
    };
    let (edit, stock) = watch::channel(made(&table));
    let (publish, mut names) = watch::channel(None);
    let own = Own { names: publish, trust: None };
    let (_node, node) = watch::channel(Arc::new(node()));
    let stop = CancellationToken::new();
    let following = follow(node, Local::new("a file", stock), own, Seen::default(), stop.clone());
    let edits = async {
        let start = Instant::now();
        names.wait_for(|names| names.as_ref().is_some_and(|names| names.len() == 1)).await.unwrap();
        edit.send_replace(made(&NameTable::default()));
        names.wait_for(|names| names.as_ref().is_some_and(Names::is_empty)).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        stop.cancel();
    };
    let (followed, ()) = tokio::join!(following, edits);
    followed.unwrap();
}

#[tokio::test]
async fn what_is_large_leaves_as_it_lies_there_and_what_is_small_goes_together() {
    for flavour in FLAVOURS {
        let body = |number: usize| Bytes::from(vec![7; if number == 500 { 1 << 20 } else { 100 }]);
        let supplied = |number| Supplied { version: "1".to_owned(), body: body(number) };
        let stock = (0..1000).map(|number| (format!("{number:04}"), supplied(number))).collect();
        let supply = Arc::new(Supply([(type_url::CLUSTER, stock)].into()));
        let large = supply.0[type_url::CLUSTER]["0500"].body.clone();
        let local = Local::new("a file", watch::channel(supply).1);
        let (mut opened, requests) = opened(flavour, &local).await;
        requests.try_send(ask(type_url::CLUSTER, &[]).bytes(flavour)).unwrap();
        let mut chunks = Vec::new();
        while let Some(chunk) = at_once(&mut opened).await {
            chunks.push(chunk);
        }
        assert!(chunks.iter().any(|chunk| chunk.as_ptr() == large.as_ptr()), "no copy of it");
        assert!(chunks.len() < 10, "{}", chunks.len());
        let told = Told::of(flavour, &chunks.concat());
        assert_eq!(told.came.len(), 1000);
    }
}

#[tokio::test]
async fn what_is_no_request_ends_the_stream() {
    let local = Local::new("a file", watch::channel(Arc::default()).1);
    let (mut opened, requests) = opened(Flavour::Delta, &local).await;
    requests.try_send(Bytes::from_static(b"\xff")).unwrap();
    assert!(opened.answers.chunk().await.unwrap_err().refused);
}
