//! Sessions by tables: what passes, and what is noted.

use hawser_proto::envoy::{
    envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    },
    google::rpc::Status,
};
use prost::Message;

use super::*;

fn asks(type_url: &str, nonce: &str, rejection: Option<&str>) -> Bytes {
    let status = |message: &str| Status { code: 13, message: message.into(), details: vec![] };
    DiscoveryRequest {
        type_url: type_url.to_owned(),
        response_nonce: nonce.to_owned(),
        error_detail: rejection.map(status),
        ..DiscoveryRequest::default()
    }
    .encode_to_vec()
    .into()
}

fn sends(type_url: &str, version: &str, nonce: &str) -> Bytes {
    DiscoveryResponse {
        version_info: version.to_owned(),
        type_url: type_url.to_owned(),
        nonce: nonce.to_owned(),
        ..DiscoveryResponse::default()
    }
    .encode_to_vec()
    .into()
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn requests_pass_in_order_and_unchanged() {
    let mut session = Session::new(Flavour::Sotw);
    let messages = [asks("a", "", None), asks("b", "", None), Bytes::from_static(b"\xffgarbage")];
    let notes = [
        Note::Asked { type_url: text("a") },
        Note::Asked { type_url: text("b") },
        Note::Unreadable,
    ];
    assert!(!session.has_request());
    for (message, note) in messages.iter().zip(notes) {
        assert_eq!(session.request(message.clone()).unwrap(), note);
    }
    for message in messages {
        assert!(session.has_request());
        assert_eq!(session.next_request(), Some(message));
    }
    assert_eq!(session.next_request(), None);
}

#[test]
fn a_response_is_accepted_or_rejected_by_the_request_that_speaks_of_it() {
    let mut session = Session::new(Flavour::Sotw);
    let sent = Note::Sent { type_url: text("lds"), version: text("v1"), resources: 0 };
    assert_eq!(session.response(&sends("lds", "v1", "n1")), (true, sent));
    session.response(&sends("cds", "v2", "n2"));

    let told = |session: &mut Session, message| session.request(message).unwrap();
    let stale = told(&mut session, asks("lds", "n0", None));
    assert_eq!(stale, Note::Asked { type_url: text("lds") });
    let accepted = told(&mut session, asks("lds", "n1", None));
    assert_eq!(accepted, Note::Accepted { type_url: text("lds"), version: text("v1") });
    let again = told(&mut session, asks("lds", "n1", None));
    assert_eq!(again, Note::Asked { type_url: text("lds") }, "it speaks of it once");
    let rejected = told(&mut session, asks("cds", "n2", Some("no\nsuch")));
    let expected =
        Note::Rejected { type_url: text("cds"), version: text("v2"), error: text("no\nsuch") };
    assert_eq!(rejected, expected);
}

#[test]
fn types_that_the_agent_keeps_pass_neither_way_in_either_flavour() {
    for kept in [type_url::NAME_TABLE, type_url::PROXY_CONFIG, type_url::HEALTH] {
        let withheld = || Note::Withheld { type_url: text(kept) };
        let mut session = Session::new(Flavour::Sotw);
        assert_eq!(session.response(&sends(kept, "v", "n")), (false, withheld()));
        assert_eq!(session.request(asks(kept, "", None)), Ok(withheld()));
        assert!(!session.has_request());

        let mut session = Session::new(Flavour::Delta);
        let type_url = kept.to_owned();
        let response = DeltaDiscoveryResponse { type_url, ..DeltaDiscoveryResponse::default() };
        assert_eq!(session.response(&response.encode_to_vec()), (false, withheld()));
        let type_url = kept.to_owned();
        let request = DeltaDiscoveryRequest { type_url, ..DeltaDiscoveryRequest::default() };
        assert_eq!(session.request(request.encode_to_vec().into()), Ok(withheld()));
        assert!(!session.has_request());
    }
}

#[test]
fn what_cannot_be_read_passes_to_envoy() {
    let mut session = Session::new(Flavour::Sotw);
    assert_eq!(session.response(b"\xff\xff"), (true, Note::Unreadable));
}

#[test]
fn waiting_requests_are_bounded_by_their_bytes_not_by_their_number() {
    let mut session = Session::new(Flavour::Sotw);
    for _ in 0..100_000 {
        session.request(asks("lds", "", None)).unwrap();
    }
    let large = Bytes::from(vec![0xff; 32 << 20]);
    session.request(large.clone()).unwrap();
    let overflow = session.request(large.clone()).unwrap_err();
    assert!(overflow.to_string().starts_with("istiod takes no requests"));

    while session.next_request().is_some() {}
    session.request(large).expect("what has gone out makes room");
}

#[test]
fn what_is_remembered_of_foreign_texts_is_bounded() {
    let mut session = Session::new(Flavour::Sotw);
    for index in 0..1000 {
        session.response(&sends(&format!("type{index}"), &"v".repeat(10_000), "n"));
    }
    assert_eq!(session.pending.len(), MOST_TYPES);
    assert!(session.pending.values().all(|pending| pending.version.len() == LONGEST_NOTE));
}

#[test]
fn requests_wait_again_until_istiod_has_said_something() {
    let mut session = Session::new(Flavour::Sotw);
    let messages = ["a", "b", "c"].map(|type_url| asks(type_url, "", None));
    for message in &messages {
        session.request(message.clone()).unwrap();
    }
    let bytes = session.waiting_bytes;
    session.next_request();
    session.next_request();
    for _ in 0..2 {
        assert!(session.begin_again());
        assert_eq!(session.waiting_bytes, bytes);
        for message in &messages {
            assert_eq!(session.next_request().as_ref(), Some(message));
        }
        assert_eq!((session.next_request(), session.waiting_bytes), (None, 0));
    }
    session.response(&sends("a", "v1", "n1"));
    assert!(!session.begin_again());
    assert_eq!(session.next_request(), None);
}

#[test]
fn what_is_too_much_to_keep_is_given_once() {
    let mut session = Session::new(Flavour::Sotw);
    for _ in 0..2 {
        session.request(Bytes::from(vec![0xff; MOST_GIVEN / 2])).unwrap();
        session.next_request();
    }
    assert!(!session.begin_again());
}
