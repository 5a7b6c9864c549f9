//! What follows from what Envoy says of responses, and from what it does not.

use super::*;

/// Sent with a receipt that says which it is.
fn receipt(nonce: &'static str, names: &[&str]) -> Sent<&'static str> {
    let names: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
    Sent { receipt: Some(nonce), ..sent(nonce, &names, &[]) }
}

#[test]
fn envoy_that_was_busy_takes_all_partial_responses_with_one_word() {
    let mut rig = Rig::new(Flavour::Sotw);
    rig.session.begin();
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
    rig.asks(&ask(type_url::ENDPOINT, &["a", "b", "c"]));
    for (nonce, name) in [("n1", "a"), ("n2", "b"), ("n3", "c"), ("n4", "a")] {
        rig.session.sent(type_url::ENDPOINT, receipt(nonce, &[name]));
        rig.session.sent(type_url::CLUSTER, receipt(nonce, &[]));
    }

    let heard = rig.asks(&ask(type_url::ENDPOINT, &["a", "b", "c"]).about("n3"));
    assert_eq!(heard.accepted, ["n1", "n2", "n3"]);
    // Each of these tells all there is.
    assert_eq!(rig.asks(&ask(type_url::CLUSTER, &[]).about("n3")).accepted, ["n3"]);
    // What is refused was not taken, nor what may have been refused with it.
    rig.session.sent(type_url::ENDPOINT, receipt("n5", &["b"]));
    let refusal = ask(type_url::ENDPOINT, &["a", "b", "c"]).about("n5").refusing("no");
    assert_eq!(rig.asks(&refusal).accepted, [""; 0]);

    // What one stream has sent and Envoy has not spoken of may have been lost with it.
    rig.session.sent(type_url::ENDPOINT, receipt("n6", &["a"]));
    rig.session.begin();
    rig.session.sent(type_url::ENDPOINT, receipt("n7", &["b"]));
    let heard = rig.asks(&ask(type_url::ENDPOINT, &["a", "b", "c"]).about("n7"));
    assert_eq!(heard.accepted, ["n7"]);
}

#[test]
fn who_waits_for_a_name_is_not_answered_by_a_push_of_others() {
    let mut rig = Rig::new(Flavour::Sotw);
    rig.session.begin();
    rig.asks(&ask(type_url::ENDPOINT, &["a"]).node(NODE));
    rig.tells(type_url::ENDPOINT, "n1", &[("a", "")], &[]);
    assert!(!rig.session.waits_for_names(type_url::ENDPOINT));
    rig.asks(&ask(type_url::ENDPOINT, &["a", "b"]).about("n1"));
    assert!(rig.session.waits_for_names(type_url::ENDPOINT));
    rig.tells(type_url::ENDPOINT, "n2", &[("a", "")], &[]);

    rig.session.end();
    let all = Some(vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(rig.session.wish().unwrap().wanted, all);
    rig.session.replayed(type_url::ENDPOINT, Some(sent("kept/1", &[], &[])));
    assert_eq!(rig.session.wish(), None);

    // What nobody had to say in time is not there.
    rig.session.begin();
    rig.tells(type_url::ENDPOINT, "n3", &[("a", ""), ("b", "")], &[]);
    rig.asks(&ask(type_url::ENDPOINT, &["a", "b", "c"]).about("n3"));
    rig.tells(type_url::ENDPOINT, "n4", &[("a", "")], &[]);
    rig.session.confirmed();
    rig.session.end();
    assert_eq!(rig.session.wish(), None);
}

#[test]
fn a_type_is_fresh_when_envoy_has_taken_what_it_is_or_when_nothing_was_said_of_it() {
    for flavour in FLAVOURS {
        let mut rig = Rig::new(flavour);
        rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
        rig.asks(&ask(type_url::LISTENER, &[]));
        for type_url in [type_url::CLUSTER, type_url::LISTENER] {
            rig.session.replayed(type_url, Some(sent("kept/1", &[("a", "1")], &[])));
        }
        rig.session.begin();
        rig.tells(type_url::LISTENER, "n1", &[("a", "2")], &[]);
        assert_eq!(rig.session.told(), 1);
        rig.session.confirmed();
        // Of clusters nothing was said; what was said of listeners Envoy has yet to judge.
        assert!(rig.session.is_stale());
        assert_eq!(rig.session.all_wanted(), [(type_url::CLUSTER.to_owned(), None)]);
        rig.asks(&ask(type_url::LISTENER, &[]).about("n1").refusing("no"));
        rig.session.confirmed();
        assert!(rig.session.is_stale());

        rig.tells(type_url::LISTENER, "n2", &[("a", "3")], &[]);
        assert!(rig.session.is_stale());
        rig.asks(&ask(type_url::LISTENER, &[]).about("n2"));
        assert!(!rig.session.is_stale());
        assert_eq!(rig.session.all_wanted().len(), 2);
    }
}

#[test]
fn what_there_is_no_room_to_name_and_is_not_told_of_is_no_more() {
    let mut rig = Rig::new(Flavour::Delta);
    let long = "x".repeat(1000);
    let names: Vec<String> = (0..4000).map(|number| format!("{number:04}{long}")).collect();
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
    rig.session.replayed(type_url::CLUSTER, Some(sent("kept/1", &all, &[])));
    rig.asks(&ask(type_url::CLUSTER, &[]).about("kept/1"));
    rig.session.begin();
    let named: Vec<_> = rig.heard().remove(0).held;
    assert!(named.len() < 3100 && named.len() > 3000, "{}", named.len());

    // istiod tells what has changed of what was named, and all that was not.
    let there: Vec<_> = all
        .iter()
        .filter(|(name, _)| name.ends_with('x') && name.as_bytes()[3] != b'7')
        .copied()
        .collect();
    for (name, version) in &there {
        let unnamed = !named.iter().any(|(other, _)| other == name);
        assert_eq!(rig.session.knows(type_url::CLUSTER, name, version), !unnamed);
    }
    rig.tells(type_url::CLUSTER, "n1", &there, &[]);

    let (type_url, gone) = rig.session.gone().unwrap();
    assert_eq!(type_url, type_url::CLUSTER);
    let expected = names.iter().filter(|name| {
        name.as_bytes()[3] == b'7' && !named.iter().any(|(other, _)| other == *name)
    });
    assert!(gone.iter().eq(expected) && gone.len() > 80);
    assert_eq!(rig.session.gone(), None);
    let gone: Vec<_> = gone.iter().map(String::as_str).collect();
    rig.session.removed(type_url::CLUSTER, sent("kept/2", &[], &gone));
    rig.asks(&ask(type_url::CLUSTER, &[]).about("n1"));
    rig.heard();
    assert_eq!(rig.asks(&ask(type_url::CLUSTER, &[]).about("kept/2")).accepted, ["kept"]);
    assert_eq!(rig.heard(), []);
    for name in gone {
        assert!(!rig.session.knows(type_url::CLUSTER, name, "1"));
    }

    // If that answer is refused here, or never comes, nothing is known to be no more.
    rig.session.begin();
    rig.session.refuse(type_url::CLUSTER, "n2", "no");
    rig.tells(type_url::CLUSTER, "n3", &[("a", "1")], &[]);
    assert_eq!(rig.session.gone(), None);
}

#[test]
fn what_envoy_refuses_it_refuses_until_it_takes_that_and_not_until_it_takes_something() {
    let mut rig = Rig::new(Flavour::Delta);
    rig.session.begin();
    rig.asks(&ask(type_url::EXTENSION_CONFIG, &["a", "b", "c"]).node(NODE));
    let mut takes = |nonce: &str, name: &str, refused: bool| {
        rig.tells(type_url::EXTENSION_CONFIG, nonce, &[(name, nonce)], &[]);
        let receipt = ask(type_url::EXTENSION_CONFIG, &[]).about(nonce);
        match rig.asks(&if refused { receipt.refusing("no") } else { receipt }).note {
            Note::Accepted { mends, .. } => Some(mends),
            _ => None,
        }
    };
    assert_eq!(takes("n1", "a", false), Some(true));
    assert_eq!(takes("n2", "b", true), None);
    assert_eq!(takes("n3", "c", true), None);
    assert_eq!(takes("n4", "a", false), Some(false));
    assert_eq!(takes("n5", "b", false), Some(false));
    assert_eq!(takes("n6", "c", false), Some(true));
    // What is not wanted any more is not refused either.
    assert_eq!(takes("n7", "b", true), None);
    rig.asks(&ask(type_url::EXTENSION_CONFIG, &[]).without(&["b"]));
    rig.tells(type_url::EXTENSION_CONFIG, "n8", &[("a", "2")], &[]);
    let note = rig.asks(&ask(type_url::EXTENSION_CONFIG, &[]).about("n8")).note;
    assert!(matches!(note, Note::Accepted { mends: true, .. }), "{note:?}");
}
