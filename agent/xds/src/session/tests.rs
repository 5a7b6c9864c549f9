//! Sessions by tables, and by everything that may happen.

mod fallen;
mod model;
mod verdicts;

use super::*;
use crate::tests::words::{Ask, FLAVOURS, ask};

const NODE: &str = "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local";

/// Envoy on one side, a stream to istiod on the other.
struct Rig {
    flavour: Flavour,
    session: Session<&'static str>,
}

impl Rig {
    fn new(flavour: Flavour) -> Self {
        Self { flavour, session: Session::new(flavour, Address::default()) }
    }

    fn asks(&mut self, ask: &Ask) -> Heard<&'static str> {
        self.session.request(&ask.bytes(self.flavour)).unwrap()
    }

    /// What istiod hears now.
    fn heard(&mut self) -> Vec<Ask> {
        let messages = std::iter::from_fn(|| self.session.next_request());
        messages.map(|message| Ask::read(self.flavour, &message)).collect()
    }

    fn tells(&mut self, type_url: &str, nonce: &str, names: &[(&str, &str)], gone: &[&str]) {
        let sent = sent(nonce, names, gone);
        self.session.heard();
        assert!(self.session.passes(type_url));
        self.session.sent(type_url, sent);
    }
}

fn sent(nonce: &str, names: &[(&str, &str)], gone: &[&str]) -> Sent<&'static str> {
    let mut changes = Changes::default();
    names.iter().for_each(|(name, version)| changes.came(name, version));
    gone.iter().for_each(|name| changes.went(name));
    let (nonce, version) = (nonce.to_owned(), format!("of {nonce}"));
    Sent { nonce, version, changes, receipt: Some("kept"), broken: false }
}

#[test]
fn a_new_stream_begins_with_what_envoy_wants_in_its_order_and_what_it_has() {
    let mut rig = Rig::new(Flavour::Delta);
    rig.session.begin();
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
    rig.asks(&ask(type_url::LISTENER, &["*", "x"]));
    rig.asks(&ask(type_url::ENDPOINT, &["a", "b"]));
    rig.heard();
    rig.tells(type_url::CLUSTER, "n1", &[("a", "1"), ("b", "1")], &[]);
    assert_eq!(rig.asks(&ask(type_url::CLUSTER, &[]).about("n1")).accepted, ["kept"]);
    rig.tells(type_url::CLUSTER, "n2", &[("a", "2")], &["b"]);
    rig.asks(&ask(type_url::CLUSTER, &[]).about("n2"));
    rig.tells(type_url::ENDPOINT, "n3", &[("a", "7"), ("b", "7")], &[]);
    rig.asks(&ask(type_url::ENDPOINT, &[]).about("n3"));
    rig.asks(&ask(type_url::ENDPOINT, &[]).without(&["b"]));

    rig.session.begin();

    let expected = [
        ask(type_url::CLUSTER, &[]).node(NODE).holding(&[("a", "2")]),
        ask(type_url::LISTENER, &["*", "x"]),
        ask(type_url::ENDPOINT, &["a"]).holding(&[("a", "7")]),
    ];
    assert_eq!(rig.heard(), expected);

    let mut rig = Rig::new(Flavour::Sotw);
    rig.session.begin();
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
    rig.asks(&ask(type_url::ENDPOINT, &["a"]));
    rig.heard();
    rig.tells(type_url::CLUSTER, "n1", &[], &[]);
    rig.asks(&ask(type_url::CLUSTER, &[]).of("of n1").about("n1"));
    rig.asks(&ask(type_url::ENDPOINT, &["a", "b"]));

    rig.session.begin();

    let expected =
        [ask(type_url::CLUSTER, &[]).node(NODE).of("of n1"), ask(type_url::ENDPOINT, &["a", "b"])];
    assert_eq!(rig.heard(), expected);
}

