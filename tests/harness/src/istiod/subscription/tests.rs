//! The rules of both forms, without a wire.

use hawser_proto::envoy::envoy::config::cluster::v3::Cluster;
use hawser_proto::istio::nds::NameTable;
use std::sync::Arc;

use super::*;
use crate::istiod::world::World;

fn cluster(name: &str) -> Cluster {
    Cluster { name: name.to_owned(), ..Cluster::default() }
}

fn assignment(name: &str, priority: u32) -> ClusterLoadAssignment {
    use hawser_proto::envoy::envoy::config::endpoint::v3::LocalityLbEndpoints;
    let endpoints = vec![LocalityLbEndpoints { priority, ..LocalityLbEndpoints::default() }];
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints,
        ..ClusterLoadAssignment::default()
    }
}

fn world() -> World {
    let world = World::default();
    world.change(|state| {
        state.set([cluster("a"), cluster("b")]);
        state.set([assignment("a", 0), assignment("b", 0)]);
        state.names(&NameTable::default());
    });
    world
}

fn now(world: &World) -> Arc<State> {
    Arc::clone(&world.subscribe().borrow())
}

fn ask(type_url: &str, names: &[&str], nonce: &str) -> Ask {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Ask { type_url: type_url.to_owned(), names, nonce: nonce.to_owned(), ..Ask::default() }
}

fn names(push: &Push) -> Vec<&str> {
    push.resources.iter().map(|one| one.name.as_str()).collect()
}

/// A stream, the world it sees, and what it is sent.
struct Talk {
    subscriptions: Subscriptions,
    world: World,
}

impl Talk {
    fn new(flavour: Flavour) -> Self {
        let world = world();
        let subscriptions = Subscriptions::new(flavour, now(&world).push());
        Self { subscriptions, world }
    }

    fn take(&mut self, ask: &Ask) -> (Verdict, Vec<Push>) {
        self.subscriptions.take(ask, &now(&self.world)).unwrap()
    }

    fn push(&mut self) -> Vec<Push> {
        self.subscriptions.push(&now(&self.world)).unwrap()
    }
}

#[test]
fn a_nonce_is_the_version_and_a_uuid() {
    let mut talk = Talk::new(Flavour::SotW);
    let (_, pushes) = talk.take(&ask(CLUSTER, &[], ""));

    let uuid = pushes[0].nonce.strip_prefix(&pushes[0].version).unwrap();
    assert_eq!(uuid.len(), 36);
    assert_eq!(uuid.chars().nth(14), Some('4'));
    assert!(pushes[0].version.ends_with("/2"), "{}", pushes[0].version);
}

#[test]
fn an_ack_is_silent_and_a_stale_nonce_is_passed_over() {
    for flavour in [Flavour::SotW, Flavour::Delta] {
        let mut talk = Talk::new(flavour);
        let (verdict, pushes) = talk.take(&ask(CLUSTER, &[], ""));
        assert_eq!((verdict, names(&pushes[0])), (Verdict::Subscribed, vec!["a", "b"]));

        let (verdict, none) = talk.take(&ask(CLUSTER, &[], &pushes[0].nonce));
        assert_eq!((verdict, none.len()), (Verdict::Ack, 0));
        let (verdict, none) = talk.take(&ask(CLUSTER, &[], "older"));
        assert_eq!((verdict, none.len()), (Verdict::Stale, 0));
    }
}

#[test]
fn a_refused_push_is_not_repeated_and_the_next_one_comes() {
    for flavour in [Flavour::SotW, Flavour::Delta] {
        let mut talk = Talk::new(flavour);
        let (_, pushes) = talk.take(&ask(CLUSTER, &[], ""));
        let nack =
            Ask { error: Some((13, "no".to_owned())), ..ask(CLUSTER, &[], &pushes[0].nonce) };
        let (verdict, none) = talk.take(&nack);
        assert_eq!((verdict, none.len()), (Verdict::Nack, 0));
        assert!(talk.push().is_empty());

        talk.world.change(|state| state.put(&cluster("c")));
        assert_eq!(talk.push().len(), 1);
    }
}

