//! An Envoy that refuses the newest, with nothing before it.

use super::*;

/// Envoy asks for all listeners, and refuses what it is told: two of them.
fn refuses(flavour: Flavour, before: &[(&str, &str)]) -> Rig {
    let mut rig = Rig::new(flavour);
    rig.session.begin();
    let first = ask(type_url::LISTENER, &[]).node(NODE);
    rig.asks(&match flavour {
        Flavour::Delta => first.holding(before),
        Flavour::Sotw if before.is_empty() => first,
        Flavour::Sotw => first.of("before"),
    });
    rig.session.heard();
    rig.tells(type_url::LISTENER, "n1", &[("a", "2"), ("b", "2")], &[]);
    rig.asks(&ask(type_url::LISTENER, &[]).about("n1").refusing("no"));
    rig
}

#[test]
fn what_is_kept_is_given_once_in_place_of_what_is_refused() {
    for flavour in FLAVOURS {
        let mut rig = refuses(flavour, &[]);
        assert!(rig.session.falls());

        let wish = rig.session.fallback().unwrap();
        let all = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(wish.wanted, (flavour == Flavour::Delta).then_some(all));
        assert_eq!((wish.type_url.as_str(), wish.held.len()), (type_url::LISTENER, 0));
        rig.session.replayed(type_url::LISTENER, Some(sent("kept/1", &[("a", "1")], &[])));
        let heard = rig.asks(&ask(type_url::LISTENER, &[]).about("kept/1"));

        // That it takes something older is not that it takes the newest.
        assert!(matches!(heard.note, Note::Accepted { mends: false, .. }), "{:?}", heard.note);
        assert!(rig.session.is_stale());
        assert_eq!(rig.heard().last().map(|last| last.nonce.clone()), Some("n1".to_owned()));
        rig.tells(type_url::LISTENER, "n2", &[("a", "3"), ("b", "3")], &[]);
        rig.asks(&ask(type_url::LISTENER, &[]).about("n2").refusing("no"));
        assert!(!rig.session.falls(), "it has something, or nothing was kept");

        rig.tells(type_url::LISTENER, "n3", &[("a", "4"), ("b", "4")], &[]);
        let heard = rig.asks(&ask(type_url::LISTENER, &[]).about("n3"));
        assert!(matches!(heard.note, Note::Accepted { mends: true, .. }), "{:?}", heard.note);
        assert!(!rig.session.is_stale());
    }
}

#[test]
fn an_envoy_that_has_something_before_it_keeps_that() {
    for flavour in FLAVOURS {
        let rig = refuses(flavour, &[("a", "1"), ("b", "1")]);
        assert!(!rig.session.falls(), "{flavour:?}");
    }
}

#[test]
fn what_is_kept_and_refused_too_is_not_given_again() {
    for flavour in FLAVOURS {
        let mut rig = refuses(flavour, &[]);
        rig.session.fallback().unwrap();
        rig.session.replayed(type_url::LISTENER, Some(sent("kept/1", &[("a", "1")], &[])));
        rig.asks(&ask(type_url::LISTENER, &[]).about("kept/1").refusing("no"));
        assert!(!rig.session.falls());
    }
}