#[test]
fn a_foreign_nonce_passes_only_what_has_changed_of_what_is_wanted() {
    for flavour in FLAVOURS {
        for nonce in ["old", "kept/1", "unheard of"] {
            let mut rig = Rig::new(flavour);
            rig.session.begin();
            rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
            rig.asks(&ask(type_url::ENDPOINT, &["a"]));
            rig.heard();
            rig.tells(type_url::ENDPOINT, "old", &[("a", "1")], &[]);
            rig.session.end();
            rig.session.replayed(type_url::ENDPOINT, Some(sent("kept/1", &[("a", "1")], &[])));
            rig.session.begin();
            rig.heard();

            let receipt = ask(type_url::ENDPOINT, &["a"]).about(nonce);
            let refusal = receipt.clone().refusing("no");
            let unchanged = match flavour {
                Flavour::Sotw => [receipt, refusal],
                Flavour::Delta => [receipt, refusal].map(|it| Ask { names: Vec::new(), ..it }),
            };
            for unchanged in unchanged {
                rig.asks(&unchanged);
                assert_eq!(rig.heard(), [], "{unchanged:?}");
            }
            rig.asks(&ask(type_url::ENDPOINT, &["a", "b"]).about(nonce));
            assert_eq!(
                rig.heard(),
                [ask(type_url::ENDPOINT, &["a", "b"])
                    .of(&rig.session.topics[type_url::ENDPOINT].version.clone())]
                .map(|it| if flavour == Flavour::Delta { it.of("") } else { it })
            );
        }
    }
}

#[test]
fn a_newer_request_takes_the_place_of_one_that_waits_and_says_less() {
    let mut rig = Rig::new(Flavour::Sotw);
    rig.session.begin();
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
    for number in 0..10_000 {
        rig.asks(&ask(type_url::ENDPOINT, &[&number.to_string()]));
    }
    let expected = [ask(type_url::CLUSTER, &[]).node(NODE), ask(type_url::ENDPOINT, &["9999"])];
    assert_eq!(rig.heard(), expected);

    let mut rig = Rig::new(Flavour::Delta);
    rig.session.begin();
    rig.asks(&ask(type_url::ENDPOINT, &["a"]).node(NODE));
    rig.heard();
    for nonce in ["n1", "n2", "n3"] {
        rig.tells(type_url::ENDPOINT, nonce, &[("a", nonce)], &[]);
    }
    rig.asks(&ask(type_url::ENDPOINT, &[]).about("n1"));
    rig.asks(&ask(type_url::ENDPOINT, &["b"]));
    rig.asks(&ask(type_url::ENDPOINT, &[]).about("n2"));
    rig.asks(&ask(type_url::ENDPOINT, &[]).about("n3"));
    let heard = rig.heard();
    let (names, nonces): (Vec<_>, Vec<_>) =
        heard.iter().map(|it| (it.names.join(""), it.nonce.as_str())).unzip();
    assert_eq!(names.concat(), "b", "no subscription is lost");
    assert_eq!(nonces.last(), Some(&"n3"));
}

/// istiod looks at nothing in a refusal but the reason.
#[test]
fn a_refusal_takes_the_place_of_no_request_that_says_what_is_wanted() {
    for refused_here in [false, true] {
        let mut rig = Rig::new(Flavour::Sotw);
        rig.session.begin();
        rig.asks(&ask(type_url::ENDPOINT, &["a"]).node(NODE));
        rig.heard();
        rig.tells(type_url::ENDPOINT, "n1", &[("a", "1")], &[]);
        rig.asks(&ask(type_url::ENDPOINT, &["a", "b"]).about("of another stream"));
        let refusal = ask(type_url::ENDPOINT, &["a", "b"]).about("n1").refusing("no");
        if refused_here {
            rig.session.refuse(type_url::ENDPOINT, "n1", "no");
        } else {
            rig.asks(&refusal);
        }
        assert_eq!(rig.heard(), [ask(type_url::ENDPOINT, &["a", "b"]), refusal]);
    }
}

#[test]
fn requests_that_nobody_takes_are_bounded_in_bytes() {
    for flavour in FLAVOURS {
        let mut session = Session::<()>::new(flavour, Address::default());
        session.begin();
        let long = "x".repeat(1 << 20);
        let overflow = (0..80).find_map(|number| {
            let name = format!("{number}{long}");
            let names: Vec<_> = (0..if flavour == Flavour::Sotw { number } else { 1 })
                .map(|_| name.as_str())
                .collect();
            session.request(&ask(type_url::ENDPOINT, &names).bytes(flavour)).err()
        });
        assert!(matches!(overflow, Some(Refusal::Overflow { .. })), "{overflow:?}");
    }
}

