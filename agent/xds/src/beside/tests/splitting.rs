//! Whose is what of a request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use hawser_proto::type_url;
use hawser_wire::Flavour;
use proptest::prelude::*;

use crate::{
    beside::{Parts, Split},
    session::{MOST_TYPES, Note, Refusal},
    tests::words::{Ask, ask},
    trial::beside,
};

const NODE: &str = "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local";

fn split() -> Split {
    Split::new(Arc::default(), 7)
}

/// What the mesh hears of it.
fn theirs(split: &mut Split, ask: &Ask) -> Option<Ask> {
    let Parts { theirs, .. } = split.hear(&ask.bytes(Flavour::Delta)).unwrap();
    theirs.map(|message| Ask::read(Flavour::Delta, &message))
}

/// The nonce of what is told of ours.
fn nonce(split: &mut Split) -> Option<String> {
    let mut letter = split.next(&mut |_| true)?;
    let mut frame = Vec::new();
    while let Some(chunk) = letter.chunk() {
        frame.extend_from_slice(&chunk);
    }
    let message = Bytes::copy_from_slice(&frame[5..]);
    let response = hawser_wire::Response::scan(Flavour::Delta, &message).unwrap();
    Some(response.nonce.to_owned())
}

#[test]
fn what_has_nothing_of_ours_passes_byte_for_byte() {
    let mut split = split();
    for asked in [
        ask(type_url::CLUSTER, &[]).node(NODE).holding(&[("a", "1")]),
        ask(type_url::CLUSTER, &[]).about("n1"),
        ask(type_url::CLUSTER, &[]).about("n2").refusing("no"),
        ask(type_url::ROUTE, &["80", "*"]),
        ask(type_url::ROUTE, &["81"]).without(&["80"]),
        ask(type_url::NAME_TABLE, &[]),
    ] {
        let message = asked.bytes(Flavour::Delta);
        // A field that nobody knows yet.
        let message: Bytes = [&message[..], &[0xf2, 0x7f, 1, b'x']].concat().into();
        let parts = split.hear(&message).unwrap();
        assert_eq!((parts.theirs, parts.verdict), (Some(message), None), "{asked:?}");
    }
}

#[test]
fn the_mesh_hears_nothing_of_ours_and_is_never_asked_for_nothing() {
    let mut split = split();
    let first =
        ask(type_url::CLUSTER, &[]).node(NODE).holding(&[("hawser/9080//x", "1"), ("a", "1")]);
    let heard = ask(type_url::CLUSTER, &[]).node(NODE).holding(&[("a", "1")]);
    assert_eq!(theirs(&mut split, &first), Some(heard));
    let clusters = nonce(&mut split).unwrap();

    assert_eq!(theirs(&mut split, &ask(type_url::ROUTE, &["hawser/http/80"])), None);
    let routes = nonce(&mut split).unwrap();
    // Nor about what it was never asked for.
    assert_eq!(theirs(&mut split, &ask(type_url::ROUTE, &[]).without(&["hawser/http/80"])), None);
    let more = ask(type_url::ROUTE, &["hawser/http/80", "80"]);
    assert_eq!(theirs(&mut split, &more), Some(ask(type_url::ROUTE, &["80"])));
    let less = ask(type_url::ROUTE, &[]).without(&["80", "hawser/http/80"]);
    assert_eq!(theirs(&mut split, &less), Some(ask(type_url::ROUTE, &[]).without(&["80"])));

    // What it says of our answers is ours, and what comes with it is not.
    for nonce in [&clusters, &routes] {
        assert_eq!(theirs(&mut split, &ask(type_url::CLUSTER, &[]).about(nonce)), None);
        let refusal = ask(type_url::CLUSTER, &[]).about(nonce).refusing("no");
        assert_eq!(theirs(&mut split, &refusal), None);
        let both = ask(type_url::ROUTE, &["81"]).about(nonce).refusing("no");
        assert_eq!(theirs(&mut split, &both), Some(ask(type_url::ROUTE, &["81"])));
    }
}