#[test]
fn asking_again_without_a_nonce_is_answered_in_sotw_only() {
    for (flavour, answers) in [(Flavour::SotW, 1), (Flavour::Delta, 0)] {
        let mut talk = Talk::new(flavour);
        talk.take(&ask(CLUSTER, &[], ""));
        let (_, pushes) = talk.take(&ask(CLUSTER, &[], ""));
        assert_eq!(pushes.len(), answers, "{flavour:?}");
    }
}

#[test]
fn a_push_is_whole_in_sotw_and_in_part_in_delta() {
    for (flavour, expected) in [(Flavour::SotW, vec!["b", "c"]), (Flavour::Delta, vec!["c"])] {
        let mut talk = Talk::new(flavour);
        talk.take(&ask(CLUSTER, &[], ""));
        talk.world.change(|state| {
            state.put(&cluster("c"));
            state.remove(CLUSTER, "a");
        });

        let pushes = talk.push();

        assert_eq!(names(&pushes[0]), expected, "{flavour:?}");
        let removed = if flavour == Flavour::Delta { vec!["a"] } else { Vec::new() };
        assert_eq!(pushes[0].removed, removed);
    }
}

#[test]
fn pushes_come_in_istiods_order_and_only_for_what_changed() {
    let mut talk = Talk::new(Flavour::SotW);
    for (type_url, wanted) in [(NAME_TABLE, vec![]), (ENDPOINT, vec!["a", "b"]), (CLUSTER, vec![])]
    {
        talk.take(&ask(type_url, &wanted, ""));
    }
    talk.world.change(|state| {
        state.names(&NameTable::default());
        state.put(&assignment("a", 1));
        state.put(&cluster("c"));
    });

    let pushes = talk.push();

    let types: Vec<_> = pushes.iter().map(|push| push.type_url.as_str()).collect();
    assert_eq!(types, [CLUSTER, ENDPOINT, NAME_TABLE]);
    assert_eq!(names(&pushes[1]), ["a"], "endpoints go out in part");
    assert!(talk.push().is_empty());
}

#[test]
fn a_push_that_changes_nothing_still_goes_out() {
    for flavour in [Flavour::SotW, Flavour::Delta] {
        let mut talk = Talk::new(flavour);
        let (_, first) = talk.take(&ask(CLUSTER, &[], ""));
        talk.world.push_again();

        let again = talk.push();

        assert_eq!(again[0].resources, first[0].resources, "{flavour:?}");
        assert_ne!(again[0].version, first[0].version);
    }
}

#[test]
fn more_names_bring_only_what_is_new() {
    let mut talk = Talk::new(Flavour::SotW);
    let (_, first) = talk.take(&ask(ENDPOINT, &["a"], ""));
    let (verdict, more) = talk.take(&ask(ENDPOINT, &["a", "b"], &first[0].nonce));
    assert_eq!((verdict, names(&more[0])), (Verdict::Changed, vec!["b"]));
    let (verdict, fewer) = talk.take(&ask(ENDPOINT, &["b"], &more[0].nonce));
    assert_eq!((verdict, fewer.len()), (Verdict::Changed, 0));
    let (verdict, none) = talk.take(&ask(ENDPOINT, &[], &more[0].nonce));
    assert_eq!((verdict, none.len()), (Verdict::Unsubscribed, 0));
}

#[test]
fn delta_subscribes_and_unsubscribes_by_name() {
    let mut talk = Talk::new(Flavour::Delta);
    talk.take(&ask(ENDPOINT, &["a"], ""));
    let (_, more) = talk.take(&ask(ENDPOINT, &["b"], ""));
    assert_eq!(names(&more[0]), ["b"]);
    let gone = Ask { unsubscribed: vec!["a".to_owned()], ..ask(ENDPOINT, &[], "") };
    let (verdict, none) = talk.take(&gone);
    assert_eq!((verdict, none.len()), (Verdict::Changed, 0));

    talk.world.change(|state| {
        state.put(&assignment("a", 1));
        state.put(&assignment("b", 1));
    });
    assert_eq!(names(&talk.push()[0]), ["b"]);
}