#[test]
fn what_envoy_waits_for_is_wished_for_type_by_type_until_somebody_answers() {
    let mut rig = Rig::new(Flavour::Delta);
    assert_eq!(rig.session.wish(), None);
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE).holding(&[("a", "1")]));
    rig.asks(&ask(type_url::ENDPOINT, &["a", "b"]).holding(&[("a", "1")]));
    let wish = rig.session.wish().unwrap();
    assert_eq!(
        (wish.type_url.as_str(), wish.wanted, wish.held),
        (type_url::CLUSTER, None, vec!["a".to_owned()])
    );
    rig.session.replayed(type_url::CLUSTER, Some(sent("kept/1", &[("b", "1")], &[])));
    assert!(rig.session.is_stale());
    let wish = rig.session.wish().unwrap();
    assert_eq!(
        (wish.type_url.as_str(), wish.wanted),
        (type_url::ENDPOINT, Some(vec!["b".to_owned()]))
    );
    rig.session.replayed(type_url::ENDPOINT, None);
    assert_eq!(rig.session.wish(), None);

    // Somebody answers: one type is fresh, the other when it has had time to be spoken of.
    rig.session.begin();
    rig.tells(type_url::CLUSTER, "n1", &[], &[]);
    rig.asks(&ask(type_url::CLUSTER, &[]).about("n1"));
    assert!(rig.session.is_stale());
    rig.session.confirmed();
    assert!(!rig.session.is_stale());
    rig.asks(&ask(type_url::ENDPOINT, &["c"]));
    assert_eq!(rig.session.wish(), None);
    rig.session.end();
    assert!(rig.session.wish().is_some());
}