#[test]
fn who_asks_for_ours_alone_at_first_is_introduced_when_it_asks_for_more() {
    let mut split = split();
    assert_eq!(theirs(&mut split, &ask(type_url::ROUTE, &["hawser/http/80"]).node(NODE)), None);
    let heard = ask(type_url::CLUSTER, &[]).node(NODE);
    assert_eq!(theirs(&mut split, &ask(type_url::CLUSTER, &[])), Some(heard));
    let heard = ask(type_url::LISTENER, &[]);
    assert_eq!(theirs(&mut split, &ask(type_url::LISTENER, &[])), Some(heard));
}

#[test]
fn a_verdict_on_ours_is_told_and_one_on_others_is_not() {
    let mut split = split();
    theirs(&mut split, &ask(type_url::CLUSTER, &[]));
    let nonce = nonce(&mut split).unwrap();
    let verdict =
        |split: &mut Split, ask: Ask| split.hear(&ask.bytes(Flavour::Delta)).unwrap().verdict;
    assert_eq!(verdict(&mut split, ask(type_url::CLUSTER, &[]).about("n1").refusing("no")), None);
    let refusal = ask(type_url::CLUSTER, &[]).about(&nonce).refusing("no");
    assert!(
        matches!(verdict(&mut split, refusal), Some(Note::Rejected { error, .. }) if error == "no")
    );
    let receipt = ask(type_url::CLUSTER, &[]).about(&nonce);
    assert!(matches!(verdict(&mut split, receipt), Some(Note::Accepted { mends: true, .. })));
}

fn some_names() -> impl Strategy<Value = Vec<String>> {
    let name = prop::sample::select(vec!["a", "b", "*", "", "hawser", "hawser/", "hawser/a"]);
    prop::collection::vec(name.prop_map(str::to_owned), 0..4)
}

fn some_request() -> impl Strategy<Value = Ask> {
    let type_url = prop::sample::select(vec![type_url::CLUSTER, type_url::ROUTE]);
    let nonce = prop::sample::select(vec!["", "n", "hawser/7/1", "hawser/"]);
    let error = prop::option::of(Just("no".to_owned()));
    (type_url, some_names(), some_names(), some_names(), nonce, error).prop_map(
        |(type_url, names, dropped, held, nonce, error)| {
            let held = held.into_iter().collect::<BTreeSet<_>>();
            let held = held.into_iter().map(|name| (name, "1".to_owned())).collect();
            let (type_url, nonce) = (type_url.to_owned(), nonce.to_owned());
            Ask { type_url, names, dropped, held, nonce, error, ..Ask::default() }
        },
    )
}

proptest! {
    #[test]
    fn the_mesh_hears_what_somebody_would_say_who_knows_nothing_of_ours(
        asks in prop::collection::vec(some_request(), 0..12),
    ) {
        let (mut split, mut known) = (split(), BTreeMap::new());
        let theirs_of = |names: &[String]| -> Vec<String> {
            names.iter().filter(|name| !name.starts_with("hawser/")).cloned().collect()
        };
        for ask in asks {
            let is_first = known.insert(ask.type_url.clone(), ()).is_none();
            let about = ask.nonce.starts_with("hawser/");
            let mut expected = Ask {
                names: theirs_of(&ask.names),
                dropped: theirs_of(&ask.dropped),
                ..ask.clone()
            };
            expected.held.retain(|(name, _)| !name.starts_with("hawser/"));
            if about {
                (expected.nonce, expected.error) = (String::new(), None);
            }
            let heard = theirs(&mut split, &ask);
            let everything = is_first && ask.names.is_empty();
            match heard {
                Some(heard) => prop_assert_eq!(heard, expected),
                None => prop_assert!(!everything && expected.names.is_empty(), "{:?}", ask),
            }
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(pieces in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..64), 0..8,
    )) {
        assert!(beside(pieces.iter().map(Vec::as_slice)));
    }
}

#[test]
fn there_is_a_bound_on_types() {
    let mut split = split();
    let mut hear = |number: usize| {
        split.hear(&ask(&format!("type/{number}"), &["hawser/x"]).bytes(Flavour::Delta)).map(drop)
    };
    assert!((0..MOST_TYPES).all(|number| hear(number).is_ok()));
    assert_eq!(hear(MOST_TYPES), Err(Refusal::TooManyTypes));
}