#[test]
fn a_reconnecting_delta_client_hears_what_has_gone() {
    for wanted in [&[][..], &["*"]] {
        let mut talk = Talk::new(Flavour::Delta);
        let known = ["a", "gone"].map(|name| (name.to_owned(), String::new()));
        let again = Ask { initial: known.into(), ..ask(CLUSTER, wanted, "") };

        let (verdict, pushes) = talk.take(&again);

        assert_eq!(verdict, Verdict::Subscribed);
        assert_eq!(names(&pushes[0]), ["a", "b"]);
        assert_eq!(pushes[0].removed, ["gone"]);
    }
}

#[test]
fn versions_are_passed_over_unless_they_are_honoured() {
    let mut talk = Talk::new(Flavour::Delta);
    let first = Subscriptions::new(Flavour::Delta, 0).honouring(true);
    talk.subscriptions = first;
    let (_, all) = talk.take(&ask(CLUSTER, &[], ""));
    let held: BTreeMap<_, _> =
        all[0].resources.iter().map(|one| (one.name.clone(), one.version.clone())).collect();
    assert!(held.values().all(|version| !version.is_empty()));
    talk.world.change(|state| {
        state.put(&cluster("c"));
        state.remove(CLUSTER, "a");
    });
    let again = Ask { initial: held, ..ask(CLUSTER, &[], "") };
    for (honours, given, removed) in [(true, &["c"][..], 1), (false, &["b", "c"], 1)] {
        talk.subscriptions = Subscriptions::new(Flavour::Delta, 0).honouring(honours);
        let (_, pushes) = talk.take(&again);
        assert_eq!((names(&pushes[0]), pushes[0].removed.len()), (given.to_vec(), removed));
    }
}

#[test]
fn static_clusters_are_in_every_delta_push_of_clusters() {
    let mut talk = Talk::new(Flavour::Delta);
    talk.world.change(|state| state.put(&cluster("BlackHoleCluster")));
    talk.take(&ask(CLUSTER, &[], ""));
    talk.push();
    talk.world.change(|state| state.put(&cluster("c")));
    assert_eq!(names(&talk.push()[0]), ["BlackHoleCluster", "c"]);
}

#[test]
fn endpoints_follow_clusters_in_delta_once_they_are_wanted() {
    let mut talk = Talk::new(Flavour::Delta);
    talk.take(&ask(ENDPOINT, &["a"], ""));
    let (_, pushes) = talk.take(&ask(CLUSTER, &[], ""));

    let types: Vec<_> = pushes.iter().map(|push| push.type_url.as_str()).collect();
    assert_eq!(types, [CLUSTER, ENDPOINT]);
}

#[test]
fn unknown_names_get_something_empty_where_istiod_makes_it_up() {
    let mut talk = Talk::new(Flavour::Delta);
    for (type_url, expected) in [(ENDPOINT, 1), (ROUTE, 1), (EXTENSION_CONFIG, 0)] {
        let (_, pushes) = talk.take(&ask(type_url, &["nope"], ""));
        assert_eq!(pushes[0].resources.len(), expected, "{type_url}");
        assert!(pushes[0].removed.is_empty(), "{type_url}");
    }
}

#[test]
fn some_types_are_not_answered_and_some_end_the_stream() {
    let mut talk = Talk::new(Flavour::SotW);
    let (verdict, none) = talk.take(&ask(PROXY_CONFIG, &[], ""));
    assert_eq!((verdict, none.len()), (Verdict::Subscribed, 0));
    let (_, empty) = talk.take(&ask("type.googleapis.com/istio.workload.Address", &["*"], ""));
    assert_eq!(empty[0].resources.len(), 0);

    for (type_url, wanted) in [(SECRET, &["default"][..]), ("type.googleapis.com/foo.Bar", &[])] {
        let refused = talk.subscriptions.take(&ask(type_url, wanted, ""), &now(&talk.world));
        assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied, "{type_url}");
    }
}