#[test]
fn a_machine_that_has_moved_says_its_new_address_and_another_machine_its_own() {
    use hawser_proto::envoy::{
        envoy::{config::core::v3::Node, service::discovery::v3::DeltaDiscoveryRequest},
        google::protobuf::{Struct, Value, value::Kind},
    };
    use prost::Message;

    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let node = |id: &str, ips: &str| Node {
        id: id.to_owned(),
        metadata: Some(Struct {
            fields: [("INSTANCE_IPS".to_owned(), text(ips)), ("NAME".to_owned(), text("vm"))]
                .into(),
        }),
        ..Node::default()
    };
    let address =
        Address { id: "sidecar~10.0.0.2~vm.vms~d".to_owned(), ips: "10.0.0.2".to_owned() };
    let (old, other) = ("sidecar~10.0.0.1~vm.vms~d", "sidecar~10.0.0.1~other.vms~d");
    for (id, expected) in [(old, node(&address.id, "10.0.0.2")), (other, node(other, "10.0.0.1"))] {
        let mut session = Session::<()>::new(Flavour::Delta, address.clone());
        session.begin();
        let request = DeltaDiscoveryRequest {
            node: Some(node(id, "10.0.0.1")),
            type_url: type_url::CLUSTER.to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        session.request(&request.encode_to_vec().into()).unwrap();
        let sent = DeltaDiscoveryRequest::decode(session.next_request().unwrap()).unwrap();
        assert_eq!(sent.node, Some(expected));
    }
}

#[test]
fn what_is_asked_while_an_answer_is_prepared_is_not_taken_for_answered() {
    for flavour in FLAVOURS {
        let mut rig = Rig::new(flavour);
        rig.asks(&ask(type_url::ENDPOINT, &["a"]).node(NODE));
        assert_eq!(rig.session.wish().unwrap().wanted, Some(vec!["a".to_owned()]));
        let (asked, wanted): (&[&str], &[&str]) = match flavour {
            Flavour::Sotw => (&["a", "b"], &["a", "b"]),
            Flavour::Delta => (&["b"], &["b"]),
        };
        rig.asks(&ask(type_url::ENDPOINT, asked));

        rig.session.replayed(type_url::ENDPOINT, Some(sent("kept/1", &[("a", "1")], &[])));

        let names: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(rig.session.wish().unwrap().wanted, Some(names));
        rig.session.replayed(type_url::ENDPOINT, None);
        assert_eq!(rig.session.wish(), None);
    }
}

#[test]
fn who_wants_nothing_any_more_does_not_ask_for_everything_on_a_new_stream() {
    let mut rig = Rig::new(Flavour::Delta);
    rig.session.begin();
    rig.asks(&ask(type_url::ENDPOINT, &["a"]).node(NODE));
    rig.heard();
    rig.tells(type_url::ENDPOINT, "n1", &[("a", "1")], &[]);
    rig.asks(&ask(type_url::ENDPOINT, &[]).about("n1"));
    rig.asks(&ask(type_url::ENDPOINT, &[]).without(&["a"]));

    rig.session.begin();

    assert_eq!(rig.heard(), []);
    rig.asks(&ask(type_url::ENDPOINT, &["b"]));
    assert_eq!(rig.heard(), [ask(type_url::ENDPOINT, &["b"]).node(NODE)]);
}

#[test]
fn what_follows_a_response_that_was_refused_here_does_not_tell_all() {
    let mut rig = Rig::new(Flavour::Delta);
    rig.session.begin();
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
    assert!(rig.session.tells_all(type_url::CLUSTER));

    rig.session.refuse(type_url::CLUSTER, "n1", "no");

    assert!(!rig.session.tells_all(type_url::CLUSTER));
}

#[test]
fn what_is_in_doubt_is_asked_for_until_it_is_told_anew_and_then_no_more() {
    let mut rig = Rig::new(Flavour::Delta);
    rig.session.begin();
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
    rig.asks(&ask(type_url::ENDPOINT, &["a"]));
    rig.heard();
    rig.tells(type_url::CLUSTER, "n1", &[("a", "1"), ("b", "1")], &[]);
    rig.asks(&ask(type_url::CLUSTER, &[]).about("n1"));
    rig.tells(type_url::ENDPOINT, "n2", &[("a", "1")], &[]);
    rig.asks(&ask(type_url::ENDPOINT, &[]).about("n2"));
    rig.heard();
    assert!(!rig.session.doubts());

    rig.session.doubt(|type_url| type_url == type_url::CLUSTER);
    assert!(rig.session.doubts());
    let endpoints = ask(type_url::ENDPOINT, &["a"]).holding(&[("a", "1")]);
    let anew = ask(type_url::CLUSTER, &[]).node(NODE);
    for _ in 0..2 {
        rig.session.begin();
        assert!(!rig.session.doubts());
        assert_eq!(
            rig.heard(),
            [anew.clone().holding(&[("a", "?"), ("b", "?")]), endpoints.clone()]
        );
        assert!(rig.session.tells_all(type_url::CLUSTER));
        assert!(!rig.session.tells_all(type_url::ENDPOINT));
    }
    rig.tells(type_url::CLUSTER, "n3", &[("a", "2")], &["b"]);
    rig.asks(&ask(type_url::CLUSTER, &[]).about("n3"));
    rig.session.begin();
    assert_eq!(rig.heard(), [anew.holding(&[("a", "2")]), endpoints]);

    let mut rig = Rig::new(Flavour::Sotw);
    rig.session.begin();
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
    rig.heard();
    rig.tells(type_url::CLUSTER, "n1", &[], &[]);
    rig.asks(&ask(type_url::CLUSTER, &[]).of("of n1").about("n1"));
    rig.session.doubt(|_| true);
    rig.session.begin();
    assert_eq!(rig.heard(), [ask(type_url::CLUSTER, &[]).node(NODE)]);
}

#[test]
fn what_envoy_does_not_speak_of_costs_memory_once_however_often_it_is_pushed() {
    let mut rig = Rig::new(Flavour::Delta);
    rig.session.begin();
    rig.asks(&ask(type_url::CLUSTER, &[]).node(NODE));
    rig.heard();
    let long = "x".repeat(1000);
    let names: Vec<String> = (0..1000).map(|number| format!("{number:04}{long}")).collect();
    let sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    for push in 0..100 {
        let push = push.to_string();
        let all: Vec<_> = sorted.iter().map(|name| (*name, push.as_str())).collect();
        rig.tells(type_url::CLUSTER, &push, &all, &[]);
        let unspoken = rig.session.topics[type_url::CLUSTER].unspoken();
        assert!(unspoken <= MOST_UNSPOKEN, "{unspoken}");
    }
    assert!(rig.session.topics[type_url::CLUSTER].size() < 2 << 20);

    // Envoy has taken the first of them: in which version it has what was in it is not known.
    let receipt = ask(type_url::CLUSTER, &[]).about("0");
    assert_eq!(rig.asks(&receipt).accepted, ["kept"]);
    assert_eq!(rig.heard(), [receipt]);
    rig.session.begin();
    let unsure: Vec<_> = sorted.iter().map(|name| (*name, "")).collect();
    assert_eq!(rig.heard(), [ask(type_url::CLUSTER, &[]).node(NODE).holding(&unsure)]);

    // When it has taken the last as well, it is.
    rig.asks(&ask(type_url::CLUSTER, &[]).about("99"));
    rig.session.begin();
    let sure: Vec<_> = sorted.iter().map(|name| (*name, "99")).collect();
    assert_eq!(rig.heard(), [ask(type_url::CLUSTER, &[]).node(NODE).holding(&sure)]);
}
